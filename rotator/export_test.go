package rotator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// IsOneOf and IsUncertain judge an entry of a list.
func IsOneOf(app *App, f FoundCredential) bool     { return isOneOf(app, nil, f) }
func IsUncertain(app *App, f FoundCredential) bool { return isUncertain(app, nil, f) }

// CheckRemovalsOf lets a loop without a schedule check the app's removals.
func (r *Rotator) CheckRemovalsOf(app string) { r.ask(app) }

// Choices says everything that the verified facts of a tenant change.
func (f *TenantFacts) Choices(version string, now time.Time) map[string]string {
	l := f.usable(version, now)
	c := &Credential{KeyID: "1", ThumbprintSHA1: "AA"}
	return map[string]string{
		"prove.within":       fmt.Sprint(l.fit(Policy{Prove: ProvePolicy{Within: time.Minute}}).Prove.Within),
		"late proof":         fmt.Sprint(l.acceptedLate()),
		"proofs":             fmt.Sprint(l.proofs()),
		"refusal is final":   fmt.Sprint(l.refusesSelfRemoval()),
		"signs itself":       fmt.Sprint(l.maySignItself()),
		"expired left out":   fmt.Sprint(l.refusesExpired()),
		"whole log":          fmt.Sprint(l.readsWholeLog()),
		"key ID in the log":  fmt.Sprint(l.shows(LoggedSignIn{KeyID: "1"}, c)),
		"words of a refusal": fmt.Sprint(l.saysPolicy(&Failure{Class: ClassFix, Reason: ReasonOther, Message: "app x: add certificate: 400 SomeCode: far too long for 'us' (request-id x)"})),
	}
}

// Contradicted lists the facts that fresh observations contradict.
func (f *TenantFacts) Contradicted(fresh *TenantFacts) []string {
	var names []string
	for name, now := range learned(f.Verified).contradicted(fresh) {
		names = append(names, name+" "+now)
	}
	slices.Sort(names)
	return names
}

// Dispatch hands out due apps once, to workers that do.
func (r *Rotator) Dispatch(ctx context.Context, work *sync.WaitGroup, slots chan struct{}, do func(app string)) {
	r.dispatch(ctx, work, slots, WakeContinue, func(_ context.Context, _ *claim, app string) { do(app) })
}

// BlockWarnings name the tenants that hold their share of the workers for long.
func (r *Rotator) BlockWarnings() []string { return r.blockWarnings() }
