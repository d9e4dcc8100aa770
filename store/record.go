package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Buckets. Keys are given in the package comment.
const (
	bucketMeta         = "meta"
	bucketApps         = "apps"
	bucketTenants      = "tenants"
	bucketClients      = "clients"
	bucketRotations    = "rotations"
	bucketHistory      = "history"
	bucketWakes        = "wakes"
	bucketDue          = "due"
	bucketCertificates = "certificates"
	bucketSecrets      = "secrets"
	bucketUses         = "uses"
	bucketOutbox       = "outbox"
	bucketQueued       = "queued"
	bucketAudit        = "audit"
)

// buckets lists all, in the order of their names, as bbolt has them.
func buckets() []string {
	all := []string{
		bucketMeta, bucketTenants, bucketApps, bucketClients, bucketRotations, bucketHistory, bucketWakes, bucketDue,
		bucketCertificates, bucketSecrets, bucketUses, bucketOutbox, bucketQueued, bucketAudit,
	}
	slices.Sort(all)
	return all
}

// Keys of bucket meta.
const (
	metaSchema = "schema"
	metaWriter = "writer"
	metaCanary = "canary"
	metaHome   = "home"
	metaState  = "state"
	metaAudit  = "audit"
	metaOutbox = "outbox"
	metaSealed = "sealed" // missing: nothing was sealed since files have it
	metaBackup = "backup" // missing: there is none
	metaSum    = "sum/"   // and the name of a bucket
)

// recordVersion is the first byte of every value. A later version changes it
// when old programs must not read the value.
const recordVersion = 1

// recordHeaderBytes is the version and the CRC-32C in front of the payload.
const recordHeaderBytes = 5

// recordSum is the CRC-32C over the version, the place and the payload of a
// record: one that turns up at another place is as wrong as a changed one.
// Later versions keep it, so that a newer record can be told from a damaged one.
func recordSum(version byte, bucket string, key, payload []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	place := append([]byte{version}, bucket...)
	place = append(place, 0)
	place = binary.BigEndian.AppendUint64(place, uint64(len(key)))
	sum := crc32.Update(0, table, append(place, key...))
	return crc32.Update(sum, table, payload)
}

func encodeRecord(version byte, bucket string, key, payload []byte) []byte {
	value := make([]byte, 0, recordHeaderBytes+len(payload))
	value = append(value, version)
	value = binary.BigEndian.AppendUint32(value, recordSum(version, bucket, key, payload))
	return append(value, payload...)
}

// errRecordVersion says that a value's version is not ours.
var errRecordVersion = errors.New("record of an unknown version")

// decodeRecord returns the payload, which lies within value, and its checksum;
// the checksum too if the error is [errRecordVersion].
func decodeRecord(bucket string, key, value []byte) ([]byte, uint32, error) {
	if len(value) < recordHeaderBytes {
		return nil, 0, errors.New("the record is cut off")
	}
	payload, sum := value[recordHeaderBytes:], binary.BigEndian.Uint32(value[1:])
	if sum != recordSum(value[0], bucket, key, payload) {
		return nil, 0, errors.New("the checksum does not match")
	}
	if value[0] != recordVersion {
		return nil, sum, fmt.Errorf("%w: %d", errRecordVersion, value[0])
	}
	return payload, sum, nil
}

// bucketSum is what a bucket as a whole holds: the number of its records and
// all their checksums combined by exclusive or. It notices a record that is
// missing or that is an earlier one. Bucket meta has none: its keys are known.
type bucketSum struct {
	records uint64
	xor     uint32
}

func (s bucketSum) encode() []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(nil, s.records), s.xor)
}

func decodeBucketSum(payload []byte) (bucketSum, error) {
	if len(payload) != 12 {
		return bucketSum{}, fmt.Errorf("%d bytes instead of 12", len(payload))
	}
	return bucketSum{binary.BigEndian.Uint64(payload), binary.BigEndian.Uint32(payload[8:])}, nil
}

// txn is one transaction: bbolt's, with checksums.
type txn struct {
	*Store
	tx *bolt.Tx
	// sums of the buckets that were written to.
	sums map[string]bucketSum
	// audited is the end of the audit trail if the transaction made it longer.
	audited auditHead
	// kinds are how many due entries of each kind more there are, or fewer.
	kinds map[rotator.WakeKind]int
	// changed tells that something was written.
	changed bool
	// calling tells that a caller's function runs: its panics are its own.
	calling bool
}

// get returns a record's payload; nil and false if there is none. The payload
// is valid until the transaction ends or writes.
func (t *txn) get(bucket string, key []byte) ([]byte, bool, error) {
	payload, _, ok, err := t.lookup(bucket, key)
	return payload, ok, err
}

func (t *txn) lookup(bucket string, key []byte) ([]byte, uint32, bool, error) {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil, 0, false, t.corrupt(fmt.Sprintf("bucket %q is missing", bucket))
	}
	value := b.Get(key)
	if value == nil {
		return nil, 0, false, nil
	}
	payload, sum, err := decodeRecord(bucket, key, value)
	if err != nil {
		return nil, 0, false, t.badRecord(bucket, key, err)
	}
	return payload, sum, true, nil
}

// put writes a record unless it is there already.
func (t *txn) put(bucket string, key, payload []byte) error {
	old, oldSum, ok, err := t.lookup(bucket, key)
	if err != nil || ok && bytes.Equal(old, payload) {
		return err
	}
	value := encodeRecord(recordVersion, bucket, key, payload)
	err = t.sum(bucket, func(s *bucketSum) {
		if ok {
			s.xor ^= oldSum
		} else {
			s.records++
		}
		s.xor ^= binary.BigEndian.Uint32(value[1:])
	})
	if err != nil {
		return err
	}
	t.changed = true
	return t.tx.Bucket([]byte(bucket)).Put(key, value)
}

// delete removes a record; it is no error if there is none.
func (t *txn) delete(bucket string, key []byte) error {
	_, oldSum, ok, err := t.lookup(bucket, key)
	if err != nil || !ok {
		return err
	}
	err = t.sum(bucket, func(s *bucketSum) {
		s.records--
		s.xor ^= oldSum
	})
	if err != nil {
		return err
	}
	t.changed = true
	return t.tx.Bucket([]byte(bucket)).Delete(key)
}

func (t *txn) sum(bucket string, change func(*bucketSum)) error {
	if bucket == bucketMeta {
		return nil
	}
	s, ok := t.sums[bucket]
	if !ok {
		var err error
		if s, err = t.readSum(bucket); err != nil {
			return err
		}
	}
	change(&s)
	if t.sums == nil {
		t.sums = map[string]bucketSum{}
	}
	t.sums[bucket] = s
	return nil
}

func (t *txn) readSum(bucket string) (bucketSum, error) {
	key := []byte(metaSum + bucket)
	payload, ok, err := t.get(bucketMeta, key)
	if err != nil {
		return bucketSum{}, err
	}
	if !ok {
		return bucketSum{}, t.badRecord(bucketMeta, key, errors.New("the record is missing"))
	}
	s, err := decodeBucketSum(payload)
	if err != nil {
		return bucketSum{}, t.badRecord(bucketMeta, key, err)
	}
	return s, nil
}

// flush writes the sums and who wrote; the last thing before the commit.
func (t *txn) flush() error {
	if err := t.put(bucketMeta, []byte(metaWriter), []byte(t.version)); err != nil {
		return err
	}
	for bucket, s := range t.sums {
		if err := t.put(bucketMeta, []byte(metaSum+bucket), s.encode()); err != nil {
			return err
		}
	}
	t.sums = nil
	return nil
}

// each calls visit for the records whose keys begin with prefix, in order,
// from the first that is not before from, until visit returns false.
func (t *txn) each(bucket string, prefix, from []byte, visit func(key, payload []byte) (bool, error)) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return t.corrupt(fmt.Sprintf("bucket %q is missing", bucket))
	}
	c := b.Cursor()
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	for key, value := c.Seek(from); key != nil && bytes.HasPrefix(key, prefix); key, value = c.Next() {
		more, err := t.visitRecord(bucket, key, value, visit)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// eachBack is each in reverse order: the last record with the prefix first.
// The prefix must not be empty and must not end in 0xff.
func (t *txn) eachBack(bucket string, prefix []byte, visit func(key, payload []byte) (bool, error)) error {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return t.corrupt(fmt.Sprintf("bucket %q is missing", bucket))
	}
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	c := b.Cursor()
	step := c.Prev
	if behind, _ := c.Seek(end); behind == nil {
		step = c.Last
	}
	for key, value := step(); key != nil && bytes.HasPrefix(key, prefix); key, value = c.Prev() {
		more, err := t.visitRecord(bucket, key, value, visit)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (t *txn) visitRecord(bucket string, key, value []byte, visit func(key, payload []byte) (bool, error)) (bool, error) {
	payload, _, err := decodeRecord(bucket, key, value)
	if err != nil {
		return false, t.badRecord(bucket, key, err)
	}
	return visit(key, payload)
}

// badRecord is the error for one record.
func (t *txn) badRecord(bucket string, key []byte, err error) error {
	where := fmt.Sprintf("bucket %q, key %q: %v", bucket, key, err)
	if errors.Is(err, errRecordVersion) {
		return t.newer(where)
	}
	return t.corrupt(where)
}

// newer is the error for something that another version must have written,
// which it names.
func (t *txn) newer(where string) error {
	writer := "unknown"
	if payload, ok, err := t.get(bucketMeta, []byte(metaWriter)); err == nil && ok {
		writer = string(payload)
	}
	return fmt.Errorf("store %s: %s (last written by version %s): %w", t.path, where, writer, ErrNewer)
}

// putJSON writes a record's JSON.
func putJSON(t *txn, bucket string, key []byte, record any) error {
	payload, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("store: bucket %q, key %q: %w", bucket, key, err)
	}
	return t.put(bucket, key, payload)
}

// getJSON reads a record; false if there is none.
func getJSON[T any](t *txn, bucket string, key []byte) (T, bool, error) {
	payload, ok, err := t.get(bucket, key)
	if err != nil || !ok {
		var none T
		return none, false, err
	}
	record, err := decodeJSON[T](t, bucket, key, payload)
	return record, err == nil, err
}

// decodeJSON reads a payload whose checksum is right. So what does not fit was
// written by another version; fields we do not know are refused, because
// writing the record again would lose them.
func decodeJSON[T any](t *txn, bucket string, key, payload []byte) (T, error) {
	var record T
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&record); err != nil {
		return record, t.newer(fmt.Sprintf("bucket %q, key %q: %v", bucket, key, err))
	}
	return record, nil
}

// timeKeyBytes is the length of [timeKey].
const timeKeyBytes = 12

// timeKey encodes an instant so that byte order is time order.
func timeKey(at time.Time) []byte {
	key := binary.BigEndian.AppendUint64(nil, uint64(at.Unix())^1<<63) //nolint:gosec // the sign is the point
	return binary.BigEndian.AppendUint32(key, uint32(at.Nanosecond())) //nolint:gosec // below 10^9
}

// timeOf is the reverse of [timeKey]; UTC.
func timeOf(key []byte) time.Time {
	seconds := int64(binary.BigEndian.Uint64(key) ^ 1<<63) //nolint:gosec // the reverse of timeKey
	return time.Unix(seconds, int64(binary.BigEndian.Uint32(key[8:]))).UTC()
}

// join makes a key of parts with a zero byte between.
func join(parts ...string) []byte {
	var key []byte
	for i, part := range parts {
		if i > 0 {
			key = append(key, 0)
		}
		key = append(key, part...)
	}
	return key
}

func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
