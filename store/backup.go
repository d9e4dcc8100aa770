package store

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
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
// what it is, then every record of the store, last their number. Key pairs stand
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
// given away: a slow reader holds nobody up. The caller closes it. check, unless
// it is empty, is one more recipient: of a key that lives in memory, with which
// the file is read again once (see [NewBackupKey]).
//
// It returns [rotator.ErrUsage] if there is nobody to seal it to.
func (s *Store) Backup(ctx context.Context, to []string, check string) (_ io.ReadCloser, err error) {
	if len(to) == 0 && s.schema.Recovery == "" {
		return nil, usagef("backup: the store has no recovery recipient; say with --to (age1…) whose key shall open the backup")
	}
	if len(to) == 0 {
		to = []string{s.schema.Recovery}
	}
	var recipients []age.Recipient
	for _, text := range append(slices.Clip(to), check) {
		if text == "" {
			continue
		}
		recipient, err := parseRecipient("recipient", text)
		if err != nil {
			return nil, fmt.Errorf("backup: %w", err)
		}
		recipients = append(recipients, recipient)
	}
	spool, err := os.CreateTemp(filepath.Dir(s.path), ".backup-*")
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("backup: %w", err), spool.Close())
	}
	buffered := bufio.NewWriterSize(spool, 1<<20)
	sealed, err := age.Encrypt(buffered, recipients...)
	if err == nil {
		err = s.writeBackup(ctx, sealed, to)
	}
	if err == nil {
		err = errors.Join(sealed.Close(), buffered.Flush())
	}
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("backup: %w", err), spool.Close())
	}
	return spool, nil
}

func (s *Store) writeBackup(ctx context.Context, w io.Writer, to []string) error {
	zipped := gzip.NewWriter(w)
	lines := json.NewEncoder(zipped)
	err := s.view(ctx, func(t *txn) error {
		count, _, err := getJSON[sealedCount](t, bucketMeta, []byte(metaSealed))
		if err != nil {
			return err
		}
		head := backupHead{
			Format: backupFormat, StoreID: s.schema.ID, At: time.Now().UTC(), Version: s.version,
			Schema: s.schema, To: to, Sealed: count.Count,
		}
		if err := lines.Encode(head); err != nil {
			return err
		}
		var records uint64
		err = t.dump(ctx, func(r record) error {
			records++
			if r.bucket == bucketSecrets {
				plain, err := s.sealer.open(r.payload)
				if err != nil {
					return t.badRecord(r.bucket, r.key, err)
				}
				defer clear(plain)
				if _, err := parsePair(plain, rotator.Thumbprint(r.key)); err != nil {
					return t.badRecord(r.bucket, r.key, err)
				}
				r.payload = plain
			}
			return lines.Encode(backupLine{Bucket: r.bucket, Key: r.key, Value: r.payload})
		})
		if err != nil {
			return err
		}
		return lines.Encode(backupLine{End: &records})
	})
	return errors.Join(err, zipped.Close())
}

// BackupDone notes a backup that was written and read again: of the time, to
// the recipients, with the count of sealed pairs that its [Contents] tell.
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
		if at.After(note.At) {
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

// NewBackupKey makes a key that lives in memory only: a backup that is sealed to
// it too can be read again by whoever just wrote it. It returns the key and its
// recipient.
func NewBackupKey() (BackupKey, string, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return BackupKey{}, "", fmt.Errorf("make age identity: %w", err)
	}
	return BackupKey{[]age.Identity{identity}}, identity.Recipient().String(), nil
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
	Apps     []rotator.App
	// Open rotations, by app.
	Open map[string]rotator.Phase
	// Pairs counts key pairs.
	Pairs int
	// Newest is the last line of the audit trail; zero: there is none.
	Newest rotator.AuditEntry
}

// ReadBackup reads a backup to its end, opens every key pair in it, and tells
// what it holds. It returns [ErrWrongKey] if the key is not that of a
// recipient, and [ErrBackup] if it is not whole.
func ReadBackup(ctx context.Context, r io.Reader, key BackupKey) (Contents, error) {
	return readBackup(ctx, r, key, func(backupHead) error { return nil }, func(r record) error {
		if r.bucket != bucketSecrets {
			return nil
		}
		_, err := parsePair(r.payload, rotator.Thumbprint(r.key))
		return err
	})
}

// readBackup calls begin with the first line and add for each record.
func readBackup(ctx context.Context, r io.Reader, key BackupKey, begin func(backupHead) error, add func(record) error) (Contents, error) {
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
		Recovery: head.Schema.Recovery, Open: map[string]rotator.Phase{},
	}
	if err := begin(head); err != nil {
		return c, err
	}
	for n := uint64(0); ; n++ {
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
		var app rotator.App
		err = json.Unmarshal(line.Value, &app)
		c.Apps = append(c.Apps, app)
	case bucketRotations:
		var rotation rotator.Rotation
		err = json.Unmarshal(line.Value, &rotation)
		if !rotation.Phase.IsEnd() {
			c.Open[rotation.App] = rotation.Phase
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
