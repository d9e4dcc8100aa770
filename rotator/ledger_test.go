package rotator_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// swap puts other content in the consumer's file and the right one back, as somebody
// would who did not want to.
func (w *world) swap() {
	w.t.Helper()
	right, err := os.ReadFile(w.apps[0].target)
	if err == nil {
		err = os.WriteFile(w.apps[0].target, w.apps[0].pfx, 0o600)
	}
	if err == nil {
		err = os.WriteFile(w.apps[0].target, right, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestM5SwappedAndBack has the file swapped to the old pair and back between two looks:
// a consumer may have read the old one, so its time and the overlap begin anew. So it is
// where a process died before it could record what it wrote again (C25).
func TestM5SwappedAndBack(t *testing.T) {
	bubble(t, "", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "in its overlap", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingOverlap })
		time.Sleep(time.Until(s.WaitingUntil) - time.Minute)
		w.swap()
		at := time.Now()
		s = await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if waited := s.Rotation.PhaseAt[rotator.PhaseRetired].Sub(at); waited < time.Hour+time.Minute {
			t.Errorf("the old certificate was removed %s after the file was swapped; want the time to read and the overlap", waited)
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestP1RollBackAfterCompromise rolls a rotation back that answers a compromise, before it
// delivered anything, while the consumer has a pair of the rotation that was closed.
func TestP1RollBackAfterCompromise(t *testing.T) {
	for _, which := range []string{"next", "current"} {
		bubble(t, which, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			phase := map[string]rotator.Phase{"next": rotator.PhaseDelivered, "current": rotator.PhaseConfirmed}[which]
			s := await(t, r, "app-1", 5*time.Hour, string(phase), phaseIs(phase))
			given := s.Rotation.New.ThumbprintSHA256
			stop()
			stopped := &rotator.Rotator{Store: r.Store, Entra: r.Entra, Deliverer: r.Deliverer, Encoder: r.Encoder, Defaults: r.Defaults, GenerateKey: r.GenerateKey}
			if _, err := stopped.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: which}, "p"); err != nil {
				t.Fatal(err)
			}
			if _, err := stopped.RollBack(t.Context(), "app-1", "p"); err != nil {
				t.Fatal(err)
			}
			stop = run(t, r)
			s = await(t, r, "app-1", 20*time.Hour, "rolled back", func(s rotator.AppStatus) bool {
				return s.Phase == rotator.PhaseRolledBack && s.Rotation.Back.Reason == "person"
			})
			if why := w.lockedOut(w.apps[0]); why != "" {
				t.Error(why)
			}
			if s.App.Current.ThumbprintSHA256 == given || s.App.Current.ThumbprintSHA256 != w.apps[0].first {
				t.Errorf("in service is %s, want the first one %s and never the given-up one %s", s.App.Current.ThumbprintSHA256, w.apps[0].first, given)
			}
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestP6AnotherSigner has the current certificate deleted by somebody in the overlap and
// given up then: the one before can sign, so the list is not replaced.
func TestP6AnotherSigner(t *testing.T) {
	for _, mode := range []rotator.Mode{rotator.ModeManaged, rotator.ModeSelf} {
		bubble(t, string(mode), options{mode: mode}, func(w *world, r *rotator.Rotator) {
			t := w.t
			w.outage.Store(true) // whoever deletes it locks the consumer out
			stop := run(t, r)
			s := await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
			if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, string(s.Rotation.New.KeyID)); err != nil {
				t.Fatal(err)
			}
			rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current"}, "p")
			if err != nil {
				t.Fatal(err)
			}
			s = await(t, r, "app-1", 20*time.Hour, "delivered", func(s rotator.AppStatus) bool {
				return s.Rotation.ID == rot.ID && !s.Rotation.PhaseAt[rotator.PhaseDelivered].IsZero()
			})
			if s.Rotation.Upload.Way != rotator.WayAddKey {
				t.Errorf("uploaded by %s, want addKey signed by the certificate before", s.Rotation.Upload.Way)
			}
			await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestC9TargetTakenAway takes a delivery away in the overlap, and adds another: nothing is
// removed before a person says that who used it has the new pair, and the added one had
// its time.
func TestC9TargetTakenAway(t *testing.T) {
	bubble(t, "", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		moved := []rotator.Delivery{{Kind: rotator.DeliverFile, Path: w.apps[0].target + ".moved"}}
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Deliveries: &moved}, "p"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil { // deliver to it
			t.Fatal(err)
		}
		time.Sleep(10 * time.Hour)
		if !w.lists(w.apps[0].keyID) {
			t.Fatal("the old certificate was removed although nobody knows what the consumer of the file before uses")
		}
		status, err := r.Status(t.Context(), "app-1")
		if err != nil || status.Apps[0].WaitingFor != rotator.WaitingPerson {
			t.Errorf("waiting for %q (%v), want a person", status.Apps[0].WaitingFor, err)
		}
		if _, err := r.Confirm(t.Context(), "app-1", s.Rotation.New.ThumbprintSHA1[:8], "", "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
	})
}

// TestC6FetchedAndRolledBack has a person fetch the new pair and install it, and the
// rotation rolled back: the code of the old one that was typed before says nothing.
func TestC6FetchedAndRolledBack(t *testing.T) {
	bubble(t, "", options{spec: handOff}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		s := await(t, r, "app-1", time.Hour, "waiting for a person", waitsForPerson)
		given, err := r.HandOver(t.Context(), "app-1", rotator.HandOverRequest{}, "p")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.apps[0].target, given.PFX, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * 24 * time.Hour)
		if !w.lists(string(s.Rotation.New.KeyID)) {
			t.Error("the new certificate, which the consumer has, was removed though nobody confirmed the old one")
		}
		if why := w.lockedOut(w.apps[0]); why != "" {
			t.Error(why)
		}
		w.person(r, "app-1")
		await(t, r, "app-1", 20*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		stop()
		w.checkTenantWith(r)
	})
}

// TestC5PersonDoesNotReplaceTime has a person confirm in the second in which the file was
// written, for a pair that was given up: its consumer has its time to read all the same.
func TestC5PersonDoesNotReplaceTime(t *testing.T) {
	bubble(t, "", options{spec: func(s *rotator.AppSpec) { s.Confirm.Rule = rotator.ConfirmPerson }}, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.Defaults.ReloadWithin = new(20 * time.Minute)
		stop := run(t, r)
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current"}, "p"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 5*time.Hour, "waiting for a person", waitsForPerson)
		written := s.Rotation.PhaseAt[rotator.PhaseDelivered]
		if _, err := r.Confirm(t.Context(), "app-1", s.Rotation.New.ThumbprintSHA1[:8], "", "p"); err != nil {
			t.Fatal(err)
		}
		s = await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if waited := s.Rotation.PhaseAt[rotator.PhaseRetired].Sub(written); waited < 20*time.Minute {
			t.Errorf("the given-up certificate was removed %s after the file was written; its consumer has 20 minutes to read it", waited)
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestP3ValidOneIsNotRemoved has nobody confirm anything for so long that the oldest
// certificate expires, while one that the consumer uses is valid: it stays, and the
// rotation stays open.
func TestP3ValidOneIsNotRemoved(t *testing.T) {
	bubble(t, "", options{spec: handOff}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", time.Hour, "waiting for a person", waitsForPerson)
		given, err := r.HandOver(t.Context(), "app-1", rotator.HandOverRequest{}, "p")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.apps[0].target, given.PFX, 0o600); err != nil { // in use, and nobody said so
			t.Fatal(err)
		}
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current"}, "p"); err != nil {
			t.Fatal(err)
		}
		r.Schedule = every(24 * time.Hour)
		time.Sleep(25 * 24 * time.Hour) // the first one expired after 20 days
		if why := w.lockedOut(w.apps[0]); why != "" {
			t.Error(why)
		}
		s, err := r.Status(t.Context(), "app-1")
		if err != nil || !s.Apps[0].Open {
			t.Errorf("phase %s, %v; want the rotation open: nobody confirmed, and another pair is valid", s.Apps[0].Phase, err)
		}
		stop()
	})
}

// TestRollBackNowhere: a rotation that answers the compromise of the only pair is not
// rolled back to it.
func TestRollBackNowhere(t *testing.T) {
	bubble(t, "", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current"}, "p"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.RollBack(t.Context(), "app-1", "p"); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "given up") {
			t.Errorf("roll back to the given-up one: %v, want a refusal that says so", err)
		}
	})
}

// TestP12RefusedAfterCompromise has the tenant's policy refuse the certificate that is to
// replace a compromised one: that is critical, and tried again at once with what is
// allowed, whatever holds ordinary starts.
func TestP12RefusedAfterCompromise(t *testing.T) {
	bubble(t, "", options{left: 200 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		t := w.t
		limit, wish := 90*24*time.Hour, 80*24*time.Hour
		w.outage.Store(true) // accepted with cut now
		w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: limit})
		if err := r.Pause(t.Context(), "", time.Now().Add(5*24*time.Hour), "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		first, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current", CutNow: true}, "p")
		if err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", time.Hour, "refused", func(s rotator.AppStatus) bool { return s.App.Trouble != nil })
		shorter := rotator.PolicyOverride{Validity: &wish} // as advised
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Policy: &shorter}, "p"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 24*time.Hour, "replaced", func(s rotator.AppStatus) bool { return s.Phase == rotator.PhaseRetired })
		if s.Rotation.ID == first.ID || s.Rotation.Compromised == nil || !s.Rotation.Compromised.CutNow {
			t.Errorf("replaced by %s (the first was %s), which answers %+v", s.Rotation.ID, first.ID, s.Rotation.Compromised)
		}
		if w.lists(w.apps[0].keyID) {
			t.Error("the compromised certificate is still on the app")
		}
		if events := told(t, r, rotator.EventRotationFailed); len(events) == 0 || events[0].Severity != rotator.SeverityCritical || !strings.Contains(events[0].Summary, "compromised") {
			t.Errorf("events %+v, want a critical one that names the compromise", events)
		}
		stop()
		w.checkTenantWith(r)
	})
}
