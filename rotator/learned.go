package rotator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// learned are the verified facts of a tenant that are used: none that are old. What a
// fact may change is in this file and nowhere else: it lengthens a wait, or chooses
// between two ways that are both coded. No proof, read or overlap is left out for one.
type learned map[string]VerifiedFact

// learnedOf reads them.
func (r *Rotator) learnedOf(ctx context.Context, tenant string) (learned, error) {
	state, err := r.Store.Tenant(ctx, tenant)
	if err != nil || state.Facts == nil || state.Facts.Old(r.Version, time.Now()) != "" {
		return nil, err
	}
	return state.Facts.Verified, nil
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
	longer := func(name, what string, times int) {
		_, known := l[name]
		// Short times differ from one sign-in to the next.
		if span := fresh.Spans[what]; known && span.Count > 0 && span.Max > time.Duration(times)*l.lag(name) && span.Max > time.Minute {
			seen[name] = span.Max.Round(time.Second).String()
		}
	}
	longer("sign_in_after", SpanSignIn, 3)
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
		e := t.event(EventTenantFactChanged, SeverityWarning,
			fmt.Sprintf("tenant %s: %s was %s when it was verified on %s, and is %s now; the fact is not used any more",
				t.app.Tenant, strings.ReplaceAll(name, "_", " "), was.Value, was.At.Format(time.DateOnly), seen[name]),
			"rotate tenant verify "+t.app.Tenant)
		rec.Events = append(rec.Events, e)
	}
}
