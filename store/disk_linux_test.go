package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/seed-f0abd057/rotate/store"
)

// tmpfs mounts a small file system; in a mount namespace of this process.
func tmpfs(dir string) (disk, error) {
	if err := syscall.Mount("rotate", dir, "tmpfs", 0, "size=1m"); err != nil {
		return disk{}, fmt.Errorf("mount: %w", err)
	}
	ballast := filepath.Join(dir, "ballast")
	return disk{
		dir: dir, full: syscall.ENOSPC,
		fill: func() error {
			err := os.WriteFile(ballast, make([]byte, 2<<20), 0o600)
			if !errors.Is(err, syscall.ENOSPC) {
				return fmt.Errorf("the disk does not get full: %w", err)
			}
			return nil
		},
		free: func() error { return os.Remove(ballast) },
	}, nil
}

// readOnly is what the child does on a file system that nobody may write to.
func readOnly() error {
	d, err := tmpfs(os.Getenv("STORE_TEST_PATH"))
	if err != nil {
		return err
	}
	ctx := context.Background()
	o := store.Options{Path: filepath.Join(d.dir, "rotate.db"), IdentityFile: filepath.Join(d.dir, "store.key")}
	if _, err := store.Init(ctx, store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		return err
	}
	if err := syscall.Mount("rotate", d.dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	_, err = store.Open(ctx, o)
	if err == nil || !strings.Contains(err.Error(), o.Path+" lies on a read-only file system") {
		return fmt.Errorf("a read-only file system: %w", err)
	}
	return nil
}
