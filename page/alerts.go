package page

import (
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// openAlerts are the conditions of an app that last and that people were told of.
func openAlerts(a *rotator.AppStatus) node {
	var snoozed node
	if a.App.SnoozedUntil.After(a.App.AddedAt) {
		snoozed = el("p", class("after"), text("Warnings are held back until "), clock(a.App.SnoozedUntil), text("."))
	}
	if len(a.App.Alerts) == 0 {
		return nodes{el("p", text("Nothing is open.")), snoozed}
	}
	var rows [][]node
	for _, one := range a.App.Alerts {
		severity := node(text(one.Severity))
		if one.Severity == rotator.SeverityCritical {
			severity = el("strong", class("bad"), text(one.Severity))
		}
		known := node(text("nobody yet"))
		if !one.AckedAt.IsZero() {
			known = nodes{name(one.AckedBy), el("span", class("in"), instant(one.AckedAt, minuteLayout))}
		}
		next := node(text("–"))
		if one.Next != "" {
			next = name(one.Next)
		}
		rows = append(rows, []node{text(capital(strings.ReplaceAll(string(one.Kind), "_", " "))), severity, instant(one.Since, minuteLayout), name(one.Summary), next, known})
	}
	return nodes{table("Open alerts", []string{"Alert", "Severity", "Since", "What", "What to do", "Known to"}, rows), snoozed}
}
