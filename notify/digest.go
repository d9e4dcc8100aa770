package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// maxSubjectRunes keeps subjects readable on a phone.
const maxSubjectRunes = 120

// subject says in one line what a message is about.
func subject(m Message) string {
	worst := rotator.SeverityInfo
	critical, app, kind := 0, m.Events[0].App, m.Events[0].Kind
	for _, e := range m.Events {
		worst = worse(worst, e.Severity)
		if e.Severity == rotator.SeverityCritical {
			critical++
		}
		if e.App != app {
			app = ""
		}
		if e.Kind != kind {
			kind = ""
		}
	}
	var about string
	switch n := len(m.Events); {
	case n == 1 && app == "":
		about = title(kind)
	case n == 1:
		about = app + ": " + lowerFirst(title(kind))
	case kind != "" && app != "":
		about = fmt.Sprintf("%s: %s, %d times", app, lowerFirst(title(kind)), n)
	case kind != "":
		about = fmt.Sprintf("%s, %d times", title(kind), n)
	case app != "":
		about = fmt.Sprintf("%s: %d alerts", app, n)
	case critical > 0 && critical < n:
		about = fmt.Sprintf("%d alerts, %d of them critical", n, critical)
	default:
		about = fmt.Sprintf("%d alerts", n)
	}
	word := ""
	switch worst {
	case rotator.SeverityInfo:
	case rotator.SeverityWarning:
		word = "Warning: "
	case rotator.SeverityCritical:
		word = "Critical: "
	}
	return cut("[rotate] "+word+oneLine(about), maxSubjectRunes)
}

// worst returns the highest severity of a message.
func worst(m Message) rotator.Severity {
	s := rotator.SeverityInfo
	for _, e := range m.Events {
		s = worse(s, e.Severity)
	}
	return s
}

func worse(a, b rotator.Severity) rotator.Severity {
	order := []rotator.Severity{rotator.SeverityInfo, rotator.SeverityWarning, rotator.SeverityCritical}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

// title is a kind as people read it: "rotation_failed" is "Rotation failed".
func title(k rotator.EventKind) string {
	text := oneLine(strings.ReplaceAll(string(k), "_", " "))
	if text == "" {
		return "Alert"
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// severityWord is a severity as people read it.
func severityWord(s rotator.Severity) string {
	switch s {
	case rotator.SeverityInfo:
		return "Info"
	case rotator.SeverityWarning:
		return "Warning"
	case rotator.SeverityCritical:
		return "Critical"
	}
	return oneLine(string(s))
}

// instantText is a time for people; empty for the zero time.
func instantText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// tally counts kinds in the order of their first event: "3 × Rotation failed".
func tally(events []rotator.Event) string {
	var order []rotator.EventKind
	count := map[rotator.EventKind]int{}
	for _, e := range events {
		if count[e.Kind] == 0 {
			order = append(order, e.Kind)
		}
		count[e.Kind]++
	}
	parts := make([]string, len(order))
	for i, k := range order {
		parts[i] = fmt.Sprintf("%d × %s", count[k], title(k))
	}
	return strings.Join(parts, ", ")
}

// ends says when the credential that an event is about ends, and how far that is;
// empty where no end is meant.
func ends(e rotator.Event) string {
	text := instantText(e.NotAfter)
	if text == "" || e.Days == nil {
		return text
	}
	switch days := *e.Days; {
	case days < 0:
		return text + " (ended)"
	case days == 0:
		return text + " (in less than a day)"
	case days == 1:
		return text + " (in 1 day)"
	default:
		return fmt.Sprintf("%s (in %d days)", text, days)
	}
}
