package monitor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unixPrefix stands before the path of a unix socket.
const unixPrefix = "unix:"

// socketMode lets the owner and the group connect.
const socketMode = 0o660

// CheckAddress reports what is wrong with the address of a metrics listener:
// "unix:/absolute/path", or an address of this host alone such as 127.0.0.1:9469. The
// metrics name every app and when its certificate ends, and nobody is asked who they are.
func CheckAddress(address string) error {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("metrics listener %s: the path of the socket is not absolute; write unix:/run/rotate/metrics.sock", address)
		}
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("metrics listener %s: write 127.0.0.1:PORT, [::1]:PORT or unix:/PATH", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("metrics listener %s: others could reach it, and nobody is asked who they are; allowed are 127.0.0.1, ::1, localhost and unix:/PATH (put a proxy that checks callers in front of it)", address)
	}
	return nil
}

// Listen listens for scrapes and probes. A unix socket is for its owner and group;
// one that nobody answers on is replaced, anything else is left alone.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if err := CheckAddress(address); err != nil {
		return nil, err
	}
	var config net.ListenConfig
	path, isUnix := strings.CutPrefix(address, unixPrefix)
	if !isUnix {
		l, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("metrics listener %s: %w", address, short(err))
		}
		if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
			return nil, errors.Join(fmt.Errorf("metrics listener %s: the name leads to %s, which others could reach; write 127.0.0.1", address, l.Addr()), l.Close())
		}
		return l, nil
	}
	if err := clearLeftover(ctx, path); err != nil {
		return nil, err
	}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("metrics listener %s: %w", address, short(err))
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("metrics listener %s: %w", address, err), l.Close())
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
		return fmt.Errorf("metrics listener: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("metrics listener: %s is there already and is not a socket; move it away or choose another path", path)
	}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close() // nothing was written
		return fmt.Errorf("metrics listener: another process answers on %s", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("metrics listener: remove leftover: %w", err)
	}
	return nil
}

// short drops the parts of a network error that repeat the address.
func short(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	return err
}
