package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/seed-f0abd057/rotate/rotator"
)

// InitOptions of [Init].
type InitOptions struct {
	// Path of the database file to make.
	Path string
	// IdentityFile to make. It should not lie beside the store: whoever copies
	// both has the keys.
	IdentityFile string
	// KeepIdentity uses the identity file that is there, such as a systemd
	// credential, instead of making one.
	KeepIdentity bool
	// Recovery is an age recipient (age1…) whose private half is kept off this
	// host; everything is sealed to it too. Empty: a lost identity means lost
	// keys.
	Recovery string
	// Version of the program.
	Version string
}

// Initialised is what [Init] made.
type Initialised struct {
	// ID of the store.
	ID string
	// Recipient is the public half of the host's identity (age1…).
	Recipient string
}

// Init makes the identity file (mode 0600), the database file (mode 0600), and
// folders (mode 0700) where they are missing. It returns [ErrExists] if one of
// the files is there, and leaves nothing behind when it fails.
func Init(ctx context.Context, o InitOptions) (made Initialised, err error) {
	if o.Recovery != "" {
		if _, err := parseRecovery(o.Recovery); err != nil {
			return Initialised{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return Initialised{}, err
	}
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return Initialised{}, fmt.Errorf("store: %w", err)
	}
	if err := mustNotExist("store", path); err != nil {
		return Initialised{}, err
	}

	var identity *age.X25519Identity
	if o.KeepIdentity {
		found, err := readIdentity(o.IdentityFile)
		if errors.Is(err, ErrNotInitialised) {
			return Initialised{}, fmt.Errorf("identity file %s, which is to be kept: %w", o.IdentityFile, os.ErrNotExist)
		}
		if err != nil {
			return Initialised{}, err
		}
		identity = found[0]
	} else {
		if identity, err = makeIdentity(o.IdentityFile); err != nil {
			return Initialised{}, err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, os.Remove(o.IdentityFile))
			}
		}()
	}
	seal, err := newSealer([]*age.X25519Identity{identity}, o.Recovery)
	if err != nil {
		return Initialised{}, err
	}

	file, err := makeFile(path)
	if err != nil {
		return Initialised{}, err
	}
	s := &Store{file: file, path: path, version: o.Version, sealer: seal}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if err := lock(ctx, file, path, time.Second); err != nil {
		return Initialised{}, errors.Join(err, file.Close())
	}
	if err := s.openDB(false); err != nil {
		return Initialised{}, err
	}
	err = s.fill(ctx, o)
	if err := errors.Join(err, s.Close(), syncFolder(path)); err != nil {
		return Initialised{}, err
	}
	return Initialised{ID: s.schema.ID, Recipient: identity.Recipient().String()}, nil
}

// fill writes the first records, in one transaction.
func (s *Store) fill(ctx context.Context, o InitOptions) error {
	inode, err := s.inode()
	if err != nil {
		return err
	}
	id := make([]byte, 4)
	_, _ = rand.Read(id) // never fails
	now := time.Now().UTC()
	s.schema = schema{Version: schemaVersion, ID: hex.EncodeToString(id), CreatedAt: now, CreatedBy: o.Version, Recovery: o.Recovery}
	canary, err := s.sealer.seal([]byte(canaryText + s.schema.ID))
	if err != nil {
		return fmt.Errorf("store: seal the canary: %w", err)
	}
	return s.update(ctx, func(t *txn) error {
		for _, name := range buckets() {
			if _, err := t.tx.CreateBucket([]byte(name)); err != nil {
				return fmt.Errorf("store: make bucket %q: %w", name, err)
			}
		}
		var errs []error
		for _, name := range buckets() {
			if name != bucketMeta {
				errs = append(errs, t.put(bucketMeta, []byte(metaSum+name), bucketSum{}.encode()))
			}
		}
		return errors.Join(append(errs,
			putJSON(t, bucketMeta, []byte(metaSchema), s.schema),
			t.put(bucketMeta, []byte(metaCanary), canary),
			putJSON(t, bucketMeta, []byte(metaHome), home{Inode: inode, At: now}),
			putJSON(t, bucketMeta, []byte(metaState), rotator.State{}),
			putJSON(t, bucketMeta, []byte(metaAudit), auditHead{}),
			t.put(bucketMeta, []byte(metaOutbox), numberKey(0)),
		)...)
	})
}

// makeIdentity makes an age identity and writes it to a new file.
func makeIdentity(path string) (*age.X25519Identity, error) {
	if err := mustNotExist("identity file", path); err != nil {
		return nil, err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make age identity: %w", err)
	}
	file, err := makeFile(path)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(identityText(identity))
	if err := errors.Join(err, file.Sync(), file.Close(), syncFolder(path)); err != nil {
		return nil, errors.Join(fmt.Errorf("write identity file: %w", err), os.Remove(path))
	}
	return identity, nil
}

// identityText is what an identity file holds.
func identityText(identity *age.X25519Identity) []byte {
	return fmt.Appendf(nil, "# age identity of rotate, made %s. Without it the stored keys cannot be opened.\n# public key: %s\n%s\n",
		time.Now().UTC().Format(time.RFC3339), identity.Recipient(), identity)
}

// makeFile makes an empty file that nobody else may use, and its folder.
func makeFile(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is the operator's setting
	if err != nil {
		return nil, fmt.Errorf("make file: %w", err)
	}
	return file, nil
}

func mustNotExist(what, path string) error {
	if path == "" {
		return fmt.Errorf("%s: no path is given", what)
	}
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s %s %w", what, path, ErrExists)
	case errors.Is(err, os.ErrNotExist):
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// syncFolder makes a new entry in a file's folder durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
