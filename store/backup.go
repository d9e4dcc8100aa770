package store

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/seed-f0abd057/rotate/rotator"
)

// A backup is one age file. Sealed in it is a gzip stream of JSON lines: first
// what it is, then every record of the store, bucket by bucket in the order of their
// names, last their number. Key pairs stand
// in it as they were before they were sealed in the store, so that the key of
// any recipient of the backup is enough to restore it; the host's identity is
// never in it. It can be read without this program:
//
//	age -d -i KEY BACKUP | gunzip

// backupFormat is the version of this form.
const backupFormat = 1

// backupHead is the first line.
type backupHead struct {
	Format  int       `json:"rotate_backup"`
	StoreID string    `json:"store_id"`
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Schema  schema    `json:"schema"`
	// To are the recipients that it was sealed to.
	To []string `json:"to"`
	// Sealed counts the pairs that were ever sealed in the store.
	Sealed uint64 `json:"sealed"`
	// Records is about how many there are, to say how far one is; 0: not known.
	Records uint64 `json:"records,omitempty"`
}

// backupLine is every other line: a record, or the end.
type backupLine struct {
	Bucket string `json:"bucket,omitempty"`
	Key    []byte `json:"key,omitempty"`
	Value  []byte `json:"value,omitempty"`
	// End is the number of records; only in the last line.
	End *uint64 `json:"end,omitempty"`
}

// sealedCount is how many pairs were ever sealed, and when the last one.
type sealedCount struct {
	Count uint64    `json:"count"`
	At    time.Time `json:"at"`
}

// backupNote is the newest backup.
type backupNote struct {
	At     time.Time `json:"at"`
	To     []string  `json:"to"`
	Sealed uint64    `json:"sealed"`
}

// ErrBackup says that a file is not a whole backup.
var ErrBackup = errors.New("this is not a whole backup of rotate: it was cut off or changed; take another copy of it")

// Backup returns a consistent copy of the store, sealed with age to the
// recipients (age1…), or without any to the store's recovery recipient. It is
// complete, in an unnamed file beside the store, before the first byte is
// given away: a slow reader holds nobody up, and neither does making it, for it is
// made from a copy. It is sealed to one more recipient, whose key is in memory and is
// dropped after the file was read again with it and every key pair opened. The caller
// closes it. report, unless it is nil, is told how far it is.
//
// It returns [rotator.ErrUsage] if there is nobody to seal it to.
func (s *Store) Backup(ctx context.Context, to []string, report func(what string, done, total uint64)) (_ io.ReadCloser, proof rotator.BackupProof, err error) {
	if len(to) == 0 && s.schema.Recovery == "" {
		return nil, proof, usagef("backup: the store has no recovery recipient; say with --to (age1…) whose key shall open the backup")
	}
	if len(to) == 0 {
		to = []string{s.schema.Recovery}
	}
	key, check, err := newBackupKey()
	if err != nil {
		return nil, proof, err
	}
	var recipients []age.Recipient
	for _, text := range append(slices.Clip(to), check) {
		recipient, err := parseRecipient("recipient", text)
		if err != nil {
			return nil, proof, fmt.Errorf("backup: %w", err)
		}
		recipients = append(recipients, recipient)
	}
	spool, err := os.CreateTemp(filepath.Dir(s.path), ".backup-*")
	if err != nil {
		return nil, proof, fmt.Errorf("backup: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		return nil, proof, errors.Join(fmt.Errorf("backup: %w", err), spool.Close())
	}
	buffered := bufio.NewWriterSize(spool, 1<<20)
	sealed, err := age.Encrypt(buffered, recipients...)
	if err == nil {
		err = s.writeBackup(ctx, sealed, to, &progress{report: report})
	}
	if err == nil {
		err = errors.Join(sealed.Close(), buffered.Flush())
	}
	if err == nil {
		proof, err = s.proveBackup(ctx, spool, key, report)
	}
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, proof, errors.Join(fmt.Errorf("backup: %w", err), spool.Close())
	}
	return spool, proof, nil
}

// proveBackup reads a backup again from its beginning and opens every pair in it.
func (s *Store) proveBackup(ctx context.Context, spool io.ReadSeeker, key BackupKey, report func(what string, done, total uint64)) (rotator.BackupProof, error) {
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return rotator.BackupProof{}, err
	}
	sum := sha256.New()
	c, err := ReadBackup(ctx, io.TeeReader(spool, sum), key, report)
	if err != nil {
		return rotator.BackupProof{}, fmt.Errorf("read it again: %w", err)
	}
	return rotator.BackupProof{
		StoreID: c.StoreID, At: c.At, To: c.To, Apps: c.Apps, Pairs: c.Pairs, Sealed: c.Sealed,
		Counts: s.counts(c.To), SHA256: hex.EncodeToString(sum.Sum(nil)),
	}, nil
}

// counts reports whether a backup to the recipients is one that a lost host is restored
// from: who else has one does not help then.
func (s *Store) counts(to []string) bool {
	return s.schema.Recovery == "" || slices.Contains(to, s.schema.Recovery)
}

// Recovery is the recovery recipient; empty: there is none.
func (s *Store) Recovery() string { return s.schema.Recovery }

func (s *Store) writeBackup(ctx context.Context, w io.Writer, to []string, p *progress) error {
	c, err := s.snapshot(ctx, p)
	if err != nil {
		return err
	}
	zipped := gzip.NewWriter(w)
	lines := json.NewEncoder(zipped)
	err = c.view(ctx, func(t *txn) error {
		count, _, err := getJSON[sealedCount](t, bucketMeta, []byte(metaSealed))
		if err != nil {
			return err
		}
		head := backupHead{
			Format: backupFormat, StoreID: s.schema.ID, At: time.Now().UTC(), Version: s.version,
			Schema: s.schema, To: to, Sealed: count.Count,
		}
		if head.Records, err = t.countRecords(); err != nil {
			return err
		}
		if err := lines.Encode(head); err != nil {
			return err
		}
		p.begin("seal records", head.Records)
		var records uint64
		err = t.dump(ctx, func(r record) error {
			records++
			p.add()
			if r.bucket == bucketSecrets {
				plain, err := s.sealer.open(r.payload)
				if err != nil {
					return t.badRecord(r.bucket, r.key, err)
				}
				defer clear(plain)
				r.payload = plain // whoever reads the backup again opens it
			}
			return lines.Encode(backupLine{Bucket: r.bucket, Key: r.key, Value: r.payload})
		})
		if err != nil {
			return err
		}
		return lines.Encode(backupLine{End: &records})
	})
	return errors.Join(err, zipped.Close(), c.Close())
}

// countRecords is how many records the buckets hold that are counted.
func (t *txn) countRecords() (uint64, error) {
	var total uint64
	for _, name := range buckets() {
		if name == bucketMeta {
			continue
		}
		sum, err := t.readSum(name)
		if err != nil {
			return 0, err
		}
		total += sum.records
	}
	return total, nil
}

// BackupDone notes a backup that was written and read again: of the time, to
// the recipients, with the count of sealed pairs that its [Contents] tell. Its pairs
// count as backed up if the recovery key opens it, or if there is none.
func (s *Store) BackupDone(ctx context.Context, at time.Time, to []string, sealed uint64, entry rotator.AuditEntry) error {
	return s.update(ctx, func(t *txn) error {
		note, _, err := getJSON[backupNote](t, bucketMeta, []byte(metaBackup))
		if err != nil {
			return err
		}
		count, _, err := getJSON[sealedCount](t, bucketMeta, []byte(metaSealed))
		if err != nil {
			return err
		}
		if sealed > count.Count || at.After(time.Now().Add(time.Minute)) {
			return usagef("backup: it does not come from this store")
		}
		if at.After(note.At) && s.counts(to) {
			if err := putJSON(t, bucketMeta, []byte(metaBackup), backupNote{at.UTC(), to, sealed}); err != nil {
				return err
			}
		}
		return t.writeAudit(entry)
	})
}

// Backups tells when the newest backup was made, and how many pairs were sealed
// since, the last one at newest. Zero: there was none.
func (s *Store) Backups(ctx context.Context) (last time.Time, newer uint64, newest time.Time, err error) {
	err = s.view(ctx, func(t *txn) error {
		note, _, err := getJSON[backupNote](t, bucketMeta, []byte(metaBackup))
		if err != nil {
			return err
		}
		count, _, err := getJSON[sealedCount](t, bucketMeta, []byte(metaSealed))
		last, newer, newest = note.At, count.Count-min(note.Sealed, count.Count), count.At
		return err
	})
	return last, newer, newest, err
}

// BackupKey opens backups.
type BackupKey struct{ identities []age.Identity }

// ReadBackupKey reads a file with the age identity of one of a backup's
// recipients: the recovery key, or a host's identity. Only its owner may be
// able to read it.
func ReadBackupKey(path string) (BackupKey, error) {
	identities, err := readIdentity(path)
	if errors.Is(err, ErrNotInitialised) {
		return BackupKey{}, fmt.Errorf("key file %s: %w", path, os.ErrNotExist)
	}
	var key BackupKey
	for _, identity := range identities {
		key.identities = append(key.identities, identity)
	}
	return key, err
}

// newBackupKey makes a key that lives in memory only: a backup that is sealed to
// it too can be read again. It returns the key and its recipient.
func newBackupKey() (BackupKey, string, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return BackupKey{}, "", fmt.Errorf("make age identity: %w", err)
	}
	return BackupKey{[]age.Identity{identity}}, identity.Recipient().String(), nil
}

// NewRecoveryKey makes an age key pair for a recovery recipient. secret is the whole text of
// a key file, as age reads it; whoever has it can open everything that is sealed to recipient.
// Nothing is written.
func NewRecoveryKey() (secret []byte, recipient string, err error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, "", fmt.Errorf("make recovery key: %w", err)
	}
	recipient = identity.Recipient().String()
	return fmt.Appendf(nil, "# Recovery key of rotate. Keep it off the host; it opens backups and a lost host's keys.\n# public key: %s\n%s\n",
		recipient, identity), recipient, nil
}

// Contents is what a backup holds.
type Contents struct {
	StoreID string
	At      time.Time
	// Version of the program that made it.
	Version string
	// To are the recipients that it was sealed to.
	To []string
	// Sealed is for [Store.BackupDone].
	Sealed uint64
	// Recovery recipient of the store; empty: none.
	Recovery string
	// Apps, Open and Pairs count apps, open rotations and key pairs.
	Apps, Open, Pairs int
	// First are the first apps by name, up to [FirstApps].
	First []BackedUpApp
	// Newest is the last line of the audit trail; zero: there is none.
	Newest rotator.AuditEntry
}

// FirstApps is how many apps of a backup are shown.
const FirstApps = 100

// BackedUpApp is one app in a backup.
type BackedUpApp struct {
	Name, Tenant string
	// ThumbprintSHA1 and NotAfter are those of the certificate in service; zero: none.
	ThumbprintSHA1 string
	NotAfter       time.Time
	// Phase of its open rotation; empty: none is open.
	Phase rotator.Phase
}

// ReadBackup reads a backup to its end, opens every key pair in it, and tells
// what it holds. It returns [ErrWrongKey] if the key is not that of a
// recipient, and [ErrBackup] if it is not whole.
// report, unless it is nil, is told how far it is.
func ReadBackup(ctx context.Context, r io.Reader, key BackupKey, report func(what string, done, total uint64)) (Contents, error) {
	return readBackup(ctx, r, key, &progress{report: report}, func(backupHead) error { return nil }, func(r record) error {
		if r.bucket != bucketSecrets {
			return nil
		}
		if _, err := parsePair(r.payload, rotator.Thumbprint(r.key)); err != nil {
			return fmt.Errorf("key pair %s: %w", r.key, err)
		}
		return nil
	})
}

// readBackup calls begin with the first line and add for each record.
func readBackup(ctx context.Context, r io.Reader, key BackupKey, p *progress, begin func(backupHead) error, add func(record) error) (Contents, error) {
	plain, err := age.Decrypt(bufio.NewReaderSize(r, 1<<20), key.identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return Contents{}, ErrWrongKey
	}
	if err != nil {
		return Contents{}, fmt.Errorf("%w (%v)", ErrBackup, err) //nolint:errorlint // whose error it is does not matter
	}
	zipped, err := gzip.NewReader(plain)
	if err != nil {
		return Contents{}, fmt.Errorf("%w (%v)", ErrBackup, err) //nolint:errorlint // the same
	}
	lines := json.NewDecoder(zipped)
	var head backupHead
	if err := lines.Decode(&head); err != nil || head.Format == 0 {
		return Contents{}, ErrBackup
	}
	if head.Format > backupFormat || head.Schema.Version > schemaVersion {
		return Contents{}, fmt.Errorf("backup of version %s: %w", head.Version, ErrNewer)
	}
	c := Contents{
		StoreID: head.StoreID, At: head.At, Version: head.Version, To: head.To, Sealed: head.Sealed,
		Recovery: head.Schema.Recovery,
	}
	if err := begin(head); err != nil {
		return c, err
	}
	p.begin("read the backup", head.Records)
	for n := uint64(0); ; n++ {
		p.add()
		if err := ctx.Err(); err != nil {
			return c, err
		}
		var line backupLine
		if err := lines.Decode(&line); err != nil {
			return c, fmt.Errorf("%w (after %d records)", ErrBackup, n)
		}
		if line.End != nil {
			if *line.End != n {
				return c, fmt.Errorf("%w (it holds %d records of %d)", ErrBackup, n, *line.End)
			}
			// The end of the sealed stream is checked where it is read.
			if rest, err := io.ReadAll(io.LimitReader(zipped, 2)); err != nil || len(bytes.TrimSpace(rest)) > 0 {
				return c, ErrBackup
			}
			if _, err := io.Copy(io.Discard, plain); err != nil {
				return c, ErrBackup
			}
			return c, nil
		}
		if err := c.count(line); err != nil {
			return c, err
		}
		err := add(record{line.Bucket, line.Key, line.Value})
		if line.Bucket == bucketSecrets {
			clear(line.Value)
		}
		if err != nil {
			return c, err
		}
	}
}

// count takes from a record what people want to know.
func (c *Contents) count(line backupLine) error {
	var err error
	switch line.Bucket {
	case bucketSecrets:
		c.Pairs++
	case bucketApps:
		if c.Apps++; c.Apps > FirstApps {
			break
		}
		var app rotator.App
		err = json.Unmarshal(line.Value, &app)
		one := BackedUpApp{Name: app.Name, Tenant: app.Tenant}
		if app.Current != nil {
			one.ThumbprintSHA1, one.NotAfter = app.Current.ThumbprintSHA1, app.Current.NotAfter
		}
		c.First = append(c.First, one)
	case bucketRotations: // after the apps
		var rotation struct {
			App   string
			Phase rotator.Phase
		}
		if err = json.Unmarshal(line.Value, &rotation); err != nil || rotation.Phase.IsEnd() {
			break
		}
		c.Open++
		if i := slices.IndexFunc(c.First, func(a BackedUpApp) bool { return a.Name == rotation.App }); i >= 0 {
			c.First[i].Phase = rotation.Phase
		}
	case bucketAudit:
		var last auditLine
		err = json.Unmarshal(line.Value, &last)
		c.Newest = last.Entry
	}
	if err != nil {
		return fmt.Errorf("backup: record %q of %s: %w", line.Key, line.Bucket, ErrBackup)
	}
	return nil
}
