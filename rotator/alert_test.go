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
