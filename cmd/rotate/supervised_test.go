package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// manager is the socket at which a service manager listens (sd_notify(3)).
type manager struct {
	mu   sync.Mutex
	told []string
}

func (g *manager) listen(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(shortDir(t), "notify")
	conn := must1(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))(t)
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return // closed
			}
			g.mu.Lock()
			g.told = append(g.told, string(buffer[:n]))
			g.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		reading.Wait()
	})
	return path
}

// wait until it was told a part, after position from; it returns the position.
func (g *manager) wait(t *testing.T, from int, part string) int {
	t.Helper()
	at := 0
	eventually(t, patient, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		for at = from; at < len(g.told); at++ {
			if strings.Contains(g.told[at], part) {
				return nil
			}
		}
		return fmt.Errorf("told %q, want %q", g.told[from:], part)
	})
	return at
}

// TestSupervised is what a service manager hears and says: ready, the watchdog, the
// state in words, SIGHUP for another configuration, and the stop.
func TestSupervised(t *testing.T) {
	t.Parallel()
	tenant := startTenant(t, "contoso", "--apps", "1", "--not-after", "7200h")
	m := newMachine(t)
	m.configure(t, "store", issueDefaults, tenant)
	m.must(t, 0, "init", "--no-recovery")
	var g manager
	m.env = append(m.env, "NOTIFY_SOCKET="+g.listen(t), "WATCHDOG_USEC=3000000")
	m.startDaemon(t)
	g.wait(t, 0, "READY=1")
	g.wait(t, 0, "WATCHDOG=1\nSTATUS=")
	seed := tenant.ready.Apps[0]
	m.must(t, 0, "app", "add", "app-1", "--tenant", "contoso", "--client-id", seed.ClientID, "--pfx", seed.PFXFile, "--password-file", seed.PasswordFile, "--no-consumer")
	at := g.wait(t, 0, ", 1 app")
	g.wait(t, at+1, "WATCHDOG=1")

	good := must1(os.ReadFile(m.config))(t)
	hangUp := func(text, says string) {
		t.Helper()
		if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := m.daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, patient, func() error {
			if log := m.daemon.stderr.String(); !strings.Contains(log, says) {
				return fmt.Errorf("the log has no %q:\n%s", says, tail(log, 10))
			}
			return nil
		})
	}
	hangUp(string(good)+"colour: red\n", "configuration refused, the one before stays in force")
	stdout, _ := m.must(t, 0, "status")
	if !strings.Contains(stdout, "not reloaded") || !strings.Contains(stdout, "colour") {
		t.Errorf("status after a broken configuration:\n%s", stdout)
	}
	hangUp(strings.Replace(string(good), "@every 2s", "@every 3s", 1), `msg="configuration read again" by=SIGHUP`)
	if stdout, _ := m.must(t, 0, "status"); strings.Contains(stdout, "not reloaded") {
		t.Errorf("status after a good one:\n%s", stdout)
	}
	if code := m.daemon.stop(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	g.wait(t, at, "STOPPING=1")
}
