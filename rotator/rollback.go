package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// RollBack goes back to the previous pair, before it was retired.
//
// It returns [ErrRefused] where that pair is no ground to stand on: given up,
// removed, ending soon, or refused by Entra.
func (r *Rotator) RollBack(ctx context.Context, app, by string) (Rotation, error) {
	release, err := r.claim(ctx, app)
	if err != nil {
		return Rotation{}, err
	}
	defer release()
	t, err := r.openFor(ctx, app, "roll back")
	if err != nil {
		return Rotation{}, err
	}
	if t.rot.Phase == PhaseRollingBack {
		r.ask(app)
		return t.rot, nil
	}
	if err := r.checkHosts(ctx, t.app.Tenant); err != nil {
		return Rotation{}, err
	}
	to, err := t.wayBack(ctx)
	if err != nil {
		return Rotation{}, err
	}
	now := r.now().UTC()
	from := t.rot.Phase
	err = t.enter(ctx, PhaseRollingBack, func(rec *Records) {
		rec.Rotation.Back = &Back{By: by, At: now, From: from, Reason: "person"}
		rec.Rotation.Asked = true
		goBackTo(rec, to)
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "rollback asked", App: app, Rotation: t.rot.ID, Thumbprint: t.rot.New.ThumbprintSHA256, OldThumbprint: thumbprintOf(to)})
	})
	if err != nil {
		return Rotation{}, err
	}
	r.ask(app)
	return t.rot, nil
}

// goBackTo makes a pair the one that the rotation goes back to. Nil: there is none, and
// nobody needs one.
func goBackTo(rec *Records, to *Credential) {
	rot := rec.Rotation
	if to == nil || rot.Old != nil && rot.Old.ThumbprintSHA256 == to.ThumbprintSHA256 {
		return
	}
	if rot.Old != nil {
		rot.Extra = append(slices.Clone(rot.Extra), *rot.Old)
	}
	rot.Old = to
}

// wayBack finds the newest pair that a consumer may hold and that Entra accepts, and
// refuses with the reason of each where there is none. Where nobody ever had a pair, or
// there is none but the new one that nobody has, none is needed.
func (t *turn) wayBack(ctx context.Context) (*Credential, error) {
	at, old := t.bestTime(), t.rot.Old
	l := t.ledger()
	switch {
	case old == nil && !t.isReached():
		return nil, nil //nolint:nilnil // there was none, and nobody has the new one
	case old != nil && !old.GivenUp && at.Before(old.NotAfter) && !t.isReached() && !l.holdsOther(old.ThumbprintSHA256, at):
		return old, nil // nothing to hand back, so that no time is needed
	}
	list, why := l.waysBack(t.rot.New.ThumbprintSHA256, at)
	for i := range list {
		c := list[i].Credential
		pair, err := t.pair(ctx, &c)
		if errors.Is(err, ErrNotFound) {
			why = cmp.Or(why, "the previous private key is no longer held")
			continue
		}
		if err != nil {
			return nil, err
		}
		got, err := t.cold(ctx, pair, nil)
		if err != nil && reasonOf(err) != ReasonBlocked {
			why = strings.TrimPrefix(fmt.Sprintf("%s; the previous certificate %s gets no token, so going back would lock the app out: %v", why, c.ThumbprintSHA1, err), "; ")
			continue
		}
		if r := l.isWayBack(&list[i], cmp.Or(got.At, at)); r != nil {
			why = strings.TrimPrefix(why+"; the previous certificate "+c.ThumbprintSHA1+" "+r.why, "; ")
			continue
		}
		return &c, nil
	}
	if why == "" {
		why = "this is its first certificate; there is none to go back to"
	}
	return nil, refusedf("app %s: %s", t.app.Name, why)
}

// rollBack brings the previous pair back and only then has the new one removed. A
// rotation in rolling_back never goes forward again.
func (t *turn) rollBack(ctx context.Context) (*wait, error) {
	at := t.bestTime()
	if t.rot.Old != nil {
		if err := t.standOnOld(ctx); err != nil {
			return nil, err
		}
	}
	if old := t.rot.Old; old != nil && (t.isReached() || t.ledger().holdsOther(old.ThumbprintSHA256, at)) {
		if w, err := t.handBack(ctx); w != nil || err != nil {
			return w, err
		}
	}
	if w, err := t.takeAway(ctx); w != nil || err != nil {
		return w, err
	}
	return nil, t.rolledBack(ctx)
}

// handBack gives the consumer the previous pair again: delivered, confirmed by
// the app's rule, and accepted by Entra directly before each step that relies
// on it.
func (t *turn) handBack(ctx context.Context) (*wait, error) {
	if t.rot.Back.Delivered.IsZero() {
		if w, err := t.mayDeliver(ctx, t.rot.Old); w != nil || err != nil {
			return w, err
		}
		delivered, err := t.bring(ctx, t.rot.Old, t.rot.Redeliver)
		if err != nil {
			return nil, err
		}
		err = t.record(ctx, "previous certificate delivered", func(rec *Records) {
			delivered(rec)
			rec.Rotation.Back.Delivered = t.now().UTC()
			rec.Rotation.Redeliver = false
			t.askPerson(rec, t.rot.Old)
		})
		if err != nil {
			return nil, err
		}
	}
	if w, err := t.redeliver(ctx, t.rot.Old); w != nil || err != nil {
		return w, err
	}
	if !t.rot.Back.Confirmed.IsZero() {
		return nil, nil //nolint:nilnil // handed back
	}
	now := t.now().UTC()
	switch t.rule() {
	case ConfirmPerson:
		return &wait{WaitingPerson, now.Add(day)}, nil
	case ConfirmCommand:
		pkg, err := t.packageOf(ctx, t.rot.Old)
		if err != nil {
			return nil, err
		}
		err = t.r.settings().Deliverer.Confirm(ctx, t.app.Confirm.Hook, pkg)
		t.asked = err == nil
		if err != nil && failureOf(err).Class == ClassWait {
			return &wait{WaitingCommand, now.Add(commandEvery)}, nil
		}
		if err != nil {
			return nil, err
		}
	default:
		if err := t.date(ctx); err != nil {
			return nil, err
		}
		if _, r := t.ledger().confirmedAt(t.rot.Old.ThumbprintSHA256, t.sighting()); r != nil {
			return t.refused(r), nil
		}
	}
	return nil, t.record(ctx, "rollback confirmed", func(rec *Records) {
		back := *rec.Rotation.Back
		back.Confirmed = now
		rec.Rotation.Back = &back
	})
}

// standOnOld makes sure that the previous pair still works, by Entra's own time
// and answer.
func (t *turn) standOnOld(ctx context.Context) error {
	const next = "the new certificate stays on the app; to start afresh from here: rotate now "
	old, err := t.pair(ctx, t.rot.Old)
	if err != nil {
		return err
	}
	got, err := t.cold(ctx, old, nil)
	now := t.now()
	if err == nil && !got.At.IsZero() {
		now = got.At
	}
	reason := reasonOf(err)
	if reason == ReasonExpired || now.After(t.rot.Old.NotAfter) {
		return fix(ReasonExpired, next+t.app.Name+" --force", "app %s: the previous certificate ended on %s, before the rollback was done",
			t.app.Name, t.rot.Old.NotAfter.Format(time.RFC3339))
	}
	if reason == ReasonNotRegistered {
		return fix(ReasonNotRegistered, next+t.app.Name+" --force", "app %s: Entra no longer accepts the previous certificate", t.app.Name)
	}
	if err != nil && reason != ReasonBlocked {
		return fmt.Errorf("sign in with the previous certificate: %w", err)
	}
	return nil
}

// takeAway sends the removal of everything but the pair that it goes back to: of the
// new certificate, if Entra may have it, and of what a closed rotation left. The proof is
// signed by the pair we go back to. Where an upload was not answered and the list does
// not show it, it is looked for afterwards.
func (t *turn) takeAway(ctx context.Context) (*wait, error) {
	if t.rot.Old == nil {
		return t.takeItselfAway(ctx)
	}
	left := t.ledger().others(t.rot.Old.ThumbprintSHA256)
	if len(left) == 0 {
		return nil, nil //nolint:nilnil // nothing to remove
	}
	stays, err := t.pair(ctx, t.rot.Old)
	if err != nil {
		return nil, err
	}
	if !t.isRecent(t.accepts[stays.Thumbprint()]) {
		if _, err := t.cold(ctx, stays, nil); err != nil && reasonOf(err) != ReasonBlocked {
			return nil, fmt.Errorf("sign in with the certificate that stays: %w", err)
		}
	}
	if off := clockError(t.now(), t.entraNow()); off.Abs() > maxClockError {
		return nil, &Failure{Class: ClassClock, Reason: ReasonOther, Message: "app " + t.app.Name + ": this host's clock and Entra's differ, so nothing is removed", Next: "set the clock (timedatectl, chronyc tracking)"}
	}
	if err := t.date(ctx); err != nil {
		return nil, err
	}
	if err := t.holdsNow(ctx); err != nil {
		return nil, err
	}
	return t.removeOthers(ctx, stays, left, t.entraNow())
}

// takeItselfAway sends the removal of the first certificate of all, which no consumer may
// hold and which only itself can sign.
func (t *turn) takeItselfAway(ctx context.Context) (*wait, error) {
	c := t.rot.New
	if !t.rot.mayBeUploaded() || c.isLeaving() {
		return nil, nil //nolint:nilnil // nothing to remove
	}
	pair, err := t.pair(ctx, &c)
	if err != nil {
		return nil, err
	}
	if _, err := t.cold(ctx, pair, nil); err != nil && reasonOf(err) != ReasonBlocked && reasonOf(err) != ReasonNotRegistered {
		return nil, fmt.Errorf("sign in with the certificate that goes: %w", err)
	}
	r, err := t.remove(ctx, pair, &c)
	if r != nil {
		return t.refused(r), nil
	}
	return nil, err
}

// rolledBack ends the rotation: the previous pair is in service.
func (t *turn) rolledBack(ctx context.Context) error {
	const outcome = "the previous certificate is in service"
	return t.enter(ctx, PhaseRolledBack, func(rec *Records) {
		rec.Rotation.Outcome = outcome
		app := rec.App
		t.dropNew(rec)
		backInService(app, rec.Rotation)
		if old := rec.Rotation.Old; old != nil {
			settleOn(app, old.ThumbprintSHA256, t.ledger().others(old.ThumbprintSHA256))
		}
		app.Hold = "the last rotation was rolled back by " + rec.Rotation.Back.By + "; to start again: rotate now " + app.Name
		rec.Events = append(rec.Events, t.event(EventRolledBack, SeverityWarning, "rolled back: "+outcome, ""))
	})
}

// backInService makes the pair that a rotation went back to the current one. What was in
// service before is kept among the former ones.
func backInService(app *App, rot *Rotation) {
	old := rot.Old
	if old == nil || app.Current == nil || app.Current.ThumbprintSHA256 == old.ThumbprintSHA256 {
		return
	}
	is := func(c Credential) bool { return c.ThumbprintSHA256 == old.ThumbprintSHA256 }
	app.Former = slices.DeleteFunc(slices.Clone(app.Former), is)
	if app.Previous != nil && is(*app.Previous) {
		app.Previous = nil
	}
	if current := *app.Current; current.ThumbprintSHA256 != rot.New.ThumbprintSHA256 {
		app.Former = append(app.Former, current) // rot.New is among them already
	}
	back := *old
	back.ForgetAt = time.Time{}
	app.Current = &back
}
