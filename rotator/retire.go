package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// retire sends the removal of what was replaced, after the overlap and after checking again
// that the new pair works, is listed, and is what every target holds. Time is
// Entra's. What a person gave up goes first, at once. What may go is decided by
// [ledger.canRemove].
func (t *turn) retire(ctx context.Context) (*wait, error) {
	if w, err := t.look(ctx); w != nil || err != nil {
		return w, err
	}
	if c := t.rot.Compromised; c != nil && !c.isDone() && c.CutNow {
		if err := t.cut(ctx); err != nil {
			return nil, err
		}
	}
	never := t.rot.Confirmation == "never"
	if !never {
		if w, err := t.redeliver(ctx, &t.rot.New); w != nil || err != nil {
			return w, err
		}
	}
	left := t.ledger().others(t.rot.New.ThumbprintSHA256)
	if len(left) == 0 && !t.owesTold() {
		return nil, t.retired(ctx)
	}
	if w := t.tooEarly(left); w != nil {
		return w, nil
	}
	at, err := t.entraTime(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.date(ctx); err != nil {
		return nil, err
	}
	if t.rot.RetiresAt.IsZero() {
		// Confirmed without asking Entra: the overlap runs from now on.
		return nil, t.record(ctx, "", func(rec *Records) { rec.Rotation.RetiresAt = at.UTC().Add(t.policy.Overlap) })
	}
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return nil, err
	}
	w, err := t.removeOthers(ctx, next, left, at)
	if w != nil || err != nil {
		return w, err
	}
	if t.owesTold() {
		if w, err := t.mayRetire(ctx, at); w != nil || err != nil {
			return w, err
		}
		if w, err := t.removeTold(ctx, next); w != nil || err != nil {
			return w, err
		}
	}
	return nil, t.retired(ctx)
}

// tooEarly waits, by this host's clock, until something can be removed. Nothing need be
// asked before.
func (t *turn) tooEarly(left []entry) *wait {
	l := t.ledger()
	var first time.Time
	consider := func(from time.Time, e *entry) {
		if e == nil || !e.GivenUp && e.NotAfter.After(t.rot.RetiresAt) && t.rot.RetiresAt.After(from) {
			from = t.rot.RetiresAt
		}
		if first.IsZero() || from.Before(first) {
			first = from
		}
	}
	for i := range left {
		from := l.removableFrom(&left[i])
		if from.IsZero() {
			return nil
		}
		consider(from, &left[i])
	}
	if len(left) == 0 {
		consider(t.rot.RetiresAt, nil)
	}
	if now := t.now(); first.IsZero() || !now.Before(first) {
		return nil
	}
	if by := l.readBy(); first.Equal(by) {
		return &wait{WaitingReload, first}
	}
	return &wait{WaitingOverlap, first}
}

// mayRetire holds what is not given up: until the overlap has passed, while the
// confirmation no longer holds, and while the consumer is seen to use it.
func (t *turn) mayRetire(ctx context.Context, at time.Time) (*wait, error) {
	if at.Before(t.rot.RetiresAt) {
		return &wait{WaitingOverlap, t.now().UTC().Add(t.rot.RetiresAt.Sub(at))}, nil
	}
	if t.rot.Confirmation != "never" {
		if err := t.askCommand(ctx, &t.rot.New); err != nil {
			return nil, fmt.Errorf("the confirmation no longer holds, so nothing is retired: %w", err)
		}
	}
	return t.evidence(ctx, at)
}

// askCommand asks the confirmation hook once more, where it is the rule.
func (t *turn) askCommand(ctx context.Context, c *Credential) error {
	if t.rule() != ConfirmCommand || t.asked {
		return nil
	}
	pkg, err := t.packageOf(ctx, c)
	if err != nil {
		return err
	}
	if err := t.settle(ctx); err != nil {
		return err
	}
	err = t.r.settings().Deliverer.Confirm(ctx, t.app.Confirm.Hook, pkg)
	t.asked = err == nil
	return err
}

// removeOthers sends the removal of what the pair stays replaces, one after the other:
// the next is asked for when the one before is settled. The wait is for what may not go
// yet; what has expired holds nothing up.
func (t *turn) removeOthers(ctx context.Context, stays KeyPair, left []entry, at time.Time) (*wait, error) {
	var later *wait
	for i := range left {
		e := &left[i]
		if until := t.unsettled(); !until.IsZero() {
			return &wait{WaitingAnswer, until}, nil
		}
		expired := at.After(e.NotAfter)
		if stays := t.ledger().entry(stays.Thumbprint()); stays != nil && !expired && (e.GivenUp && !e.CutNow || t.rot.Phase == PhaseRollingBack) {
			if err := t.askCommand(ctx, &stays.Credential); errors.Is(err, errRecord) {
				return nil, err // whether it exited 0 is the guard's business
			}
		}
		if !e.GivenUp && !expired && t.rot.Phase == PhaseConfirmed && t.ledger().isHeld(e.ThumbprintSHA256) {
			w, err := t.mayRetire(ctx, at)
			if err != nil {
				return nil, err
			}
			if w != nil {
				later = sooner(later, w)
				continue
			}
		}
		r, err := t.remove(ctx, stays, &e.Credential)
		switch {
		case err != nil && (!expired || errors.Is(err, errRecord) || ctx.Err() != nil):
			return nil, err
		case err != nil: // its removal is tidiness, and its failure holds no rotation
			var ids []KeyID
			if e.KeyID != "" && !e.KeyIDByHand {
				ids = []KeyID{e.KeyID}
			}
			t.leaveToChecks(&e.Credential, ids, false, failureOf(err))
		case r != nil && !expired:
			later = sooner(later, t.refused(r))
		}
	}
	return later, nil
}

// leaveToChecks lets a removal that failed be sent again by its checks.
func (t *turn) leaveToChecks(c *Credential, listed []KeyID, foreign bool, f *Failure) {
	t.log.Info("removal of an expired certificate failed", "thumbprint_sha256", c.ThumbprintSHA256, "err", f.Message)
	m := t.newRemoval(c, nil, foreign)
	m.KeyIDs, m.Trouble = append(m.KeyIDs, listed...), f.Message
	t.begin(m)
}

// unsettled is until when another removal is being checked; zero: none is, or nobody
// can say when it is settled.
func (t *turn) unsettled() time.Time {
	now := t.now().UTC()
	for _, m := range t.app.Pending() {
		if !m.Foreign && m.Back.IsZero() && m.Sends > 0 && m.Sends < tellAfter && now.Before(m.RemovalFrom) {
			return m.RemovalFrom
		}
	}
	return time.Time{}
}

// sooner is the one of two waits that ends first.
func sooner(a, b *wait) *wait {
	if a == nil || !b.until.IsZero() && (a.until.IsZero() || b.until.Before(a.until)) {
		return b
	}
	return a
}

// remove sends the removal of one certificate of ours, if [ledger.canRemove] permits
// it: of every entry that carries it where the list can be read, else of the one that
// an answer named. A KeyID that a person typed is never sent: it may be that of
// somebody else. Whether it is gone is found out later, see [isRemoved]: neither 204
// nor "No credentials found to be removed" proves it.
func (t *turn) remove(ctx context.Context, stays KeyPair, c *Credential) (*refusal, error) {
	if r := t.ledger().mayRemove(c.ThumbprintSHA256, stays.Thumbprint(), t.sighting()); r != nil {
		return r, nil
	}
	if err := t.switchIdentity(ctx); err != nil {
		return nil, fmt.Errorf("the tenant's identity cannot sign in with the certificate that stays, so nothing is removed: %w", err)
	}
	ids, readable, err := t.entriesOf(ctx, stays, c)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 && c.KeyID != "" && !c.KeyIDByHand {
		ids = []KeyID{c.KeyID}
	}
	if len(ids) == 0 {
		if !readable && (c.KeyIDByHand || t.rot.Old != nil && t.rot.Old.ThumbprintSHA256 == c.ThumbprintSHA256) {
			reason := "nobody could tell its KeyID (self mode reads no list)"
			if c.KeyIDByHand {
				reason = "its key ID " + string(c.KeyID) + " was typed, and without a list to read it could be that of another certificate, so it is not sent"
			}
			return nil, t.orphan(ctx, *c, reason)
		}
		// Its upload was not answered: it is there, comes later or never came.
		t.begin(t.newRemoval(c, nil, false))
		return nil, nil
	}
	p, r, err := t.intend(ctx, c.ThumbprintSHA256, stays.Thumbprint())
	if r != nil || err != nil {
		return r, err
	}
	refused, err := t.sendRemoval(ctx, p, stays, ids)
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return nil, t.proofRefused(ctx, stays, *c, refused)
	}
	t.begin(t.newRemoval(c, ids, false))
	return nil, nil
}

// intend records that a certificate is about to be removed; from then on nothing rests
// on it. The guard judges the very records that say so.
func (t *turn) intend(ctx context.Context, e, o Thumbprint) (permit, *refusal, error) {
	s := t.sighting()
	var p permit
	var r *refusal
	what := "certificate removal begun"
	if !t.rot.RemovalSentAt.IsZero() && t.rot.Removing == e {
		what = "" // it has begun before
	}
	err := t.record(ctx, what, func(rec *Records) {
		if p, r = t.r.ledger(rec.App, rec.Rotation, &t.policy).permits(e, o, s); r == nil {
			rec.Rotation.RemovalSentAt, rec.Rotation.Removing = t.now().UTC(), e
		}
	})
	return p, r, err
}

// sendRemoval is the only place from which a certificate is removed. refused is a proof
// that was refused.
func (t *turn) sendRemoval(ctx context.Context, p permit, signer KeyPair, ids []KeyID) (refused, err error) {
	for _, id := range ids {
		err := t.r.settings().Entra.RemoveKey(ctx, t.access(signer), signer, id)
		t.noteRemoval(signer.Thumbprint(), p.of, err)
		switch reason := reasonOf(err); {
		case err == nil, reason == ReasonNoSuchKey:
		case reason == ReasonBadProof:
			return err, nil
		default:
			return nil, err
		}
	}
	t.log.InfoContext(ctx, "removal sent", "thumbprint_sha256", p.of, "because", p.because)
	return nil, nil
}

// entriesOf reads which entries carry a certificate of ours. Nothing is known where the
// list cannot be read.
func (t *turn) entriesOf(ctx context.Context, as KeyPair, c *Credential) (ids []KeyID, readable bool, err error) {
	if t.rot.Unreadable {
		return nil, false, nil
	}
	const withKeys = true
	listing, err := t.keys(ctx, as, withKeys)
	if t.app.Mode == ModeSelf && reasonOf(err) == ReasonForbidden {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	t.comeBack(listing.shows)
	for _, e := range listing.Entries {
		switch {
		case e.Thumbprint == c.ThumbprintSHA256:
			ids = append(ids, e.KeyID)
		case e.KeyID == c.KeyID:
			return nil, false, fix(ReasonOther, "correct it: rotate app edit "+t.app.Name+" --key-id ID",
				"app %s: the key ID %s is that of another certificate (%s), not of ours (%s); nothing is removed", t.app.Name, e.KeyID, e.Thumbprint, c.ThumbprintSHA256)
		}
	}
	return ids, true, nil
}

// proofRefused decides about a refused proof of a removal: right after an upload
// the key may not have spread; a certificate may not sign its own removal.
func (t *turn) proofRefused(ctx context.Context, signer KeyPair, c Credential, err error) error {
	isItself := signer.Thumbprint() == c.ThumbprintSHA256
	if (!isItself || !t.known.refusesSelfRemoval()) && t.now().Sub(t.rot.PhaseAt[PhaseUploaded]) < t.known.acceptedLate() {
		return err
	}
	if isItself {
		return t.orphan(ctx, c, "no other certificate of ours is valid, and Entra does not let a certificate sign its own removal")
	}
	f := *failureOf(err)
	f.Class = ClassFix
	return &f
}

// noteLeft notes wherever the certificate is described that it is left on the app to
// a person.
func noteLeft(rec *Records, thumbprint Thumbprint, at time.Time) {
	for _, rot := range []*Rotation{rec.Rotation, rec.Closed} {
		if rot != nil && rot.Compromised != nil && rot.Compromised.Thumbprint == thumbprint {
			rot.Compromised.DoneAt = at
		}
	}
	eachCopy(rec, thumbprint, func(c *Credential) { c.LeftAt = at })
}

// orphan leaves a certificate to a person, because nobody can tell its KeyID.
func (t *turn) orphan(ctx context.Context, c Credential, reason string) error {
	now := t.now().UTC()
	next := fmt.Sprintf("remove the certificate with thumbprint %s from the app %s in the Entra portal", c.ThumbprintSHA1, t.app.ClientID)
	kind, severity := EventRotationFailed, SeverityWarning
	if c.GivenUp {
		kind, severity = EventRemovalUnconfirmed, SeverityCritical // whoever has its key may sign in
	}
	return t.record(ctx, "certificate left to a person", func(rec *Records) {
		rec.Rotation.RemovalSentAt, rec.Rotation.Removing = time.Time{}, ""
		rec.Rotation.LeftBehind = append(rec.Rotation.LeftBehind, c.ThumbprintSHA256)
		rec.App.Orphans = append(rec.App.Orphans, Orphan{Credential: c, Reason: reason, Since: now})
		noteLeft(rec, c.ThumbprintSHA256, now)
		rec.Events = append(rec.Events, t.event(kind, severity,
			fmt.Sprintf("the certificate %s stays on the app: %s", c.ThumbprintSHA1, reason), next))
	})
}

// cut sends the removal of the pair that a person gave up and wants gone at once.
func (t *turn) cut(ctx context.Context) error {
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return err
	}
	if _, err := t.entraTime(ctx); err != nil {
		return err
	}
	for _, e := range t.ledger().others(t.rot.New.ThumbprintSHA256) {
		if e.ThumbprintSHA256 != t.rot.Compromised.Thumbprint {
			continue
		}
		if r, err := t.remove(ctx, next, &e.Credential); r != nil || err != nil {
			return cmp.Or(err, error(&Failure{Class: ClassWait, Reason: ReasonOther, Message: "app " + t.app.Name + ": the compromised certificate is not removed yet: " + r.text()}))
		}
		return nil
	}
	return t.cutDone(ctx)
}

// cutDone records that nothing is left to do about the pair that was given up: its
// removal was sent before, or it was never uploaded.
func (t *turn) cutDone(ctx context.Context) error {
	return t.record(ctx, "", func(rec *Records) { rec.Rotation.Compromised.DoneAt = t.now().UTC() })
}

// retired ends the rotation: one certificate of ours is in service, the removal of
// the others was sent.
func (t *turn) retired(ctx context.Context) error {
	now := t.now().UTC()
	summary := fmt.Sprintf("the certificate was replaced; the new one is valid until %s", t.rot.New.NotAfter.Format(time.DateOnly))
	if n := len(t.rot.LeftBehind); n > 0 {
		summary += fmt.Sprintf("; %d of ours must be removed from the app by hand", n)
	}
	if t.rot.Old == nil && len(t.rot.Told) > 0 && t.rot.PhaseAt[PhaseUploaded].IsZero() {
		summary = "the certificate stayed, and was confirmed before"
	}
	summary += toldText(&t.rot)
	kept := t.ledger().others(t.rot.New.ThumbprintSHA256)
	return t.enter(ctx, PhaseRetired, func(rec *Records) {
		rec.Rotation.Outcome = summary
		if c := rec.Rotation.Compromised; c != nil && !c.isDone() {
			c.DoneAt = now
		}
		settleOn(rec.App, rec.Rotation.New.ThumbprintSHA256, kept)
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
