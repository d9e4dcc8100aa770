package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/store"
)

// crowd is how many do the same at the same time.
const crowd = 8

// atOnce runs something in so many goroutines that start together, and returns how
// each of them ended.
func atOnce(act func(i int) error) []error {
	errs := make([]error, crowd)
	begin := make(chan struct{})
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() {
			<-begin
			errs[i] = act(i)
		})
	}
	close(begin)
	running.Wait()
	return errs
}

// Of several restores to one place one makes the store, whole, and the others say
// why they did not; the identity that it is sealed to stays. Some of them fail on
// their own account, at the end of a damaged backup.
func TestRestoreTwice(t *testing.T) {
	_, s, keyFile := filledStore(t)
	data := backupOf(t, s)
	damaged := bytes.Clone(data)
	damaged[len(damaged)-1] ^= 1
	key := backupKey(t, keyFile)
	for range 10 {
		dir := t.TempDir()
		p := place{store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key"), Version: "v1.0.0"}}
		restore := func(backup []byte) error {
			_, err := store.Restore(t.Context(), bytes.NewReader(backup), key, store.RestoreOptions{Path: p.Path, IdentityFile: p.IdentityFile})
			return err
		}
		done := 0
		for i, err := range atOnce(func(i int) error {
			if i%2 == 0 {
				return restore(damaged)
			}
			return restore(data)
		}) {
			_, isLocked := errors.AsType[*store.LockedError](err)
			switch {
			case err == nil:
				done++
			case !isLocked && !errors.Is(err, store.ErrExists) && (i%2 != 0 || !errors.Is(err, store.ErrBackup)):
				t.Errorf("restore %d: %v", i, err)
			}
		}
		if done == 0 { // each met another that failed
			if err := restore(data); err != nil {
				t.Fatal(err)
			}
		} else if done > 1 {
			t.Errorf("%d restores made the store", done)
		}
		restored := p.open(t)
		mustHold(t, restored)
		restored.Close()
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 3 {
			t.Errorf("besides store, mark and identity there is something: %v, %v", left, err)
		}
	}
}

// Several rekeys run one after the other or are refused; the store opens with the
// identity that is there in the end, and with no other.
func TestRekeyTwice(t *testing.T) {
	p, s, keyFile := filledStore(t)
	s.Close()
	o := p.Options
	o.LockTimeout = time.Minute
	done := 0
	for i, err := range atOnce(func(int) error {
		_, err := store.Rekey(t.Context(), store.RekeyOptions{Options: o})
		return err
	}) {
		_, isLocked := errors.AsType[*store.LockedError](err)
		switch {
		case err == nil:
			done++
		case !isLocked && !errors.Is(err, store.ErrWrongIdentity):
			t.Errorf("rekey %d: %v", i, err)
		}
	}
	if done == 0 {
		t.Error("no rekey worked")
	}
	s = p.open(t)
	mustHold(t, s)
	if spare := s.SpareIdentities(); spare != 0 {
		t.Errorf("%d identities are left over", spare)
	}
	s.Close()
	p.IdentityFile = keyFile
	mustHold(t, p.open(t))
}
