package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// rekeyUntilKilled dies before the effect that the environment numbers.
func rekeyUntilKilled() error {
	number, err := strconv.Atoi(os.Getenv("STORE_TEST_AT"))
	if err != nil {
		return err
	}
	o := store.RekeyOptions{
		Options:     store.Options{Path: os.Getenv("STORE_TEST_PATH"), IdentityFile: os.Getenv("STORE_TEST_KEY")},
		OpenWith:    os.Getenv("STORE_TEST_OPEN_WITH"),
		NewIdentity: os.Getenv("STORE_TEST_NEW"),
	}
	seen := 0
	_, err = store.RekeyAt(context.Background(), o, func(string) {
		if seen++; seen == number {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it is delivered
		}
	})
	return err
}

// kill runs a rekey that dies before its effect number at; false if it was done
// before.
func kill(t *testing.T, p place, at int, env ...string) bool {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_CHILD=rekey", "STORE_TEST_PATH="+p.Path, "STORE_TEST_KEY="+p.IdentityFile, "STORE_TEST_AT="+strconv.Itoa(at))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if status, isUnix := exit.Sys().(syscall.WaitStatus); !ok || !isUnix || status.Signal() != syscall.SIGKILL {
		t.Fatalf("effect %d: %v: %s", at, err, out)
	}
	return true
}

// TestRekeyKilled kills a rekey before each of its effects. The store then
// works with the identity file as it is, and is not taken for a copy; a second
// rekey ends what the first began.
func TestRekeyKilled(t *testing.T) {
	at := 1
	for ; ; at++ {
		p, s, _ := filledStore(t)
		id := s.ID()
		s.Close()
		old := read(t, p.IdentityFile)
		killed := kill(t, p, at)
		for range 2 {
			s = p.open(t)
			mustHold(t, s)
			if moved, why := s.Moved(); moved || s.ID() != id {
				t.Errorf("effect %d: store %s, Moved = %v, %s", at, s.ID(), moved, why)
			}
			// What is sealed now can be opened later.
			mustChange(t, s, "app-1", func(r *rotator.Records) { r.Seal = pairs()[:1] })
			s.Close()
		}
		if !killed && read(t, p.IdentityFile) == old {
			t.Errorf("the identity is the old one")
		}
		done, err := store.Rekey(t.Context(), store.RekeyOptions{Options: p.Options, By: "test"})
		if err != nil || done.Pairs != 3 {
			t.Fatalf("effect %d: once more: %+v, %v", at, done, err)
		}
		s = p.open(t)
		mustHold(t, s)
		if moved, why := s.Moved(); moved || s.SpareIdentities() != 0 {
			t.Errorf("effect %d: once more: Moved = %v %s, %d spare identities", at, moved, why, s.SpareIdentities())
		}
		s.Close()
		if text := read(t, p.IdentityFile); strings.Count(text, "AGE-SECRET-KEY-") != 1 || !strings.Contains(text, done.Recipient) {
			t.Errorf("effect %d: the identity file holds\n%s", at, strings.ReplaceAll(text, "AGE-SECRET-KEY-", "…"))
		}
		p.IdentityFile = keep(t, old)
		if _, err := store.Open(t.Context(), p.Options); !errors.Is(err, store.ErrWrongIdentity) {
			t.Errorf("effect %d: with the old identity: %v", at, err)
		}
		if left, _ := filepath.Glob(p.Path + ".rekey"); left != nil {
			t.Errorf("effect %d: left behind: %v", at, left)
		}
		if !killed {
			break
		}
	}
	if at < 7 {
		t.Errorf("only %d effects were seen", at-1)
	}
}

// keep writes a text to a file of its own.
func keep(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRekeyKilledWithAFileForTheNewIdentity is the same where a service manager
// provides the identity: one of the two files opens the store.
func TestRekeyKilledWithAFileForTheNewIdentity(t *testing.T) {
	for at := 1; ; at++ {
		p, s, _ := filledStore(t)
		s.Close()
		next := filepath.Join(t.TempDir(), "next.key")
		old := read(t, p.IdentityFile)
		killed := kill(t, p, at, "STORE_TEST_NEW="+next)
		if read(t, p.IdentityFile) != old {
			t.Fatalf("effect %d: the identity file was changed", at)
		}
		s, err := store.Open(t.Context(), p.Options)
		if errors.Is(err, store.ErrWrongIdentity) {
			p.IdentityFile = next
			s, err = store.Open(t.Context(), p.Options)
		} else if !killed {
			t.Error("the old identity still opens it")
		}
		if err != nil {
			t.Fatalf("effect %d: %v", at, err)
		}
		mustHold(t, s)
		s.Close()
		if !killed {
			return
		}
	}
}

// Where the host's identity is lost, the recovery key makes a new one.
func TestRekeyWithTheRecoveryKey(t *testing.T) {
	for at := 1; ; at++ {
		p, s, keyFile := filledStore(t)
		s.Close()
		if err := os.Remove(p.IdentityFile); err != nil {
			t.Fatal(err)
		}
		killed := kill(t, p, at, "STORE_TEST_OPEN_WITH="+keyFile)
		if killed {
			if _, err := store.Rekey(t.Context(), store.RekeyOptions{Options: p.Options, OpenWith: keyFile}); err != nil {
				t.Fatalf("effect %d: once more: %v", at, err)
			}
		}
		mustHold(t, p.open(t))
		if !killed {
			return
		}
	}
}

func TestRekeyRecovery(t *testing.T) {
	p, s, oldKey := filledStore(t)
	s.Close()
	newKey, recipient := recoveryKey(t)
	if _, err := store.Rekey(t.Context(), store.RekeyOptions{Options: p.Options, Recovery: &recipient}); err != nil {
		t.Fatal(err)
	}
	with := func(key string) error {
		o := p.Options
		o.IdentityFile = key
		s, err := store.Open(t.Context(), o)
		if err == nil {
			mustHold(t, s)
			err = s.Close()
		}
		return err
	}
	if err := with(newKey); err != nil {
		t.Errorf("with the new recovery key: %v", err)
	}
	if err := with(oldKey); !errors.Is(err, store.ErrWrongIdentity) {
		t.Errorf("with the old recovery key: %v", err)
	}
}

// A restored store stays one: sealing it anew settles nothing.
func TestRekeyKeepsMoved(t *testing.T) {
	p, s, _ := filledStore(t)
	s.Close()
	data := read(t, p.Path)
	if err := errors.Join(os.WriteFile(p.Path+"2", []byte(data), 0o600), os.Rename(p.Path+"2", p.Path)); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Rekey(t.Context(), store.RekeyOptions{Options: p.Options}); err != nil {
		t.Fatal(err)
	}
	if moved, _ := p.open(t).Moved(); !moved {
		t.Error("the copy is taken for the store")
	}
}

func TestRekeyRefuses(t *testing.T) {
	p, s, _ := filledStore(t)
	_, err := store.Rekey(t.Context(), store.RekeyOptions{Options: p.Options})
	locked, ok := errors.AsType[*store.LockedError](err)
	if !ok || locked.PID != os.Getpid() {
		t.Errorf("while the store is in use: %v", err)
	}
	s.Close()
	link := p
	link.IdentityFile += ".link"
	if err := os.Symlink(p.IdentityFile, link.IdentityFile); err != nil {
		t.Fatal(err)
	}
	before := read(t, p.Path)
	if _, err := store.Rekey(t.Context(), store.RekeyOptions{Options: link.Options}); !errors.Is(err, store.ErrNotReplaceable) || read(t, p.Path) != before {
		t.Errorf("an identity behind a link: %v", err)
	}
}

// Whoever waited for the lock while the file was replaced gets the new file.
func TestOpenDuringRekey(t *testing.T) {
	p, s, _ := filledStore(t)
	s.Close()
	waiting := make(chan error, 1)
	_, err := store.RekeyAt(t.Context(), store.RekeyOptions{Options: p.Options}, func(effect string) {
		if effect != "make the new file" {
			return
		}
		go func() {
			o := p.Options
			o.LockTimeout = time.Minute
			s, err := store.Open(t.Context(), o)
			if err == nil {
				err = s.Change(t.Context(), "app-0", func(r *rotator.Records) error { r.App.Owner = "written after it"; return nil })
				err = errors.Join(err, s.Close())
			}
			waiting <- err
		}()
		// Until it has the file open, which nothing but the kernel can tell.
		for openFiles(t, p.Path) < 2 {
			time.Sleep(time.Millisecond)
		}
	})
	if err := errors.Join(err, <-waiting); err != nil {
		t.Fatal(err)
	}
	if app, err := p.open(t).App(t.Context(), "app-0"); err != nil || app.Owner != "written after it" {
		t.Errorf("the app is %+v, %v", app, err)
	}
}

// openFiles counts this process's descriptors of a file.
func openFiles(t *testing.T, path string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, entry := range entries {
		if target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%s", entry.Name())); err == nil && target == path {
			n++
		}
	}
	return n
}
