package store

import (
	"context"
	"encoding/json"
	"os"
)

// Put writes one record as it is, with its checksum.
func (s *Store) Put(ctx context.Context, bucket, key string, payload []byte) error {
	return s.update(ctx, func(t *txn) error { return t.put(bucket, []byte(key), payload) })
}

// Delete removes one record.
func (s *Store) Delete(ctx context.Context, bucket, key string) error {
	return s.update(ctx, func(t *txn) error { return t.delete(bucket, []byte(key)) })
}

// Get reads one record.
func (s *Store) Get(ctx context.Context, bucket, key string) (payload []byte, err error) {
	err = s.view(ctx, func(t *txn) error {
		found, _, err := t.get(bucket, []byte(key))
		payload = append(payload, found...)
		return err
	})
	return payload, err
}

// PutVersion writes a record with another version byte.
func (s *Store) PutVersion(ctx context.Context, bucket, key string, version byte, payload []byte) error {
	return s.update(ctx, func(t *txn) error {
		if err := t.put(bucket, []byte(key), payload); err != nil {
			return err
		}
		old := encodeRecord(recordVersion, bucket, []byte(key), payload)
		value := encodeRecord(version, bucket, []byte(key), payload)
		_, oldSum, _ := decodeRecord(bucket, []byte(key), old)
		_, sum, _ := decodeRecord(bucket, []byte(key), value)
		if err := t.sum(bucket, func(s *bucketSum) { s.xor ^= oldSum ^ sum }); err != nil {
			return err
		}
		return t.tx.Bucket([]byte(bucket)).Put([]byte(key), value)
	})
}

// Records reads all records of a bucket.
func (s *Store) Records(ctx context.Context, bucket string) (records map[string]string, err error) {
	records = map[string]string{}
	err = s.view(ctx, func(t *txn) error {
		return t.each(bucket, nil, nil, func(key, payload []byte) (bool, error) {
			records[string(key)] = string(payload)
			return true, nil
		})
	})
	return records, err
}

// Migrate runs migrations that are made up.
func (s *Store) Migrate(ctx context.Context, steps ...func(put func(bucket, key string, payload []byte) error) error) error {
	var migrations []migration
	for _, step := range steps {
		migrations = append(migrations, func(t *txn) error {
			return step(func(bucket, key string, payload []byte) error { return t.put(bucket, []byte(key), payload) })
		})
	}
	return s.migrate(ctx, migrations)
}

// Buckets lists the names of all.
func Buckets() []string { return buckets() }

// SchemaVersion reads the version from the file.
func (s *Store) SchemaVersion(ctx context.Context) (int, error) {
	payload, err := s.Get(ctx, bucketMeta, metaSchema)
	if err != nil {
		return 0, err
	}
	var found schema
	err = json.Unmarshal(payload, &found)
	return found.Version, err
}

// CheckBranches checks a file as Open does if it is large, and returns how
// many records it read.
func CheckBranches(ctx context.Context, path string) (int, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	meta, err := readMeta(file)
	if err != nil {
		return 0, err
	}
	read := 0
	p := &pages{file: file, meta: meta}
	p.visit = func(string, []byte, []byte) error { read++; return nil }
	return read, p.check(ctx)
}

// RekeyAt is [Rekey] that calls at before each effect.
func RekeyAt(ctx context.Context, o RekeyOptions, at func(effect string)) (Rekeyed, error) {
	o.at = at
	return Rekey(ctx, o)
}

// Reading runs while a reading transaction is open.
func (s *Store) Reading(ctx context.Context, while func() error) error {
	return s.view(ctx, func(*txn) error { return while() })
}

// Pages is how many pages of its file the store has ever used.
func (s *Store) Pages() (uint64, error) {
	meta, err := readMeta(s.file)
	return meta.next, err
}
