package rotator

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// endingStages are the days before its end at which a credential that nobody here
// replaces is told of; 0 is the end itself.
func endingStages() []int { return []int{60, 30, 14, 7, 3, 1, 0} }

// endingStage is the last stage that a credential has reached; -1: none.
func endingStage(notAfter, at time.Time) int {
	reached := -1
	for _, days := range endingStages() {
		if !at.Before(notAfter.Add(-time.Duration(days) * day)) {
			reached = days
		}
	}
	return reached
}

// reachedSince returns the stage that a credential has reached since an instant; -1:
// no new one. What had ended before the first look is not told of: it would be
// all the litter of a tenant.
func reachedSince(since, now, notAfter time.Time) int {
	if notAfter.IsZero() {
		return -1
	}
	stage := endingStage(notAfter, now)
	switch {
	case stage < 0, since.IsZero() && stage == 0, !since.IsZero() && endingStage(notAfter, since) == stage:
		return -1
	}
	return stage
}

// stageName is what channels filter by: "30d", "expired".
func stageName(days int) string {
	if days == 0 {
		return "expired"
	}
	return strconv.Itoa(days) + "d"
}

// endings collects what ends. It holds the soonest of many, so that a tenant
// full of old credentials takes no memory and makes one message.
type endings struct {
	apps  []foreignEnding
	count int
	first []ending
}

// ending is a credential that has reached a stage.
type ending struct {
	notAfter time.Time
	stage    int
	text     string
}

// foreignEnding is one on a tracked app.
type foreignEnding struct {
	ending
	app *App
}

// note takes a credential of something that is not rotated here.
func (e *endings) note(since, now time.Time, found Registered, c FoundCredential) {
	stage := reachedSince(since, now, c.NotAfter)
	if stage < 0 {
		return
	}
	e.count++
	e.first = append(e.first, ending{c.NotAfter, stage, fmt.Sprintf("%s %s of %s (client ID %s) on %s",
		c.Kind, c.KeyID, shownName(found.DisplayName), found.ClientID, c.NotAfter.Format(time.DateOnly))})
	slices.SortStableFunc(e.first, func(a, b ending) int { return a.notAfter.Compare(b.notAfter) })
	e.first = e.first[:min(len(e.first), namedAtMost)]
}

// noteForeign takes a foreign credential of a tracked app.
func (e *endings) noteForeign(since, now time.Time, app *App, f Foreign) {
	if stage := reachedSince(since, now, f.NotAfter); stage >= 0 {
		e.apps = append(e.apps, foreignEnding{ending{f.NotAfter, stage, f.text()}, app})
	}
}

// events tells of them: one for each foreign credential of a tracked app, one
// for all others.
func (e *endings) events(tenant string, now time.Time) []Event {
	var events []Event
	for _, f := range e.apps {
		summary := fmt.Sprintf("app %s: the %s, which rotate does not replace, ends on %s", f.app.Name, f.text, f.notAfter.Format(time.DateOnly))
		if f.stage == 0 {
			summary = fmt.Sprintf("app %s: the %s, which rotate does not replace, has ended", f.app.Name, f.text)
		}
		event := newEvent(f.app, nil, EventExpiring, endingSeverity(f.stage), summary, "replace it where it is used, or remove it in the Entra portal")
		event.Old = nil
		events = append(events, f.dated(event, now))
	}
	if e.count == 0 {
		return events
	}
	var names []string
	for _, one := range e.first {
		names = append(names, one.text)
	}
	count := fmt.Sprintf("%d credentials", e.count)
	if e.count == 1 {
		count = "1 credential"
	}
	event := newEvent(nil, nil, EventExpiring, endingSeverity(e.first[0].stage),
		fmt.Sprintf("tenant %s: %s of apps that are not rotated end: %s", tenant, count, joinSome(names, e.count)),
		"see all of them: rotate discover --tenant "+tenant+" --expiring 60d")
	event.Tenant = tenant
	return append(events, e.first[0].dated(event, now))
}

func (e ending) dated(event Event, now time.Time) Event {
	event.Stage, event.NotAfter = stageName(e.stage), e.notAfter
	event.Days = new(int(e.notAfter.Sub(now) / day))
	return event
}

func endingSeverity(stage int) Severity {
	switch {
	case stage <= 7:
		return SeverityCritical
	case stage <= 30:
		return SeverityWarning
	}
	return SeverityInfo
}
