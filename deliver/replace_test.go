package deliver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/deliver"
)

// TestB1HalfASwitch has a last rename that fails: a folder lies where the file is to go.
// What was switched before it must be as it was.
func TestB1HalfASwitch(t *testing.T) {
	dir := folder(t)
	if err := os.Mkdir(filepath.Join(dir, "app.pfx"), 0o700); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "app.pfx.password")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := inode(t, old)
	err := deliver.Switch(t.Context(), dir, []string{"app.pfx.password", "app.pfx.previous", "app.pfx"}, []string{"new", "a pair", "new pair"})
	if err == nil || !strings.Contains(err.Error(), "app.pfx in place") {
		t.Fatalf("Switch = %v, want the rename that failed", err)
	}
	if got := string(read(t, old)); got != "old" || inode(t, old) != before {
		t.Errorf("the password file holds %q, want the old one untouched", got)
	}
	checkNames(t, dir, "app.pfx", "app.pfx.password") // nothing else is left
}

// TestB1Switch has nothing that fails: no second names are left behind.
func TestB1Switch(t *testing.T) {
	dir := folder(t)
	names := []string{"app.pfx.password", "app.pfx"}
	for _, content := range []string{"one", "two"} {
		if err := deliver.Switch(t.Context(), dir, names, []string{content, content}); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if got := string(read(t, filepath.Join(dir, name))); got != content {
				t.Errorf("%s holds %q, want %q", name, got, content)
			}
		}
		checkNames(t, dir, "app.pfx", "app.pfx.password")
	}
}
