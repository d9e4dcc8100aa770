package control_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/control"
)

// TestB13SocketGone removes the socket under a server, as programs that clean /run do.
func TestB13SocketGone(t *testing.T) {
	path := socketPath(t)
	l, err := control.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	server := &control.Server{Access: control.Access{}}
	go func() { ended <- server.Serve(ctx, l) }()
	for range 2 {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		deadline := time.After(2 * time.Minute)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			c, err := net.Dial("unix", path)
			if err == nil {
				c.Close()
				tick.Stop()
				break
			}
			select {
			case <-deadline:
				t.Fatalf("the socket was not made again: %v", err)
			case <-tick.C:
			}
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("mode %04o, want 0600", got)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("the socket is left behind")
	}
}
