package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// maxPathBytes is the longest path of a unix socket: sun_path has 108 bytes with
// the closing zero (unix(7)). The kernel says "invalid argument" to longer ones.
const maxPathBytes = 107

// dialTimeout bounds looking whether somebody listens; a local socket answers at
// once.
const dialTimeout = 2 * time.Second

// socketUmask leaves the new socket to its owner.
const socketUmask = 0o177

// Listen makes the daemon's socket at path, for its owner only; its folder is
// made with mode 0750 if it is missing.
//
// A socket that is already there is dialled first: if somebody answers, Listen
// returns [ErrRunning]; else the socket is a leftover and replaced. Anything but
// a socket is left alone. The umask of the process changes for an instant:
// call Listen before other goroutines make files.
func Listen(ctx context.Context, path string) (*net.UnixListener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("control socket: make folder: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if mode := info.Mode(); mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0 {
		return nil, fmt.Errorf("control socket: everybody can write to its folder %s (mode %04o) and put a socket of their own there; chmod 0750 it", folder, mode.Perm())
	}
	if err := clearLeftover(ctx, path); err != nil {
		return nil, err
	}
	old := syscall.Umask(socketUmask)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, short(err))
	}
	return l, nil
}

// clearLeftover removes a socket that nobody listens on.
func clearLeftover(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("control socket: %s is there already and is not a socket; move it away or set control.socket to another path", path)
	}
	conn, err := dial(ctx, path)
	if err == nil {
		_ = conn.Close() // nothing was written
		return fmt.Errorf("control socket %s: %w", path, ErrRunning)
	}
	if !errors.Is(err, ErrNoDaemon) {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control socket: remove leftover: %w", err)
	}
	return nil
}

// dial returns [ErrNoDaemon] if nobody listens.
func dial(ctx context.Context, path string) (net.Conn, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		if err := checkServer(conn, path); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("control socket %s: %w", path, ErrNoDaemon)
	}
	return nil, fmt.Errorf("control socket %s: %w", path, short(err))
}

// checkServer refuses a socket of somebody else: what is said to it may be a key. Whoever
// answers is root, this user, the owner of the folder, or in its group where that may
// write. In a folder where all may make files (/tmp) only root and this user count.
func checkServer(conn net.Conn, path string) error {
	p := peerOfConn(conn)
	if p.err != nil {
		return fmt.Errorf("control socket %s: who answers is unknown: %w", path, p.err)
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && p.answersIn(owner.Uid, owner.Gid, info.Mode()) {
		return nil
	}
	return fmt.Errorf("control socket %s: %s answers there, who is neither root nor the owner of its folder; nothing was sent", path, UserName(p.uid))
}

// answersIn reports whether the peer may be a daemon in a folder of this owner, group and
// mode.
func (p peer) answersIn(uid, gid uint32, mode fs.FileMode) bool {
	switch {
	case p.uid == 0, int64(p.uid) == int64(os.Geteuid()):
		return true
	case mode.Perm()&0o002 != 0:
		return false
	}
	return p.uid == uid || mode.Perm()&0o020 != 0 && slices.Contains(p.groups, gid)
}

func checkPath(path string) error {
	if len(path) > maxPathBytes {
		return fmt.Errorf("control socket: the path has %d bytes and Linux allows %d; set control.socket to a shorter one: %s", len(path), maxPathBytes, path)
	}
	return nil
}

// short drops the parts of a network error that repeat the path.
func short(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	return err
}
