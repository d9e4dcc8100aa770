//go:build e2e

package main_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// debianPackages are what it has beside its smallest set. rpm is for the other package.
const debianPackages = "systemd,systemd-sysv,dbus,procps,ca-certificates,rpm"

// debianSuite is the environment variable that names another Debian than bookworm.
const debianSuite = "ROTATE_TEST_DEBIAN"

// debian returns the folder of a minimal Debian with systemd.
func debian(t *testing.T) string {
	t.Helper()
	return debianOf(t, cmp.Or(os.Getenv(debianSuite), "bookworm"))
}

// debianOf returns the one of a suite. It is made once, by debootstrap from
// $ROTATE_TEST_MIRROR, and kept in the user's cache folder.
func debianOf(t *testing.T, suite string) string {
	t.Helper()
	folder := filepath.Join(must1(os.UserCacheDir())(t), "rotate-e2e")
	root := filepath.Join(folder, fmt.Sprintf("%s-%x", suite, sha256.Sum256([]byte(debianPackages)))[:len(suite)+9])
	if _, err := os.Stat(root); err == nil {
		return root
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	part := root + ".part"
	if err := os.RemoveAll(part); err != nil { // of a run that was interrupted
		t.Fatal(err)
	}
	begun := time.Now()
	cmd := exec.Command("debootstrap", "--variant=minbase", "--include="+debianPackages,
		suite, part, cmp.Or(os.Getenv("ROTATE_TEST_MIRROR"), "http://deb.debian.org/debian"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debootstrap %s: %v\n%s", suite, err, tail(string(out), 20))
	}
	if err := os.Rename(part, root); err != nil {
		t.Fatal(err)
	}
	t.Logf("made %s in %s", root, time.Since(begun).Round(time.Second))
	return root
}

// container is a Debian that is booted with a systemd of its own. Its network is the
// host's, so that both reach the tenant on 127.0.0.1.
type container struct {
	// root is its file system, as the host sees it.
	root   string
	nspawn *process
	// leader is its first process, as the host numbers it; nil: it does not run. It is
	// a handle: the number may be another's after its end.
	leader *os.Process
	// disk holds what must outlast a power loss.
	disk *powerDisk
	// off is held for writing while there is no power: what reads its files waits.
	off sync.RWMutex
	// t is the test that it lives as long as; parts of it boot it again.
	t *testing.T
}

// newContainer copies the Debian and boots it; it is killed when the test ends. The
// folders have a disk of their own, which loses what was not synced with the power.
func newContainer(t *testing.T, folders ...string) *container {
	t.Helper()
	onlyContainer(t)
	c := &container{root: filepath.Join(t.TempDir(), "root"), t: t}
	if out, err := exec.Command("cp", "--archive", "--reflink=auto", debian(t), c.root).CombinedOutput(); err != nil {
		t.Fatalf("copy the Debian: %v\n%s", err, out)
	}
	c.disk = newPowerDisk(t, c.root, folders...)
	t.Cleanup(func() { c.kill(t) })
	c.boot(t)
	return c
}

// onlyContainer waits until no other run of these tests on this machine has a
// container: they would share a control group, and end each other's services.
func onlyContainer(t *testing.T) {
	t.Helper()
	lock := must1(os.OpenFile(filepath.Join(filepath.Dir(debian(t)), "lock"), os.O_RDWR|os.O_CREATE, 0o600))(t)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() }) // after the container: cleanups run backwards
}

// boot starts it and waits until its systemd has started everything.
func (c *container) boot(t *testing.T) {
	t.Helper()
	env := append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	c.nspawn = launchCommand(c.t, "/", env, "systemd-nspawn", "--boot", "--quiet", "--directory", c.root,
		"--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe")
	eventually(t, patient, func() error {
		if c.nspawn.hasEnded() {
			t.Fatalf("systemd-nspawn ended: %s%s", c.nspawn.stdout.String(), c.nspawn.stderr.String())
		}
		if c.leader == nil {
			child := childOf(c.nspawn.cmd.Process.Pid, "systemd")
			if child == 0 {
				return errors.New("it has no first process")
			}
			c.leader = must1(os.FindProcess(child))(t)
		}
		_, out := c.try("systemctl is-system-running")
		if state := strings.TrimSpace(out); state != "running" && state != "degraded" {
			return fmt.Errorf("the system is %s", state)
		}
		return nil
	})
}

// childOf returns the child of a process that runs a program of that name; 0: none.
func childOf(parent int, name string) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		pid, rest, _ := strings.Cut(string(data), " (")
		comm, rest, _ := strings.Cut(rest, ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && comm == name && fields[1] == strconv.Itoa(parent) {
			n, _ := strconv.Atoi(pid)
			return n
		}
	}
	return 0
}

// inside is the command line that runs another one in the container, as root.
func (c *container) inside(args ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(c.leader.Pid), "--all", "--root", "--wd", "--"}, args...)
}

// try runs a script in the container.
func (c *container) try(script string) (code int, out string) {
	line := c.inside("/bin/bash", "-ec", script)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		return -1, err.Error()
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

// sh runs a script that must go well.
func (c *container) sh(t *testing.T, script string) string {
	t.Helper()
	code, out := c.try(script)
	if code != 0 {
		t.Fatalf("in the container: %s: exit code %d\n%s", script, code, out)
	}
	return strings.TrimSpace(out)
}

// write makes a file in the container, owned by root.
func (c *container) write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	path = filepath.Join(c.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask says
		t.Fatal(err)
	}
}

// reboot shuts it down, as an administrator would, and boots it again.
func (c *container) reboot(t *testing.T) {
	t.Helper()
	c.sh(t, "systemctl reboot")
	const again = 133 // systemd-nspawn(1), "Exit status"
	if code := c.nspawn.wait(t); code != again {
		t.Fatalf("systemd-nspawn ended with %d, want %d: %s", code, again, tail(c.nspawn.stdout.String(), 20))
	}
	c.leader = nil
	c.boot(t)
}

// cutPower ends everything in it at once, and what its disk was not told to write for
// good is gone. It boots again after that.
func (c *container) cutPower(t *testing.T) {
	t.Helper()
	c.off.Lock()
	defer c.off.Unlock()
	c.kill(t)
	c.disk.lose(t)
	c.boot(t)
}

// kill ends everything in it at once. When it returns, nothing of it runs.
func (c *container) kill(t *testing.T) {
	t.Helper()
	if c.leader == nil {
		return
	}
	// Not by systemd-nspawn, whose end leaves the container to itself.
	if err := c.leader.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill the container: %v", err)
	}
	eventually(t, patient, func() error {
		if err := c.leader.Signal(syscall.Signal(0)); err == nil && !isZombie(c.leader.Pid) {
			return errors.New("its first process is still there")
		}
		return nil
	})
	c.nspawn.kill()
	c.leader = nil
}
