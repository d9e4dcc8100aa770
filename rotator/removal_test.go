package rotator_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// tenantModes are those who ask, and whether the list can be read.
func tenantModes() map[string]options {
	return map[string]options{
		"managed": {mode: rotator.ModeManaged}, "self": {}, "self unreadable": {permissions: []string{}},
	}
}

// removals counts requests to removeKey.
func (w *world) removals() int {
	n := 0
	for _, e := range w.tenant.Requests() {
		if strings.HasSuffix(e.Path, "/removeKey") {
			n++
		}
	}
	return n
}

// wantAudit fails unless the trail has these lines, in this order.
func (w *world) wantAudit(r *rotator.Rotator, want ...string) {
	w.t.Helper()
	db, ok := r.Store.(*store.Store)
	if !ok {
		w.t.Fatalf("the store is a %T", r.Store)
	}
	var lines []string
	for e, err := range db.Audit(w.t.Context(), "", time.Time{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		lines = append(lines, e.What)
		if len(want) > 0 && e.What == want[0] {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		w.t.Errorf("the trail lacks %q:\n%s", want, strings.Join(lines, "\n"))
	}
}

// isSettled reports whether no removal is pending.
func isSettled(s rotator.AppStatus) bool { return len(s.App.Pending()) == 0 }

// neverEarly fails if a certificate is called removed that gets a token.
func (w *world) neverEarly(s rotator.AppStatus) {
	w.t.Helper()
	all := append([]rotator.Credential{}, s.App.Former...)
	for _, c := range []*rotator.Credential{s.App.Previous, s.Rotation.Old, &s.Rotation.New} {
		if c != nil {
			all = append(all, *c)
		}
	}
	for _, m := range s.App.Removals {
		all = append(all, m.Credential)
	}
	for i := range all {
		if c := &all[i]; !c.RemovedAt.IsZero() && w.carries(c) {
			w.t.Errorf("the certificate %s is called removed and is on the app", c.ThumbprintSHA1)
		}
	}
}

// settle waits until every removal is settled, and looks all the time whether
// something is called removed too early.
func (w *world) settle(r *rotator.Rotator, limit time.Duration) rotator.AppStatus {
	w.t.Helper()
	return await(w.t, r, "app-1", limit, "settled", func(s rotator.AppStatus) bool {
		w.neverEarly(s)
		return s.Phase.IsEnd() && isSettled(s)
	})
}

// TestL3NothingIsRemovedByAnAnswer has a whole rotation end, in every mode, in a tenant
// that answers "No credentials found to be removed." to each first removal, that
// accepts it without effect, and that does both, with reads that lag 20 s (R2).
func TestL3NothingIsRemovedByAnAnswer(t *testing.T) {
	for mode, o := range tenantModes() {
		for _, c := range []struct{ notFound, again int }{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
			bubble(t, fmt.Sprintf("%s/not_found=%d/again=%d", mode, c.notFound, c.again), o, func(w *world, r *rotator.Rotator) {
				t := w.t
				w.tenant.Configure(func(e *emulator.Tenant) {
					e.RemoveNotFound, e.RemoveAgain, e.ReadLag = c.notFound, c.again, 20*time.Second
				})
				stop := run(t, r)
				s := await(t, r, "app-1", 10*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				old := *s.Rotation.Old
				if len(s.App.Pending()) != 1 || !old.RemovedAt.IsZero() || old.RemovalSentAt.IsZero() {
					t.Errorf("directly after the request: pending %v, old %+v", s.App.Pending(), old)
				}
				if !slices.ContainsFunc(s.Warnings, func(text string) bool { return strings.Contains(text, "removal sent; confirmed from ") }) {
					t.Errorf("warnings %q", s.Warnings)
				}
				s = w.settle(r, 24*time.Hour)
				if old := s.Rotation.Old; old.RemovedAt.IsZero() || w.carries(old) {
					t.Errorf("at last: removed %s, on the app %v", old.RemovedAt, w.carries(old))
				}
				if took := s.Rotation.Old.RemovedAt.Sub(old.RemovalSentAt); took < 10*time.Minute {
					t.Errorf("confirmed after %s, want ten minutes at least", took)
				}
				if n, want := w.removals(), 1+c.notFound+c.again; n < want || n > want+3 {
					t.Errorf("%d requests, want %d and some that a lagging read causes", n, want)
				}
				w.wantAudit(r, "certificate removal sent", "certificate removal confirmed")
				told := strings.Join(w.told(r), "\n")
				if want := "certificate_removed info  the certificate " + old.ThumbprintSHA1 + " was removed: "; strings.Count(told, want) != 1 {
					t.Errorf("told %s, want once %q", told, want)
				}
				stop()
				w.checkTenantWith(r)
			})
		}
	}
}

// TestRemovalHoldsNothing begins the next rotation while the removal of the one before
// is refused again and again; after the third request people are told, once, and no
// more than ten are sent a day. The key is kept.
func TestRemovalHoldsNothing(t *testing.T) {
	bubble(t, "", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.tenant.Configure(func(e *emulator.Tenant) { e.RemoveNotFound = 1000 })
		stop := run(t, r)
		s := await(t, r, "app-1", 10*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		first := s.Rotation.Old.ThumbprintSHA256
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person"); err != nil {
			t.Fatal(err)
		}
		second := s.Rotation.ID
		await(t, r, "app-1", 10*time.Hour, "retired again", func(s rotator.AppStatus) bool {
			w.neverEarly(s)
			return s.Phase == rotator.PhaseRetired && s.Rotation.ID != second
		})
		time.Sleep(3 * 24 * time.Hour)
		status, err := r.Status(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		s = status.Apps[0]
		if n := len(s.App.Pending()); n != 2 || !s.Attention {
			t.Errorf("%d removals are pending, attention %v", n, s.Attention)
		}
		sent := map[string]int{} // by day
		most := 0
		for _, e := range w.tenant.Requests() {
			if strings.HasSuffix(e.Path, "/removeKey") {
				sent[e.Time.Format(time.DateOnly)]++
				most = max(most, sent[e.Time.Format(time.DateOnly)])
			}
		}
		if most > 2*10 || most < 6 {
			t.Errorf("%d requests for two certificates a day, want up to ten for each: %v", most, sent)
		}
		told := 0
		for _, text := range w.told(r) {
			if strings.HasPrefix(text, "removal_unconfirmed") {
				told++
				if !strings.Contains(text, "sent 3 times") {
					t.Errorf("told %q", text)
				}
			}
		}
		if told == 0 || told > 4 {
			t.Errorf("told %d times", told)
		}
		if held, err := r.Store.HasKeyPair(t.Context(), first); err != nil || !held {
			t.Errorf("the key of a pending removal was deleted: %v", err)
		}
		w.tenant.Configure(func(e *emulator.Tenant) { e.RemoveNotFound = 0 })
		w.settle(r, 3*24*time.Hour)
		stop()
		w.checkTenantWith(r)
	})
}

// TestRemovalOfTheCompromised keeps the critical alert until the removal is confirmed,
// and tells when it is.
func TestRemovalOfTheCompromised(t *testing.T) {
	for mode, o := range tenantModes() {
		bubble(t, mode, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			w.tenant.Configure(func(e *emulator.Tenant) { e.RemoveNotFound = 1 })
			w.outage.Store(true)
			stop := run(t, r)
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current", CutNow: true}, "a person"); err != nil {
				t.Fatal(err)
			}
			alert := func(s rotator.AppStatus) bool {
				return slices.ContainsFunc(s.App.Alerts, func(a rotator.Alert) bool {
					return a.Kind == rotator.EventRemovalUnconfirmed && a.Severity == rotator.SeverityCritical
				})
			}
			s := await(t, r, "app-1", 10*time.Hour, "sent", func(s rotator.AppStatus) bool { return len(s.App.Pending()) == 1 })
			given := s.App.Pending()[0]
			if !given.GivenUp || !alert(s) || !s.Attention || !s.Rotation.CutAt().IsZero() {
				t.Errorf("sent: %+v, alerts %v, cut at %s", given, s.App.Alerts, s.Rotation.CutAt())
			}
			s = await(t, r, "app-1", 24*time.Hour, "settled", func(s rotator.AppStatus) bool {
				w.neverEarly(s)
				if !isSettled(s) && w.carries(&given.Credential) && !alert(s) {
					t.Error("no alert although it is on the app")
				}
				return s.Phase == rotator.PhaseRetired && isSettled(s)
			})
			if alert(s) || s.Rotation.CutAt().IsZero() {
				t.Errorf("settled: alerts %v, cut at %s", s.App.Alerts, s.Rotation.CutAt())
			}
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestRemovalOfTheYoung rolls back a certificate that was uploaded a moment ago: it may
// still be spreading, so its removal is confirmed late.
func TestRemovalOfTheYoung(t *testing.T) {
	for mode, o := range tenantModes() {
		o.defaults = fast()
		o.defaults.Prove = &rotator.ProvePolicy{Successes: 2, Spacing: time.Second, Within: 3 * time.Hour}
		bubble(t, mode, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			await(t, r, "app-1", 10*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
			if _, err := r.RollBack(t.Context(), "app-1", "a person"); err != nil {
				t.Fatal(err)
			}
			s := await(t, r, "app-1", 10*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
			if isSettled(s) {
				t.Error("settled at once")
			}
			s = w.settle(r, 24*time.Hour)
			if took := s.Rotation.New.RemovedAt.Sub(s.Rotation.New.AddedAt); took < 6*time.Hour {
				t.Errorf("confirmed %s after the upload, want twice prove.within", took)
			}
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestRemovalOfAnUnansweredUpload rolls back when the answer to the upload was lost and
// the entry shows up later: it is removed then, or left to a person where nobody can
// tell its KeyID.
func TestRemovalOfAnUnansweredUpload(t *testing.T) {
	for mode, o := range tenantModes() {
		bubble(t, mode, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag = 10 * time.Minute })
			w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
				if strings.HasSuffix(q.Path, "/addKey") {
					return &emulator.Fault{LoseAnswer: true}
				}
				return nil
			}
			stop := run(t, r)
			await(t, r, "app-1", 10*time.Hour, "sent", func(s rotator.AppStatus) bool { return s.Rotation != nil && s.Rotation.Upload.Sends > 0 })
			if _, err := r.RollBack(t.Context(), "app-1", "a person"); err != nil {
				t.Fatal(err)
			}
			s := w.settle(r, 48*time.Hour)
			orphans := len(s.App.Orphans)
			if unreadable := o.permissions != nil; orphans != map[bool]int{true: 1}[unreadable] {
				t.Errorf("%d orphans", orphans)
			}
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestRemovedCertificateComesBack has somebody add a removed certificate again: it is
// called present again, critical if it was given up, and nothing is sent by itself.
func TestRemovedCertificateComesBack(t *testing.T) {
	for compromised, severity := range map[string]string{"": "warning", "current": "critical"} {
		bubble(t, severity, options{mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
			t := w.t
			der := w.tenant.KeyCredentials(w.apps[0].clientID)[1].Certificate
			stop := run(t, r)
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: compromised}, "a person"); err != nil {
				t.Fatal(err)
			}
			s := w.settle(r, 48*time.Hour)
			stop()
			old := s.Rotation.Old
			if _, err := w.tenant.AddKeyCredential(w.apps[0].clientID, emulator.KeyCredential{Certificate: der, DisplayName: "back"}); err != nil {
				t.Fatal(err)
			}
			w.told(r)
			before := w.removals()
			r.Inventory, r.Tenants = r.Entra.(*graph.Client), []string{"contoso"} //nolint:forcetypeassert // newWorld made it
			inspect(t, r)
			if told := strings.Join(w.told(r), "\n"); !strings.Contains(told, "removal_unconfirmed "+severity) || !strings.Contains(told, "on the app again") {
				t.Errorf("told %s", told)
			}
			status, err := r.Status(t.Context(), "app-1")
			if err != nil {
				t.Fatal(err)
			}
			s = status.Apps[0]
			if len(s.App.Pending()) != 1 || !s.Attention || !s.App.Previous.RemovedAt.IsZero() {
				t.Errorf("pending %+v, attention %v, previous %+v", s.App.Pending(), s.Attention, s.App.Previous)
			}
			stop = run(t, r)
			time.Sleep(48 * time.Hour)
			if n := w.removals() - before; n != 0 {
				t.Errorf("%d requests were sent by themselves", n)
			}
			for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
				if rotator.ThumbprintOf(k.Certificate) == old.ThumbprintSHA256 {
					if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, k.KeyID); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.settle(r, 48*time.Hour)
			stop()
		})
	}
}

// TestRemovedCertificateIsSeenByWhoLooks has a removed certificate come back, and
// whoever reads the list, or signs in with it, say so: nobody waits for an inspection.
func TestRemovedCertificateIsSeenByWhoLooks(t *testing.T) {
	for name, look := range map[string]func(t *testing.T, r *rotator.Rotator){
		"rotation": func(t *testing.T, r *rotator.Rotator) {
			t.Helper()
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person"); err != nil {
				t.Fatal(err)
			}
			stop := run(t, r)
			await(t, r, "app-1", time.Hour, "uploaded", func(s rotator.AppStatus) bool { return !s.Rotation.PhaseAt[rotator.PhaseUploaded].IsZero() })
			stop()
		},
		"app test": func(t *testing.T, r *rotator.Rotator) {
			t.Helper()
			if _, err := r.Test(t.Context(), "app-1"); err != nil {
				t.Fatal(err)
			}
		},
		"look ahead": func(t *testing.T, r *rotator.Rotator) {
			t.Helper()
			if _, err := r.Preflight(t.Context(), "app-1"); err != nil {
				t.Fatal(err)
			}
		},
		"unreadable": func(t *testing.T, r *rotator.Rotator) {
			t.Helper()
			r.Inventory, r.Tenants = r.Entra.(*graph.Client), []string{"contoso"} //nolint:forcetypeassert // newWorld made it
			inspect(t, r)
		},
	} {
		o := options{}
		if name == "unreadable" {
			o.permissions = []string{}
		}
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			entry := w.tenant.KeyCredentials(w.apps[0].clientID)[1]
			stop := run(t, r)
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current"}, "a person"); err != nil {
				t.Fatal(err)
			}
			w.settle(r, 48*time.Hour)
			stop()
			if _, err := w.tenant.AddKeyCredential(w.apps[0].clientID, emulator.KeyCredential{KeyID: entry.KeyID, Certificate: entry.Certificate}); err != nil {
				t.Fatal(err)
			}
			if name == "unreadable" {
				w.refuse(func(q emulator.Request) *emulator.Fault {
					if q.Method == http.MethodGet && strings.Contains(q.Path, "/applications") {
						return &emulator.Fault{Status: 403, Code: "Authorization_RequestDenied", Message: "Insufficient privileges to complete the operation."}
					}
					return nil
				})
			}
			w.told(r)
			look(t, r)
			if told := strings.Join(w.told(r), "\n"); strings.Count(told, "removal_unconfirmed critical") != 1 || !strings.Contains(told, "on the app again") {
				t.Errorf("told %s", told)
			}
			status, err := r.Status(t.Context(), "app-1")
			if err != nil {
				t.Fatal(err)
			}
			if s := status.Apps[0]; len(s.App.Pending()) != 1 || !s.Attention {
				t.Errorf("pending %+v, attention %v", s.App.Pending(), s.Attention)
			}
		})
	}
}

// TestRemovalThatCannotBeChecked keeps "removal sent" for ever where neither the list
// can be read nor the private key is held.
func TestRemovalThatCannotBeChecked(t *testing.T) {
	o := options{}
	bubble(t, "", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		id := w.elsewhere()
		w.tenant.Configure(func(e *emulator.Tenant) { e.RemoveNotFound = 1 })
		stop := run(t, r)
		if _, err := r.Start(t.Context(), "app-1", retire(id), "a person"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 10*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if n := len(s.App.Pending()); n != 2 {
			t.Fatalf("%d removals are pending, want two", n)
		}
		w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
			if q.Method == http.MethodGet && strings.Contains(q.Path, "/applications/") {
				return &emulator.Fault{Status: 403, Code: "Authorization_RequestDenied", Message: "Insufficient privileges to complete the operation."}
			}
			return nil
		}
		time.Sleep(30 * 24 * time.Hour)
		status, err := r.Status(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		s = status.Apps[0]
		if len(s.App.Pending()) == 0 || !s.Attention {
			t.Errorf("pending %v, attention %v", s.App.Pending(), s.Attention)
		}
		want := "removal sent; it cannot be confirmed from here, check Entra admin centre > App registrations > All applications > " +
			w.apps[0].clientID + " > Certificates & secrets > Certificates: key ID " + id
		if !slices.ContainsFunc(s.Warnings, func(text string) bool { return strings.Contains(text, want) }) {
			t.Errorf("warnings %q, want %q", s.Warnings, want)
		}
		stop()
	})
}

// TestRemovalOfTheExpired has the old certificate expire within the overlap, in a tenant
// that refuses its removal, or the reading before it: that is tidiness, and holds
// neither the rotation nor a person (guard (a)).
func TestRemovalOfTheExpired(t *testing.T) {
	for mode, o := range tenantModes() {
		for what, refuses := range map[string]func(q emulator.Request) bool{
			"the removal": func(q emulator.Request) bool { return strings.HasSuffix(q.Path, "/removeKey") },
			"the reading": func(q emulator.Request) bool {
				return q.Method == http.MethodGet && strings.Contains(q.Path, "/applications/") && strings.Contains(q.Query.Get("$select"), "keyCredentials")
			},
		} {
			o.left, o.defaults = 3*time.Hour, fast()
			o.defaults.Overlap = new(4 * time.Hour)
			bubble(t, mode+"/"+what, o, func(w *world, r *rotator.Rotator) {
				t := w.t
				stop := run(t, r)
				s := await(t, r, "app-1", 10*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
				w.refuse(func(q emulator.Request) *emulator.Fault {
					if refuses(q) {
						return &emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: "Nothing of that kind."}
					}
					return nil
				})
				expires := s.Rotation.Old.NotAfter
				s = await(t, r, "app-1", 10*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				if !s.Rotation.EndedAt.After(expires) || s.Rotation.Trouble != nil {
					t.Errorf("ended %s, the old one expires %s; trouble %+v", s.Rotation.EndedAt, expires, s.Rotation.Trouble)
				}
				s = w.settle(r, 24*time.Hour)
				if s.Attention {
					t.Errorf("it asks for attention: %q", s.Warnings)
				}
				for _, m := range s.App.Removals {
					if m.End != rotator.RemovalExpired {
						t.Errorf("the removal of %s ended as %q, want expired", m.ThumbprintSHA1, m.End)
					}
				}
				stop()
			})
		}
	}
}
