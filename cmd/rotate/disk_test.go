//go:build e2e

package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// ownMounts runs the test once more, in a process with mounts of its own, and
// returns true there. Where it returns false, the test has been run.
func ownMounts(t *testing.T) bool {
	t.Helper()
	const marker = "ROTATE_TEST_OWN_MOUNTS"
	if os.Getenv(marker) != "" {
		if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Fatalf("make mounts private: %v", err)
		}
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), marker+"=yes", "TMPDIR="+shortDir(t), givenProgram+"="+program(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Errorf("in a mount namespace (it needs root, or user namespaces): %v", err)
	}
	return false
}

// disk is a small file system of its own.
type disk struct {
	dir string
}

func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	if err := syscall.Mount("rotate", dir, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return &disk{dir}
}

func (d *disk) readOnly(t *testing.T, on bool) {
	t.Helper()
	flags := uintptr(syscall.MS_REMOUNT)
	if on {
		flags |= syscall.MS_RDONLY
	}
	if err := syscall.Mount("rotate", d.dir, "tmpfs", flags, "size=1m,mode=0700"); err != nil {
		t.Fatalf("remount: %v", err)
	}
}

// fill leaves no room. What is there already can still be overwritten.
func (d *disk) fill(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "ballast"), make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk does not get full: %v", err)
	}
}

func (d *disk) free(t *testing.T) {
	t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "ballast")); err != nil {
		t.Fatal(err)
	}
}

// noSpace is how the system says that a disk is full.
var noSpace = syscall.ENOSPC.Error()

// diskWorld is an app whose store lies on a small disk.
type diskWorld struct {
	*machine
	*disk
	app *adopted
}

func newDiskWorld(t *testing.T, defaults string, flags ...string) *diskWorld {
	t.Helper()
	s := startTenant(t, "contoso", flags...)
	m := newMachine(t)
	w := &diskWorld{m, newDisk(t, m.folder(t, "disk")), nil}
	m.configure(t, "disk", defaults, s)
	m.must(t, 0, "init", "--no-recovery")
	w.app = newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	m.must(t, 0, w.app.add()...)
	return w
}

// exhaust changes the app until not even a little more can be recorded: a database
// on a full disk goes on for a while in the room that it has.
func (w *diskWorld) exhaust(t *testing.T) {
	t.Helper()
	size := 0
	for step := 16 << 10; step >= 256; {
		code, stdout, stderr := w.run(t, "app", "edit", "app-1", "--owner", strings.Repeat("x", size+step))
		switch {
		case code == 0 && size < 120<<10:
			size += step
		case code == 1 && strings.Contains(stderr, noSpace) && strings.Contains(stderr, "rotate.db"):
			step /= 4
		default:
			t.Fatalf("an edit on a full disk: exit code %d, want 1 and %q about the store: %s%s", code, noSpace, stdout, stderr)
		}
	}
}

// sent are the writes that Graph saw, by their last word: addKey, removeKey.
func (w *diskWorld) sent(t *testing.T) []string {
	t.Helper()
	var sent []string
	for _, e := range w.app.tenant.writes(t, w.app.seed) {
		sent = append(sent, filepath.Base(e.Path))
	}
	return sent
}

// TestDiskFull fills the store's disk at several moments: what cannot be recorded
// is not sent, it is said in plain words, and it goes on when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	t.Run("before it begins", func(t *testing.T) {
		w := newDiskWorld(t, issueDefaults) // its certificate ends soon
		w.fill(t)
		w.exhaust(t)
		w.startDaemon(t)
		w.saysDiskFull(t)
		w.mustSay(t, 1, []string{"app-1", noSpace}, "now", "app-1")
		if failed := w.nowJSON(t, 1, "app-1"); failed.Error == nil || !strings.Contains(*failed.Error, noSpace) {
			t.Errorf("now on a full disk: %s", jsonText(failed))
		}
		if sent := w.sent(t); len(sent) > 0 {
			t.Errorf("sent without a record: %v", sent)
		}
		w.free(t)
		w.nowJSON(t, 0, "app-1", "--wait")
		checkWorld(t, w.machine, w.app)
	})
	t.Run("before it removes", func(t *testing.T) {
		w := newDiskWorld(t, strings.Replace(issueDefaults, "overlap: 0s", "overlap: 5s", 1), "--not-after", "300d")
		parked := w.nowJSON(t, 4, "app-1") // without a daemon nobody goes on before the disk is full
		w.fill(t)
		w.exhaust(t)
		if sent := w.sent(t); !slices.Equal(sent, []string{"addKey"}) {
			t.Errorf("in the overlap: sent %v, want one addKey", sent)
		}
		w.startDaemon(t)
		time.Sleep(max(0, time.Until(*parked.RetiresAt)) + 3*time.Second)
		// A daemon that dies and comes back to a full disk goes on like the first.
		w.daemon.kill()
		w.compare(t)
		w.startDaemon(t)
		time.Sleep(2 * time.Second)
		w.free(t)
		eventually(t, patient, func() error { return w.atRest(t) })
		checkWorld(t, w.machine, w.app)
	})
	t.Run("at any moment", func(t *testing.T) {
		w := newDiskWorld(t, issueDefaults, "--latency", "200ms")
		for round := range 6 {
			w.startDaemon(t)
			command := w.start(t, "now", "app-1")
			time.Sleep(time.Duration(round) * 300 * time.Millisecond)
			w.fill(t)
			time.Sleep(2 * time.Second)
			w.daemon.kill()
			command.kill()
			w.compare(t)
			w.free(t)
			w.startDaemon(t)
			eventually(t, patient, func() error { return w.atRest(t) })
			w.app.hold(must1(readPFX(w.app.path, w.app.path+".password"))(t))
			w.daemon.kill()
		}
		checkWorld(t, w.machine, w.app)
		checkLeaks(t, w.machine, "disk", w.app)
	})
}

// saysDiskFull waits until the daemon's log says so.
func (w *diskWorld) saysDiskFull(t *testing.T) {
	t.Helper()
	eventually(t, patient, func() error {
		if log := w.daemon.stderr.String(); !strings.Contains(log, noSpace) || !strings.Contains(log, "rotate.db") {
			return fmt.Errorf("the daemon does not say that the disk of its store is full: %s", log)
		}
		return nil
	})
}

// compare holds what Graph saw against what the journal can tell: a certificate
// goes up only for a rotation that noted how, and one is removed only for a rotation
// that noted that it is confirmed.
func (w *diskWorld) compare(t *testing.T) {
	t.Helper()
	stdout, _ := w.must(t, 0, "history", "-n", "0", "-o", "json")
	journal := decodeJSON[struct {
		Rotations []struct{ Phase, Way string } `json:"rotations"`
	}](t, stdout).Rotations
	uploads, removals := 0, 0
	for _, r := range journal {
		if r.Way != "" {
			uploads++
		}
		if r.Phase == "confirmed" || r.Phase == "retired" {
			removals++
		}
	}
	adds := 0
	removed := 0
	for _, e := range w.app.tenant.writes(t, w.app.seed) {
		switch filepath.Base(e.Path) {
		case "addKey":
			adds++
		case "removeKey": // it may be sent again; only the first finds the entry
			if e.Status == 204 {
				removed++
			}
		}
	}
	t.Logf("the disk filled up after %d uploads and %d removals; rotations: %v", adds, removed, journal)
	if adds > uploads || removed > removals {
		t.Errorf("Graph saw %d uploads and %d removals, the journal knows of %d and %d: %s", adds, removed, uploads, removals, stdout)
	}
}

// TestReadOnlyDisk meets file systems that nobody may write to.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	w := newDiskWorld(t, issueDefaults)
	w.readOnly(t, true)
	for _, command := range [][]string{{"status"}, {"now", "app-1"}, {"daemon"}} {
		w.mustSay(t, 1, []string{"rotate.db", "read-only file system"}, command...)
	}
	if sent := w.sent(t); len(sent) > 0 {
		t.Errorf("sent without a record: %v", sent)
	}
	w.readOnly(t, false)

	// The consumer's folder, this time: the old certificate stays until the new one
	// is where it belongs.
	consumer := newDisk(t, filepath.Dir(w.app.path))
	consumer.readOnly(t, true)
	w.startDaemon(t)
	failed := w.nowJSON(t, 1, "app-1", "--wait")
	if failed.Phase == nil || *failed.Phase != "proven" || failed.Error == nil || !strings.Contains(*failed.Error, w.app.path) ||
		!strings.Contains(*failed.Error, "the file system is read-only") {
		t.Errorf("a read-only target: %s", jsonText(failed))
	}
	if sent := w.sent(t); !slices.Equal(sent, []string{"addKey"}) {
		t.Errorf("sent: %v, want one addKey", sent)
	}
	if err := w.app.tenant.signIn(t.Context(), w.app.seed.ClientID, w.app.pairs()[0]); err != nil {
		t.Errorf("the old pair is no longer accepted: %v", err)
	}
	consumer.readOnly(t, false)
	w.nowJSON(t, 0, "app-1", "--wait")
	checkWorld(t, w.machine, w.app)
}

// TestStoreLocked has two processes want one store.
func TestStoreLocked(t *testing.T) {
	t.Parallel()
	s := startTenant(t, "contoso", "--not-after", "300d")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	m.must(t, 0, "init", "--no-recovery")
	m.startDaemon(t)
	first := m.daemon
	holder := fmt.Sprintf("in use by process %d (rotate)", first.cmd.Process.Pid)

	// Another configuration of the same store does not know the daemon's socket.
	text := must1(os.ReadFile(m.config))(t)
	otherSocket := m.socket + "2"
	other := m.path("other.yaml")
	if err := os.WriteFile(other, bytes.Replace(text, []byte(m.socket), []byte(otherSocket), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	m.mustSay(t, 1, []string{"rotate.db", holder, otherSocket, "hint: "}, "-c", other, "status")
	m.mustSay(t, 1, []string{m.socket, fmt.Sprintf("process %d holds the store", first.cmd.Process.Pid)}, "daemon")

	second := m.start(t, "-c", other, "daemon")
	eventually(t, patient, func() error {
		if log := second.stderr.String(); !strings.Contains(log, "waiting") || !strings.Contains(log, fmt.Sprintf("pid=%d", first.cmd.Process.Pid)) {
			return fmt.Errorf("the second daemon does not name the first: %s", log)
		}
		return nil
	})
	if code := first.stop(t); code != 0 {
		t.Errorf("the first daemon ended with %d", code)
	}
	eventually(t, patient, func() error { return m.try(t, "-c", other, "status") })
	if second.hasEnded() {
		t.Errorf("the second daemon ended: %s", second.stderr.String())
	}
	if code := second.stop(t); code != 0 {
		t.Errorf("the second daemon ended with %d", code)
	}
}

// usedBytes is how much of a store's file is in use: the rest is free.
func usedBytes(t *testing.T, path string) int64 {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var used int64
	if err := db.View(func(tx *bbolt.Tx) error { used = tx.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	return used
}

// TestStoreRefused opens stores and identities that must not be used. Each is
// refused by commands and by the daemon, with the place and the next step, and left
// as it is.
func TestStoreRefused(t *testing.T) {
	t.Parallel()
	s := startTenant(t, "contoso", "--not-after", "300d")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	m.must(t, 0, "init", "--no-recovery")
	a := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	m.must(t, 0, a.add()...)
	stranger := newStranger(t, m)

	path, identity := m.path("store", "rotate.db"), m.path("store.key")
	good := must1(os.ReadFile(path))(t)
	goodIdentity := must1(os.ReadFile(identity))(t)
	used := usedBytes(t, path)
	flipped := slices.Clone(good)
	places := 0
	for at := 0; ; places++ {
		next := bytes.Index(flipped[at:], []byte(`"app-1"`))
		if next < 0 {
			break
		}
		at += next + 2
		flipped[at] ^= 0x01
	}
	if places == 0 {
		t.Fatal("the store does not hold the app")
	}
	const damaged = "the file is damaged and was left as it is"
	for name, c := range map[string]struct {
		store, identity         []byte
		storeMode, identityMode os.FileMode
		say                     []string
	}{
		"cut in half":           {store: good[:used/2], say: []string{path, damaged, "backup"}},
		"flipped bits":          {store: flipped, say: []string{path, damaged, "backup"}},
		"no database":           {store: bytes.Repeat([]byte("rotate "), 10_000), say: []string{path, damaged, "backup"}},
		"empty":                 {store: []byte{}, say: []string{path}},
		"identity of another":   {identity: stranger, say: []string{path, "the identity is not the one that this store was sealed for"}},
		"identity is rubbish":   {identity: []byte("rubbish\n"), say: []string{identity, "AGE-SECRET-KEY-1…"}},
		"identity open to all":  {identityMode: 0o644, say: []string{identity, "0644", "chmod"}},
		"identity open to some": {identityMode: 0o640, say: []string{identity, "0640", "chmod"}},
		"store open to all":     {storeMode: 0o644, say: []string{path, "0644", "chmod"}},
	} {
		t.Run(name, func(t *testing.T) {
			put := func(path string, content, otherwise []byte, mode os.FileMode) []byte {
				if content == nil {
					content = otherwise
				}
				if err := errors.Join(os.WriteFile(path, content, 0o600), os.Chmod(path, max(mode, 0o600))); err != nil {
					t.Fatal(err)
				}
				return content
			}
			stored := put(path, c.store, good, c.storeMode)
			sealed := put(identity, c.identity, goodIdentity, c.identityMode)
			for _, command := range []string{"status", "daemon"} {
				m.mustSay(t, 1, c.say, command)
			}
			if !bytes.Equal(must1(os.ReadFile(path))(t), stored) || !bytes.Equal(must1(os.ReadFile(identity))(t), sealed) {
				t.Error("the files are not as they were")
			}
		})
	}
	for path, content := range map[string][]byte{path: good, identity: goodIdentity} {
		if err := errors.Join(os.WriteFile(path, content, 0o600), os.Chmod(path, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	m.must(t, 0, "now", "app-1", "--wait")
	checkWorld(t, m, a)
	checkLeaks(t, m, "store", a)
}

// newStranger makes another store and returns its identity.
func newStranger(t *testing.T, m *machine) []byte {
	t.Helper()
	text := string(must1(os.ReadFile(m.config))(t))
	text = strings.NewReplacer("store/rotate.db", "other/rotate.db", "store.key", "other.key").Replace(text)
	if err := os.WriteFile(m.path("other.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.must(t, 0, "-c", m.path("other.yaml"), "init", "--no-recovery")
	return must1(os.ReadFile(m.path("other.key")))(t)
}

// try runs a command and returns its failure.
func (m *machine) try(t *testing.T, args ...string) error {
	t.Helper()
	if code, stdout, stderr := m.run(t, args...); code != 0 {
		return fmt.Errorf("rotate %s: exit code %d: %s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return nil
}
