package page_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/page"
	"github.com/seed-f0abd057/rotate/rotator"
)

const day = 24 * time.Hour

// fixed is a source that holds what a test puts in.
type fixed struct {
	mu      sync.Mutex
	status  rotator.Status
	changed chan struct{}
}

func newFixed(apps ...rotator.AppStatus) *fixed {
	return &fixed{status: rotator.Status{Apps: apps}, changed: make(chan struct{})}
}

// change alters what is there and tells so.
func (f *fixed) change(alter func(*rotator.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	alter(&f.status)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fixed) Survey(_ context.Context, see func(*rotator.AppStatus)) (rotator.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.status.Apps {
		see(&f.status.Apps[i])
	}
	s := f.status
	s.Apps, s.At = nil, time.Now()
	return s, nil
}

func (f *fixed) Status(_ context.Context, names ...string) (rotator.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.Apps, s.At = nil, time.Now()
	for _, a := range f.status.Apps {
		if a.App.Name == names[0] {
			s.Apps = append(s.Apps, a)
			return s, nil
		}
	}
	return s, fmt.Errorf("app %s: %w", names[0], rotator.ErrNotFound)
}

func (f *fixed) History(_ context.Context, name string, _ int) ([]rotator.Rotation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.status.Apps {
		if a.App.Name == name && a.Rotation != nil {
			return []rotator.Rotation{*a.Rotation}, nil
		}
	}
	return nil, nil
}

func (f *fixed) HandOff(context.Context, string) (rotator.HandOff, error) {
	return rotator.HandOff{}, rotator.ErrRefused
}

func (f *fixed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// safeApp is one with nothing to do for a while.
func safeApp(name string, left time.Duration) rotator.AppStatus {
	now := time.Now().UTC()
	p := rotator.DefaultPolicy()
	c := rotator.Credential{
		KeyID: "12345678-0000-0000-0000-000000000000", ThumbprintSHA1: strings.Repeat("AB", 20), ThumbprintSHA256: rotator.Thumbprint(strings.Repeat("cd", 32)),
		NotBefore: now.Add(left - 365*day), NotAfter: now.Add(left),
	}
	return rotator.AppStatus{
		App: rotator.App{
			Name: name, Tenant: "contoso", ClientID: "11111111-0000-0000-0000-000000000000", Mode: rotator.ModeSelf, Current: &c, AddedAt: now,
			Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: "/srv/" + name + ".pfx"}},
		},
		Policy: p, NotAfter: c.NotAfter, DueAt: c.NotAfter.Add(-p.RenewBefore),
		LastSafeStart: c.NotAfter.Add(-p.Prove.Within - p.ReloadWithin - p.Overlap),
	}
}

// served is a page on a real port.
type served struct {
	t       *testing.T
	address string
	client  *http.Client
}

// serve starts the page; it ends with the test.
func serve(t *testing.T, s *page.Server) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &served{t: t, address: l.Addr().String(), client: &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get reads one page, which must be answered with 200.
func (s *served) get(path string) string {
	s.t.Helper()
	answer, err := s.client.Get("http://" + s.address + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %s, %v\n%s", path, answer.Status, err, body)
	}
	return string(body)
}

// rawTime is how long raw waits for the server to close.
const rawTime = 2 * time.Minute

// raw sends bytes as they are and returns the status line and what follows.
func (s *served) raw(request string) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(rawTime))
	_, _ = io.WriteString(c, request)           // the server may close before all is sent, with an answer
	answer, _ := io.ReadAll(bufio.NewReader(c)) // until it closes
	return string(answer)
}
