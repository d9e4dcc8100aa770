//go:build e2e

package main_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPageInBrowser looks at the page as people do, in Debian's Chromium: every page
// light, dark, on a phone and very wide, by keyboard only and without JavaScript; axe
// finds nothing. Pictures are kept with "go test -artifacts".
//
// It needs chromium, and npm with Node 20; a missing one is a failure, not a skip.
func TestPageInBrowser(t *testing.T) {
	node := installBrowser(t)
	address, _ := company(t)
	out, err := browse(t, node, "company", address).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestRotationInBrowser follows a rotation of "rotate demo" on the page, from its
// plan to the end, without loading it again.
func TestRotationInBrowser(t *testing.T) {
	node := installBrowser(t)
	dir := filepath.Join(t.TempDir(), "demo")
	program := must1(buildProgram())(t)
	demo := exec.Command(program, "demo", "--dir", dir, "--keep")
	demo.SysProcAttr = diesWithUs()
	var stderr bytes.Buffer
	demo.Stderr = &stderr
	said := must1(demo.StdoutPipe())(t)
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = demo.Process.Signal(syscall.SIGINT)
		_ = demo.Wait() // an interrupted demo says so with its code
	})
	address := ""
	lines := bufio.NewScanner(said)
	for address == "" && lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), "Watch it in a browser, too: "); ok {
			address, _, _ = strings.Cut(after, "/apps/app-1")
		}
	}
	if address == "" {
		t.Fatalf("the demo names no page:\n%s", stderr.String())
	}
	go func() {
		for lines.Scan() { // so that it can go on talking
		}
	}()
	cmd := browse(t, node, "live", address)
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	looking := bufio.NewScanner(must1(cmd.StdoutPipe())(t))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rotate := func(args ...string) {
		if out, err := exec.Command(program, append(args, "--config", filepath.Join(dir, "config.yaml"))...).CombinedOutput(); err != nil {
			t.Errorf("rotate %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Each step lasts long enough to be seen by a browser that has to wait for the
	// processor.
	ready := decodeJSON[readyFile](t, string(must1(os.ReadFile(filepath.Join(dir, "tenant", "ready.json")))(t)))
	slow := filepath.Join(t.TempDir(), "slow.yaml")
	path := filepath.Join(dir, "consumer", "app.pfx")
	declared := fmt.Sprintf(`apps:
  - name: app-1
    tenant: contoso
    client_id: %s
    deliveries: [{kind: file, path: %q, password_path: %q}]
    policy: {prove: {successes: 3, spacing: 5s, within: 5m}, reload_within: 15s, overlap: 15s}
`, ready.Apps[0].ClientID, path, path+".password")
	if err := os.WriteFile(slow, []byte(declared), 0o600); err != nil {
		t.Fatal(err)
	}
	for looking.Scan() {
		if looking.Text() == "ready" {
			rotate("apply", "-f", slow)
			rotate("now", "app-1", "--wait")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, wrong.String())
	}
}

// browse is the program that looks.
func browse(t *testing.T, node, what, address string) *exec.Cmd {
	t.Helper()
	pictures := t.ArtifactDir()
	t.Log("pictures:", pictures)
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(node, "browser.mjs"), what, address, pictures)
	cmd.SysProcAttr = diesWithUs()
	return cmd
}

// installBrowser installs the packages that testdata/browser/package-lock.json names
// into a folder of the user's cache, once for each such file, and returns it.
func installBrowser(t *testing.T) string {
	t.Helper()
	needed(t, "chromium", "apt-get install chromium")
	needed(t, "node", "apt-get install nodejs, or Node 20 or newer from nodejs.org")
	needed(t, "npm", "apt-get install npm")
	from := filepath.Join("testdata", "browser")
	lock := must1(os.ReadFile(filepath.Join(from, "package-lock.json")))(t)
	to := filepath.Join(must1(os.UserCacheDir())(t), "rotate-tests", fmt.Sprintf("browser-%x", sha256.Sum256(lock))[:24])
	if _, err := os.Stat(to); err != nil {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		fresh := must1(os.MkdirTemp(filepath.Dir(to), "installing-"))(t)
		defer os.RemoveAll(fresh)
		copyFiles(t, from, fresh, "package.json", "package-lock.json", ".npmrc")
		cmd := exec.Command("npm", "ci")
		cmd.Dir = fresh
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm ci in %s: %v\n%s", from, err, out)
		}
		if err := os.Rename(fresh, to); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	copyFiles(t, from, to, "browser.mjs")
	return to
}
