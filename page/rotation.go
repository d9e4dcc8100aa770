package page

import (
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// running is the app's open rotation, or its last one: the phases, reached or not.
func running(a *rotator.AppStatus, now time.Time) node {
	r := a.Rotation
	if r == nil {
		return el("p", text("No rotation yet. The first one begins by itself when it is due."))
	}
	var steps nodes
	before := r.StartedAt
	current := true // the first phase that is not reached
	for _, p := range phasesOf(r) {
		at, reached := r.PhaseAt[p]
		title := capital(strings.ReplaceAll(string(p), "_", " "))
		switch {
		case reached:
			steps = append(steps, phaseLine("done", title, "reached", name(capital(fact(p, r))), nodes{clock(at), after(at.Sub(before))}))
			before = at
		case current && a.Open:
			current = false
			steps = append(steps, atWork(title, r, now))
		default:
			current = false
			steps = append(steps, phaseLine("open", title, "not yet", text(capital(meaning(p))), nil))
		}
	}
	lead := nodes{text("Rotation "), el("code", text(r.ID)), text(", asked for by "), name(r.By)}
	switch {
	case a.Open:
		lead = append(lead, text(", running since "), clock(r.StartedAt), text("."))
	case r.Outcome != "":
		lead = append(lead, text(", ended "), clock(r.EndedAt), text(": "), name(r.Outcome), text("."))
	default:
		lead = append(lead, text(", ended "), clock(r.EndedAt), text("."))
	}
	return nodes{el("p", lead), el("ol", class("phases"), steps)}
}

// after is how long a phase took.
func after(d time.Duration) node {
	if d <= 0 {
		return nil
	}
	return el("span", class("in"), text("after "+span(d)))
}

// atWork is the phase that the rotation works on.
func atWork(title string, r *rotator.Rotation, now time.Time) node {
	switch wait := waiting(r, now); {
	case r.Trouble != nil:
		more := nodes{name(capital(r.Trouble.Message))}
		if r.Trouble.Next != "" {
			more = append(more, el("span", class("in"), text("Next: "), name(r.Trouble.Next)))
		}
		when := nodes(nil)
		if !r.Trouble.RetryAt.IsZero() {
			when = nodes{text("next try "), clock(r.Trouble.RetryAt)}
		}
		return phaseLine("failed", title, "failed, tried again", more, when)
	case wait != "":
		return phaseLine("waiting", title, "waiting", text(capital(wait)), nil)
	}
	return phaseLine("working", title, "at work", text("At work"), nil)
}

// phaseLine is one phase. state is its class, spoken what a screen reader hears.
func phaseLine(state, title, spoken string, what node, when nodes) node {
	parts := []node{
		class(state),
		el("span", class("dot"), attr{"aria-hidden", "true"}),
		el("h3", text(title), el("span", class("hidden"), text(", "+spoken))),
		el("p", what),
	}
	if when != nil {
		parts = append(parts, el("p", class("at"), when))
	}
	if state == "working" || state == "waiting" || state == "failed" {
		parts = append(parts, attr{"aria-current", "step"})
	}
	return el("li", parts...)
}
