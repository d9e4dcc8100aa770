package config_test

import (
	"path/filepath"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// TestSocketOf finds the daemon's socket in files that are wrong.
func TestSocketOf(t *testing.T) {
	const standard = "/run/rotate/rotate.sock"
	for _, tt := range []struct {
		name, text, want string // want "": cannot be told
	}{
		{"empty", "", standard},
		{"an unknown key", "colour: red\n", standard},
		{"no YAML at all", "tenants: [\n  }\n\tx", standard},
		{"named", "colour: red\ncontrol:\n  socket: /tmp/a.sock\ntenants: [", "/tmp/a.sock"},
		{"in braces", "control: {socket: \"/tmp/a b.sock\"} # here\ntenants: [", "/tmp/a b.sock"},
		{"over several lines", "control: {\n  socket: '/tmp/a.sock',\n  }\n", "/tmp/a.sock"},
		{"relative", "control: {socket: a.sock}\ncolour: red\n", "FOLDER/a.sock"},
		{"after a comment", "control:\n# socket: /tmp/no.sock\n\n  socket: /tmp/a.sock\n", "/tmp/a.sock"},
		{"with Windows lines", "\xef\xbb\xbfcolour: red\r\ncontrol:\r\n  socket: /tmp/a.sock\r\n", "/tmp/a.sock"},
		{"beside what is wrong", "control:\n  view_group: [\n  socket: /tmp/a.sock\n", "/tmp/a.sock"},
		{"another part of it", "control:\n  view_group: admins\ncolour: red\n", standard},
		{"a socket of something else", "control: {}\nmetrics: {socket: /tmp/b.sock}\n", standard},
		{"no text", "control:\n  socket: [\n", ""},
		{"in the braces of the document", "{control: {socket: /tmp/a.sock}, colour: red}\n", ""},
		{"a key in quotes", "\"control\": {socket: /tmp/a.sock}\ncolour: red\n", ""},
		{"twice", "control: {socket: /tmp/a.sock}\ncontrol: {socket: /tmp/b.sock}\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, "config.yaml", tt.text)
			got, ok := config.SocketOf(file)
			want := tt.want
			if want == "FOLDER/a.sock" {
				want = filepath.Join(filepath.Dir(file), "a.sock")
			}
			if got != want || ok != (want != "") {
				t.Errorf("SocketOf = %q, %t; want %q", got, ok, want)
			}
		})
	}
	if got, ok := config.SocketOf(filepath.Join(t.TempDir(), "none.yaml")); ok {
		t.Errorf("a file that is not there names %q", got)
	}
}
