package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
	"github.com/seed-f0abd057/rotate/store/fleet"
)

// newFleet is a store with many apps, and the key of its backups.
func newFleet(tb testing.TB, f fleet.Fleet) (place, store.BackupKey) {
	tb.Helper()
	keyFile, recipient := recoveryKey(tb)
	dir := tb.TempDir()
	p := place{store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key"), NoSync: true}}
	if _, err := store.Init(tb.Context(), store.InitOptions{Path: p.Path, IdentityFile: p.IdentityFile, Recovery: recipient}); err != nil {
		tb.Fatal(err)
	}
	s := p.open(tb)
	if err := errors.Join(f.Fill(tb.Context(), s, nil), s.Close()); err != nil {
		tb.Fatal(err)
	}
	return p, backupKey(tb, keyFile)
}

// TestC1ReadersNeverStopWriters makes the file many times as large as it was while a
// reading transaction is open, and others read meanwhile. bbolt can make its map of the
// file larger only while nobody reads.
func TestC1ReadersNeverStopWriters(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.NoSync = true
	s := p.open(t)
	before, err := os.Stat(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	release := make(chan struct{})
	reading := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		reading <- s.Reading(t.Context(), func() error { close(begun); <-release; return nil })
	}()
	<-begun
	go func() {
		for i := range 64 {
			app := fmt.Sprintf("app-%d", i)
			err := s.Change(t.Context(), app, func(r *rotator.Records) error {
				r.App = newApp(app)
				r.App.Owner = string(bytes.Repeat([]byte{'x'}, 1<<20))
				return nil
			})
			if _, readErr := s.App(t.Context(), app); err != nil || readErr != nil {
				done <- errors.Join(err, readErr)
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute): // it would wait for ever
		t.Error("writers wait until a reader is done")
	}
	close(release)
	if err := <-reading; err != nil {
		t.Error(err)
	}
	if after, err := os.Stat(p.Path); err != nil || after.Size() < 64<<20 {
		t.Errorf("the file has %d bytes, had %d, %v; it was to grow", after.Size(), before.Size(), err)
	}
}

// TestC1LongWorkReadsACopy changes the store again and again while it is copied,
// checked and proven. A reading transaction that stays open keeps all pages that are
// replaced meanwhile, so that the file grows with each change.
func TestC1LongWorkReadsACopy(t *testing.T) {
	t.Parallel()
	p, _ := newFleet(t, fleet.Fleet{Apps: 64})
	for name, work := range map[string]func(s *store.Store, report func(string, uint64, uint64)) error{
		"backup": func(s *store.Store, report func(string, uint64, uint64)) error {
			r, _, err := s.Backup(t.Context(), nil, report)
			if err == nil {
				err = r.Close()
			}
			return err
		},
		"check": func(s *store.Store, report func(string, uint64, uint64)) error {
			faults, _, err := s.Findings(t.Context(), report)
			if len(faults) > 0 {
				t.Errorf("faults: %q", faults)
			}
			return err
		},
		"audit": func(s *store.Store, report func(string, uint64, uint64)) error {
			_, err := s.ProveAudit(t.Context(), "", report)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := p.open(t)
			defer s.Close()
			pages, err := s.Pages()
			if err != nil {
				t.Fatal(err)
			}
			changes, seen := 0, map[string]bool{}
			err = work(s, func(what string, _, _ uint64) {
				// The copy itself is made within a transaction; the rest is not.
				if what == "copy the store, in MiB" || seen[what] {
					return
				}
				seen[what] = true
				for i := range 100 {
					changes++
					err := s.Change(t.Context(), fleet.Name(i%8), func(r *rotator.Records) error { r.App.Owner = fmt.Sprint(changes); return nil })
					if err != nil {
						t.Error(err)
					}
				}
			})
			if err != nil || changes == 0 {
				t.Fatalf("%v, %d changes meanwhile", err, changes)
			}
			after, err := s.Pages()
			if grown := after - pages; err != nil || grown > 200 {
				t.Errorf("%d changes during %s made the file longer by %d pages, %v; want the pages of changes before used again", changes, name, grown, err)
			}
		})
	}
}

// TestC7MemoryDoesNotGrow makes and restores backups of a few apps and of many, checks
// the store, and follows the audit trail. What the program has in use meanwhile must be
// the same.
func TestC7MemoryDoesNotGrow(t *testing.T) {
	few, many := peak(t, 100), peak(t, 600)
	for what, bytes := range many {
		t.Logf("%s: %d KiB in use with 100 apps, %d KiB with 600", what, few[what]>>10, bytes>>10)
		if bytes > few[what]+1<<20 {
			t.Errorf("%s: %d KiB in use with 100 apps, %d KiB with 600; want the same", what, few[what]>>10, bytes>>10)
		}
	}
}

// peak is what was in use at most during each kind of long work, beyond what was
// before, in bytes.
func peak(t *testing.T, apps int) map[string]uint64 {
	t.Helper()
	p, key := newFleet(t, fleet.Fleet{Apps: apps, Open: apps / 20})
	s := p.open(t)
	defer s.Close()
	most := map[string]uint64{}
	measure := func(what string, work func(report func(string, uint64, uint64)) error) {
		before := inUse()
		calls := 0
		err := work(func(string, uint64, uint64) {
			if calls++; calls%16 == 0 {
				now := inUse()
				most[what] = max(most[what], now-min(now, before))
			}
		})
		if err != nil || calls == 0 {
			t.Fatalf("%s of %d apps: %v, reported %d times", what, apps, err, calls)
		}
	}
	file := filepath.Join(t.TempDir(), "backup.age")
	measure("backup", func(report func(string, uint64, uint64)) error {
		r, _, err := s.Backup(t.Context(), nil, report)
		if err != nil {
			return err
		}
		out, err := os.Create(file)
		if err == nil {
			_, err = io.Copy(out, r)
		}
		return errors.Join(err, r.Close(), out.Close())
	})
	measure("check", func(report func(string, uint64, uint64)) error {
		_, _, err := s.Findings(t.Context(), report)
		return err
	})
	measure("audit", func(report func(string, uint64, uint64)) error {
		_, err := s.ProveAudit(t.Context(), "", report)
		return err
	})
	measure("read", func(report func(string, uint64, uint64)) error {
		in, err := os.Open(file)
		if err != nil {
			return err
		}
		c, err := store.ReadBackup(t.Context(), in, key, report)
		if c.Apps != apps || c.Pairs != apps || c.Open != apps/20 {
			t.Errorf("the backup holds %d apps, %d pairs, %d open rotations of %d apps", c.Apps, c.Pairs, c.Open, apps)
		}
		return errors.Join(err, in.Close())
	})
	measure("restore", func(report func(string, uint64, uint64)) error {
		in, err := os.Open(file)
		if err != nil {
			return err
		}
		dir := t.TempDir()
		_, err = store.Restore(t.Context(), in, key, store.RestoreOptions{
			Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key"), Report: report,
		})
		return errors.Join(err, in.Close())
	})
	return most
}

// inUse is how many bytes are reachable.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
