package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"
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
	p := peerOfConn(c)
	return p.uid, p.err
}

// peerOfConn asks the kernel who is at the other end. It does not look for the
// user's name: see [peer.named].
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
	p := peer{}
	var asked error
	err = raw.Control(func(fd uintptr) { p.uid, p.groups, asked = credentials(fd) })
	if err = errors.Join(err, asked); err != nil {
		return peer{err: err}
	}
	return p
}

// named adds the name for the audit trail.
func (p peer) named() peer {
	if p.err == nil {
		p.by = UserName(p.uid)
	}
	return p
}

// UserName returns "NAME (uid N)", or "uid N" if the name is not known.
func UserName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username + " (uid " + id + ")"
	}
	return "uid " + id
}
