package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// recoveryKey makes an age identity and its file.
func recoveryKey(tb testing.TB) (file, recipient string) {
	tb.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		tb.Fatal(err)
	}
	file = filepath.Join(tb.TempDir(), "recovery.key")
	if err := os.WriteFile(file, []byte(identity.String()+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return file, identity.Recipient().String()
}

// fillStore puts an app with a sealed pair, a rotation, due entries, an event
// and audit lines into a store.
func fillStore(ctx context.Context, s *store.Store) error {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i, pair := range pairs() {
		name := fmt.Sprintf("app-%d", i)
		err := s.Change(ctx, name, func(r *rotator.Records) error {
			current, err := rotator.CredentialOf(pair.Certificate)
			if err != nil {
				return err
			}
			r.App = newApp(name)
			r.App.ClientID += rotator.ClientID(fmt.Sprint(i))
			r.App.Current, r.App.Rotation = &current, "rot-"+name
			r.Rotation = &rotator.Rotation{ID: "rot-" + name, App: name, Phase: rotator.PhaseProven, StartedAt: at, New: current}
			r.Seal = []rotator.KeyPair{pair}
			r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: name, At: at}}
			r.Events = []rotator.Event{{Kind: rotator.EventRotated, App: name}}
			r.Audit = []rotator.AuditEntry{{At: at.AddDate(0, 0, i), By: "test", What: "app added", App: name}}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mustHold checks that a store is sound and that all three pairs open.
func mustHold(tb testing.TB, s *store.Store) {
	tb.Helper()
	mustBeSound(tb, s)
	for _, pair := range pairs() {
		got, err := s.KeyPair(tb.Context(), pair.Thumbprint())
		if err != nil || !got.Key.Equal(pair.Key) || got.Password != pair.Password || !bytes.Equal(got.Encoded["modern"], pair.Encoded["modern"]) {
			tb.Errorf("KeyPair(%s): %v, %v", pair.Thumbprint(), got, err)
		}
	}
}

func backupOf(tb testing.TB, s *store.Store, to ...string) []byte {
	tb.Helper()
	r, _, err := s.Backup(tb.Context(), to, nil)
	if err != nil {
		tb.Fatalf("Backup: %v", err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func backupKey(tb testing.TB, file string) store.BackupKey {
	tb.Helper()
	key, err := store.ReadBackupKey(file)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// filledStore is a store with content and a recovery recipient.
func filledStore(tb testing.TB) (p place, s *store.Store, keyFile string) {
	tb.Helper()
	keyFile, recipient := recoveryKey(tb)
	dir := tb.TempDir()
	p = place{store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key"), Version: "v1.0.0"}}
	_, err := store.Init(tb.Context(), store.InitOptions{Path: p.Path, IdentityFile: p.IdentityFile, Recovery: recipient})
	if err != nil {
		tb.Fatal(err)
	}
	s = p.open(tb)
	if err := fillStore(tb.Context(), s); err != nil {
		tb.Fatal(err)
	}
	return p, s, keyFile
}

func TestBackupAndRestore(t *testing.T) {
	p, s, keyFile := filledStore(t)
	data := backupOf(t, s)
	for form, identity := range forms([]byte(strings.TrimSpace(read(t, p.IdentityFile)[strings.Index(read(t, p.IdentityFile), "AGE-SECRET"):]))) {
		if bytes.Contains(data, identity) {
			t.Errorf("the backup holds the identity as %s", form)
		}
	}
	contents, err := store.ReadBackup(t.Context(), bytes.NewReader(data), backupKey(t, keyFile), nil)
	if err != nil {
		t.Fatal(err)
	}
	if contents.Apps != 3 || contents.Pairs != 3 || contents.StoreID != s.ID() || contents.Open != 3 || contents.First[0].Phase != rotator.PhaseProven ||
		contents.Newest.App != "app-2" || contents.Sealed != 3 {
		t.Errorf("ReadBackup: %+v", contents)
	}

	dir := t.TempDir()
	other := place{store.Options{Path: filepath.Join(dir, "data/rotate.db"), IdentityFile: filepath.Join(dir, "keys/store.key"), Version: "v1.0.0"}}
	restored, err := store.Restore(t.Context(), bytes.NewReader(data), backupKey(t, keyFile), store.RestoreOptions{
		Path: other.Path, IdentityFile: other.IdentityFile, By: "root",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !restored.MadeIdentity || restored.Recipient == "" {
		t.Errorf("Restore: %+v", restored)
	}
	r := other.open(t)
	mustHold(t, r)
	if moved, why := r.Moved(); !moved || !strings.Contains(why, "restored from the backup of ") {
		t.Errorf("Moved = %v, %q", moved, why)
	}
	for _, bucket := range []string{"apps", "clients", "rotations", "history", "wakes", "due", "certificates", "uses", "outbox", "queued"} {
		want, err := s.Records(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Records(t.Context(), bucket)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("bucket %s (-before +restored):\n%s", bucket, d)
		}
	}
	if n, err := r.VerifyAudit(t.Context()); err != nil || n != 4 {
		t.Errorf("VerifyAudit = %d, %v; want the 3 lines and one about the restore", n, err)
	}
	if err := r.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r = other.open(t)
	if moved, why := r.Moved(); moved {
		t.Errorf("after Settle: %s", why)
	}
	// Its keys open with the recovery key as before.
	r.Close()
	other.IdentityFile = keyFile
	mustHold(t, other.open(t))
}

// A key that is given with the backup is enough, whoever the store was sealed to.
func TestBackupToOthers(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	if err := fillStore(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Backup(t.Context(), nil, nil); !errors.Is(err, rotator.ErrUsage) {
		t.Errorf("a backup for nobody: %v", err)
	}
	if _, _, err := s.Backup(t.Context(), []string{"age1nonsense"}, nil); !errors.Is(err, rotator.ErrUsage) {
		t.Errorf("a backup for nonsense: %v", err)
	}
	first, one := recoveryKey(t)
	second, two := recoveryKey(t)
	data := backupOf(t, s, one, two)
	for _, file := range []string{first, second} {
		dir := t.TempDir()
		to := place{store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key")}}
		if _, err := store.Restore(t.Context(), bytes.NewReader(data), backupKey(t, file), store.RestoreOptions{Path: to.Path, IdentityFile: to.IdentityFile}); err != nil {
			t.Fatal(err)
		}
		mustHold(t, to.open(t))
	}
	if _, err := store.ReadBackup(t.Context(), bytes.NewReader(data), backupKey(t, p.IdentityFile), nil); !errors.Is(err, store.ErrWrongKey) {
		t.Errorf("with the host's identity: %v", err)
	}
}

func TestBackupNotes(t *testing.T) {
	_, s, _ := filledStore(t)
	check := func(when string, want uint64, made bool) {
		t.Helper()
		last, newer, _, err := s.Backups(t.Context())
		if err != nil || newer != want || last.IsZero() == made {
			t.Errorf("%s: last backup %s, %d keys are newer, %v; want %d", when, last, newer, err, want)
		}
	}
	check("without a backup", 3, false)
	at := time.Now()
	// S10: what the recovery key does not open saves nothing.
	if err := s.BackupDone(t.Context(), at, []string{"age1x"}, 3, rotator.AuditEntry{What: "backup"}); err != nil {
		t.Fatal(err)
	}
	check("after one to another recipient", 3, false)
	if err := s.BackupDone(t.Context(), at, []string{"age1x", s.Recovery()}, 3, rotator.AuditEntry{What: "backup"}); err != nil {
		t.Fatal(err)
	}
	check("after it", 0, true)
	mustChange(t, s, "app-0", func(r *rotator.Records) { r.Seal = pairs()[:1] })
	check("after one more key", 1, true)
	if err := s.BackupDone(t.Context(), at, nil, 99, rotator.AuditEntry{}); !errors.Is(err, rotator.ErrUsage) {
		t.Errorf("a backup of another store: %v", err)
	}
}

// Whatever byte is changed, and wherever it ends, a backup restores in full or
// not at all, and leaves nothing behind.
func TestBadBackup(t *testing.T) {
	_, s, keyFile := filledStore(t)
	data, key := backupOf(t, s), backupKey(t, keyFile)
	try := func(what string, data []byte) {
		t.Helper()
		dir := t.TempDir()
		_, err := store.Restore(t.Context(), bytes.NewReader(data), key, store.RestoreOptions{
			Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key"),
		})
		if !errors.Is(err, store.ErrBackup) && !errors.Is(err, store.ErrWrongKey) {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left behind: %v", what, left)
		}
	}
	step := len(data)/40 + 1
	for at := 0; at < len(data); at += step {
		try(fmt.Sprintf("cut off after %d of %d bytes", at, len(data)), data[:at])
		flipped := bytes.Clone(data)
		flipped[at] ^= 1
		try(fmt.Sprintf("byte %d changed", at), flipped)
	}
	try("one byte is missing", data[:len(data)-1])
	try("one byte too many", append(bytes.Clone(data), 0))
}

func TestRestoreOverwritesNothing(t *testing.T) {
	p, s, keyFile := filledStore(t)
	data, before := backupOf(t, s), read(t, p.Path)
	_, err := store.Restore(t.Context(), bytes.NewReader(data), backupKey(t, keyFile), store.RestoreOptions{Path: p.Path, IdentityFile: p.IdentityFile})
	if !errors.Is(err, store.ErrExists) || read(t, p.Path) != before {
		t.Errorf("onto the store itself: %v", err)
	}
	other, _ := recoveryKey(t)
	_, err = store.Restore(t.Context(), bytes.NewReader(data), backupKey(t, other), store.RestoreOptions{Path: p.Path + "2", IdentityFile: p.IdentityFile})
	if !errors.Is(err, store.ErrWrongKey) {
		t.Errorf("with the wrong key: %v", err)
	}
	// With the identity that is there, the same host goes on with it.
	_, err = store.Restore(t.Context(), bytes.NewReader(data), backupKey(t, keyFile), store.RestoreOptions{Path: p.Path + "2", IdentityFile: p.IdentityFile})
	if err != nil {
		t.Fatal(err)
	}
	p.Path += "2"
	mustHold(t, p.open(t))
}

// recoverLimited makes a backup, restores and rekeys where files cannot grow,
// and then where they can.
func recoverLimited() error {
	ctx, dir := context.Background(), os.Getenv("STORE_TEST_PATH")
	o := store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key")}
	d, err := limited(dir)
	if err != nil {
		return err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	keyFile := filepath.Join(dir, "recovery.key")
	if err := os.WriteFile(keyFile, []byte(identity.String()), 0o600); err != nil {
		return err
	}
	if _, err := store.Init(ctx, store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile, Recovery: identity.Recipient().String()}); err != nil {
		return err
	}
	key, err := store.ReadBackupKey(keyFile)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	if err := fillStore(ctx, s); err != nil {
		return err
	}
	r, _, err := s.Backup(ctx, nil, nil)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close(), s.Close()); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	acts := map[string]func() error{
		"backup": func() error {
			s, err := store.Open(ctx, o)
			if err != nil {
				return err
			}
			r, _, err := s.Backup(ctx, nil, nil)
			if err == nil {
				err = r.Close()
			}
			return errors.Join(err, s.Close())
		},
		"restore": func() error {
			_, err := store.Restore(ctx, bytes.NewReader(data), key, store.RestoreOptions{Path: o.Path + "2", IdentityFile: o.IdentityFile})
			return err
		},
		"rekey": func() error {
			_, err := store.Rekey(ctx, store.RekeyOptions{Options: o})
			return err
		},
	}
	for name, act := range acts {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 12 << 10, Max: ^uint64(0)}); err != nil {
			return err
		}
		err := act()
		if err == nil || !strings.Contains(err.Error(), d.full.Error()) {
			return fmt.Errorf("%s on a full disk: %w, want %w", name, err, d.full)
		}
		if err := d.free(); err != nil {
			return err
		}
		after, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		if fmt.Sprint(after) != fmt.Sprint(files) {
			return fmt.Errorf("%s on a full disk: left behind %v, before %v", name, after, files)
		}
	}
	for name, act := range acts {
		if err := act(); err != nil {
			return fmt.Errorf("%s with room again: %w", name, err)
		}
	}
	return nil
}

func TestRecoveryDiskFull(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_CHILD=recover-limited", "STORE_TEST_PATH="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
