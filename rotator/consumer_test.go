package rotator_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// bare takes the app's deliveries away as a store of an earlier version may have
// them: without asking.
func bare(t *testing.T, r *rotator.Rotator) {
	t.Helper()
	err := r.Store.Change(t.Context(), "app-1", func(rec *rotator.Records) error {
		rec.App.Deliveries = nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// toTheFile gives the app its delivery back.
func toTheFile(w *world) rotator.Edit {
	return rotator.Edit{Deliveries: &[]rotator.Delivery{{Kind: rotator.DeliverFile, Path: w.apps[0].target}}}
}

// TestP17NoDelivery has an app whose consumer rotate cannot reach: it is never
// rotated into silence, people are told how to go on, and what they are told
// works.
func TestP17NoDelivery(t *testing.T) {
	bubble(t, "due, from an older store", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		bare(t, r)
		stop := run(t, r)
		time.Sleep(12 * 24 * time.Hour)
		s, err := r.Status(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		if one := s.Apps[0]; one.Rotation != nil || !one.NoDelivery || !one.Attention {
			t.Errorf("rotation %v, no delivery %v, attention %v; want none started, and said", one.Rotation, one.NoDelivery, one.Attention)
		}
		if events := told(t, r, rotator.EventNoDelivery); len(events) < 2 {
			t.Errorf("%d alerts in 12 days, want the first at once and repeats", len(events))
		}
		expiring := told(t, r, rotator.EventExpiring)
		if len(expiring) == 0 {
			t.Error("no stage of its expiry was reported")
		}
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "p"); !errors.Is(err, rotator.ErrRefused) {
			t.Errorf("start by a person: %v, want a refusal", err)
		}
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Owner: new("security")}, "p"); err != nil {
			t.Errorf("another edit: %v", err)
		}
		if _, _, err := r.Edit(t.Context(), "app-1", toTheFile(w), "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if app, _ := r.Store.App(t.Context(), "app-1"); len(app.Alerts) != 0 {
			t.Errorf("alerts %+v are still open", app.Alerts)
		}
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "open, from an older store", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
			t.Fatal(err)
		}
		bare(t, r)
		stop := run(t, r)
		waits := func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingDelivery }
		s := await(t, r, "app-1", time.Hour, "waiting for a delivery", waits)
		if s.Phase != rotator.PhaseProven {
			t.Errorf("it waits in %s, want after its proof", s.Phase)
		}
		time.Sleep(48 * time.Hour)
		if why := w.lockedOut(w.apps[0]); why != "" {
			t.Error(why)
		}
		if _, _, err := r.Edit(t.Context(), "app-1", toTheFile(w), "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "confirmed with nothing by an older version", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		if err := w.putBack(); err != nil { // nobody wrote the file
			t.Fatal(err)
		}
		bare(t, r)
		time.Sleep(3 * time.Hour)
		s, err := r.Status(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		if one := s.Apps[0]; one.Phase != rotator.PhaseConfirmed || one.WaitingFor != rotator.WaitingDelivery {
			t.Errorf("%s, waiting for %q; want the removal to wait for a delivery", one.Phase, one.WaitingFor)
		}
		if why := w.lockedOut(w.apps[0]); why != "" {
			t.Error(why)
		}
		stop()
	})
	bubble(t, "nobody uses it", options{spec: func(s *rotator.AppSpec) { s.Deliveries, s.NoConsumer = nil, true }}, func(w *world, r *rotator.Rotator) {
		w.outage.Store(true) // the file of the test is nobody's
		stop := run(w.t, r)
		await(w.t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
	})
	bubble(t, "refused", options{}, func(w *world, r *rotator.Rotator) {
		none := []rotator.Delivery{}
		if _, _, err := r.Edit(w.t.Context(), "app-1", rotator.Edit{Deliveries: &none}, "p"); !errors.Is(err, rotator.ErrUsage) {
			w.t.Errorf("taking its deliveries away: %v, want a refusal", err)
		}
		if _, _, err := r.Edit(w.t.Context(), "app-1", rotator.Edit{Deliveries: &none, NoConsumer: new(true)}, "p"); err != nil {
			w.t.Errorf("with the word that nobody uses it: %v", err)
		}
	})
}

// putBack writes the consumer's first file again, as its backup would.
func (w *world) putBack() error {
	return os.WriteFile(w.apps[0].target, w.apps[0].pfx, 0o600)
}
