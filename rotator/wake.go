package rotator

import (
	"context"
	"fmt"
	"time"
)

// wakes are an app's entries in the due index: a function of its records.
func (r *Rotator) wakes(app *App, rot *Rotation) []Wake {
	var wakes []Wake
	add := func(kind WakeKind, at time.Time) {
		wakes = append(wakes, Wake{Kind: kind, At: at, App: app.Name})
	}
	forget := time.Time{}
	earliest := func(c Credential) {
		if app.pendingOf(c.ThumbprintSHA256) != nil {
			return // its key is needed until the removal is settled
		}
		if !c.ForgetAt.IsZero() && (forget.IsZero() || c.ForgetAt.Before(forget)) {
			forget = c.ForgetAt
		}
	}
	if app.Previous != nil {
		earliest(*app.Previous)
	}
	for _, c := range app.Former {
		earliest(c)
	}
	if !forget.IsZero() {
		add(WakeForget, forget)
	}
	look := time.Time{}
	for i := range app.Removals {
		if m := &app.Removals[i]; m.IsPending() && !m.LookAt.IsZero() && (look.IsZero() || m.LookAt.Before(look)) {
			look = m.LookAt
		}
	}
	if !look.IsZero() {
		add(WakeRemoval, look)
	}
	if at := r.alertAt(app, rot); !at.IsZero() {
		add(WakeAlert, at)
	}
	if rot != nil && !rot.Phase.IsEnd() {
		add(WakeOpen, rot.StartedAt)
		if !rot.WakeAt.IsZero() {
			add(WakeContinue, rot.WakeAt)
		}
		return wakes
	}
	if at := r.startAt(app); !at.IsZero() {
		add(WakeStart, at)
	}
	return wakes
}

// startAt is when the app's next rotation is due, after pauses of its own.
// Zero: never, for it is only watched, or has no delivery.
func (r *Rotator) startAt(app *App) time.Time {
	if app.Mode == ModeMonitor || r.lacksDelivery(app) {
		return time.Time{}
	}
	policy := policyOf(app, r.settings().Defaults)
	at := app.AddedAt // without a certificate: at once
	if app.Current != nil {
		at = app.Current.dueAt(policy, app.Name)
	}
	if app.Trouble != nil && app.Trouble.RetryAt.After(at) {
		at = app.Trouble.RetryAt
	}
	return at
}

// refreshWakes rebuilds the due index once the configuration's defaults have
// changed: they are part of every date in it.
func (r *Rotator) refreshWakes(ctx context.Context) error {
	digest := r.defaultsDigest()
	state, err := r.state(ctx)
	if err != nil || state.Defaults == digest {
		return err
	}
	if state.Defaults != "" {
		// If this is not finished, the index is neither that of these defaults nor
		// that of the ones before, should they come back.
		err := r.write(ctx, "", func(rec *Records) error {
			rec.State.Defaults = ""
			return nil
		})
		if err != nil {
			return fmt.Errorf("renew due dates: %w", err)
		}
	}
	after := ""
	for {
		apps, err := r.Store.Apps(ctx, after, batch)
		if err != nil {
			return err
		}
		names := make([]string, len(apps))
		for i, app := range apps {
			names[i], after = app.Name, app.Name
		}
		err = r.writeAll(ctx, names, func(_ string, rec *Records) error {
			if rec.App != nil {
				rec.Wakes = r.wakes(rec.App, rec.Rotation)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("renew due dates: %w", err)
		}
		if len(apps) < batch {
			break
		}
	}
	return r.write(ctx, "", func(rec *Records) error {
		rec.State.Defaults = digest
		return nil
	})
}
