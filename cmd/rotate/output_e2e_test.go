//go:build e2e

package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOutputDiskFull has commands write files for their caller where there is no
// room: they say so, and leave nothing that could be taken for a whole file.
func TestOutputDiskFull(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	s := startTenant(t, "contoso", "--not-after", "300d")
	m := newMachine(t)
	m.configure(t, "store", issueDefaults, s)
	m.must(t, 0, "init", "--no-recovery")
	a := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	m.must(t, 0, a.add()...)
	recipient := regexp.MustCompile(`age1\w+`).FindString(string(must1(os.ReadFile(m.path("store.key")))(t)))
	d := newDisk(t, m.folder(t, "out"))
	for name, args := range map[string][]string{
		"backup":      {"backup", "out/file", "--to", recipient},
		"export":      {"export", "app-1", "--out", "out/file", "--password-file", "out/password"},
		"export PEM":  {"export", "app-1", "--out", "out/file", "--encoding", "pem"},
		"report":      {"report", "--out", "out/file"},
		"certificate": {"certificate", "new", "file", "--out", "out", "--password-file", a.seed.PasswordFile},
	} {
		t.Run(name, func(t *testing.T) {
			d.fill(t)
			m.mustSay(t, 1, []string{d.dir, noSpace}, args...)
			d.free(t)
			left := must1(os.ReadDir(d.dir))(t)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			m.must(t, 0, args...)
			for _, e := range must1(os.ReadDir(d.dir))(t) {
				if info := must1(e.Info())(t); info.Mode().Perm() != 0o600 || info.Size() == 0 {
					t.Errorf("%s: mode %s, %d bytes", e.Name(), info.Mode(), info.Size())
				}
				if err := os.Remove(filepath.Join(d.dir, e.Name())); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestExportOnTerminal shows the password of an exported file on the terminal, once,
// and it is the one that opens it.
func TestExportOnTerminal(t *testing.T) {
	t.Parallel()
	s := startTenant(t, "contoso", "--not-after", "300d")
	m := newMachine(t)
	m.configure(t, "store", issueDefaults, s)
	m.must(t, 0, "init", "--no-recovery")
	a := newAdopted(t, m, s, "app-1", "self", s.ready.Apps[0])
	m.must(t, 0, a.add()...)
	// script(1) gives it a terminal.
	cmd := exec.Command("script", "--quiet", "--return", "--command", program(t)+" export app-1 --out pair.pfx", "/dev/null")
	cmd.Dir, cmd.Env = m.dir, append(m.env, "TERM=xterm", "NO_COLOR=1")
	out := must1(cmd.Output())(t)
	shown := regexp.MustCompile(`Password, shown this once:\s+(\S+)\s`).FindSubmatch(out)
	if shown == nil || strings.Count(string(out), string(shown[1])) != 1 {
		t.Fatalf("it shows the password not exactly once:\n%q", out)
	}
	p := must1(openPFX(must1(os.ReadFile(m.path("pair.pfx")))(t), string(shown[1])))(t)
	if diff := cmp.Diff(a.pairs()[0].thumbprint(), p.thumbprint()); diff != "" {
		t.Errorf("the exported pair (-want +got):\n%s", diff)
	}
	audit, _ := m.must(t, 0, "audit")
	if strings.Contains(audit, string(shown[1])) || strings.Count(audit, "key pair exported") != 1 {
		t.Errorf("the audit trail:\n%s", audit)
	}
}
