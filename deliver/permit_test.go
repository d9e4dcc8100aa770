package deliver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestS1OwnFiles tries to replace what the service itself uses, also through symbolic
// links, with the password file, and with the file of the previous pair.
func TestS1OwnFiles(t *testing.T) {
	own, out := folder(t), folder(t)
	link := filepath.Join(folder(t), "link")
	if err := os.Symlink(own, link); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(own, "profiles"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := &deliver.Deliverer{Encoder: encoder{}, Own: []string{
		filepath.Join(own, "rotate.db") + "*", filepath.Join(own, "store.key"), filepath.Join(own, "secret.pfx.previous"), filepath.Join(own, "profiles"),
	}}
	for _, path := range []string{
		filepath.Join(own, "rotate.db"), filepath.Join(own, "rotate.db.mark"), filepath.Join(link, "store.key"), filepath.Join(own, "profiles", "x.yaml"),
	} {
		for _, delivery := range []rotator.Delivery{
			{Kind: "file", Path: path, Replace: true},
			{Kind: "file", Path: filepath.Join(out, "app.pfx"), PasswordPath: path, Replace: true},
		} {
			for what, err := range map[string]error{"Check": d.Check(t.Context(), delivery), "Deliver": d.Deliver(t.Context(), delivery, pack())} {
				if err == nil || !strings.Contains(err.Error(), "no place for a delivery") {
					t.Errorf("%s of %s = %v, want a refusal", what, path, err)
				}
			}
		}
	}
	previous := rotator.Delivery{Kind: "file", Path: filepath.Join(own, "secret.pfx"), Previous: true, Replace: true}
	if err := d.Check(t.Context(), previous); err == nil {
		t.Error("the file of the previous pair may be a secret of the configuration")
	}
	checkNames(t, out)
	if err := d.Check(t.Context(), rotator.Delivery{Kind: "file", Path: filepath.Join(own, "app.pfx")}); err != nil {
		t.Errorf("a file beside them: %v", err)
	}
}

// TestS1Roots delivers in, below and outside of the folders that root lists.
func TestS1Roots(t *testing.T) {
	root, outside := folder(t), folder(t)
	below := filepath.Join(root, "consumer")
	if err := os.Mkdir(below, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	d := &deliver.Deliverer{Encoder: encoder{}, Roots: []string{root}}
	for path, ok := range map[string]bool{
		filepath.Join(root, "a.pfx"): true, filepath.Join(below, "a.pfx"): true,
		filepath.Join(outside, "a.pfx"): false, filepath.Join(root, "link", "a.pfx"): false,
	} {
		delivery := rotator.Delivery{Kind: "file", Path: path}
		err := d.Check(t.Context(), delivery)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "delivery_roots") {
			t.Errorf("Check of %s = %v", path, err)
		}
		if _, err := d.Holds(t.Context(), delivery, nil); (err == nil) != ok {
			t.Errorf("Holds of %s = %v", path, err)
		}
	}
}
