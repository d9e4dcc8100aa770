//go:build !linux

package control

import "golang.org/x/sys/unix"

// credentials are those of the process at the other end: its user (LOCAL_PEERCRED).
// The groups stay unknown, so that nothing is allowed because of one: rights by group
// are Linux's.
func credentials(fd uintptr) (uid uint32, groups []uint32, err error) {
	c, err := unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, nil, err
	}
	return c.Uid, nil, nil
}
