package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests beside this file run the real program as a process of its own, the
// way a person does. What they know of it is what people know: commands, files,
// the control socket, Graph. They share this file, entra_test.go (Entra, asked
// without package graph), world_test.go (the promises, checked in one place) and
// secrets_test.go (what may be printed nowhere).
//
// TestByHand belongs to the plain run. The others take minutes, or need more than
// Go on the machine, and have the build tag e2e:
//
//	go test -tags e2e -timeout 30m ./cmd/rotate
//
// With "-artifacts -outputdir DIR" the folders of every host and tenant are kept.

// givenProgram is the environment variable that names a program to test, built
// before.
const givenProgram = "ROTATE_TEST_PROGRAM"

// buildProgram builds the program once a run, beside the test binary: in the
// folder that "go test" removes when it ends.
var buildProgram = sync.OnceValues(func() (string, error) {
	if given := os.Getenv(givenProgram); given != "" {
		return filepath.Abs(given)
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), "program-under-test", "rotate")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func program(t *testing.T) string {
	t.Helper()
	path, err := buildProgram()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// record keeps what a process prints. It is safe for concurrent use.
type record struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data.String()
}

// process is one run of the program.
type process struct {
	args           []string
	cmd            *exec.Cmd
	stdout, stderr record
	// visible is what others could see of it: its command line and environment.
	visible []byte
	done    chan struct{}
}

// launch starts the program in the folder; it is killed when the test ends, at
// the latest.
func launch(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return launchCommand(t, dir, env, program(t), args...)
}

func launchCommand(t *testing.T, dir string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{args: args, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, env
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = time.Minute
	p.cmd.SysProcAttr = diesWithUs()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.visible = seenByOthers(p.cmd.Process.Pid)
	go func() {
		_ = p.cmd.Wait() // its state tells
		close(p.done)
	}()
	return p
}

// seenByOthers reads the command line and, where the kernel shows it, the
// environment of a process. One that just began has none for an instant, and one
// that ended for ever.
func seenByOthers(pid int) []byte {
	for !isZombie(pid) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			return nil
		}
		if len(line) > 0 {
			environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)) // not every user may
			return append(append(line, 0), environment...)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// isZombie reports whether a process ended, and its parent did not notice yet or did.
func isZombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(data), ") ")
	return err != nil || strings.HasPrefix(rest, "Z")
}

func (p *process) String() string { return "rotate " + strings.Join(p.args, " ") }

// kill is SIGKILL, and waits for the end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// stop is SIGTERM; it returns the exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return p.wait(t)
}

// wait returns the exit code. One that does not end in time shows where it
// hangs.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patient):
	}
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // its stack goes to stderr
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.kill()
	}
	t.Fatalf("%s: not ended after %s\nstdout: %s\nstderr: %s", p, patient, p.stdout.String(), p.stderr.String())
	return -1
}

func (p *process) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// machine is a host with the program on it.
type machine struct {
	// dir holds everything but the socket, whose path may not be long.
	dir, config, socket string
	env                 []string
	// within, if set, is the command line that runs one of the program elsewhere.
	within func(args ...string) []string
	// daemon that was started last; nil: none.
	daemon *process
	// answers of the control API, as they came.
	answers record

	mu  sync.Mutex
	all []*process
}

// shortDir is a temporary folder without the name of the test in its path, which would
// be too long for a socket where the folder for temporary files has a long one itself.
func shortDir(t *testing.T) string {
	t.Helper()
	dir := must1(os.MkdirTemp("", "rotate"))(t)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newMachine makes the folder, and no configuration.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{dir: filepath.Join(t.ArtifactDir(), "host"), socket: filepath.Join(shortDir(t), "rotate.sock")}
	m.config = m.path("config.yaml")
	m.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.dir, "ROTATE_CONFIG=" + m.config}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && m.daemon != nil {
			t.Logf("the end of the daemon's log:\n%s", tail(m.daemon.stderr.String(), 60))
		}
	})
	return m
}

func (m *machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

// folder makes one and returns its path.
func (m *machine) folder(t *testing.T, name string) string {
	t.Helper()
	if err := os.MkdirAll(m.path(name), 0o700); err != nil {
		t.Fatal(err)
	}
	return m.path(name)
}

// issueDefaults are the policy of the tests: waits are as short as they can be.
const issueDefaults = `
  overlap: 0s
  reload_within: 0s
  renew_before: 45d
  validity: 365d
  prove: {successes: 2, spacing: 200ms, within: 5m}
  upload_limit: {per_hour: 100, per_day: 100}
`

// configure writes the configuration; store is the folder of the store, relative
// to the configuration's.
func (m *machine) configure(t *testing.T, store, defaults string, tenants ...*tenantServer) {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, "allow_root: true\nstore: {path: %q, identity_file: store.key}\n", filepath.Join(store, "rotate.db"))
	fmt.Fprintf(&text, "control: {socket: %q}\nschedule: \"@every 2s\"\ndefaults:%stenants:\n", m.socket, defaults)
	for _, s := range tenants {
		fmt.Fprintf(&text, "  - name: %s\n    id: %q\n", s.name, s.ready.TenantID)
		fmt.Fprintf(&text, "    cloud: {login: %q, graph: %q, ca_file: %q, removal: {reads: 1s, sign_ins: 2s, young: 2s}}\n", s.ready.Login, s.ready.Graph, s.ready.CAFile)
		fmt.Fprintf(&text, "    identity: {client_id: %q, client_secret_file: %q}\n", s.ready.Admin.ClientID, s.ready.Admin.ClientSecretFile)
	}
	if err := os.WriteFile(m.config, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start begins a command and does not wait for it.
func (m *machine) start(t *testing.T, args ...string) *process {
	t.Helper()
	var p *process
	if m.within == nil {
		p = launch(t, m.dir, m.env, args...)
	} else {
		line := m.within(args...)
		p = launchCommand(t, m.dir, m.env, line[0], line[1:]...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, p)
	return p
}

// run waits for a command and returns it.
func (m *machine) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := m.start(t, args...)
	code = p.wait(t)
	return code, p.stdout.String(), p.stderr.String()
}

// must runs a command that has to end with the code, and returns its output.
func (m *machine) must(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := m.run(t, args...)
	if code != want {
		t.Fatalf("rotate %s: exit code %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), code, want, stdout, stderr)
	}
	return stdout, stderr
}

// mustSay runs a command that has to end with the code and to say all parts on
// stderr, and nothing on stdout.
func (m *machine) mustSay(t *testing.T, want int, parts []string, args ...string) {
	t.Helper()
	stdout, stderr := m.must(t, want, args...)
	if stdout != "" {
		t.Errorf("rotate %s: stdout %q, want nothing", strings.Join(args, " "), stdout)
	}
	for _, part := range parts {
		if !strings.Contains(stderr, part) {
			t.Errorf("rotate %s: it says %q, which lacks %q", strings.Join(args, " "), stderr, part)
		}
	}
}

// startDaemon starts one and waits until it answers.
func (m *machine) startDaemon(t *testing.T) {
	t.Helper()
	m.daemon = m.start(t, "daemon")
	m.waitForDaemon(t)
}

// waitForDaemon asks until there is an answer: one that lets others connect may not
// have opened its page yet.
func (m *machine) waitForDaemon(t *testing.T) {
	t.Helper()
	eventually(t, patient, func() error {
		if m.daemon.hasEnded() {
			t.Fatalf("the daemon ended: %s", m.daemon.stderr.String())
		}
		var status statusAnswer
		return m.ask(t.Context(), "/v1/status", &status)
	})
}

// ask gets an answer of the daemon's control API.
func (m *machine) ask(ctx context.Context, path string, into any) error {
	client := &http.Client{Timeout: patient, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", m.socket)
		},
		DisableKeepAlives: true,
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://rotate"+path, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.TeeReader(answer.Body, &m.answers))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", path, answer.Status, data)
	}
	return json.Unmarshal(data, into)
}

// noLeftovers reports files that a crash left in a folder of deliveries.
func noLeftovers(t *testing.T, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(filepath.Base(path), ".rotate-") {
			t.Errorf("%s is left over", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// patient is how long tests wait for what comes by itself, on a machine that has
// other work: only a test that fails waits to its end.
const patient = 5 * time.Minute

// eventually tries until it works.
func eventually(t *testing.T, limit time.Duration, try func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %v", limit, err)
		}
		time.Sleep(25 * time.Millisecond)
	}
}

// tail is the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func decodeJSON[T any](t *testing.T, text string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return value
}

// jsonText shows a value in a message.
func jsonText(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
