package rotator

import (
	"context"
	"crypto/rsa"
	"time"
)

// This file holds what only package simulation uses.

// Simulated is set by the simulation only.
type Simulated struct {
	// Without names the rules that are taken out, to show that the simulation finds the
	// fault that each of them prevents.
	Without map[Rule]bool
	// Certificate takes the place of [NewCertificate].
	Certificate func(commonName string, notBefore, notAfter time.Time) ([]byte, error)
}

// Rule names one rule that can be taken out of a simulated program.
type Rule string

// The rules that can be taken out.
const (
	RuleMayHold       Rule = "what a consumer may hold waits for its confirmation (P1, P3)"
	RuleStays         Rule = "what stays was accepted in this step"
	RuleBare          Rule = "a target that was taken away leaves its consumer (P17, C4, C9)"
	RuleSignerGivenUp Rule = "a given-up pair may sign (C1)"
	RuleRemoved       Rule = "removed is what is absent and refused (R2, C16)"
	RuleClock         Rule = "nothing starts by itself while the clocks differ (P9)"
	RuleUploadLimit   Rule = "the upload limit (P19)"
	RuleSigners       Rule = "a list is PATCHed only where no pair can sign (P6, C1, C2)"
)

// without reports whether a rule is taken out.
func (r *Rotator) without(rule Rule) bool { return r.Simulated != nil && r.Simulated.Without[rule] }

func (r *Rotator) newCertificate(key *rsa.PrivateKey, commonName string, notBefore, notAfter time.Time) ([]byte, error) {
	if r.Simulated != nil && r.Simulated.Certificate != nil {
		return r.Simulated.Certificate(commonName, notBefore, notAfter)
	}
	return NewCertificate(r.random(), key, commonName, notBefore, notAfter)
}

// Round does once, in the calling goroutine and app by app, what [Rotator.Run] leaves
// to its workers: with check the check, then everything that is due. So the caller
// decides when anything happens, and the same calls make the same run. It returns when
// something is due next, not counting checks; zero: never.
func (r *Rotator) Round(ctx context.Context, check bool) time.Time {
	if check {
		due, _ := r.scheduledCheck(ctx)
		for _, app := range due {
			if c, release, ok := r.tryClaim(app); ok {
				if r.startUnasked(ctx, app) == nil {
					r.carry(ctx, c, app)
				}
				release()
			}
		}
	}
	var next time.Time
	for _, kind := range []WakeKind{WakeContinue, WakeRemoval} {
		wakes, err := r.Store.Due(ctx, kind, r.now(), 0)
		if err != nil {
			return r.now().Add(loopNap)
		}
		for _, w := range wakes {
			if until := r.restsUntil(w.App); until.After(r.now()) {
				next = until
				continue
			}
			c, release, ok := r.tryClaim(w.App)
			if !ok {
				continue
			}
			if kind == WakeContinue {
				r.carry(ctx, c, w.App)
			} else {
				r.carryRemovals(ctx, c, w.App)
			}
			release()
		}
	}
	for _, kind := range []WakeKind{WakeContinue, WakeRemoval} {
		if w, ok, err := r.Store.NextDue(ctx, kind); err == nil && ok && r.restsUntil(w.App).IsZero() && (next.IsZero() || w.At.Before(next)) {
			next = w.At
		}
	}
	return next
}
