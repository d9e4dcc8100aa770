package page_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/page"
)

// TestS17Party has tokens that name this page and were made for others.
func TestS17Party(t *testing.T) {
	const us, them = "us", "them"
	for _, tt := range []struct {
		audiences []string
		party     string
		ok        bool
	}{
		{[]string{us}, "", true},
		{[]string{us}, us, true},
		{[]string{us, them}, us, true},
		{[]string{us, them}, "", false},
		{[]string{us, them}, them, false},
		{[]string{us}, them, false},
	} {
		if err := page.CheckParty(tt.audiences, tt.party, us); (err == nil) != tt.ok {
			t.Errorf("audiences %v, azp %q: %v", tt.audiences, tt.party, err)
		}
	}
}

// TestS14Attempts begins logins from one address, and from very many.
func TestS14Attempts(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	one := []string{"192.0.2.1:1"}
	left := page.Attempts(append(one, slices.Repeat([]string{"198.51.100.7:9"}, 5000)...), now)
	if left["192.0.2.1"] != 1 || left["198.51.100.7"] > 20 {
		t.Errorf("left: %v", left)
	}
	from := slices.Clone(one)
	for i := range 3000 {
		from = append(from, fmt.Sprintf("[2001:db8:1:1::%x]:1", i))
	}
	if left := page.Attempts(from, now); left["192.0.2.1"] != 1 || left["2001:db8:1:1::/64"] > 20 {
		t.Errorf("left of one network: %v", left)
	}
}

// stranger is a connection from an address.
type stranger struct {
	net.Conn
	address net.TCPAddr
	closed  *int
}

func (s *stranger) RemoteAddr() net.Addr { return &s.address }
func (s *stranger) Close() error         { *s.closed++; return nil }

// strangers is a listener to which they come one after the other.
type strangers struct {
	net.Listener
	from   []string
	closed int
}

func (s *strangers) Accept() (net.Conn, error) {
	if len(s.from) == 0 {
		return nil, errors.New("no more")
	}
	ip := net.ParseIP(s.from[0])
	s.from = s.from[1:]
	return &stranger{address: net.TCPAddr{IP: ip, Port: 1}, closed: &s.closed}, nil
}

// TestS14Connections has one address that opens all the connections that there are.
func TestS14Connections(t *testing.T) {
	come := &strangers{from: slices.Repeat([]string{"198.51.100.7"}, 256)}
	come.from = append(come.from, "192.0.2.1", "127.0.0.1")
	l := page.Share(come)
	var open []net.Conn
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		open = append(open, c)
	}
	if want := page.MaxVisitorsEach + 2; len(open) != want || come.closed != 256-page.MaxVisitorsEach {
		t.Fatalf("%d are open, %d were closed; want %d open", len(open), come.closed, want)
	}
	open[0].Close()
	come.from = []string{"198.51.100.7"}
	if _, err := l.Accept(); err != nil {
		t.Error("a place that was given back is not given out again")
	}
}
