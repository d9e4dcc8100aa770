//go:build e2e

package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// powerDisk is an ext4 in a file. What the kernel keeps in memory for it is not in
// that file yet: a copy of the file is what a disk holds after the power was cut.
type powerDisk struct {
	// image is the file, dir where it is mounted, folders what is mounted from it.
	image, dir string
	folders    []string
	losses     int
}

// newPowerDisk mounts folders of it, empty, below root.
func newPowerDisk(t *testing.T, root string, folders ...string) *powerDisk {
	t.Helper()
	dir := t.TempDir()
	d := &powerDisk{image: filepath.Join(dir, "0.img"), dir: filepath.Join(dir, "disk")}
	for _, folder := range folders {
		d.folders = append(d.folders, filepath.Join(root, folder))
	}
	const size = 192 << 20
	onHost(t, "truncate", "--size", fmt.Sprint(size), d.image)
	onHost(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.mount(t)
	t.Cleanup(d.unmount)
	return d
}

func (d *powerDisk) mount(t *testing.T) {
	t.Helper()
	onHost(t, "mount", "--options", "loop", d.image, d.dir)
	for i, folder := range d.folders {
		from := filepath.Join(d.dir, fmt.Sprint(i))
		for _, path := range []string{from, folder} {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		onHost(t, "mount", "--bind", from, folder)
	}
}

func (d *powerDisk) unmount() {
	for _, folder := range append(d.folders, d.dir) {
		_ = syscall.Unmount(folder, syscall.MNT_DETACH) // at the end of a test, nobody minds
	}
}

// lose cuts its power. Nothing may use it.
func (d *powerDisk) lose(t *testing.T) {
	t.Helper()
	before := d.image
	d.losses++
	d.image = filepath.Join(filepath.Dir(before), fmt.Sprint(d.losses, ".img"))
	onHost(t, "cp", "--sparse=always", before, d.image)
	d.unmount()
	if err := os.Remove(before); err != nil {
		t.Fatal(err)
	}
	d.mount(t)
}

// onHost runs a command of this host's.
func onHost(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
