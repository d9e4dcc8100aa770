package rotator

import (
	"context"
	"errors"
	"fmt"
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
	if err := t.mayRollBack(ctx); err != nil {
		return Rotation{}, err
	}
	now := time.Now().UTC()
	from := t.rot.Phase
	err = t.enter(ctx, PhaseRollingBack, func(rec *Records) {
		rec.Rotation.Back = &Back{By: by, At: now, From: from, Reason: "person"}
		rec.Rotation.Asked = true
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "rollback asked", App: app, Rotation: t.rot.ID, Thumbprint: t.rot.New.ThumbprintSHA256})
	})
	if err != nil {
		return Rotation{}, err
	}
	r.ask(app)
	return t.rot, nil
}

// mayRollBack refuses where the previous pair is no ground to stand on.
func (t *turn) mayRollBack(ctx context.Context) error {
	if !t.isReached() {
		return nil // nobody has the new pair: nothing to hand back
	}
	old := t.rot.Old
	switch {
	case old == nil:
		return refusedf("app %s: this is its first certificate; there is none to go back to", t.app.Name)
	case old.GivenUp:
		return refusedf("app %s: the previous certificate was given up as compromised", t.app.Name)
	case !old.RemovedAt.IsZero():
		return refusedf("app %s: the previous certificate was removed from the app", t.app.Name)
	case old.isLeaving():
		return refusedf("app %s: the removal of the previous certificate was sent and may have been carried out", t.app.Name)
	case !t.rot.RemovalSentAt.IsZero():
		return refusedf("app %s: the removal of the previous certificate was sent and may have been carried out", t.app.Name)
	}
	if need, left := t.policy.Overlap+t.policy.lead(t.rule()), time.Until(old.NotAfter); left < need || left <= 0 {
		return refusedf("app %s: the previous certificate ends %s; delivering it, confirming it and the overlap take %s, so going back would only lead to its end",
			t.app.Name, old.NotAfter.Format(time.RFC3339), days(need))
	}
	pair, err := t.pair(ctx, old)
	if errors.Is(err, ErrNotFound) {
		return refusedf("app %s: the previous private key is no longer held", t.app.Name)
	}
	if err != nil {
		return err
	}
	if _, err := t.cold(ctx, pair, nil); err != nil && reasonOf(err) != ReasonBlocked {
		return refusedf("app %s: the previous certificate gets no token, so going back would lock the app out: %v", t.app.Name, err)
	}
	return nil
}

// rollBack brings the previous pair back and only then has the new one removed. A
// rotation in rolling_back never goes forward again.
func (t *turn) rollBack(ctx context.Context) (*wait, error) {
	if t.isReached() {
		if w, err := t.handBack(ctx); w != nil || err != nil {
			return w, err
		}
	}
	if err := t.takeAway(ctx); err != nil {
		return nil, err
	}
	return nil, t.rolledBack(ctx)
}

// handBack gives the consumer the previous pair again: delivered, confirmed by
// the app's rule, and accepted by Entra directly before each step that relies
// on it.
func (t *turn) handBack(ctx context.Context) (*wait, error) {
	if err := t.standOnOld(ctx); err != nil {
		return nil, err
	}
	err := t.astray(ctx, t.rot.Old, t.rot.Back.Results)
	if delivered := !t.rot.Back.Delivered.IsZero(); delivered && reasonOf(err) == ReasonTargetChanged {
		// Its consumer may have read the other pair: what was confirmed is void.
		again := t.rot.Redeliver
		if recordErr := t.record(ctx, "", func(rec *Records) {
			t.restart(rec, time.Now().UTC())
			rec.Rotation.Back.Confirmed = time.Time{}
			if again {
				rec.Rotation.Back.Delivered, rec.Rotation.Back.Results = time.Time{}, nil
			}
		}); recordErr != nil {
			return nil, recordErr
		}
		if !again {
			return nil, err
		}
	} else if delivered && err != nil && !t.rot.Redeliver {
		return nil, err
	}
	if t.rot.Back.Delivered.IsZero() || t.rot.Redeliver {
		pkg, err := t.packageOf(ctx, t.rot.Old)
		if err != nil {
			return nil, err
		}
		keep := func(rec *Records, results []DeliveryResult) { rec.Rotation.Back.Results = results }
		results, err := t.bring(ctx, pkg, t.rot.Back.Results, keep)
		if err != nil {
			return nil, err
		}
		err = t.record(ctx, "previous certificate delivered", func(rec *Records) {
			rec.Rotation.Back.Results, rec.Rotation.Back.Delivered = results, time.Now().UTC()
			rec.Rotation.Redeliver = false
			t.askPerson(rec, t.rot.Old)
		})
		if err != nil {
			return nil, err
		}
		if err := t.astray(ctx, t.rot.Old, t.rot.Back.Results); err != nil {
			return nil, err
		}
	}
	if !t.rot.Back.Confirmed.IsZero() {
		return nil, nil //nolint:nilnil // handed back
	}
	now := time.Now().UTC()
	switch t.rule() {
	case ConfirmPerson:
		return &wait{WaitingPerson, now.Add(day)}, nil
	case ConfirmCommand:
		pkg, err := t.packageOf(ctx, t.rot.Old)
		if err != nil {
			return nil, err
		}
		err = t.r.settings().Deliverer.Confirm(ctx, t.app.Confirm.Hook, pkg)
		if err != nil && failureOf(err).Class == ClassWait {
			return &wait{WaitingCommand, now.Add(commandEvery)}, nil
		}
		if err != nil {
			return nil, err
		}
	default:
		if at := t.readBy(t.rot.Back.Delivered); now.Before(at) {
			return &wait{WaitingReload, at}, nil
		}
	}
	return nil, t.record(ctx, "rollback confirmed", func(rec *Records) { rec.Rotation.Back.Confirmed = now })
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
	now := time.Now()
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

// takeAway sends the removal of the new certificate, if Entra may have it, and of what
// a closed rotation left. The proof is signed by the pair we go back to. Where an
// upload was not answered and the list does not show it, it is looked for afterwards.
func (t *turn) takeAway(ctx context.Context) error {
	signer, err := t.backSigner(ctx)
	if err != nil {
		return err
	}
	var list []Credential
	for _, c := range t.rot.Extra {
		if !c.isLeaving() {
			list = append(list, c)
		}
	}
	uploaded := t.mayBeUploaded()
	if c := t.rot.New; uploaded && !c.isLeaving() {
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil // nothing to remove
	}
	return t.removeAll(ctx, signer, list)
}

// mayBeUploaded reports whether Entra may have the new certificate. A refusal settles
// the one request that it answers, not an earlier one.
func (t *turn) mayBeUploaded() bool {
	return !t.rot.PhaseAt[PhaseUploaded].IsZero() || !t.rot.Upload.SentAt.IsZero() || t.rot.Upload.Sends > 1
}

// backSigner is the pair that signs while rolling back: the one we go back to.
// Only where nobody has the new pair may it be missing; then the new pair signs.
func (t *turn) backSigner(ctx context.Context) (KeyPair, error) {
	if t.rot.Old != nil && time.Now().Before(t.rot.Old.NotAfter) && !t.rot.Old.isLeaving() {
		pair, err := t.pair(ctx, t.rot.Old)
		if !errors.Is(err, ErrNotFound) || t.isReached() {
			return pair, err
		}
	}
	return t.pair(ctx, &t.rot.New)
}

// rolledBack ends the rotation: the previous pair is in service.
func (t *turn) rolledBack(ctx context.Context) error {
	const outcome = "the previous certificate is in service"
	return t.enter(ctx, PhaseRolledBack, func(rec *Records) {
		rec.Rotation.Outcome = outcome
		app := rec.App
		if rec.Rotation.Old != nil && app.Current != nil && app.Current.ThumbprintSHA256 == rec.Rotation.New.ThumbprintSHA256 {
			old := *rec.Rotation.Old
			app.Current, app.Previous = &old, nil
		}
		t.dropNew(rec)
		app.Hold = "the last rotation was rolled back by " + rec.Rotation.Back.By + "; to start again: rotate now " + app.Name
		rec.Events = append(rec.Events, t.event(EventRolledBack, SeverityWarning, "rolled back: "+outcome, ""))
	})
}
