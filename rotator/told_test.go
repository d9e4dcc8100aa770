package rotator_test

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// elsewhere is the key on app-1 whose private half is elsewhere.
func (w *world) elsewhere() string {
	for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
		if k.DisplayName == "somebody else's" {
			return k.KeyID
		}
	}
	return ""
}

// letGo takes the key from what must stay as it is: a person told it to go.
func (w *world) letGo(id string) {
	one := w.apps[0].clientID
	w.foreign[one] = slices.DeleteFunc(w.foreign[one], func(f string) bool { return strings.HasPrefix(f, "key "+id) })
}

func (w *world) patches() int {
	n := 0
	for _, e := range w.tenant.Requests() {
		if e.Method == http.MethodPatch {
			n++
		}
	}
	return n
}

func retire(id string) rotator.StartRequest {
	return rotator.StartRequest{RetireKeys: []rotator.KeyID{rotator.KeyID(strings.ToUpper(id))}}
}

// TestRetireKeyFirst adopts an app whose key is elsewhere: the first key of ours is
// made, and the other one stays until ours was confirmed and the overlap is over,
// however long the person takes.
func TestRetireKeyFirst(t *testing.T) {
	o := options{mode: rotator.ModeManaged, noKey: true, spec: func(s *rotator.AppSpec) { s.Confirm.Rule = rotator.ConfirmPerson }}
	bubble(t, "", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		id := w.elsewhere()
		stop := run(t, r)
		if _, err := r.Start(t.Context(), "app-1", retire(id), "a person"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", time.Hour, "waiting for a person", waitsForPerson)
		time.Sleep(15 * 24 * time.Hour)
		if w.elsewhere() == "" {
			t.Fatal("it was removed although nobody confirmed ours")
		}
		if _, err := r.Confirm(t.Context(), "app-1", s.Rotation.New.ThumbprintSHA1[:8], "", "a person"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", time.Hour, "overlap", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingOverlap })
		time.Sleep(50 * time.Minute)
		if w.elsewhere() == "" {
			t.Error("it was removed within the overlap")
		}
		s = await(t, r, "app-1", time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if w.elsewhere() != "" {
			t.Error("it is still on the app")
		}
		if !strings.Contains(s.Rotation.Outcome, "removal sent as asked: "+id) {
			t.Errorf("outcome %q", s.Rotation.Outcome)
		}
		if n := w.patches(); n != 1 {
			t.Errorf("%d PATCH requests; want one, for the first key of ours", n)
		}
		stop()
		w.letGo(id)
		w.checkTenantWith(r)
	})
}

// TestRetireKeyLater tells it when ours was confirmed long ago: no new key is made.
// A second rotation keeps the other one before.
func TestRetireKeyLater(t *testing.T) {
	for name, o := range map[string]options{"managed": {mode: rotator.ModeManaged, noKey: true}, "self that may read": {}} {
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			id := w.elsewhere()
			stop := run(t, r)
			first := await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			if w.elsewhere() == "" {
				t.Fatal("it was removed although nobody told it")
			}
			sent := uploads(w)
			rot, err := r.Start(t.Context(), "app-1", retire(id), "a person")
			if err != nil {
				t.Fatal(err)
			}
			again, err := r.Start(t.Context(), "app-1", retire(id), "a person")
			if err != nil && !strings.Contains(err.Error(), "no key") || err == nil && again.ID != rot.ID {
				t.Errorf("asked twice: %v, rotation %s after %s", err, again.ID, rot.ID)
			}
			s := await(t, r, "app-1", 5*time.Hour, "retired", func(s rotator.AppStatus) bool { return s.Rotation.ID == rot.ID && s.Phase == rotator.PhaseRetired })
			if w.elsewhere() != "" || uploads(w) != sent || s.App.Current.ThumbprintSHA256 != first.App.Current.ThumbprintSHA256 {
				t.Errorf("on the app: %q, %d new uploads; want the key gone and ours as it was", w.elsewhere(), uploads(w)-sent)
			}
			stop()
			w.letGo(id)
			w.checkTenantWith(r)
		})
	}
}

// TestRetireKeyRefuses asks for what is not removed.
func TestRetireKeyRefuses(t *testing.T) {
	bubble(t, "", options{mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
		t := w.t
		app, err := w.tenant.Application(w.apps[0].clientID)
		if err != nil {
			t.Fatal(err)
		}
		before := len(w.tenant.Requests())
		for name, test := range map[string]struct {
			id   string
			says []string
		}{
			"unknown":  {"99999999-2222-3333-4444-555555555555", []string{"no key", w.elsewhere(), "somebody else's"}},
			"ours":     {w.apps[0].keyID, []string{"is ours"}},
			"a secret": {app.Secrets[0].KeyID, []string{"client secret"}},
			"no GUID":  {"somebody else's", []string{"GUID"}},
		} {
			_, err := r.Start(t.Context(), "app-1", rotator.StartRequest{RetireKeys: []rotator.KeyID{rotator.KeyID(test.id)}}, "a person")
			if err == nil || !errors.Is(err, rotator.ErrUsage) && !errors.Is(err, rotator.ErrRefused) {
				t.Errorf("%s: %v; want a refusal", name, err)
				continue
			}
			for _, word := range test.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %q does not say %q", name, err, word)
				}
			}
		}
		both := retire(w.elsewhere())
		both.Compromised = "current"
		if _, err := r.Start(t.Context(), "app-1", both, "a person"); !errors.Is(err, rotator.ErrUsage) {
			t.Errorf("with a compromise: %v", err)
		}
		w.noWritesSince(before)
	})
	bubble(t, "cannot read", options{permissions: []string{}}, func(w *world, r *rotator.Rotator) {
		if _, err := r.Start(w.t.Context(), "app-1", retire(w.elsewhere()), "a person"); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "portal") {
			w.t.Errorf("%v; want a refusal that names the portal", err)
		}
	})
}

// TestRetireKeyNeverConfirmed: the old certificate expired and nobody confirmed, so
// what a person told stays: the consumer may use it.
func TestRetireKeyNeverConfirmed(t *testing.T) {
	o := options{mode: rotator.ModeManaged, left: 5 * 24 * time.Hour, spec: func(s *rotator.AppSpec) { s.Confirm.Rule = rotator.ConfirmPerson }}
	bubble(t, "", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		if _, err := r.Start(t.Context(), "app-1", retire(w.elsewhere()), "a person"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "waiting for a person", waitsForPerson)
		time.Sleep(6 * 24 * time.Hour)
		s := await(t, r, "app-1", 48*time.Hour, "closed", phaseIs(rotator.PhaseRetired))
		if s.Rotation.Confirmation != "never" || w.elsewhere() == "" || !strings.Contains(s.Rotation.Outcome, "not removed") {
			t.Errorf("confirmation %q, the key is %q, outcome %q", s.Rotation.Confirmation, w.elsewhere(), s.Rotation.Outcome)
		}
		stop()
	})
}

// TestRetireKeyRolledBack goes back: what a person told stays.
func TestRetireKeyRolledBack(t *testing.T) {
	bubble(t, "", options{mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		if _, err := r.Start(t.Context(), "app-1", retire(w.elsewhere()), "a person"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		if _, err := r.RollBack(t.Context(), "app-1", "a person"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		stop()
		w.checkTenantWith(r) // nothing foreign was touched
	})
}

// TestRetireKeyCrash dies before and after each effect of a removal that a person
// told, with the first key of ours and long after it, and is asked again.
func TestRetireKeyCrash(t *testing.T) {
	keys()
	for _, settled := range []bool{false, true} {
		t.Run(fmt.Sprintf("settled=%v", settled), func(t *testing.T) {
			t.Parallel()
			crashLines(t, crashShare, func(at int, after bool) bool { return retireCrash(t, settled, at, after) })
		})
	}
}

func retireCrash(t *testing.T, settled bool, at int, after bool) (reached bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged, noKey: true})
		id := w.elsewhere()
		ready := func(int) (*rsa.PrivateKey, error) { return keys()[2], nil }
		w.wrap = func(r *rotator.Rotator) { r.GenerateKey = ready }
		if settled {
			r, closeStore := w.rotator()
			stop := run(t, r)
			await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			closeStore()
		}
		c := &crasher{at: at, after: after, dead: make(chan struct{})}
		w.wrap = func(r *rotator.Rotator) {
			r.GenerateKey = ready
			r.Store, r.Entra, r.Deliverer = crashStore{r.Store, c}, crashEntra{r.Entra, c}, crashDeliverer{r.Deliverer, c}
		}
		gone := func() bool { return w.elsewhere() == "" }
		ask := func(r *rotator.Rotator) {
			if _, err := r.Start(t.Context(), "app-1", retire(id), "a person"); err != nil && !errors.Is(err, errCrash) && !gone() {
				t.Errorf("asked: %v", err)
			}
		}
		r, closeStore := w.rotator()
		ask(r)
		stop := run(t, r)
		for begun := time.Now(); time.Since(begun) < 5*time.Hour && !c.reached(); time.Sleep(time.Minute) {
			if s, err := r.Status(t.Context(), "app-1"); err == nil && gone() && !s.Apps[0].Open {
				break
			}
		}
		stop()
		closeStore()
		reached = c.reached()
		w.wrap = func(r *rotator.Rotator) { r.GenerateKey = ready }
		r, closeStore = w.rotator()
		ask(r)
		stop = run(t, r)
		await(t, r, "app-1", 10*time.Hour, "gone", func(s rotator.AppStatus) bool { return gone() && !s.Open })
		stop()
		closeStore()
		if n := w.patches(); n != 1 {
			t.Errorf("%d PATCH requests; want one, for the first key of ours", n)
		}
		w.letGo(id)
		w.checkTenant()
		if t.Failed() {
			t.Errorf("died at effect %d (%s), after=%v; log:\n%s", at, c.what, after, w.logs.tail())
		}
	})
	return reached
}
