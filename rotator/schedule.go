package rotator

import (
	"hash/fnv"
	"slices"
	"time"
)

// This file holds every decision about when, as pure functions of dates.

// dueAt is when a certificate's replacement should start. The jitter makes it
// earlier, never later.
func dueAt(notAfter time.Time, p Policy, name string) time.Time {
	return notAfter.Add(-p.RenewBefore).Add(-jitterOf(name, p.Jitter))
}

// dueAt is when the certificate's replacement should start. One of ours that the
// tenant's policy made shorter than wanted is renewed earlier in proportion,
// for it would be due at once otherwise.
func (c *Credential) dueAt(p Policy, name string) time.Time {
	life := c.NotAfter.Sub(c.NotBefore)
	if !c.Adopted && life < p.Validity {
		share := float64(life) / float64(p.Validity)
		p.RenewBefore = time.Duration(float64(p.RenewBefore) * share)
		p.Jitter = time.Duration(float64(p.Jitter) * share)
	}
	return dueAt(c.NotAfter, p, name)
}

// jitterOf spreads apps over the span, the same for a name every time.
func jitterOf(name string, span time.Duration) time.Duration {
	if span <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))                   // a hash never fails
	return time.Duration(h.Sum64() % uint64(span)) //nolint:gosec // smaller than span, which is a Duration
}

// lastSafeStart is the latest start at which proof, confirmation and overlap
// still fit before the certificate ends.
func lastSafeStart(notAfter time.Time, p Policy, rule string) time.Time {
	return notAfter.Add(-p.Prove.Within - p.lead(rule) - p.Overlap)
}

// lastSafeDate is the last date on which the old certificate, once the new one
// is confirmed, still leaves the overlap.
func lastSafeDate(notAfter time.Time, p Policy) time.Time {
	return notAfter.Add(-p.Overlap)
}

// isLate reports whether a last safe instant has passed. A zero one never does:
// nothing is in danger then.
func isLate(lastSafe, now time.Time) bool { return !lastSafe.IsZero() && !now.Before(lastSafe) }

// pauseEnd is when a pause ends: as asked, but never after the last safe start.
func pauseEnd(until, lastSafe time.Time) time.Time {
	if isLate(lastSafe, until) {
		return lastSafe
	}
	return until
}

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = time.Hour

// slowestRetry is the rate of failures that need a person.
const slowestRetry = 6 * time.Hour

// backoff returns the pause after the nth failure in a row: 1, 2, 5, 10, 30
// minutes, 1, 3, 6 hours.
func backoff(attempts int) time.Duration {
	steps := [...]time.Duration{
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 3 * time.Hour, slowestRetry,
	}
	return steps[min(max(attempts, 1), len(steps))-1]
}

// retryIn is how long to wait after a failure. spread is in [-1, 1) and makes
// ±10 %. left is the time until the certificate in service ends: the pause is
// never longer than a quarter of it, and goes on at the slowest rate after the
// end. What the server asked for wins, up to an hour.
func retryIn(f *Failure, attempts int, left time.Duration, spread float64) time.Duration {
	pause := backoff(attempts)
	if f.Class == ClassFix || f.Class == ClassGone || f.Class == ClassClock {
		pause = slowestRetry
	}
	if f.Class == ClassClock {
		pause = backoff(min(attempts, 4))
	}
	pause += time.Duration(float64(pause) * spread / 10)
	if left > 0 {
		pause = min(pause, max(left/4, time.Second))
	}
	if f.RetryAfter > 0 {
		pause = min(f.RetryAfter, maxRetryAfter)
	}
	return pause
}

// pollIn is how long to wait before asking the token service again for a key
// that it does not know yet: from the proof's own spacing (200 ms to 5 s),
// doubling, at most a minute.
func pollIn(attempts int, p ProvePolicy) time.Duration {
	pause := min(max(p.Spacing, 200*time.Millisecond), 5*time.Second)
	for range min(attempts, 10) {
		pause = min(2*pause, time.Minute)
	}
	return pause
}

// A certificate counts as absent only after this many reads over this long:
// replicas of the directory lag, and reads go to any of them. Terraform's
// azuread provider asks for 5 reads in a row for the same reason.
const (
	absentReads = 5
	absentOver  = 2 * time.Minute
	absentEvery = absentOver / (absentReads - 1)
)

// isAbsent reports whether the reads without the entry suffice.
func (a Absence) isAbsent() bool {
	return a.Reads >= absentReads && a.Last.Sub(a.Since) >= absentOver
}

// missed counts one more read without the entry. Reads closer together than
// the spacing of the rule count once.
func (a Absence) missed(now time.Time) Absence {
	if a.Reads == 0 || now.Before(a.Last) {
		return Absence{Reads: 1, Since: now, Last: now}
	}
	if now.Sub(a.Last) >= absentEvery {
		a.Reads++
		a.Last = now
	}
	return a
}

// uploadAllowedAt is when one more upload is within the limit; not after now:
// at once.
func uploadAllowedAt(uploads []time.Time, limit UploadLimit, now time.Time) time.Time {
	at := now
	for _, rule := range []struct {
		n    int
		span time.Duration
	}{{limit.PerHour, time.Hour}, {limit.PerDay, day}} {
		recent := within(uploads, now, rule.span)
		if len(recent) >= rule.n {
			// The oldest of the last n must have left the span.
			if free := recent[len(recent)-rule.n].Add(rule.span); free.After(at) {
				at = free
			}
		}
	}
	return at
}

// within returns the instants less than span ago. Those in the future, after a
// clock was set back, count too.
func within(instants []time.Time, now time.Time, span time.Duration) []time.Time {
	var recent []time.Time
	for _, t := range instants {
		if now.Sub(t) < span {
			recent = append(recent, t)
		}
	}
	return recent
}

// lastDay leaves out hours that ended a day ago or earlier. An hour counts whole
// as long as any instant of it is within the day.
func lastDay(starts []HourlyStarts, now time.Time) []HourlyStarts {
	return slices.DeleteFunc(slices.Clone(starts), func(s HourlyStarts) bool { return now.Sub(s.Hour.Add(time.Hour)) >= day })
}

// startsOfDay is how many unasked starts the day before now saw, at most an
// hour's too many.
func startsOfDay(starts []HourlyStarts, now time.Time) int {
	n := 0
	for _, s := range lastDay(starts, now) {
		n += s.Count
	}
	return n
}

// countStart adds one start.
func countStart(starts []HourlyStarts, now time.Time) []HourlyStarts {
	starts = lastDay(starts, now)
	hour := now.UTC().Truncate(time.Hour)
	if i := slices.IndexFunc(starts, func(s HourlyStarts) bool { return s.Hour.Equal(hour) }); i >= 0 {
		starts[i].Count++
		return starts
	}
	return append(starts, HourlyStarts{hour, 1})
}

// startsAllowed is how many unasked starts a day may see.
func startsAllowed(configured, apps int) int {
	if configured > 0 {
		return configured
	}
	return max(10, (apps+19)/20)
}

// windowAt returns when scheduled work may run: now if the window is open, else
// when it opens next, but never later than the last safe instant.
func windowAt(s Schedule, span time.Duration, now, lastSafe time.Time) time.Time {
	if s == nil || isLate(lastSafe, now) {
		return now
	}
	opened := s.Next(now.Add(-span))
	if opened.IsZero() || !opened.After(now) {
		return now
	}
	if isLate(lastSafe, opened) {
		return lastSafe
	}
	return opened
}

// maxClockError is how far this host's clock may be from Entra's before nothing
// is retired any more.
const maxClockError = 5 * time.Minute

// clockError is how far off this host's clock is.
func clockError(local, entra time.Time) time.Duration {
	return local.Sub(entra).Round(time.Second)
}

// DefaultExpiryStages are the times before its end at which a certificate that
// nothing replaces is told of, longest first: 45, 30, 14, 7, 3 and 1 days. Its end
// is always told.
func DefaultExpiryStages() []time.Duration {
	return []time.Duration{45 * day, 30 * day, 14 * day, 7 * day, 3 * day, day}
}

// StageExpired is the stage of a credential that has ended.
const StageExpired = "expired"

// ExpiryStage returns the most urgent of the stages that a credential has reached:
// "45d", "12h", …, [StageExpired]; false if it has reached none.
func ExpiryStage(stages []time.Duration, notAfter, now time.Time) (string, bool) {
	if !now.Before(notAfter) {
		return StageExpired, true
	}
	reached, ok := time.Duration(0), false
	for _, stage := range stages {
		if !now.Before(notAfter.Add(-stage)) && (!ok || stage < reached) {
			reached, ok = stage, true
		}
	}
	return days(reached), ok
}

// urgentDays before the end a lasting condition is told every day, and as long
// after it.
const urgentDays = 7 * day

// repeatAt is when a condition that lasts is told again: after 24 h, then weekly;
// daily in the last seven days before end and the first seven after it. A zero end
// is none.
func repeatAt(told time.Time, repeats int, end time.Time) time.Time {
	next := told.Add(7 * day)
	if repeats == 0 {
		next = told.Add(day)
	}
	if end.IsZero() || told.Add(day).After(end.Add(urgentDays)) {
		return next
	}
	daily := told.Add(day)
	if from := end.Add(-urgentDays); daily.Before(from) {
		daily = from
	}
	if daily.Before(next) {
		return daily
	}
	return next
}

// ackEnd is until when an acknowledged alert stays silent: the last safe date, or
// for a day where that has passed. Zero: for ever, for nothing ends.
func ackEnd(acked, lastSafe time.Time) time.Time {
	if isLate(lastSafe, acked) {
		return acked.Add(day)
	}
	if lastSafe.IsZero() {
		return acked.Add(100 * 365 * day)
	}
	return lastSafe
}
