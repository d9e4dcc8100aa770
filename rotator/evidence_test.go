package rotator_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// consumer signs in as the app's consumer, which knows nothing of rotate.
func (w *world) consumer(r *rotator.Rotator, pair rotator.KeyPair) {
	w.t.Helper()
	_, err := r.Entra.SignIn(w.t.Context(), rotator.Registration{App: "app-1", Tenant: "contoso", ClientID: rotator.ClientID(w.apps[0].clientID)}, pair, nil)
	if err != nil {
		w.t.Errorf("the consumer signs in: %v", err)
	}
}

// pairs returns the one that is replaced and the new one.
func (w *world) pairs(r *rotator.Rotator, s rotator.AppStatus) (old, next rotator.KeyPair) {
	w.t.Helper()
	for c, to := range map[*rotator.Credential]*rotator.KeyPair{s.Rotation.Old: &old, &s.Rotation.New: &next} {
		pair, err := r.Store.KeyPair(w.t.Context(), c.ThumbprintSHA256)
		if err != nil {
			w.t.Fatal(err)
		}
		*to = pair
	}
	return old, next
}

// carries reports whether the app still has the certificate.
func (w *world) carries(c *rotator.Credential) bool {
	for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
		if rotator.ThumbprintOf(k.Certificate) == c.ThumbprintSHA256 {
			return true
		}
	}
	return false
}

func asksForEvidence() options {
	return options{mode: rotator.ModeManaged, evidence: true, left: 20 * 24 * time.Hour}
}

// TestEvidenceHolds: while the log shows the consumer with the old certificate, it
// stays, across a restart too, people are told, and it goes once it was unused for
// long enough.
func TestEvidenceHolds(t *testing.T) {
	bubble(t, "held", asksForEvidence(), func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		s := await(w.t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		old, next := w.pairs(r, s)
		time.Sleep(10 * time.Minute)
		used := time.Now().UTC().Truncate(time.Second)
		w.consumer(r, old)
		s = await(w.t, r, "app-1", 2*time.Hour, "held", waitsForEvidence)
		if e := s.Rotation.Evidence; e.Result != rotator.EvidenceUsed || !e.OldUsedAt.Equal(used) ||
			e.Note != "the consumer still uses the old certificate, last at "+used.Format(time.RFC3339) {
			w.t.Errorf("evidence: %+v", e)
		}
		events := told(w.t, r, rotator.EventOldCertificateInUse)
		if len(events) != 1 || !strings.Contains(events[0].Summary, "last at "+used.Format(time.RFC3339)) || events[0].Severity != rotator.SeverityWarning {
			w.t.Errorf("told %+v", events)
		}
		stop()
		db, ok := r.Store.(*store.Store)
		if !ok {
			w.t.Fatalf("the store is a %T", r.Store)
		}
		if err := db.Close(); err != nil {
			w.t.Fatal(err)
		}
		again, closeStore := w.rotator()
		defer closeStore()
		stop = run(w.t, again)
		time.Sleep(5 * time.Hour)
		w.consumer(again, old)
		later := time.Now().UTC().Truncate(time.Second)
		time.Sleep(20 * time.Hour)
		all, err := again.Status(w.t.Context(), "app-1")
		if err != nil {
			w.t.Fatal(err)
		}
		if s = all.Apps[0]; s.Phase != rotator.PhaseConfirmed || !w.carries(s.Rotation.Old) {
			w.t.Fatalf("not held any more after a restart: %v", s.Phase)
		}
		if e := s.Rotation.Evidence; !e.OldUsedAt.Equal(later) {
			w.t.Errorf("last used %s, want %s", e.OldUsedAt, later)
		}
		w.consumer(again, next)
		s = await(w.t, again, "app-1", 12*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if e := s.Rotation.Evidence; e.Result != rotator.EvidenceUnused || e.NewUsedAt.IsZero() {
			w.t.Errorf("evidence at the end: %+v", e)
		}
		if at := s.Rotation.EndedAt; at.Before(later.Add(24 * time.Hour)) {
			w.t.Errorf("retired at %s, less than a day after the last use at %s", at, later)
		}
		over := told(w.t, again, rotator.EventRecovered)
		if len(over) != 1 || !strings.Contains(over[0].Summary, "uses the new certificate") {
			w.t.Errorf("its end was told as %+v", over)
		}
		if n := len(told(w.t, again, rotator.EventOldCertificateInUse)); n < 1 || n > 2 {
			w.t.Errorf("told %d times in a day and a half", n)
		}
		stop()
	})
}

// TestEvidenceUnused: the new one in use and the old one not is noted, and holds
// nothing up.
func TestEvidenceUnused(t *testing.T) {
	bubble(t, "unused", asksForEvidence(), func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		s := await(w.t, r, "app-1", time.Hour, "delivered", phaseIs(rotator.PhaseDelivered))
		old, next := w.pairs(r, s)
		w.consumer(r, old) // it had no time to read the new file yet
		await(w.t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		time.Sleep(time.Minute)
		w.consumer(r, next)
		s = await(w.t, r, "app-1", 2*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if e := s.Rotation.Evidence; e == nil || e.Result != rotator.EvidenceUnused || !strings.Contains(e.Note, "and not the old one") {
			w.t.Errorf("evidence: %+v", e)
		}
		if late := s.Rotation.EndedAt.Sub(s.Rotation.RetiresAt); late > 5*time.Minute {
			w.t.Errorf("retired %s after the overlap", late)
		}
		stop()
	})
}

// TestEvidenceUnknown: a log that is empty, or cannot be read, proves nothing, and
// holds nothing up.
func TestEvidenceUnknown(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*world)
		note   string
		// late is how much later than the overlap it may end, and must if not zero.
		late time.Duration
	}{
		"nobody signs in": {func(*world) {}, "shows neither certificate in use", 0},
		"its own requests under other correlation IDs": {func(w *world) {
			w.tenant.Configure(func(e *emulator.Tenant) { e.OwnCorrelationIDs = true })
		}, "shows neither certificate in use", 0},
		"no licence": {func(w *world) {
			w.tenant.Configure(func(e *emulator.Tenant) { e.NoPremium = true })
		}, "premium license", 0},
		"no permission": {func(w *world) {
			if err := w.tenant.Withdraw(w.admin.ClientID, "AuditLog.Read.All"); err != nil {
				w.t.Fatal(err)
			}
		}, "Insufficient privileges", 0},
		"no such log in the cloud": {func(w *world) { w.logFails(http.StatusNotFound) }, "cannot be read", 0},
		"throttled for days":       {func(w *world) { w.logFails(http.StatusTooManyRequests) }, "cannot be read", 24 * time.Hour},
	} {
		bubble(t, name, asksForEvidence(), func(w *world, r *rotator.Rotator) {
			tt.change(w)
			stop := run(w.t, r)
			s := await(w.t, r, "app-1", 60*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			e := s.Rotation.Evidence
			if e == nil || e.Result != rotator.EvidenceUnknown || !strings.Contains(e.Note, tt.note) {
				w.t.Errorf("evidence: %+v, want unknown with %q", e, tt.note)
			}
			late := s.Rotation.EndedAt.Sub(s.Rotation.RetiresAt)
			if late < tt.late || late > tt.late+8*time.Hour || tt.late == 0 && late > 5*time.Minute {
				w.t.Errorf("retired %s after the overlap, want %s", late, tt.late)
			}
			if n := len(told(w.t, r, rotator.EventOldCertificateInUse)); n != 0 {
				w.t.Errorf("%d alerts although nothing is known", n)
			}
			stop()
		})
	}
}

// TestEvidenceOwnSignIns: from proven on this program signs in with the new pair
// only, whoever asks it to, and its own sign-ins are known as such.
func TestEvidenceOwnSignIns(t *testing.T) {
	for _, otherIDs := range []bool{false, true} {
		bubble(t, map[bool]string{false: "by correlation ID", true: "by request ID"}[otherIDs], asksForEvidence(), func(w *world, r *rotator.Rotator) {
			w.tenant.Configure(func(e *emulator.Tenant) { e.OwnCorrelationIDs = otherIDs })
			stop := run(w.t, r)
			await(w.t, r, "app-1", time.Hour, "delivered", phaseIs(rotator.PhaseDelivered))
			if !otherIDs {
				if _, err := r.Test(w.t.Context(), "app-1"); err != nil {
					w.t.Error(err)
				}
			}
			s := await(w.t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			if s.Rotation.Evidence.Result != rotator.EvidenceUnknown {
				w.t.Errorf("only rotate signed in, and the evidence is %+v", s.Rotation.Evidence)
			}
			if len(s.Rotation.OwnSignIns) == 0 || s.App.CorrelationID == "" {
				w.t.Errorf("not journalled: request IDs %v, correlation ID %q", s.Rotation.OwnSignIns, s.App.CorrelationID)
			}
			list, err := r.SignIns(w.t.Context(), "app-1")
			if err != nil {
				w.t.Fatal(err)
			}
			seen := map[string]int{}
			for _, c := range list {
				for _, one := range c.Last {
					seen[c.Role]++
					if !one.Own && (!otherIDs || c.Role == "current") {
						w.t.Errorf("a sign-in with the %s certificate at %s is taken for the consumer's", c.Role, one.At)
					}
					if c.Role == "previous" && one.At.After(s.Rotation.PhaseAt[rotator.PhaseProven]) {
						w.t.Errorf("rotate signed in with the old certificate at %s, after it was proven", one.At)
					}
				}
			}
			if seen["current"] == 0 || seen["previous"] == 0 {
				w.t.Errorf("sign-ins by role: %v", seen)
			}
		})
	}
}

// TestEvidenceReconfirmed: a person who has changed the consumer does not wait for
// the log to grow old, and an old certificate that has ended protects nobody.
func TestEvidenceReconfirmed(t *testing.T) {
	bubble(t, "confirmed again", asksForEvidence(), func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		s := await(w.t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		old, _ := w.pairs(r, s)
		time.Sleep(time.Minute)
		w.consumer(r, old)
		s = await(w.t, r, "app-1", 2*time.Hour, "held", waitsForEvidence)
		time.Sleep(time.Minute)
		if _, err := r.Confirm(w.t.Context(), "app-1", s.Rotation.New.ThumbprintSHA1[:8], "restarted it", "a person"); err != nil {
			w.t.Fatal(err)
		}
		await(w.t, r, "app-1", 10*time.Minute, "retired", phaseIs(rotator.PhaseRetired))
		stop()
	})
	bubble(t, "ended", options{mode: rotator.ModeManaged, evidence: true, left: 3 * time.Hour}, func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		s := await(w.t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		old, _ := w.pairs(r, s)
		time.Sleep(time.Minute)
		w.consumer(r, old)
		await(w.t, r, "app-1", 2*time.Hour, "held", waitsForEvidence)
		if events := told(w.t, r, rotator.EventOldCertificateInUse); len(events) != 1 || events[0].Severity != rotator.SeverityCritical {
			w.t.Errorf("told %+v, want critical: it ends today", events)
		}
		s = await(w.t, r, "app-1", 4*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if at := s.Rotation.EndedAt; at.Before(s.Rotation.Old.NotAfter) {
			w.t.Errorf("retired at %s, while it was held and before the end %s", at, s.Rotation.Old.NotAfter)
		}
		stop()
	})
}

// TestEvidenceNeedsManagedMode at registration and afterwards.
func TestEvidenceNeedsManagedMode(t *testing.T) {
	bubble(t, "self", options{}, func(w *world, r *rotator.Rotator) {
		_, _, err := r.Edit(w.t.Context(), "app-1", rotator.Edit{Evidence: new(true)}, "test")
		if err == nil || !strings.Contains(err.Error(), "--mode managed") {
			w.t.Errorf("evidence in self mode: %v", err)
		}
	})
}

// logFails answers the sign-in log with a status, all else as usual.
func (w *world) logFails(with int) {
	w.tenant.Configure(func(e *emulator.Tenant) {
		e.Intercept = func(q emulator.Request) *emulator.Fault {
			if strings.HasPrefix(q.Path, "/beta/") {
				return &emulator.Fault{Status: with}
			}
			return nil
		}
	})
}

func waitsForEvidence(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingEvidence }

// TestEvidenceRetireKey: a key of others that a person told to remove is held while
// it is in use, too.
func TestEvidenceRetireKey(t *testing.T) {
	o := asksForEvidence()
	o.noKey = true
	bubble(t, "", o, func(w *world, r *rotator.Rotator) {
		id := w.elsewhere()
		theirs := rotator.KeyPair{Key: keys()[1], Certificate: w.tenant.KeyCredentials(w.apps[0].clientID)[0].Certificate}
		stop := run(w.t, r)
		if _, err := r.Start(w.t.Context(), "app-1", retire(id), "a person"); err != nil {
			w.t.Fatal(err)
		}
		await(w.t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		time.Sleep(time.Minute)
		w.consumer(r, theirs)
		await(w.t, r, "app-1", 2*time.Hour, "held", waitsForEvidence)
		time.Sleep(20 * time.Hour)
		if w.elsewhere() == "" || len(told(w.t, r, rotator.EventOldCertificateInUse)) == 0 {
			w.t.Error("it was removed, or nobody was told")
		}
		await(w.t, r, "app-1", 12*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if w.elsewhere() != "" {
			w.t.Error("it is still on the app a day after its last use")
		}
		stop()
	})
}
