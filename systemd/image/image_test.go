package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSameBytes makes an image twice from the same input.
func TestSameBytes(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	var made [2][]byte
	var said [2]bytes.Buffer
	for i := range made {
		out := filepath.Join(dir, "image.tar")
		args := []string{out, "0~1", "commit", "amd64=" + program, "arm64=" + program, "usr/share/doc/rotate/copyright=" + program}
		if err := run(args, func(string) string { return "1700000000" }, &said[i]); err != nil {
			t.Fatal(err)
		}
		var err error
		if made[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0], made[1]) || said[0].String() != said[1].String() {
		t.Errorf("the images %s and %s differ", said[0].String(), said[1].String())
	}
	if !strings.HasPrefix(said[0].String(), "sha256:") {
		t.Errorf("printed %q, want the digest", said[0].String())
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".image-*")); err != nil || len(left) > 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

// TestRootHasFolders: each file of the image lies in a folder that is named before it,
// and only what the program writes to belongs to its user.
func TestRootHasFolders(t *testing.T) {
	r := release{files: []entry{{name: "usr/share/doc/rotate/copyright", mode: 0o644}}}
	seen := map[string]bool{"": true}
	for _, e := range r.root(program{arch: "amd64", content: []byte("a program")}) {
		parent := e.name[:strings.LastIndex(strings.TrimSuffix(e.name, "/"), "/")+1]
		if !seen[parent] {
			t.Errorf("%s comes before its folder", e.name)
		}
		if seen[e.name] {
			t.Errorf("%s is there twice", e.name)
		}
		seen[e.name] = true
		if written := e.name == "run/rotate/" || e.name == "var/lib/rotate/"; written != (e.owner == user) {
			t.Errorf("%s belongs to %d", e.name, e.owner)
		}
	}
	if !bytes.Contains(authorities(), []byte("BEGIN CERTIFICATE")) {
		t.Error("no authorities")
	}
}

// TestUsage: what is missing is named.
func TestUsage(t *testing.T) {
	epoch := func(string) string { return "1700000000" }
	for name, test := range map[string]struct {
		args   []string
		getenv func(string) string
		want   string
	}{
		"nothing":            {nil, epoch, "usage: image"},
		"no time":            {[]string{"out", "1", "c", "amd64=p"}, func(string) string { return "" }, "SOURCE_DATE_EPOCH"},
		"no name":            {[]string{"out", "1", "c", "p"}, epoch, "p is not ARCH=PROGRAM"},
		"no such program":    {[]string{"out", "1", "c", "amd64=" + t.TempDir() + "/none"}, epoch, "no such file"},
		"no folder to write": {[]string{t.TempDir() + "/none/out", "1", "c", "amd64=/dev/null"}, epoch, "no such file"},
	} {
		if err := run(test.args, test.getenv, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
