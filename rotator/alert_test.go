package rotator_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// told lists the events of a kind: severity, stage and repeat of each.
func told(t *testing.T, r *rotator.Rotator, kind rotator.EventKind) []rotator.Event {
	t.Helper()
	var all []rotator.Event
	for _, e := range events(t, r) {
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// TestStages lets an app fail until its certificate has ended: each stage is told
// once, repeats follow the rule, and its recovery is told. An app that rotates on
// its own is never told of.
func TestStages(t *testing.T) {
	bubble(t, "refused for long", options{mode: rotator.ModeManaged, left: 20 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		var mended atomic.Bool
		w.tenant.Configure(func(e *emulator.Tenant) {
			e.Intercept = func(q emulator.Request) *emulator.Fault {
				if strings.HasPrefix(q.Path, "/v1.0/") && !mended.Load() {
					return &emulator.Fault{Status: http.StatusForbidden}
				}
				return nil
			}
		})
		stop := run(w.t, r)
		days(19)
		time.Sleep(3 * time.Hour)
		var stages []string
		for _, e := range told(w.t, r, rotator.EventExpiring) {
			if e.Repeat == 0 {
				stages = append(stages, e.Stage)
			}
			if e.Days == nil || e.NotAfter.IsZero() || e.Summary == "" || e.Next == "" {
				w.t.Errorf("event without dates or next step: %+v", e)
			}
		}
		if got := strings.Join(stages, " "); got != "30d 14d 7d 3d 1d" {
			w.t.Errorf("stages %q, want each once", got)
		}
		open, _, err := r.Alerts(w.t.Context())
		if err != nil || len(open) != 2 {
			w.t.Errorf("open alerts %+v (%v), want two", open, err)
		}
		mended.Store(true)
		await(w.t, r, "app-1", 24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if n := len(told(w.t, r, rotator.EventRecovered)); n != 2 {
			w.t.Errorf("%d recoveries told, want one of the rotation and one of the certificate", n)
		}
		if open, _, err := r.Alerts(w.t.Context()); err != nil || len(open) != 0 {
			w.t.Errorf("open alerts %+v (%v), want none", open, err)
		}
		stop()
	})
	bubble(t, "on its own", options{left: 60 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		days(30)
		if got := told(w.t, r, rotator.EventExpiring); len(got) != 0 {
			w.t.Errorf("an app that rotates on its own was told of: %+v", got)
		}
		stop()
	})
}

// TestStagesMissed has the daemon down while stages pass: of those the most urgent
// is told when it is back, and no other.
func TestStagesMissed(t *testing.T) {
	bubble(t, "down for two weeks", options{mode: rotator.ModeManaged, left: 20 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		w.tenant.Configure(func(e *emulator.Tenant) {
			e.Intercept = func(q emulator.Request) *emulator.Fault {
				if strings.HasPrefix(q.Path, "/v1.0/") {
					return &emulator.Fault{Status: http.StatusForbidden}
				}
				return nil
			}
		})
		stop := run(w.t, r)
		days(2)
		stop()
		days(14) // 14d and 7d pass, four days are left
		stop = run(w.t, r)
		time.Sleep(3 * time.Hour)
		stages := func() string {
			var list []string
			for _, e := range told(w.t, r, rotator.EventExpiring) {
				if e.Repeat == 0 {
					list = append(list, e.Stage)
				}
			}
			return strings.Join(list, " ")
		}
		if got := stages(); got != "30d 7d" {
			w.t.Errorf("stages %q, want the first and the most urgent of those that were missed", got)
		}
		days(2)
		if got := stages(); got != "30d 7d 3d" {
			w.t.Errorf("two days later: %q", got)
		}
		stop()
	})
}

// TestHandOffOverdue lets nobody confirm: the hand-off is told again by the rule,
// and past the last safe date at the highest severity, every day.
func TestHandOffOverdue(t *testing.T) {
	o := options{spec: handOff, left: 50 * 24 * time.Hour, defaults: fast()}
	o.defaults.Overlap = new(14 * 24 * time.Hour)
	o.defaults.RenewBefore = new(45 * 24 * time.Hour)
	bubble(t, "nobody comes", o, func(w *world, r *rotator.Rotator) {
		stop := run(w.t, r)
		await(w.t, r, "app-1", 10*24*time.Hour, "waiting for a person", waitsForPerson)
		days(20)
		ready := told(w.t, r, rotator.EventHandOffReady)
		if n := len(ready); n < 3 || n > 5 {
			w.t.Errorf("the hand-off was told %d times in 20 days, want at once, after a day, then weekly", n)
		}
		if late := told(w.t, r, rotator.EventHandOffOverdue); len(late) != 0 {
			w.t.Errorf("overdue before the last safe date: %+v", late)
		}
		days(24) // two days before the end
		late := told(w.t, r, rotator.EventHandOffOverdue)
		if len(late) < 5 || late[0].Severity != rotator.SeverityCritical || late[0].Next == "" {
			w.t.Fatalf("%d times overdue, want critical and daily in the last week: %+v", len(late), late)
		}
		if n := len(told(w.t, r, rotator.EventHandOffReady)); n > len(ready)+2 { // two weeks until the last safe date
			w.t.Errorf("the hand-off was told %d times, want none beside the one that is overdue", n)
		}
		s, err := r.Status(w.t.Context(), "app-1")
		if err != nil || s.Apps[0].Phase != rotator.PhaseDelivered {
			w.t.Errorf("phase %q (%v): nothing may retire without a confirmation", s.Apps[0].Phase, err)
		}
		stop()
	})
}

// TestAnswers acknowledges and snoozes.
func TestAnswers(t *testing.T) {
	bubble(t, "a person answers", options{mode: rotator.ModeManaged, left: 40 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		t, ctx := w.t, w.t.Context()
		w.tenant.Configure(func(e *emulator.Tenant) {
			e.Intercept = func(q emulator.Request) *emulator.Fault {
				if strings.HasPrefix(q.Path, "/v1.0/") {
					return &emulator.Fault{Status: http.StatusForbidden}
				}
				return nil
			}
		})
		if _, err := r.Ack(ctx, "app-1", "p"); !errors.Is(err, rotator.ErrNotFound) {
			t.Errorf("ack of nothing: %v, want not found", err)
		}
		stop := run(t, r)
		time.Sleep(time.Hour)
		before := len(told(t, r, rotator.EventRotationFailed))
		if acked, err := r.Ack(ctx, "app-1", "p"); err != nil || len(acked) == 0 || before == 0 {
			t.Errorf("acked %+v (%v) of %d events", acked, err, before)
		}
		days(9)
		if n := len(told(t, r, rotator.EventRotationFailed)); n != before {
			t.Errorf("told %d times after it was acknowledged, want %d", n, before)
		}
		if err := r.Snooze(ctx, "app-1", time.Now().Add(365*24*time.Hour), "p"); !errors.Is(err, rotator.ErrRefused) {
			t.Errorf("snooze beyond the last safe date: %v, want a refusal", err)
		}
		if err := r.Snooze(ctx, "app-1", time.Now().Add(24*time.Hour), "p"); err != nil {
			t.Error(err)
		}
		if _, snoozed, err := r.Alerts(ctx); err != nil || snoozed["app-1"].IsZero() {
			t.Errorf("snoozed %v (%v)", snoozed, err)
		}
		stop()
	})
}

// TestAskedAgain has a person start what fails again and again: it stays one failure,
// told once, and is over when it is.
func TestAskedAgain(t *testing.T) {
	bubble(t, "refused", options{mode: rotator.ModeManaged, left: 20 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		var mended atomic.Bool
		w.tenant.Configure(func(e *emulator.Tenant) {
			e.Intercept = func(q emulator.Request) *emulator.Fault {
				if (strings.HasSuffix(q.Path, "/addKey") || q.Method == http.MethodPatch) && !mended.Load() {
					return &emulator.Fault{Status: http.StatusForbidden}
				}
				return nil
			}
		})
		stop := run(w.t, r)
		await(w.t, r, "app-1", time.Hour, "failing", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		for range 3 {
			if _, err := r.Start(w.t.Context(), "app-1", rotator.StartRequest{}, "person"); err != nil {
				w.t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		stop()
		stop = run(w.t, r)
		time.Sleep(time.Minute)
		failed, over := told(w.t, r, rotator.EventRotationFailed), told(w.t, r, rotator.EventRecovered)
		if len(failed) != 1 || len(over) != 0 {
			w.t.Errorf("told of %d failures and %d recoveries, want one and none:\n%+v\n%+v", len(failed), len(over), failed, over)
		}
		mended.Store(true)
		if _, err := r.Start(w.t.Context(), "app-1", rotator.StartRequest{}, "person"); err != nil {
			w.t.Fatal(err)
		}
		await(w.t, r, "app-1", 24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if over := told(w.t, r, rotator.EventRecovered); len(over) != 2 {
			w.t.Errorf("told of recoveries: %+v, want one of the rotation and one of the certificate", over)
		}
		stop()
	})
}
