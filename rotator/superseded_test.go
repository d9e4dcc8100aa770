package rotator_test

import (
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// TestSuperseded has a rotation that nobody helps on: somebody put the old file back.
// Before its own certificate ends it is closed into a fresh one, which brings a
// certificate out that lives (M3).
func TestSuperseded(t *testing.T) {
	const validity = 60 * 24 * time.Hour
	short := func(s *rotator.AppSpec) {
		s.Policy.Validity, s.Policy.RenewBefore = new(validity), new(20*24*time.Hour)
	}
	bubble(t, "in the overlap", options{spec: short}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		first := await(t, r, "app-1", 5*time.Hour, "in its overlap", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingOverlap })
		if err := w.putBack(); err != nil {
			t.Fatal(err)
		}
		w.outage.Store(true) // nobody is told to help the consumer, whose certificate ends
		time.Sleep(time.Until(first.Rotation.New.NotAfter) - 24*time.Hour)
		if s, err := r.Status(t.Context(), "app-1"); err != nil || s.Apps[0].Rotation.ID != first.Rotation.ID || s.Apps[0].Trouble == nil {
			t.Errorf("%v, %+v: want it to wait for a person", err, s.Apps[0].Trouble)
		}
		s := await(t, r, "app-1", 3*24*time.Hour, "a fresh one", func(s rotator.AppStatus) bool {
			return s.Rotation.ID != first.Rotation.ID && s.Phase == rotator.PhaseRetired
		})
		closed, err := r.Rotation(t.Context(), first.Rotation.ID)
		if err != nil || closed.Phase != rotator.PhaseRolledBack || closed.Back.Reason != "superseded" {
			t.Errorf("the first rotation is %s (%+v), %v", closed.Phase, closed.Back, err)
		}
		if s.App.Current.NotAfter.Before(time.Now().Add(validity - 24*time.Hour)) {
			t.Errorf("in service until %s", s.App.Current.NotAfter)
		}
		w.outage.Store(false)
		stop()
		w.checkTenantWith(r)
	})
}
