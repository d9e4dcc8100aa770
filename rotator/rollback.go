package rotator

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// rollBack brings the previous pair back and only then removes the new one. A
// rotation in rolling_back never goes forward again.
func (t *turn) rollBack(ctx context.Context) (*wait, error) {
	handed := !t.rot.Reach.IsZero() || t.rot.Back.From == PhaseConfirmed
	if handed {
		if w, err := t.handBack(ctx); w != nil || err != nil {
			return w, err
		}
	}
	if w, err := t.takeAway(ctx); w != nil || err != nil {
		return w, err
	}
	return nil, t.rolledBack(ctx)
}

// handBack gives the consumer the previous pair again: proven, delivered,
// confirmed by the app's rule.
func (t *turn) handBack(ctx context.Context) (*wait, error) {
	old, err := t.pair(ctx, t.rot.Old)
	if err != nil {
		return nil, err
	}
	if !t.rot.Back.Proven {
		_, err := t.r.Entra.SignIn(ctx, t.app.registration(), old, nil)
		if err != nil && reasonOf(err) != ReasonBlocked {
			return nil, fmt.Errorf("sign in with the previous certificate: %w", err)
		}
		if err := t.record(ctx, "previous certificate proven", func(rec *Records) { rec.Rotation.Back.Proven = true }); err != nil {
			return nil, err
		}
	}
	if t.rot.Back.Delivered.IsZero() {
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
		})
		if err != nil {
			return nil, err
		}
	}
	if !t.rot.Back.Confirmed.IsZero() {
		return nil, t.astray(ctx, t.rot.Old)
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
		err = t.r.Deliverer.Confirm(ctx, t.app.Confirm.Hook, pkg)
		if err != nil && failureOf(err).Class == ClassWait {
			return &wait{WaitingCommand, now.Add(commandEvery)}, nil
		}
		if err != nil {
			return nil, err
		}
	default:
		if at := t.rot.Back.Delivered.Add(t.policy.ReloadWithin); now.Before(at) {
			return &wait{WaitingReload, at}, nil
		}
	}
	if err := t.astray(ctx, t.rot.Old); err != nil {
		return nil, err
	}
	return nil, t.record(ctx, "rollback confirmed", func(rec *Records) { rec.Rotation.Back.Confirmed = now })
}

// takeAway removes the new certificate, if Entra ever had it. The proof is
// signed by the pair we go back to.
func (t *turn) takeAway(ctx context.Context) (*wait, error) {
	if t.rot.Upload.Sends == 0 || !t.rot.New.RemovedAt.IsZero() {
		return nil, nil //nolint:nilnil // nothing to remove
	}
	signer, err := t.backSigner(ctx)
	if err != nil {
		return nil, err
	}
	s, err := t.see(ctx, signer)
	if err != nil {
		return nil, err
	}
	if s.readable && !s.present && !t.rot.RemovalSent {
		absence := t.rot.Absence.missed(time.Now().UTC())
		if err := t.record(ctx, "", func(rec *Records) { rec.Rotation.Absence = absence }); err != nil {
			return nil, err
		}
		if absence.isAbsent() {
			return nil, t.record(ctx, "certificate not on the app", func(rec *Records) {
				markRemoved(rec, t.rot.New.ThumbprintSHA256, time.Now().UTC())
			})
		}
		if t.rot.New.KeyID == "" {
			return &wait{WaitingAnswer, time.Now().UTC().Add(absentEvery)}, nil
		}
	}
	c := t.rot.New
	if c.AskedKeyID == "" {
		c.AskedKeyID = t.rot.Upload.Chosen
	}
	if c.KeyID == "" && !s.readable && !t.rot.Upload.SentAt.IsZero() {
		return t.takeAwayUnseen(ctx, signer, c)
	}
	err = t.removeAs(ctx, signer, c)
	if err != nil && signer.Thumbprint() == c.ThumbprintSHA256 && failureOf(err).Class == ClassFix {
		return nil, t.orphan(ctx, c, "no other certificate of ours is valid, and Entra does not let a certificate sign its own removal")
	}
	return nil, err
}

// takeAwayUnseen removes a certificate whose upload was never answered and
// whose list cannot be read: by the KeyID that we chose, else it is an orphan
// if it gets a token, and was never there if it gets none for prove.within.
func (t *turn) takeAwayUnseen(ctx context.Context, signer KeyPair, c Credential) (*wait, error) {
	err := t.r.Entra.RemoveKey(ctx, t.access(signer), signer, c.AskedKeyID)
	if err == nil {
		return nil, t.record(ctx, "certificate removed", func(rec *Records) {
			markRemoved(rec, c.ThumbprintSHA256, time.Now().UTC())
		})
	}
	if reasonOf(err) != ReasonNoSuchKey {
		return nil, err
	}
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return nil, err
	}
	there, err := t.accepted(ctx, next)
	if err != nil {
		return nil, err
	}
	if there {
		return nil, t.orphan(ctx, c, "Entra gave its entry a KeyID of its own, and the answer that named it was lost")
	}
	now := time.Now().UTC()
	if now.Sub(t.rot.Upload.SentAt) < t.policy.Prove.Within {
		return &wait{WaitingAnswer, now.Add(time.Minute)}, nil
	}
	return nil, t.record(ctx, "certificate not on the app", func(rec *Records) {
		markRemoved(rec, c.ThumbprintSHA256, now)
	})
}

// backSigner is the pair that signs while rolling back: the one we go back to.
func (t *turn) backSigner(ctx context.Context) (KeyPair, error) {
	if t.rot.Old != nil && time.Now().Before(t.rot.Old.NotAfter) && t.rot.Old.RemovedAt.IsZero() {
		pair, err := t.pair(ctx, t.rot.Old)
		if !errors.Is(err, ErrNotFound) {
			return pair, err
		}
	}
	// A first certificate, or one that had expired: the new pair signs its own
	// removal. Whether Entra accepts that is not documented.
	return t.pair(ctx, &t.rot.New)
}

// rolledBack ends the rotation: the previous pair is in service.
func (t *turn) rolledBack(ctx context.Context) error {
	summary := "rolled back: the previous certificate is in service"
	return t.enter(ctx, PhaseRolledBack, func(rec *Records) {
		rec.Rotation.Outcome = summary
		app := rec.App
		if rec.Rotation.Old != nil && app.Current != nil && app.Current.ThumbprintSHA256 == rec.Rotation.New.ThumbprintSHA256 {
			old := *rec.Rotation.Old
			app.Current, app.Previous = &old, nil
		}
		t.dropNew(rec)
		app.Hold = "the last rotation was rolled back by " + rec.Rotation.Back.By + "; to start again: rotate now " + app.Name + " --force"
		if rec.Rotation.Back.Reason != "person" {
			app.Hold = ""
		}
		rec.Events = append(rec.Events, t.event(EventRolledBack, SeverityWarning, summary, ""))
	})
}
