package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// turn is one app's rotation being carried on: the records as they were read
// last, and what follows from them. It lives while the app is claimed.
type turn struct {
	r      *Rotator
	app    App
	rot    Rotation
	policy Policy
	// pairs are those that were unsealed.
	pairs map[Thumbprint]KeyPair
	// looked is when this turn last saw the new certificate accepted; signIn is
	// its last sign-in with it, zero if there was none, at signedIn.
	looked, signedIn time.Time
	signIn           SignIn
	// at is the newest time of Entra that an answer carried, at the host's time local.
	at, local time.Time
	// accepts are the pairs that a sign-in of this turn showed to be accepted, when;
	// places and listing are what it saw last.
	accepts map[Thumbprint]time.Time
	places  map[string]Target
	// asked tells that the confirmation hook exited 0 in this turn.
	asked   bool
	listing *Listing
	// had is what the upload's sign-in with a pair of ours showed.
	had earlierSignIn
	// learnt is what [turn.learn] left for the next record.
	learnt []func(rec *Records)
	// known are the tenant's verified facts.
	known learned
	// noted is what it saw of the tenant, for the next record.
	noted noted
	// ownIDs are request IDs of sign-ins that are not journalled yet.
	ownIDs []string
	log    *slog.Logger
}

// earlierSignIn is a sign-in with one of the app's pairs.
type earlierSignIn struct {
	pair Thumbprint
	got  SignIn
	at   time.Time
}

// wait tells why a step did not lead to the next phase, without a failure.
type wait struct {
	// what is one of the Waiting… words.
	what string
	// until is when to try again; zero: a person must act.
	until time.Time
}

// open reads an app with its open rotation. It returns nil if none is open.
func (r *Rotator) open(ctx context.Context, name string) (*turn, error) {
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return nil, err
	}
	if app.Rotation == "" {
		return nil, nil //nolint:nilnil // no open rotation is an ordinary answer
	}
	rot, err := r.Store.Rotation(ctx, app.Rotation)
	if err != nil {
		return nil, fmt.Errorf("app %s: read rotation %s: %w", name, app.Rotation, err)
	}
	known, err := r.learnedOf(ctx, app.Tenant)
	if err != nil {
		return nil, fmt.Errorf("app %s: read the facts of tenant %s: %w", name, app.Tenant, err)
	}
	return &turn{
		r: r, app: app, rot: rot, known: known, policy: known.fit(policyWith(&app, &rot, r.settings().Defaults)),
		pairs: map[Thumbprint]KeyPair{},
		log:   r.log().With("app", app.Name, "rotation_id", rot.ID),
	}, nil
}

// advance carries an app's open rotation on until it ended, must wait or
// failed; what it is then is in the journal. The caller holds the claim. The
// error is one of recording: everything else is recorded.
func (r *Rotator) advance(ctx context.Context, c *claim, name string) error {
	t, err := r.open(ctx, name)
	if err != nil || t == nil {
		return err
	}
	for !t.rot.Phase.IsEnd() {
		before := t.rot.Seq
		w, err := t.next(ctx)
		switch {
		case errors.Is(err, errRecord):
			return err
		case ctx.Err() != nil:
			return t.settle(ctx) // stopped, not failed: whatever was begun is in the journal
		case (w != nil || err != nil) && t.superseded(ctx):
			if t, err = r.open(ctx, name); t == nil || err != nil {
				return err
			}
		case err != nil:
			return t.fail(ctx, failureOf(err))
		case w != nil:
			return t.park(ctx, *w)
		case t.rot.Seq == before:
			return fmt.Errorf("app %s: rotation %s: %s: the step recorded nothing", name, t.rot.ID, t.rot.Phase)
		case c.isWanted():
			// A person asks for the app: let them in, then go on.
			return t.settle(ctx)
		}
	}
	return nil
}

// superseded closes a rotation that cannot go on into a fresh one, if the pair that it
// would leave in service ends before that one could be brought out: it would lead to that
// end only. One whose new certificate somebody removed waits for a person.
func (t *turn) superseded(ctx context.Context) bool {
	stays, margin := &t.rot.New, t.policy.Prove.Within+t.policy.lead(t.rule())
	if t.rot.Phase == PhaseRollingBack {
		stays, margin = t.rot.Old, 0 // how long it must live was judged when it began
	}
	if stays == nil || t.bestTime().Before(stays.NotAfter.Add(-margin)) || !t.rot.Missing.IsZero() {
		return false
	}
	if err := t.settle(ctx); err != nil {
		return false
	}
	if _, err := t.r.plan(ctx, t.app.Name, t, StartRequest{superseding: true}, nil, bySchedule); err != nil {
		t.log.InfoContext(ctx, "its own certificate ends, and no fresh rotation may start yet", "err", err)
		return false
	}
	return true
}

// step runs the step that leads to the next phase. It returns nil and nil when
// it recorded progress.
func (t *turn) step(ctx context.Context) (*wait, error) {
	switch t.rot.Phase {
	case PhasePlanned:
		return t.upload(ctx)
	case PhaseUploaded:
		return t.prove(ctx)
	case PhaseProven:
		return t.deliver(ctx)
	case PhaseDelivered:
		return t.confirm(ctx)
	case PhaseConfirmed:
		return t.retire(ctx)
	case PhaseRollingBack:
		return t.rollBack(ctx)
	case PhaseRetired, PhaseRolledBack:
		return nil, nil //nolint:nilnil // nothing follows an end
	}
	return nil, fix(ReasonOther, "use the version of rotate that wrote the store", "phase %q is not known to this version", t.rot.Phase)
}

// gate holds work back that must not run now: a store that is not to write, a
// pause, a closed window.
func (t *turn) gate(ctx context.Context) (*wait, error) {
	state, err := t.r.state(ctx)
	if err != nil {
		return nil, err
	}
	if state.ReadOnly {
		return nil, fix(ReasonOther, "look at what differs, then \"rotate resume --all\"", "app %s: nothing is written: %s", t.app.Name, state.Stopped)
	}
	if err := t.refresh(ctx); err != nil {
		return nil, err
	}
	if t.app.Differs != "" {
		return nil, fix(ReasonOther, t.app.differsNext(), "app %s: nothing is written: %s", t.app.Name, t.app.Differs)
	}
	if err := t.r.checkHosts(ctx, t.app.Tenant); err != nil {
		return nil, err
	}
	outward := t.rot.Phase.leadsOutward() || t.rot.Redeliver
	if !outward || t.rot.Compromised != nil {
		return nil, nil //nolint:nilnil // nothing holds it back
	}
	w, err := t.held(&state)
	if w == nil || err != nil {
		return nil, err
	}
	if t.rot.Phase == PhaseRollingBack {
		return w, nil // it stands on the previous pair, which each of its steps looks at
	}
	// While it is held, its facts are looked at all the same.
	if looked, err := t.look(ctx); looked != nil || err != nil || t.rot.Phase.IsEnd() {
		return looked, err
	}
	return w, nil
}

// leadsOutward reports whether the step after the phase changes what others see:
// delivers a pair, or removes a certificate. A pause and a closed window hold it.
// An upload only adds, and a proof and a confirmation only look.
func (p Phase) leadsOutward() bool {
	switch p {
	case PhaseProven, PhaseConfirmed, PhaseRollingBack:
		return true
	case PhasePlanned, PhaseUploaded, PhaseDelivered, PhaseRetired, PhaseRolledBack:
	}
	return false
}

// refresh reads what may hold the app back and is changed without a claim, where
// the turn did not read it with its last record.
func (t *turn) refresh(ctx context.Context) error {
	if len(t.learnt) == 0 {
		return nil
	}
	app, err := t.r.Store.App(ctx, t.app.Name)
	if err != nil {
		return err
	}
	t.app.PausedUntil, t.app.Differs = app.PausedUntil, app.Differs
	return nil
}

// held tells until when a pause or a closed window holds the next step.
func (t *turn) held(state *State) (*wait, error) {
	now := t.now()
	lastSafe := t.lastSafe()
	for _, until := range []time.Time{state.PausedUntil, t.app.PausedUntil} {
		if end := pauseEnd(until, lastSafe); now.Before(end) {
			return &wait{WaitingPause, end}, nil
		}
	}
	if t.rot.Asked || t.policy.Window == nil {
		return nil, nil //nolint:nilnil // a person's rotation ignores the window
	}
	s, err := t.r.ParseSchedule(t.policy.Window.Cron, t.policy.Window.Zone)
	if err != nil {
		return nil, fix(ReasonOther, "correct the window in the app's policy", "app %s: window: %v", t.app.Name, err)
	}
	if at := windowAt(s, t.policy.Window.Duration, now, lastSafe); now.Before(at) {
		return &wait{WaitingWindow, at}, nil
	}
	return nil, nil //nolint:nilnil // the window is open
}

// lastSafe is the last date on which the old certificate leaves the overlap.
// A first certificate has none: nothing is in danger.
func (t *turn) lastSafe() time.Time {
	if t.rot.Old == nil {
		return t.rot.New.NotAfter
	}
	safe := lastSafeDate(t.rot.Old.NotAfter, t.policy)
	if t.rot.Phase == PhaseProven {
		// Before the delivery, the consumer still needs its time to read it.
		safe = safe.Add(-t.policy.lead(t.rule()))
	}
	return safe
}

// isLate reports whether the certificate in service can no longer leave the
// overlap.
func (t *turn) isLate(now time.Time) bool {
	return t.rot.Old != nil && t.rot.Confirmation == "" && isLate(lastSafeDate(t.rot.Old.NotAfter, t.policy), now)
}

// errRecord marks that the store could not be written. The rotation stops: it
// must not act on what it cannot remember.
var errRecord = errors.New("record")

// record writes progress. change alters the records as they are in the store
// now; the due index follows by itself. The turn then holds what was written.
// Recording outlives a cancelled context.
func (t *turn) record(ctx context.Context, what string, change func(rec *Records)) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	err := t.r.change(ctx, t.app.Name, func(rec *Records) error {
		if rec.App == nil || rec.Rotation == nil || rec.Rotation.ID != t.rot.ID {
			return fmt.Errorf("rotation %s is no longer open", t.rot.ID)
		}
		for _, learn := range t.learnt {
			learn(rec)
		}
		change(rec)
		t.keepOwn(rec.Rotation)
		if err := t.keepFacts(rec); err != nil {
			return err
		}
		rec.Rotation.Seq++
		if what != "" {
			rec.Audit = append(rec.Audit, t.audit(rec, what, t.now().UTC()))
		}
		if rec.Rotation.Phase.IsEnd() {
			rec.App.Rotation = ""
		}
		keepConsumers(rec.App, rec.Rotation)
		t.app, t.rot = *rec.App, *rec.Rotation
		return nil
	})
	if err != nil {
		return fmt.Errorf("app %s: %w %q: %w", t.app.Name, errRecord, what, err)
	}
	t.learnt, t.noted = nil, noted{}
	t.policy = t.known.fit(policyWith(&t.app, &t.rot, t.r.settings().Defaults))
	t.r.announce()
	return nil
}

// audit is a line about this rotation.
func (t *turn) audit(rec *Records, what string, at time.Time) AuditEntry {
	return AuditEntry{
		At: at, By: rec.Rotation.By, What: what, App: t.app.Name,
		Rotation: t.rot.ID, Thumbprint: rec.Rotation.New.ThumbprintSHA256, OldThumbprint: thumbprintOf(rec.Rotation.Old),
	}
}

// learn notes what the tenant or a target showed or answered, to be written with
// the next record of this turn, which comes before the next effect, a wait or the
// turn's end: a commit waits for the disk twice. Only for what would be shown or
// answered again, should the process die before. change may be called twice, first
// with a State that is not kept.
func (t *turn) learn(change func(rec *Records)) {
	learn := func(rec *Records) {
		change(rec)
		rec.Rotation.Seq++
	}
	learn(&Records{State: &State{}, App: &t.app, Rotation: &t.rot})
	t.learnt = append(t.learnt, learn)
}

// settle writes what was learnt and not written yet.
func (t *turn) settle(ctx context.Context) error {
	if len(t.learnt) == 0 {
		return nil
	}
	return t.record(ctx, "", func(*Records) {})
}

// enter records that a phase was reached.
func (t *turn) enter(ctx context.Context, phase Phase, change func(rec *Records)) error {
	err := t.record(ctx, "", t.reached(phase, change))
	if err == nil {
		t.tell(ctx, phase)
	}
	return err
}

// reach is [turn.enter] for a phase that would be reached again, should the
// process die before the next record: see [turn.learn].
func (t *turn) reach(ctx context.Context, phase Phase, change func(rec *Records)) {
	t.learn(t.reached(phase, change))
	t.tell(ctx, phase)
}

// reached is the change of the records that reaching a phase makes.
func (t *turn) reached(phase Phase, change func(rec *Records)) func(rec *Records) {
	now := t.now().UTC()
	return func(rec *Records) {
		rot := rec.Rotation
		rot.Phase = phase
		rot.PhaseAt[phase] = now
		rot.Trouble, rot.WaitingFor, rot.WakeAt = nil, "", now
		if phase.IsEnd() {
			rot.EndedAt, rot.WakeAt = now, time.Time{}
		}
		if phase == PhaseProven {
			rec.State.FixStreak = nil
		}
		change(rec)
		rec.Audit = append(rec.Audit, t.audit(rec, "rotation "+string(phase), now))
	}
}

func (t *turn) tell(ctx context.Context, phase Phase) {
	t.log.InfoContext(ctx, "rotation reached phase", "phase", phase, "thumbprint_sha256", t.rot.New.ThumbprintSHA256)
}

// park records what the rotation waits for.
func (t *turn) park(ctx context.Context, w wait) error {
	if len(t.learnt) == 0 && len(t.ownIDs) == 0 && t.rot.WaitingFor == w.what && t.rot.WakeAt.Equal(w.until) && (t.rot.Trouble == nil || w.what == WaitingLimit) {
		return nil
	}
	return t.record(ctx, "", func(rec *Records) {
		rec.Rotation.WaitingFor, rec.Rotation.WakeAt = w.what, w.until.UTC()
		if w.what != WaitingLimit {
			rec.Rotation.Trouble = nil // the limit is only met because something failed
		}
	})
}

// brakeAfter is how many apps in a row may fail as fix after their upload
// before nothing starts unasked any more.
const brakeAfter = 3

// fail records a failure: the phase stays, the next try is set.
func (t *turn) fail(ctx context.Context, f *Failure) error {
	now := t.now().UTC()
	f, attempts := t.passing(f, now)
	old := t.rot.Trouble
	known := old != nil && old.Class == f.Class && old.Reason == f.Reason
	left := t.rot.New.NotAfter.Sub(now)
	if t.rot.Old != nil && t.rot.Phase != PhaseConfirmed {
		left = t.rot.Old.NotAfter.Sub(now)
	}
	retryAt := now.Add(retryIn(f, attempts, left, t.r.spread()))
	uploaded := t.rot.Phase != PhasePlanned && t.rot.Phase != PhaseConfirmed
	if !known {
		level := slog.LevelWarn
		if f.Class == ClassFix || f.Class == ClassGone {
			level = slog.LevelError
		}
		t.log.Log(ctx, level, "rotation cannot go on", "phase", t.rot.Phase, "class", f.Class, "err", f.Message, "next", f.Next, "retry_at", retryAt)
	}
	return t.record(ctx, "", func(rec *Records) {
		rot := rec.Rotation
		rot.Trouble = &Trouble{
			Class: f.Class, Reason: f.Reason, Message: f.Message, Next: f.Next,
			At: now, Attempts: attempts, RetryAt: retryAt,
		}
		rot.WaitingFor, rot.WakeAt = WaitingRetry, retryAt
		if !known {
			rec.Audit = append(rec.Audit, AuditEntry{
				At: now, By: rot.By, What: "rotation held up when " + string(rot.Phase), App: t.app.Name, Rotation: rot.ID,
				Thumbprint: rot.New.ThumbprintSHA256, OldThumbprint: thumbprintOf(rot.Old), Result: string(f.Class) + ": " + f.Message,
			})
		}
		late := t.isLate(now) && rot.LateSince.IsZero()
		if late {
			rot.LateSince = now
		}
		switch {
		case late:
			rec.Events = append(rec.Events, t.event(EventRotationFailed, SeverityCritical, "past its last safe date: "+f.Message, f.Next))
		case rot.Trouble.needsPerson() && (!known || attempts == manyAttempts && (f.Class == ClassWait || f.Class == ClassRetry)):
			rec.Events = append(rec.Events, t.event(EventRotationFailed, SeverityWarning, f.Message, f.Next))
		}
		if f.Class == ClassFix && uploaded {
			t.r.brake(rec, t.app.Name, now)
		}
	})
}

// brake counts apps that fail as fix after their upload and stops unasked
// starts at the third in a row.
func (r *Rotator) brake(rec *Records, app string, now time.Time) {
	if slices.Contains(rec.State.FixStreak, app) {
		return
	}
	rec.State.FixStreak = append(rec.State.FixStreak, app)
	if len(rec.State.FixStreak) < brakeAfter || rec.State.Stopped != "" {
		return
	}
	rec.State.Stopped = fmt.Sprintf("%d apps in a row failed after their upload (%s): nothing starts unasked until \"rotate resume --all\"",
		brakeAfter, strings.Join(rec.State.FixStreak, ", "))
	rec.State.StoppedAt = now
	rec.Events = append(rec.Events, r.newEvent(rec.App, nil, EventStopped, SeverityCritical, rec.State.Stopped,
		"look at these apps with \"rotate status\", then type \"rotate resume --all\""))
}

func thumbprintOf(c *Credential) Thumbprint {
	if c == nil {
		return ""
	}
	return c.ThumbprintSHA256
}

// event builds an event about this rotation.
func (t *turn) event(kind EventKind, severity Severity, summary, next string) Event {
	return t.r.newEvent(&t.app, &t.rot, kind, severity, summary, next)
}

// change is one transaction on an app's records, or with an empty name on the
// state; alerts and the due index follow.
func (r *Rotator) change(ctx context.Context, app string, change func(rec *Records) error) error {
	err := r.write(ctx, app, func(rec *Records) error {
		if err := change(rec); err != nil {
			return err
		}
		if rec.App != nil {
			keepConsumers(rec.App, rec.Rotation)
		}
		r.tend(rec, r.now().UTC())
		rec.Events = append(rec.Events, rec.repeats...)
		if rec.App != nil {
			rec.Wakes = r.wakes(rec.App, rec.Rotation)
		}
		return nil
	})
	if err == nil {
		r.announce()
	}
	return err
}

// write is one transaction as it is. What cannot be written is told past the
// store. Nothing else of this package calls [Store.Change].
func (r *Rotator) write(ctx context.Context, app string, change func(rec *Records) error) error {
	var own error
	var events []Event
	err := r.Store.Change(ctx, app, func(rec *Records) error {
		own = change(rec)
		events = rec.Events
		return own
	})
	if own == nil && ctx.Err() == nil {
		r.noteStore(err, events)
	}
	return err
}

// writeAll is write for many apps at once. Nothing else of this package calls
// [Store.ChangeAll].
func (r *Rotator) writeAll(ctx context.Context, apps []string, change func(app string, rec *Records) error) error {
	var own error
	var events []Event
	err := r.Store.ChangeAll(ctx, apps, func(app string, rec *Records) error {
		if own = change(app, rec); own == nil {
			events = append(events, rec.Events...)
		}
		return own
	})
	if own == nil && ctx.Err() == nil {
		r.noteStore(err, events)
	}
	return err
}

// pair returns one of the app's key pairs, unsealed once a turn.
func (t *turn) pair(ctx context.Context, c *Credential) (KeyPair, error) {
	if c == nil {
		return KeyPair{}, nil
	}
	if p, ok := t.pairs[c.ThumbprintSHA256]; ok {
		return p, nil
	}
	p, err := t.r.Store.KeyPair(ctx, c.ThumbprintSHA256)
	if err != nil {
		return KeyPair{}, fmt.Errorf("app %s: open sealed key %s: %w", t.app.Name, c.ThumbprintSHA256, err)
	}
	p = p.Of(t.app.Name)
	t.pairs[c.ThumbprintSHA256] = p
	return p, nil
}

// registration names the app for Entra.
func (a *App) registration() Registration {
	return Registration{App: a.Name, Tenant: a.Tenant, ObjectID: a.ObjectID, ClientID: a.ClientID, CorrelationID: a.CorrelationID}
}

// access tells who asks about the app: in self mode the app itself with the
// given pair, else the tenant's identity.
func (t *turn) access(pair KeyPair) Access {
	a := Access{Registration: t.app.registration()}
	if t.app.Mode == ModeSelf {
		a.As = pair
	}
	a.Proofs = t.known.proofs()
	if t.isFresh(pair) {
		a.Proofs = a.Proofs[:1] // a refusal is lag, and says nothing about the form
	}
	return a
}

// isFresh reports whether a pair of ours was added so short a while ago that it may not
// sign proofs yet.
func (t *turn) isFresh(pair KeyPair) bool {
	if pair.IsZero() {
		return false
	}
	thumbprint, late := pair.Thumbprint(), t.known.acceptedLate()
	if thumbprint == t.rot.New.ThumbprintSHA256 {
		return t.now().Sub(t.rot.PhaseAt[PhaseUploaded]) < late
	}
	e := t.ledger().entry(thumbprint)
	return e != nil && !e.AddedAt.IsZero() && t.now().Sub(e.AddedAt) < late
}
