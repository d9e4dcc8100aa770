package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// This file says in words what a rotation has done, does and waits for.

// forward are the phases of a rotation that goes through, in order.
func forward() []rotator.Phase {
	return []rotator.Phase{
		rotator.PhasePlanned, rotator.PhaseUploaded, rotator.PhaseProven,
		rotator.PhaseDelivered, rotator.PhaseConfirmed, rotator.PhaseRetired,
	}
}

// phasesOf are the phases that a rotation has reached or still has to.
func phasesOf(r control.Rotation) []rotator.Phase {
	phase := rotator.Phase(r.Phase)
	if phase != rotator.PhaseRollingBack && phase != rotator.PhaseRolledBack {
		return forward()
	}
	var phases []rotator.Phase
	for _, p := range forward() {
		if _, ok := r.PhaseAt[string(p)]; ok {
			phases = append(phases, p)
		}
	}
	if _, ok := r.PhaseAt[string(rotator.PhaseRollingBack)]; ok || phase == rotator.PhaseRollingBack {
		phases = append(phases, rotator.PhaseRollingBack)
	}
	return append(phases, rotator.PhaseRolledBack)
}

// stepWord is what is being done to reach a phase.
func stepWord(p rotator.Phase) string {
	switch p {
	case rotator.PhasePlanned:
		return "plan"
	case rotator.PhaseUploaded:
		return "upload"
	case rotator.PhaseProven:
		return "prove"
	case rotator.PhaseDelivered:
		return "deliver"
	case rotator.PhaseConfirmed:
		return "confirm"
	case rotator.PhaseRetired:
		return "retire"
	case rotator.PhaseRollingBack:
		return "roll back"
	case rotator.PhaseRolledBack:
		return "roll back"
	}
	return string(p)
}

// phaseWord is the phase for people.
func phaseWord(p rotator.Phase) string { return strings.ReplaceAll(string(p), "_", " ") }

// fact says what the journal knows about a phase that was reached.
func fact(p rotator.Phase, r control.Rotation) string {
	switch p {
	case rotator.PhasePlanned:
		if r.New == nil {
			return "key and certificate made"
		}
		if _, uploaded := r.PhaseAt[string(rotator.PhaseUploaded)]; !uploaded && len(r.Told) > 0 && r.Confirmation != nil {
			return fmt.Sprintf("nothing new: the certificate %s stays, as it was confirmed before", shortThumbprint(r.New.ThumbprintSHA1))
		}
		return fmt.Sprintf("new certificate %s until %s, its key sealed in the store", shortThumbprint(r.New.ThumbprintSHA1), r.New.NotAfter.Format(time.DateOnly))
	case rotator.PhaseUploaded:
		return uploadFact(r)
	case rotator.PhaseProven:
		if r.Unprovable {
			return "Conditional Access lets nobody sign in from this host; whether it works must be confirmed elsewhere"
		}
		return count(r.Proofs, "fresh sign-in", "fresh sign-ins") + " with the very file that is delivered"
	case rotator.PhaseDelivered:
		return deliveryFact(r)
	case rotator.PhaseConfirmed:
		return confirmFact(r)
	case rotator.PhaseRetired:
		if r.Old == nil {
			return "there was no earlier certificate" + toldText(r)
		}
		if slices.Contains(r.LeftBehind, r.Old.ThumbprintSHA256) {
			return fmt.Sprintf("old certificate %s stays on the app: which entry it is cannot be read, remove it in the Entra admin centre", shortThumbprint(r.Old.ThumbprintSHA1)) + toldText(r)
		}
		return "old certificate " + shortThumbprint(r.Old.ThumbprintSHA1) + ": " + removalText(r.Old, time.Now()) + toldText(r)
	case rotator.PhaseRollingBack:
		return "going back to the previous certificate"
	case rotator.PhaseRolledBack:
		return r.Outcome
	}
	return ""
}

// removalText says where the removal of a certificate stands.
func removalText(c *control.Credential, now time.Time) string {
	switch {
	case c.RemovedAt != nil:
		return "removed, confirmed " + utcMinute(*c.RemovedAt, now)
	case !now.Before(c.NotAfter):
		return "expired " + utcMinute(c.NotAfter, now)
	case c.RemovalSentAt == nil:
		return "on the app"
	}
	return "removal sent" + confirmedFrom(c.RemovalConfirmedFrom, now)
}

// confirmedFrom says when a removal can be confirmed.
func confirmedFrom(at *time.Time, now time.Time) string {
	if at == nil {
		return "; it cannot be confirmed from here, check Certificates & secrets in the Entra admin centre"
	}
	return "; confirmed from " + utcMinute(at.Add(time.Minute-time.Nanosecond), now) + " on"
}

// utcMinute is an instant whose second does not matter.
func utcMinute(t, now time.Time) string {
	if t.Sub(now).Abs() < 20*time.Hour {
		return t.UTC().Format("15:04 UTC")
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// toldText says what became of keys of others that were to be removed.
func toldText(r control.Rotation) string {
	var text strings.Builder
	now := time.Now()
	for _, k := range r.Told {
		switch {
		case k.RemovedAt != nil:
			text.WriteString("; key " + k.KeyID + ": removed, confirmed " + utcMinute(*k.RemovedAt, now))
		case k.RemovalSentAt != nil:
			text.WriteString("; key " + k.KeyID + ": removal sent" + confirmedFrom(k.RemovalConfirmedFrom, now))
		default:
			text.WriteString("; key " + k.KeyID + " stays: nobody confirmed")
		}
	}
	return text.String()
}

func uploadFact(r control.Rotation) string {
	how := "on the app"
	switch {
	case r.Way == rotator.WayPatch:
		how = "added to the list by the tenant's identity (PATCH)"
	case r.Way == rotator.WayAddKey && r.Mode == string(rotator.ModeSelf):
		how = "the app added it itself, signed with its current key (addKey)"
	case r.Way == rotator.WayAddKey:
		how = "added by the tenant's identity, signed with the current key (addKey)"
	}
	return how
}

func deliveryFact(r control.Rotation) string {
	var names []string
	for _, d := range r.Deliveries {
		names = append(names, d.Name)
	}
	if len(names) == 0 {
		return "no delivery is set up: nobody got the new key"
	}
	return strings.Join(names, ", ")
}

func confirmFact(r control.Rotation) string {
	if r.Confirmation == nil {
		return "the consumer uses it"
	}
	switch *r.Confirmation {
	case rotator.ConfirmAutomatic:
		return "deliveries hold it, it still works, and the consumer had its time to read it"
	case rotator.ConfirmCommand:
		return "the hook says that the consumer uses it"
	case rotator.ConfirmPerson:
		return "by " + r.ConfirmedBy
	}
	return "by nobody before the old certificate ended"
}

// waiting says what a rotation waits for; empty: it is at work.
func waiting(r control.Rotation, now time.Time) string {
	if r.WaitingFor == nil {
		return ""
	}
	until := ""
	if r.WaitingUntil != nil {
		until = fmt.Sprintf(" until %s", moment(*r.WaitingUntil, now))
		if left := r.WaitingUntil.Sub(now); left > time.Second {
			until += fmt.Sprintf(" (%s)", whole(left))
		}
	}
	switch *r.WaitingFor {
	case rotator.WaitingPropagation:
		return "Entra does not know it everywhere yet; next look" + strings.Replace(until, " until", " at", 1)
	case rotator.WaitingProof:
		return fmt.Sprintf("%s so far; the next", count(r.Proofs, "sign-in", "sign-ins")) + strings.Replace(until, " until", " at", 1)
	case rotator.WaitingDelivery:
		return "it has no delivery, so its consumer would never get the new key: rotate app edit " + r.App + " --deliver-file PATH"
	case rotator.WaitingReload:
		return "the consumer has time to read its files" + until
	case rotator.WaitingCommand:
		return "the hook does not say yet that the consumer uses it; next look" + strings.Replace(until, " until", " at", 1)
	case rotator.WaitingPerson:
		return "for a person: " + r.NextStep
	case rotator.WaitingOverlap:
		if r.CompromisedRemovedAt != nil {
			return "overlap: the compromised certificate is removed, the others are accepted" + until
		}
		if r.CompromisedSentAt != nil {
			return "overlap: the removal of the compromised certificate was sent and is not confirmed yet" + until
		}
		return "overlap: both certificates are accepted" + until
	case rotator.WaitingEvidence:
		return "the consumer still uses the old certificate, so it stays; next look" + strings.Replace(until, " until", " at", 1)
	case rotator.WaitingWindow:
		return "its window is closed" + until
	case rotator.WaitingPause:
		return "paused" + until
	case rotator.WaitingLimit:
		return "upload limit reached, holding" + until
	case rotator.WaitingAnswer:
		return "no clear answer from Entra; looking again" + strings.Replace(until, " until", " at", 1)
	case rotator.WaitingRetry:
		return "next try" + strings.Replace(until, " until", " at", 1)
	}
	return *r.WaitingFor + until
}

// took is how long a phase took after the one before it; zero: unknown.
func took(p rotator.Phase, r control.Rotation) time.Duration {
	at, ok := r.PhaseAt[string(p)]
	if !ok {
		return 0
	}
	before := r.StartedAt
	for _, other := range r.PhaseAt {
		if other.Before(at) && other.After(before) {
			before = other
		}
	}
	return at.Sub(before)
}

// tookText is took for people; empty where it says nothing.
func tookText(format string, p rotator.Phase, r control.Rotation) string {
	if d := took(p, r); d >= time.Millisecond {
		return fmt.Sprintf(format, span(d))
	}
	return ""
}

// nextPhase is the one that the rotation works on now.
func nextPhase(r control.Rotation) rotator.Phase {
	for _, p := range phasesOf(r) {
		if _, ok := r.PhaseAt[string(p)]; !ok {
			return p
		}
	}
	return rotator.Phase(r.Phase)
}
