package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// disk is a place for a store that can be full.
type disk struct {
	dir string
	// full is what a write returns when there is no room.
	full       syscall.Errno
	fill, free func() error
}

// limited limits the size of files, which needs no privilege.
func limited(dir string) (disk, error) {
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return disk{}, err
	}
	set := func(limit uint64) error {
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: before.Max})
	}
	return disk{
		dir: dir, full: syscall.EFBIG,
		fill: func() error {
			info, err := os.Stat(filepath.Join(dir, "rotate.db"))
			if err != nil {
				return err
			}
			return set(uint64(info.Size()))
		},
		free: func() error { return set(before.Cur) },
	}, nil
}

// fillUp is what the child does: it writes until the disk is full, and goes on
// when there is room again.
func fillUp(newDisk func(dir string) (disk, error)) error {
	d, err := newDisk(os.Getenv("STORE_TEST_PATH"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	o := store.Options{Path: filepath.Join(d.dir, "rotate.db"), IdentityFile: filepath.Join(d.dir, "store.key")}
	if _, err := store.Init(ctx, store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		return err
	}
	s, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	add := func() error {
		return s.Change(ctx, "app-1", func(r *rotator.Records) error {
			if r.App == nil {
				r.App = newApp("app-1")
			}
			r.App.Tags = append(r.App.Tags, strings.Repeat("x", 20_000))
			return nil
		})
	}
	check := func(when string, want int) error {
		app, err := s.App(ctx, "app-1")
		if err != nil || len(app.Tags) != want {
			return fmt.Errorf("%s: %d changes are there, want %d (%w)", when, len(app.Tags), want, err)
		}
		if err := s.Check(ctx); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		return nil
	}
	n := 0
	for range 3 {
		if err := add(); err != nil {
			return err
		}
		n++
	}
	for range 2 {
		if err := d.fill(); err != nil {
			return err
		}
		for err = nil; err == nil; err = add() {
			if n++; n > 1000 {
				return errors.New("it is never full")
			}
		}
		n--
		// bbolt wraps the cause of a failed write, not that of a failed resize.
		if !strings.Contains(err.Error(), d.full.Error()) || !strings.Contains(err.Error(), o.Path) {
			return fmt.Errorf("a full disk: %w, want %w and the path", err, d.full)
		}
		if err := check("disk full", n); err != nil {
			return err
		}
		if err := s.Close(); err != nil {
			return err
		}
		if s, err = store.Open(ctx, o); err != nil {
			return fmt.Errorf("open while the disk is full: %w", err)
		}
		if err := check("opened again", n); err != nil {
			return err
		}
		if err := d.free(); err != nil {
			return err
		}
		if err := add(); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
		n++
		if err := check("with room again", n); err != nil {
			return err
		}
	}
	return s.Close()
}

// TestDiskLimited fills what a file may hold.
func TestDiskLimited(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_CHILD=limited", "STORE_TEST_PATH="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
