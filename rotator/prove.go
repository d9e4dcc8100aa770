package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// acceptedLate is how long after an upload a refused proof may still mean that
// the key has not spread: 20 minutes were seen.
const acceptedLate = time.Hour

// prove makes sure that the new pair works before anybody gets it: the very
// bytes that will be delivered open with the very password; several cold
// sign-ins succeed, spaced out; and what the current pair can do, the new one
// can. What both lack is a warning.
func (t *turn) prove(ctx context.Context) (*wait, error) {
	next, err := t.pair(ctx, &t.rot.New)
	if err != nil {
		return nil, err
	}
	if err := t.openFiles(next); err != nil {
		return nil, err
	}
	now := t.now().UTC()
	proof := t.rot.Proof
	if at := proof.LastAt.Add(t.policy.Prove.Spacing); proof.Successes > 0 && now.Before(at) && !now.Before(proof.LastAt) {
		return &wait{WaitingProof, at}, nil
	}
	last := proof.Successes+1 >= t.policy.Prove.Successes
	var probes []string
	if last {
		probes = t.app.Probe
	}
	got, err := t.cold(ctx, next, probes)
	if reason := reasonOf(err); err == nil || reason == ReasonNotRegistered {
		t.noteSignIn(err == nil)
	}
	switch {
	case reasonOf(err) == ReasonNotRegistered:
		return t.unknownYet(ctx)
	case reasonOf(err) == ReasonBlocked:
		return nil, t.blocked(ctx, err)
	case err != nil:
		return nil, err
	}
	if len(t.app.Probe) == len(probes) {
		t.signIn, t.signedIn = got, now
	}
	warnings, err := t.proveScopes(ctx, next)
	if reasonOf(err) == ReasonNotRegistered {
		return t.unknownYet(ctx)
	}
	if err != nil {
		return nil, err
	}
	if last {
		more, err := t.compare(ctx, got)
		if err != nil {
			return nil, err
		}
		warnings = append(warnings, more...)
	}
	proof = Proof{Successes: proof.Successes + 1, LastAt: now}
	if !last {
		err := t.record(ctx, "", func(rec *Records) { rec.Rotation.Proof, rec.Rotation.Absence = proof, Absence{} })
		return nil, err
	}
	t.reach(ctx, PhaseProven, func(rec *Records) {
		rec.Rotation.Proof, rec.Rotation.Absence = proof, Absence{}
		rec.Rotation.LookedAt = now
		rec.Rotation.Warnings = appendNew(rec.Rotation.Warnings, warnings...)
	})
	return nil, nil //nolint:nilnil // the next step may run
}

// proveScopes signs in for the further audiences that the consumer needs: they learn
// of a new certificate at other times than Graph does. What the current pair does
// not get either is a warning, and so is, without one to compare with, a refusal
// that says nothing about the certificate.
func (t *turn) proveScopes(ctx context.Context, next KeyPair) ([]string, error) {
	var warnings []string
	for i, scope := range t.policy.ProveScopes {
		err := t.coldTo(ctx, next, scope)
		if err == nil {
			t.noteSignInTo(i + 1)
			continue
		}
		switch f := failureOf(err); {
		case f.Reason == ReasonNotRegistered, f.Class == ClassWait, f.Class == ClassRetry, f.Class == ClassClock:
			return nil, fmt.Errorf("sign in for %s: %w", scope, err)
		}
		warning := "not verified for " + scope
		if c := t.comparable(); c != nil {
			warning += ", the current certificate gets no token for it either"
			current, pairErr := t.pair(ctx, c)
			if pairErr != nil {
				return nil, pairErr
			}
			if t.coldTo(ctx, current, scope) == nil {
				return nil, fmt.Errorf("the current certificate gets a token for %s and the new one does not: %w", scope, err)
			}
		} else if reason := reasonOf(err); reason == ReasonExpired || reason == ReasonBadSignature {
			return nil, err
		}
		warnings = append(warnings, fmt.Sprintf("%s: %v", warning, err))
	}
	return warnings, nil
}

// openFiles opens what will be delivered, as the consumer will.
func (t *turn) openFiles(pair KeyPair) error {
	for encoding, file := range pair.Encoded {
		opened, err := t.r.Encoder.Decode(file, pair.Password)
		if err == nil && opened.Thumbprint() != t.rot.New.ThumbprintSHA256 {
			err = errors.New("it holds another certificate")
		}
		if err != nil {
			return fix(ReasonOther, "rotate rollback "+t.app.Name, "app %s: the %s file made for delivery does not open: %v", t.app.Name, encoding, err)
		}
	}
	return nil
}

// unknownYet handles a token service that does not know the new certificate: it
// has not spread, or somebody removed it.
func (t *turn) unknownYet(ctx context.Context) (*wait, error) {
	now := t.now().UTC()
	proof := t.rot.Proof
	proof.Successes = 0
	proof.Attempts++
	if err := t.record(ctx, "", func(rec *Records) { rec.Rotation.Proof = proof }); err != nil {
		return nil, err
	}
	signer, err := t.signer(ctx)
	if err != nil {
		return nil, err
	}
	readable := !t.rot.Unreadable && (t.app.Mode == ModeManaged || !signer.IsZero())
	if readable {
		s, err := t.see(ctx, signer)
		if err != nil {
			return nil, err
		}
		readable = s.readable
		switch late := now.Sub(t.rot.PhaseAt[PhaseUploaded]) >= t.policy.Prove.Within; {
		case s.present && late:
			return nil, fix(ReasonNotRegistered, "rotate rollback "+t.app.Name+", then rotate now "+t.app.Name,
				"app %s: the app lists the new certificate, but the token service has not accepted it for %s", t.app.Name, days(t.policy.Prove.Within))
		case s.present:
			return &wait{WaitingPropagation, now.Add(pollIn(proof.Attempts, t.policy.Prove))}, nil
		}
	}
	absence := t.rot.Absence.missed(now)
	if err := t.record(ctx, "", func(rec *Records) { rec.Rotation.Absence = absence }); err != nil {
		return nil, err
	}
	if t.isGone(absence, readable) {
		return nil, t.gone(ctx)
	}
	return &wait{WaitingPropagation, now.Add(pollIn(proof.Attempts, t.policy.Prove))}, nil
}

// comparable returns the pair to compare with: the one in service if it is still
// within its dates and was not given up. Nil otherwise.
func (t *turn) comparable() *Credential {
	c, now := t.rot.Old, t.now()
	if c == nil || c.GivenUp || now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return nil
	}
	return c
}

// blocked handles Conditional Access refusing the new pair (AADSTS53003). If it
// refuses the current one just so, this host cannot prove either, and somebody
// else must confirm.
func (t *turn) blocked(ctx context.Context, refused error) error {
	if c := t.comparable(); c != nil {
		current, err := t.pair(ctx, c)
		if err != nil {
			return err
		}
		_, err = t.cold(ctx, current, nil)
		switch {
		case err == nil:
			return fmt.Errorf("the current certificate may sign in and the new one may not: %w", refused)
		case reasonOf(err) != ReasonBlocked:
			return err
		}
	}
	warning := "cannot be proven from this host: Conditional Access lets the app sign in only from elsewhere; its consumer must confirm"
	return t.enter(ctx, PhaseProven, func(rec *Records) {
		rec.Rotation.Proof = Proof{Attempts: t.rot.Proof.Attempts, LastAt: t.now().UTC(), Unprovable: true}
		rec.Rotation.Warnings = appendNew(rec.Rotation.Warnings, warning)
	})
}

// compare asks the current pair the same and returns what both lack. It is an
// error if the new pair can do less.
func (t *turn) compare(ctx context.Context, got SignIn) ([]string, error) {
	var had SignIn
	compared := false
	if c := t.comparable(); c != nil {
		var err error
		had, err = t.couldDo(ctx, c, got)
		useless := []Reason{ReasonNotRegistered, ReasonExpired, ReasonBlocked} // nothing to compare with then
		if err != nil && !slices.Contains(useless, reasonOf(err)) {
			return nil, fmt.Errorf("sign in with the current certificate to compare: %w", err)
		}
		compared = err == nil
	}
	var warnings []string
	if compared {
		for _, role := range had.Roles {
			if !slices.Contains(got.Roles, role) {
				return nil, fix(ReasonForbidden, "it may not have spread yet and is asked again; if it stays, rotate rollback "+t.app.Name,
					"app %s: a token of the current certificate carries %s, one of the new certificate does not", t.app.Name, role)
			}
		}
	}
	for _, p := range t.app.Permissions {
		if !slices.Contains(got.Roles, p) {
			warnings = append(warnings, "the app's tokens lack "+p+"; grant it, or take it from the app's permissions")
		}
	}
	for i, p := range got.Probes {
		if p.Err == nil {
			continue
		}
		if compared && i < len(had.Probes) && had.Probes[i].Err == nil {
			return nil, fmt.Errorf("probe %s works with the current certificate and not with the new one: %w", p.Path, p.Err)
		}
		warnings = append(warnings, fmt.Sprintf("probe %s fails with either certificate: %v", p.Path, p.Err))
	}
	return warnings, nil
}

// couldDo signs in with the current pair, unless the upload has just done so, there
// is nothing to probe, and the new pair's sign-in lacks nothing of what it showed.
func (t *turn) couldDo(ctx context.Context, c *Credential, got SignIn) (SignIn, error) {
	lacks := func(role string) bool { return !slices.Contains(got.Roles, role) }
	if t.had.pair == c.ThumbprintSHA256 && t.isRecent(t.had.at) && len(t.app.Probe) == 0 && !slices.ContainsFunc(t.had.got.Roles, lacks) {
		return t.had.got, nil
	}
	current, err := t.pair(ctx, c)
	if err != nil {
		return SignIn{}, err
	}
	return t.cold(ctx, current, t.app.Probe)
}

// appendNew appends those that are not there yet.
func appendNew(list []string, add ...string) []string {
	for _, s := range add {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
