package rotator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

// loopNap bounds one sleep of the loop, so that the wall clock is compared at
// least once a minute: timers stand still while a host is suspended, and a
// clock can be set.
const loopNap = time.Minute

// batch is how many entries of the due index are taken at a time.
const batch = 256

// Run carries rotations on until ctx is done, then waits for the steps under
// way to be recorded and returns nil. With a schedule it also runs the check:
// at once, and whenever the schedule says.
//
// One rotation's failure is in its record and in the log; Run goes on.
func (r *Rotator) Run(ctx context.Context) error {
	if r.Schedule != nil {
		if err := r.refreshWakes(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	var work sync.WaitGroup
	defer work.Wait()
	workers := r.Workers
	if workers < 1 {
		workers = 4
	}
	slots := make(chan struct{}, workers)
	nextCheck, last := time.Now().Round(0), time.Now().Round(0)
	var starts []string // due apps that no worker has taken yet
	for ctx.Err() == nil {
		now := time.Now().Round(0) // the wall clock, not the monotonic one
		if now.Before(last) {
			nextCheck = now // the clock was set back
		}
		last = now
		if r.Schedule != nil && !now.Before(nextCheck) {
			starts = r.scheduledCheck(ctx)
			nextCheck = r.Schedule.Next(time.Now())
			r.setNextCheck(nextCheck)
		}
		until := r.dispatch(ctx, &work, slots)
		starts = r.begin(ctx, &work, slots, starts)
		if r.Schedule != nil && nextCheck.Before(until) {
			until = nextCheck
		}
		nap := time.NewTimer(min(max(until.Sub(time.Now().Round(0)), time.Millisecond), loopNap))
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

// scheduledCheck is the check of a cron tick. It returns the apps to start.
func (r *Rotator) scheduledCheck(ctx context.Context) []string {
	report, due, err := r.check(ctx)
	if err != nil && ctx.Err() == nil {
		r.log().ErrorContext(ctx, "check failed", "err", err)
	}
	if len(due)+len(report.Attention)+len(report.Held) > 0 {
		r.log().InfoContext(ctx, "check done", "due", len(due), "held", len(report.Held), "attention", len(report.Attention))
	}
	return due
}

// begin starts due apps' rotations in free workers and returns the apps that
// found none.
func (r *Rotator) begin(ctx context.Context, work *sync.WaitGroup, slots chan struct{}, apps []string) []string {
	for i, app := range apps {
		select {
		case slots <- struct{}{}:
		default:
			return apps[i:] // a worker that ends wakes the loop
		}
		work.Go(func() {
			defer func() { <-slots; r.wake() }()
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
	return nil
}

// startUnasked plans a due app's rotation and keeps the reason if it cannot.
func (r *Rotator) startUnasked(ctx context.Context, app string) error {
	_, err := r.plan(ctx, app, nil, StartRequest{}, bySchedule)
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
	now := time.Now().UTC()
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
			Attempts: attempts, RetryAt: now.Add(retryIn(f, attempts, left, spread())),
		}
		if !known {
			rec.Events = append(rec.Events, newEvent(rec.App, nil, EventRotationFailed, SeverityWarning, f.Message, f.Next))
		}
		return nil
	})
}

// dispatch hands every open rotation whose time has come to a worker and
// returns when the next one's comes.
func (r *Rotator) dispatch(ctx context.Context, work *sync.WaitGroup, slots chan struct{}) time.Time {
	now := time.Now()
	later := now.Add(loopNap)
	limit := batch
	if r.Schedule == nil {
		limit = 0 // only a few of them were asked for
	}
	wakes, err := r.Store.Due(ctx, WakeContinue, later, limit)
	if err != nil {
		if ctx.Err() == nil {
			r.log().ErrorContext(ctx, "cannot read the due index", "err", err)
		}
		return later
	}
	for _, w := range wakes {
		if r.Schedule == nil && !r.isAsked(w.App) {
			continue
		}
		if w.At.After(now) {
			return w.At
		}
		c, release, ok := r.tryClaim(w.App)
		if !ok {
			continue // being worked on
		}
		select {
		case slots <- struct{}{}:
		default:
			release()
			return later // a worker that ends wakes the loop
		}
		work.Go(func() {
			defer func() { release(); <-slots; r.wake() }()
			r.carry(ctx, c, w.App)
		})
	}
	return later
}

// carry advances a rotation; what cannot be recorded is logged, for there is
// nobody to return it to.
func (r *Rotator) carry(ctx context.Context, c *claim, app string) {
	if err := r.advance(ctx, c, app); err != nil {
		r.log().ErrorContext(ctx, "rotation stopped: it cannot be recorded", "app", app, "err", err)
		r.rest(ctx)
	}
}

// rest keeps a rotation that cannot be recorded from being tried in a tight
// loop: its due entry could not be moved either.
func (r *Rotator) rest(ctx context.Context) {
	pause := time.NewTimer(time.Second)
	defer pause.Stop()
	select {
	case <-ctx.Done():
	case <-pause.C:
	}
}

// ask marks an app as one that a person waits for and wakes the loop.
func (r *Rotator) ask(app string) {
	r.mu.Lock()
	if r.asked == nil {
		r.asked = map[string]bool{}
	}
	r.asked[app] = true
	r.mu.Unlock()
	r.wake()
}

func (r *Rotator) isAsked(app string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[app]
}

// check finds what is due and what needs a look, and deletes keys whose time
// has passed. It returns the apps to start.
func (r *Rotator) check(ctx context.Context) (CheckReport, []string, error) {
	now := time.Now().UTC()
	report := CheckReport{At: now, Held: map[string]string{}, Attention: map[string]string{}}
	due, err := r.due(ctx, now)
	err = errors.Join(err, r.forget(ctx, now), r.review(ctx, now, &report))
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
	recorded := r.Store.Change(ctx, "", func(rec *Records) error {
		rec.State.LastCheck, rec.State.LastCheckError = now, ""
		if err != nil {
			rec.State.LastCheckError = err.Error()
		}
		return nil
	})
	return report, start, errors.Join(err, recorded)
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
	err = r.mayStart(ctx, &app, &state, policyOf(&app, r.Defaults), nil, StartRequest{}, bySchedule, now)
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
			old := func(c Credential) bool { return !c.ForgetAt.IsZero() && !now.Before(c.ForgetAt) }
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
	case WaitingReload, WaitingCommand, WaitingPerson, WaitingOverlap, WaitingPause, WaitingWindow:
		return now.Sub(t.rot.LookedAt) >= lookEvery && (t.rot.WakeAt.IsZero() || t.rot.WakeAt.Sub(now) >= lookEvery)
	}
	return false
}

// Check does what a tick of the schedule does: it starts what is due and looks
// at what is open. It does not wait for the ends.
func (r *Rotator) Check(ctx context.Context, by string) (CheckReport, error) {
	report, due, err := r.check(ctx)
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
	wakes, err := r.Store.Due(ctx, WakeStart, time.Now(), 0)
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
	now := time.Now()
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

// Follow yields the rotation as it is now and after each change of its record,
// until it ended or ctx is done. Intermediate records may be left out.
func (r *Rotator) Follow(ctx context.Context, id string) iter.Seq2[Rotation, error] {
	return func(yield func(Rotation, error) bool) {
		seen := -1
		for {
			next := r.nextChange()
			rot, err := r.Store.Rotation(ctx, id)
			if err != nil {
				yield(Rotation{}, err)
				return
			}
			if rot.Seq != seen {
				seen = rot.Seq
				if !yield(rot, nil) || rot.Phase.IsEnd() {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-next:
			}
		}
	}
}

// Rotation returns one journal record; [ErrNotFound] if there is none.
func (r *Rotator) Rotation(ctx context.Context, id string) (Rotation, error) {
	return r.Store.Rotation(ctx, id)
}

// History returns the newest rotations first, of one app or of all; limit 0
// means all.
func (r *Rotator) History(ctx context.Context, app string, limit int) ([]Rotation, error) {
	if app != "" {
		if _, err := r.Store.App(ctx, app); err != nil {
			return nil, fmt.Errorf("app %s: %w", app, err)
		}
	}
	return r.Store.Rotations(ctx, app, limit)
}

// wakes are an app's entries in the due index: a function of its records.
func (r *Rotator) wakes(app *App, rot *Rotation) []Wake {
	var wakes []Wake
	add := func(kind WakeKind, at time.Time) {
		wakes = append(wakes, Wake{Kind: kind, At: at, App: app.Name})
	}
	forget := time.Time{}
	earliest := func(c Credential) {
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
	if rot != nil && !rot.Phase.IsEnd() {
		add(WakeOpen, rot.StartedAt)
		if !rot.WakeAt.IsZero() {
			add(WakeContinue, rot.WakeAt)
		}
		return wakes
	}
	add(WakeStart, r.startAt(app))
	return wakes
}

// startAt is when the app's next rotation is due, after pauses of its own.
func (r *Rotator) startAt(app *App) time.Time {
	policy := policyOf(app, r.Defaults)
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
		err = r.Store.ChangeAll(ctx, names, func(_ string, rec *Records) error {
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
	return r.Store.Change(ctx, "", func(rec *Records) error {
		rec.State.Defaults = digest
		return nil
	})
}
