package rotator_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// This file holds situations in which a rotation that looks right does harm.
// Each once did.

// slow leaves hours between the phases.
func slow() rotator.PolicyOverride {
	p := fast()
	p.ReloadWithin, p.Overlap = new(3*time.Hour), new(6*time.Hour)
	p.Prove = &rotator.ProvePolicy{Successes: 2, Spacing: 10 * time.Minute, Within: 40 * time.Minute}
	return p
}

func days(n int) {
	for range n {
		time.Sleep(24 * time.Hour) // the schedule ticks meanwhile
	}
}

// TestCurrentIsDeleted has somebody remove the certificate in service before
// its rotation: a person is told, and managed mode finds its own way.
func TestCurrentIsDeleted(t *testing.T) {
	for name, o := range map[string]options{"self": {}, "unreadable": {permissions: []string{}}} {
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			w.outage.Store(true)
			if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, w.apps[0].keyID); err != nil {
				w.t.Fatal(err)
			}
			stop := run(w.t, r)
			s := await(w.t, r, "app-1", 12*time.Hour, "a person's matter", func(s rotator.AppStatus) bool { return s.Attention })
			if s.Trouble == nil || s.Trouble.Class != rotator.ClassFix || s.Trouble.Next == "" {
				w.t.Errorf("trouble %+v does not say what to do", s.Trouble)
			}
			stop()
		})
	}
	bubble(t, "managed", options{mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
		w.outage.Store(true)
		if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, w.apps[0].keyID); err != nil {
			w.t.Fatal(err)
		}
		stop := run(w.t, r)
		await(w.t, r, "app-1", 12*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		w.outage.Store(false)
		stop()
		w.checkTenantWith(r)
	})
}

// TestLongOutageIsTold keeps Graph away for days: that passes by itself, and
// somebody should look all the same.
func TestLongOutageIsTold(t *testing.T) {
	bubble(t, "503 for days", options{}, func(w *world, r *rotator.Rotator) {
		w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
			if strings.HasPrefix(q.Path, "/v1.0/") {
				return &emulator.Fault{Status: http.StatusServiceUnavailable}
			}
			return nil
		}
		stop := run(w.t, r)
		await(w.t, r, "app-1", 24*time.Hour, "a person's matter", func(s rotator.AppStatus) bool { return s.Attention })
		days(19)
		await(w.t, r, "app-1", 24*time.Hour, "late, and told", func(s rotator.AppStatus) bool {
			return s.Late && !s.Rotation.LateSince.IsZero()
		})
		stop()
	})
}

// TestRollBackIntoExpiry asks for the previous pair when it ends before its
// consumer can have it.
func TestRollBackIntoExpiry(t *testing.T) {
	p := fast()
	p.Overlap, p.ReloadWithin = new(time.Duration(0)), new(24*time.Hour)
	bubble(t, "refused", options{defaults: p, left: 30 * time.Hour}, func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		await(w.t, r, "app-1", 20*time.Hour, "delivered", phaseIs(rotator.PhaseDelivered))
		time.Sleep(20 * time.Hour)
		if _, err := r.RollBack(w.t.Context(), "app-1", "p"); err == nil || !strings.Contains(err.Error(), "lead to its end") {
			w.t.Errorf("rollback: %v, want a refusal", err)
		}
		stop()
	})
	person := options{defaults: slow(), left: 20 * 24 * time.Hour, spec: func(s *rotator.AppSpec) { s.Confirm.Rule = rotator.ConfirmPerson }}
	bubble(t, "a person answers too late", person, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.MaxStartsPerDay = 5
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "waiting", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPerson })
		back, err := r.RollBack(t.Context(), "app-1", "p")
		if err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 20*time.Hour, "handed back", func(s rotator.AppStatus) bool {
			return s.Phase == rotator.PhaseRollingBack && s.WaitingFor == rotator.WaitingPerson
		})
		days(21)
		w.outage.Store(true) // the consumer holds what the person asked for, and it has ended
		s := await(t, r, "app-1", 48*time.Hour, "a fresh rotation", func(s rotator.AppStatus) bool {
			return s.Rotation.ID != back.ID && s.WaitingFor == rotator.WaitingPerson
		})
		if !s.Attention || !w.lists(string(back.New.KeyID)) {
			t.Errorf("attention %v; the certificate that was rolled back, the last valid one, is on the app: %v", s.Attention, w.lists(string(back.New.KeyID)))
		}
		// The consumer may still have the one before, which is valid: only a person knows (P3).
		if _, err := r.Confirm(t.Context(), "app-1", s.Rotation.New.ThumbprintSHA1[:8], "", "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 48*time.Hour, "ended", phaseIs(rotator.PhaseRetired))
		w.outage.Store(false)
		stop()
		w.checkTenantWith(r)
	})
}

// TestRollBackAfterLostRemoval asks for the previous pair although its removal
// may have been carried out.
func TestRollBackAfterLostRemoval(t *testing.T) {
	bubble(t, "refused", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.tenant.Configure(func(e *emulator.Tenant) { e.Propagation = 2 * time.Minute })
		w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
			w.watch(q)
			if strings.HasSuffix(q.Path, "/removeKey") {
				return &emulator.Fault{LoseAnswer: true}
			}
			return nil
		}
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "sent", func(s rotator.AppStatus) bool { return s.Rotation != nil && !s.Rotation.RemovalSentAt.IsZero() })
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err == nil || !strings.Contains(err.Error(), "may have been carried out") {
			t.Errorf("rollback: %v, want a refusal", err)
		}
		w.tenant.Configure(func(e *emulator.Tenant) { e.Intercept = w.watch })
		await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestForeignHere adopts an app that carries, put there by somebody, a
// certificate which is ours on another app.
func TestForeignHere(t *testing.T) {
	bubble(t, "kept", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		shared := w.tenant.KeyCredentials(w.apps[0].clientID)[1].Certificate
		spec := w.register(vendor(), 20*24*time.Hour)
		if _, err := w.tenant.AddKeyCredential(string(spec.ClientID), emulator.KeyCredential{Certificate: shared, DisplayName: "put there by somebody"}); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(w.dir, "new.pfx")
		if err := os.WriteFile(target, spec.PFX, 0o600); err != nil {
			t.Fatal(err)
		}
		spec.Deliveries, spec.NoConsumer = []rotator.Delivery{{Kind: rotator.DeliverFile, Path: target}}, false
		if _, err := r.Add(t.Context(), spec, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		await(t, r, "new", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		kept := false
		for _, k := range w.tenant.KeyCredentials(string(spec.ClientID)) {
			kept = kept || string(k.Certificate) == string(shared)
		}
		if !kept {
			t.Error("a certificate that was neither made nor adopted for this app was removed from it")
		}
	})
}

// TestRollBackTakesCompromisedAlong rolls back the answer to a compromise: the
// given-up certificate does not stay.
func TestRollBackTakesCompromisedAlong(t *testing.T) {
	bubble(t, "next", options{defaults: slow()}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "uploaded", phaseIs(rotator.PhaseUploaded))
		given := w.newKeyID(r)
		rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "next", Force: true}, "p")
		if err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 20*time.Hour, "delivered", func(s rotator.AppStatus) bool {
			return s.Rotation.ID == rot.ID && s.Phase == rotator.PhaseDelivered
		})
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 20*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		if w.lists(given) {
			t.Error("the given-up certificate is still on the app")
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestVanishesTwice uploads a certificate again that a consumer holds, and it is
// removed again.
func TestVanishesTwice(t *testing.T) {
	for _, phase := range []rotator.Phase{rotator.PhaseDelivered, rotator.PhaseConfirmed} {
		bubble(t, string(phase), options{defaults: slow()}, func(w *world, r *rotator.Rotator) {
			t := w.t
			isMissing := func(s rotator.AppStatus) bool { return !s.Rotation.Missing.IsZero() }
			stop := run(t, r)
			await(t, r, "app-1", 20*time.Hour, string(phase), phaseIs(phase))
			w.outage.Store(true)
			for range 2 {
				if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, w.newKeyID(r)); err != nil {
					t.Fatal(err)
				}
				s := await(t, r, "app-1", 40*time.Hour, "missing", isMissing)
				if s.Phase.IsEnd() || !s.Attention {
					t.Fatalf("phase %s, attention %v: the consumer holds a dead pair and nobody is told", s.Phase, s.Attention)
				}
				if _, err := r.Confirm(t.Context(), "app-1", s.Rotation.New.ThumbprintSHA1[:8], "", "p"); err == nil && phase == rotator.PhaseDelivered {
					t.Error("a certificate that is gone was confirmed")
				}
				if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "p"); err != nil {
					t.Fatal(err)
				}
				await(t, r, "app-1", 40*time.Hour, "uploaded", phaseIs(rotator.PhaseUploaded))
			}
			await(t, r, "app-1", 60*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			w.outage.Store(false)
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestForceWhileRollingBack never makes a rollback go forward.
func TestForceWhileRollingBack(t *testing.T) {
	bubble(t, "stays", options{defaults: slow()}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "delivered", phaseIs(rotator.PhaseDelivered))
		w.outage.Store(true)
		if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, w.newKeyID(r)); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 40*time.Hour, "missing", func(s rotator.AppStatus) bool { return !s.Rotation.Missing.IsZero() })
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err != nil {
			t.Fatal(err)
		}
		rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "p")
		if err != nil || rot.Phase != rotator.PhaseRollingBack {
			t.Errorf("after force the rotation is %s (%v), want rolling_back", rot.Phase, err)
		}
		await(t, r, "app-1", 40*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		w.outage.Store(false)
		stop()
		w.checkTenantWith(r)
	})
}

// TestHookAddedLate adds a hook to the deliveries while a rotation waits: it runs for the
// new certificate by itself, before anything is retired.
func TestHookAddedLate(t *testing.T) {
	for _, phase := range []rotator.Phase{rotator.PhaseDelivered, rotator.PhaseConfirmed} {
		bubble(t, string(phase), options{defaults: slow()}, func(w *world, r *rotator.Rotator) {
			t := w.t
			ran := filepath.Join(w.dir, "ran")
			d, ok := r.Deliverer.(*deliver.Deliverer)
			if !ok {
				t.Fatalf("deliverer is %T", r.Deliverer)
			}
			d.Hooks["push"] = deliver.Hook{Command: []string{"/usr/bin/touch", ran}}
			stop := run(t, r)
			s := await(t, r, "app-1", 20*time.Hour, string(phase), phaseIs(phase))
			list := append(s.App.Deliveries, rotator.Delivery{Kind: rotator.DeliverExec, Hook: "push"})
			if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Deliveries: &list}, "p"); err != nil {
				t.Fatal(err)
			}
			await(t, r, "app-1", 60*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			if _, err := os.Stat(ran); err != nil {
				t.Errorf("the hook never ran: %v", err)
			}
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestNoDeliveries has a person carry the file: rolling back waits for the
// person again, and a first certificate cannot be rolled back.
func TestNoDeliveries(t *testing.T) {
	byHand := func(s *rotator.AppSpec) {
		s.Confirm.Rule, s.Deliveries, s.NoConsumer = rotator.ConfirmPerson, nil, true
	}
	waits := func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPerson }
	bubble(t, "carried by hand", options{spec: byHand}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "waiting", waits)
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s := await(t, r, "app-1", time.Hour, "waiting again", waits)
		if !w.lists(string(s.Rotation.New.KeyID)) {
			t.Error("the new certificate was removed before the person said that it is no longer used")
		}
		if _, err := r.Confirm(t.Context(), "app-1", s.Rotation.Old.ThumbprintSHA1[:8], "", "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "first certificate", options{mode: rotator.ModeManaged, noKey: true, spec: byHand}, func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		await(w.t, r, "app-1", 5*time.Hour, "waiting", waits)
		if _, err := r.RollBack(w.t.Context(), "app-1", "p"); err == nil || !strings.Contains(err.Error(), "first certificate") {
			w.t.Errorf("rollback: %v, want a refusal", err)
		}
		stop()
	})
}

// TestKeyIDs tells or learns the KeyID of an adopted certificate while it is
// being replaced.
func TestKeyIDs(t *testing.T) {
	untold := options{permissions: []string{}, spec: func(s *rotator.AppSpec) { s.KeyID = "" }}
	bubble(t, "typed in the overlap", untold, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		id := rotator.KeyID(w.apps[0].keyID)
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{KeyID: &id}, "p"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if len(s.App.Orphans) != 1 || s.App.Orphans[0].KeyID != id {
			t.Errorf("orphans %v, want the certificate with its typed KeyID, which is not sent (P2)", s.App.Orphans)
		}
		rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "p")
		if err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 20*time.Hour, "retired again", func(s rotator.AppStatus) bool {
			return s.Rotation.ID == rot.ID && s.Phase == rotator.PhaseRetired
		})
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "learnt by reading", untold, func(w *world, r *rotator.Rotator) {
		t := w.t
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Mode: new(rotator.ModeManaged)}, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		s := await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if len(s.App.Orphans) != 0 {
			t.Errorf("orphans %v although the list can be read", s.App.Orphans)
		}
		stop()
		w.checkTenantWith(r)
	})
	wrong := options{mode: rotator.ModeManaged}
	bubble(t, "a stranger's", wrong, func(w *world, r *rotator.Rotator) {
		t := w.t
		stranger := rotator.KeyID(w.tenant.KeyCredentials(w.apps[0].clientID)[0].KeyID)
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{KeyID: &stranger}, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		s := await(t, r, "app-1", 20*time.Hour, "stopped", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		if !strings.Contains(s.Trouble.Message, "another certificate") || !w.lists(string(stranger)) {
			t.Errorf("trouble %q; the stranger's certificate is there: %v", s.Trouble.Message, w.lists(string(stranger)))
		}
		stop()
	})
}

// TestFirstCertificateWaits holds first certificates back like any other.
func TestFirstCertificateWaits(t *testing.T) {
	o := options{mode: rotator.ModeManaged, noKey: true, apps: 4}
	bubble(t, "pause and brake", o, func(w *world, r *rotator.Rotator) {
		if err := r.Pause(w.t.Context(), "app-1", time.Now().Add(30*24*time.Hour), "p"); err != nil {
			w.t.Fatal(err)
		}
		r.MaxStartsPerDay = 2
		stop := run(w.t, r)
		time.Sleep(12 * time.Hour)
		s, err := r.Status(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		started := 0
		for _, a := range s.Apps {
			if a.Rotation != nil {
				started++
			}
		}
		if started != 2 || s.Apps[0].Rotation != nil {
			w.t.Errorf("%d started, want 2; the paused one started: %v", started, s.Apps[0].Rotation != nil)
		}
		stop()
	})
}

// TestStaleForever removes a foreign certificate that was seen, while the list
// must be replaced: after the rule's reads it is believed.
func TestStaleForever(t *testing.T) {
	bubble(t, "patched in the end", options{mode: rotator.ModeManaged, noKey: true}, func(w *world, r *rotator.Rotator) {
		t := w.t
		var open atomic.Bool
		stranger := w.tenant.KeyCredentials(w.apps[0].clientID)[0].KeyID
		w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
			if q.Method == http.MethodPatch && !open.Load() {
				return &emulator.Fault{Status: http.StatusForbidden}
			}
			return nil
		}
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "refused", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		open.Store(true)
		if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, stranger); err != nil {
			t.Fatal(err)
		}
		w.foreign[w.apps[0].clientID] = w.secrets(w.apps[0].clientID)
		await(t, r, "app-1", 3*24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestResumeWakes lets go on at once what a pause held.
func TestResumeWakes(t *testing.T) {
	bubble(t, "all", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		if err := r.Pause(t.Context(), "", time.Now().Add(10*24*time.Hour), "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 20*time.Hour, "paused", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPause })
		if _, err := r.Resume(t.Context(), "", false, "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestPauseHoldsNoCompromise answers a compromise although all is paused.
func TestPauseHoldsNoCompromise(t *testing.T) {
	bubble(t, "cut now", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		if err := r.Pause(t.Context(), "", time.Now().Add(10*24*time.Hour), "p"); err != nil {
			t.Fatal(err)
		}
		w.outage.Store(true)
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current", CutNow: true}, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		w.outage.Store(false)
		stop()
		w.checkTenantWith(r)
	})
}

// TestRefusedUploadLeavesNoOrphan rolls back what never arrived.
func TestRefusedUploadLeavesNoOrphan(t *testing.T) {
	bubble(t, "403", options{permissions: []string{}}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
			if strings.HasSuffix(q.Path, "/addKey") {
				return &emulator.Fault{Status: http.StatusForbidden}
			}
			return nil
		}
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "refused", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 5*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		if len(s.App.Orphans) != 0 {
			t.Errorf("orphans %v, but nothing was ever uploaded", s.App.Orphans)
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestShortLimit has a policy allow less than renew_before: certificates are not
// replaced as soon as they are made.
func TestShortLimit(t *testing.T) {
	bubble(t, "30 days", options{mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
		w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 30 * 24 * time.Hour})
		stop := run(w.t, r)
		days(10)
		if n, err := r.History(w.t.Context(), "app-1", 0); err != nil || len(n) != 1 {
			w.t.Errorf("%d rotations in 10 days (%v), want 1", len(n), err)
		}
		days(30)
		if n, err := r.History(w.t.Context(), "app-1", 0); err != nil || len(n) != 3 {
			w.t.Errorf("%d rotations in 40 days (%v), want one in each half lifetime", len(n), err)
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestStoppedForLong stops the daemon for longer than a key may take to spread:
// one refused sign-in after that proves nothing.
func TestStoppedForLong(t *testing.T) {
	bubble(t, "one refusal", options{defaults: slow(), permissions: []string{}}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "uploaded", phaseIs(rotator.PhaseUploaded))
		stop()
		time.Sleep(2 * time.Hour)
		var refused atomic.Bool
		w.tenant.Configure(func(e *emulator.Tenant) {
			e.Intercept = func(q emulator.Request) *emulator.Fault {
				w.watch(q)
				if q.IsToken() && refused.CompareAndSwap(false, true) {
					return &emulator.Fault{AADSTS: 700027}
				}
				return nil
			}
		})
		stop = run(t, r)
		await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestDeliveryComesInTime delivers, although paused, while the consumer still
// has its time to read the file.
func TestDeliveryComesInTime(t *testing.T) {
	p := fast()
	p.Overlap, p.ReloadWithin = new(time.Duration(0)), new(24*time.Hour)
	p.Prove = &rotator.ProvePolicy{Successes: 2, Spacing: 10 * time.Minute, Within: 40 * time.Minute}
	bubble(t, "paused", options{defaults: p, left: 5 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 20*time.Hour, "uploaded", phaseIs(rotator.PhaseUploaded))
		if err := r.Pause(t.Context(), "", time.Now().Add(30*24*time.Hour), "p"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 5*24*time.Hour, "delivered", phaseIs(rotator.PhaseDelivered))
		if left := s.Rotation.Old.NotAfter.Sub(s.Rotation.PhaseAt[rotator.PhaseDelivered]); left < 24*time.Hour {
			t.Errorf("delivered %s before the old certificate ends; the consumer reads within 24h", left)
		}
		stop()
	})
}
