package rotator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestB2FriendlyName adopts a file with a friendly name, by which Tomcat and others
// look the key up, and plans its successor.
func TestB2FriendlyName(t *testing.T) {
	for name, c := range map[string]struct{ adopted, set, want string }{
		"carried over": {"tomcat", "", "tomcat"},
		"set":          {"tomcat", "jetty", "jetty"},
		"none":         {"", "", ""},
	} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			spec := w.register(vendor(), 20*24*time.Hour)
			pair, err := encoder{}.Decode(spec.PFX, password)
			if err != nil {
				t.Fatal(err)
			}
			if spec.PFX, err = (encoder{}).Encode("modern", pair.Key, pair.Certificate, nil, password, c.adopted); err != nil {
				t.Fatal(err)
			}
			spec.FriendlyName = c.set
			if _, err := r.Add(t.Context(), spec, "test"); err != nil {
				t.Fatal(err)
			}
			rot, err := r.Start(t.Context(), spec.Name, rotator.StartRequest{}, "test")
			if err != nil {
				t.Fatal(err)
			}
			next, err := r.Store.KeyPair(t.Context(), rot.New.ThumbprintSHA256)
			if err != nil {
				t.Fatal(err)
			}
			p, err := pfx.Decode(next.Encoded["modern"], next.Password)
			if err != nil {
				t.Fatal(err)
			}
			if p.FriendlyName != c.want {
				t.Errorf("the new file has the friendly name %q, want %q", p.FriendlyName, c.want)
			}
		})
	}
}

// TestB2SubjectIsSaid has consumers that look their certificate up by what the next
// one will not have.
func TestB2SubjectIsSaid(t *testing.T) {
	bubble(t, "subject", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		spec := w.register(vendor(), 20*24*time.Hour)
		spec.Name = "other"
		added, err := r.Add(t.Context(), spec, "test")
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(added.Warnings, "\n"); !strings.Contains(all, "CN=other") || !strings.Contains(all, "CN=new") {
			t.Errorf("nothing says that the subject changes: %q", all)
		}
	})
}

// TestS2AdoptedPassword adopts files whose password would be a program where it is
// written.
func TestS2AdoptedPassword(t *testing.T) {
	for name, evil := range map[string]string{
		"a line of cron": "* * * * * root id\n", "two lines": "proxy = evil\ninsecure", "an escape": "x\x1b[2J", "right to left": "x\u202ey", "too long": strings.Repeat("x", 129),
	} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			spec := w.register(vendor(), 20*24*time.Hour)
			pair, err := encoder{}.Decode(spec.PFX, password)
			if err != nil {
				t.Fatal(err)
			}
			if spec.PFX, err = (encoder{}).Encode("modern", pair.Key, pair.Certificate, nil, evil, ""); err != nil {
				t.Fatal(err)
			}
			spec.Password = evil
			_, err = r.Add(t.Context(), spec, "test")
			if err == nil || !strings.Contains(err.Error(), "--new-password") || strings.Contains(err.Error(), evil) {
				t.Fatalf("Add = %v, want a refusal that names --new-password and not the password", err)
			}
			spec.NewPassword = true
			if _, err := r.Add(t.Context(), spec, "test"); err != nil {
				t.Fatal(err)
			}
			rot, err := r.Start(t.Context(), spec.Name, rotator.StartRequest{}, "test")
			if err != nil {
				t.Fatal(err)
			}
			next, err := r.Store.KeyPair(t.Context(), rot.New.ThumbprintSHA256)
			if err != nil || !rotator.IsDeliverable(next.Password) || next.Password == "" {
				t.Errorf("the next password cannot be delivered: %v", err)
			}
		})
	}
}
