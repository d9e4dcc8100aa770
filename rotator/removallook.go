package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// This file checks removals that were sent. A check is an entry of the due index of
// its own: it takes a worker while it asks, and none while it waits.

// carryRemovals checks an app's removals; what cannot be recorded is logged, for
// there is nobody to return it to.
func (r *Rotator) carryRemovals(ctx context.Context, _ *claim, app string) {
	err := r.checkRemovals(ctx, app)
	if ctx.Err() != nil {
		return
	}
	r.rest(app, err)
	if err != nil {
		r.log().ErrorContext(ctx, "removals cannot be checked", "app", app, "err", err)
	}
}

// removalLook is one check of an app's pending removals.
type removalLook struct {
	*turn
	times RemovalTimes
	// list are the removals, changed as answers come; due those that are checked now.
	list []Removal
	due  []int
	// signer is the pair that stays; zero: there is none.
	signer KeyPair
	// listing is the newest reading; readable tells whether there was one.
	listing  Listing
	readable bool
	withKeys bool
	// closed are ended rotations that sent one of them.
	closed map[string]Rotation
	events []Event
	audit  []AuditEntry
}

// checkRemovals reads the app's list once, tries to sign in with each certificate
// whose key is held, and records what that showed. The caller has the claim. The
// error is one of the store: everything else is recorded.
func (r *Rotator) checkRemovals(ctx context.Context, name string) error {
	t, err := r.open(ctx, name)
	if err != nil {
		return err
	}
	if t == nil {
		app, err := r.Store.App(ctx, name)
		if err != nil {
			return err
		}
		known, err := r.learnedOf(ctx, app.Tenant)
		if err != nil {
			return err
		}
		t = &turn{r: r, app: app, known: known, policy: policyOf(&app, r.settings().Defaults), pairs: map[Thumbprint]KeyPair{}, log: r.log().With("app", name)}
	}
	l := &removalLook{turn: t, times: r.removalTimes(&t.app, &t.policy), list: slices.Clone(t.app.Removals), closed: map[string]Rotation{}}
	now := r.now().UTC()
	for i := range l.list {
		if m := &l.list[i]; m.IsPending() && !m.LookAt.After(now) {
			l.due = append(l.due, i)
		}
	}
	if len(l.due) == 0 {
		return r.change(ctx, name, func(*Records) error { return nil }) // the due index is older than the record
	}
	if err := l.ask(ctx, now); err != nil {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped, not failed
		}
		for _, i := range l.due {
			l.failed(&l.list[i], err, now)
		}
		return l.save(ctx)
	}
	var send []int
	for _, i := range l.due {
		if l.judge(&l.list[i], now) {
			send = append(send, i)
		}
	}
	if err := l.save(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	for _, i := range send {
		if err := l.sendAgain(ctx, &l.list[i]); err != nil {
			return err
		}
	}
	return nil
}

// ask reads the list and signs in. A failure leaves all as it was.
func (l *removalLook) ask(ctx context.Context, now time.Time) error {
	if err := l.r.checkHosts(ctx, l.app.Tenant); err != nil {
		return err
	}
	var err error
	if l.signer, err = l.stays(ctx); err != nil {
		return err
	}
	if err := l.read(ctx); err != nil {
		return err
	}
	for _, i := range l.due {
		m := &l.list[i]
		m.Readable = l.readable
		if l.readable {
			l.compare(m)
		}
		if err := l.trySignIn(ctx, m, now); err != nil {
			return err
		}
	}
	return nil
}

// stays returns a pair of ours that nothing removes: it reads and signs.
func (l *removalLook) stays(ctx context.Context) (KeyPair, error) {
	candidates := []*Credential{l.app.Current}
	if l.rot.ID != "" {
		if !l.rot.PhaseAt[PhaseUploaded].IsZero() {
			candidates = append(candidates, &l.rot.New)
		}
		candidates = append(candidates, l.rot.Old)
	}
	candidates = append(candidates, l.app.Previous)
	for _, c := range candidates {
		now := l.r.now()
		if c == nil || c.isLeaving() || l.app.pendingOf(c.ThumbprintSHA256) != nil || now.Before(c.NotBefore) || now.After(c.NotAfter) {
			continue
		}
		pair, err := l.pair(ctx, c)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		return pair, err
	}
	return KeyPair{}, nil
}

// read reads the list once for all removals of the app. The certificates themselves,
// which Graph gives 150 times a minute and tenant, are asked for only where they
// decide: where an entry with another KeyID may be the one, and at the last read.
func (l *removalLook) read(ctx context.Context) error {
	if l.app.Mode == ModeSelf && l.signer.IsZero() {
		return nil
	}
	for _, i := range l.due {
		m := &l.list[i]
		l.withKeys = l.withKeys || !m.Foreign && m.Absent.Reads == absentReads-1
	}
	for {
		listing, err := l.keys(ctx, l.signer, l.withKeys)
		if l.app.Mode == ModeSelf && reasonOf(err) == ReasonForbidden {
			return nil
		}
		if err != nil {
			return err
		}
		l.listing, l.readable = listing, true
		if l.withKeys || !l.isDoubtful() {
			return l.r.comeBack(ctx, &l.app, listing.shows)
		}
		l.withKeys = true
	}
}

// isDoubtful reports whether the list holds an entry that may carry one of the
// certificates under a KeyID that is not known.
func (l *removalLook) isDoubtful() bool {
	return slices.ContainsFunc(l.listing.Entries, func(e Entry) bool {
		return slices.ContainsFunc(l.due, func(i int) bool {
			m := &l.list[i]
			return !m.Foreign && e.Hint != "" && strings.EqualFold(e.Hint, m.ThumbprintSHA1) && !slices.Contains(m.KeyIDs, e.KeyID)
		})
	})
}

// compare notes whether the reading shows a certificate.
func (l *removalLook) compare(m *Removal) {
	listed := false
	for _, e := range l.listing.Entries {
		if !m.Carries(e.KeyID, e.Thumbprint) {
			continue
		}
		listed = true
		if !slices.Contains(m.KeyIDs, e.KeyID) {
			m.KeyIDs = append(m.KeyIDs, e.KeyID)
		}
	}
	at := l.listing.At
	m.newest(at)
	m.Listed = listed
	if listed {
		m.Absent = Absence{}
		m.shown(at, l.r.now())
		return
	}
	m.Absent = m.Absent.again(at, m.seen().readEvery(l.times)/2)
}

// newest notes the time of an answer.
func (m *Removal) newest(at time.Time) {
	if at.After(m.At) {
		m.At = at
	}
}

// shown notes that an answer showed the certificate; now stands in for one without a
// time.
func (m *Removal) shown(at, now time.Time) {
	if at.IsZero() {
		at = now
	}
	m.SeenAt = at.UTC()
}

// trySignIn signs in with the pair that was removed, where its key is held and an
// answer can count.
func (l *removalLook) trySignIn(ctx context.Context, m *Removal, now time.Time) error {
	if m.Foreign {
		return nil
	}
	held, err := l.r.Store.HasKeyPair(ctx, m.ThumbprintSHA256)
	if err != nil {
		return err
	}
	if m.Held = held; !held {
		return nil
	}
	s := m.seen()
	from := s.refusedFrom(l.times)
	if m.Readable && now.Before(from) {
		return nil // the list shows it sooner than a refusal counts
	}
	every := s.signInEvery(l.times)
	if m.Readable && m.Refused.Reads > 0 && m.At.Sub(m.Refused.Last) < every {
		return nil
	}
	pair, err := l.pair(ctx, &m.Credential)
	if err != nil {
		return err
	}
	got, err := l.cold(ctx, pair, nil)
	at := got.At
	if err != nil {
		at = failureOf(err).ServerTime
	}
	m.newest(at)
	switch reasonOf(err) { //nolint:exhaustive // the others say nothing about the certificate
	case ReasonNotRegistered:
		m.Accepted = false
		if !at.Before(from) {
			m.Refused = m.Refused.again(at, every)
		}
		return nil
	case ReasonBlocked: // Conditional Access comes after the credential was accepted
	case ReasonExpired:
		return nil // its time has come, or Entra's clock says so: isRemoved decides
	default:
		if err != nil {
			return err
		}
	}
	m.Accepted, m.Refused = true, Absence{}
	m.shown(at, l.r.now())
	return nil
}

// failed notes a check that could not be made.
func (l *removalLook) failed(m *Removal, err error, now time.Time) {
	f := failureOf(err)
	m.Fails++
	m.Trouble, m.LookedAt = f.Message, now
	m.LookAt = now.Add(retryIn(&Failure{Class: ClassWait, RetryAfter: f.RetryAfter}, m.Fails, 0, l.r.spread()))
	if m.Fails >= manyAttempts || f.Class == ClassFix || f.Class == ClassGone {
		l.report(m, now, "its removal was sent and cannot be checked: "+f.Message)
	}
	if isRemoved(m.seen(), l.times) == verdictExpired || now.After(m.NotAfter.Add(maxClockError)) {
		l.end(m, RemovalExpired, now)
	}
}

// judge decides what follows from what was seen. It reports whether the removal has
// to be sent again.
func (l *removalLook) judge(m *Removal, now time.Time) (send bool) {
	m.LookedAt, m.Trouble, m.Fails = now, "", 0
	s := m.seen()
	was := m.RemovalFrom
	m.LookAt = l.next(m, now)
	m.RemovalFrom = l.from(m, now)
	known := isRemoved(s, l.times)
	if l.r.without(RuleRemoved) {
		known = verdictRemoved
	}
	switch known {
	case verdictRemoved:
		m.RemovedAt = m.At.UTC()
		l.end(m, RemovalRemoved, now)
	case verdictExpired:
		// It signs nobody in any more. What is still listed is removed for tidiness.
		if m.Readable && m.Listed && m.Back.IsZero() && m.Sends < tellAfter {
			return l.mayBeSent(m, now)
		}
		if !m.Readable || m.Listed || m.Absent.lasts(absentReads, l.times.Reads) {
			l.end(m, RemovalExpired, now)
		}
	case verdictUnknowable:
		l.report(m, now, "its removal was sent, and it cannot be confirmed from here: the list cannot be read and its private key is not held")
	case verdictPresent:
		switch {
		case m.Readable && !m.Listed && !m.Absent.lasts(absentReads, l.times.Reads):
			return false // the token service knows later than the list
		case !m.Back.IsZero():
			return false
		case len(m.KeyIDs) == 0:
			l.leave(m, now)
			return false
		}
		return l.mayBeSent(m, now)
	case verdictNotYet:
		if m.Sends == 0 && m.RemovalFrom.After(was) {
			m.RemovalFrom = was
		}
	}
	return false
}

// tellAfter is how many requests a removal may need before people are told.
const tellAfter = 3

// sendsPerDay bounds the requests of one removal.
const sendsPerDay = 10

// mayBeSent notes that a removal is sent again, which the record says before it is;
// or when it will be, and tells people after the third.
func (l *removalLook) mayBeSent(m *Removal, now time.Time) bool {
	if m.Sends >= tellAfter {
		l.report(m, now, fmt.Sprintf("its removal was sent %d times and it is still on the app", m.Sends))
	}
	m.Sent = within(m.Sent, now, day)
	at := m.LastSentAt.Add(backoff(m.Sends))
	if m.Sends == 0 {
		at = now
	}
	if len(m.Sent) >= sendsPerDay {
		if free := m.Sent[0].Add(day); free.After(at) {
			at = free
		}
	}
	if at.After(now) {
		if m.Sends >= tellAfter && m.LookAt.Before(at) || m.Sends < tellAfter && at.Before(m.LookAt) {
			m.LookAt = at
		}
		return false
	}
	m.Sends++
	m.LastSentAt, m.Sent = now, append(m.Sent, now)
	m.Absent, m.Refused = Absence{}, Absence{}
	m.RemovalFrom = m.seen().earliest(l.times, m.LookAt)
	return true
}

// next is when a removal is checked next.
func (l *removalLook) next(m *Removal, now time.Time) time.Time {
	s := m.seen()
	at := now.Add(pauseOf(s.signInEvery(l.times)))
	if m.Readable && !m.Absent.lasts(absentReads, l.times.Reads) {
		at = now.Add(pauseOf(s.readEvery(l.times)))
	} else if from := s.refusedFrom(l.times); m.Held && now.Before(from) {
		at = from.Add(inexact)
		if !m.Readable {
			// Only a token shows it: ask now and then, at the rate of any retry.
			at = earlier(at, now.Add(backoff(m.Sends+1)))
		}
	}
	if !m.Readable && !m.Held {
		at = now.Add(slowestRetry)
	}
	if !m.Back.IsZero() {
		at = now.Add(slowestRetry)
	}
	// Its end settles it, too.
	if end := m.NotAfter.Add(inexact); end.After(now) && end.Before(at) {
		at = end
	}
	return at.UTC()
}

// from is the earliest time at which the removal can be confirmed, after what was
// seen.
func (l *removalLook) from(m *Removal, now time.Time) time.Time {
	s := m.seen()
	if s.Listed || s.Accepted {
		return s.earliest(l.times, m.LookAt)
	}
	at := time.Time{}
	if s.Readable {
		at = now.Add(time.Duration(max(0, absentReads-s.Absent.Reads)) * pauseOf(s.readEvery(l.times)))
	}
	if s.Held {
		end := now.Add(time.Duration(max(0, refusals-s.Refused.Reads)) * pauseOf(s.signInEvery(l.times)))
		if s.Refused.Reads == 0 {
			end = s.earliest(l.times, m.LookAt)
		}
		if end.After(at) {
			at = end
		}
	}
	return at.UTC()
}

// report tells people of a removal, once.
func (l *removalLook) report(m *Removal, now time.Time, why string) {
	if !m.ReportedAt.IsZero() || isRemoved(m.seen(), l.times) == verdictExpired {
		return // nobody signs in with an expired one
	}
	m.ReportedAt = now
	severity := SeverityWarning
	if m.GivenUp {
		severity = SeverityCritical
	}
	l.events = append(l.events, l.r.newEvent(&l.app, nil, EventRemovalUnconfirmed, severity, m.about()+" may still be accepted: "+why,
		"check it, and remove it there if it is listed: "+portalPath(&l.app, m)))
}

// end settles a removal.
func (l *removalLook) end(m *Removal, how string, now time.Time) {
	m.End, m.EndedAt, m.LookAt = how, now, time.Time{}
	line := AuditEntry{
		At: now, By: m.By, What: "certificate removal confirmed", App: l.app.Name, Rotation: m.Rotation,
		Thumbprint: m.ThumbprintSHA256, Note: l.proof(m),
	}
	switch {
	case how == RemovalExpired:
		line.What, line.Note = "certificate expired before its removal was confirmed", ""
	case m.Foreign:
		line.What = "removal of a foreign certificate confirmed"
	case m.Sends == 0:
		line.What = "certificate is not on the app"
	}
	l.audit = append(l.audit, line)
	if how == RemovalRemoved && m.Sends > 0 && !m.LastSentAt.IsZero() {
		n := l.notes()
		if m.Readable {
			n.Took(SpanUnlisted, m.Absent.Since.Sub(m.LastSentAt))
		}
		if m.Held {
			n.Took(SpanRefused, m.Refused.Since.Sub(m.LastSentAt))
		}
	}
	if how == RemovalRemoved && m.Sends > 0 {
		l.events = append(l.events, l.r.newEvent(&l.app, nil, EventRemoved, SeverityInfo, m.about()+" was removed: "+line.Note, ""))
	}
	l.log.Info("removal settled", "thumbprint_sha256", m.ThumbprintSHA256, "end", how)
}

// proof says by what a removal was confirmed.
func (l *removalLook) proof(m *Removal) string {
	var proof []string
	if m.Readable {
		proof = append(proof, fmt.Sprintf("%d reads over %s do not list it", m.Absent.Reads, m.Absent.Last.Sub(m.Absent.Since)))
	}
	if m.Held {
		proof = append(proof, fmt.Sprintf("%d sign-ins with it over %s were refused", m.Refused.Reads, m.Refused.Last.Sub(m.Refused.Since)))
	}
	return strings.Join(proof, ", and ")
}

// leave makes an orphan of a certificate that gets a token and whose KeyID nobody can
// tell.
func (l *removalLook) leave(m *Removal, now time.Time) {
	m.End, m.EndedAt, m.LookAt = RemovalOrphan, now, time.Time{}
	severity := SeverityWarning
	if m.GivenUp {
		severity = SeverityCritical
	}
	l.events = append(l.events, l.r.newEvent(&l.app, nil, EventRotationFailed, severity,
		fmt.Sprintf("%s stays on the app: the answer that named its KeyID was lost, and self mode reads no list", m.about()),
		"remove it in the "+portalPath(&l.app, m)))
	l.audit = append(l.audit, AuditEntry{
		At: now, By: m.By, What: "certificate left to a person", App: l.app.Name, Rotation: m.Rotation, Thumbprint: m.ThumbprintSHA256,
	})
}

// save records what was seen. Rotations that ended get what is known of theirs.
func (l *removalLook) save(ctx context.Context) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	rotations := []string{""} // at least one transaction
	for _, i := range l.due {
		m := &l.list[i]
		if m.Rotation == "" || m.Rotation == l.rot.ID || slices.Contains(rotations, m.Rotation) {
			continue
		}
		rot, err := l.r.Store.Rotation(ctx, m.Rotation)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		l.closed[rot.ID] = rot
		rotations = append(rotations, rot.ID)
	}
	if len(rotations) > 1 {
		rotations = rotations[1:]
	}
	for n, id := range rotations {
		err := l.r.change(ctx, l.app.Name, func(rec *Records) error {
			if rec.App == nil {
				return nil
			}
			if closed, ok := l.closed[id]; ok {
				rec.Closed = &closed
			}
			for _, i := range l.due {
				l.note(rec, &l.list[i])
			}
			if rec.Closed != nil {
				rec.Closed.Seq++
			}
			if rec.Rotation != nil {
				rec.Rotation.Seq++
			}
			if n == 0 {
				rec.Audit = append(rec.Audit, l.audit...)
				rec.Events = append(rec.Events, l.events...)
				if err := l.keepFacts(rec); err != nil {
					return err
				}
			}
			l.app = *rec.App
			if rec.Rotation != nil {
				l.rot = *rec.Rotation
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("app %s: record the checks of removals: %w", l.app.Name, err)
		}
	}
	l.audit, l.events, l.noted = nil, nil, noted{}
	return nil
}

// note writes one removal to the records.
func (l *removalLook) note(rec *Records, m *Removal) {
	keepRemoval(rec.App, m)
	noteRemoval(rec, m)
	switch {
	case m.End == RemovalOrphan:
		noteLeft(rec, m.ThumbprintSHA256, m.EndedAt)
		if rec.Closed != nil && rec.Closed.ID == m.Rotation {
			rec.Closed.LeftBehind = appendOne(rec.Closed.LeftBehind, m.ThumbprintSHA256)
		}
		if rec.Rotation != nil && rec.Rotation.ID == m.Rotation {
			rec.Rotation.LeftBehind = appendOne(rec.Rotation.LeftBehind, m.ThumbprintSHA256)
		}
		is := func(o Orphan) bool { return o.ThumbprintSHA256 == m.ThumbprintSHA256 }
		if !slices.ContainsFunc(rec.App.Orphans, is) {
			c := m.Credential
			c.LeftAt = m.EndedAt
			rec.App.Orphans = append(rec.App.Orphans, Orphan{
				Credential: c, Since: m.EndedAt,
				Reason: "the answer that named its KeyID was lost, and self mode reads no list",
			})
		}
	case m.End != "" && m.Foreign && rec.App.Listed != nil:
		listed := *rec.App.Listed
		listed.Foreign = slices.DeleteFunc(slices.Clone(listed.Foreign), func(f Foreign) bool { return f.KeyID == m.KeyID })
		rec.App.Listed = &listed // so that nobody is alerted that it vanished
	}
}

// appendOne appends what is not there yet.
func appendOne(list []Thumbprint, t Thumbprint) []Thumbprint {
	if slices.Contains(list, t) {
		return list
	}
	return append(slices.Clone(list), t)
}

// sendAgain sends a removal once more, if the guard permits it: the certificate that
// stays is accepted now and listed, and no target holds the one that goes. That it is
// sent is recorded.
func (l *removalLook) sendAgain(ctx context.Context, m *Removal) error {
	err := l.signItself(ctx, m)
	var p permit
	if err == nil {
		p, err = l.mayRemove(ctx, m)
	}
	if err == nil {
		ids := slices.DeleteFunc(slices.Clone(m.KeyIDs), func(id KeyID) bool { // another entry of it may be the one that is left
			return l.readable && m.Listed && !slices.ContainsFunc(l.listing.Entries, func(e Entry) bool { return e.KeyID == id })
		})
		var refused error
		refused, err = l.sendRemoval(ctx, p, l.signer, ids)
		err = errors.Join(err, refused)
	}
	if err == nil || ctx.Err() != nil {
		return nil //nolint:nilerr // the next check finds out
	}
	f := failureOf(err)
	m.Trouble = f.Message
	if f.Class == ClassFix {
		l.report(m, l.r.now().UTC(), f.Message)
	}
	return l.save(ctx)
}

// signItself lets a certificate sign its own removal where no other is left to sign it
// and the tenant is known to accept that. It is still accepted, or it would not have to
// be removed.
func (l *removalLook) signItself(ctx context.Context, m *Removal) error {
	if !l.signer.IsZero() || !m.Held || m.Foreign || !l.known.maySignItself() || !l.now().Before(m.NotAfter) {
		return nil
	}
	var err error
	l.signer, err = l.pair(ctx, &m.Credential)
	return err
}

// mayRemove reports why a removal must not be sent again now.
func (l *removalLook) mayRemove(ctx context.Context, m *Removal) (permit, error) {
	state, err := l.r.state(ctx)
	if err != nil {
		return permit{}, err
	}
	now := l.r.now()
	switch {
	case state.ReadOnly:
		return permit{}, fix(ReasonOther, "", "nothing is written: %s", state.Stopped)
	case l.app.Differs != "":
		return permit{}, fix(ReasonOther, "", "nothing is written: %s", l.app.Differs)
	case now.Before(state.PausedUntil) && !m.GivenUp, now.Before(l.app.PausedUntil) && !m.GivenUp:
		return permit{}, errors.New("paused")
	case l.signer.IsZero():
		return permit{}, fix(ReasonExpired, "", "no other certificate of ours is valid, so nothing signs its removal")
	}
	got, err := l.cold(ctx, l.signer, nil)
	if err != nil && reasonOf(err) != ReasonBlocked {
		return permit{}, fmt.Errorf("the certificate that stays gets no token, so nothing is removed: %w", err)
	}
	if off := clockError(now, got.At); err == nil && (got.At.IsZero() || off.Abs() > maxClockError) {
		return permit{}, &Failure{Class: ClassClock, Reason: ReasonOther, Message: "this host's clock and Entra's differ, so nothing is removed"}
	}
	if m.Foreign {
		if err := l.isStillTheSame(ctx, m); err != nil {
			return permit{}, err
		}
	}
	if err := l.holdsNow(ctx); err != nil {
		return permit{}, err
	}
	judge := l.ledger().canRemove
	switch {
	case l.signer.Thumbprint() == m.ThumbprintSHA256:
		judge = func(e, _ Thumbprint, s *sighting) (permit, *refusal) { return l.ledger().canRemoveItself(e, s) }
	case m.Foreign:
		judge = func(_, o Thumbprint, s *sighting) (permit, *refusal) {
			return l.ledger().canRemoveForeign(&m.Credential, o, s)
		}
	}
	p, r := judge(m.ThumbprintSHA256, l.signer.Thumbprint(), l.sighting())
	if r != nil {
		return permit{}, &Failure{Class: ClassWait, Reason: ReasonOther, Message: "it is not removed now: " + r.why}
	}
	return p, nil
}

// isStillTheSame makes sure that a foreign entry carries the certificate that was
// read when its removal was asked.
func (l *removalLook) isStillTheSame(ctx context.Context, m *Removal) error {
	listing, err := l.keys(ctx, l.signer, true)
	if err != nil {
		return err
	}
	for _, e := range listing.Entries {
		if e.KeyID == m.KeyID && e.Thumbprint != m.ThumbprintSHA256 {
			return fix(ReasonOther, "", "the key %s carries another certificate than when its removal was asked; it is not removed", m.KeyID)
		}
	}
	return nil
}

// isBack reports whether a certificate that was called removed is shown again.
func (m *Removal) isBack(isThere func(m *Removal) bool, now time.Time) bool {
	return m.End == RemovalRemoved && now.Before(m.NotAfter) && isThere(m)
}

// shows reports whether the reading lists the certificate of a removal.
func (l Listing) shows(m *Removal) bool {
	return slices.ContainsFunc(l.Entries, func(e Entry) bool { return m.Carries(e.KeyID, e.Thumbprint) })
}

// isPairOf reports whether a sign-in with the pair is one with the removed certificate.
func isPairOf(pair KeyPair) func(m *Removal) bool {
	return func(m *Removal) bool { return !m.Foreign && m.ThumbprintSHA256 == pair.Thumbprint() }
}

// comeBack notes, with the next record, that a reading or a token of a rotation shows
// what was called removed.
func (t *turn) comeBack(isThere func(m *Removal) bool) {
	now := t.now().UTC()
	if slices.ContainsFunc(t.app.Removals, func(m Removal) bool { return m.isBack(isThere, now) }) {
		t.learn(func(rec *Records) { t.r.revive(rec, isThere, now) })
	}
}

// comeBack notes that of an app which is asked without a rotation.
func (r *Rotator) comeBack(ctx context.Context, app *App, isThere func(m *Removal) bool) error {
	now := r.now().UTC()
	if !slices.ContainsFunc(app.Removals, func(m Removal) bool { return m.isBack(isThere, now) }) {
		return nil
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	return r.change(ctx, app.Name, func(rec *Records) error {
		if rec.App != nil {
			r.revive(rec, isThere, now)
		}
		return nil
	})
}

// signInAgain signs in with the removed pairs of an app that were given up, where
// nobody can read its list: then only a token shows that one is back.
func (r *Rotator) signInAgain(ctx context.Context, app *App) error {
	for i := range app.Removals {
		m := &app.Removals[i]
		if !m.GivenUp || m.Foreign || m.End != RemovalRemoved || !r.now().Before(m.NotAfter) {
			continue
		}
		pair, err := r.Store.KeyPair(ctx, m.ThumbprintSHA256)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("app %s: %w", app.Name, err)
		}
		_, err = r.settings().Entra.SignIn(ctx, app.registration(), pair, nil)
		if err != nil && reasonOf(err) != ReasonBlocked {
			continue // most likely it is not registered, and else the next inspection tries again
		}
		if err := r.comeBack(ctx, app, isPairOf(pair)); err != nil {
			return err
		}
	}
	return nil
}

// revive makes removals pending again whose certificate a reading or a token shows
// although they were settled: somebody, or something, brought it back. Nothing is sent
// by itself.
func (r *Rotator) revive(rec *Records, isThere func(m *Removal) bool, now time.Time) {
	for i := range rec.App.Removals {
		m := rec.App.Removals[i]
		if !m.isBack(isThere, now) {
			continue
		}
		severity := SeverityWarning
		if m.GivenUp {
			severity = SeverityCritical
		}
		m.Back, m.SeenAt, m.Listed = now, now, true
		m.End, m.EndedAt, m.RemovedAt = "", time.Time{}, time.Time{}
		m.Absent, m.Refused, m.ReportedAt, m.LookAt = Absence{}, Absence{}, now, now
		keepRemoval(rec.App, &m)
		noteRemoval(rec, &m)
		rec.Audit = append(rec.Audit, AuditEntry{
			At: now, By: bySchedule, What: "removed certificate is on the app again", App: rec.App.Name, Rotation: m.Rotation, Thumbprint: m.ThumbprintSHA256,
		})
		rec.Events = append(rec.Events, r.newEvent(rec.App, nil, EventRemovalUnconfirmed, severity,
			m.about()+" is on the app again although its removal was confirmed",
			"find out who added it; if nobody needs it, remove it: "+portalPath(rec.App, &m)))
	}
}
