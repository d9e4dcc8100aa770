package page

import (
	"fmt"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// arithmetic shows how the policy leads to the app's next dates.
func arithmetic(a *rotator.AppStatus) node {
	p := a.Policy
	if a.NotAfter.IsZero() {
		return el("p", text("Without a certificate, a rotation is due at once."))
	}
	if a.App.Mode == rotator.ModeMonitor {
		return el("p", text("Only watched: nobody here holds its private key, so rotate tells when it ends and replaces nothing."))
	}
	type step struct {
		sign, what, value string
		at                time.Time
	}
	sum := func(label string, steps []step) node {
		var lines nodes
		for i, s := range steps {
			kind := "term"
			if i == len(steps)-1 {
				kind = "total"
			}
			value := node(text(s.value))
			if !s.at.IsZero() {
				value = clock(s.at)
			}
			lines = append(lines, el("tr", class(kind), el("th", attr{"scope", "row"}, text(s.what)),
				el("td", class("sign"), text(s.sign)), el("td", value)))
		}
		return el("table", class("sum"), el("caption", text(label)), el("tbody", lines))
	}
	due := []step{{"", "The certificate ends", "", a.NotAfter}, {"−", "renew_before", exact(p.RenewBefore), time.Time{}}}
	rest := a.NotAfter.Add(-p.RenewBefore).Sub(a.DueAt)
	switch {
	case rest < 0:
		due[1] = step{"−", fmt.Sprintf("renew_before %s in proportion, for the certificate lives shorter than %s", exact(p.RenewBefore), exact(p.Validity)), exact(a.NotAfter.Sub(a.DueAt)), time.Time{}}
	case rest > 0:
		due = append(due, step{"−", "jitter, the same every year", exact(rest), time.Time{}})
	}
	due = append(due, step{"=", "Its renewal is due", "", a.DueAt})
	rule := a.App.Confirm.Rule
	if rule == "" {
		rule = rotator.ConfirmAutomatic
	}
	confirmation := a.NotAfter.Sub(a.LastSafeStart) - p.Prove.Within - p.Overlap
	last := []step{
		{"", "The certificate ends", "", a.NotAfter},
		{"−", "overlap, while both are accepted", exact(p.Overlap), time.Time{}},
		{"−", "confirmation, rule " + rule, exact(confirmation), time.Time{}},
		{"−", "prove.within, until Entra knows the new one", exact(p.Prove.Within), time.Time{}},
		{"=", "Last safe start", "", a.LastSafeStart},
	}
	var more nodes
	if w := p.Window; w != nil {
		zone := w.Zone
		if zone == "" {
			zone = "UTC"
		}
		more = append(more, el("p", text("Scheduled work waits for its window: "), el("code", text(w.Cron)), text(" for "+exact(w.Duration)+", "+zone+".")))
	}
	more = append(more, el("p", text(fmt.Sprintf("New keys are rsa-%d and live %s. A new one must sign in %s before it is delivered. The replaced key is kept sealed for %s.",
		p.KeyBits, exact(p.Validity), count(p.Prove.Successes, "time"), exact(p.KeepPrevious)))))
	return nodes{el("div", class("sums"), sum("When it begins", due), sum("When it must have begun", last)), more}
}
