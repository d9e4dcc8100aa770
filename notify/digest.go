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

// maxNameRunes leaves room for what happened beside the name of an app.
const maxNameRunes = 60

// subject says in one line what a message is about: the worst event by name, and how
// many others there are.
func subject(m Message) string { return headline(m, maxSubjectRunes) }

// mailSubject is subject with the date, which stays when the rest is cut.
func mailSubject(m Message) string {
	date := ""
	if !m.At.IsZero() {
		date = " (" + m.At.UTC().Format(time.DateOnly) + ")"
	}
	return headline(m, maxSubjectRunes-len(date)) + date
}

func headline(m Message, runes int) string {
	first := slices.MaxFunc(m.Events, func(a, b rotator.Event) int {
		return rank(a.Severity) - rank(b.Severity) // the first of those that are equal
	})
	sameKind, sameApp := 0, true
	for _, e := range m.Events {
		if e.Kind == first.Kind && e.Severity == first.Severity {
			sameKind++
			sameApp = sameApp && e.App == first.App
		}
	}
	about, app := title(first.Kind), cut(first.App, maxNameRunes)
	switch {
	case sameApp && first.App != "" && sameKind > 1:
		about = fmt.Sprintf("%s: %s, %d times", app, lowerFirst(about), sameKind)
	case sameApp && first.App != "":
		about = app + ": " + lowerFirst(about)
	case sameKind > 1:
		about = fmt.Sprintf("%s, %d times", about, sameKind)
	}
	if others := len(m.Events) - sameKind; others > 0 {
		about += fmt.Sprintf(", and %d more", others)
	}
	word := ""
	switch first.Severity {
	case rotator.SeverityInfo:
	case rotator.SeverityWarning:
		word = "Warning: "
	case rotator.SeverityCritical:
		word = "Critical: "
	}
	return cut("[rotate] "+word+oneLine(about), runes)
}

// worstFirst are the events of a message as people should read them: the worst first,
// each severity in the order of time.
func worstFirst(m Message) []rotator.Event {
	return slices.SortedStableFunc(slices.Values(m.Events), func(a, b rotator.Event) int { return rank(b.Severity) - rank(a.Severity) })
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
		return text + " (expired)"
	case days == 0:
		return text + " (in less than a day)"
	case days == 1:
		return text + " (in 1 day)"
	default:
		return fmt.Sprintf("%s (in %d days)", text, days)
	}
}
