package page

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// This file says in words what the records mean.

const day = 24 * time.Hour

// span is a length of time as people say it.
func span(d time.Duration) string {
	d = d.Abs()
	unit := func(n int, one string) string {
		if n == 1 {
			return "1 " + one
		}
		return fmt.Sprintf("%d %ss", n, one)
	}
	switch {
	case d == 0:
		return "0 seconds"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return unit(int(d.Round(time.Second)/time.Second), "second")
	case d < 2*time.Hour:
		return unit(int(d.Round(time.Minute)/time.Minute), "minute")
	case d < 2*day:
		return unit(int(d.Round(time.Hour)/time.Hour), "hour")
	}
	return unit(int((d+12*time.Hour)/day), "day")
}

// exact is a setting as the configuration writes it: 45d, 36h, 1m30s.
func exact(d time.Duration) string {
	switch {
	case d == 0:
		return "0s"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	}
	s := d.Round(time.Second).String()
	if d > day {
		s = fmt.Sprintf("%dd", d/day) + (d % day).Round(time.Second).String()
	}
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// relative is an instant as seen from now.
func relative(t, now time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return ""
	case d.Abs() < time.Second:
		return "now"
	case d > 0:
		return "in " + distance(now, t)
	default:
		return distance(t, now) + " ago"
	}
}

// distance is span of the time between two instants, which may be more than the 292
// years of a [time.Duration]: certificates without an end have the year 9999.
func distance(from, to time.Time) string {
	if d := to.Sub(from); d < 2*day {
		return span(d)
	}
	n := (to.Unix() - from.Unix() + int64(12*time.Hour/time.Second)) / int64(day/time.Second)
	return fmt.Sprintf("%d days", n)
}

// count is a number with its noun.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(n) + " " + one + "s"
}

// thousands is a number that can be read: 10,000.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// forward are the phases of a rotation that goes through.
func forward() []rotator.Phase {
	return []rotator.Phase{
		rotator.PhasePlanned, rotator.PhaseUploaded, rotator.PhaseProven,
		rotator.PhaseDelivered, rotator.PhaseConfirmed, rotator.PhaseRetired,
	}
}

// phasesOf are the phases that a rotation has reached or still has to.
func phasesOf(r *rotator.Rotation) []rotator.Phase {
	if r.Phase != rotator.PhaseRollingBack && r.Phase != rotator.PhaseRolledBack {
		return forward()
	}
	var phases []rotator.Phase
	for _, p := range append(forward(), rotator.PhaseRollingBack) {
		if _, reached := r.PhaseAt[p]; reached {
			phases = append(phases, p)
		}
	}
	return append(phases, rotator.PhaseRolledBack)
}

// meaning says what a phase stands for.
func meaning(p rotator.Phase) string {
	switch p {
	case rotator.PhasePlanned:
		return "key and certificate made, the key sealed"
	case rotator.PhaseUploaded:
		return "Entra has the new certificate"
	case rotator.PhaseProven:
		return "the new certificate signs in"
	case rotator.PhaseDelivered:
		return "the consumer has the new key"
	case rotator.PhaseConfirmed:
		return "the consumer uses the new key"
	case rotator.PhaseRetired:
		return "the removal of the old certificate was sent"
	case rotator.PhaseRollingBack:
		return "going back to the previous certificate"
	case rotator.PhaseRolledBack:
		return "the removal of the new certificate was sent"
	}
	return ""
}

// removal says where the removal of a certificate stands.
func removal(c *rotator.Credential, now time.Time) string {
	switch {
	case !c.RemovedAt.IsZero():
		return "removed, confirmed " + c.RemovedAt.UTC().Format(minuteLayout)
	case !c.LeftAt.IsZero():
		return "left on the app"
	case !now.Before(c.NotAfter):
		return "expired " + c.NotAfter.UTC().Format(minuteLayout)
	case c.RemovalSentAt.IsZero():
		return "on the app"
	case c.RemovalFrom.IsZero():
		return "removal sent; it cannot be confirmed from here, check the Entra admin centre"
	}
	return "removal sent; confirmed from " + c.RemovalFrom.UTC().Format(minuteLayout) + " on"
}

// fact is what the journal knows about a phase that was reached.
func fact(p rotator.Phase, r *rotator.Rotation) string {
	switch p {
	case rotator.PhasePlanned:
		return "new certificate " + r.New.ThumbprintSHA1 + ", valid until " + r.New.NotAfter.UTC().Format(dateLayout) + "; its key is sealed in the store"
	case rotator.PhaseUploaded:
		switch {
		case r.Upload.Way == rotator.WayPatch:
			return "added to the app's list by the tenant's identity"
		case r.Mode == rotator.ModeSelf:
			return "the app added it itself, signed with its current key"
		}
		return "added by the tenant's identity, signed with the current key"
	case rotator.PhaseProven:
		if r.Proof.Unprovable {
			return "Conditional Access lets nobody sign in from this host; that it works must be confirmed elsewhere"
		}
		return count(r.Proof.Successes, "fresh sign-in") + " with the very file that is delivered"
	case rotator.PhaseDelivered:
		if len(r.Deliveries) == 0 {
			return "no delivery is set up: nobody got the new key by this program"
		}
		return count(len(r.Deliveries), "place") + " hold the new key"
	case rotator.PhaseConfirmed:
		switch r.Confirmation {
		case rotator.ConfirmAutomatic:
			return "what was delivered is in place and still signs in, and the consumer had its time to read it"
		case rotator.ConfirmCommand:
			return "the hook says that the consumer uses it"
		case rotator.ConfirmPerson:
			return "by " + r.ConfirmedBy
		}
		return "by nobody before the old certificate ended"
	case rotator.PhaseRetired:
		if r.Old == nil {
			return "there was no earlier certificate"
		}
		return "old certificate " + r.Old.ThumbprintSHA1 + ": " + removal(r.Old, time.Now())
	case rotator.PhaseRollingBack:
		return "a person asked for the previous certificate"
	case rotator.PhaseRolledBack:
		return r.Outcome
	}
	return ""
}

// waiting says what a rotation waits for; empty: it is at work.
func waiting(r *rotator.Rotation, now time.Time) string {
	until := func(word string) string {
		if r.WakeAt.IsZero() {
			return ""
		}
		return " " + word + " " + r.WakeAt.UTC().Format(clockLayout) + " (" + relative(r.WakeAt, now) + ")"
	}
	switch r.WaitingFor {
	case "":
		return ""
	case rotator.WaitingPropagation:
		return "Entra does not know it everywhere yet; next look" + until("at")
	case rotator.WaitingProof:
		return count(r.Proof.Successes, "sign-in") + " so far, the next" + until("at")
	case rotator.WaitingDelivery:
		return "it has no delivery, so its consumer would never get the new key"
	case rotator.WaitingReload:
		return "the consumer has time to read its files" + until("until")
	case rotator.WaitingCommand:
		return "the hook does not say yet that the consumer uses it; next look" + until("at")
	case rotator.WaitingPerson:
		return "a person has to confirm that the consumer uses the new certificate"
	case rotator.WaitingOverlap:
		if !r.CutAt().IsZero() {
			return "overlap: the certificate given up is removed, the others are accepted" + until("until")
		}
		return "overlap: both certificates are accepted" + until("until")
	case rotator.WaitingEvidence:
		return "the consumer still uses the old certificate, so it stays; next look" + until("at")
	case rotator.WaitingWindow:
		return "its window is closed" + until("until")
	case rotator.WaitingPause:
		return "paused" + until("until")
	case rotator.WaitingLimit:
		return "its upload limit is reached, holding" + until("until")
	case rotator.WaitingAnswer:
		return "no clear answer from Entra; looking again" + until("at")
	case rotator.WaitingRetry:
		return "next try" + until("at")
	}
	return r.WaitingFor + until("until")
}

// brief says in a few words where an open rotation is.
func brief(r *rotator.Rotation) string {
	switch r.WaitingFor {
	case rotator.WaitingOverlap:
		if !r.CutAt().IsZero() {
			return "confirmed; the one given up is removed, the others are accepted until " + r.RetiresAt.UTC().Format(dateLayout)
		}
		return "confirmed; both are accepted until " + r.RetiresAt.UTC().Format(dateLayout)
	case rotator.WaitingEvidence:
		return "confirmed; the consumer still uses the old one"
	case rotator.WaitingDelivery:
		return "verified; it has no delivery"
	case rotator.WaitingReload:
		return "delivered; the consumer has time to read it"
	case rotator.WaitingPropagation:
		return "uploaded; Entra does not know it everywhere yet"
	case rotator.WaitingProof:
		return "uploaded; being proven"
	case rotator.WaitingWindow:
		return string(r.Phase) + "; its window opens " + r.WakeAt.UTC().Format(dateLayout)
	case rotator.WaitingPause:
		return string(r.Phase) + "; paused"
	case rotator.WaitingRetry, rotator.WaitingAnswer, rotator.WaitingLimit, rotator.WaitingCommand:
		return string(r.Phase) + "; tried again soon"
	}
	return strings.ReplaceAll(string(r.Phase), "_", " ")
}

// reason is why a person should look, in one sentence; empty: nobody has to.
func reason(a *rotator.AppStatus, now time.Time) string {
	switch {
	case !a.Attention:
		return ""
	case !a.NotAfter.IsZero() && !a.NotAfter.After(now):
		return "its certificate ended " + relative(a.NotAfter, now)
	case a.NoDelivery:
		return "is not rotated: it has no delivery"
	case a.WaitingFor == rotator.WaitingPerson:
		return "waits for a person to confirm the new certificate"
	case a.App.Listed != nil && !a.App.Listed.Missing.IsZero():
		return "its certificate is gone from Entra"
	case a.App.Mode == rotator.ModeMonitor:
		return "its certificate ends " + relative(a.NotAfter, now) + ", and only a person can replace it: nobody here holds its key"
	case a.Open && !a.Rotation.Missing.IsZero():
		return "its new certificate was removed from Entra by somebody"
	case a.Trouble != nil:
		return a.Trouble.Message
	case a.Late:
		return "the last safe start has passed: a renewal no longer fits with its full overlap"
	case a.App.Hold != "":
		return "held: " + a.App.Hold
	case isUnconfirmed(a):
		return "a certificate may still be accepted although its removal was sent"
	case len(a.App.Orphans) > 0:
		return "a certificate is left on the app that only a person can remove"
	}
	return "nothing is written to Entra"
}

// isUnconfirmed reports whether a removal needs a person.
func isUnconfirmed(a *rotator.AppStatus) bool {
	return slices.ContainsFunc(a.App.Removals, func(m rotator.Removal) bool {
		return m.IsPending() && (m.GivenUp || !m.ReportedAt.IsZero())
	})
}
