package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// TestSocketOf finds the socket in files that cannot be used.
func TestSocketOf(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct{ text, want string }{
		"unknown key":   {"colour: red\ncontrol: {socket: a.sock}\n", filepath.Join(dir, "a.sock")},
		"wrong type":    {"workers: many\ncontrol:\n  socket: /run/a.sock\n", "/run/a.sock"},
		"not told":      {"schedule: never\n", "/run/rotate/rotate.sock"},
		"no YAML":       {"control: {socket: [\n", "/run/rotate/rotate.sock"},
		"another shape": {"control: a.sock\n", "/run/rotate/rotate.sock"},
		"empty":         {"", "/run/rotate/rotate.sock"},
	} {
		path := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := config.SocketOf(path); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	if got := config.SocketOf(filepath.Join(dir, "missing.yaml")); got != "/run/rotate/rotate.sock" {
		t.Errorf("no file: %q", got)
	}
}
