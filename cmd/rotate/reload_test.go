package main_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestHangUp has the real daemon read its configuration again by SIGHUP while a hook
// runs: a good one comes into force, a broken one is refused, and the rotation goes
// through as if nothing had happened.
func TestHangUp(t *testing.T) {
	t.Parallel()
	s := startTenant(t, "contoso")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	// The hook begins, and ends when it may.
	begun, may, runs := m.path("begun"), m.path("may"), m.path("runs")
	good := string(must1(os.ReadFile(m.config))(t)) + fmt.Sprintf("hooks:\n  gate: {command: [/bin/sh, -c, %q]}\n",
		fmt.Sprintf("echo run >>%s; touch %s; while [ ! -e %s ]; do sleep 0.05; done", runs, begun, may))
	if err := os.WriteFile(m.config, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	one := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	one.prefill(t)
	m.must(t, 0, "init", "--no-recovery")
	m.must(t, 0, one.add("--deliver-exec", "gate")...)
	m.startDaemon(t)
	hangUp := func(config, says string) {
		t.Helper()
		if err := os.WriteFile(m.config, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		before := strings.Count(m.daemon.stderr.String(), says)
		if err := m.daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, patient, func() error {
			if m.daemon.hasEnded() {
				t.Fatalf("the daemon ended: %s", m.daemon.stderr.String())
			}
			if strings.Count(m.daemon.stderr.String(), says) == before {
				return fmt.Errorf("the log does not say %s", says)
			}
			return nil
		})
	}

	eventually(t, patient, func() error { _, err := os.Stat(begun); return err })
	hangUp(strings.Replace(good, "@every 2s", "@every 3s", 1), `msg="configuration read again" by=SIGHUP schedule="@every 3s"`)
	hangUp(good+"colour: red\n", "configuration refused, the one before stays in force")
	if status, _ := m.must(t, 0, "status"); !strings.Contains(status, "the previous one is still active: ") || !strings.Contains(status, "colour") {
		t.Errorf("status does not say what was refused:\n%s", status)
	}
	hangUp(good, `msg="configuration read again" by=SIGHUP schedule="@every 2s"`)
	if status, _ := m.must(t, 0, "status"); strings.Contains(status, "not reloaded") {
		t.Errorf("status still complains of a configuration that is in force:\n%s", status)
	}

	if phase := m.status(t)["app-1"].Phase; phase == nil || *phase != "proven" {
		t.Errorf("the rotation is %s, want it in the hook of its delivery", jsonText(phase))
	}

	if err := os.WriteFile(may, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, patient, func() error { return m.atRest(t) })
	if got := string(must1(os.ReadFile(runs))(t)); got != "run\n" {
		t.Errorf("the hook ran %q, want once: a reload ended it", got)
	}
	rotations := decodeJSON[struct {
		Rotations []nowAnswer `json:"rotations"`
	}](t, must2(m.must(t, 0, "history", "app-1", "-o", "json"))).Rotations
	delivered := must1(readPFX(one.path, one.path+".password"))(t)
	if len(rotations) != 1 || rotations[0].Phase == nil || *rotations[0].Phase != "retired" || rotations[0].New.ThumbprintSHA256 != delivered.thumbprint() {
		t.Fatalf("want one rotation, retired, to the delivered %s: %s", delivered.thumbprint(), jsonText(rotations))
	}
	if audit, _ := m.must(t, 0, "audit"); strings.Count(audit, "configuration read again") != 2 || !strings.Contains(audit, "SIGHUP") {
		t.Errorf("the audit trail, which wants two readings by SIGHUP:\n%s", audit)
	}
	checkWorld(t, m, one)
	if code := m.daemon.stop(t); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	checkWorld(t, m, one)
}

// TestAborted has the daemon aborted as the watchdog does it to one that hangs. It
// must not end with exit code 2: that says that its configuration is wrong, and the
// service manager does not start it again.
func TestAborted(t *testing.T) {
	t.Parallel()
	s := startTenant(t, "contoso")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	one := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	one.prefill(t)
	m.must(t, 0, "init", "--no-recovery")
	m.must(t, 0, one.add()...)
	m.startDaemon(t)
	aborted := m.daemon
	if err := aborted.cmd.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	aborted.wait(t)
	status, ok := aborted.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
		t.Errorf("it ended with %s, want by SIGABRT and without a core file", aborted.cmd.ProcessState)
	}
	if said := aborted.stderr.String(); !strings.Contains(said, "goroutine 1 ") {
		t.Errorf("it does not say where it hung:\n%s", tail(said, 20))
	}
	m.startDaemon(t)
	eventually(t, patient, func() error { return m.atRest(t) })
	checkWorld(t, m, one)
	checkLeaks(t, m, "store", one)
}
