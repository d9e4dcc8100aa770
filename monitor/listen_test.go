package monitor_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/monitor"
)

func TestListenRefuses(t *testing.T) {
	for address, want := range map[string]string{
		":0": "others could reach it", "0.0.0.0:0": "others could reach it", "[::]:0": "others could reach it",
		"192.0.2.1:0": "others could reach it", "host.example:0": "others could reach it",
		"9469": "write 127.0.0.1:PORT", "unix:relative.sock": "not absolute",
	} {
		l, err := monitor.Listen(t.Context(), address)
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
}

func TestListenTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = monitor.Listen(t.Context(), l.Addr().String())
	if want := "metrics listener " + l.Addr().String() + ": address already in use"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "m") // short enough for a socket, which that of the test may not be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "m.sock")
	l, err := monitor.Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if _, err := monitor.Listen(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("a second one: %v", err)
	}
	m := monitor.New(monitor.Options{Store: newWorld()})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Serve(ctx, l) }()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	answer, err := client.Get("http://rotate/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if !strings.Contains(string(body), "rotate_apps 0") {
		t.Errorf("%d: %s", answer.StatusCode, body)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopped: %v", err)
	}

	// What a killed process leaves is replaced; a file is not.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	if l, err = monitor.Listen(t.Context(), "unix:"+path); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := monitor.Listen(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file in its place: %v", err)
	}
}

// TestS14MetricsHost asks under names that lead to this host and are not its own.
func TestS14MetricsHost(t *testing.T) {
	var m monitor.Metrics
	for host, want := range map[string]int{
		"127.0.0.1:9469": 200, "localhost:9469": 200, "[::1]:9469": 200, "127.0.0.1": 200,
		"evil.example": 421, "evil.example:9469": 421, "192.0.2.1": 421, "localhost.evil.example": 421,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil)
		r.Host = host
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %s: %d, want %d", host, w.Code, want)
		}
	}
}
