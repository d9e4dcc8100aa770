package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
)

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
