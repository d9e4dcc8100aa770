package rotator_test

import (
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// TestAskedInTheOverlap has a person who types "rotate now" again and again during the
// overlap, as a rotation without a daemon invites to: the files are written again, and
// the overlap ends when it was said to. A target that somebody changed in between does
// begin it anew.
func TestAskedInTheOverlap(t *testing.T) {
	overlapping := func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingOverlap }
	const overlap = 48 * time.Hour
	long := func(s *rotator.AppSpec) { s.Policy.Overlap = new(overlap) }
	bubble(t, "asked five times", options{spec: long}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "in the overlap", overlapping)
		end := s.Rotation.WakeAt
		for range 5 {
			time.Sleep(overlap / 6)
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
				t.Fatal(err)
			}
			await(t, r, "app-1", time.Hour, "in the overlap", overlapping)
		}
		await(t, r, "app-1", time.Until(end)+10*time.Minute, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "and somebody put the old one there", options{spec: long}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		end := await(t, r, "app-1", 5*time.Hour, "in the overlap", overlapping).Rotation.WakeAt
		time.Sleep(overlap / 2)
		if err := w.putBack(); err != nil {
			t.Fatal(err)
		}
		again := time.Now()
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(end) + time.Hour)
		if s, err := r.Status(t.Context(), "app-1"); err != nil || s.Apps[0].Phase != rotator.PhaseConfirmed {
			t.Errorf("%v, %v: the consumer may have read the old one a moment before; it still needs it", s.Apps[0].Phase, err)
		}
		await(t, r, "app-1", time.Until(again.Add(overlap))+3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}
