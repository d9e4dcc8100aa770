package rotator

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// OpenAlert is a condition that lasts, with what it is about.
type OpenAlert struct {
	Alert
	// App is empty for one about the whole store.
	App    string
	Tenant string
	Owner  string
	// NotAfter of the app's certificate in service; zero: none.
	NotAfter time.Time
	// SnoozedUntil is when the app's snooze ends; zero: it is not snoozed.
	SnoozedUntil time.Time
	// NextAt is when it is told next if nothing changes, at the check after it.
	NextAt time.Time
}

// Alerts lists what lasts and needs somebody, the most severe and then the oldest
// first, and the apps that are snoozed without any.
func (r *Rotator) Alerts(ctx context.Context) ([]OpenAlert, map[string]time.Time, error) {
	now := r.now().UTC()
	state, err := r.Store.State(ctx)
	if err != nil {
		return nil, nil, err
	}
	var open []OpenAlert
	for i := range state.Alerts {
		open = append(open, OpenAlert{Alert: state.Alerts[i], NextAt: r.tellAt(&state.Alerts[i], nil, nil)})
	}
	snoozed := map[string]time.Time{}
	for app, err := range r.eachApp(ctx) {
		if err != nil {
			return nil, nil, err
		}
		if len(app.Alerts) == 0 && !now.Before(app.SnoozedUntil) {
			continue
		}
		rot, err := r.openOf(ctx, app)
		if err != nil {
			return nil, nil, err
		}
		until := time.Time{}
		if r.isSnoozed(app, rot, now) {
			until = pauseEnd(app.SnoozedUntil, r.lastSafeOf(app, rot))
			snoozed[app.Name] = until
		}
		for j := range app.Alerts {
			one := OpenAlert{Alert: app.Alerts[j], App: app.Name, Tenant: app.Tenant, Owner: app.Owner, SnoozedUntil: until, NextAt: r.tellAt(&app.Alerts[j], app, rot)}
			if app.Current != nil {
				one.NotAfter = app.Current.NotAfter
			}
			open = append(open, one)
		}
	}
	order := []Severity{SeverityCritical, SeverityWarning, SeverityInfo}
	slices.SortStableFunc(open, func(a, b OpenAlert) int {
		if d := slices.Index(order, a.Severity) - slices.Index(order, b.Severity); d != 0 {
			return d
		}
		return a.Since.Compare(b.Since)
	})
	return open, snoozed, nil
}

// eachApp yields all apps by name, a few in memory at a time. It ends with the first
// error.
func (r *Rotator) eachApp(ctx context.Context) iter.Seq2[*App, error] {
	return func(yield func(*App, error) bool) {
		for after := ""; ; {
			apps, err := r.Store.Apps(ctx, after, surveyBatch)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range apps {
				if !yield(&apps[i], nil) {
					return
				}
			}
			if len(apps) < surveyBatch {
				return
			}
			after = apps[len(apps)-1].Name
		}
	}
}

// openOf reads the app's open rotation; nil if there is none.
func (r *Rotator) openOf(ctx context.Context, app *App) (*Rotation, error) {
	if app.Rotation == "" {
		return nil, nil //nolint:nilnil // no open rotation is an ordinary answer
	}
	rot, err := r.Store.Rotation(ctx, app.Rotation)
	if err != nil {
		return nil, fmt.Errorf("app %s: %w", app.Name, err)
	}
	return &rot, nil
}

// minIDBytes is how much of an event's ID a person must type.
const minIDBytes = 6

// Acked is one alert that a person said they know.
type Acked struct {
	App   string
	Kind  EventKind
	Event string
	// Until is when it is told again if it lasts.
	Until time.Time
}

// Ack notes that somebody knows: what names an app, or an event by its ID or the
// beginning of it. The alert is not told again before the app's last safe date, or
// for a day where that has passed. Its end is told. [ErrNotFound] if nothing open
// has the name.
func (r *Rotator) Ack(ctx context.Context, what, by string) ([]Acked, error) {
	open, _, err := r.Alerts(ctx)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	matches := func(app string, a *Alert) bool {
		return app != "" && app == what || len(what) >= minIDBytes && strings.HasPrefix(a.Event, what)
	}
	for i := range open {
		if matches(open[i].App, &open[i].Alert) {
			names[open[i].App] = true
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no open alert of an app or event %q: %w", what, ErrNotFound)
	}
	var acked []Acked
	for name := range names {
		err = errors.Join(err, r.change(ctx, name, func(rec *Records) error {
			alerts := rec.State.Alerts
			if name != "" {
				if rec.App == nil {
					return fmt.Errorf("app %s: %w", name, ErrNotFound)
				}
				alerts = rec.App.Alerts
			}
			now := r.now().UTC()
			for i := range alerts {
				a := &alerts[i]
				if !matches(name, a) {
					continue
				}
				a.AckedAt, a.AckedBy = now, by
				lastSafe := time.Time{}
				if rec.App != nil {
					lastSafe = r.lastSafeOf(rec.App, rec.Rotation)
				}
				acked = append(acked, Acked{name, a.Kind, a.Event, ackEnd(now, lastSafe)})
				rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "alert acknowledged", App: name, Note: string(a.Kind) + ", event " + a.Event})
			}
			return nil
		}))
	}
	return acked, err
}

// Snooze holds warnings about an app back until the instant; critical events and
// those of what was done are sent all the same. It ends by itself, at the latest at
// the app's last safe date: a later end is refused. An instant that is not in the
// future ends a snooze.
func (r *Rotator) Snooze(ctx context.Context, app string, until time.Time, by string) error {
	now := r.now().UTC()
	return r.change(ctx, app, func(rec *Records) error {
		if rec.App == nil {
			return fmt.Errorf("app %s: %w", app, ErrNotFound)
		}
		if !until.After(now) {
			if rec.App.SnoozedUntil.IsZero() {
				return usagef("app %s: snooze until %s: that is not in the future", app, until.UTC().Format(time.RFC3339))
			}
			rec.App.SnoozedUntil = time.Time{}
			rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "snooze ended", App: app})
			return nil
		}
		lastSafe := r.lastSafeOf(rec.App, rec.Rotation)
		if isLate(lastSafe, until) {
			return refusedf("app %s: its last safe date is %s; it cannot be snoozed beyond that", app, lastSafe.UTC().Format("2006-01-02 15:04 MST"))
		}
		rec.App.SnoozedUntil = until.UTC()
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "snoozed", App: app, Note: "until " + until.UTC().Format(time.RFC3339)})
		return nil
	})
}

// overdueGrace is how late a check may be beside the schedule.
const overdueGrace = 10 * time.Minute

// checkAllowed is how long after the last good check the next one must have ended:
// twice the distance of the schedule, and some minutes.
func checkAllowed(s Schedule, last time.Time) time.Time {
	next := s.Next(last)
	if next.IsZero() {
		return time.Time{}
	}
	second := s.Next(next)
	if second.IsZero() {
		second = next
	}
	return second.Add(overdueGrace)
}

// problems says what keeps the daemon or an app from being well, one line each; it
// does not speak of single apps that fail in time.
func (r *Rotator) problems(ctx context.Context, s *Status, state *State, now time.Time) ([]string, error) {
	var all []string
	if why, since := r.storeTrouble(); why != "" {
		all = append(all, fmt.Sprintf("the store cannot be written since %s: %s", since.Format(time.RFC3339), why))
	}
	if s.Stopped != "" {
		all = append(all, s.Stopped)
	}
	last := state.LastGoodCheck
	if last.IsZero() {
		apps, err := r.Store.Apps(ctx, "", surveyBatch) // the first ones: it is about the age of the store
		if err != nil {
			return nil, err
		}
		for i := range apps {
			if last.IsZero() || apps[i].AddedAt.Before(last) {
				last = apps[i].AddedAt
			}
		}
	}
	if expected := r.settings().Expected; expected != nil && !last.IsZero() {
		if allowed := checkAllowed(expected, last); !allowed.IsZero() && now.After(allowed) {
			text := "the last good check was " + last.Format(time.RFC3339) + ", older than allowed"
			if state.LastGoodCheck.IsZero() {
				text = "no good check was ever made"
			}
			all = append(all, text)
		}
	}
	if s.LastCheckError != "" {
		all = append(all, "the last check failed: "+s.LastCheckError)
	}
	var late, look []string
	for i := range s.Apps {
		switch a := &s.Apps[i]; {
		case a.Late:
			late = append(late, a.App.Name)
		case a.Attention:
			look = append(look, a.App.Name)
		}
	}
	if len(late) > 0 {
		all = append(all, "late: "+someNames(late, len(late)))
	}
	switch n := s.Counts.Attention - len(late); {
	case len(look) > 0:
		all = append(all, "needs a look: "+someNames(look, max(n, len(look))))
	case n > 0:
		all = append(all, fmt.Sprintf("%d more need a look", n))
	}
	return all, nil
}

// someNamesMost is how many names are said of many.
const someNamesMost = 5

// someNames lists names, only the first of many; of is how many there are.
func someNames(names []string, of int) string {
	names = names[:min(len(names), someNamesMost)]
	text := strings.Join(names, ", ")
	if of > len(names) {
		text += fmt.Sprintf(" and %d more", of-len(names))
	}
	return text
}
