//go:build e2e

package deliver_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/rotator"
)

// childVariable tells a test that it runs in the process that again made for it.
const childVariable = "ROTATE_TEST_CHILD"

// again runs one test of this binary in another process and reports whether this is
// that process already.
func again(t *testing.T, attributes *syscall.SysProcAttr) (child bool) {
	t.Helper()
	if os.Getenv(childVariable) == t.Name() {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "deliver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	chmod(t, dir, 0o755)
	binary := filepath.Join(dir, "test")
	if err := os.WriteFile(binary, read(t, self), 0o755); err != nil { // where every user can run it
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), childVariable+"="+t.Name())
	cmd.SysProcAttr = attributes
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("in a process of its own: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("the test did not run in a process of its own:\n%s", out)
	}
	return false
}

// TestUnprivileged holds what root cannot be refused.
func TestUnprivileged(t *testing.T) {
	attributes := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 {
		attributes.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	if !again(t, attributes) {
		return
	}
	d := &deliver.Deliverer{Encoder: encoder{}}

	dir := folder(t)
	delivery := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx"}
	chmod(t, dir, 0o500)
	failure(t, d.Check(t.Context(), delivery), rotator.ClassFix, "permission denied", dir, "chmod 2750")
	failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, "permission denied", dir)
	checkNames(t, dir)
	chmod(t, dir, 0o755)

	delivery.Group = "0"
	failure(t, d.Check(t.Context(), delivery), rotator.ClassFix, "is not in group", "chown")
	failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, "is not in group")
	delivery.Group = ""
	checkNames(t, dir)

	write(t, delivery.Path, oldPair().Encoded["modern"])
	chmod(t, delivery.Path, 0)
	failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, "permission denied", "app.pfx", "--replace")
	_, err := d.Holds(t.Context(), delivery, []string{password})
	failure(t, err, rotator.ClassFix, "permission denied", "app.pfx")
	delivery.Replace = true
	if err := d.Deliver(t.Context(), delivery, pack()); err != nil {
		t.Error(err)
	}

	// Folders of root are fine, but not ours to write to.
	failure(t, d.Check(t.Context(), rotator.Delivery{Kind: "file", Path: "/etc/rotate-test.pfx"}), rotator.ClassFix, "permission denied", "/etc")

	// The same user, but to this service a stranger.
	foreign := &deliver.Deliverer{Encoder: encoder{}, ServiceUID: 54321}
	failure(t, foreign.Check(t.Context(), delivery), rotator.ClassFix, "belongs to")
}

// TestFileOfAnother holds a target whose owner is the consumer. Root keeps the
// owner; another user cannot, and must not lock the consumer out.
func TestFileOfAnother(t *testing.T) {
	const (
		consumer = 54321
		variable = "ROTATE_TEST_FOLDER"
	)
	dir := os.Getenv(variable)
	if dir == "" {
		if os.Geteuid() != 0 {
			t.Log("only root can make a file of another user: this runs when root runs it")
			return
		}
		var err error
		if dir, err = os.MkdirTemp("", "another"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		t.Setenv(variable, dir)
	}
	d := &deliver.Deliverer{Encoder: encoder{}}
	delivery := rotator.Delivery{Kind: "file", Path: dir + "/app.pfx"}
	if os.Getenv(childVariable) == "" {
		write(t, delivery.Path, oldPair().Encoded["modern"])
		chmod(t, dir, 0o755)
		if err := os.Chown(delivery.Path, consumer, -1); err != nil {
			t.Fatal(err)
		}
		for _, p := range []rotator.Package{pack(), pack()} {
			if err := d.Deliver(t.Context(), delivery, p); err != nil {
				t.Fatal(err)
			}
		}
		var s unix.Stat_t
		if err := unix.Stat(delivery.Path, &s); err != nil || s.Uid != consumer {
			t.Errorf("owner %d, %v, want %d", s.Uid, err, consumer)
		}
		chmod(t, delivery.Path, 0o644)
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	if !again(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}) {
		return
	}
	p := pack() // its pairs are others than those of the first process
	delivery.Replace = true
	failure(t, d.Check(t.Context(), delivery), rotator.ClassFix, "belongs to user 54321, who could not read the new file", "0640")
	failure(t, d.Deliver(t.Context(), delivery, p), rotator.ClassFix, "belongs to user 54321")
	delivery.Mode = "0640"
	if err := d.Check(t.Context(), delivery); err != nil {
		t.Error(err)
	}
	if err := d.Deliver(t.Context(), delivery, p); err != nil {
		t.Error(err)
	}
	checkMode(t, delivery.Path, 0o640)
}

// ownFileSystem runs the test with a small file system as its root and reports
// whether this is it. It needs root, or user namespaces.
func ownFileSystem(t *testing.T) bool {
	t.Helper()
	attributes := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attributes.Cloneflags |= syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if !again(t, attributes) {
		return false
	}
	dir, err := os.MkdirTemp("", "full")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	if err := errors.Join(unix.Chroot(dir), unix.Chdir("/")); err != nil {
		t.Fatalf("make it the root: %v", err)
	}
	return true
}

func TestDiskFull(t *testing.T) {
	if !ownFileSystem(t) {
		return
	}
	d := &deliver.Deliverer{Encoder: encoder{}}
	if err := os.Mkdir("/app", 0o755); err != nil {
		t.Fatal(err)
	}
	delivery := rotator.Delivery{Kind: "file", Path: "/app/app.pfx", PasswordPath: "/app/password", Previous: true}
	if err := d.Deliver(t.Context(), delivery, packOld()); err != nil {
		t.Fatal(err)
	}
	changed := pack()
	changed.Pair.Password = "a-new-one"
	changed.Pair.Encoded = nil
	// From no free page to enough for all files: each must be there or none.
	const page = 4096
	full, whole := 0, 0
	for free := range 8 {
		ballast, err := os.Create("/ballast")
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = ballast.Write(make([]byte, page))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		info, err := ballast.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(ballast.Truncate(info.Size()-int64(free)*page), ballast.Close()); err != nil {
			t.Fatal(err)
		}
		err = d.Deliver(t.Context(), delivery, changed)
		if err == nil {
			whole++
			checkNames(t, "/app", "app.pfx", "app.pfx.previous", "password")
			break
		}
		full++
		failure(t, err, rotator.ClassWait, "the disk is full", "no space left on device", "/app/", "make room")
		checkNames(t, "/app", "app.pfx", "password")
		if !bytes.Equal(read(t, "/app/app.pfx"), oldPair().Encoded["modern"]) || string(read(t, "/app/password")) != password {
			t.Fatal("the old files changed")
		}
		if err := os.Remove("/ballast"); err != nil {
			t.Fatal(err)
		}
	}
	if full < 3 || whole != 1 {
		t.Errorf("the disk was full %d times, then enough %d times; want one for each of three files, then 1", full, whole)
	}

	// Hooks: the files in the runtime folder do not fit.
	d.RuntimeDir = "/run"
	d.Hooks = map[string]deliver.Hook{"h": {Command: []string{"/app/hook"}}}
	if err := os.WriteFile("/app/hook", nil, 0o755); err != nil {
		t.Fatal(err)
	}
	filled, err := os.OpenFile("/ballast", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	for err == nil {
		_, err = filled.Write(make([]byte, page))
	}
	filled.Close()
	failure(t, d.Deliver(t.Context(), rotator.Delivery{Kind: "exec", Hook: "h"}, pack()), rotator.ClassWait, "the disk is full", "/run")
	checkNames(t, "/run")
}

func TestReadOnly(t *testing.T) {
	if !ownFileSystem(t) {
		return
	}
	d := &deliver.Deliverer{Encoder: encoder{}}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	delivery := rotator.Delivery{Kind: "file", Path: "/app.pfx"}
	failure(t, d.Check(t.Context(), delivery), rotator.ClassFix, "file system is read-only", "ReadWritePaths")
	failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, "file system is read-only")
}
