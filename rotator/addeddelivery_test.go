package rotator_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// TestDeliveryAddedWhileOpen gives an app another delivery while its rotation waits: the
// rotation brings the pair there by itself, but not while it is paused, and confirms no
// sooner.
func TestDeliveryAddedWhileOpen(t *testing.T) {
	for name, phase := range map[string]rotator.Phase{"delivered": rotator.PhaseDelivered, "confirmed": rotator.PhaseConfirmed} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			await(t, r, "app-1", 5*time.Hour, string(phase), phaseIs(phase))
			if err := r.Pause(t.Context(), "app-1", time.Now().Add(24*time.Hour), "p"); err != nil {
				t.Fatal(err)
			}
			second := filepath.Join(t.TempDir(), "second.pfx")
			both := []rotator.Delivery{{Kind: rotator.DeliverFile, Path: w.apps[0].target}, {Kind: rotator.DeliverFile, Path: second, PasswordPath: second + ".password"}}
			if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Deliveries: &both}, "p"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(12 * time.Hour)
			if held := holds(t, second); held != "" {
				t.Errorf("while it is paused %s was brought to the added delivery", held)
			}
			await(t, r, "app-1", 48*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			app, err := r.Store.App(t.Context(), "app-1")
			if err != nil || app.Trouble != nil {
				t.Errorf("%v, trouble %+v", err, app.Trouble)
			}
			if held := holds(t, second); held != app.Current.ThumbprintSHA256 {
				t.Errorf("the added delivery holds %q, want %s", held, app.Current.ThumbprintSHA256)
			}
			stop()
			w.checkTenantWith(r)
		})
	}
}

// holds reads which pair a target contains; empty: there is no file.
func holds(t *testing.T, path string) rotator.Thumbprint {
	t.Helper()
	file, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	password, passwordErr := os.ReadFile(path + ".password")
	pair, decodeErr := encoder{}.Decode(file, strings.TrimSpace(string(password)))
	if err := errors.Join(err, passwordErr, decodeErr); err != nil {
		t.Fatal(err)
	}
	return pair.Thumbprint()
}
