package page

import (
	"net"
	"net/netip"
	"sync"
)

// Bounds for one asker, so that nobody keeps others out.
const (
	// maxVisitorsEach of maxVisitors connections.
	maxVisitorsEach = 64
	// maxAttemptsEach of maxSessions logins that are under way.
	maxAttemptsEach = 20
)

// asker is who an address counts as: an IPv4 address, or the 64 bits of an IPv6 address
// that a provider gives to one customer.
func asker(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap(); ip.Is6() {
		if prefix, err := ip.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return ip.String()
}

// sharing is a listener that closes connections beyond each asker's share at once. This
// host itself has no share: a proxy on it brings everybody.
type sharing struct {
	net.Listener

	mu   sync.Mutex
	open map[string]int // guarded by mu
}

// Accept implements [net.Listener].
func (s *sharing) Accept() (net.Conn, error) {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := asker(c.RemoteAddr().String())
		if ip, err := netip.ParseAddr(from); err == nil && ip.IsLoopback() {
			return c, nil
		}
		if s.enter(from) {
			return &shared{Conn: c, left: func() { s.leave(from) }}, nil
		}
		_ = c.Close() // nothing was said yet
	}
}

func (s *sharing) enter(from string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[from] >= maxVisitorsEach {
		return false
	}
	if s.open == nil {
		s.open = map[string]int{}
	}
	s.open[from]++
	return true
}

func (s *sharing) leave(from string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[from]--; s.open[from] == 0 {
		delete(s.open, from)
	}
}

// shared is a connection that gives its place back when it is closed.
type shared struct {
	net.Conn
	once sync.Once
	left func()
}

// Close implements [net.Conn].
func (c *shared) Close() error {
	c.once.Do(c.left)
	return c.Conn.Close()
}
