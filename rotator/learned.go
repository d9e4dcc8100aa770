package rotator

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// learned are the verified facts of a tenant that are used: none that are old. What a
// fact may change is in this file and nowhere else: it lengthens a wait, or chooses
// between two ways that are both coded. No proof, read or overlap is left out for one.
//
//	sign_in_after, sign_in_other_after   prove.within is lengthened
//	proof_accepted_after                 a refused proof counts as lag for longer
//	proof_usual, proof_x5t, proof_kid,   which form of a proof is tried first
//	  proof_x5t_s256, proof_ps256
//	remove_itself                        the last certificate signs its own removal again,
//	                                     or is left to a person at its first refusal
//	expired_resent                       expired entries are left out of a replaced list
//	                                     after one refusal, not after four
//	log_key_id, log_thumbprint,          the sign-in log is filtered by the key ID, or read
//	  log_filter_by_key_id               whole and compared
//	ten_years                            which refusal means that a policy allows less
type learned map[string]VerifiedFact

// learnedOf reads them.
func (r *Rotator) learnedOf(ctx context.Context, tenant string) (learned, error) {
	state, err := r.Store.Tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return state.Facts.usable(r.Version, r.now()), nil
}

// usable are the verified facts that are not old.
func (f *TenantFacts) usable(version string, now time.Time) learned {
	if f == nil || f.Old(version, now) != "" {
		return nil
	}
	return f.Verified
}

// lag is a length of time that was measured; zero: it was not.
func (l learned) lag(name string) time.Duration {
	d, err := time.ParseDuration(l[name].Value)
	if err != nil || d < 0 {
		return 0
	}
	return min(d, day)
}

// fit lengthens the waits of a policy to what the tenant was seen to need.
func (l learned) fit(p Policy) Policy {
	worst := max(l.lag("sign_in_after"), l.lag("sign_in_other_after"))
	p.Prove.Within = max(p.Prove.Within, 3*worst)
	return p
}

// acceptedLate is how long after an upload a refused proof may still mean that the
// key has not spread.
func (l learned) acceptedLate() time.Duration {
	return max(acceptedLate, 2*l.lag("proof_accepted_after"))
}

// is reports whether a fact is known to have a value.
func (l learned) is(name string, values ...string) bool {
	f, known := l[name]
	return known && slices.Contains(values, f.Value)
}

const (
	factAccepted = "accepted"
	factRefused  = "refused"
)

// proofs are the forms of a proof, in the order in which they are tried. Those that
// nobody has seen accepted by a live tenant are tried only where they were here.
func (l learned) proofs() []ProofForm {
	order := []ProofForm{ProofUsual, ProofX5T, ProofKid}
	for _, form := range []ProofForm{ProofS256, ProofPS256} {
		if l.is(factOf(form), factAccepted) {
			order = append(order, form)
		}
	}
	rank := func(form ProofForm) int {
		switch {
		case l.is(factOf(form), factAccepted):
			return 0
		case l.is(factOf(form), factRefused):
			return 2
		}
		return 1
	}
	slices.SortStableFunc(order, func(a, b ProofForm) int { return rank(a) - rank(b) })
	return order
}

func factOf(form ProofForm) string { return "proof_" + string(form) }

// refusesSelfRemoval reports whether the refusal of a removal that the removed
// certificate signed is final, and not lag.
func (l learned) refusesSelfRemoval() bool { return l.is("remove_itself", factRefused) }

// maySignItself reports whether a certificate may sign its own removal where nothing
// else is left to sign it.
func (l learned) maySignItself() bool { return l.is("remove_itself", factAccepted) }

// refusesExpired reports whether the refusal of an end date in a replaced list is about
// the expired entries in it.
func (l learned) refusesExpired() bool { return l.is("expired_resent", factRefused) }

// readsWholeLog reports whether the sign-in log cannot be filtered by the key ID.
func (l learned) readsWholeLog() bool {
	return l.is("log_filter_by_key_id", factRefused, "empty") || l.is("log_key_id", "empty", "other")
}

// shows reports whether a line of the sign-in log is about a certificate: by its key ID,
// or where the log names none, by its thumbprint.
func (l learned) shows(s LoggedSignIn, c *Credential) bool {
	byThumbprint := c.ThumbprintSHA1 != "" && strings.EqualFold(s.ThumbprintSHA1, c.ThumbprintSHA1)
	if l.is("log_key_id", "other") {
		return byThumbprint
	}
	return c.KeyID != "" && s.KeyID == c.KeyID || s.KeyID == "" && byThumbprint
}

// saysPolicy reports whether a refusal says what the tenant said to a certificate that
// lived longer than it allows.
func (l learned) saysPolicy(f *Failure) bool {
	if f.Class != ClassFix || f.Reason != ReasonOther || f.Ambiguous || !l.is("ten_years", factRefused) {
		return false
	}
	known, now := wordsOf(l["ten_years"].Answer), wordsOf(f.Message)
	n := min(len(known), len(now))
	return n >= policyWords && slices.Equal(known[:n], now[:n])
}

// policyWords is how many words must be the same, the code among them.
const policyWords = 4

// wordsOf are the words of an answer behind its status, without what differs from one
// answer to the next.
func wordsOf(answer string) []string {
	at := regexp.MustCompile(`\b4\d\d\b`).FindStringIndex(answer)
	if at == nil {
		return nil
	}
	answer, _, _ = strings.Cut(answer[at[1]:], "(request-id")
	return regexp.MustCompile(`[A-Za-z_]{3,}`).FindAllString(masked(answer), -1)
}

// contradicted tells which of them fresh answers contradict, by name with what was
// seen.
func (l learned) contradicted(fresh *TenantFacts) map[string]string {
	seen := map[string]string{}
	count := func(name, value, what, now string) {
		if l[name].Value == value && fresh.Counts[what] > 0 {
			seen[name] = now
		}
	}
	count("remove_itself", "accepted", CountRemoveSelfRefused, "refused")
	count("remove_itself", "refused", CountRemoveSelfDone, "accepted")
	count("custom_key_identifier", "hex", CountCustomIDBase64, "base64")
	count("custom_key_identifier", "base64", CountCustomIDHex, "hex")
	count("patch_key_id", "kept", CountKeyIDReplaced+"_"+WayPatch, "replaced")
	count("patch_key_id", "kept", CountKeyIDRefused+"_"+WayPatch, "refused")
	count("patch_key_id", "replaced", CountKeyIDKept+"_"+WayPatch, "kept")
	for _, form := range []ProofForm{ProofUsual, ProofX5T, ProofKid, ProofS256, ProofPS256} {
		count(factOf(form), factAccepted, CountProofRefused+"_"+string(form), factRefused)
		count(factOf(form), factRefused, CountProofAccepted+"_"+string(form), factAccepted)
	}
	count("expired_resent", factAccepted, CountExpiredRefused, factRefused)
	count("expired_resent", factRefused, CountExpiredResent, factAccepted)
	count("log_key_id", "filled", CountLogNoKeyID, "empty")
	count("log_key_id", "empty", CountLogKeyID, "filled")
	count("log_thumbprint", "filled", CountLogNoThumbprint, "empty")
	count("log_thumbprint", "empty", CountLogThumbprint, "filled")
	count("log_filter_by_key_id", factAccepted, CountLogNoFilter, factRefused)
	count("ten_years", factAccepted, CountPolicyRefused, factRefused)
	count("ten_years", factRefused, CountTenYears, factAccepted)
	longer := func(name, what string, times int) {
		_, known := l[name]
		// Short times differ from one sign-in to the next.
		if span := fresh.Spans[what]; known && span.Count > 0 && span.Max > time.Duration(times)*l.lag(name) && span.Max > time.Minute {
			seen[name] = span.Max.Round(time.Second).String()
		}
	}
	longer("sign_in_after", SpanSignIn, 3)
	longer("sign_in_other_after", SpanSignInOther, 3)
	longer("proof_accepted_after", SpanProof, 2)
	return seen
}

// drop takes contradicted facts out and alerts.
func (t *turn) drop(rec *Records, facts *TenantFacts, fresh *TenantFacts) {
	seen := learned(facts.Verified).contradicted(fresh)
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		was := facts.Verified[name]
		delete(facts.Verified, name)
		t.known = maps.Clone(t.known) // at once: what follows in this turn does without it
		delete(t.known, name)
		e := t.event(EventTenantFactChanged, SeverityWarning,
			fmt.Sprintf("tenant %s: %s was %s when it was verified on %s, and is %s now; the fact is not used any more",
				t.app.Tenant, strings.ReplaceAll(name, "_", " "), was.Value, was.At.Format(time.DateOnly), seen[name]),
			"rotate tenant verify "+t.app.Tenant)
		rec.Events = append(rec.Events, e)
	}
}
