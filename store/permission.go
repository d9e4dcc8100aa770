package store

import (
	"fmt"
	"os"
	"syscall"
)

// checkPrivate reports a file that others than its owner may read or write,
// or that belongs to neither us nor root. path is what the message names.
func checkPrivate(file *os.File, path string) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: the owner cannot be found out", path)
	}
	us := uint32(os.Geteuid()) //nolint:gosec // a uid is never negative
	if stat.Uid != us && stat.Uid != 0 {
		return fmt.Errorf("%s belongs to user %d: %w; run \"chown %d %s\"", path, stat.Uid, ErrPermissions, us, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && (mode&0o007 != 0 || !isGrantedToUs(file, us)) {
		return fmt.Errorf("%s has mode %04o, others may use it: %w; run \"chmod 600 %s\"", path, mode, ErrPermissions, path)
	}
	return nil
}
