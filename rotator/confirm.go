package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// commandEvery is how often a confirmation hook is asked.
const commandEvery = 10 * time.Minute

// confirm waits for the app's rule: the consumer uses the new pair. From then
// on it is the current one.
func (t *turn) confirm(ctx context.Context) (*wait, error) {
	if w, err := t.look(ctx); w != nil || err != nil || t.rot.Phase != PhaseDelivered {
		return w, err
	}
	if w := t.deliverable(); w != nil && t.rule() == ConfirmAutomatic {
		return w, nil
	}
	rule := t.rule()
	expired := t.rot.Old != nil && t.now().After(t.rot.Old.NotAfter)
	if expired && rule != ConfirmAutomatic {
		if done, err := t.closeExpired(ctx); done || err != nil {
			return nil, err
		}
	}
	w, err := t.ask(ctx, rule)
	if expired && w != nil && w.what == WaitingPerson && rule == ConfirmAutomatic {
		// A consumer whose delivery was taken away: nobody says what it uses.
		if done, err := t.closeExpired(ctx); done || err != nil {
			return nil, err
		}
	}
	if expired && err != nil && failureOf(err).Class == ClassFix {
		if done, closeErr := t.closeExpired(ctx); done {
			return nil, closeErr
		}
	}
	return w, err
}

// ask asks by the app's rule whether the consumer uses the new pair.
func (t *turn) ask(ctx context.Context, rule string) (*wait, error) {
	now := t.now().UTC()
	if w, err := t.redeliver(ctx, &t.rot.New); w != nil || err != nil {
		return w, err
	}
	switch rule {
	case ConfirmPerson:
		return &wait{WaitingPerson, t.personWake(now)}, nil
	case ConfirmCommand:
		pkg, err := t.packageOf(ctx, &t.rot.New)
		if err != nil {
			return nil, err
		}
		if err := t.settle(ctx); err != nil {
			return nil, err
		}
		err = t.r.settings().Deliverer.Confirm(ctx, t.app.Confirm.Hook, pkg)
		if f := failureOf(err); err != nil && f.Class == ClassWait {
			return &wait{WaitingCommand, now.Add(commandEvery)}, nil
		}
		if err != nil {
			return nil, err
		}
		t.confirmed(ctx, rule, time.Time{})
		return nil, nil //nolint:nilnil // the next step may run
	}
	if at := t.ledger().readBy(); now.Before(at) {
		return &wait{WaitingReload, at}, nil
	}
	at, err := t.stillWorks(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.date(ctx); err != nil {
		return nil, err
	}
	if _, r := t.ledger().confirmedAt(t.rot.New.ThumbprintSHA256, t.sighting()); r != nil {
		return t.refused(r), nil
	}
	t.confirmed(ctx, rule, at)
	return nil, nil //nolint:nilnil // the next step may run
}

// refused is the wait that a guard's refusal leads to, by this host's clock, which only
// decides when to look again.
func (t *turn) refused(r *refusal) *wait {
	if w := t.deliverable(); w != nil && r.what == WaitingPerson {
		return w
	}
	now := t.now().UTC()
	t.log.Debug("waits", "because", r.why)
	w := &wait{r.what, now.Add(max(r.until.Sub(t.entraNow()), time.Second))}
	if w.what == "" {
		w.what = WaitingRetry
	}
	switch {
	case w.what == WaitingPerson:
		w.until = t.personWake(now)
	case r.until.IsZero():
		w.until = now.Add(absentEvery)
	}
	return w
}

// rule is the confirmation rule in force. What cannot be proven from this host
// is never confirmed automatically.
func (t *turn) rule() string {
	rule := t.app.ConfirmRule()
	if rule == ConfirmAutomatic && t.rot.Proof.Unprovable {
		if t.app.Confirm.Hook != "" {
			return ConfirmCommand
		}
		return ConfirmPerson
	}
	return rule
}

// personWake is when a rotation that waits for a person is looked at again by
// itself: when the old certificate has ended.
func (t *turn) personWake(now time.Time) time.Time {
	if t.rot.Old == nil || now.After(t.rot.Old.NotAfter) {
		return now.Add(day)
	}
	return t.rot.Old.NotAfter.Add(time.Second)
}

// redeliver makes sure that every target still holds the pair. When a person asked, it
// brings the pair again, and to a delivery that was added since in any case; else another
// certificate in a target stops the rotation.
func (t *turn) redeliver(ctx context.Context, c *Credential) (*wait, error) {
	again, err := t.astray(ctx, c)
	if errors.Is(err, errRecord) || err != nil && !t.rot.Redeliver {
		return nil, err
	}
	if !again && !t.rot.Redeliver {
		return nil, nil //nolint:nilnil // they hold it
	}
	state, err := t.r.state(ctx)
	if err != nil {
		return nil, err
	}
	if w, err := t.held(&state); (w != nil || err != nil) && t.rot.Compromised == nil {
		return w, err
	}
	if w, err := t.mayDeliver(ctx, c); w != nil || err != nil {
		return w, err
	}
	delivered, err := t.bring(ctx, c, t.rot.Redeliver)
	if err != nil {
		return nil, err
	}
	err = t.record(ctx, "delivered again", func(rec *Records) {
		delivered(rec)
		rec.Rotation.Redeliver = false
	})
	if err != nil {
		return nil, err
	}
	return nil, t.holdsNow(ctx)
}

// stillWorks asks once more that the new pair signs in and passes what it
// passed before. It returns Entra's time; zero if there was no sign-in.
func (t *turn) stillWorks(ctx context.Context) (time.Time, error) {
	if t.rot.Proof.Unprovable {
		return time.Time{}, nil
	}
	if len(t.app.Probe) == 0 && t.isRecent(t.signedIn) {
		return t.signIn.At, nil
	}
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return time.Time{}, err
	}
	got, err := t.cold(ctx, next, t.app.Probe)
	if err != nil {
		return time.Time{}, err
	}
	for _, p := range got.Probes {
		failedBefore := false
		for _, w := range t.rot.Warnings {
			failedBefore = failedBefore || strings.HasPrefix(w, "probe "+p.Path+" fails")
		}
		if p.Err != nil && !failedBefore {
			return time.Time{}, fmt.Errorf("app %s: probe %s no longer works with the new certificate: %w", t.app.Name, p.Path, p.Err)
		}
	}
	t.signIn, t.signedIn = got, t.now()
	return got.At, nil
}

// confirmed records that the new pair is in service. how is the rule. at is
// Entra's time, from which the overlap runs; zero: the next step asks for it.
func (t *turn) confirmed(ctx context.Context, how string, at time.Time) {
	t.reach(ctx, PhaseConfirmed, func(rec *Records) {
		rec.Rotation.Confirmation, rec.Rotation.ConfirmedBy = how, how
		if !at.IsZero() {
			rec.Rotation.RetiresAt = at.UTC().Add(t.policy.Overlap)
		}
		promote(rec)
	})
}

// promote makes the new pair the current one and the old one the previous. Done
// twice it changes nothing.
func promote(rec *Records) {
	app, rot := rec.App, rec.Rotation
	if app.Current != nil && app.Current.ThumbprintSHA256 == rot.New.ThumbprintSHA256 {
		return
	}
	if app.Previous != nil {
		app.Former = append(app.Former, *app.Previous)
	}
	app.Previous = app.Current
	next := rot.New
	app.Current = &next
	app.NewPassword = false
	app.Hold, app.Trouble = "", nil
}

// closeExpired ends a rotation that nobody confirmed once nothing is left to protect,
// see [ledger.neverConfirmed]: the next rotation must be able to start.
func (t *turn) closeExpired(ctx context.Context) (bool, error) {
	at, err := t.entraTime(ctx)
	if err != nil {
		return false, err
	}
	if !at.After(t.rot.Old.NotAfter) || !t.ledger().neverConfirmed(t.rot.New.ThumbprintSHA256, at) {
		return false, nil
	}
	return true, t.enter(ctx, PhaseConfirmed, func(rec *Records) {
		rec.Rotation.Confirmation = "never"
		rec.Rotation.RetiresAt = at.UTC()
		rec.Events = append(rec.Events, t.event(EventRotationFailed, SeverityCritical,
			"nobody confirmed the new certificate before the old one expired",
			"make sure that the consumer has the new one"))
		promote(rec)
	})
}

// entraTime asks Entra for its time by a sign-in with the new pair, and refuses
// to decide anything while this host's clock is far off.
func (t *turn) entraTime(ctx context.Context) (time.Time, error) {
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return time.Time{}, err
	}
	got := t.signIn
	if !t.isRecent(t.signedIn) {
		got, err = t.cold(ctx, next, nil)
	}
	if f := failureOf(err); err != nil {
		if f.Reason != ReasonBlocked {
			return time.Time{}, err
		}
		got.At = f.ServerTime
	}
	if got.At.IsZero() {
		return time.Time{}, &Failure{
			Class: ClassClock, Reason: ReasonOther,
			Message: fmt.Sprintf("app %s: Entra's answer carried no date, so nothing is retired", t.app.Name),
			Next:    "see whether a proxy removes the Date header",
		}
	}
	if off := clockError(t.now(), got.At); off.Abs() > maxClockError {
		return time.Time{}, &Failure{
			Class: ClassClock, Reason: ReasonOther, ServerTime: got.At,
			Message: fmt.Sprintf("app %s: this host's clock is %s off Entra's (%s here, %s there), so nothing is retired",
				t.app.Name, off.Abs(), t.now().UTC().Format(time.RFC3339), got.At.UTC().Format(time.RFC3339)),
			Next: "set the clock (timedatectl, chronyc tracking); the rotation goes on by itself",
		}
	}
	return got.At, nil
}

// codeDigits of the new thumbprint are what a person types to confirm.
const codeDigits = 8

// Confirm records that a person has seen the consumer use the new certificate.
// code is the first 8 hex digits of its SHA-1 or SHA-256 thumbprint: a person
// who holds another pair holds another code.
func (r *Rotator) Confirm(ctx context.Context, app, code, note, by string) (Rotation, error) {
	release, err := r.claim(ctx, app)
	if err != nil {
		return Rotation{}, err
	}
	defer release()
	t, err := r.openFor(ctx, app, "confirm")
	if err != nil {
		return Rotation{}, err
	}
	code = strings.ToLower(strings.NewReplacer(" ", "", ":", "").Replace(code))
	next := t.rot.New
	back := t.rot.Phase == PhaseRollingBack && t.rot.Old != nil
	if back {
		next = *t.rot.Old
	}
	if len(code) < codeDigits {
		return Rotation{}, usagef("app %s: the code has %d characters; it is the first %d digits of the new certificate's thumbprint", app, len(code), codeDigits)
	}
	if !isCode(code, next) {
		for _, c := range []*Credential{t.rot.Old, t.app.Current, t.app.Previous, &t.rot.New} {
			if c != nil && isCode(code, *c) {
				return Rotation{}, refusedf("app %s: %s is the code of the certificate %s (until %s), not of the one to confirm; the consumer still has the other file",
					app, code, c.ThumbprintSHA1, c.NotAfter.Format(time.DateOnly))
			}
		}
		return Rotation{}, refusedf("app %s: %s is not the code of the certificate to confirm, nor of any other of this app; it is the first %d digits of the thumbprint that the consumer shows", app, code, codeDigits)
	}
	if !t.mayHave(next.ThumbprintSHA256) {
		return Rotation{}, refusedf("app %s: nobody has fetched this key pair yet, so the consumer cannot be using it; fetch it: rotate handoff %s --out DIR", app, app)
	}
	now := t.now().UTC()
	word := func(rec *Records) {
		rec.App.eachConsumer(func(c *Consumer) {
			if c.byWord() {
				c.mayHold(next.ThumbprintSHA256)
				c.Said, c.SaidAt = next.ThumbprintSHA256, time.Time{} // the next step dates it
			}
		})
	}
	said := AuditEntry{At: now, By: by, What: "confirmed by a person", App: app, Rotation: t.rot.ID, Thumbprint: next.ThumbprintSHA256, Note: note}
	switch t.rot.Phase {
	case PhaseDelivered:
		if !t.rot.Missing.IsZero() {
			return Rotation{}, refusedf("app %s: the new certificate is gone from Entra, so the consumer cannot be using it; to upload it again: rotate now %s --force", app, app)
		}
		err = t.enter(ctx, PhaseConfirmed, func(rec *Records) {
			rec.Rotation.Confirmation, rec.Rotation.ConfirmedBy = ConfirmPerson, by
			rec.Rotation.Note = note
			word(rec)
			promote(rec)
			rec.Audit = append(rec.Audit, said)
		})
	case PhaseRollingBack:
		if t.rot.Back.Delivered.IsZero() {
			return Rotation{}, refusedf("app %s: the previous certificate has not been delivered yet", app)
		}
		err = t.record(ctx, "", func(rec *Records) {
			back := *rec.Rotation.Back
			back.Confirmed = now
			rec.Rotation.Back = &back
			word(rec)
			rec.Rotation.WakeAt, rec.Rotation.WaitingFor = now, ""
			rec.Audit = append(rec.Audit, said)
		})
	case PhaseConfirmed:
		used := t.rot.Evidence != nil && t.rot.Evidence.Result == EvidenceUsed
		unsaid := func(c Consumer) bool { return c.byWord() && c.Said != next.ThumbprintSHA256 }
		if !used && !slices.ContainsFunc(t.app.Consumers, unsaid) {
			return t.rot, nil
		}
		err = t.record(ctx, "", func(rec *Records) {
			word(rec)
			if used { // sign-ins with the old certificate before now do not count any more
				again := *rec.Rotation.Evidence
				again.Since, again.Result, again.Note = now, "", "a person confirmed the new certificate again"
				rec.Rotation.Evidence = &again
			}
			rec.Rotation.WakeAt, rec.Rotation.WaitingFor = now, ""
			rec.Audit = append(rec.Audit, said)
		})
	case PhasePlanned, PhaseUploaded, PhaseProven, PhaseRetired, PhaseRolledBack:
		return Rotation{}, refusedf("app %s: nothing to confirm yet: the rotation is %s", app, t.rot.Phase)
	}
	if err != nil {
		return Rotation{}, err
	}
	r.ask(app)
	return t.rot, nil
}

// isCode reports whether the code begins the credential's thumbprint.
func isCode(code string, c Credential) bool {
	return strings.HasPrefix(strings.ToLower(c.ThumbprintSHA1), code) || strings.HasPrefix(string(c.ThumbprintSHA256), code)
}

// openFor reads the open rotation for a person's request.
func (r *Rotator) openFor(ctx context.Context, app, what string) (*turn, error) {
	t, err := r.open(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", app, err)
	}
	if t == nil {
		return nil, refusedf("app %s: no rotation is open, so there is nothing to %s", app, what)
	}
	return t, nil
}
