package rotator

import (
	"fmt"
	"slices"
	"time"
)

// Alert is a condition that lasts and that people were told of: it is told again
// by [repeatAt], and its end is told once.
type Alert struct {
	Kind     EventKind `json:"kind"`
	Severity Severity  `json:"severity"`
	// Event is the ID of the event that told of it last.
	Event   string    `json:"event"`
	Summary string    `json:"summary"`
	Next    string    `json:"next,omitempty"`
	Since   time.Time `json:"since"`
	// ToldAt is when it was told last; zero: not yet, for the app was snoozed.
	ToldAt time.Time `json:"told_at,omitzero"`
	// Repeats counts how often it was told again.
	Repeats int `json:"repeats,omitempty"`
	// Class of a failed rotation's trouble.
	Class Class `json:"class,omitempty"`
	// Stage and Thumbprint are those of an expiring certificate.
	Stage      string     `json:"stage,omitempty"`
	Thumbprint Thumbprint `json:"thumbprint,omitempty"`
	// AckedAt is when a person said that they know; zero: nobody has.
	AckedAt time.Time `json:"acked_at,omitzero"`
	AckedBy string    `json:"acked_by,omitempty"`
}

// tend keeps the app's alerts in step with its records, within the transaction
// that changes them: it opens one for an event of a condition that lasts, and
// closes, and tells of, those that are over. What a snoozed app has to tell waits.
func (r *Rotator) tend(rec *Records, now time.Time) {
	if rec.State != nil {
		rec.State.Alerts = r.settle(rec, rec.State.Alerts, now, false)
	}
	if rec.App != nil {
		rec.App.Alerts = r.settle(rec, rec.App.Alerts, now, true)
	}
}

// settle is tend for the app's alerts or for those of the whole store.
func (r *Rotator) settle(rec *Records, alerts []Alert, now time.Time, ofApp bool) []Alert {
	silent := ofApp && r.isSnoozed(rec.App, rec.Rotation, now)
	var events []Event
	for _, e := range rec.Events {
		if mine := (e.Kind != EventStopped) == ofApp; !mine || !r.holds(e.Kind, rec, "") {
			events = append(events, e)
			continue
		}
		if ofApp {
			e.dated(rec.App.Current, now)
		}
		a := Alert{Kind: e.Kind, Since: now}
		i := slices.IndexFunc(alerts, func(a Alert) bool { return a.Kind == e.Kind })
		if i >= 0 {
			a = alerts[i]
		}
		if i >= 0 && !a.ToldAt.IsZero() && a.Severity == e.Severity && a.Summary == e.Summary {
			continue // told already; repeatAt says when again
		}
		if e.Severity == SeverityCritical && a.Severity != SeverityCritical {
			a.AckedAt, a.AckedBy = time.Time{}, "" // it was not this that somebody knew
		}
		a.Severity, a.Event, a.Summary, a.Next, a.Stage = e.Severity, e.ID, e.Summary, e.Next, e.Stage
		if e.Kind == EventExpiring && rec.App.Current != nil {
			a.Thumbprint = rec.App.Current.ThumbprintSHA256
		}
		if e.Kind == EventRotationFailed {
			a.Class = classOf(rec)
		}
		if silent && e.Severity != SeverityCritical {
			a.ToldAt = time.Time{}
		} else {
			a.ToldAt = now
			events = append(events, e)
		}
		if i >= 0 {
			alerts[i] = a
		} else {
			alerts = append(alerts, a)
		}
	}
	var open []Alert
	for _, a := range alerts {
		if r.holds(a.Kind, rec, a.Thumbprint) {
			open = append(open, a)
			continue
		}
		if a.Class == ClassWait || a.Class == ClassRetry {
			r.noteOutageOver(rec.App.Tenant)
		}
		if text := over(&a, rec); text != "" && !a.ToldAt.IsZero() {
			var app *App
			if ofApp {
				app = rec.App
			}
			e := r.newEvent(app, nil, EventRecovered, SeverityInfo, text, "")
			if app != nil {
				e.dated(app.Current, now)
			}
			events = append(events, e)
		}
	}
	rec.Events = events
	return open
}

// classOf is the class of what keeps the app from rotating; empty: nothing does.
func classOf(rec *Records) Class {
	switch {
	case rec.Rotation != nil && !rec.Rotation.Phase.IsEnd() && rec.Rotation.Trouble != nil:
		return rec.Rotation.Trouble.Class
	case rec.App.Trouble != nil:
		return rec.App.Trouble.Class
	}
	return ""
}

// holds reports whether a condition of the kind is there. thumbprint is that of
// an expiring certificate, empty for any.
func (r *Rotator) holds(kind EventKind, rec *Records, thumbprint Thumbprint) bool {
	if kind == EventStopped {
		return rec.State != nil && rec.State.Stopped != ""
	}
	app, rot := rec.App, rec.Rotation
	if app == nil {
		return false
	}
	open := rot != nil && !rot.Phase.IsEnd()
	switch kind { //nolint:exhaustive // the others tell of an instant
	case EventRotationFailed:
		if open {
			return rot.Trouble.needsPerson() || !rot.LateSince.IsZero() && rot.Confirmation == ""
		}
		return app.Trouble != nil
	case EventCertificateMissing:
		return open && !rot.Missing.IsZero()
	case EventOldCertificateInUse:
		return open && rot.Phase == PhaseConfirmed && rot.Evidence != nil && rot.Evidence.Result == EvidenceUsed
	case EventKeyIDUnknown:
		return slices.ContainsFunc(withoutKeyID(app, rot), func(c *Credential) bool { return !c.Adopted })
	case EventHandOffReady, EventHandOffOverdue:
		return open && rot.Confirmation == "" && (rot.Phase == PhaseProven || rot.Phase == PhaseDelivered ||
			rot.Phase == PhaseRollingBack && rot.Back != nil && rot.Back.Confirmed.IsZero())
	case EventNoDelivery:
		return r.lacksDelivery(app)
	case EventRemovalUnconfirmed:
		return slices.ContainsFunc(app.Removals, func(m Removal) bool {
			return m.IsPending() && (m.GivenUp || !m.ReportedAt.IsZero())
		}) || slices.ContainsFunc(app.Orphans, func(o Orphan) bool { return o.GivenUp && r.now().Before(o.NotAfter) })
	case EventExpiring:
		return app.Current != nil && (thumbprint == "" || thumbprint == app.Current.ThumbprintSHA256)
	}
	return false
}

// over says that a condition is over; empty where another event says it.
func over(a *Alert, rec *Records) string {
	since := a.Since.Format("2006-01-02 15:04 MST")
	rot := rec.Rotation
	switch a.Kind { //nolint:exhaustive // the others have no end
	case EventRotationFailed:
		if rot != nil && (rot.Phase == PhaseRolledBack || rot.Confirmation == "never") {
			return ""
		}
		return "the rotation works again; it had failed since " + since
	case EventCertificateMissing:
		if rot == nil || rot.Phase.IsEnd() {
			return ""
		}
		return "the certificate is accepted again; it was missing since " + since
	case EventOldCertificateInUse:
		if rot == nil || rot.Evidence == nil || rot.Evidence.Result != EvidenceUnused {
			return ""
		}
		return "the consumer uses the new certificate; it had used the old one since " + since
	case EventRemovalUnconfirmed:
		return "the certificate whose removal was not confirmed since " + since + " is not accepted any more"
	case EventKeyIDUnknown:
		if len(rec.App.Orphans) > 0 {
			return "" // it is still not known, and was left to a person
		}
		return "the key ID of the certificate is known; it was not since " + since
	case EventHandOffOverdue:
		if rot == nil || rot.Confirmation == "never" || rot.Phase == PhaseRolledBack {
			return ""
		}
		return "the new certificate is confirmed; that was overdue since " + since
	case EventNoDelivery:
		return "its consumer gets new keys from now on; that was not so since " + since
	case EventExpiring:
		if rec.App.Current == nil {
			return ""
		}
		return "its certificate was replaced; the one in service ends on " + rec.App.Current.NotAfter.Format(time.DateOnly)
	case EventStopped:
		return "unasked starts go on; they were stopped since " + since
	}
	return ""
}

// dated notes how long the credential that the event is about still lives.
func (e *Event) dated(c *Credential, now time.Time) {
	if c == nil || !e.NotAfter.IsZero() {
		return
	}
	e.NotAfter = c.NotAfter
	e.Days = new(wholeDays(c.NotAfter, now))
}

// wholeDays is how many whole days an instant is away, rounded down, also below zero. A
// [time.Duration] ends after 292 years, and certificates without an end in the year 9999.
func wholeDays(until, now time.Time) int {
	const daySeconds = int64(day / time.Second)
	left := until.Unix() - now.Unix()
	if until.Nanosecond() < now.Nanosecond() {
		left--
	}
	n := left / daySeconds
	if left < 0 && left%daySeconds != 0 {
		n--
	}
	return int(n)
}

// lastSafeOf is the last instant at which everything still fits before the
// certificate in service ends; zero if there is none.
func (r *Rotator) lastSafeOf(app *App, rot *Rotation) time.Time {
	policy := policyOf(app, r.settings().Defaults)
	switch {
	case app.Mode == ModeMonitor && app.Current != nil:
		return app.Current.NotAfter.Add(-urgentDays) // a person needs some days
	case rot != nil && !rot.Phase.IsEnd() && rot.Confirmation == "" && rot.Old != nil:
		return lastSafeDate(rot.Old.NotAfter, policy)
	case app.Current != nil:
		return lastSafeStart(app.Current.NotAfter, policy, app.Confirm.rule())
	}
	return time.Time{}
}

// isSnoozed reports whether the app's warnings wait. A snooze ends by itself at
// the last safe date.
func (r *Rotator) isSnoozed(app *App, rot *Rotation, now time.Time) bool {
	return now.Before(app.SnoozedUntil) && !isLate(r.lastSafeOf(app, rot), now)
}

// tellAt is when an alert is told next.
func (r *Rotator) tellAt(a *Alert, app *App, rot *Rotation) time.Time {
	end, lastSafe := time.Time{}, time.Time{}
	if app != nil {
		lastSafe = r.lastSafeOf(app, rot)
		if app.Current != nil {
			end = app.Current.NotAfter
		}
	}
	at := a.Since
	if !a.ToldAt.IsZero() {
		at = repeatAt(a.ToldAt, a.Repeats, end)
	}
	quiet := time.Time{}
	if !a.AckedAt.IsZero() {
		quiet = ackEnd(a.AckedAt, lastSafe)
	}
	if app != nil && !app.SnoozedUntil.IsZero() {
		if snoozed := pauseEnd(app.SnoozedUntil, lastSafe); snoozed.After(quiet) {
			quiet = snoozed
		}
	}
	if quiet.After(at) {
		return quiet
	}
	return at
}

// isUntended reports whether the app's certificate ends without anything that
// replaces it in time: an app that rotates on its own is nobody's business.
func (r *Rotator) isUntended(app *App, rot *Rotation, state *State, now time.Time) bool {
	if app.Mode == ModeMonitor || r.lacksDelivery(app) {
		return true
	}
	if rot != nil && !rot.Phase.IsEnd() {
		return rot.Trouble.needsPerson() || rot.Confirmation == "" && isLate(r.lastSafeOf(app, rot), now)
	}
	return app.Trouble != nil || app.Hold != "" || app.Differs != "" || state.Stopped != "" || state.ReadOnly || isLate(r.lastSafeOf(app, nil), now)
}

// stages are those at which an end is told, longest first.
func (r *Rotator) stages() []time.Duration {
	if r.ExpiryStages == nil {
		return DefaultExpiryStages()
	}
	return r.ExpiryStages
}

// alertAt is when the app's alerts must be looked at next: a function of its
// records, like all entries of the due index. Zero: never.
func (r *Rotator) alertAt(app *App, rot *Rotation) time.Time {
	at := time.Time{}
	consider := func(t time.Time) {
		if !t.IsZero() && t.After(app.AlertsAt) && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	if app.Current != nil {
		for _, stage := range r.stages() {
			consider(app.Current.NotAfter.Add(-stage))
		}
		consider(app.Current.NotAfter)
	}
	consider(r.lastSafeOf(app, rot))
	if r.lacksDelivery(app) && !app.isAlerted(EventNoDelivery) {
		consider(app.AlertsAt.Add(time.Second)) // at the next check
	}
	for i := range app.Alerts {
		at := r.tellAt(&app.Alerts[i], app, rot)
		if !at.After(app.AlertsAt) {
			at = app.AlertsAt.Add(time.Second) // overdue: at the next check
		}
		consider(at)
	}
	return at
}

// expiring makes the event of the most urgent stage that the certificate has
// reached; false if that was told, or nothing is reached.
func (r *Rotator) expiring(rec *Records, now time.Time) (Event, bool) {
	app := rec.App
	if app.Current == nil || !r.isUntended(app, rec.Rotation, rec.State, now) {
		return Event{}, false
	}
	stage, ok := ExpiryStage(r.stages(), app.Current.NotAfter, now)
	if !ok {
		return Event{}, false
	}
	for _, a := range app.Alerts {
		if a.Kind == EventExpiring && a.Thumbprint == app.Current.ThumbprintSHA256 && a.Stage == stage {
			return Event{}, false
		}
	}
	left := app.Current.NotAfter.Sub(now)
	severity := SeverityWarning
	if left <= 7*day {
		severity = SeverityCritical
	}
	summary := fmt.Sprintf("the certificate %s ends on %s, in %s, and nothing has replaced it", app.Current.ThumbprintSHA1,
		app.Current.NotAfter.Format(time.DateOnly), inDays(left))
	if left <= 0 {
		summary = fmt.Sprintf("the certificate %s ended on %s and nothing has replaced it", app.Current.ThumbprintSHA1, app.Current.NotAfter.Format(time.DateOnly))
	}
	next := "look at \"rotate status " + app.Name + "\", then: rotate now " + app.Name
	var rot *Rotation
	if rec.Rotation != nil && !rec.Rotation.Phase.IsEnd() {
		rot = rec.Rotation
	}
	switch {
	case app.Mode == ModeMonitor:
		summary += "; it is only watched: rotate can not replace it"
		next = "replace it by hand, then tell rotate: rotate app add " + app.Name + " --tenant " + app.Tenant + " --client-id " + string(app.ClientID) + " --from-certificate FILE, or --pfx FILE to have it rotated from then on"
	case r.lacksDelivery(app):
		summary += "; rotate does not: the app has no delivery, so its consumer would never get the new key"
		next = deliveryNext(app.Name)
	case rot != nil && rot.Trouble != nil:
		summary += ": " + rot.Trouble.Message
		if rot.Trouble.Next != "" {
			next = rot.Trouble.Next
		}
	case rot == nil && app.Trouble != nil:
		summary += ": " + app.Trouble.Message
		if app.Trouble.Next != "" {
			next = app.Trouble.Next
		}
	case app.Differs != "":
		summary += ": " + app.Differs
		next = app.differsNext()
	case rot == nil && app.Hold != "":
		summary += ": " + app.Hold
	case rec.State.Stopped != "":
		summary += ": " + rec.State.Stopped
		next = "rotate resume --all"
	}
	e := r.newEvent(app, rot, EventExpiring, severity, summary, next)
	e.Stage = stage
	return e, true
}

func inDays(d time.Duration) string {
	if d < day {
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	if d < 2*day {
		return "1 day"
	}
	return fmt.Sprintf("%d days", int(d/day))
}

// overdue makes the event of a hand-off that nobody confirmed before the last safe
// date; false if it is not, or was told.
func (r *Rotator) overdue(rec *Records, now time.Time) (Event, bool) {
	app, rot := rec.App, rec.Rotation
	if rot == nil || rot.Phase.IsEnd() || rot.WaitingFor != WaitingPerson || rot.Old == nil || !isLate(r.lastSafeOf(app, rot), now) {
		return Event{}, false
	}
	if slices.ContainsFunc(app.Alerts, func(a Alert) bool { return a.Kind == EventHandOffOverdue }) {
		return Event{}, false
	}
	return r.newEvent(app, rot, EventHandOffOverdue, SeverityCritical,
		fmt.Sprintf("nobody has confirmed that the new certificate is in use, and the one in service ends on %s", rot.Old.NotAfter.Format(time.DateOnly)),
		"bring the new pair to the consumer, then: rotate confirm "+app.Name+" CODE"), true
}
