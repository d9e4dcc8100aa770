package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/google/renameio/v2"

	"github.com/seed-f0abd057/rotate/rotator"
)

// RekeyOptions of [Rekey].
type RekeyOptions struct {
	// Options of the store: Path, IdentityFile, LockTimeout and Version count.
	Options
	// OpenWith is a file with an identity that opens the store: the recovery key
	// where the host's identity is lost. Empty: IdentityFile.
	OpenWith string
	// NewIdentity is a file with the identity to seal to; it is made if it is
	// missing. The identity file stays as it is: whoever provides it, such as a
	// service manager, has to replace it. Empty: an identity is made and takes
	// the place of IdentityFile.
	NewIdentity string
	// Recovery replaces the recovery recipient; nil: it stays, empty: none.
	Recovery *string
	// By is who does it, for the audit trail.
	By string

	// at is called before each effect, with its name; for tests.
	at func(effect string)
}

// Rekeyed is what [Rekey] did.
type Rekeyed struct {
	// Recipient is the public half of the new identity.
	Recipient string
	Recovery  string
	Pairs     int
}

// Rekey seals everything in the store to a new identity. Nobody else may have
// the store open.
//
// It makes a new file beside the store, without a trace of what was sealed to
// the old identity, and swaps two names. At each instant the identity file, or
// NewIdentity, holds an identity that opens the store:
//
//  1. the new file is written, synced, and read again;
//  2. the identity file is replaced by one with the old and the new identity;
//  3. the new file takes the store's name;
//  4. the identity file is replaced by one with the new identity alone.
//
// A file with two identities opens both stores; [Open] seals to the one that
// opens the canary. So a process that dies in between leaves a store that
// works; [Store.SpareIdentities] tells of it, and Rekey begins anew.
func Rekey(ctx context.Context, o RekeyOptions) (_ Rekeyed, err error) {
	at := o.at
	if at == nil {
		at = func(string) {}
	}
	inPlace := o.NewIdentity == ""
	openWith := o.Options
	if o.OpenWith != "" {
		openWith.IdentityFile = o.OpenWith
	}
	old, err := Open(ctx, openWith)
	if err != nil {
		return Rekeyed{}, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()

	var identity *age.X25519Identity
	var before []byte
	if inPlace {
		if before, err = replaceable(o.IdentityFile); err != nil {
			return Rekeyed{}, err
		}
		identity, err = age.GenerateX25519Identity()
	} else {
		at("make the new identity")
		identity, _, err = identityAt(o.NewIdentity)
	}
	if err != nil {
		return Rekeyed{}, fmt.Errorf("rekey: %w", err)
	}
	next := old.schema
	if o.Recovery != nil {
		next.Recovery = *o.Recovery
	}
	at("make the new file")
	b, err := newBuild(ctx, old.path+".rekey", func() (*age.X25519Identity, error) { return identity, nil }, next, o.Version)
	if err != nil {
		return Rekeyed{}, fmt.Errorf("rekey: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.discard())
		} else {
			err = b.Close()
		}
	}()
	done := Rekeyed{Recipient: identity.Recipient().String(), Recovery: next.Recovery}
	if err := b.copyFrom(ctx, old, &done.Pairs); err != nil {
		return Rekeyed{}, fmt.Errorf("rekey: %w", err)
	}
	moved, why := old.Moved()
	where := home{}
	if moved {
		where.Restored = why // it must not be settled by this
	}
	err = b.finish(ctx, where, func(t *txn) error {
		return t.writeAudit(rotator.AuditEntry{
			At: time.Now().UTC(), By: o.By, What: "store sealed to a new identity",
			Note: "identity " + done.Recipient + ", recovery " + orNone(next.Recovery),
		})
	})
	if err != nil {
		return Rekeyed{}, fmt.Errorf("rekey: %w", err)
	}

	if inPlace {
		at("put the new identity beside the old one")
		if err := writeIdentities(o.IdentityFile, before, identity); err != nil {
			return Rekeyed{}, fmt.Errorf("rekey: %w", err)
		}
	}
	// Its transactions are counted from the beginning: an old mark would call
	// the new file an earlier copy.
	at("remove the mark")
	if err := os.Remove(old.path + markSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Rekeyed{}, fmt.Errorf("rekey: %w", err)
	}
	at("replace the store")
	if err := os.Rename(b.part, old.path); err != nil {
		err = fmt.Errorf("rekey: %w", err)
		if inPlace && len(before) > 0 {
			err = errors.Join(err, renameio.WriteFile(o.IdentityFile, before, 0o600))
		}
		return Rekeyed{}, err
	}
	if err := syncFolder(old.path); err != nil {
		return done, fmt.Errorf("rekey: the store is sealed to the new identity: %w", err)
	}
	if inPlace {
		at("remove the old identity")
		if err := writeIdentities(o.IdentityFile, nil, identity); err != nil {
			return done, fmt.Errorf("rekey: the store is sealed to the new identity, the old one is still in %s beside it: %w", o.IdentityFile, err)
		}
	}
	at("done")
	return done, nil
}

// copyFrom takes over all records of another store.
func (b *build) copyFrom(ctx context.Context, from *Store, pairs *int) error {
	return from.view(ctx, func(t *txn) error {
		return t.dump(ctx, func(r record) error {
			if r.bucket != bucketSecrets {
				return b.add(ctx, r)
			}
			*pairs++
			plain, err := from.sealer.open(r.payload)
			if err != nil {
				return t.badRecord(r.bucket, r.key, err)
			}
			defer clear(plain)
			r.payload = plain
			return b.add(ctx, r)
		})
	})
}

// replaceable returns what an identity file holds, nothing if it is missing,
// and an error if it cannot be replaced by another file.
func replaceable(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("identity file: %w", err)
	case info.Mode()&os.ModeSymlink != 0:
		return nil, fmt.Errorf("identity file %s is a link and cannot be replaced in its place: %w", path, ErrNotReplaceable)
	}
	if _, err := readIdentity(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path) //nolint:gosec // the path is the operator's setting
}

// ErrNotReplaceable says that somebody else provides the identity file.
var ErrNotReplaceable = errors.New("name a file for the new identity, and put it in place of the old one afterwards")

// writeIdentities replaces an identity file: by what it held before, if
// anything, and the new identity.
func writeIdentities(path string, before []byte, identity *age.X25519Identity) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	text := identityText(identity)
	if len(before) > 0 {
		text = append(append([]byte(nil), before...), text...)
	}
	// Written and synced under another name first, mode 0600.
	if err := renameio.WriteFile(path, text, 0o600); err != nil {
		if errors.Is(err, os.ErrPermission) || errors.Is(err, errReadOnlyFS) {
			return fmt.Errorf("replace identity file: %w: %w", err, ErrNotReplaceable)
		}
		return fmt.Errorf("replace identity file: %w", err)
	}
	return syncFolder(path)
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
