package store

import (
	"context"
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

// RestoreOptions of [Restore].
type RestoreOptions struct {
	// Path of the database file to make.
	Path string
	// IdentityFile of this host. It is used if it is there and made if not; the
	// keys are sealed to it.
	IdentityFile string
	// Version of the program.
	Version string
	// By is who restores, for the audit trail.
	By string
	// Report is told how far it is; nil: nobody is.
	Report func(what string, done, total uint64)
}

// Restored is what [Restore] made.
type Restored struct {
	Contents
	// Recipient is the public half of the host's identity, MadeIdentity tells
	// that it is a new one.
	Recipient    string
	MadeIdentity bool
}

// partSuffix marks a file that is being made.
const partSuffix = ".part"

// Restore makes the store that a backup holds. The keys are sealed to this
// host's identity and to the recovery recipient that the store had. The file
// gets its name when it is whole and was read again; an error leaves nothing
// behind. A restored store counts as moved until [Store.Settle]: whoever goes
// on with it may know less than Entra.
//
// It returns [ErrExists] if there is a store, [ErrWrongKey], [ErrBackup], or a
// [*LockedError] if somebody else restores to the same place.
func Restore(ctx context.Context, r io.Reader, key BackupKey, o RestoreOptions) (_ Restored, err error) {
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return Restored{}, fmt.Errorf("store: %w", err)
	}
	if err := mustNotExist("store", path); err != nil {
		return Restored{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return Restored{}, fmt.Errorf("make folder: %w", err)
	}
	var (
		restored Restored
		b        *build
	)
	defer func() {
		if err == nil {
			return
		}
		// Before others can begin, for they would use it.
		if restored.MadeIdentity {
			err = errors.Join(err, os.Remove(o.IdentityFile))
		}
		if b != nil {
			err = errors.Join(err, b.discard())
		}
	}()
	p := &progress{report: o.Report}
	begin := func(head backupHead) (err error) {
		b, err = newBuild(ctx, path+partSuffix, func() (*age.X25519Identity, error) {
			// Another restore may have ended after this one looked.
			if err := mustNotExist("store", path); err != nil {
				return nil, err
			}
			identity, made, err := identityAt(o.IdentityFile)
			if err == nil {
				restored.MadeIdentity, restored.Recipient = made, identity.Recipient().String()
			}
			return identity, err
		}, head.Schema, o.Version)
		if err == nil {
			b.progress = p
		}
		return err
	}
	restored.Contents, err = readBackup(ctx, r, key, p, begin, func(r record) error { return b.add(ctx, r) })
	if err != nil {
		return Restored{}, err
	}
	from := "the backup of " + restored.At.Format(time.RFC3339)
	err = b.finish(ctx, home{Restored: from}, func(t *txn) error {
		var noted error
		if restored.Recovery == "" || slices.Contains(restored.To, restored.Recovery) {
			noted = putJSON(t, bucketMeta, []byte(metaBackup), backupNote{restored.At, restored.To, restored.Sealed})
		}
		return errors.Join(
			noted,
			t.writeAudit(rotator.AuditEntry{At: time.Now().UTC(), By: o.By, What: "store restored", Note: "from " + from}),
		)
	})
	if err != nil {
		return Restored{}, err
	}
	// What is sealed to an identity that is gone is lost.
	if kept, err := readIdentity(o.IdentityFile); err != nil || kept[0].Recipient().String() != restored.Recipient {
		return Restored{}, errors.Join(fmt.Errorf("identity file %s was changed meanwhile", o.IdentityFile), err)
	}
	// A link never replaces what is there.
	if err := os.Link(b.part, path); err != nil {
		if errors.Is(err, os.ErrExist) {
			return Restored{}, fmt.Errorf("store %s %w", path, ErrExists)
		}
		return Restored{}, fmt.Errorf("store: %w", err)
	}
	if err := errors.Join(os.Remove(b.part), syncFolder(path), b.Close()); err != nil {
		return restored, fmt.Errorf("store %s was restored: %w", path, err)
	}
	b = nil
	return restored, nil
}

// identityAt returns the identity in a file, which it makes if it is missing.
func identityAt(path string) (*age.X25519Identity, bool, error) {
	found, err := readIdentity(path)
	if err == nil {
		return found[0], false, nil
	}
	if !errors.Is(err, ErrNotInitialised) {
		return nil, false, err
	}
	made, err := makeIdentity(path)
	return made, err == nil, err
}
