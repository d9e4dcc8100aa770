package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
	"github.com/seed-f0abd057/rotate/store/fleet"
)

// full is a host whose store tracks many apps, with nothing to do for a month.
type full struct {
	dir, socket string
	client      *http.Client
}

// newFull makes the configuration and the store.
func newFull(tb testing.TB, apps int) *full {
	tb.Helper()
	f := &full{dir: tb.TempDir(), socket: filepath.Join(tb.TempDir(), "s")}
	f.client = &http.Client{Timeout: patient, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", f.socket)
		},
		DisableKeepAlives: true,
	}}
	config := fmt.Sprintf(`allow_root: true
store: {path: rotate.db, identity_file: keys/store.key}
control: {socket: %q}
schedule: "@every 1h"
tenants: [{name: %s, id: 11111111-2222-3333-4444-555555555555, cloud: global}]
`, f.socket, fleet.Tenant(0))
	err := errors.Join(os.Chmod(f.dir, 0o700), os.WriteFile(filepath.Join(f.dir, "config.yaml"), []byte(config), 0o600))
	if err != nil {
		tb.Fatal(err)
	}
	o := store.Options{Path: filepath.Join(f.dir, "rotate.db"), IdentityFile: filepath.Join(f.dir, "keys", "store.key"), NoSync: true}
	if _, err := store.Init(tb.Context(), store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		tb.Fatal(err)
	}
	db, err := store.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	if err := (fleet.Fleet{Apps: apps}).Fill(tb.Context(), db, nil); err != nil {
		tb.Fatal(err)
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
	return f
}

// start starts the daemon and returns it when it says that it is ready, and how
// long that took.
func (f *full) start(tb testing.TB) (*exec.Cmd, time.Duration) {
	tb.Helper()
	path, err := buildProgram()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(path, "daemon", "--config", filepath.Join(f.dir, "config.yaml"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = diesWithUs()
	log, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.stop(tb, cmd) })
	var said strings.Builder
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "msg=ready") {
			took := time.Since(began)
			go func() {
				for lines.Scan() { // so that it can go on talking
				}
			}()
			return cmd, took
		}
		said.WriteString(lines.Text() + "\n")
	}
	tb.Fatalf("the daemon ended before it was ready:\n%s", said.String())
	return nil, 0
}

func (f *full) stop(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	if cmd.ProcessState != nil {
		return
	}
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		tb.Error(err)
	}
}

// awaitCheck waits until the daemon has recorded the end of a check that began
// after the instant.
func (f *full) awaitCheck(tb testing.TB, after time.Time) {
	tb.Helper()
	var status struct {
		LastCheck      time.Time `json:"last_check"`
		LastCheckError string    `json:"last_check_error"`
	}
	for deadline := time.Now().Add(3 * patient); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		answer, err := f.client.Get("http://rotate/v1/status?app=" + fleet.Name(0))
		if err != nil {
			tb.Fatal(err)
		}
		err = errors.Join(json.NewDecoder(answer.Body).Decode(&status), answer.Body.Close())
		if err != nil || status.LastCheckError != "" {
			tb.Fatalf("%v %s", err, status.LastCheckError)
		}
		if status.LastCheck.After(after) {
			return
		}
	}
	tb.Fatalf("no check for %s", 3*patient)
}

// renewed starts and stops the daemon until its due index is that of the
// configuration's defaults, which takes a second of each check. It returns what was
// resident when that was done.
func (f *full) renewed(tb testing.TB) memory {
	tb.Helper()
	for range 1_000 {
		began := time.Now()
		daemon, _ := f.start(tb)
		f.awaitCheck(tb, began)
		m := memoryOf(tb, daemon.Process.Pid)
		f.stop(tb, daemon)
		if f.state(tb).Defaults != "" {
			return m
		}
	}
	tb.Fatal("the due index is never renewed to its end")
	return memory{}
}

// state reads it from the store, while no daemon runs.
func (f *full) state(tb testing.TB) rotator.State {
	tb.Helper()
	db, err := store.Open(tb.Context(), store.Options{Path: filepath.Join(f.dir, "rotate.db"), IdentityFile: filepath.Join(f.dir, "keys", "store.key")})
	if err != nil {
		tb.Fatal(err)
	}
	state, err := db.State(tb.Context())
	if err := errors.Join(err, db.Close()); err != nil {
		tb.Fatal(err)
	}
	return state
}

// memory of a process in MiB.
type memory struct {
	// rss is all that is resident, of it anonymous what the program holds, and
	// the rest pages of files that the kernel takes back when it wants to.
	rss, anonymous float64
}

func (m memory) String() string {
	return fmt.Sprintf("%.1f MiB resident, %.1f of it anonymous", m.rss, m.anonymous)
}

// memoryOf asks the kernel.
func memoryOf(tb testing.TB, pid int) memory {
	tb.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	var m memory
	for line := range strings.Lines(string(data)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kib); err == nil {
			m.rss = kib / 1024
		}
		if _, err := fmt.Sscanf(line, "RssAnon: %f kB", &kib); err == nil {
			m.anonymous = kib / 1024
		}
	}
	if m.rss == 0 || m.anonymous == 0 {
		tb.Fatalf("no memory in %s", data)
	}
	return m
}

// BenchmarkDaemon starts the daemon with a store that is full and in which nothing
// is due, again and again: how long until it is ready, and how much memory it has
// after its first check. The first start of all is another matter: it builds the
// due index, once, and is not counted.
func BenchmarkDaemon(b *testing.B) {
	for _, apps := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("apps=%d", apps), func(b *testing.B) {
			if _, err := buildProgram(); err != nil {
				b.Fatal(err)
			}
			f := newFull(b, apps)
			began := time.Now()
			cmd, _ := f.start(b)
			f.awaitCheck(b, began)
			b.Logf("first start: check after %s, then %s", time.Since(began).Round(time.Millisecond), memoryOf(b, cmd.Process.Pid))
			f.stop(b, cmd)
			var ready time.Duration
			var most float64
			n := 0
			for b.Loop() {
				n++
				began := time.Now()
				cmd, took := f.start(b)
				f.awaitCheck(b, began)
				ready += took
				most = max(most, memoryOf(b, cmd.Process.Pid).rss)
				f.stop(b, cmd)
			}
			b.ReportMetric(float64(ready.Milliseconds())/float64(n), "ms-to-ready")
			b.ReportMetric(most, "MiB-RSS")
		})
	}
}
