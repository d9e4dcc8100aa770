package rotator

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// retire removes what was replaced, after the overlap and after checking again
// that the new pair works, is listed, and is what every target holds. Time is
// Entra's. What a person gave up goes first, at once.
func (t *turn) retire(ctx context.Context) (*wait, error) {
	if w, err := t.look(ctx); w != nil || err != nil {
		return w, err
	}
	if c := t.rot.Compromised; c != nil && c.RemovedAt.IsZero() {
		if err := t.cut(ctx); err != nil {
			return nil, err
		}
	}
	never := t.rot.Confirmation == "never"
	if !never {
		if err := t.redeliver(ctx, &t.rot.New); err != nil {
			return nil, err
		}
	}
	if len(t.toRemove()) == 0 && !t.owesTold() {
		return nil, t.retired(ctx)
	}
	if now := time.Now(); now.Before(t.rot.RetiresAt) {
		return &wait{WaitingOverlap, t.rot.RetiresAt}, nil
	}
	at, err := t.entraTime(ctx)
	if err != nil {
		return nil, err
	}
	if t.rot.RetiresAt.IsZero() {
		// Confirmed without asking Entra: the overlap runs from now on.
		return nil, t.record(ctx, "", func(rec *Records) { rec.Rotation.RetiresAt = at.UTC().Add(t.policy.Overlap) })
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
		if err := t.settle(ctx); err != nil {
			return nil, err
		}
		if err := t.r.settings().Deliverer.Confirm(ctx, t.app.Confirm.Hook, pkg); err != nil {
			return nil, fmt.Errorf("the confirmation no longer holds, so nothing is retired: %w", err)
		}
	}
	if w, err := t.evidence(ctx, at); w != nil || err != nil {
		return w, err
	}
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return nil, err
	}
	if w, err := t.removeAll(ctx, next, t.toRemove()); w != nil || err != nil {
		return w, err
	}
	if t.owesTold() {
		if err := t.removeTold(ctx, next); err != nil {
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

// removeAll takes certificates of ours off the app, with proofs by signer. Where
// the list can be read, it says which entries they are: an entry that carries
// our certificate is ours, whatever KeyID we believed in, and one that carries
// another is not.
func (t *turn) removeAll(ctx context.Context, signer KeyPair, list []Credential) (*wait, error) {
	if err := t.switchIdentity(ctx); err != nil {
		return nil, fmt.Errorf("the tenant's identity cannot sign in with the certificate that stays, so nothing is removed: %w", err)
	}
	listed, err := t.entriesOf(ctx, signer, list)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if w, err := t.remove(ctx, signer, c, listed[c.ThumbprintSHA256]); w != nil || err != nil {
			return w, err
		}
	}
	return nil, nil //nolint:nilnil // all are gone
}

// entriesOf reads which entries carry which of our certificates. Nothing is
// known where the list cannot be read.
func (t *turn) entriesOf(ctx context.Context, signer KeyPair, list []Credential) (map[Thumbprint][]KeyID, error) {
	if t.rot.Unreadable {
		return nil, nil //nolint:nilnil // nothing is known
	}
	listing, err := t.r.settings().Entra.Keys(ctx, t.access(signer), true)
	if t.app.Mode == ModeSelf && reasonOf(err) == ReasonForbidden {
		return nil, nil //nolint:nilnil // nothing is known
	}
	if err != nil {
		return nil, err
	}
	found := map[Thumbprint][]KeyID{}
	for _, e := range listing.Entries {
		found[e.Thumbprint] = append(found[e.Thumbprint], e.KeyID)
		for _, c := range list {
			if e.KeyID == c.KeyID && e.Thumbprint != c.ThumbprintSHA256 {
				return nil, fix(ReasonOther, "correct it: rotate app edit "+t.app.Name+" --key-id ID",
					"app %s: the key ID %s is that of another certificate (%s), not of ours (%s); nothing is removed", t.app.Name, e.KeyID, e.Thumbprint, c.ThumbprintSHA256)
			}
		}
	}
	return found, nil
}

// remove takes one certificate of ours off the app: every entry that carries
// it, or the one that the records name. A removal may be sent again: Entra
// answers "No credentials found to be removed" to the second.
func (t *turn) remove(ctx context.Context, signer KeyPair, c Credential, listed []KeyID) (*wait, error) {
	ids := listed
	switch {
	case len(ids) > 0:
	case c.KeyID != "":
		ids = []KeyID{c.KeyID}
	case c.AskedKeyID != "":
		ids = []KeyID{c.AskedKeyID}
	default:
		return nil, t.orphan(ctx, c, "nobody could tell its KeyID (self mode reads no list)")
	}
	sentBefore := t.rot.RemovalSentAt
	if sentBefore.IsZero() {
		err := t.record(ctx, "certificate removal begun", func(rec *Records) { rec.Rotation.RemovalSentAt = time.Now().UTC() })
		if err != nil {
			return nil, err
		}
	} else if err := t.settle(ctx); err != nil {
		return nil, err
	}
	guessed := len(listed) == 0 && c.KeyID == ""
	for _, id := range ids {
		err := t.r.settings().Entra.RemoveKey(ctx, t.access(signer), signer, id)
		t.noteRemoval(signer.Thumbprint(), c.ThumbprintSHA256, err)
		switch reason := reasonOf(err); {
		case reason == ReasonNoSuchKey && guessed:
			return t.unfound(ctx, c, sentBefore)
		case reason == ReasonNoSuchKey:
			// It is gone already: an earlier request of ours, or somebody else's.
		case reason == ReasonBadProof:
			return nil, t.proofRefused(ctx, signer, c, err)
		case err != nil:
			return nil, err
		}
	}
	t.markGone("certificate removed", c)
	return nil, nil //nolint:nilnil // it is gone
}

// markGone notes that a certificate of ours is not on the app any more: asked
// again, Entra would say so.
func (t *turn) markGone(what string, c Credential) {
	now := time.Now().UTC()
	t.learn(func(rec *Records) {
		rec.Rotation.RemovalSentAt = time.Time{}
		markRemoved(rec, c.ThumbprintSHA256, now)
		rec.Audit = append(rec.Audit, t.audit(rec, what, now))
	})
}

// unfound decides about a certificate that is not under the KeyID that we chose
// for it: an earlier removal of ours may have taken it, or Entra gave it another
// KeyID. Whether it still gets a token tells, once that had time to spread.
func (t *turn) unfound(ctx context.Context, c Credential, sentBefore time.Time) (*wait, error) {
	pair, err := t.pair(ctx, &c)
	if err != nil {
		return nil, err
	}
	there, err := t.accepted(ctx, pair)
	now := time.Now().UTC()
	switch {
	case err != nil:
		return nil, err
	case !there && t.rot.Upload.SentAt.IsZero():
		t.markGone("certificate not on the app", c)
		return nil, nil //nolint:nilnil // it is gone
	case !there && now.Sub(t.rot.Upload.SentAt) >= t.policy.Prove.Within:
		// Its upload was never answered, and it had the time to spread.
		t.markGone("certificate not on the app", c)
		return nil, nil //nolint:nilnil // it is gone
	case !there, !sentBefore.IsZero() && now.Sub(sentBefore) < t.policy.Prove.Within:
		return &wait{WaitingAnswer, now.Add(time.Minute)}, nil
	}
	return nil, t.orphan(ctx, c, "Entra gave its entry a KeyID of its own, and the answer that named it was lost")
}

// proofRefused decides about a refused proof of a removal: right after an upload
// the key may not have spread; a certificate may not sign its own removal.
func (t *turn) proofRefused(ctx context.Context, signer KeyPair, c Credential, err error) error {
	if time.Since(t.rot.PhaseAt[PhaseUploaded]) < t.known.acceptedLate() {
		return err
	}
	if signer.Thumbprint() == c.ThumbprintSHA256 {
		return t.orphan(ctx, c, "no other certificate of ours is valid, and Entra does not let a certificate sign its own removal")
	}
	f := *failureOf(err)
	f.Class = ClassFix
	return &f
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
	for _, c := range all {
		if c != nil && c.ThumbprintSHA256 == thumbprint {
			rec.Rotation.Upload.Seen = slices.DeleteFunc(rec.Rotation.Upload.Seen, func(id KeyID) bool { return id == c.KeyID })
		}
	}
}

// orphan leaves a certificate to a person, because nobody can tell its KeyID.
func (t *turn) orphan(ctx context.Context, c Credential, reason string) error {
	now := time.Now().UTC()
	next := fmt.Sprintf("remove the certificate with thumbprint %s from the app %s in the Entra portal", c.ThumbprintSHA1, t.app.ClientID)
	severity := SeverityWarning
	if c.GivenUp {
		severity = SeverityCritical
	}
	return t.record(ctx, "certificate left to a person", func(rec *Records) {
		rec.Rotation.RemovalSentAt = time.Time{}
		rec.Rotation.LeftBehind = append(rec.Rotation.LeftBehind, c.ThumbprintSHA256)
		rec.App.Orphans = append(rec.App.Orphans, Orphan{Credential: c, Reason: reason, Since: now})
		markRemoved(rec, c.ThumbprintSHA256, now)
		rec.Events = append(rec.Events, t.event(EventRotationFailed, severity,
			fmt.Sprintf("the certificate %s stays on the app: %s", c.ThumbprintSHA1, reason), next))
	})
}

// cut removes the pair that a person gave up.
func (t *turn) cut(ctx context.Context) error {
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return err
	}
	for _, c := range t.toRemove() {
		if c.ThumbprintSHA256 != t.rot.Compromised.Thumbprint {
			continue
		}
		w, err := t.removeAll(ctx, next, []Credential{c})
		if w != nil {
			// Whether it is gone shows later; the rotation goes on meanwhile.
			return nil
		}
		return err
	}
	// It is not on the app any more.
	return t.record(ctx, "", func(rec *Records) { rec.Rotation.Compromised.RemovedAt = time.Now().UTC() })
}

// retired ends the rotation: exactly one certificate of ours is left.
func (t *turn) retired(ctx context.Context) error {
	now := time.Now().UTC()
	summary := fmt.Sprintf("the certificate was replaced; the new one is valid until %s", t.rot.New.NotAfter.Format(time.DateOnly))
	if n := len(t.rot.LeftBehind); n > 0 {
		summary += fmt.Sprintf("; %d of ours must be removed from the app by hand", n)
	}
	if t.rot.Old == nil && len(t.rot.Told) > 0 && t.rot.PhaseAt[PhaseUploaded].IsZero() {
		summary = "the certificate stayed, and was confirmed before"
	}
	summary += toldText(&t.rot)
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
