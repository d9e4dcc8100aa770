package control

import (
	"io/fs"
	"net"
	"time"
)

// Crowd bounds a listener as the server does; uidOf says who is at the other end.
func Crowd(l net.Listener, uidOf func(net.Conn) (uint32, error)) net.Listener {
	return &crowd{Listener: l, uidOf: uidOf}
}

// Within returns the connection that a bounded listener gave out.
func Within(c net.Conn) net.Conn {
	if k, ok := c.(*counted); ok {
		return k.Conn
	}
	return c
}

// CountRefusals refuses that many users one after the other, and returns how many
// refusals are written down.
func CountRefusals(users int, now time.Time) int {
	var r refusals
	written := 0
	for uid := range users {
		if r.isNew(uint32(uid), now) {
			written++
		}
	}
	return written
}

// Answers reports whether a peer may be a daemon in a folder.
func Answers(peerUID uint32, groups []uint32, uid, gid uint32, mode fs.FileMode) bool {
	return peer{uid: peerUID, groups: groups}.answersIn(uid, gid, mode)
}
