package rotator

import (
	"context"
	"fmt"
	"slices"
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
	if at := r.attentionAt(app, rot); !at.IsZero() {
		add(WakeAttention, at)
	}
	if rot != nil && !rot.Phase.IsEnd() {
		add(WakeOpen, rot.StartedAt)
		if !rot.WakeAt.IsZero() {
			add(WakeContinue, rot.WakeAt)
		}
		if rot.WakeAt.IsZero() || rot.WaitingFor == WaitingPerson {
			add(WakeIdle, atOnce())
		}
		return wakes
	}
	if at := r.startAt(app); !at.IsZero() {
		add(WakeStart, at)
	} else {
		add(WakeIdle, atOnce())
	}
	return wakes
}

// atOnce is the time of an entry that does not wait for one.
func atOnce() time.Time { return time.Unix(0, 0).UTC() }

// attentionAt is from when on a person should look at an app, which has the open
// rotation or none: [atOnce], or when it becomes late. Zero: never, as things are.
func (r *Rotator) attentionAt(app *App, rot *Rotation) time.Time {
	trouble, lastSafe := app.Trouble, time.Time{}
	policy := policyOf(app, r.settings().Defaults)
	open := rot != nil && !rot.Phase.IsEnd()
	switch {
	case open:
		trouble = rot.Trouble
		if rot.WaitingFor == WaitingPerson || !rot.Missing.IsZero() {
			return atOnce()
		}
		if rot.Old != nil && rot.Confirmation == "" {
			lastSafe = lastSafeDate(rot.Old.NotAfter, policy)
		}
	case app.Current != nil && app.Mode == ModeMonitor:
		lastSafe = app.Current.NotAfter.Add(-slices.Max(append(r.stages(), 0)))
	case app.Current != nil:
		lastSafe = lastSafeStart(app.Current.NotAfter, policy, app.ConfirmRule())
	}
	_, atRisk := app.preflightWarnings()
	unconfirmed := slices.ContainsFunc(app.Removals, func(m Removal) bool {
		return m.IsPending() && (m.GivenUp || !m.ReportedAt.IsZero())
	})
	missing := app.Listed != nil && !app.Listed.Missing.IsZero()
	if missing || unconfirmed || r.lacksDelivery(app) || atRisk || trouble.needsPerson() ||
		app.Hold != "" || app.Differs != "" || len(app.Orphans) > 0 {
		return atOnce()
	}
	return lastSafe
}

// startAt is when the app's next rotation is due, after pauses of its own.
// Zero: never, for it is only watched, or has no delivery.
func (r *Rotator) startAt(app *App) time.Time {
	if app.Mode == ModeMonitor || r.lacksDelivery(app) {
		return time.Time{}
	}
	policy := policyOf(app, r.settings().Defaults)
	at := app.AddedAt // without a certificate, or with one that was given up: at once
	if app.Current != nil && app.givenUp(r.entraNow(app.Tenant)) == nil {
		at = app.Current.dueAt(policy, app.Name)
	}
	if app.Trouble != nil && app.Trouble.RetryAt.After(at) {
		at = app.Trouble.RetryAt
	}
	return at
}

// renewFor bounds how long the due index is renewed at a time, so that everything else
// goes on: with a million apps all of it takes minutes.
const renewFor = time.Second

// refreshWakes renews the due index once the configuration's defaults have
// changed, for they are part of every date in it, and returns false if there is more to
// do: it goes on where it was, also after a restart. Only entries that differ are
// written. Until then those of the defaults before are in the place of the others.
func (r *Rotator) refreshWakes(ctx context.Context) (done bool, err error) {
	digest := r.defaultsDigest()
	state, err := r.state(ctx)
	if err != nil || state.Defaults == digest {
		return err == nil, err
	}
	after := state.Renewal.After
	if state.Defaults != "" || state.Renewal.Defaults != digest {
		after = ""
		// Until it is finished the index is neither that of these defaults nor that of
		// the ones before, should they come back.
		if err := r.noteRenewal(ctx, "", Renewal{Defaults: digest}); err != nil {
			return false, err
		}
	}
	for began := r.now(); ; {
		apps, err := r.Store.Apps(ctx, after, batch)
		if err != nil {
			return false, err
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
		switch {
		case err != nil:
			return false, fmt.Errorf("renew due dates: %w", err)
		case len(apps) < batch:
			return true, r.noteRenewal(ctx, digest, Renewal{})
		case r.now().Sub(began) >= renewFor:
			return false, r.noteRenewal(ctx, "", Renewal{Defaults: digest, After: after})
		}
	}
}

// renewWakes is refreshWakes to its end.
func (r *Rotator) renewWakes(ctx context.Context) error {
	done, err := r.refreshWakes(ctx)
	for !done && err == nil {
		done, err = r.refreshWakes(ctx)
	}
	return err
}

// noteRenewal records which defaults the due index is of, and how far it is.
func (r *Rotator) noteRenewal(ctx context.Context, defaults string, renewal Renewal) error {
	err := r.write(ctx, "", func(rec *Records) error {
		rec.State.Defaults, rec.State.Renewal = defaults, renewal
		return nil
	})
	if err != nil {
		return fmt.Errorf("renew due dates: %w", err)
	}
	return nil
}
