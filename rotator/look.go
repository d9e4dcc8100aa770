package rotator

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// sight is what one look at the app's list showed.
type sight struct {
	// readable is false where who asks may not read the list.
	readable bool
	// present tells that the new certificate is listed. Presence is proof.
	present bool
	keyID   KeyID
	listing Listing
}

// see reads the app's list as pair as and finds the new certificate in it. It
// records what only a reading can tell: the KeyID, entries seen, readability.
func (t *turn) see(ctx context.Context, as KeyPair) (sight, error) {
	if t.rot.Unreadable {
		return sight{}, nil
	}
	// The certificates themselves are asked for only where the KeyID is not
	// known: that reading is limited to 150 a minute.
	withKeys := t.rot.New.KeyID == "" && t.rot.Upload.Sends > 0
	listing, err := t.keys(ctx, as, withKeys)
	if t.app.Mode == ModeSelf && reasonOf(err) == ReasonForbidden {
		return sight{}, t.record(ctx, "", func(rec *Records) { rec.Rotation.Unreadable = true })
	}
	if err != nil {
		return sight{}, err
	}
	t.r.noteClock(t.app.Tenant, listing.At)
	s := sight{readable: true, listing: listing}
	for _, e := range listing.Entries {
		if t.isNew(e) {
			s.present, s.keyID = true, e.KeyID
		}
	}
	t.noteListed(s.present)
	t.comeBack(listing.shows)
	if err := t.remember(ctx, &s); err != nil {
		return sight{}, err
	}
	return s, t.strangers(ctx, listing)
}

// remember records what only a reading can tell: the KeyID of the new
// certificate, the app's own facts, and which entries were seen. An entry that
// was seen and is absent by the rule is reported: nobody should find out by an
// outage that something else took it away.
func (t *turn) remember(ctx context.Context, s *sight) error {
	now := t.now().UTC()
	listed := make([]KeyID, 0, len(s.listing.Entries))
	for _, e := range s.listing.Entries {
		listed = append(listed, e.KeyID)
	}
	seen := t.rot.Upload.Seen
	unseen := slices.DeleteFunc(slices.Clone(listed), func(id KeyID) bool {
		return slices.Contains(seen, id) || slices.Contains(t.rot.Upload.Without, id) || t.app.isLeaving(id, "")
	})
	gone := slices.DeleteFunc(slices.Clone(seen), func(id KeyID) bool { return slices.Contains(listed, id) })
	absence := Absence{}
	if len(gone) > 0 {
		absence = t.rot.SeenAbsence.missed(now)
	}
	learnt := s.present && t.rot.New.KeyID != s.keyID
	newFacts := t.app.ObjectID == "" && s.listing.ObjectID != ""
	if len(unseen) == 0 && absence == t.rot.SeenAbsence && !learnt && !newFacts {
		return nil
	}
	learn := func(rec *Records) {
		rec.Rotation.Upload.Seen = append(rec.Rotation.Upload.Seen, unseen...)
		if newFacts {
			rec.App.ObjectID, rec.App.DisplayName = s.listing.ObjectID, s.listing.DisplayName
		}
		if learnt {
			setKeyID(rec, s.keyID)
		}
	}
	if absence == t.rot.SeenAbsence && t.mayAddKey(now.Add(day)) {
		t.learn(learn)
		return nil
	}
	return t.record(ctx, "", func(rec *Records) {
		learn(rec)
		rec.Rotation.SeenAbsence = absence
		if absence.isAbsent() {
			rec.Rotation.SeenAbsence = Absence{}
			rec.Rotation.Upload.Seen = slices.DeleteFunc(rec.Rotation.Upload.Seen, func(id KeyID) bool { return slices.Contains(gone, id) })
			rec.Events = append(rec.Events, t.event(EventForeignCredential, SeverityWarning,
				fmt.Sprintf("certificates that were on the app are gone from it (KeyID %v)", gone),
				"if nobody removed them on purpose, add them again"))
		}
	})
}

// mayAddKey reports whether the list is not replaced before the given time: self
// mode never does, managed mode only without a valid pair of ours. An entry that
// was seen must be durable before a replacement, and a reading that lags may not
// show it again.
func (t *turn) mayAddKey(until time.Time) bool {
	return t.app.Mode == ModeSelf || slices.ContainsFunc(t.ledger().list, func(e entry) bool {
		return e.role != roleNext && !e.isLeaving() && !e.GivenUp && until.Before(e.NotAfter)
	})
}

// isNew reports whether the entry is the rotation's certificate: by its own
// hash, or by the KeyID that the answer named or that a PATCH of ours asked for.
func (t *turn) isNew(e Entry) bool {
	switch {
	case e.Thumbprint != "":
		return e.Thumbprint == t.rot.New.ThumbprintSHA256
	case t.rot.New.KeyID != "":
		return e.KeyID == t.rot.New.KeyID
	}
	return t.rot.Upload.RequestedKeyID != "" && e.KeyID == t.rot.Upload.RequestedKeyID
}

// setKeyID notes the KeyID of the new certificate wherever it is described. Entra said
// it.
func setKeyID(rec *Records, id KeyID) {
	eachCopy(rec, rec.Rotation.New.ThumbprintSHA256, func(c *Credential) { c.KeyID, c.KeyIDByHand = id, false })
}

// entryName is the display name of our entries: NAME (rotate STORE/ROTATION).
// keyCredential.displayName holds 90 characters
// (https://learn.microsoft.com/graph/api/resources/keycredential).
func entryName(app, store, rotation string) string {
	suffix := fmt.Sprintf(" (rotate %s/%s)", store, rotation)
	return app[:min(len(app), 90-len(suffix))] + suffix
}

// ourForm finds store and rotation in a display name made by entryName.
var ourForm = regexp.MustCompile(`\(rotate ([0-9a-f]+)/([0-9a-z]+)\)$`)

// strangers stops the rotation when the list holds an entry of our form that
// this store does not know: a second daemon, or a store restored from before.
// The form is a hint that stops us, never a proof that permits removal.
func (t *turn) strangers(ctx context.Context, listing Listing) error {
	for _, e := range listing.Entries {
		m := ourForm.FindStringSubmatch(e.DisplayName)
		if m == nil || t.isOurs(e) {
			continue
		}
		if m[1] == t.r.Store.ID() {
			rot, err := t.r.Store.Rotation(ctx, m[2])
			if err == nil && rot.App == t.app.Name {
				continue
			}
		}
		message := fmt.Sprintf("app %s: the app carries a certificate %q (KeyID %s) that another rotate made, or this one before its store was restored; nothing is changed",
			t.app.Name, e.DisplayName, e.KeyID)
		return fix(ReasonOther,
			"make sure that only one rotate manages this app; if the entry is a leftover, remove its KeyID in the Entra portal, then \"rotate now "+t.app.Name+"\"",
			"%s", message)
	}
	return nil
}

// isOurs reports whether the entry is one that the app's records name.
func (t *turn) isOurs(e Entry) bool {
	is := func(c *Credential) bool {
		return c.KeyID != "" && c.KeyID == e.KeyID || e.Thumbprint != "" && e.Thumbprint == c.ThumbprintSHA256
	}
	return is(&t.rot.New) || slices.ContainsFunc(t.ledger().list, func(o entry) bool { return is(&o.Credential) })
}

// lookEvery bounds how often a waiting rotation is compared with Entra.
const lookEvery = time.Minute

// look makes sure that the new certificate, on which the rotation stands, is
// still accepted. It returns a wait while that is in doubt, and ends or stops
// the rotation when it is gone.
func (t *turn) look(ctx context.Context) (*wait, error) {
	now := t.now().UTC()
	if t.isRecent(t.looked) && t.rot.Missing.IsZero() {
		return nil, nil //nolint:nilnil // the step before has just looked
	}
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return nil, err
	}
	s, err := t.see(ctx, next)
	if reasonOf(err) == ReasonNotRegistered && t.app.Mode == ModeSelf {
		// The reading itself signs in with the new pair.
		s = sight{}
	} else if err != nil {
		return nil, err
	}
	if !s.present {
		// A list may lack a new entry for a while; who gets a token is there.
		if s.present, err = t.accepted(ctx, next); err != nil {
			return nil, err
		}
	}
	if s.present {
		t.looked = now
		if !t.rot.Missing.IsZero() || t.rot.Absence.Reads > 0 || now.Sub(t.rot.LookedAt) >= lookEvery {
			return nil, t.record(ctx, "", func(rec *Records) {
				rec.Rotation.Absence, rec.Rotation.Missing, rec.Rotation.LookedAt = Absence{}, time.Time{}, now
			})
		}
		return nil, nil //nolint:nilnil // present: the step may go on
	}
	absence := t.rot.Absence.missed(now)
	if err := t.record(ctx, "", func(rec *Records) { rec.Rotation.Absence = absence }); err != nil {
		return nil, err
	}
	if !t.isGone(absence, s.readable) {
		every := absentEvery
		if !s.readable {
			every = max(every, t.policy.Prove.Within/40)
		}
		return &wait{WaitingPropagation, now.Add(every)}, nil
	}
	return nil, t.gone(ctx)
}

// gone ends or stops the rotation whose certificate was removed by somebody:
// it ends if nobody has the new pair yet.
func (t *turn) gone(ctx context.Context) error {
	if t.isReached() {
		return t.missing(ctx)
	}
	return t.vanish(ctx)
}

// isReached reports whether a consumer may hold the new pair.
func (t *turn) isReached() bool { return t.rot.isReached() }

func (rot *Rotation) isReached() bool {
	return !rot.Reach.IsZero() || !rot.PhaseAt[PhaseDelivered].IsZero()
}

// recent is how long an answer holds within one turn: what the step before has
// just asked is not asked again.
const recent = 10 * time.Second

func (t *turn) isRecent(at time.Time) bool {
	age := t.now().Sub(at)
	return age >= 0 && age < recent
}

// accepted asks the token service whether it knows the pair.
func (t *turn) accepted(ctx context.Context, pair KeyPair) (bool, error) {
	got, err := t.cold(ctx, pair, nil)
	if err == nil && pair.Thumbprint() == t.rot.New.ThumbprintSHA256 {
		t.signIn, t.signedIn = got, t.now()
	}
	if reason := reasonOf(err); reason == ReasonNotRegistered {
		return false, nil
	} else if reason == ReasonBlocked {
		// Conditional Access comes after the credential was accepted.
		return true, nil
	}
	return err == nil, err
}

// isGone judges absence by the rule that fits what can be seen. A certificate that
// never was accepted may be so new that neither list nor token service shows it.
func (t *turn) isGone(a Absence, readable bool) bool {
	accepted := t.rot.Proof.Successes > 0 || !t.rot.PhaseAt[PhaseProven].IsZero()
	switch {
	case !readable:
		return a.isAbsent() && a.Last.Sub(a.Since) >= t.policy.Prove.Within
	case !accepted:
		return a.isAbsent() && a.Last.Sub(t.rot.PhaseAt[PhaseUploaded]) >= t.policy.Prove.Within
	}
	return a.isAbsent()
}

// vanish ends a rotation whose certificate somebody removed before anybody got
// it. It is not uploaded again: it may have been revoked on purpose.
func (t *turn) vanish(ctx context.Context) error {
	summary := "the new certificate disappeared from the app before it was delivered; the rotation ended"
	next := "if nobody removed it on purpose: rotate now " + t.app.Name + " --force"
	return t.enter(ctx, PhaseRolledBack, func(rec *Records) {
		rec.Rotation.Outcome = summary
		rec.Rotation.Back = &Back{By: "schedule", At: t.now().UTC(), From: t.rot.Phase, Reason: "vanished"}
		t.dropNew(rec)
		rec.App.Hold = "the last new certificate vanished from Entra; " + next
		rec.Events = append(rec.Events, t.event(EventCertificateMissing, SeverityWarning, summary, next))
	})
}

// missing reports a certificate that is gone although a consumer may hold it.
// Nothing is retired while it is.
func (t *turn) missing(ctx context.Context) error {
	f := fix(ReasonNotRegistered,
		"find out who removed it; to upload it again: rotate now "+t.app.Name+" --force; to go back: rotate rollback "+t.app.Name,
		"app %s: the new certificate %s is gone from Entra although it was delivered; nothing is retired", t.app.Name, t.rot.New.ThumbprintSHA1)
	if !t.rot.Missing.IsZero() {
		return f
	}
	err := t.record(ctx, "certificate missing", func(rec *Records) {
		rec.Rotation.Missing = t.now().UTC()
		rec.Rotation.Trouble = &Trouble{Class: f.Class, Reason: f.Reason, Message: f.Message} // told by this event
		rec.Events = append(rec.Events, t.event(EventCertificateMissing, SeverityCritical, f.Message, f.Next))
	})
	if err != nil {
		return err
	}
	return f
}

// dropNew takes the new pair out of service: its sealed key is kept for a
// while, then forgotten.
func (t *turn) dropNew(rec *Records) {
	c := rec.Rotation.New
	if !rec.Rotation.mayBeUploaded() {
		c.RemovedAt = t.now().UTC() // it never was there
	}
	c.ForgetAt = t.now().UTC().Add(t.policy.KeepPrevious)
	rec.App.Former = append(rec.App.Former, c)
}
