package rotator

import (
	"fmt"
	"slices"
	"time"
)

// reachedSince returns the stage that a credential which nobody here replaces has
// reached since an instant; false: no new one. What had ended before the first look
// is not told of: it would be all the litter of a tenant.
func reachedSince(stages []time.Duration, since, now, notAfter time.Time) (string, bool) {
	if notAfter.IsZero() {
		return "", false
	}
	stage, ok := ExpiryStage(stages, notAfter, now)
	if !ok || since.IsZero() {
		return stage, ok && stage != StageExpired
	}
	before, had := ExpiryStage(stages, notAfter, since)
	return stage, !had || before != stage
}

// endings collects what ends. It holds the soonest of many, so that a tenant
// full of old credentials takes no memory and makes one message.
type endings struct {
	stages []time.Duration
	apps   []foreignEnding
	count  int
	first  []ending
}

// ending is a credential that has reached a stage.
type ending struct {
	notAfter time.Time
	stage    string
	text     string
}

// foreignEnding is one on a tracked app.
type foreignEnding struct {
	ending
	app *App
}

// note takes a credential of something that is not rotated here.
func (e *endings) note(since, now time.Time, found Registered, c FoundCredential) {
	stage, ok := reachedSince(e.stages, since, now, c.NotAfter)
	if !ok {
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
	if stage, ok := reachedSince(e.stages, since, now, f.NotAfter); ok {
		e.apps = append(e.apps, foreignEnding{ending{f.NotAfter, stage, f.text()}, app})
	}
}

// events tells of them: one for each foreign credential of a tracked app, one
// for all others.
func (e *endings) events(r *Rotator, tenant string, now time.Time) []Event {
	var events []Event
	for _, f := range e.apps {
		summary := fmt.Sprintf("app %s: the %s, which rotate does not replace, ends on %s", f.app.Name, f.text, f.notAfter.Format(time.DateOnly))
		if f.stage == StageExpired {
			summary = fmt.Sprintf("app %s: the %s, which rotate does not replace, has ended", f.app.Name, f.text)
		}
		event := r.newEvent(f.app, nil, EventExpiring, endingSeverity(f.notAfter, now), summary, "replace it where it is used, or remove it in the Entra portal")
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
	event := r.newEvent(nil, nil, EventExpiring, endingSeverity(e.first[0].notAfter, now),
		fmt.Sprintf("tenant %s: %s of apps that are not rotated end: %s", tenant, count, joinSome(names, e.count)),
		"see all of them: rotate discover --tenant "+tenant+" --expiring "+days(slices.Max(append([]time.Duration{day}, e.stages...))))
	event.Tenant = tenant
	return append(events, e.first[0].dated(event, now))
}

func (e ending) dated(event Event, now time.Time) Event {
	event.Stage, event.NotAfter = e.stage, e.notAfter
	event.Days = new(wholeDays(e.notAfter, now))
	return event
}

// endingSeverity is that of the stages of our own certificates.
func endingSeverity(notAfter, now time.Time) Severity {
	if notAfter.Sub(now) <= urgentDays {
		return SeverityCritical
	}
	return SeverityWarning
}
