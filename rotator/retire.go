package rotator

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// retire removes what was replaced, after the overlap and after checking again
// that the new pair works, is listed, and is what every target holds. Time is
// Entra's.
func (t *turn) retire(ctx context.Context) (*wait, error) {
	if c := t.rot.Compromised; c != nil && c.RemovedAt.IsZero() {
		// What was given up goes as soon as the fresh pair is confirmed.
		if err := t.cut(ctx); err != nil {
			return nil, err
		}
	}
	if w, err := t.look(ctx); w != nil || err != nil {
		return w, err
	}
	never := t.rot.Confirmation == "never"
	if !never {
		if err := t.redeliver(ctx, &t.rot.New); err != nil {
			return nil, err
		}
	}
	left := t.toRemove()
	if len(left) == 0 {
		return nil, t.retired(ctx)
	}
	if now := time.Now(); now.Before(t.rot.RetiresAt) {
		return &wait{WaitingOverlap, t.rot.RetiresAt}, nil
	}
	at, err := t.entraTime(ctx)
	if err != nil {
		return nil, err
	}
	if at.Before(t.rot.RetiresAt) {
		// This host's clock is a little fast.
		return &wait{WaitingOverlap, time.Now().UTC().Add(t.rot.RetiresAt.Sub(at))}, nil
	}
	if t.rule() == ConfirmCommand && !never {
		pkg, err := t.packageOf(ctx, &t.rot.New)
		if err != nil {
			return nil, err
		}
		if err := t.r.Deliverer.Confirm(ctx, t.app.Confirm.Hook, pkg); err != nil {
			return nil, fmt.Errorf("the confirmation no longer holds, so nothing is retired: %w", err)
		}
	}
	for _, c := range left {
		if err := t.remove(ctx, c); err != nil {
			return nil, err
		}
	}
	return nil, t.retired(ctx)
}

// toRemove lists the certificates of ours that this rotation still has to
// remove.
func (t *turn) toRemove() []Credential {
	var left []Credential
	for _, c := range append([]Credential{}, t.rot.Extra...) {
		if c.RemovedAt.IsZero() {
			left = append(left, c)
		}
	}
	if old := t.rot.Old; old != nil && old.RemovedAt.IsZero() {
		left = append(left, *old)
	}
	return left
}

// remove takes one certificate of ours off the app. The proof is signed by the
// new pair. A removal may be sent again: Entra answers "No credentials found to
// be removed" to the second.
func (t *turn) remove(ctx context.Context, c Credential) error {
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return err
	}
	return t.removeAs(ctx, next, c)
}

func (t *turn) removeAs(ctx context.Context, signer KeyPair, c Credential) error {
	id := c.KeyID
	if id == "" {
		id = c.AskedKeyID
	}
	if id == "" {
		return t.orphan(ctx, c, "nobody could tell its KeyID (self mode reads no list)")
	}
	err := t.record(ctx, "certificate removal begun", func(rec *Records) { rec.Rotation.RemovalSent = true })
	if err != nil {
		return err
	}
	err = t.r.Entra.RemoveKey(ctx, t.access(signer), signer, id)
	switch reason := reasonOf(err); {
	case reason == ReasonNoSuchKey && c.KeyID == "":
		return t.orphan(ctx, c, "Entra gave its entry a KeyID of its own, and the answer that named it was lost")
	case reason == ReasonNoSuchKey:
		// It is gone already: an earlier request of ours, or somebody else's.
	case reason == ReasonBadProof && time.Since(t.rot.PhaseAt[PhaseUploaded]) > acceptedLate && t.rot.Phase != PhaseRollingBack:
		f := *failureOf(err)
		f.Class = ClassFix
		return &f
	case err != nil:
		return err
	}
	now := time.Now().UTC()
	return t.record(ctx, "certificate removed", func(rec *Records) {
		rec.Rotation.RemovalSent = false
		markRemoved(rec, c.ThumbprintSHA256, now)
	})
}

// markRemoved notes wherever the certificate is described that it left Entra.
func markRemoved(rec *Records, thumbprint Thumbprint, at time.Time) {
	all := []*Credential{rec.Rotation.Old, &rec.Rotation.New, rec.App.Current, rec.App.Previous}
	for i := range rec.Rotation.Extra {
		all = append(all, &rec.Rotation.Extra[i])
	}
	for i := range rec.App.Former {
		all = append(all, &rec.App.Former[i])
	}
	for _, c := range all {
		if c != nil && c.ThumbprintSHA256 == thumbprint {
			c.RemovedAt = at
		}
	}
	if c := rec.Rotation.Compromised; c != nil && c.Thumbprint == thumbprint {
		c.RemovedAt = at
	}
}

// orphan leaves a certificate to a person, because nobody can tell its KeyID.
func (t *turn) orphan(ctx context.Context, c Credential, reason string) error {
	now := time.Now().UTC()
	next := fmt.Sprintf("remove the certificate with thumbprint %s from the app %s in the Entra portal", c.ThumbprintSHA1, t.app.ClientID)
	return t.record(ctx, "certificate left to a person", func(rec *Records) {
		rec.App.Orphans = append(rec.App.Orphans, Orphan{Credential: c, Reason: reason, Since: now})
		markRemoved(rec, c.ThumbprintSHA256, now)
		rec.Events = append(rec.Events, t.event(EventRotationFailed, SeverityWarning,
			fmt.Sprintf("the certificate %s stays on the app: %s", c.ThumbprintSHA1, reason), next))
	})
}

// cut removes the pair that a person gave up.
func (t *turn) cut(ctx context.Context) error {
	for _, c := range t.toRemove() {
		if c.ThumbprintSHA256 == t.rot.Compromised.Thumbprint {
			return t.remove(ctx, c)
		}
	}
	// It is not on the app any more.
	return t.record(ctx, "", func(rec *Records) { rec.Rotation.Compromised.RemovedAt = time.Now().UTC() })
}

// retired ends the rotation: exactly one certificate of ours is left.
func (t *turn) retired(ctx context.Context) error {
	now := time.Now().UTC()
	summary := fmt.Sprintf("the certificate was replaced; the new one is valid until %s", t.rot.New.NotAfter.Format(time.DateOnly))
	return t.enter(ctx, PhaseRetired, func(rec *Records) {
		rec.Rotation.Outcome = summary
		forgetAt := now.Add(t.policy.KeepPrevious)
		if p := rec.App.Previous; p != nil && p.ForgetAt.IsZero() {
			p.ForgetAt = forgetAt
		}
		for i := range rec.App.Former {
			if rec.App.Former[i].ForgetAt.IsZero() {
				rec.App.Former[i].ForgetAt = forgetAt
			}
		}
		for _, c := range rec.Rotation.Extra {
			if !rec.App.knows(c.ThumbprintSHA256) {
				c.ForgetAt = forgetAt
				rec.App.Former = append(rec.App.Former, c)
			}
		}
		rec.App.Trouble, rec.App.Hold = nil, ""
		rec.Events = append(rec.Events, t.event(EventRotated, SeverityInfo, summary, ""))
	})
}

// RollBack goes back to the previous pair, before it was retired.
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
	if err := t.mayRollBack(ctx); err != nil {
		return Rotation{}, err
	}
	now := time.Now().UTC()
	err = t.enter(ctx, PhaseRollingBack, func(rec *Records) {
		rec.Rotation.Back = &Back{By: by, At: now, From: t.rot.Phase, Reason: "person"}
		rec.Rotation.Asked = true
	})
	if err != nil {
		return Rotation{}, err
	}
	if err := r.noteBy(ctx, t, by, "rollback asked"); err != nil {
		return Rotation{}, err
	}
	r.ask(app)
	return t.rot, nil
}

// mayRollBack refuses where the previous pair is no ground to stand on.
func (t *turn) mayRollBack(ctx context.Context) error {
	old := t.rot.Old
	if old == nil {
		if t.rot.Reach.IsZero() {
			return nil
		}
		return refusedf("app %s: this is its first certificate; there is none to go back to", t.app.Name)
	}
	if old.GivenUp {
		return refusedf("app %s: the previous certificate was given up as compromised", t.app.Name)
	}
	if !old.RemovedAt.IsZero() {
		return refusedf("app %s: the previous certificate is no longer on the app", t.app.Name)
	}
	if t.rot.Reach.IsZero() && t.rot.Phase != PhaseConfirmed {
		return nil // nobody has the new pair: nothing to hand back
	}
	if left := time.Until(old.NotAfter); left < t.policy.Overlap || left <= 0 {
		return refusedf("app %s: the previous certificate ends %s, within the overlap of %s; going back would only lead to its end",
			t.app.Name, old.NotAfter.Format(time.DateOnly), days(t.policy.Overlap))
	}
	pair, err := t.pair(ctx, old)
	if errors.Is(err, ErrNotFound) {
		return refusedf("app %s: the previous private key is no longer held", t.app.Name)
	}
	if err != nil {
		return err
	}
	if _, err := t.r.Entra.SignIn(ctx, t.app.registration(), pair, nil); err != nil && reasonOf(err) != ReasonBlocked {
		return refusedf("app %s: the previous certificate gets no token, so going back would lock the app out: %v", t.app.Name, err)
	}
	return nil
}
