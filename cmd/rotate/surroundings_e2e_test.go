//go:build e2e

package main_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestB4ReaderOfStderrGoesAway closes the other end of the daemon's log. It goes on.
func TestB4ReaderOfStderrGoesAway(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.configure(t, "data", issueDefaults)
	m.must(t, 0, "init", "--no-recovery")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	daemon := exec.CommandContext(ctx, program(t), "daemon")
	daemon.Dir, daemon.Env = m.dir, m.env
	stderr, err := daemon.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stderr); lines.Scan() && !strings.Contains(lines.Text(), "msg=ready"); {
	}
	if err := stderr.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // each is a line of the log
		if err := daemon.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatalf("the daemon ended: %v", err)
		}
		var status statusAnswer
		eventually(t, patient, func() error { return m.ask(ctx, "/v1/status", &status) })
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("the daemon ended with %v, want a clean end", err)
	}
}

// TestB5NoTimeZonesOnTheHost hides those of the system and of Go.
func TestB5NoTimeZonesOnTheHost(t *testing.T) {
	t.Parallel()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("defaults: {window: {cron: \"0 2 * * *\", duration: 3h, zone: Europe/Berlin}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hide := `for d in /usr/share/zoneinfo /usr/share/lib/zoneinfo /usr/lib/locale/TZ /etc/zoneinfo "$2/lib/time"; do
		if [ -d "$d" ]; then mount -t tmpfs none "$d"; fi
	done; exec "$0" -c "$1" config check`
	arguments := []string{"--mount", "--propagation", "private"}
	if os.Geteuid() != 0 {
		arguments = append(arguments, "--user", "--map-root-user")
	}
	cmd := exec.Command("unshare", append(arguments, "sh", "-c", hide, program(t), file, strings.TrimSpace(string(root)))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
