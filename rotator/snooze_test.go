package rotator_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// refuseGraph makes the tenant answer 403 to everything but sign-ins.
func (w *world) refuseGraph() {
	w.tenant.Configure(func(e *emulator.Tenant) {
		e.Intercept = func(q emulator.Request) *emulator.Fault {
			if strings.HasPrefix(q.Path, "/v1.0/") {
				return &emulator.Fault{Status: http.StatusForbidden}
			}
			return nil
		}
	})
}

// warnings are the events of an app that somebody should look at, below critical.
func warnings(t *testing.T, r *rotator.Rotator) (n, critical int) {
	t.Helper()
	for _, e := range events(t, r) {
		switch e.Severity {
		case rotator.SeverityWarning:
			n++
		case rotator.SeverityCritical:
			critical++
		case rotator.SeverityInfo:
		}
	}
	return n, critical
}

// TestSnooze holds warnings of a failing app back until the snooze ends, which it does
// by itself; they come then.
func TestSnooze(t *testing.T) {
	bubble(t, "a quiet week", options{mode: rotator.ModeManaged, left: 40 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.refuseGraph()
		stop := run(t, r)
		time.Sleep(2 * time.Hour)
		before, _ := warnings(t, r)
		if before == 0 {
			t.Fatal("a failing app was not told of")
		}
		if err := r.Snooze(t.Context(), "app-1", time.Now().Add(12*24*time.Hour), "p"); err != nil {
			t.Fatal(err)
		}
		days(11) // the 30-day stage passes, and repeats fall due
		if n, critical := warnings(t, r); n != before || critical != 0 {
			t.Errorf("while it was snoozed %d warnings and %d critical events were told, want the %d from before", n, critical, before)
		}
		days(2)
		if n, _ := warnings(t, r); n <= before {
			t.Errorf("after the snooze %d warnings, want more than %d", n, before)
		}
		stages := 0
		for _, e := range told(t, r, rotator.EventExpiring) {
			if e.Stage == "30d" {
				stages++
			}
		}
		if stages == 0 {
			t.Error("the stage that passed while it was snoozed was never told")
		}
		stop()
	})
}

// TestOwnStages announces the stages of the configuration and the end, and no other; a
// restart in between announces nothing again.
func TestOwnStages(t *testing.T) {
	bubble(t, "10 and 2 days", options{mode: rotator.ModeManaged, left: 20 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.ExpiryStages = []time.Duration{10 * 24 * time.Hour, 2 * 24 * time.Hour}
		w.refuseGraph()
		w.outage.Store(true) // in the end the consumer has no certificate that is valid
		stages := func() string {
			t.Helper()
			var list []string
			for _, e := range told(t, r, rotator.EventExpiring) {
				if e.Repeat == 0 {
					list = append(list, e.Stage)
				}
			}
			return strings.Join(list, " ")
		}
		stop := run(t, r)
		days(12)
		if got := stages(); got != "10d" {
			t.Errorf("with 8 days left the stages told are %q", got)
		}
		failed := len(told(t, r, rotator.EventRotationFailed))
		for range 5 {
			stop()
			stop = run(t, r)
			time.Sleep(30 * time.Minute)
		}
		if n := len(told(t, r, rotator.EventRotationFailed)); n != failed {
			t.Errorf("five restarts made %d failures of %d", n, failed)
		}
		days(9)
		if got := stages(); got != "10d 2d expired" {
			t.Errorf("past the end the stages told are %q", got)
		}
		stop()
	})
}
