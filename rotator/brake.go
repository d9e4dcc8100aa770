package rotator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// state reads what holds for the whole store. A store that is a copy, or was
// restored, is read only until a person says resume.
func (r *Rotator) state(ctx context.Context) (State, error) {
	state, err := r.Store.State(ctx)
	if err != nil {
		return State{}, err
	}
	if moved, how := r.Store.Moved(); moved {
		state.ReadOnly = true
		state.Stopped = "the store is a copy or was restored (" + how + "); another rotate may be using the original"
	}
	return state, nil
}

// Pause stops new starts, deliveries and retirements of one app, or with an
// empty name of all, until the instant. It ends by itself before the last safe
// date of each app; alerts go on.
func (r *Rotator) Pause(ctx context.Context, app string, until time.Time, by string) error {
	now := r.now().UTC()
	if !until.After(now) {
		return usagef("pause until %s: that is not in the future", until.Format(time.RFC3339))
	}
	return r.change(ctx, app, func(rec *Records) error {
		switch {
		case app == "":
			rec.State.PausedUntil = until.UTC()
		case rec.App == nil:
			return fmt.Errorf("app %s: %w", app, ErrNotFound)
		default:
			rec.App.PausedUntil = until.UTC()
		}
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "paused", App: app, Note: "until " + until.UTC().Format(time.RFC3339)})
		return nil
	})
}

// Resume ends a pause, a stop and a hold: of one app, or with an empty name of
// the whole store.
//
// A store that is a copy or was restored is resumed only if every app's stored
// pair still gets a token and, where it can be read, the list agrees; what
// differs is returned and nothing is resumed. With holdDiffering the others go
// on: nothing is written for an app that differs until it is resumed by its name,
// which compares it again.
func (r *Rotator) Resume(ctx context.Context, app string, holdDiffering bool, by string) ([]string, error) {
	if app != "" {
		return r.resumeApp(ctx, app, by)
	}
	state, err := r.state(ctx)
	if err != nil {
		return nil, err
	}
	var seen []string
	if state.ReadOnly {
		var differing []mismatch
		if seen, differing, err = r.verifyAll(ctx); err != nil {
			return seen, err
		}
		if len(differing) > 0 && !holdDiffering {
			return seen, refusedf("the store stays read only, for it differs from Entra: %v"+
				"; correct each app (app remove, then app add with the file that the consumer uses), then resume again; or let all others go on: rotate resume --all --hold-differing", joined(differing))
		}
		// Before anything may be written.
		for _, d := range differing {
			if err := r.holdDiffering(ctx, d, by); err != nil {
				return seen, err
			}
			seen = append(seen, "app "+d.app+" is held, it differs from Entra: "+d.err.Error())
		}
		if err := r.Store.Settle(ctx); err != nil {
			return seen, err
		}
	}
	err = r.change(ctx, "", func(rec *Records) error {
		rec.State.PausedUntil, rec.State.Stopped, rec.State.ReadOnly = time.Time{}, "", false
		rec.State.StoppedAt, rec.State.FixStreak = time.Time{}, nil
		rec.Audit = append(rec.Audit, AuditEntry{At: r.now().UTC(), By: by, What: "resumed", Note: state.Stopped})
		return nil
	})
	if err != nil {
		return seen, err
	}
	return append(seen, "the store goes on"), r.wakeHeld(ctx)
}

// resumeApp ends what holds one app. One that differed from Entra must agree now.
func (r *Rotator) resumeApp(ctx context.Context, name, by string) ([]string, error) {
	app, err := r.Store.App(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("app %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if app.Differs != "" {
		if err := r.verify(ctx, &app); err != nil {
			return nil, refusedf("%v; app remove, then app add with the file that the consumer uses", err)
		}
	}
	now := r.now().UTC()
	err = r.change(ctx, name, func(rec *Records) error {
		if rec.App == nil {
			return fmt.Errorf("app %s: %w", name, ErrNotFound)
		}
		rec.App.PausedUntil, rec.App.Hold, rec.App.Trouble = time.Time{}, "", nil
		if app.Differs != "" { // else nobody compared
			rec.App.Differs = ""
		}
		if rec.Rotation != nil {
			rec.Rotation.WakeAt = now
			rec.Rotation.Seq++
		}
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "resumed", App: name})
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.ask(name)
	return []string{"app " + name + " goes on"}, nil
}

// mismatch is what Entra knows otherwise than the store.
type mismatch struct {
	app string
	err error
}

func joined(all []mismatch) error {
	var errs []error
	for _, d := range all {
		errs = append(errs, d.err)
	}
	return errors.Join(errs...)
}

// holdDiffering keeps one app from being written to.
func (r *Rotator) holdDiffering(ctx context.Context, d mismatch, by string) error {
	return r.change(ctx, d.app, func(rec *Records) error {
		if rec.App == nil {
			return nil // it was removed meanwhile
		}
		rec.App.Differs = "it differed from Entra when the store was resumed: " + d.err.Error()
		rec.Audit = append(rec.Audit, AuditEntry{At: r.now().UTC(), By: by, What: "held", App: d.app, Note: d.err.Error()})
		return nil
	})
}

// differsNext is what to do about an app that differs.
func (a *App) differsNext() string {
	return "rotate app remove " + a.Name + ", then app add with the file that the consumer uses; or, when it agrees again, rotate resume " + a.Name
}

// wakeHeld lets every open rotation go on that a pause or a stop held.
func (r *Rotator) wakeHeld(ctx context.Context) error {
	now := r.now().UTC()
	open, err := r.Store.Due(ctx, WakeOpen, now.Add(100*365*day), 0)
	for _, w := range open {
		err = errors.Join(err, r.change(ctx, w.App, func(rec *Records) error {
			if rec.Rotation != nil && (rec.Rotation.WaitingFor == WaitingPause || rec.Rotation.WaitingFor == WaitingRetry) {
				rec.Rotation.WakeAt = now
			}
			return nil
		}))
	}
	r.wake()
	return err
}

// verifyAll compares every app's stored pair with Entra. What was held before and
// agrees now goes on with the others.
func (r *Rotator) verifyAll(ctx context.Context) (seen []string, differing []mismatch, err error) {
	for app, err := range r.eachApp(ctx) {
		if err != nil {
			return seen, nil, err
		}
		name := app.Name
		if err := r.verify(ctx, app); err != nil {
			if ctx.Err() != nil {
				return seen, nil, ctx.Err() // says nothing about the app
			}
			differing = append(differing, mismatch{name, err})
			continue
		}
		if app.Differs != "" {
			err := r.change(ctx, name, func(rec *Records) error {
				if rec.App != nil {
					rec.App.Differs = ""
				}
				return nil
			})
			if err != nil {
				return seen, nil, err
			}
		}
		seen = append(seen, "app "+name+": its stored certificate gets a token and nothing differs")
	}
	return seen, differing, nil
}

// verify compares one app's stored pair with Entra.
func (r *Rotator) verify(ctx context.Context, app *App) error {
	if app.Current == nil || app.Mode == ModeMonitor {
		return nil
	}
	if err := r.checkHosts(ctx, app.Tenant); err != nil {
		return err
	}
	pair, err := r.Store.KeyPair(ctx, app.Current.ThumbprintSHA256)
	if err != nil {
		return fmt.Errorf("app %s: %w", app.Name, err)
	}
	if _, err := r.settings().Entra.SignIn(ctx, app.registration(), pair, nil); err != nil && reasonOf(err) != ReasonBlocked {
		return fmt.Errorf("app %s: its stored certificate gets no token: %w", app.Name, err)
	}
	t := &turn{r: r, app: *app, rot: Rotation{App: app.Name, New: *app.Current}, policy: policyOf(app, r.settings().Defaults)}
	if app.Rotation != "" {
		if t.rot, err = r.Store.Rotation(ctx, app.Rotation); err != nil {
			return fmt.Errorf("app %s: %w", app.Name, err)
		}
	}
	listing, err := r.settings().Entra.Keys(ctx, t.access(pair), true)
	if reasonOf(err) == ReasonForbidden {
		return nil
	}
	if err != nil {
		return fmt.Errorf("app %s: read its certificates: %w", app.Name, err)
	}
	if err := r.comeBack(ctx, app, listing.shows); err != nil {
		return err
	}
	return t.strangers(ctx, listing)
}

// RebindTenant makes the hosts that the configuration names now the tenant's.
func (r *Rotator) RebindTenant(ctx context.Context, tenant, by string) error {
	hosts, err := r.settings().Entra.Hosts(tenant)
	if err != nil {
		return fmt.Errorf("tenant %s: %w", tenant, err)
	}
	return r.write(ctx, "", func(rec *Records) error {
		bound, err := rec.Tenant(tenant)
		if err != nil {
			return err
		}
		before := bound.Hosts
		bound.Hosts = hosts
		rec.Audit = append(rec.Audit, AuditEntry{
			At: r.now().UTC(), By: by, What: "tenant rebound",
			Note: fmt.Sprintf("%s: login %s → %s, graph %s → %s", tenant, before.Login, hosts.Login, before.Graph, hosts.Graph),
		})
		return nil
	})
}

// wakeRules counts changes of what the due index follows from, so that an index
// of an older version is built anew.
const wakeRules = 2

// defaultsDigest tells whether the due index was built with other defaults.
func (r *Rotator) defaultsDigest() string {
	text, _ := json.Marshal(struct {
		Defaults PolicyOverride
		Stages   []time.Duration
		Rules    int
	}{r.settings().Defaults, r.stages(), wakeRules}) // durations, numbers and strings always marshal
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
