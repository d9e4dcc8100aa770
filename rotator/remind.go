package rotator

import (
	"context"
	"errors"
	"slices"
	"time"
)

// remind tells of what lasts: stages of certificates that nothing replaces,
// hand-offs that are overdue, and again what was told some time ago. starting
// are apps whose rotation starts right now; theirs wait for the next check.
func (r *Rotator) remind(ctx context.Context, now time.Time, starting map[string]bool) error {
	wakes, err := r.Store.Due(ctx, WakeAlert, now, 0)
	for _, w := range wakes {
		if starting[w.App] {
			continue
		}
		err = errors.Join(err, r.change(ctx, w.App, func(rec *Records) error {
			if rec.App != nil {
				r.remindApp(rec, now)
			}
			return nil
		}))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	state, stateErr := r.Store.State(ctx)
	if stateErr != nil || len(state.Alerts) == 0 {
		return errors.Join(err, stateErr)
	}
	return errors.Join(err, r.change(ctx, "", func(rec *Records) error {
		rec.State.Alerts = r.repeat(rec, rec.State.Alerts, nil, now)
		return nil
	}))
}

// remindApp is remind for one app.
func (r *Rotator) remindApp(rec *Records, now time.Time) {
	told := map[EventKind]bool{}
	if e, ok := r.expiring(rec, now); ok {
		rec.Events = append(rec.Events, e)
		told[EventExpiring] = true
	}
	if e, ok := r.undelivered(rec); ok {
		rec.Events = append(rec.Events, e)
		told[EventNoDelivery] = true
	}
	if e, ok := r.overdue(rec, now); ok {
		rec.Events = append(rec.Events, e)
		told[EventHandOffOverdue] = true
	}
	rec.App.Alerts = r.repeat(rec, rec.App.Alerts, told, now)
	rec.App.AlertsAt = now
}

// repeat tells again of alerts whose time has come, except kinds that are told
// anew.
func (r *Rotator) repeat(rec *Records, alerts []Alert, told map[EventKind]bool, now time.Time) []Alert {
	overdue := told[EventHandOffOverdue] || slices.ContainsFunc(alerts, func(a Alert) bool { return a.Kind == EventHandOffOverdue })
	for i := range alerts {
		a := &alerts[i]
		if told[a.Kind] || !r.holds(a.Kind, rec, a.Thumbprint) {
			continue
		}
		var rot *Rotation
		if rec.App != nil && rec.Rotation != nil && !rec.Rotation.Phase.IsEnd() {
			rot = rec.Rotation
		}
		if now.Before(r.tellAt(a, rec.App, rot)) {
			continue
		}
		if a.Kind == EventHandOffReady && overdue {
			a.ToldAt = now // the sharper one says it
			continue
		}
		e := r.newEvent(rec.App, rot, a.Kind, a.Severity, a.Summary, a.Next)
		e.Stage = a.Stage
		if !a.ToldAt.IsZero() {
			a.Repeats++
			e.Repeat = a.Repeats
			e.Summary = "still, since " + a.Since.Format(time.DateOnly) + ": " + a.Summary
		}
		if rec.App != nil {
			e.dated(rec.App.Current, now)
		}
		a.Event, a.ToldAt = e.ID, now
		if r.ackOver(a, rec.App, rot, now) {
			a.AckedAt, a.AckedBy = time.Time{}, ""
		}
		rec.repeats = append(rec.repeats, e)
	}
	return alerts
}

// ackOver reports whether a person's answer has lost its force.
func (r *Rotator) ackOver(a *Alert, app *App, rot *Rotation, now time.Time) bool {
	if a.AckedAt.IsZero() {
		return false
	}
	lastSafe := time.Time{}
	if app != nil {
		lastSafe = r.lastSafeOf(app, rot)
	}
	end := ackEnd(a.AckedAt, lastSafe)
	return !end.IsZero() && !now.Before(end)
}

// afterOutage lets everything go on, within a minute, of a tenant whose outage is
// over, so that its recovery is one message too.
func (r *Rotator) afterOutage(ctx context.Context) error {
	r.mu.Lock()
	tenants := r.outages
	r.outages = nil
	r.mu.Unlock()
	if len(tenants) == 0 {
		return nil
	}
	now := r.now().UTC()
	open, err := r.Store.Due(ctx, WakeOpen, now.Add(100*365*day), 0)
	if err != nil {
		return err
	}
	for len(open) > 0 {
		part := open[:min(batch, len(open))]
		open = open[len(part):]
		names := make([]string, len(part))
		for i, w := range part {
			names[i] = w.App
		}
		err = errors.Join(err, r.writeAll(ctx, names, func(name string, rec *Records) error {
			rot := rec.Rotation
			if rec.App == nil || rot == nil || !tenants[rec.App.Tenant] || rot.Trouble == nil ||
				rot.Trouble.Class != ClassWait && rot.Trouble.Class != ClassRetry {
				return nil
			}
			if at := now.Add(jitterOf(name, time.Minute)); rot.WakeAt.After(at) {
				rot.WakeAt = at
				rec.Wakes = r.wakes(rec.App, rot)
			}
			return nil
		}))
	}
	return err
}

// outageEvery bounds how often a tenant's apps are woken together.
const outageEvery = 5 * time.Minute

// noteOutageOver notes that an app of the tenant that had long failed by an
// outage goes on.
func (r *Rotator) noteOutageOver(tenant string) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.outageOver[tenant]; ok && now.Sub(last) < outageEvery {
		return
	}
	if r.outageOver == nil {
		r.outageOver = map[string]time.Time{}
	}
	if r.outages == nil {
		r.outages = map[string]bool{}
	}
	r.outageOver[tenant], r.outages[tenant] = now, true
}

// noteStore keeps in memory whether the store can be written, and tells what could
// not be past it.
func (r *Rotator) noteStore(err error, events []Event) {
	for _, refusal := range []error{ErrExists, ErrNotFound, ErrUsage, ErrRefused, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, refusal) {
			return // the store works: it said no
		}
	}
	now := r.now().UTC()
	r.mu.Lock()
	if err == nil {
		r.broken, r.brokenAt = "", time.Time{}
		r.mu.Unlock()
		return
	}
	if r.broken == "" {
		r.brokenAt = now
	}
	r.broken = err.Error()
	r.mu.Unlock()
	if r.Alarm == nil {
		return
	}
	failing := r.newEvent(nil, nil, EventStoreFailing, SeverityCritical, "the store cannot be written, so nothing is changed in Entra: "+err.Error(),
		"see whether the disk is full or read-only; everything goes on by itself afterwards")
	r.Alarm(append(events, failing)...)
}

// storeTrouble returns why the store cannot be written, and since when; empty if
// the last attempt succeeded.
func (r *Rotator) storeTrouble() (string, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken, r.brokenAt
}
