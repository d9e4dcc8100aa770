package control_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/control"
)

func TestListenMakesSocketForOwnerOnly(t *testing.T) {
	path := filepath.Join(filepath.Dir(socketPath(t)), "new", "s")
	l, err := control.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o750} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s = %04o, want %04o", name, got, want)
		}
	}
}

func TestListenReplacesLeftover(t *testing.T) {
	path := socketPath(t)
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("no leftover to replace: %v", err)
	}
	l, err := control.Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("Listen over a leftover: %v", err)
	}
	_ = l.Close()
}

func TestListenRefusesSecondDaemon(t *testing.T) {
	path := socketPath(t)
	l, err := control.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if _, err := control.Listen(t.Context(), path); !errors.Is(err, control.ErrRunning) {
		t.Fatalf("second Listen = %v, want ErrRunning", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of the first daemon is gone: %v", err)
	}
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := control.Listen(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("Listen over a file = %v, want that it is not a socket", err)
	}
	if data, _ := os.ReadFile(path); string(data) != "precious" {
		t.Errorf("the file holds %q, want it untouched", data)
	}
}

func TestListenRefusesLongPath(t *testing.T) {
	long := "/tmp/" + strings.Repeat("x", 103)
	for _, use := range map[string]func() error{
		"Listen": func() error { _, err := control.Listen(t.Context(), long); return err },
		"Dial":   func() error { _, err := control.Dial(t.Context(), long); return err },
	} {
		err := use()
		if err == nil || !strings.Contains(err.Error(), "has 108 bytes and Linux allows 107") {
			t.Errorf("path of 108 bytes: %v, want both lengths", err)
		}
	}
}

func TestListenRefusesOpenFolder(t *testing.T) {
	path := socketPath(t)
	if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "everybody can write") {
		t.Errorf("Listen in a folder of mode 0777 = %v, want that everybody can write to it", err)
	}
}

func TestDialNobody(t *testing.T) {
	path := socketPath(t)
	if _, err := control.Dial(t.Context(), path); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("Dial without a socket = %v, want ErrNoDaemon", err)
	}
	if _, err := control.Dial(t.Context(), filepath.Join(path, "below", "nothing")); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("Dial in a missing folder = %v, want ErrNoDaemon", err)
	}
}

// TestCutOff: a daemon that dies with a question open is no riddle for who asked.
func TestCutOff(t *testing.T) {
	for name, said := range map[string]string{
		"nothing said": "", "half a head": "HTTP/1.1 200 OK\r\n", "half an answer": "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"apps\": [",
	} {
		t.Run(name, func(t *testing.T) {
			path := socketPath(t)
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
						_, _ = io.WriteString(conn, said)
					}
					_ = conn.Close()
				}
			}()
			_, err = dial(t, path).Status(t.Context())
			if !errors.Is(err, control.ErrEnded) || !strings.HasSuffix(err.Error(), "the daemon stopped before it answered") {
				t.Errorf("Status = %v, want ErrEnded", err)
			}
		})
	}
}
