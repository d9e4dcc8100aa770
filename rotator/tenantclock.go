package rotator

import (
	"context"
	"maps"
	"time"
)

// clockReading is how far this host's clock was ahead of a tenant's at an instant of
// this host's.
type clockReading struct {
	off time.Duration
	at  time.Time
}

// clockFresh is how long a reading of a tenant's clock is good for. A clock that was
// set meanwhile, forward or back, makes it stale.
const clockFresh = 10 * time.Minute

// noteClock keeps the time of one of Entra's answers; a zero one shows nothing.
func (r *Rotator) noteClock(tenant string, at time.Time) {
	if at.IsZero() {
		return
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clocks == nil {
		r.clocks = map[string]clockReading{}
	}
	r.clocks[tenant] = clockReading{clockError(now, at), now}
}

// clockOff is how far this host's clock is ahead of the app's tenant's: by a recent
// answer, else Entra is asked. Where it gives no time, nothing is known to differ.
func (r *Rotator) clockOff(ctx context.Context, app *App) time.Duration {
	if off, ok := r.knownClock(app.Tenant); ok {
		return off
	}
	return r.askClock(ctx, app)
}

func (r *Rotator) knownClock(tenant string) (time.Duration, bool) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.clocks[tenant]
	age := now.Sub(known.at)
	return known.off, ok && age >= 0 && age < clockFresh
}

// askClock asks Entra for an answer with a date: the tenant's identity reads the
// list, an app that rotates itself signs in.
func (r *Rotator) askClock(ctx context.Context, app *App) time.Duration {
	var at time.Time
	var err error
	switch {
	case app.Mode == ModeManaged:
		var listing Listing
		listing, err = r.settings().Entra.Keys(ctx, Access{Registration: app.registration()}, false)
		at = listing.At
	case app.Current != nil:
		var pair KeyPair
		if pair, err = r.Store.KeyPair(ctx, app.Current.ThumbprintSHA256); err == nil {
			var got SignIn
			if got, err = r.settings().Entra.SignIn(ctx, app.registration(), pair, nil); err == nil {
				r.noteAccepted(app.Name)
			}
			at = got.At
		}
	}
	if err != nil {
		at = failureOf(err).ServerTime
	}
	r.noteClock(app.Tenant, at)
	off, _ := r.knownClock(app.Tenant)
	return off
}

// noteAccepted keeps that Entra accepted the app just now, for as long as that makes a
// refusal one that may pass ([turn.isYoung]).
func (r *Rotator) noteAccepted(app string) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.accepted == nil {
		r.accepted = map[string]time.Time{}
	}
	maps.DeleteFunc(r.accepted, func(_ string, at time.Time) bool { return now.Sub(at) >= settlesWithin })
	r.accepted[app] = now
}

// acceptedAt is when the app's sign-in last showed the clock; zero if it has not lately.
func (r *Rotator) acceptedAt(app string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted[app]
}

// clockDiffers refuses what must not be done unasked while host and tenant disagree
// about the time.
func (r *Rotator) clockDiffers(ctx context.Context, app *App) error {
	off := r.clockOff(ctx, app)
	if off.Abs() <= maxClockError || r.without(RuleClock) {
		return nil
	}
	where := "ahead of"
	if off < 0 {
		where = "behind"
	}
	return refusedf("app %s: this host's clock is %s %s Entra's, so nothing starts automatically; set the clock (timedatectl, chronyc tracking)",
		app.Name, off.Abs(), where)
}

// entraNow is the time by the tenant's clock, as far as it was seen to differ.
func (r *Rotator) entraNow(tenant string) time.Time {
	now := r.now()
	if off, ok := r.knownClock(tenant); ok && off.Abs() > maxClockError {
		return now.Add(-off)
	}
	return now
}
