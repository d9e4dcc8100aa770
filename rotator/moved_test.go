package rotator_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// TestMoved takes a delivery away: its reader is known to a person alone, and each
// rotation waits for that person, until one says that it moved.
func TestMoved(t *testing.T) {
	bubble(t, "moved", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Moved: true}, "p"); !errors.Is(err, rotator.ErrUsage) {
			t.Errorf("moved, though nothing was taken away: %v, want ErrUsage", err)
		}
		w.apps[0].target = filepath.Join(w.dir, "elsewhere.pfx")
		if err := w.putBack(); err != nil {
			t.Fatal(err)
		}
		elsewhere := toTheFile(w)
		if _, _, err := r.Edit(t.Context(), "app-1", elsewhere, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "waiting for a person", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPerson })
		if warned := strings.Join(s.Warnings, "; "); !strings.Contains(warned, "rotate app edit app-1 --moved") {
			t.Errorf("it warns %q", warned)
		}
		time.Sleep(48 * time.Hour)
		if s, err := r.Status(t.Context(), "app-1"); err != nil || s.Apps[0].Phase != rotator.PhaseDelivered {
			t.Errorf("%s, %v: nobody confirmed for whom only a person knows", s.Apps[0].Phase, err)
		}
		if _, fields, err := r.Edit(t.Context(), "app-1", rotator.Edit{Moved: true}, "p"); err != nil || len(fields) != 1 {
			t.Fatalf("%q, %v", fields, err)
		}
		await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "retired again", func(s rotator.AppStatus) bool { return s.Rotation.By == "p" && s.Phase == rotator.PhaseRetired })
		stop()
		w.checkTenantWith(r)
	})
}
