package rotator_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// handOff lets a person carry the app's pairs to its consumer.
func handOff(s *rotator.AppSpec) {
	s.Deliveries = []rotator.Delivery{{Kind: rotator.DeliverHandOff}}
	s.HandOff = rotator.HandOffText{Consumer: "CloudM", Steps: []string{"Upload {file}"}}
}

// person carries what waits to the app's consumer, as somebody would: fetch the
// file, give it to the consumer, confirm with the code. A process that dies in
// between makes them start again.
func (w *world) person(r *rotator.Rotator, name string) {
	w.t.Helper()
	given, err := r.HandOver(w.t.Context(), name, rotator.HandOverRequest{Again: true}, "a person")
	if err == nil {
		for _, one := range w.apps {
			if one.name == name {
				err = os.WriteFile(one.target, given.PFX, 0o600)
			}
		}
	}
	if err == nil {
		_, err = r.Confirm(w.t.Context(), name, given.Credential.ThumbprintSHA1[:8], "seen", "a person")
	}
	if err != nil && !errors.Is(err, errCrash) {
		w.t.Errorf("a person brings the pair to the consumer: %v", err)
	}
}

// TestHandOff goes from the announcement to the end: nothing retires before a
// person has fetched the pair and confirmed it, whoever asks.
func TestHandOff(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{spec: handOff})
		r, closeStore := w.rotator()
		defer func() { closeStore(); w.checkTenant() }()
		if _, err := r.HandOff(t.Context(), "app-1"); !errors.Is(err, rotator.ErrRefused) {
			t.Errorf("hand-off without a rotation: %v, want refused", err)
		}
		stop := run(t, r)
		s := await(t, r, "app-1", time.Hour, "waiting for a person", waitsForPerson)
		old := *s.App.Current
		if s.Deadline.IsZero() || s.Deadline.After(old.NotAfter) {
			t.Errorf("deadline %s, want one before %s", s.Deadline, old.NotAfter)
		}
		h, err := r.HandOff(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		if h.Credential.ThumbprintSHA256 != s.Rotation.New.ThumbprintSHA256 || h.Fetched != nil || !h.Deadline.Equal(s.Deadline) {
			t.Errorf("hand-off of %s, fetched %v, deadline %s; want the new pair %s, not fetched, %s",
				h.Credential.ThumbprintSHA256, h.Fetched, h.Deadline, s.Rotation.New.ThumbprintSHA256, s.Deadline)
		}
		code := h.Credential.ThumbprintSHA1[:8]
		if _, err := r.Confirm(t.Context(), "app-1", code, "", "a person"); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "nobody has fetched") {
			t.Errorf("confirm before anybody fetched the pair: %v, want refused", err)
		}

		// A sweep, a person's order, a restart and weeks change nothing.
		if _, err := r.StartDue(t.Context(), "a person"); err != nil {
			t.Error(err)
		}
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "a person"); err != nil {
			t.Error(err)
		}
		stop()
		closeStore()
		r, closeStore = w.rotator()
		stop = run(t, r)
		time.Sleep(10 * 24 * time.Hour)
		s = await(t, r, "app-1", time.Hour, "still waiting", waitsForPerson)
		if s.App.Current.ThumbprintSHA256 != old.ThumbprintSHA256 || len(w.tenant.KeyCredentials(w.apps[0].clientID)) != 3 {
			t.Errorf("the old certificate left before anybody confirmed: current %+v", s.App.Current)
		}

		first, err := r.HandOver(t.Context(), "app-1", rotator.HandOverRequest{}, "ann")
		if err != nil {
			t.Fatal(err)
		}
		if first.Password != password {
			t.Errorf("the first hand-over shows %q, want the consumer's password", first.Password)
		}
		pair, err := encoder{}.Decode(first.PFX, password)
		if err != nil || pair.Thumbprint() != h.Credential.ThumbprintSHA256 {
			t.Errorf("the PFX holds %s (%v), want %s", pair.Thumbprint(), err, h.Credential.ThumbprintSHA256)
		}
		second, err := r.HandOver(t.Context(), "app-1", rotator.HandOverRequest{Encoding: "legacy-des"}, "bob")
		if err != nil || second.Password != "" || second.Fetched.By != "ann" {
			t.Errorf("second hand-over: password shown %v, fetched by %s, %v; want none, ann", second.Password != "", second.Fetched.By, err)
		}
		if pair, err = (encoder{}).Decode(second.PFX, password); err != nil || pair.Thumbprint() != h.Credential.ThumbprintSHA256 {
			t.Errorf("the PFX for old readers holds %s (%v)", pair.Thumbprint(), err)
		}
		third, err := r.HandOver(t.Context(), "app-1", rotator.HandOverRequest{Again: true}, "bob")
		if err != nil || third.Password != password {
			t.Errorf("again: password shown %v, %v; want it shown", third.Password != "", err)
		}
		if _, err := r.HandOver(t.Context(), "app-1", rotator.HandOverRequest{Encoding: "jks"}, "bob"); !errors.Is(err, rotator.ErrUsage) {
			t.Errorf("unknown encoding: %v, want usage", err)
		}
		if got := audited(t, r, "hand-off"); got != "ann: hand-off fetched\nbob: hand-off fetched\nbob: hand-off fetched and its password shown again\n" {
			t.Errorf("audit:\n%s", got)
		}
		if err := os.WriteFile(w.apps[0].target, first.PFX, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Confirm(t.Context(), "app-1", code, "test was green", "ann"); err != nil {
			t.Fatal(err)
		}
		s = await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if s.Rotation.Confirmation != rotator.ConfirmPerson || s.Rotation.Note != "test was green" {
			t.Errorf("confirmed %q with note %q", s.Rotation.Confirmation, s.Rotation.Note)
		}
		stop()
	})
}

// TestHandOffUnconfirmed: nobody confirms. Both certificates stay until the old
// one has expired, then it goes and the rotation ends.
func TestHandOffUnconfirmed(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{spec: handOff, left: 5 * 24 * time.Hour})
		w.outage.Store(true) // the consumer will be left with an expired certificate
		r, closeStore := w.rotator()
		defer func() { closeStore(); w.checkTenant() }()
		stop := run(t, r)
		s := await(t, r, "app-1", time.Hour, "waiting for a person", waitsForPerson)
		end := s.App.Current.NotAfter
		time.Sleep(time.Until(end) - time.Minute)
		if s = await(t, r, "app-1", time.Minute, "waiting", waitsForPerson); !s.Late || len(w.tenant.KeyCredentials(w.apps[0].clientID)) != 3 {
			t.Errorf("a minute before the end: late %v, %d certificates; want late, and both of ours", s.Late, len(w.tenant.KeyCredentials(w.apps[0].clientID)))
		}
		s = await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if s.Rotation.Confirmation != "never" {
			t.Errorf("confirmed %q, want never", s.Rotation.Confirmation)
		}
		stop()
	})
}

// TestHandOffAnnounced: the event is in the outbox with the phase that makes the
// rotation wait, once, and names what to type.
func TestHandOffAnnounced(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{spec: handOff})
		r, closeStore := w.rotator()
		defer closeStore()
		stop := run(t, r)
		await(t, r, "app-1", time.Hour, "waiting for a person", waitsForPerson)
		time.Sleep(2 * time.Hour)
		stop()
		var ready []rotator.Event
		for _, e := range events(t, r) {
			if e.Kind == rotator.EventHandOffReady {
				ready = append(ready, e)
			}
		}
		if len(ready) != 1 || ready[0].Severity != rotator.SeverityWarning || !strings.Contains(ready[0].Summary, "CloudM") || !strings.Contains(ready[0].Next, "rotate handoff app-1") {
			t.Errorf("events %+v, want one that names CloudM and the command", ready)
		}
	})
}

// TestHandOffRule: what is handed to a person is never confirmed by time.
func TestHandOffRule(t *testing.T) {
	app := rotator.App{Deliveries: []rotator.Delivery{{Kind: rotator.DeliverHandOff}}}
	for rule, want := range map[string]string{"": rotator.ConfirmPerson, rotator.ConfirmAutomatic: rotator.ConfirmPerson, rotator.ConfirmCommand: rotator.ConfirmCommand} {
		app.Confirm.Rule = rule
		if got := app.ConfirmRule(); got != want {
			t.Errorf("rule %q with a hand-off is %q, want %q", rule, got, want)
		}
	}
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{spec: handOff})
		r, closeStore := w.rotator()
		defer closeStore()
		edit := rotator.Edit{Confirm: &rotator.Confirmation{Rule: rotator.ConfirmAutomatic}}
		if _, _, err := r.Edit(t.Context(), "app-1", edit, "test"); !errors.Is(err, rotator.ErrUsage) {
			t.Errorf("automatic with a hand-off: %v, want usage", err)
		}
	})
}

func waitsForPerson(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPerson }

// audited lists who did what, of entries of the audit trail that begin so.
func audited(t *testing.T, r *rotator.Rotator, prefix string) string {
	t.Helper()
	db, ok := r.Store.(*store.Store)
	if !ok {
		t.Fatalf("the store is a %T", r.Store)
	}
	var list strings.Builder
	for e, err := range db.Audit(t.Context(), "", time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.What, prefix) {
			fmt.Fprintf(&list, "%s: %s\n", e.By, e.What)
		}
	}
	return list.String()
}

// events are those of the outbox that nobody has sent yet.
func events(t *testing.T, r *rotator.Rotator) []rotator.Event {
	t.Helper()
	db, ok := r.Store.(*store.Store)
	if !ok {
		t.Fatalf("the store is a %T", r.Store)
	}
	queued, err := db.EventsAfter(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]rotator.Event, len(queued))
	for i, q := range queued {
		list[i] = q.Event
	}
	return list
}

// TestNextStep: who is waited for reads what to do, with the right pair.
func TestNextStep(t *testing.T) {
	const fetchNew, confirmNew = "fetch the new pair for the consumer: rotate handoff a --out DIR", "when the consumer uses the new file, type  rotate confirm a CODE "
	const fetchOld, confirmOld = "fetch the previous pair for the consumer: rotate handoff a --out DIR", "when the consumer uses the previous file, type  rotate confirm a CODE "
	for name, test := range map[string]struct {
		phase     rotator.Phase
		delivery  string
		handedOut []rotator.Thumbprint
		want      string
	}{
		"nobody has fetched it":     {rotator.PhaseDelivered, "handoff", nil, fetchNew},
		"fetched":                   {rotator.PhaseDelivered, "handoff", []rotator.Thumbprint{"new"}, confirmNew},
		"a file":                    {rotator.PhaseDelivered, "file /srv/app.pfx", nil, confirmNew},
		"back":                      {rotator.PhaseRollingBack, "file /srv/app.pfx", nil, confirmOld},
		"back, nobody had the new":  {rotator.PhaseRollingBack, "handoff", nil, confirmOld},
		"back, somebody had it":     {rotator.PhaseRollingBack, "handoff", []rotator.Thumbprint{"new"}, fetchOld},
		"back, and the old is back": {rotator.PhaseRollingBack, "handoff", []rotator.Thumbprint{"new", "old"}, confirmOld},
	} {
		t.Run(name, func(t *testing.T) {
			rot := rotator.Rotation{
				App: "a", Phase: test.phase, WaitingFor: rotator.WaitingPerson,
				Old: &rotator.Credential{ThumbprintSHA256: "old"}, New: rotator.Credential{ThumbprintSHA256: "new"},
				Deliveries: []rotator.DeliveryResult{{Name: test.delivery}},
			}
			for _, pair := range test.handedOut {
				rot.HandOvers = append(rot.HandOvers, rotator.HandOver{Thumbprint: pair})
			}
			if got := rot.NextStep(); !strings.HasPrefix(got, test.want) {
				t.Errorf("NextStep = %q, want %q", got, test.want)
			}
			rot.WaitingFor = rotator.WaitingOverlap
			if got := rot.NextStep(); got != "" {
				t.Errorf("NextStep of the overlap = %q", got)
			}
		})
	}
}
