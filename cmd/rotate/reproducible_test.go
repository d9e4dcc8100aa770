//go:build e2e

package main_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPackages builds the packages twice, as two people would: in another folder,
// another time zone, another language, with another umask. They are the same to the
// byte, and hold what the documents promise.
func TestPackages(t *testing.T) {
	t.Parallel()
	root := must1(filepath.Abs(filepath.Join("..", "..")))(t)
	build := func(name, umask string, env ...string) (out string, made map[string][]byte) {
		out = filepath.Join(t.TempDir(), name)
		cmd := exec.Command("sh", "-c", "umask "+umask+" && exec bash systemd/package \"$0\" 1.2.3", out)
		cmd.Dir, cmd.Env = root, append(os.Environ(), env...)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("systemd/package: %v\n%s", err, text)
		}
		made = map[string][]byte{}
		for _, path := range must1(filepath.Glob(filepath.Join(out, "rotate*")))(t) {
			made[filepath.Base(path)] = must1(os.ReadFile(path))(t)
		}
		made["program"] = must1(os.ReadFile(filepath.Join(out, "stage", "rotate")))(t)
		if len(made) != 3 {
			t.Fatalf("made %d files, want the program, a .deb and an .rpm", len(made))
		}
		for name, data := range made {
			if strings.HasSuffix(name, ".deb") {
				checkDeb(t, filepath.Join(out, name), data)
			}
		}
		return out, made
	}
	folder, one := build("one", "022", "TZ=Pacific/Auckland", "LC_ALL=C")
	_, two := build("another", "077", "TZ=America/New_York", "LC_ALL=C.UTF-8")
	for name, data := range one {
		if other, ok := two[name]; !ok || !bytes.Equal(data, other) {
			t.Errorf("%s: SHA-256 %x, built again %x", name, sha256.Sum256(data), sha256.Sum256(other))
		}
	}
	version := must1(exec.Command("git", "-C", root, "rev-parse", "HEAD").Output())(t)
	// Not a copy that this process wrote: another test's child may have it open still.
	said := string(must1(exec.Command(filepath.Join(folder, "stage", "rotate"), "version").Output())(t))
	for _, want := range []string{"1.2.3", strings.TrimSpace(string(version)), "CGO_ENABLED", "-trimpath"} {
		if !strings.Contains(said, want) {
			t.Errorf("rotate version does not say %s:\n%s", want, said)
		}
	}
}

// checkDeb looks whether a package installs what it should, for root.
func checkDeb(t *testing.T, path string, data []byte) {
	t.Helper()
	if len(data) == 0 {
		t.Fatalf("%s is empty", path)
	}
	listed := string(must1(exec.Command("dpkg-deb", "--contents", path).Output())(t))
	var paths []string
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		paths = append(paths, strings.TrimPrefix(fields[5], "."))
		if mode := fields[0]; fields[1] != "root/root" || mode[5] == 'w' || mode[8] == 'w' {
			t.Errorf("not for root alone to change: %s", line)
		}
	}
	for _, want := range []string{
		"/usr/bin/rotate", "/usr/lib/systemd/system/rotate.service", "/usr/lib/systemd/system/rotate-check.timer",
		"/usr/lib/sysusers.d/rotate.conf", "/usr/lib/tmpfiles.d/rotate.conf", "/etc/rotate/config.yaml",
		"/usr/share/man/man1/rotate.1.gz", "/usr/share/man/man1/rotate-app-add.1.gz",
		"/usr/share/bash-completion/completions/rotate", "/usr/share/zsh/vendor-completions/_rotate",
		"/usr/share/fish/vendor_completions.d/rotate.fish", "/usr/share/doc/rotate/operations.md",
	} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s lacks %s", filepath.Base(path), want)
		}
	}
	conffiles := must1(exec.Command("dpkg-deb", "--info", path, "conffiles").Output())(t)
	if got := strings.TrimSpace(string(conffiles)); got != "/etc/rotate/config.yaml" {
		t.Errorf("conffiles are %q", got)
	}
}
