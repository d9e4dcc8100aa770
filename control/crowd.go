package control

import (
	"net"
	"os"
	"sync"
)

// Connections that are open side by side. They are counted before anybody is asked for
// anything: whoever may connect must not be able to take all files and memory.
const (
	// maxPeers of all users together that are not root or the daemon's own.
	maxPeers = 256
	// maxPeersEach of one of them.
	maxPeersEach = 64
)

// crowd is a listener that closes connections beyond these bounds at once.
type crowd struct {
	net.Listener
	// uidOf asks the kernel who is at the other end.
	uidOf func(net.Conn) (uint32, error)

	mu   sync.Mutex
	all  int            // guarded by mu
	each map[uint32]int // guarded by mu
}

// Accept implements [net.Listener].
func (k *crowd) Accept() (net.Conn, error) {
	for {
		c, err := k.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := k.uidOf(c)
		switch {
		case err == nil && (uid == 0 || int64(uid) == int64(os.Geteuid())):
			return c, nil
		case err == nil && k.enter(uid):
			return &counted{Conn: c, left: func() { k.leave(uid) }}, nil
		}
		_ = c.Close() // nothing was said yet
	}
}

func (k *crowd) enter(uid uint32) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all >= maxPeers || k.each[uid] >= maxPeersEach {
		return false
	}
	if k.each == nil {
		k.each = map[uint32]int{}
	}
	k.all++
	k.each[uid]++
	return true
}

func (k *crowd) leave(uid uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all--
	if k.each[uid]--; k.each[uid] == 0 {
		delete(k.each, uid)
	}
}

// counted is a connection that gives its place back when it is closed.
type counted struct {
	net.Conn
	once sync.Once
	left func()
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	c.once.Do(c.left)
	return c.Conn.Close()
}
