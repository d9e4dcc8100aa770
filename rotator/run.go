package rotator

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// loopNap bounds one sleep of the loop, so that the wall clock is compared at
// least once a minute: timers stand still while a host is suspended, and a
// clock can be set.
const loopNap = time.Minute

// brokenNap bounds the time to the next check while the store cannot be written, or
// after a check that failed: what was due meanwhile is done soon after.
const brokenNap = 5 * time.Minute

// batch is how many entries of the due index are taken at a time.
const batch = 256

// Run carries rotations on until ctx is done, then waits for the steps under
// way to be recorded and returns nil. With a schedule it also runs the check:
// at once, and whenever the schedule says.
//
// One rotation's failure is in its record and in the log; Run goes on.
func (r *Rotator) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	slots := make(chan struct{}, r.settings().workers())
	nextCheck, last := r.now().Round(0), r.now().Round(0)
	var starts []string // due apps that no worker has taken yet
	for ctx.Err() == nil {
		now := r.now().Round(0) // the wall clock, not the monotonic one
		r.beat.Store(now.UnixNano())
		if now.Before(last) || r.recheck.Swap(false) {
			nextCheck = now // the clock was set back, or the settings are new
		}
		last = now
		settings := r.settings()
		if n := settings.workers(); n != cap(slots) {
			slots = make(chan struct{}, n) // those at work give back what they took
		}
		if r.Schedule != nil && !now.Before(nextCheck) {
			var failed bool
			starts, failed = r.scheduledCheck(ctx)
			nextCheck = settings.Schedule.Next(r.now())
			if broken, _ := r.storeTrouble(); failed || broken != "" {
				nextCheck = earlier(nextCheck, r.now().Add(brokenNap))
			}
			r.setNextCheck(nextCheck)
		}
		r.renew(ctx)
		if r.Schedule != nil {
			if err := r.afterOutage(ctx); err != nil && ctx.Err() == nil {
				r.log().ErrorContext(ctx, "cannot wake what an outage held", "err", err)
			}
		}
		until := r.dispatch(ctx, &work, slots, WakeContinue, r.carry)
		until = earlier(until, r.dispatch(ctx, &work, slots, WakeRemoval, r.carryRemovals))
		starts = r.begin(ctx, &work, slots, starts)
		r.ahead.prepare(ctx, &work, min(len(starts), 2*cap(slots)), r.generateKey)
		if r.Schedule != nil && nextCheck.Before(until) {
			until = nextCheck
		}
		nap := time.NewTimer(min(max(until.Sub(r.now().Round(0)), time.Millisecond), loopNap))
		select {
		case <-ctx.Done():
		case <-nap.C:
		case <-r.pokes():
		}
		nap.Stop()
	}
	return nil
}

func (r *Rotator) setNextCheck(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.checkAt = at
}

// begin starts due apps' rotations in free workers and returns the apps that
// found none.
func (r *Rotator) begin(ctx context.Context, work *sync.WaitGroup, slots chan struct{}, apps []string) []string {
	var passed []string // their tenants have their share of the workers
	for i, app := range apps {
		if len(passed) == batch {
			return append(slices.Clone(apps[i:]), passed...) // others come first at the next round
		}
		leave, ok := r.takeShare(ctx, app, cap(slots))
		if !ok {
			passed = append(passed, app)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			leave()
			return append(passed, apps[i:]...) // a worker that ends wakes the loop
		}
		work.Go(func() {
			defer func() { leave(); <-slots; r.wake() }()
			c, release, ok := r.tryClaim(app)
			if !ok {
				return
			}
			defer release()
			if err := r.startUnasked(ctx, app); err == nil {
				r.carry(ctx, c, app)
			}
		})
	}
	return passed
}

// startUnasked plans a due app's rotation and keeps the reason if it cannot.
func (r *Rotator) startUnasked(ctx context.Context, app string) error {
	_, err := r.plan(ctx, app, nil, StartRequest{}, nil, bySchedule)
	switch {
	case err == nil, errors.Is(err, ErrRotating), ctx.Err() != nil:
		return nil //nolint:nilerr // an open rotation is carried on; a stop is no failure
	case errors.Is(err, ErrRefused):
		r.log().InfoContext(ctx, "rotation does not start", "app", app, "err", err)
		return err
	}
	f := failureOf(err)
	if errors.Is(err, ErrUsage) {
		f.Class = ClassFix
	}
	r.log().ErrorContext(ctx, "rotation cannot start", "app", app, "err", f.Message, "next", f.Next)
	return errors.Join(err, r.trouble(ctx, app, f))
}

// trouble records why no rotation of an app could start.
func (r *Rotator) trouble(ctx context.Context, app string, f *Failure) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	now := r.now().UTC()
	return r.change(ctx, app, func(rec *Records) error {
		if rec.App == nil {
			return nil
		}
		attempts := 1
		known := rec.App.Trouble != nil && rec.App.Trouble.Reason == f.Reason && rec.App.Trouble.Class == f.Class
		if rec.App.Trouble != nil {
			attempts = rec.App.Trouble.Attempts + 1
		}
		var left time.Duration
		if rec.App.Current != nil {
			left = rec.App.Current.NotAfter.Sub(now)
		}
		rec.App.Trouble = &Trouble{
			Class: f.Class, Reason: f.Reason, Message: f.Message, Next: f.Next, At: now,
			Attempts: attempts, RetryAt: now.Add(retryIn(f, attempts, left, r.spread())),
		}
		if !known {
			severity := SeverityWarning
			if f.Reason == ReasonTooShort {
				severity = SeverityCritical // no time will pass by which it gets better
			}
			rec.Events = append(rec.Events, r.newEvent(rec.App, nil, EventRotationFailed, severity, f.Message, f.Next))
		}
		return nil
	})
}

// dispatch hands every app that has a due entry of the kind to a free worker, which
// calls do, and returns when the next one's time comes.
func (r *Rotator) dispatch(ctx context.Context, work *sync.WaitGroup, slots chan struct{}, kind WakeKind,
	do func(ctx context.Context, c *claim, app string),
) time.Time {
	limit := batch
	if r.Schedule == nil {
		limit = 0 // only a few of them were asked for
	}
	for {
		until, more := r.dispatchSome(ctx, work, slots, kind, do, limit)
		if !more || limit == 0 {
			return until
		}
		limit *= 4 // those in front are of tenants that have their share of the workers
	}
}

// dispatchSome is dispatch for the first entries, up to limit. more tells that all of them
// were seen, some were passed over because of their tenants, and there may be more.
func (r *Rotator) dispatchSome(ctx context.Context, work *sync.WaitGroup, slots chan struct{}, kind WakeKind,
	do func(ctx context.Context, c *claim, app string), limit int,
) (until time.Time, more bool) {
	now := r.now()
	later := now.Add(loopNap)
	wakes, err := r.Store.Due(ctx, kind, later, limit)
	if err != nil {
		if ctx.Err() == nil {
			r.log().ErrorContext(ctx, "cannot read the due index", "kind", kind, "err", err)
		}
		return later, false
	}
	passed := false
	for _, w := range wakes {
		if r.Schedule == nil && !r.isAsked(w.App) {
			continue
		}
		if w.At.After(now) {
			return earlier(w.At, later), false
		}
		if until := r.restsUntil(w.App); until.After(now) {
			later = earlier(until, later)
			continue
		}
		c, release, ok := r.tryClaim(w.App)
		if !ok {
			continue // being worked on; its release wakes the loop
		}
		leave, ok := r.takeShare(ctx, w.App, cap(slots))
		if !ok {
			release()
			passed = true
			continue // a worker that ends wakes the loop
		}
		select {
		case slots <- struct{}{}:
		default:
			leave()
			release()
			return later, false // a worker that ends wakes the loop
		}
		work.Go(func() {
			defer func() { release(); leave(); <-slots; r.wake() }()
			do(ctx, c, w.App)
		})
	}
	return later, passed && len(wakes) == limit
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// carry advances a rotation; what cannot be recorded is logged, for there is
// nobody to return it to.
func (r *Rotator) carry(ctx context.Context, c *claim, app string) {
	err := r.advance(ctx, c, app)
	r.rest(app, err)
	if err != nil {
		r.log().ErrorContext(ctx, "rotation stopped: it cannot be recorded", "app", app, "err", err)
	}
}

// rest is how long a rotation is left alone that could not be recorded: its due
// entry could not be moved either, and trying at once, again and again, could
// send the same request to Entra each time.
type rest struct {
	times int
	until time.Time
}

// maxRest bounds a rest. A person who asks for the app ends it.
const maxRest = time.Minute

// rest begins or prolongs an app's rest, or ends it where err is nil.
func (r *Rotator) rest(app string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.rests, app)
		return
	}
	if r.rests == nil {
		r.rests = map[string]rest{}
	}
	times := r.rests[app].times
	r.rests[app] = rest{times + 1, r.now().Add(min(time.Second<<min(times, 10), maxRest))}
}

// restsUntil is the end of an app's rest; zero: it has none.
func (r *Rotator) restsUntil(app string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rests[app].until
}

// ask marks an app as one that a person waits for and wakes the loop.
func (r *Rotator) ask(app string) {
	r.mu.Lock()
	if r.asked == nil {
		r.asked = map[string]bool{}
	}
	r.asked[app] = true
	delete(r.rests, app)
	r.mu.Unlock()
	r.wake()
}

func (r *Rotator) isAsked(app string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[app]
}
