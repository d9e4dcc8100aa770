package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A peer is who asks.
type peer struct {
	uid uint32
	// groups are those of its process when it connected.
	groups []uint32
	// by is the name for the audit trail.
	by string
	// local tells that the request came from this process.
	local bool
	// err is why the peer is unknown.
	err error
}

// peerKey finds the peer in a connection's context: net/http has no other way
// to hand a connection's facts to a handler.
type peerKey struct{}

func withPeer(ctx context.Context, p peer) context.Context {
	return context.WithValue(ctx, peerKey{}, p)
}

func peerOf(ctx context.Context) peer {
	p, ok := ctx.Value(peerKey{}).(peer)
	if !ok {
		p.err = errors.New("the connection has no peer")
	}
	return p
}

// uidOfConn asks the kernel for the user at the other end.
func uidOfConn(c net.Conn) (uint32, error) {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T is not a unix socket", c)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var (
		credentials *unix.Ucred
		asked       error
	)
	if err := raw.Control(func(fd uintptr) {
		credentials, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if asked != nil {
		return 0, asked
	}
	return credentials.Uid, nil
}

// peerOfConn asks the kernel who is at the other end (SO_PEERCRED, unix(7)).
func peerOfConn(c net.Conn) peer {
	if k, ok := c.(*counted); ok {
		c = k.Conn
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return peer{err: fmt.Errorf("%T is not a unix socket", c)}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{err: err}
	}
	var (
		credentials *unix.Ucred
		groups      []uint32
		asked       error
	)
	err = raw.Control(func(fd uintptr) {
		credentials, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if asked == nil {
			groups, asked = peerGroups(fd)
		}
	})
	if err = errors.Join(err, asked); err != nil {
		return peer{err: err}
	}
	return peer{uid: credentials.Uid, groups: append(groups, credentials.Gid), by: UserName(credentials.Uid)}
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

// UserName returns "NAME (uid N)", or "uid N" if the name is not known.
func UserName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username + " (uid " + id + ")"
	}
	return "uid " + id
}
