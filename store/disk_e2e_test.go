//go:build e2e

package store_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// TestDisk fills a file system of its own, and writes to a read-only one. It
// mounts them in a namespace, for which it is root or needs user namespaces.
func TestDisk(t *testing.T) {
	for _, what := range []string{"tmpfs", "read-only"} {
		t.Run(what, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "STORE_TEST_CHILD="+what, "STORE_TEST_PATH="+t.TempDir())
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			if os.Getuid() != 0 {
				ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
				cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER, UidMappings: ids}
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
