package store

import (
	"encoding/binary"
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

// isGrantedToUs reports whether the file's group bits are no more than an
// access list's grants to us or root by name: systemd gives a service its
// credentials that way, and stat then shows the list's mask as group bits.
//
// Layout of the attribute: linux/posix_acl_xattr.h; credentials: systemd's
// src/core/exec-credential.c.
func isGrantedToUs(file *os.File, us uint32) bool {
	const (
		version                                    = 2
		user, groupObject, group, other            = 0x02, 0x04, 0x08, 0x20
		headerBytes, entryBytes, maxAttributeBytes = 4, 8, 1024
	)
	acl := make([]byte, maxAttributeBytes)
	// By the descriptor's path: there is no fgetxattr in package syscall.
	n, err := syscall.Getxattr(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), "system.posix_acl_access", acl)
	if err != nil || n < headerBytes || binary.LittleEndian.Uint32(acl) != version {
		return false
	}
	for acl = acl[headerBytes:n]; len(acl) >= entryBytes; acl = acl[entryBytes:] {
		tag, rights := binary.LittleEndian.Uint16(acl), binary.LittleEndian.Uint16(acl[2:])
		id := binary.LittleEndian.Uint32(acl[4:])
		if rights == 0 {
			continue
		}
		switch tag {
		case groupObject, group, other:
			return false
		case user:
			if id != us && id != 0 {
				return false
			}
		}
	}
	return true
}
