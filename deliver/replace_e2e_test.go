//go:build e2e

package deliver_test

import (
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

// TestB1CannotBeReplaced has files that no rename replaces. Check, and looking at the
// target before an upload, say so.
func TestB1CannotBeReplaced(t *testing.T) {
	attributes := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attributes.Cloneflags |= syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	if !again(t, attributes) {
		return
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	d := &deliver.Deliverer{Encoder: encoder{}}
	refused := func(path, says string) {
		t.Helper()
		delivery := rotator.Delivery{Kind: "file", Path: path, PasswordPath: path + ".password"}
		if err := d.Check(t.Context(), delivery); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Check = %v, want %q", err, says)
		}
		if _, err := d.Holds(t.Context(), delivery, []string{password}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Holds = %v, want %q", err, says)
		}
	}
	file := func(name string) string {
		path := filepath.Join(folder(t), name)
		if err := d.Deliver(t.Context(), rotator.Delivery{Kind: "file", Path: path}, pack()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mounted, from := file("app.pfx"), file("from.pfx")
	if err := unix.Mount(from, mounted, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	refused(mounted, "mount point of its own")
	if err := unix.Unmount(mounted, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 && attributes.UidMappings == nil {
		immutable := file("fixed.pfx")
		if out, err := exec.Command("chattr", "+i", immutable).CombinedOutput(); err != nil {
			t.Fatalf("chattr: %v: %s", err, out)
		}
		defer exec.Command("chattr", "-i", immutable).Run()
		refused(immutable, "immutable")
	}
}
