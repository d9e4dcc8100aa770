package control_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/store"
)

// TestNeeds walks the table: who may read may not do anything else.
func TestNeeds(t *testing.T) {
	reads := 0
	for pattern, needs := range control.Needs() {
		isGet := strings.HasPrefix(pattern, "GET ")
		asksEntra := strings.HasPrefix(pattern, "GET /v1/discover") || strings.HasSuffix(pattern, "/signins")
		if isGet && !asksEntra != (needs == "read") {
			t.Errorf("%s needs %s: a GET only reads, anything else may change, and readers do not ask Entra (S8)", pattern, needs)
		}
		if isKeys := strings.HasSuffix(pattern, "/export") || strings.HasSuffix(pattern, "/package"); isKeys != (needs == "take keys") {
			t.Errorf("%s needs %s, and gives keys away: %t", pattern, needs, isKeys)
		}
		if isGet {
			reads++
		}
	}
	if reads < 5 {
		t.Errorf("%d routes read; the table is not the real one", reads)
	}
}

// Groups of the tests, by number: no host has members of them.
const (
	changers = "64001"
	viewers  = "64002"
	takers   = "64003"
)

// askAs asks the socket as a process of user 65534 in the given groups.
func askAs(t *testing.T, socket, method, path string, groups ...uint32) string {
	t.Helper()
	return sendAs(t, socket, method, path, "", groups...)
}

// sendAs is askAs with a body.
func sendAs(t *testing.T, socket, method, path, body string, groups ...uint32) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(filepath.Dir(socket), "helper")
	if _, err := os.Stat(helper); err != nil {
		if err := os.WriteFile(helper, self, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ask := exec.Command(helper, "-test.run=TestHelperAsk", "-test.v")
	ask.Dir = "/"
	ask.Env = append(os.Environ(), "ROTATE_TEST_SOCKET="+socket, "ROTATE_TEST_METHOD="+method, "ROTATE_TEST_PATH="+path, "ROTATE_TEST_BODY="+body)
	ask.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other, Groups: groups}}
	out, err := ask.CombinedOutput()
	if err != nil {
		t.Fatalf("ask as uid %d: %v\n%s", other, err, out)
	}
	return string(out)
}

// The supplementary groups of the process decide, as the kernel knows them.
// Without root, nobody can be somebody else.
func TestGroupsDecide(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	w := newWorld(t, 0)
	w.server.Access = control.Access{ChangeGroup: changers, ViewGroup: viewers}
	path := socketPath(t)
	w.serve(t, path)
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	number := func(group string) uint32 {
		n, err := strconv.ParseUint(group, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	many := []uint32{number(viewers)}
	for g := range uint32(200) {
		many = append(many, 70000+g) // more than one call has room for
	}
	for _, test := range []struct {
		name, method, path string
		groups             []uint32
		want               []string
	}{
		{"nobody reads", "GET", "/v1/status", nil, []string{"403", "may not read", "members of group " + viewers, "usermod -aG " + viewers}},
		{"viewers read", "GET", "/v1/status", []uint32{number(viewers)}, []string{"200"}},
		{"a viewer in many groups reads", "GET", "/v1/status", many, []string{"200"}},
		{"viewers change nothing", "POST", "/v1/check", []uint32{number(viewers)}, []string{"403", "may not change", "members of group " + changers}},
		{"changers read", "GET", "/v1/status", []uint32{number(changers)}, []string{"200"}},
		{"changers change", "POST", "/v1/check", []uint32{number(changers)}, []string{"200"}},
		{"nobody learns what there is", "GET", "/v1/nothing", nil, []string{"403"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			out := askAs(t, path, test.method, test.path, test.groups...)
			for _, want := range test.want {
				if !strings.Contains(out, want) {
					t.Errorf("%s %s as groups %v has no %q:\n%s", test.method, test.path, test.groups, want, out)
				}
			}
		})
	}
	db, ok := w.server.Rotator.Store.(*store.Store)
	if !ok {
		t.Fatalf("the store is a %T", w.server.Rotator.Store)
	}
	refused := 0
	for line, err := range db.Audit(t.Context(), "", time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		if line.What != "request refused" {
			continue
		}
		if refused++; !strings.Contains(line.Result, "may not") || !strings.Contains(line.Note, "/v1/") {
			t.Errorf("a refusal is recorded as %+v", line)
		}
	}
	if refused == 0 {
		t.Error("no refusal is in the audit trail")
	}
}
