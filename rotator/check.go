package rotator

import (
	"context"
	"errors"
	"slices"
	"time"
)

// scheduledCheck is the check of a cron tick. It returns the apps to start. It has
// failed if the store could not be read or written, be it at one point only.
func (r *Rotator) scheduledCheck(ctx context.Context) (due []string, failed bool) {
	renewed, stale := r.refreshWakes(ctx)
	r.renewing = !renewed && stale == nil
	report, due, err := r.check(ctx, stale)
	if err != nil && ctx.Err() == nil {
		r.log().ErrorContext(ctx, "check failed", "err", err)
	}
	if len(due)+len(report.Attention)+len(report.Held) > 0 {
		r.log().InfoContext(ctx, "check done", "due", len(due), "held", len(report.Held), "attention", len(report.Attention))
	}
	return due, err != nil
}

// renew goes on renewing the due index, a while in each round of the loop, and has a
// check made when that is done.
func (r *Rotator) renew(ctx context.Context) {
	if !r.renewing {
		return
	}
	done, err := r.refreshWakes(ctx)
	if r.renewing = !done && err == nil; r.renewing {
		r.wake()
		return
	}
	if err != nil && ctx.Err() == nil {
		r.log().ErrorContext(ctx, "the due index is not renewed", "err", err) // the check tries again
	}
	r.recheck.Store(true)
	r.wake()
}

// check finds what is due and what needs a look, and deletes keys whose time
// has passed. It returns the apps to start. If the due index could not be brought up to
// the policy in force, which stale says, what is due by the one before is still found.
func (r *Rotator) check(ctx context.Context, stale error) (CheckReport, []string, error) {
	now := r.now().UTC()
	report := CheckReport{At: now, Held: map[string]string{}, Attention: map[string]string{}}
	due, err := r.due(ctx, now)
	err = errors.Join(stale, err, r.forget(ctx, now), r.review(ctx, now, &report))
	if n, countErr := r.Store.CountApps(ctx); countErr == nil {
		report.Apps = n
	} else {
		err = errors.Join(err, countErr)
	}
	var start []string
	for _, app := range due {
		if why := r.held(ctx, app, now); why != "" {
			report.Held[app] = why
			continue
		}
		start = append(start, app)
	}
	if ctx.Err() != nil {
		return report, nil, ctx.Err()
	}
	starting := map[string]bool{}
	for _, app := range start {
		starting[app] = true
	}
	err = errors.Join(err, r.remind(ctx, now, starting))
	if ctx.Err() != nil {
		return report, nil, ctx.Err()
	}
	recorded := r.change(ctx, "", func(rec *Records) error {
		rec.State.LastCheck, rec.State.LastCheckError = now, ""
		if err != nil {
			rec.State.LastCheckError = err.Error()
		} else {
			rec.State.LastGoodCheck = now
		}
		return nil
	})
	err = errors.Join(err, recorded)
	if r.Checked != nil {
		r.Checked(report, err)
	}
	return report, start, err
}

// due lists the apps whose rotation should start.
func (r *Rotator) due(ctx context.Context, now time.Time) ([]string, error) {
	wakes, err := r.Store.Due(ctx, WakeStart, now, 0)
	var apps []string
	for _, w := range wakes {
		apps = append(apps, w.App)
	}
	return apps, err
}

// held tells why a due app would not start; empty: it would.
func (r *Rotator) held(ctx context.Context, name string, now time.Time) string {
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return err.Error()
	}
	state, err := r.state(ctx)
	if err != nil {
		return err.Error()
	}
	err = r.mayStart(ctx, &app, &state, policyOf(&app, r.settings().Defaults), nil, StartRequest{}, bySchedule, now)
	if err != nil && errors.Is(err, ErrRefused) {
		return err.Error()
	}
	return "" // a failure is recorded by the start itself
}

// forget deletes sealed keys that nothing can need any more.
func (r *Rotator) forget(ctx context.Context, now time.Time) error {
	wakes, err := r.Store.Due(ctx, WakeForget, now, batch)
	for _, w := range wakes {
		_, release, ok := r.tryClaim(w.App)
		if !ok {
			continue // being worked on; the next check finds it again
		}
		err = errors.Join(err, r.change(ctx, w.App, func(rec *Records) error {
			if rec.App == nil {
				return nil
			}
			old := func(c Credential) bool {
				return !c.ForgetAt.IsZero() && !now.Before(c.ForgetAt) && rec.App.pendingOf(c.ThumbprintSHA256) == nil
			}
			gone := func(c Credential) {
				rec.Forget = append(rec.Forget, c.ThumbprintSHA256)
				rec.Audit = append(rec.Audit, AuditEntry{At: now, By: bySchedule, What: "sealed key deleted", App: w.App, Thumbprint: c.ThumbprintSHA256})
			}
			if p := rec.App.Previous; p != nil && old(*p) {
				gone(*p)
				rec.App.Previous = nil
			}
			for _, c := range rec.App.Former {
				if old(c) {
					gone(c)
				}
			}
			rec.App.Former = slices.DeleteFunc(rec.App.Former, old)
			return nil
		}))
		release()
	}
	return err
}

// review has every open rotation that waits compared with Entra, and lists
// those that a person should look at.
func (r *Rotator) review(ctx context.Context, now time.Time, report *CheckReport) error {
	open, err := r.Store.Due(ctx, WakeOpen, now.Add(100*365*day), 0)
	for _, w := range open {
		_, release, ok := r.tryClaim(w.App)
		if !ok {
			continue // being worked on right now
		}
		err = errors.Join(err, r.reviewOne(ctx, w.App, now, report))
		release()
	}
	return err
}

func (r *Rotator) reviewOne(ctx context.Context, app string, now time.Time, report *CheckReport) error {
	t, err := r.open(ctx, app)
	if err != nil || t == nil {
		return err
	}
	if f := t.rot.Trouble; f.needsPerson() {
		report.Attention[app] = f.Message
	}
	if t.isLate(now) && report.Attention[app] == "" {
		report.Attention[app] = "is past its last safe date"
	}
	if t.rot.WaitingFor == WaitingPerson {
		report.Attention[app] = "waits for a person's confirmation"
	}
	if !t.needsLook(now) {
		return nil
	}
	report.Continued = append(report.Continued, app)
	return r.change(ctx, app, func(rec *Records) error {
		if rec.Rotation != nil {
			rec.Rotation.WakeAt = now
		}
		return nil
	})
}

// needsLook reports whether a waiting rotation should be compared with Entra
// now rather than when its wait ends.
func (t *turn) needsLook(now time.Time) bool {
	switch t.rot.WaitingFor {
	case WaitingDelivery, WaitingReload, WaitingCommand, WaitingPerson, WaitingOverlap, WaitingEvidence, WaitingPause, WaitingWindow:
		return now.Sub(t.rot.LookedAt) >= lookEvery && (t.rot.WakeAt.IsZero() || t.rot.WakeAt.Sub(now) >= lookEvery)
	}
	// No other wait is as long: it was recorded by a clock that was set back since.
	return t.rot.WakeAt.Sub(now) > day+time.Hour
}

// Check does what a tick of the schedule does: it starts what is due and looks
// at what is open. It does not wait for the ends.
func (r *Rotator) Check(ctx context.Context, by string) (CheckReport, error) {
	report, due, err := r.check(ctx, r.renewWakes(ctx))
	for _, app := range due {
		_, release, ok := r.tryClaim(app)
		if !ok {
			continue
		}
		startErr := r.startUnasked(ctx, app)
		release()
		if startErr != nil {
			report.Attention[app] = startErr.Error()
			continue
		}
		report.Started = append(report.Started, app)
		r.ask(app)
	}
	for _, app := range report.Continued {
		r.ask(app)
	}
	late, lateErr := r.late(ctx)
	for app, why := range late {
		if _, ok := report.Attention[app]; !ok {
			report.Attention[app] = why
		}
	}
	r.log().DebugContext(ctx, "check asked", "by", by)
	return report, errors.Join(err, lateErr)
}

// late lists apps that are held or cannot start, from the due index.
func (r *Rotator) late(ctx context.Context) (map[string]string, error) {
	wakes, err := r.Store.Due(ctx, WakeStart, r.now(), 0)
	late := map[string]string{}
	for _, w := range wakes {
		app, appErr := r.Store.App(ctx, w.App)
		if appErr != nil {
			err = errors.Join(err, appErr)
			continue
		}
		switch {
		case app.Trouble != nil:
			late[w.App] = app.Trouble.Message
		case app.Differs != "":
			late[w.App] = app.Differs
		case app.Hold != "":
			late[w.App] = app.Hold
		}
	}
	return late, err
}

// StartDue starts everything that is due because a person asked, and carries
// on everything that is open. Failures of single apps are joined; the others
// start.
func (r *Rotator) StartDue(ctx context.Context, by string) ([]Rotation, error) {
	if err := r.renewWakes(ctx); err != nil { // as a check does
		return nil, err
	}
	now := r.now()
	open, err := r.Store.Due(ctx, WakeOpen, now.Add(100*365*day), 0)
	if err != nil {
		return nil, err
	}
	due, err := r.Store.Due(ctx, WakeStart, now, 0)
	if err != nil {
		return nil, err
	}
	var rotations []Rotation
	var failed []error
	for _, w := range append(open, due...) {
		rot, err := r.Start(ctx, w.App, StartRequest{sweep: true}, by)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		rotations = append(rotations, rot)
	}
	return rotations, errors.Join(failed...)
}
