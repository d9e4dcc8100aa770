package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// TestMain lets the test binary be the other process: it opens the store that
// the environment names and does what it says.
func TestMain(m *testing.M) {
	if what := os.Getenv("STORE_TEST_CHILD"); what != "" {
		if err := child(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(what string) error {
	switch what {
	case "limited":
		return fillUp(limited)
	case "tmpfs":
		return fillUp(tmpfs)
	case "read-only":
		return readOnly()
	case "rekey":
		return rekeyUntilKilled()
	case "recover-limited":
		return recoverLimited()
	}
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Path: os.Getenv("STORE_TEST_PATH"), IdentityFile: os.Getenv("STORE_TEST_KEY"), Version: "v1.0.0"})
	if err != nil {
		return err
	}
	fmt.Println("open")
	if what == "hold" {
		_, err := io.ReadAll(os.Stdin)
		return errors.Join(err, s.Close())
	}
	for {
		n := 0
		err := s.Change(ctx, "app-1", func(r *rotator.Records) error {
			if r.App == nil {
				r.App = newApp("app-1")
			}
			n = len(r.State.FixStreak) + 1
			r.App.Owner = fmt.Sprint(n)
			r.State.FixStreak = append(r.State.FixStreak, "x")
			r.Rotation = &rotator.Rotation{ID: fmt.Sprint(n), App: "app-1", Phase: rotator.PhaseRetired, StartedAt: time.Unix(int64(n), 0)}
			r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: "app-1", At: time.Unix(int64(n), 0)}}
			r.Audit = []rotator.AuditEntry{{What: fmt.Sprint(n)}}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// start runs the child and returns it and its output, after it opened the store.
func start(t *testing.T, p place, what string) (*exec.Cmd, *bufio.Scanner, io.Closer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_CHILD="+what, "STORE_TEST_PATH="+p.Path, "STORE_TEST_KEY="+p.IdentityFile)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("the child says %q", lines.Text())
	}
	return cmd, lines, in
}

func TestKilledWriter(t *testing.T) {
	p := newPlace(t)
	written := 0
	for round := range 8 {
		cmd, lines, _ := start(t, p, "write")
		for range 3*round + 1 {
			if !lines.Scan() {
				t.Fatal("the child stopped")
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		last := lines.Text()
		for lines.Scan() { // what it said before it died
			last = lines.Text()
		}
		_ = cmd.Wait()
		if _, err := fmt.Sscan(last, &written); err != nil {
			t.Fatal(err)
		}

		s := p.open(t)
		state, err := s.State(t.Context())
		if n := len(state.FixStreak); err != nil || n != written && n != written+1 {
			t.Errorf("round %d: %d changes are there, %d were confirmed (%v)", round, n, written, err)
		}
		app, err := s.App(t.Context(), "app-1")
		if err != nil || app.Owner != fmt.Sprint(len(state.FixStreak)) {
			t.Errorf("round %d: half a change: %s of %d (%v)", round, app.Owner, len(state.FixStreak), err)
		}
		mustBeSound(t, s)
		if moved, why := s.Moved(); moved {
			t.Errorf("round %d: moved: %s", round, why)
		}
		s.Close()
	}
}

func TestLockedByAnotherProcess(t *testing.T) {
	p := newPlace(t)
	cmd, _, release := start(t, p, "hold")
	p.LockTimeout = 50 * time.Millisecond
	_, err := store.Open(t.Context(), p.Options)
	locked, ok := errors.AsType[*store.LockedError](err)
	if !ok || locked.PID != cmd.Process.Pid || locked.Path != p.Path || locked.Command == "" {
		t.Errorf("Open: %v, want a LockedError with process %d", err, cmd.Process.Pid)
	}
	if want := fmt.Sprintf("in use by process %d (%s)", cmd.Process.Pid, filepath.Base(os.Args[0])[:8]); err == nil || !strings.Contains(err.Error(), want[:len(want)-1]) {
		t.Errorf("Open: %v, want %q", err, want)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	p.LockTimeout = time.Hour
	if _, err := store.Open(ctx, p.Options); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open with a context that ends: %v", err)
	}

	done := make(chan error)
	go func() {
		s, err := store.Open(t.Context(), p.Options)
		if err == nil {
			err = s.Close()
		}
		done <- err
	}()
	release.Close()
	if err := <-done; err != nil {
		t.Errorf("Open after the other let go: %v", err)
	}
	_ = cmd.Wait()
}

func TestLockedByNobodyKnown(t *testing.T) {
	p := newPlace(t)
	p.open(t)
	p.LockTimeout = time.Millisecond
	for name, mark := range map[string]string{
		"no mark": "", "rubbish": "rubbish\n",
		"a process that is gone": "store 01234567 transaction 00000000000000000001 process 0999999999\n",
	} {
		write(t, p.Path+".mark", mark)
		_, err := store.Open(t.Context(), p.Options)
		if locked, ok := errors.AsType[*store.LockedError](err); !ok || locked.PID != 0 || !strings.HasSuffix(err.Error(), "in use by another process") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNotInitialised(t *testing.T) {
	p := newPlace(t)
	key := p.IdentityFile
	p.Path += "2"
	_, err := store.Open(t.Context(), p.Options)
	if !errors.Is(err, store.ErrNoDatabase) || !strings.Contains(err.Error(), p.Path) || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "rotate init") {
		t.Errorf("no file: %v", err)
	}
	if _, err := os.Lstat(p.Path); err == nil {
		t.Error("Open made a file")
	}
	p = newPlace(t)
	p.IdentityFile = key + "2"
	if _, err := store.Open(t.Context(), p.Options); !errors.Is(err, store.ErrNoIdentity) || !strings.Contains(err.Error(), p.IdentityFile) || strings.Contains(err.Error(), "rotate init") {
		t.Errorf("no identity file: %v", err)
	}
	p.Path += "2"
	if _, err := store.Open(t.Context(), p.Options); !errors.Is(err, store.ErrNotInitialised) || !strings.Contains(err.Error(), "no store yet") {
		t.Errorf("neither: %v", err)
	}
}

func TestPermissions(t *testing.T) {
	for _, test := range []struct {
		name string
		file func(place) string
		mode os.FileMode
		ok   bool
	}{
		{"key for the group", func(p place) string { return p.IdentityFile }, 0o640, false},
		{"key for all", func(p place) string { return p.IdentityFile }, 0o604, false},
		{"key that others may write", func(p place) string { return p.IdentityFile }, 0o622, false},
		{"key that is read-only", func(p place) string { return p.IdentityFile }, 0o400, true},
		{"store for the group", func(p place) string { return p.Path }, 0o660, false},
		{"store for all", func(p place) string { return p.Path }, 0o644, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			path := test.file(p)
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			s, err := store.Open(t.Context(), p.Options)
			if test.ok {
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
				return
			}
			if !errors.Is(err, store.ErrPermissions) || !strings.Contains(err.Error(), "chmod 600 "+path) {
				t.Errorf("Open: %v, want ErrPermissions and the command that helps", err)
			}
		})
	}
	t.Run("a folder as key", func(t *testing.T) {
		p := newPlace(t)
		p.IdentityFile = filepath.Dir(p.Path)
		if _, err := store.Open(t.Context(), p.Options); err == nil || !strings.Contains(err.Error(), "regular file") {
			t.Errorf("Open: %v", err)
		}
	})
}

func TestNewerIsRefused(t *testing.T) {
	rotation := `{"id":"r1","app":"app-1","mode":"self","by":"","phase":"molten","new":{},"display_name":"","started_at":"2026-01-01T00:00:00Z","phase_at":null,"upload":{}}`
	for _, test := range []struct {
		name       string
		bucket     string
		key, value string
		version    byte
		want       string
	}{
		{"schema", "meta", "schema", `{"version":7,"shape":"round"}`, 1, "schema version 7"},
		{"record", "apps", "app-1", "\x00\x01", 2, "unknown version: 2"},
		{"field", "apps", "app-1", `{"name":"app-1","colour":"red"}`, 1, `"colour"`},
		{"phase", "rotations", "r1", rotation, 1, `"molten"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			p.Version = "v9.9.9"
			s := p.open(t)
			if err := s.PutVersion(t.Context(), test.bucket, test.key, test.version, []byte(test.value)); err != nil {
				t.Fatal(err)
			}
			s.Close()
			before := read(t, p.Path)
			p.Version = "v1.0.0"
			s, err := store.Open(t.Context(), p.Options)
			if err == nil {
				defer s.Close()
				_, err1 := s.App(t.Context(), "app-1")
				_, err2 := s.Rotation(t.Context(), "r1")
				err = errors.Join(err1, err2)
				if cerr := s.Change(t.Context(), "app-1", func(r *rotator.Records) error {
					r.App = newApp("app-1")
					r.Rotation = &rotator.Rotation{ID: "r1", App: "app-1", Phase: rotator.PhasePlanned}
					return nil
				}); !errors.Is(cerr, store.ErrNewer) {
					t.Errorf("Change: %v, want ErrNewer", cerr)
				}
			}
			if !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "v9.9.9") {
				t.Errorf("%v, want ErrNewer, %s and v9.9.9", err, test.want)
			}
			if read(t, p.Path) != before {
				t.Error("the file was changed")
			}
		})
	}
}

func TestMoved(t *testing.T) {
	copyFile := func(from, to string) error {
		data, err := os.ReadFile(from)
		return errors.Join(err, os.WriteFile(to, data, 0o600))
	}
	owner := func(t *testing.T, s *store.Store, owner string) {
		t.Helper()
		mustChange(t, s, "app-1", func(r *rotator.Records) { r.App = newApp("app-1"); r.App.Owner = owner })
	}
	for _, test := range []struct {
		name string
		move func(*place) error
		want string
	}{
		{"not at all", func(*place) error { return nil }, ""},
		{"renamed", func(p *place) error {
			p.Path += "2"
			return os.Rename(strings.TrimSuffix(p.Path, "2"), p.Path)
		}, ""},
		{"the mark is gone", func(p *place) error { return os.Remove(p.Path + ".mark") }, ""},
		{"the mark is rubbish", func(p *place) error { return os.WriteFile(p.Path+".mark", []byte("rubbish"), 0o600) }, ""},
		{"a copy beside it", func(p *place) error {
			p.Path += "2"
			return copyFile(strings.TrimSuffix(p.Path, "2"), p.Path)
		}, "copy"},
		{"a copy put in its place", func(p *place) error {
			return errors.Join(copyFile(p.Path, p.Path+"2"), os.Rename(p.Path+"2", p.Path))
		}, "copy"},
		{"an earlier copy written over it", func(p *place) error { return copyFile(p.Path+".earlier", p.Path) }, "earlier copy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlace(t)
			s := p.open(t)
			owner(t, s, "first")
			if err := copyFile(p.Path, p.Path+".earlier"); err != nil {
				t.Fatal(err)
			}
			owner(t, s, "second")
			s.Close()
			if err := test.move(&p); err != nil {
				t.Fatal(err)
			}
			for range 2 { // it is not forgotten before somebody says so
				s = p.open(t)
				if moved, why := s.Moved(); moved != (test.want != "") || !strings.Contains(why, test.want) {
					t.Errorf("Moved = %v, %q, want %q", moved, why, test.want)
				}
				s.Close()
			}
			s = p.open(t)
			if err := s.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if moved, why := s.Moved(); moved {
					t.Errorf("after Settle: %s", why)
				}
				owner(t, s, "third")
				s.Close()
				s = p.open(t)
			}
		})
	}
}

func TestMarkOfAnotherStoreIsDropped(t *testing.T) {
	p := newPlace(t)
	write(t, p.Path+".mark", "store ffffffff transaction 00000000000000009999 process 0000000001\n")
	if moved, why := p.open(t).Moved(); moved {
		t.Error(why)
	}
}

func TestMigration(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	ctx := t.Context()
	populate(t, s, 2)
	before := read(t, p.Path)
	type put = func(bucket, key string, payload []byte) error
	first := func(put put) error { return put("apps", "migrated", []byte(`{"name":"migrated"}`)) }

	errOwn := errors.New("own")
	err := s.Migrate(ctx, first, func(put put) error {
		return errors.Join(put("apps", "half", []byte(`{"name":"half"}`)), errOwn)
	})
	if !errors.Is(err, errOwn) || !strings.Contains(err.Error(), "migrate to version 3") {
		t.Errorf("the second migration fails: %v", err)
	}
	equal(t, "version after one of two", 2)(s.SchemaVersion(ctx))
	if _, err := s.App(ctx, "half"); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("half a migration: %v", err)
	}
	// What was interrupted goes on where it stopped; the first copy stays.
	if err := s.Migrate(ctx, nil, func(put put) error { return put("apps", "twice", []byte(`{"name":"twice"}`)) }); err != nil {
		t.Fatal(err)
	}
	equal(t, "version at the end", 3)(s.SchemaVersion(ctx))
	equal(t, "CountApps", 4)(s.CountApps(ctx))
	s.Close()

	copied := place{store.Options{Path: p.Path + ".before-v3", IdentityFile: p.IdentityFile, Version: "v1.0.0"}}
	if read(t, copied.Path)[8192:] != before[8192:len(read(t, copied.Path))] {
		t.Error("the copy is not the file as it was")
	}
	old := copied.open(t)
	if moved, _ := old.Moved(); !moved {
		t.Error("the copy opens as if it were the store")
	}
	equal(t, "CountApps of the copy", 2)(old.CountApps(ctx))
	mustBeSound(t, old)

	if _, err := store.Open(ctx, p.Options); !errors.Is(err, store.ErrNewer) || !strings.Contains(err.Error(), "schema version 3") {
		t.Errorf("opening what was migrated: %v, want ErrNewer", err)
	}
}
