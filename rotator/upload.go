package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// upload adds the new certificate to the app. Its own effect is recognised by
// the list, or where that cannot be read, by a token of the new pair. A request
// whose answer was lost is never sent again blindly, and always for the same
// pair.
func (t *turn) upload(ctx context.Context) (*wait, error) {
	signer, err := t.signer(ctx)
	if err == nil && signer.IsZero() && t.r.askClock(ctx, &t.app) != 0 {
		signer, err = t.signer(ctx) // what has ended by this host's clock has not by Entra's
	}
	if err != nil {
		return nil, err
	}
	if signer.IsZero() && t.app.Mode == ModeSelf {
		return nil, fix(ReasonExpired,
			"upload a new certificate by hand in the Entra portal and add the app again with it, or give the tenant an identity that owns the app and \"rotate app edit "+t.app.Name+" --mode managed\"",
			"app %s: no certificate of ours is valid any more, so the app cannot sign a proof for a new one (self mode)", t.app.Name)
	}
	if t.app.Mode == ModeSelf && t.rot.Upload.Sends == 0 {
		// What this pair can do, the new one must do. The token is kept for the
		// requests that follow.
		var got SignIn
		if signer, got, err = t.acceptedSigner(ctx); reasonOf(err) == ReasonNotRegistered {
			return t.signerMissing(ctx)
		}
		if err != nil {
			return nil, err
		}
		t.had = earlierSignIn{signer.Thumbprint(), got, t.now()}
	}
	s, err := t.see(ctx, signer)
	if t.app.Mode == ModeSelf && reasonOf(err) == ReasonNotRegistered {
		return t.signerMissing(ctx)
	}
	if err != nil {
		return nil, err
	}
	if signer, err = t.listedSigner(ctx, signer, s); err != nil {
		return nil, err
	}
	if t.rot.SignerAbsence.Reads > 0 && !t.rot.SignerAbsence.isAbsent() {
		return &wait{WaitingPropagation, t.now().UTC().Add(absentEvery)}, nil
	}
	switch {
	case s.present:
		return nil, t.uploaded(ctx, s.keyID)
	case t.rot.Upload.SentAt.IsZero():
	case s.readable:
		absence := t.rot.Absence.missed(t.now().UTC())
		if !absence.isAbsent() {
			err := t.record(ctx, "", func(rec *Records) { rec.Rotation.Absence = absence })
			return &wait{WaitingAnswer, t.now().UTC().Add(absentEvery)}, err
		}
		// On a bad day the list lacks a new entry for 20 minutes and more: the token
		// service has the last word, where its answer can be waited for.
		if w, done, err := t.findByToken(ctx); done || err != nil || w != nil && !t.isLate(t.now()) {
			return w, err
		}
	default:
		if w, done, err := t.findByToken(ctx); done || w != nil || err != nil {
			return w, err
		}
	}
	if err := t.targets(ctx); err != nil {
		return nil, err
	}
	w, err := t.send(ctx, signer, s.listing)
	if t.app.Mode == ModeSelf && reasonOf(err) == ReasonNotRegistered {
		return t.signerMissing(ctx)
	}
	return w, err
}

// acceptedSigner signs in with the pairs of ours that can sign, and returns the first
// that Entra knows. The refusal of one says nothing about the next.
func (t *turn) acceptedSigner(ctx context.Context) (KeyPair, SignIn, error) {
	list, err := t.signers(ctx, maxSigners)
	if err != nil {
		return KeyPair{}, SignIn{}, err
	}
	var refused error
	for _, pair := range list {
		got, err := t.cold(ctx, pair, nil)
		if reasonOf(err) != ReasonNotRegistered {
			return pair, got, err
		}
		refused = err
	}
	return KeyPair{}, SignIn{}, refused
}

// maxSigners bounds how many pairs are tried: the one in service, the one before,
// and what closed rotations left.
const maxSigners = 4

// signerMissing handles a token service that does not know the pair in service
// any more: after the time that a key may take to spread, somebody removed it.
func (t *turn) signerMissing(ctx context.Context) (*wait, error) {
	now := t.now().UTC()
	absence := t.rot.SignerAbsence.missed(now)
	err := t.record(ctx, "", func(rec *Records) { rec.Rotation.SignerAbsence = absence })
	if err != nil {
		return nil, err
	}
	if !absence.isAbsent() {
		return &wait{WaitingPropagation, now.Add(absentEvery)}, nil
	}
	return nil, fix(ReasonNotRegistered,
		"find out who removed it; upload a certificate by hand in the Entra portal and add the app again with it, or give the tenant an identity that owns the app and \"rotate app edit "+t.app.Name+" --mode managed\"",
		"app %s: Entra no longer knows the certificate in service; its consumer cannot sign in, and the app cannot sign a proof for a new certificate (self mode)", t.app.Name)
}

// listedSigner drops the signer once it is sure that no pair of ours which could sign is
// on the app: then the list has to be replaced (managed mode).
func (t *turn) listedSigner(ctx context.Context, signer KeyPair, s sight) (KeyPair, error) {
	if !s.readable || t.app.Mode != ModeManaged || signer.IsZero() {
		return signer, nil
	}
	others, err := t.signers(ctx, maxSigners)
	if err != nil {
		return KeyPair{}, err
	}
	l := t.ledger()
	for _, other := range others {
		c := l.entry(other.Thumbprint())
		if c == nil || !slices.ContainsFunc(s.listing.Entries, c.maySignAs) {
			continue
		}
		if t.rot.SignerAbsence.Reads == 0 {
			return other, nil
		}
		return other, t.record(ctx, "", func(rec *Records) { rec.Rotation.SignerAbsence = Absence{} })
	}
	absence := t.rot.SignerAbsence.missed(t.now().UTC())
	if err := t.record(ctx, "", func(rec *Records) { rec.Rotation.SignerAbsence = absence }); err != nil {
		return KeyPair{}, err
	}
	if absence.isAbsent() {
		return KeyPair{}, nil
	}
	return signer, nil
}

// maySignAs reports whether an entry of a list may carry the certificate: trying costs
// nothing.
func (e *entry) maySignAs(listed Entry) bool {
	return e.isListedAs(listed) || e.KeyID == "" && listed.Hint != "" && strings.EqualFold(listed.Hint, e.ThumbprintSHA1)
}

// signer returns the pair of ours that can sign a proof best. Zero if none is valid.
func (t *turn) signer(ctx context.Context) (KeyPair, error) {
	list, err := t.signers(ctx, 1)
	if err != nil || len(list) == 0 {
		return KeyPair{}, err
	}
	return list[0], nil
}

// signers returns up to most pairs of ours that can sign a proof now, best first, see
// [ledger.signers].
func (t *turn) signers(ctx context.Context, most int) ([]KeyPair, error) {
	var list []KeyPair
	for _, e := range t.ledger().signers(t.rot.New.ThumbprintSHA256, t.bestTime(), t.listing) {
		pair, err := t.pair(ctx, &e.Credential)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if list = append(list, pair); len(list) == most {
			break
		}
	}
	return list, nil
}

// findByToken looks for the effect of an unanswered upload where the list
// cannot be read. done tells that the certificate was found and recorded.
func (t *turn) findByToken(ctx context.Context) (w *wait, done bool, err error) {
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return nil, false, err
	}
	there, err := t.accepted(ctx, next)
	if err != nil {
		return nil, false, err
	}
	if there {
		return nil, true, t.uploaded(ctx, "")
	}
	now := t.now().UTC()
	if now.Sub(t.rot.Upload.SentAt) >= t.policy.Prove.Within {
		return nil, false, nil // it never arrived
	}
	return &wait{WaitingAnswer, now.Add(pollIn(t.rot.Proof.Attempts, t.policy.Prove))}, false,
		t.record(ctx, "", func(rec *Records) { rec.Rotation.Proof.Attempts++ })
}

// targets makes sure, before the first upload, that every target holds a pair
// of ours or nothing. A target that holds a certificate this store does not
// know speaks of a second rotate or a restored store.
func (t *turn) targets(ctx context.Context) error {
	if t.rot.Upload.Sends > 0 {
		return nil
	}
	passwords, err := t.passwords(ctx)
	if err != nil {
		return err
	}
	for _, d := range t.app.Deliveries {
		target, err := t.r.settings().Deliverer.Holds(ctx, d, passwords)
		held := target.Thumbprint
		if errors.Is(err, ErrCannotTell) || d.Replace || err == nil && (held == "" || t.knows(held)) {
			continue
		}
		if err != nil {
			return fmt.Errorf("app %s: look at delivery %s before the upload: %w", t.app.Name, d.Name(), err)
		}
		return fix(ReasonOther,
			"if another rotate manages this app, stop one of them; if the file may be overwritten: rotate app edit "+t.app.Name+" --deliver-file "+d.Path+" --replace (with the app's other deliveries, if it has any)",
			"app %s: delivery %s holds the certificate %s, which this store does not know; nothing was uploaded", t.app.Name, d.Name(), held)
	}
	return nil
}

// knows reports whether the thumbprint is one of the app's pairs, the next one
// included.
func (t *turn) knows(held Thumbprint) bool {
	return held == t.rot.New.ThumbprintSHA256 || t.ledger().entry(held) != nil
}

// passwords open the files that targets of the app may hold.
func (t *turn) passwords(ctx context.Context) ([]string, error) {
	var list []string
	for _, c := range []*Credential{&t.rot.New, t.app.Current, t.rot.Old, t.app.Previous} {
		if c == nil {
			continue
		}
		pair, err := t.pair(ctx, c)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, pair.Password) {
			list = append(list, pair.Password)
		}
	}
	return list, nil
}

// send makes the request that adds the certificate. What is needed to recognise
// its effect is durable before.
func (t *turn) send(ctx context.Context, signer KeyPair, listing Listing) (*wait, error) {
	now := t.now().UTC()
	if at := uploadAllowedAt(t.app.Uploads, t.policy.UploadLimit, now); now.Before(at) && !t.rot.Force && !t.r.without(RuleUploadLimit) {
		return &wait{WaitingLimit, at}, nil
	}
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return nil, err
	}
	way := WayAddKey
	if signer.IsZero() || t.app.Mode == ModeManaged && t.r.without(RuleSigners) {
		way = WayPatch
	}
	requested, err := t.requestedKeyID(ctx, way)
	if err != nil {
		return nil, err
	}
	err = t.record(ctx, "certificate upload begun", func(rec *Records) {
		rec.App.Uploads = append(within(rec.App.Uploads, now, day), now)
		rec.Rotation.Upload.Way, rec.Rotation.Upload.SentAt = way, now
		rec.Rotation.Upload.RequestedKeyID = requested
		rec.Rotation.Upload.Sends++
		rec.Rotation.New.AddedAt = now
		rec.Rotation.Absence = Absence{}
		rec.Rotation.Force = false // it lifts the ceiling for one request
	})
	if err != nil {
		return nil, err
	}
	add := NewKey{
		KeyID: requested, Without: t.rot.Upload.Without, DisplayName: t.rot.DisplayName, Certificate: next.Certificate,
		NotBefore: t.rot.New.NotBefore, NotAfter: t.rot.New.NotAfter,
	}
	var id KeyID
	if way == WayPatch {
		id, err = t.r.settings().Entra.PatchKeys(ctx, t.access(signer), t.rot.Upload.Seen, add)
	} else {
		id, err = t.r.settings().Entra.AddKey(ctx, t.access(signer), signer, add)
	}
	t.noteUpload(way, id, add.KeyID, err)
	t.noteAccepted(way, add, listing, err)
	if err == nil {
		return nil, t.uploaded(ctx, id)
	}
	f := t.r.policyIn(ctx, t.known, t.access(signer), failureOf(err))
	if f.Ambiguous || ctx.Err() != nil {
		// The certificate may be there: the next attempt looks first.
		return nil, err
	}
	if f.Reason == ReasonPolicy {
		t.notes().Counted(CountPolicyRefused)
		return nil, t.refuse(ctx, f)
	}
	withoutKeyID := f.Reason == ReasonKeyIDRefused && requested != ""
	passes, _ := t.passing(f, now)
	settled := t.record(ctx, "", func(rec *Records) {
		rec.Rotation.Upload.SentAt, rec.Rotation.Upload.RequestedKeyID = time.Time{}, ""
		if f.Reason == ReasonStaleRead || withoutKeyID || passes != f {
			// Nothing was sent or changed, so nothing counts. The tries of a refusal
			// that passes are few, see passing.
			rec.App.Uploads = slices.DeleteFunc(rec.App.Uploads, now.Equal)
			rec.Rotation.Upload.Sends--
		}
	})
	if settled != nil {
		return nil, errors.Join(settled, err)
	}
	if way == WayPatch && f.Reason == ReasonEndDate && (passes == f || t.known.refusesExpired()) {
		if left, leftErr := t.leaveOutEnded(ctx, listing); left || leftErr != nil {
			return &wait{WaitingRetry, t.now().UTC().Add(backoff(1))}, leftErr
		}
	}
	if !withoutKeyID {
		return nil, err
	}
	// The refusal is definite: nothing was changed, so it is sent again at once.
	if err := t.r.keyIDRefused(ctx, t.app.Tenant); err != nil {
		return nil, err
	}
	return t.send(ctx, signer, listing)
}

// policyIn takes a refusal for one by policy if the tenant is known to say so in these
// words.
func (r *Rotator) policyIn(ctx context.Context, known learned, as Access, f *Failure) *Failure {
	if !known.saysPolicy(f) {
		return f
	}
	said := *f
	said.Reason = ReasonPolicy
	said.Next = "shorten defaults.validity, or the validity of this app: the tenant refused a certificate of ten years in the same words when it was verified"
	if limit, _, err := r.settings().Entra.LongestLifetime(ctx, as); err == nil {
		said.LongestLifetime = limit
	}
	return &said
}

// leaveOutEnded decides what follows when a PATCH is refused for an end date and goes
// on being so: entries that have ended are reported by name and not sent back by the
// next one. Each is useless already. False if there is none, or they are left out.
// https://github.com/microsoft/Microsoft365DSC/issues/3426
func (t *turn) leaveOutEnded(ctx context.Context, listing Listing) (bool, error) {
	now := listing.At
	if now.IsZero() {
		return false, nil
	}
	var ended []KeyID
	var names []string
	for _, e := range listing.Entries {
		if e.NotAfter.Before(now) && !slices.Contains(t.rot.Upload.Without, e.KeyID) {
			ended = append(ended, e.KeyID)
			names = append(names, fmt.Sprintf("%q (key ID %s, expired %s)", e.DisplayName, e.KeyID, e.NotAfter.Format(time.DateOnly)))
		}
	}
	if len(ended) == 0 {
		return false, nil
	}
	return true, t.record(ctx, "expired certificates left out", func(rec *Records) {
		up := &rec.Rotation.Upload
		up.Without = append(up.Without, ended...)
		up.Seen = slices.DeleteFunc(up.Seen, func(id KeyID) bool { return slices.Contains(ended, id) })
		rec.Events = append(rec.Events, t.event(EventForeignCredential, SeverityWarning,
			"Entra refuses to keep certificates on the app that have expired, so the next upload removes them: "+strings.Join(names, ", "),
			"nothing, for no one can sign in with them; to add one again, use the Entra admin centre"))
	})
}

// requestedKeyID is the KeyID that the request asks for: none with addKey, where
// Entra alone chooses, and none where the tenant refuses it.
func (t *turn) requestedKeyID(ctx context.Context, way string) (KeyID, error) {
	if way != WayPatch {
		return "", nil
	}
	return t.r.patchKeyID(ctx, t.app.Tenant)
}

// patchKeyID is a fresh KeyID for the new entry of a PATCH; empty where the tenant
// refuses one.
func (r *Rotator) patchKeyID(ctx context.Context, tenant string) (KeyID, error) {
	known, err := r.Store.Tenant(ctx, tenant)
	if err != nil {
		return "", fmt.Errorf("tenant %s: %w", tenant, err)
	}
	if known.PatchChoosesKeyID {
		return "", nil
	}
	return r.newGUID(), nil
}

// keyIDRefused keeps in the tenant's record that no PATCH may carry a KeyID for its
// new entry.
func (r *Rotator) keyIDRefused(ctx context.Context, tenant string) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	err := r.write(ctx, "", func(rec *Records) error {
		known, err := rec.Tenant(tenant)
		if err == nil {
			known.PatchChoosesKeyID = true
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("tenant %s: %w that it refuses key IDs: %w", tenant, errRecord, err)
	}
	return nil
}

// uploaded records that the app carries the new certificate. An empty KeyID
// means that it is not known yet; where no list can be read either, a person is
// asked at once, while the entry is easy to find.
func (t *turn) uploaded(ctx context.Context, id KeyID) error {
	return t.enter(ctx, PhaseUploaded, func(rec *Records) {
		if id == "" && rec.Rotation.Unreadable {
			rec.Events = append(rec.Events, t.event(EventKeyIDUnknown, SeverityWarning,
				"the upload was not answered and the app is not allowed to read its list, so the key ID of the new certificate "+
					t.rot.New.ThumbprintSHA1+" is not known; the rotation continues", t.app.keyIDNext(&t.rot.New)))
		}
		rec.Rotation.Upload.SentAt = time.Time{}
		rec.Rotation.Absence, rec.Rotation.Proof = Absence{}, Proof{}
		rec.Rotation.LookedAt = t.now().UTC()
		rec.Rotation.New.RequestedKeyID = rec.Rotation.Upload.RequestedKeyID
		setKeyID(rec, id)
	})
}

// refuse ends a rotation whose certificate the tenant's policy will never
// accept. The next one is planned with the longest lifetime that is known to be
// allowed.
func (t *turn) refuse(ctx context.Context, f *Failure) error {
	now := t.now().UTC()
	retryAt := now.Add(retryIn(f, 1, t.timeLeft(now), t.r.spread()))
	if f.LongestLifetime > 0 && f.LongestLifetime != t.app.LifetimeLimit {
		retryAt = now.Add(backoff(1))
	}
	// This request added nothing. An earlier one, whose answer was lost, may have.
	var earlier *Removal
	if t.rot.Upload.Sends > 1 {
		earlier = t.newRemoval(&t.rot.New, nil, false)
	}
	t.log.ErrorContext(ctx, "tenant policy refuses the certificate", "err", f.Message, "next", f.Next)
	return t.enter(ctx, PhaseRolledBack, func(rec *Records) {
		rec.Rotation.Outcome = "the tenant's policy refused the certificate: " + f.Message
		rec.Rotation.Back = &Back{By: "schedule", At: now, From: PhasePlanned, Reason: "policy"}
		if earlier != nil {
			keepRemoval(rec.App, earlier)
			noteRemoval(rec, earlier)
		}
		rec.Rotation.Upload.SentAt = time.Time{} // the refusal settles this request
		t.dropNew(rec)
		if f.LongestLifetime > 0 {
			rec.App.LifetimeLimit = f.LongestLifetime
		}
		rec.App.Trouble = &Trouble{
			Class: ClassFix, Reason: ReasonPolicy, Message: f.Message, Next: f.Next,
			At: now, Attempts: 1, RetryAt: retryAt,
		}
		severity, summary := SeverityWarning, f.Message
		if c := rec.App.givenUp(now); c != nil {
			severity, summary = SeverityCritical, "the compromised certificate "+c.ThumbprintSHA1+" is still accepted, for the new one was refused: "+f.Message
		}
		rec.Events = append(rec.Events, t.event(EventRotationFailed, severity, summary, f.Next))
	})
}

// timeLeft is how long the certificate in service still lives.
func (t *turn) timeLeft(now time.Time) time.Duration {
	if t.rot.Old == nil {
		return 0
	}
	return t.rot.Old.NotAfter.Sub(now)
}
