package rotator

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// retire sends the removal of what was replaced, after the overlap and after checking again
// that the new pair works, is listed, and is what every target holds. Time is
// Entra's. What a person gave up goes first, at once.
func (t *turn) retire(ctx context.Context) (*wait, error) {
	if w, err := t.look(ctx); w != nil || err != nil {
		return w, err
	}
	compromised := t.rot.Compromised
	if compromised != nil && !compromised.isDone() && compromised.CutNow {
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
	if compromised := t.rot.Compromised; compromised != nil && !compromised.isDone() {
		// No overlap, but the consumer's time to read its files.
		if at := t.readBy(time.Time{}); !never && time.Now().Before(at) {
			return &wait{WaitingReload, at}, nil
		}
		if err := t.cut(ctx); err != nil {
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
		return nil, t.record(ctx, "", func(rec *Records) {
			rec.Rotation.RetiresAt = at.UTC().Add(t.policy.Overlap)
			if again := t.readBy(time.Time{}).Add(t.policy.Overlap); !t.rot.StrayedAt.IsZero() && again.After(rec.Rotation.RetiresAt) {
				rec.Rotation.RetiresAt = again
			}
		})
	}
	if w := t.deliverable(); w != nil && t.rot.Confirmation == ConfirmAutomatic && t.rot.Old != nil && at.Before(t.rot.Old.NotAfter) {
		return w, nil // its deliveries were taken away: nothing shows that its consumer has the new pair
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
	if err := t.removeAll(ctx, next, t.toRemove()); err != nil {
		return nil, err
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
		if !c.isLeaving() {
			left = append(left, c)
		}
	}
	if old := t.rot.Old; old != nil && !old.isLeaving() {
		left = append(left, *old)
	}
	return left
}

// removeAll sends the removal of certificates of ours, with proofs by signer. Where
// the list can be read, it says which entries they are: an entry that carries our
// certificate is ours, whatever KeyID we believed in, and one that carries another
// is not.
func (t *turn) removeAll(ctx context.Context, signer KeyPair, list []Credential) error {
	if err := t.switchIdentity(ctx); err != nil {
		return fmt.Errorf("the tenant's identity cannot sign in with the certificate that stays, so nothing is removed: %w", err)
	}
	listed, readable, err := t.entriesOf(ctx, signer, list)
	if err != nil {
		return err
	}
	for _, c := range list {
		if err := t.remove(ctx, signer, c, listed[c.ThumbprintSHA256], readable); err != nil {
			return err
		}
	}
	return nil
}

// entriesOf reads which entries carry which of our certificates. Nothing is
// known where the list cannot be read.
func (t *turn) entriesOf(ctx context.Context, signer KeyPair, list []Credential) (found map[Thumbprint][]KeyID, readable bool, err error) {
	if t.rot.Unreadable {
		return nil, false, nil
	}
	listing, err := t.r.settings().Entra.Keys(ctx, t.access(signer), true)
	if t.app.Mode == ModeSelf && reasonOf(err) == ReasonForbidden {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	found = map[Thumbprint][]KeyID{}
	for _, e := range listing.Entries {
		found[e.Thumbprint] = append(found[e.Thumbprint], e.KeyID)
		for _, c := range list {
			if e.KeyID == c.KeyID && e.Thumbprint != c.ThumbprintSHA256 {
				return nil, false, fix(ReasonOther, "correct it: rotate app edit "+t.app.Name+" --key-id ID",
					"app %s: the key ID %s is that of another certificate (%s), not of ours (%s); nothing is removed", t.app.Name, e.KeyID, e.Thumbprint, c.ThumbprintSHA256)
			}
		}
	}
	return found, true, nil
}

// remove sends the removal of one certificate of ours: of every entry that carries
// it, or of the one that an answer named. Whether it is gone is found out later, see
// [isRemoved]: neither 204 nor "No credentials found to be removed" proves it.
//
// listed is empty where the list does not show it, readable tells whether there is
// one.
func (t *turn) remove(ctx context.Context, signer KeyPair, c Credential, listed []KeyID, readable bool) error {
	ids := listed
	if len(ids) == 0 && c.KeyID != "" {
		ids = []KeyID{c.KeyID}
	}
	if len(ids) == 0 {
		if !readable && t.rot.Old != nil && t.rot.Old.ThumbprintSHA256 == c.ThumbprintSHA256 {
			return t.orphan(ctx, c, "nobody could tell its KeyID (self mode reads no list)")
		}
		// Its upload was not answered: it is there, comes later or never came.
		t.begin(t.newRemoval(&c, nil, false))
		return nil
	}
	if t.rot.RemovalSentAt.IsZero() {
		err := t.record(ctx, "certificate removal begun", func(rec *Records) { rec.Rotation.RemovalSentAt = time.Now().UTC() })
		if err != nil {
			return err
		}
	} else if err := t.settle(ctx); err != nil {
		return err
	}
	for _, id := range ids {
		err := t.r.settings().Entra.RemoveKey(ctx, t.access(signer), signer, id)
		t.noteRemoval(signer.Thumbprint(), c.ThumbprintSHA256, err)
		switch reason := reasonOf(err); {
		case err == nil, reason == ReasonNoSuchKey:
		case reason == ReasonBadProof:
			return t.proofRefused(ctx, signer, c, err)
		default:
			return err
		}
	}
	t.begin(t.newRemoval(&c, ids, false))
	return nil
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

// noteLeft notes wherever the certificate is described that it is left on the app to
// a person.
func noteLeft(rec *Records, thumbprint Thumbprint, at time.Time) {
	var all []*Credential
	for _, rot := range []*Rotation{rec.Rotation, rec.Closed} {
		if rot == nil {
			continue
		}
		all = append(all, rot.Old, &rot.New)
		rot.Extra = slices.Clone(rot.Extra)
		for i := range rot.Extra {
			all = append(all, &rot.Extra[i])
		}
		if c := rot.Compromised; c != nil && c.Thumbprint == thumbprint {
			c.DoneAt = at
		}
	}
	if rec.App != nil {
		all = append(all, rec.App.Current, rec.App.Previous)
		for i := range rec.App.Former {
			all = append(all, &rec.App.Former[i])
		}
	}
	for _, c := range all {
		if c != nil && c.ThumbprintSHA256 == thumbprint {
			c.LeftAt = at
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
		noteLeft(rec, c.ThumbprintSHA256, now)
		rec.Events = append(rec.Events, t.event(EventRotationFailed, severity,
			fmt.Sprintf("the certificate %s stays on the app: %s", c.ThumbprintSHA1, reason), next))
	})
}

// cut sends the removal of the pair that a person gave up.
func (t *turn) cut(ctx context.Context) error {
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return err
	}
	for _, c := range t.toRemove() {
		if c.ThumbprintSHA256 != t.rot.Compromised.Thumbprint {
			continue
		}
		return t.removeAll(ctx, next, []Credential{c})
	}
	// Its removal was sent before, or it was never uploaded.
	return t.record(ctx, "", func(rec *Records) { rec.Rotation.Compromised.DoneAt = time.Now().UTC() })
}

// retired ends the rotation: one certificate of ours is in service, the removal of
// the others was sent.
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
		rec.Events = append(rec.Events, t.event(EventRotated, SeverityInfo, summary+sentText(t.rot.Unconfirmed(now)), ""))
	})
}

// sentText ends a summary with when the removals can be confirmed.
func sentText(list []Credential) string {
	if len(list) == 0 {
		return ""
	}
	last := time.Time{}
	for _, c := range list {
		if c.RemovalFrom.After(last) {
			last = c.RemovalFrom
		}
	}
	text := "; removal of the old one sent"
	if len(list) > 1 {
		text = fmt.Sprintf("; removal of %d certificates sent", len(list))
	}
	if !last.IsZero() {
		text += "; confirmed from " + last.Format("2006-01-02 15:04 MST") + " on"
	}
	return text
}
