package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/seed-f0abd057/rotate/rotator"
)

// A build is a store file that is made from the records of another store, under
// a name of its own; nobody sees it before it is whole.
type build struct {
	*Store
	part    string
	batch   []record
	pending int // bytes in batch
	// progress is told how far it is.
	progress *progress
}

// record is one record on its way to another file.
type record struct {
	bucket       string
	key, payload []byte
}

// batchBytes is how much a build writes in one transaction.
const batchBytes = 256 << 10

// travels tells that a record of bucket meta is the same in another file. The
// others are made anew: sums, canary, home, writer.
func travels(key string) bool {
	return !strings.HasPrefix(key, metaSum) && key != metaCanary && key != metaHome && key != metaWriter
}

// dump calls visit for every record that another file takes over. What it is
// given is valid until it returns.
func (t *txn) dump(ctx context.Context, visit func(record) error) error {
	for _, name := range buckets() {
		err := t.each(name, nil, nil, func(key, payload []byte) (bool, error) {
			if name == bucketMeta && !travels(string(key)) {
				return true, nil
			}
			return true, errors.Join(ctx.Err(), visit(record{name, key, payload}))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// newBuild begins a file at part, which must belong to nobody else: a leftover
// is overwritten, one that is in use is a [*LockedError]. identityOf gives the
// identity to seal to; it is called when nobody else can be building there.
func newBuild(ctx context.Context, part string, identityOf func() (*age.X25519Identity, error), s schema, version string) (*build, error) {
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the store
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := errors.Join(lock(ctx, file, part, 0), isInPlace(file, part)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	b := &build{part: part, progress: &progress{}, Store: &Store{
		file: file, path: part, log: slog.New(slog.DiscardHandler), version: version, schema: s,
	}}
	if err := errors.Join(checkPrivate(file, part), file.Truncate(0)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	identity, err := identityOf()
	if err == nil {
		b.sealer, err = newSealer([]*age.X25519Identity{identity}, s.Recovery)
	}
	if err != nil {
		return nil, errors.Join(err, b.discard())
	}
	// Nothing is durable before finish syncs all of it.
	if err := b.openDB(true); err != nil {
		return nil, errors.Join(err, b.discard())
	}
	err = b.update(ctx, func(t *txn) error {
		t.changed = true
		var errs []error
		for _, name := range buckets() {
			_, err := t.tx.CreateBucket([]byte(name))
			errs = append(errs, err)
		}
		for _, name := range buckets() {
			if name != bucketMeta {
				errs = append(errs, t.put(bucketMeta, []byte(metaSum+name), bucketSum{}.encode()))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return nil, errors.Join(err, b.discard())
	}
	return b, nil
}

// add takes a record over; one of bucket secrets is given as it was before it
// was sealed. That it holds a pair is seen by finish.
func (b *build) add(ctx context.Context, r record) error {
	switch {
	case r.bucket == bucketSecrets:
		sealed, err := b.sealer.seal(r.payload)
		if err != nil {
			return fmt.Errorf("seal key pair %s: %w", r.key, err)
		}
		r.payload = sealed
	case r.bucket == bucketMeta && string(r.key) == metaSchema:
		return nil // finish writes it
	}
	b.batch = append(b.batch, record{r.bucket, append([]byte(nil), r.key...), append([]byte(nil), r.payload...)})
	if b.pending += len(r.key) + len(r.payload); b.pending < batchBytes {
		return nil
	}
	return b.write(ctx)
}

// write commits what was added.
func (b *build) write(ctx context.Context) error {
	err := b.update(ctx, func(t *txn) error {
		for _, r := range b.batch {
			if t.tx.Bucket([]byte(r.bucket)) == nil {
				return fmt.Errorf("bucket %q is not known to this version: %w", r.bucket, ErrNewer)
			}
			if err := t.put(r.bucket, r.key, r.payload); err != nil {
				return err
			}
		}
		return nil
	})
	b.batch, b.pending = nil, 0
	return err
}

// finish writes the last records, with extra, makes the file durable, and reads
// all of it again: pages, records, indexes, audit trail, and every key pair.
func (b *build) finish(ctx context.Context, where home, extra func(*txn) error) error {
	if err := b.write(ctx); err != nil {
		return err
	}
	canary, err := b.sealer.seal([]byte(canaryText + b.schema.ID))
	if err != nil {
		return fmt.Errorf("store: seal the canary: %w", err)
	}
	if where.Restored == "" {
		if where.Inode, err = b.inode(); err != nil {
			return err
		}
	}
	where.At = time.Now().UTC()
	err = b.update(ctx, func(t *txn) error {
		return errors.Join(
			putJSON(t, bucketMeta, []byte(metaSchema), b.schema),
			t.put(bucketMeta, []byte(metaCanary), canary),
			putJSON(t, bucketMeta, []byte(metaHome), where),
			extra(t),
		)
	})
	if err != nil {
		return err
	}
	if err := b.db.Sync(); err != nil {
		return fmt.Errorf("store %s: %w", b.path, err)
	}
	if err := b.checkAll(ctx, b.progress); err != nil {
		return err
	}
	return b.checkPairs(ctx)
}

// checkPairs opens every sealed pair.
func (b *build) checkPairs(ctx context.Context) error {
	return b.view(ctx, func(t *txn) error {
		sum, err := t.readSum(bucketSecrets)
		if err != nil {
			return err
		}
		b.progress.begin("open key pairs", sum.records)
		return t.each(bucketSecrets, nil, nil, func(key, sealed []byte) (bool, error) {
			b.progress.add()
			if _, err := b.sealer.openPair(sealed, rotator.Thumbprint(key)); err != nil {
				return false, t.badRecord(bucketSecrets, key, err)
			}
			return true, ctx.Err()
		})
	})
}

// discard removes the file.
func (b *build) discard() error {
	err := os.Remove(b.part)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if b.db == nil {
		return errors.Join(err, b.file.Close())
	}
	return errors.Join(err, b.Close())
}
