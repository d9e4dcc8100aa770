package control_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-f0abd057/rotate/control"
)

func TestMayAsk(t *testing.T) {
	for _, test := range []struct {
		name string
		peer uint32
		uid  int
		want bool
	}{
		{"root asks the service", 0, 998, true},
		{"the service's user asks", 998, 998, true},
		{"somebody else asks", 1000, 998, false},
		{"somebody else asks root's daemon", 1000, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := control.MayAsk(test.peer, test.uid)
			if (err == nil) != test.want {
				t.Fatalf("MayAsk(%d, %d) = %v, want served %v", test.peer, test.uid, err, test.want)
			}
			if err == nil {
				return
			}
			if !errors.Is(err, control.ErrForbidden) {
				t.Errorf("error %v is not ErrForbidden", err)
			}
			if wire, status := control.WireError(err); status != http.StatusForbidden || !strings.Contains(wire.Message, "uid 1000") || wire.Next == "" {
				t.Errorf("on the wire: %d %+v, want 403 with the uid and what to do", status, wire)
			}
		})
	}
}

// other is a uid that is neither root's nor this test's.
const other = 65534

// TestHelperAsk is not a test: it asks the socket as another user.
func TestHelperAsk(t *testing.T) {
	path := os.Getenv("ROTATE_TEST_SOCKET")
	if path == "" {
		return
	}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}
	request, err := http.NewRequestWithContext(t.Context(), cmp.Or(os.Getenv("ROTATE_TEST_METHOD"), http.MethodGet), "http://rotate"+cmp.Or(os.Getenv("ROTATE_TEST_PATH"), "/v1/status"), strings.NewReader(os.Getenv("ROTATE_TEST_BODY")))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString("answer: " + answer.Status + " " + string(body))
}

// A folder and a socket that let everybody in do not help: the kernel says who
// asks. Without root, nobody can be somebody else, and [TestMayAsk] is all.
func TestOtherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	w := newWorld(t, 0)
	path := socketPath(t)
	w.serve(t, path)
	for name, mode := range map[string]os.FileMode{path: 0o777, filepath.Dir(path): 0o755} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(filepath.Dir(path), "helper")
	if err := os.WriteFile(helper, self, 0o755); err != nil {
		t.Fatal(err)
	}
	ask := exec.Command(helper, "-test.run=TestHelperAsk", "-test.v")
	ask.Dir = "/"
	ask.Env = append(os.Environ(), "ROTATE_TEST_SOCKET="+path)
	ask.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	out, err := ask.CombinedOutput()
	if err != nil {
		t.Fatalf("ask as uid %d: %v\n%s", other, err, out)
	}
	for _, want := range []string{"answer: 403", "uid 65534", "forbidden"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("answer to uid %d has no %q:\n%s", other, want, out)
		}
	}
}

func TestPeerIsInTheAuditTrail(t *testing.T) {
	w := newWorld(t, 0)
	path := socketPath(t)
	w.serve(t, path)
	added, err := dial(t, path).Add(t.Context(), w.spec())
	if err != nil {
		t.Fatal(err)
	}
	if want := control.UserName(uint32(os.Getuid())); added.App.AddedBy != want {
		t.Errorf("added by %q, want %q", added.App.AddedBy, want)
	}
}
