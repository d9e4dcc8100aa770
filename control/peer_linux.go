package control

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// credentials are those of the process at the other end when it connected
// (SO_PEERCRED, unix(7)): its user and all its groups.
func credentials(fd uintptr) (uid uint32, groups []uint32, err error) {
	c, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, nil, err
	}
	groups, err = peerGroups(fd)
	return c.Uid, append(groups, c.Gid), err
}

// maxGroups is the most that a process can have (NGROUPS_MAX, setgroups(2)).
const maxGroups = 65536

// peerGroups returns the supplementary groups of the process at the other end
// (SO_PEERGROUPS, Linux 4.13); SO_PEERCRED tells only the first one.
func peerGroups(fd uintptr) ([]uint32, error) {
	for n := 64; n <= maxGroups; n *= 4 {
		groups := make([]uint32, n)
		size := uint32(4 * n)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // x/sys/unix has no call that returns numbers
		if errno == 0 {
			return groups[:size/4], nil
		}
		if errno == unix.ERANGE {
			continue // more groups than there is room for
		}
		return nil, fmt.Errorf("ask for the peer's groups: %w", errno)
	}
	return nil, errors.New("ask for the peer's groups: there are too many")
}
