package guard_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config/guard"
)

// write makes a file with exactly the mode.
func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// judge wants a refusal with the words, or none where want is empty.
func judge(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	refused, ok := errors.AsType[*guard.Error](err)
	if !ok || !strings.Contains(refused.Problem, want) || refused.Fix == "" {
		t.Errorf("got %v, want a refusal with %q and what to type", err, want)
	}
}

func TestS9Files(t *testing.T) {
	dir, uid := t.TempDir(), os.Geteuid()
	for _, test := range []struct {
		name             string
		mode             os.FileMode
		deciding, secret string
	}{
		{"the owner's", 0o600, "", ""},
		{"everybody reads", 0o644, "", "everybody can read"},
		{"its own group reads", 0o640, "", ""},
		{"everybody writes", 0o666, "everybody can write", "everybody can write"},
		{"the group writes", 0o660, "group ", "can write to"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, filepath.Join(dir, test.name), "x", test.mode)
			judge(t, guard.Deciding(path, uid), test.deciding)
			judge(t, guard.Secret(path, uid), test.secret)
		})
	}
	judge(t, guard.Deciding(filepath.Join(dir, "nothing"), uid), "")
	open := write(t, filepath.Join(dir, "open", "file"), "x", 0o600)
	if err := os.Chmod(filepath.Dir(open), 0o777); err != nil {
		t.Fatal(err)
	}
	judge(t, guard.Deciding(open, uid), "is reached through it")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(open, link); err != nil {
		t.Fatal(err)
	}
	judge(t, guard.Secret(link, uid), "is reached through it")
	if uid == 0 {
		foreign := write(t, filepath.Join(dir, "foreign"), "x", 0o600)
		if err := os.Chown(foreign, 65534, 0); err != nil {
			t.Fatal(err)
		}
		judge(t, guard.Deciding(foreign, uid), "belongs to")
		judge(t, guard.Deciding(foreign, 65534), "")
	}
}

func TestS9Programs(t *testing.T) {
	dir, uid := t.TempDir(), os.Geteuid()
	good := write(t, filepath.Join(dir, "good"), "#!/bin/sh\n", 0o755)
	open := write(t, filepath.Join(dir, "open"), "#!/bin/sh\n", 0o777)
	data := write(t, filepath.Join(dir, "data"), "x", 0o666)
	behind := write(t, filepath.Join(dir, "behind"), "#!"+open+" -x\n", 0o755)
	env := write(t, filepath.Join(dir, "env"), "#!/usr/bin/env -S A=b sh\n", 0o755)
	loop := filepath.Join(dir, "loop")
	write(t, loop, "#!"+loop+"\n", 0o755)
	exposed := write(t, filepath.Join(dir, "exposed", "program"), "#!/bin/sh\n", 0o755)
	if err := os.Chmod(filepath.Dir(exposed), 0o1777); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		command []string
		want    string
	}{
		{"a program", []string{good, data}, ""},
		{"one that everybody can write to", []string{open}, "everybody can write to " + open},
		{"in a folder that everybody can write to", []string{exposed}, "everybody can write to " + filepath.Dir(exposed)},
		{"behind a shell", []string{"/bin/sh", open}, "everybody can write to " + open},
		{"behind options of a shell", []string{"/bin/sh", "-eu", open, "argument"}, "everybody can write to " + open},
		{"in a line of a shell", []string{"/bin/sh", "-c", "cd / && exec '" + open + "' --now"}, "everybody can write to " + open},
		{"relative to where programs run", []string{"/bin/sh", strings.TrimPrefix(open, "/")}, "everybody can write to " + open},
		{"behind two programs", []string{"/usr/bin/env", "A=" + open, "sh"}, "everybody can write to " + open},
		{"as the interpreter of a script", []string{behind}, "everybody can write to " + open},
		{"a script of env", []string{env}, ""},
		{"a script that is its own interpreter", []string{loop}, ""},
		{"nothing", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) { judge(t, guard.Program(test.command, uid), test.want) })
	}
}
