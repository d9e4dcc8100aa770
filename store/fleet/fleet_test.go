package fleet_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
	"github.com/seed-f0abd057/rotate/store/fleet"
)

// TestFill makes a store, which must be sound, of the size that the program's own have.
func TestFill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "keys", "store.key"), NoSync: true}
	if _, err := store.Init(t.Context(), store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const apps = 500
	f := fleet.Fleet{Apps: apps, Tenants: 7, Open: 47, Failing: 5}
	if err := f.Fill(t.Context(), s, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := s.CountApps(t.Context()); err != nil || n != apps {
		t.Errorf("%d apps, %v", n, err)
	}
	faults, notes, err := s.Findings(t.Context(), nil)
	if err != nil || len(faults)+len(notes) > 0 {
		t.Errorf("faults %q, notes %q, %v", faults, notes, err)
	}
	open, err := s.Due(t.Context(), rotator.WakeOpen, time.Now(), 0)
	if err != nil || len(open) != f.Open {
		t.Errorf("%d are open, %v; want %d", len(open), err, f.Open)
	}
	due, err := s.Due(t.Context(), rotator.WakeStart, time.Now().Add(30*24*time.Hour), 0)
	if err != nil || len(due) > 0 {
		t.Errorf("%d are due within a month, %v", len(due), err)
	}
	info, err := os.Stat(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	if size := info.Size() / apps; size < 15_000 || size > 28_000 {
		t.Errorf("%d bytes an app, want some 20,000 and what the file is longer", size)
	}
	t.Logf("%d bytes an app", info.Size()/apps)
}
