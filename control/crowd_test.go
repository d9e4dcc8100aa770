package control_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/control"
)

// queue is a listener to which users come one after the other, by their numbers.
type queue struct {
	net.Listener
	uids   []uint32
	closed int
}

type caller struct {
	net.Conn
	uid   uint32
	queue *queue
}

func (c *caller) Close() error { c.queue.closed++; return nil }

func (q *queue) Accept() (net.Conn, error) {
	if len(q.uids) == 0 {
		return nil, io.EOF
	}
	c := &caller{uid: q.uids[0], queue: q}
	q.uids = q.uids[1:]
	return c, nil
}

// TestS7Connections has users that open more connections than there is place for.
func TestS7Connections(t *testing.T) {
	q := &queue{uids: slices.Repeat([]uint32{1001}, 22_000)}
	q.uids = append(q.uids, 1002, 0)
	for uid := range uint32(1000) {
		q.uids = append(q.uids, 100_000+uid)
	}
	q.uids = append(q.uids, 0, uint32(os.Geteuid()))
	l := control.Crowd(q, func(c net.Conn) (uint32, error) {
		if c, ok := c.(*caller); ok {
			return c.uid, nil
		}
		return 0, errors.New("a stranger")
	})
	open := map[uint32]int{}
	all := 0
	var some net.Conn
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		within, ok := control.Within(c).(*caller)
		if !ok {
			t.Fatalf("%T came out", c)
		}
		uid := within.uid
		open[uid]++
		if uid != 0 && int(uid) != os.Geteuid() {
			some = c
			all++
		}
	}
	if open[1001] != 64 || open[1002] != 1 || all != 256 {
		t.Errorf("of one user %d are open, of another %d, of all others %d; want 64, 1 and 256", open[1001], open[1002], all)
	}
	if open[0] < 2 {
		t.Error("root was kept out")
	}
	some.Close()
	q.uids = []uint32{1003}
	if _, err := l.Accept(); err != nil {
		t.Error("a place that was given back is not given out again")
	}
}

// TestS7Refusals has very many users that are refused: few lines of the audit trail are
// written.
func TestS7Refusals(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	written := control.CountRefusals(5000, now)
	if written == 0 || written > 20 {
		t.Errorf("%d lines in a minute, want at most 20", written)
	}
}

// TestS15WhoAnswers has a socket of another user. Nothing is sent to it.
func TestS15WhoAnswers(t *testing.T) {
	path := socketPath(t)
	l, err := control.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := control.Dial(ctx, path); err != nil {
		t.Errorf("this user's own daemon: %v", err)
	}
	self, group := uint32(os.Geteuid()), uint32(12)
	for _, tt := range []struct {
		name   string
		uid    uint32
		groups []uint32
		owner  uint32
		mode   os.FileMode
		ok     bool
	}{
		{"root", 0, nil, 7777, 0o755, true},
		{"this user", self, nil, 7777, 0o777, true},
		{"the owner of the folder", 7777, nil, 7777, 0o750, true},
		{"somebody else", 6666, nil, 7777, 0o750, false},
		{"its group, which may not write", 6666, []uint32{group}, 7777, 0o750, false},
		{"its group, which may", 6666, []uint32{group}, 7777, 0o770, true},
		{"the owner of a folder for all", 7777, nil, 7777, 0o777, false},
	} {
		if got := control.Answers(tt.uid, tt.groups, tt.owner, group, tt.mode); got != tt.ok {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.ok)
		}
	}
}
