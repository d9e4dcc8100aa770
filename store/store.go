// Package store keeps what the program knows in one bbolt file: apps, the
// journal of rotations, the due index, the outbox, the audit trail, and the
// key pairs, which are sealed with age.
//
// Start with [Init], once, and [Open]. A [*Store] implements
// [rotator.Store]; each method is one transaction. The package asks nobody and
// decides nothing about rotations.
//
// # Layout
//
// Every value is a version byte, a CRC-32C over bucket, key and payload, and
// the payload: JSON unless said otherwise. Parts of keys are separated by a
// zero byte; instants in keys are 12 bytes in time order; numbers are 8 bytes,
// big endian.
//
//	meta          schema    schema version, store ID, creation, recovery recipient
//	              writer    version of the program that wrote last, text
//	              canary    age: proves that the identity is the right one
//	              home      the file's inode: a copy has another
//	              state     rotator.State
//	              audit     number and SHA-256 of the last audit line
//	              outbox    number of the last event
//	              sealed    how many pairs were ever sealed, and when the last one
//	              backup    the newest backup: when, to whom, how many pairs then
//	              channels  rotator.ChannelState by name, once a worker has run
//	              sum/NAME  number of records in a bucket, XOR of their checksums
//	tenants       NAME → rotator.TenantState
//	apps          NAME → rotator.App
//	clients       TENANT, CLIENT ID → app name, text
//	rotations     ID → rotator.Rotation
//	history       APP or nothing, STARTED, ID → nothing
//	wakes         APP → its entries in the due index
//	due           KIND, AT, APP → nothing
//	certificates  THUMBPRINT → DER
//	secrets       THUMBPRINT → age: key, certificate, password, files
//	uses          THUMBPRINT, "app" or "rotation", NAME or ID → nothing
//	outbox        NUMBER → rotator.Event
//	queued        EVENT ID → NUMBER
//	audit         NUMBER → line: entry and the SHA-256 of the line before
//
// # Damage
//
// bbolt checks the sums of its two meta pages and nothing else. [Open]
// therefore reads the file by itself before bbolt maps it: a file of up to 64
// MiB in full, a larger one without its leaves. What was read in full is what
// was written. In a larger file a changed record is noticed when it is read,
// one that vanished by [Store.Check], which should run from time to time.
//
// Beside the file lies PATH.mark with the process that has it open and the
// number of the last transaction, so that an earlier copy that was put back is
// noticed. It may be deleted at any time.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"filippo.io/age"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/seed-f0abd057/rotate/rotator"
)

// schemaVersion is the version of the layout that this program reads and
// writes. Older ones are migrated.
const schemaVersion = 1

// maxFullCheckBytes is the size up to which [Open] reads the whole file: a
// third of a second from a slow disk.
const maxFullCheckBytes = 64 << 20

// Options of [Open].
type Options struct {
	// Path of the database file. It is made by [Init], never by Open.
	Path string
	// IdentityFile holds the age identity that opens what is sealed.
	IdentityFile string
	// LockTimeout is how long to wait for another process to release the
	// store. Zero: 1 s.
	LockTimeout time.Duration
	// Logger; nil: nothing is logged.
	Logger *slog.Logger
	// Version of the program, kept so that an older one can name it.
	Version string
	// NoSync leaves out fsync: a power cut may then destroy the file. For tests
	// and bulk loads only.
	NoSync bool
}

// Store is an open store. It is safe for concurrent use.
type Store struct {
	db   *bolt.DB
	file *os.File // belongs to db
	path string
	log  *slog.Logger
	// version of the program.
	version string
	sealer  *sealer
	schema  schema
	mark    *mark
	// spare counts identities of the identity file that this store does not use.
	spare int
	moved atomic.Pointer[string]
	// kinds counts due entries.
	kinds kinds
	// damaged is set once reading failed in a way that may have left locks
	// held; no method goes on then.
	damaged atomic.Bool
}

var _ rotator.Store = (*Store)(nil)

// schema is the record that says what the file is.
type schema struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	// Recovery is the public recipient that everything is sealed to besides
	// the host's identity; empty: none.
	Recovery string `json:"recovery,omitempty"`
}

// canaryText is what the canary holds, before the store's ID.
const canaryText = "rotate store "

// Open opens the store that [Init] made, waits for its lock, and checks it as
// far as the package comment says. It writes nothing but the mark, unless a
// file of an older version has to be migrated.
//
// It returns [ErrNotInitialised], [ErrNoIdentity], [ErrNoDatabase],
// [ErrPermissions], [ErrCorrupt], [ErrWrongIdentity], [ErrNewer], a [*LockedError], or the context's error
// while it waits for the lock.
func Open(ctx context.Context, o Options) (*Store, error) {
	identities, err := identityOf(o)
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	for {
		file, err := openFile(path)
		if errors.Is(err, ErrNotInitialised) {
			return nil, fmt.Errorf("store %s: %w (%s)", path, ErrNoDatabase, o.IdentityFile)
		}
		if err != nil {
			return nil, err
		}
		s := &Store{file: file, path: path, log: o.Logger, version: o.Version}
		if s.log == nil {
			s.log = slog.New(slog.DiscardHandler)
		}
		err = s.open(ctx, o, identities)
		if err == nil {
			return s, nil
		}
		if s.db != nil {
			err = errors.Join(err, s.Close())
		} else {
			_ = file.Close() // nothing was written; err says what matters
		}
		if !errors.Is(err, errReplaced) {
			return nil, err
		}
		// The identity may have been replaced with it.
		if identities, err = identityOf(o); err != nil {
			return nil, err
		}
	}
}

// identityOf reads the identity file of a store. It tells a store that lost its
// identity from one that was never made.
func identityOf(o Options) ([]*age.X25519Identity, error) {
	identities, err := readIdentity(o.IdentityFile)
	if !errors.Is(err, ErrNotInitialised) {
		return identities, err
	}
	if _, there := os.Stat(o.Path); errors.Is(there, os.ErrNotExist) {
		return nil, err
	}
	return nil, fmt.Errorf("identity file %s: %w (%s)", o.IdentityFile, ErrNoIdentity, o.Path)
}

// errReplaced says that another file took the place of the one that was opened
// while its lock was awaited, as [Rekey] does.
var errReplaced = errors.New("another file took its place")

// isInPlace returns [errReplaced] unless the open file is the one at path.
func isInPlace(file *os.File, path string) error {
	ours, err := file.Stat()
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	there, err := os.Lstat(path)
	if err != nil || !os.SameFile(ours, there) {
		return errReplaced
	}
	return nil
}

func (s *Store) open(ctx context.Context, o Options, identities []*age.X25519Identity) error {
	if err := checkPrivate(s.file, s.path); err != nil {
		return fmt.Errorf("store %w", err)
	}
	timeout := o.LockTimeout
	if timeout == 0 {
		timeout = time.Second
	}
	if err := lock(ctx, s.file, s.path, timeout); err != nil {
		return err
	}
	if err := isInPlace(s.file, s.path); err != nil {
		return err
	}
	meta, err := s.checkFile(ctx)
	if err != nil {
		return err
	}
	if err := s.openDB(o.NoSync); err != nil {
		return err
	}
	if s.schema, err = s.readSchema(ctx); err != nil {
		return err
	}
	if err := s.unlock(ctx, identities); err != nil {
		return err
	}
	if s.schema.Version < schemaVersion {
		if err := s.migrate(ctx, migrations()); err != nil {
			return err
		}
	}
	if s.mark, err = openMark(s.path, s.schema.ID); err != nil {
		return err
	}
	return s.compareHome(ctx, meta.txid)
}

// openFile opens the database file and never makes one.
func openFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the path is the operator's setting
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("store %s: %w", path, ErrNotInitialised)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("store %s: %w: this user may not write it; run the command as the owner of the file", path, ErrPermissions)
	case errors.Is(err, errReadOnlyFS):
		return nil, fmt.Errorf("store %s lies on a read-only file system: nothing could be recorded; mount it writable: %w", path, err)
	case err != nil:
		return nil, fmt.Errorf("store: %w", err)
	}
	return file, nil
}

// checkFile judges the file before bbolt maps it.
func (s *Store) checkFile(ctx context.Context) (metaPage, error) {
	meta, err := readMeta(s.file)
	if err != nil {
		return metaPage{}, s.corrupt(err.Error())
	}
	return meta, s.checkPages(ctx, meta, meta.offset(meta.next) <= maxFullCheckBytes)
}

// checkPages walks the file and compares the records with their sums.
func (s *Store) checkPages(ctx context.Context, meta metaPage, full bool) error {
	sums, want := map[string]bucketSum{}, map[string]bucketSum{}
	p := &pages{file: s.file, meta: meta, full: full}
	p.visit = func(bucket string, key, value []byte) error {
		payload, sum, err := decodeRecord(bucket, key, value)
		if err != nil && !errors.Is(err, errRecordVersion) { // a newer one is refused when it is read
			return fmt.Errorf("key %q: %w", key, err)
		}
		if bucket == bucketMeta {
			if name, ok := cutPrefix(key, metaSum); ok {
				if want[name], err = decodeBucketSum(payload); err != nil {
					return fmt.Errorf("key %q: %w", key, err)
				}
			}
			return nil
		}
		b := sums[bucket]
		sums[bucket] = bucketSum{b.records + 1, b.xor ^ sum}
		return nil
	}
	if err := p.check(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.corrupt(err.Error())
	}
	if len(p.buckets) == 0 {
		return fmt.Errorf("store %s is empty: making it was interrupted; remove this file and its identity file: %w", s.path, ErrNotInitialised)
	}
	if !full {
		return nil
	}
	for _, bucket := range p.buckets {
		if bucket != bucketMeta && sums[bucket] != want[bucket] {
			return s.corrupt(fmt.Sprintf("bucket %q holds %d records, not the %d that were written", bucket, sums[bucket].records, want[bucket].records))
		}
	}
	return nil
}

// openDB gives the file, locked and checked, to bbolt.
func (s *Store) openDB(noSync bool) (err error) {
	defer s.guard(nil, &err)()
	s.db, err = bolt.Open(s.path, 0o600, &bolt.Options{
		FreelistType:    bolt.FreelistMapType,
		NoSync:          noSync,
		NoStatistics:    true,
		InitialMmapSize: mapSize(s.file),
		OpenFile:        func(string, int, os.FileMode) (*os.File, error) { return s.file, nil },
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", s.path, err)
	}
	s.db.AllocSize = growBytes
	return nil
}

// readSchema reads what the file says about itself.
func (s *Store) readSchema(ctx context.Context) (schema, error) {
	var found schema
	err := s.view(ctx, func(t *txn) error {
		// Its own way of reading: a newer program's fields must not hide the version.
		payload, ok, err := t.get(bucketMeta, []byte(metaSchema))
		if err != nil {
			return err
		}
		if !ok {
			return s.corrupt("the schema record is missing")
		}
		var version struct{ Version int }
		if err := json.Unmarshal(payload, &version); err != nil || version.Version > schemaVersion {
			return t.newer(fmt.Sprintf("schema version %d, this program knows %d", version.Version, schemaVersion))
		}
		if found, err = decodeJSON[schema](t, bucketMeta, []byte(metaSchema), payload); err != nil {
			return err
		}
		if found.Version < schemaVersion {
			return nil
		}
		for _, name := range buckets() {
			if t.tx.Bucket([]byte(name)) == nil {
				return s.corrupt(fmt.Sprintf("bucket %q is missing", name))
			}
		}
		for _, key := range []string{metaWriter, metaCanary, metaHome, metaState, metaAudit, metaOutbox} {
			if _, ok, err := t.get(bucketMeta, []byte(key)); err != nil {
				return err
			} else if !ok {
				return t.badRecord(bucketMeta, []byte(key), errors.New("the record is missing"))
			}
		}
		for _, name := range buckets() {
			if name == bucketMeta {
				continue
			}
			if _, err := t.readSum(name); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// unlock makes the sealer and tries it on the canary.
func (s *Store) unlock(ctx context.Context, identities []*age.X25519Identity) error {
	return s.view(ctx, func(t *txn) error {
		canary, _, err := t.get(bucketMeta, []byte(metaCanary))
		if err != nil {
			return err
		}
		// The identity that opens it is the one to seal to: during [Rekey] the
		// file holds the old one and the new one.
		for i, identity := range identities {
			identities[0], identities[i] = identity, identities[0]
			if s.sealer, err = newSealer(identities, s.schema.Recovery); err != nil {
				return s.corrupt(err.Error())
			}
			plain, err := (&sealer{identities: s.sealer.identities[:1]}).open(canary)
			if errors.Is(err, ErrWrongIdentity) {
				continue
			}
			if err != nil || string(plain) != canaryText+s.schema.ID {
				return s.corrupt("the canary is not what was sealed")
			}
			s.spare = len(identities) - 1
			return nil
		}
		return fmt.Errorf("store %s: %w", s.path, ErrWrongIdentity)
	})
}

// SpareIdentities is how many identities the identity file holds that the store
// does not use: what an interrupted [Rekey] leaves behind.
func (s *Store) SpareIdentities() int { return s.spare }

// ID of the store: 8 lower-case hex digits, for ever the same.
func (s *Store) ID() string { return s.schema.ID }

// Path of the database file: absolute, symbolic links resolved.
func (s *Store) Path() string { return s.path }

// HasRecovery reports whether everything is also sealed to an offline
// recovery recipient.
func (s *Store) HasRecovery() bool { return s.schema.Recovery != "" }

// Close waits for transactions under way and closes the file. Calling it
// twice is harmless.
func (s *Store) Close() error {
	var err error
	if s.damaged.Load() {
		// bbolt may hold its locks for ever; the process ends soon.
		err = s.file.Close()
		if errors.Is(err, os.ErrClosed) {
			err = nil
		}
	} else {
		err = s.db.Close()
	}
	if s.mark != nil {
		err = errors.Join(err, s.mark.close())
	}
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

// view runs a reading transaction. It should be short: pages that are replaced
// meanwhile are not used again before it ends. What takes longer reads a [snapshot].
func (s *Store) view(ctx context.Context, read func(*txn) error) (err error) {
	if err := s.ready(ctx); err != nil {
		return err
	}
	t := &txn{Store: s}
	defer s.guard(t, &err)()
	err = s.db.View(func(tx *bolt.Tx) error {
		t.tx = tx
		return read(t)
	})
	return s.closed(err)
}

// update runs a writing transaction. Once begun it is finished whatever
// becomes of the context. An error from write is returned as it is.
func (s *Store) update(ctx context.Context, write func(*txn) error) (err error) {
	if err := s.ready(ctx); err != nil {
		return err
	}
	t := &txn{Store: s}
	defer s.guard(t, &err)()
	var (
		own error // of write, not of bbolt
		id  uint64
	)
	err = s.db.Update(func(tx *bolt.Tx) error {
		if own = ctx.Err(); own != nil { // it may have waited for another writer
			return own
		}
		t.tx, id = tx, uint64(tx.ID()) //nolint:gosec // a transaction's number is never negative
		if own = write(t); own != nil {
			return own
		}
		if !t.changed {
			own = errUnchanged
			return own
		}
		own = t.flush()
		// The commit waits for the disk. A goroutine that has run for 10 ms by then
		// loses its P to the runtime, which afterwards looks for others every 20 µs
		// for a while: on a virtual machine that costs more than the commit. A new
		// slice of time avoids it (runtime.retake and sysmon, Go 1.26).
		runtime.Gosched()
		return own
	})
	switch {
	case errors.Is(own, errUnchanged):
		return nil
	case own != nil:
		return own
	case err != nil:
		s.kinds.forget()
		return fmt.Errorf("store %s: write: %w", s.path, s.closed(err))
	}
	s.kinds.add(t.kinds, id)
	if t.audited.Number > 0 {
		// The journal then knows more than this file: a trail that is cut off is
		// noticed by "rotate audit verify --expect".
		s.log.InfoContext(ctx, "audit", "line", t.audited.Number, "sha256", t.audited.SHA256)
	}
	if s.mark != nil && s.moved.Load() == nil {
		if err := s.mark.note(id); err != nil {
			s.log.WarnContext(ctx, "mark beside the store not written", "err", err)
		}
	}
	return nil
}

// errUnchanged ends a transaction that has nothing to write.
var errUnchanged = errors.New("nothing changed")

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("the store is closed")

func (s *Store) closed(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("store %s: %w", s.path, ErrClosed)
	}
	return err
}

func (s *Store) ready(ctx context.Context) error {
	if s.damaged.Load() {
		return s.corrupt("reading it failed before")
	}
	return ctx.Err()
}

// guard turns what bbolt does on a damaged file, panics and memory faults,
// into [ErrCorrupt]. The panics of a caller's function stay panics.
func (s *Store) guard(t *txn, err *error) func() {
	faults := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(faults)
		if t != nil && t.calling {
			return
		}
		if fault := recover(); fault != nil {
			s.damaged.Store(true)
			*err = s.corrupt(fmt.Sprintf("reading it failed: %v", fault))
		}
	}
}

func (s *Store) corrupt(what string) error {
	return fmt.Errorf("store %s: %s: %w", s.path, what, ErrCorrupt)
}

func cutPrefix(key []byte, prefix string) (string, bool) {
	if len(key) < len(prefix) || !slices.Equal(key[:len(prefix)], []byte(prefix)) {
		return "", false
	}
	return string(key[len(prefix):]), true
}
