package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// restoreEvery is how often a server looks whether its socket is still there.
const restoreEvery = 2 * time.Second

// lasting is a listener whose socket is made again when it disappears: programs that
// clean /run and /tmp remove what they do not know, and then nobody reaches a daemon
// that works.
type lasting struct {
	path string
	// share is called with the name of each new socket before it gets its place.
	share func(path string) error

	mu sync.Mutex
	l  *net.UnixListener // guarded by mu
}

// Accept waits for the next connection, on whichever socket is in place.
func (k *lasting) Accept() (net.Conn, error) {
	for {
		l := k.current()
		c, err := l.Accept()
		if err == nil || l == k.current() {
			return c, err
		}
	}
}

// Addr is that of the socket.
func (k *lasting) Addr() net.Addr { return &net.UnixAddr{Name: k.path, Net: "unix"} }

// Close removes the socket.
func (k *lasting) Close() error {
	l := k.current()
	l.SetUnlinkOnClose(false)
	err := l.Close()
	if gone := os.Remove(k.path); gone != nil && !errors.Is(gone, fs.ErrNotExist) && err == nil {
		err = gone
	}
	return err
}

func (k *lasting) current() *net.UnixListener {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.l
}

// restore makes the socket again if it is not there, and reports whether it did.
func (k *lasting) restore() (bool, error) {
	if _, err := os.Lstat(k.path); !errors.Is(err, fs.ErrNotExist) {
		return false, nil // there, or not to be seen
	}
	if err := os.MkdirAll(filepath.Dir(k.path), 0o750); err != nil {
		return false, fmt.Errorf("make its folder: %w", err)
	}
	// Under another name until it is as it must be.
	part := filepath.Join(filepath.Dir(k.path), "."+filepath.Base(k.path))
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: part, Net: "unix"})
	if err != nil {
		return false, short(err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(part, 0o600)
	if err == nil {
		err = k.share(part)
	}
	if err == nil {
		err = os.Rename(part, k.path)
	}
	if err != nil {
		return false, errors.Join(err, l.Close(), os.Remove(part))
	}
	k.mu.Lock()
	old := k.l
	k.l = l
	k.mu.Unlock()
	old.SetUnlinkOnClose(false)
	return true, old.Close()
}

// keep restores the socket until ctx is done. A failure is logged once.
func (s *Server) keep(ctx context.Context, k *lasting) {
	tick := time.NewTicker(restoreEvery)
	defer tick.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		made, err := k.restore()
		switch {
		case made:
			said = ""
			s.log().WarnContext(ctx, "the control socket had been removed and was made again", "socket", k.path)
		case err != nil && err.Error() != said:
			said = err.Error()
			s.log().ErrorContext(ctx, "the control socket was removed and cannot be made again; restart the daemon", "socket", k.path, "err", err)
		}
	}
}
