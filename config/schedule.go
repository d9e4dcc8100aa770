package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/robfig/cron/v3"
)

// Schedule is a cron expression with its meaning. The zero value never comes.
type Schedule struct {
	text string
	next cron.Schedule
}

// ParseSchedule reads five fields, "@hourly" and the like, or "@every 5m", as
// robfig/cron's ParseStandard does. A schedule that never comes is refused.
func ParseSchedule(text string) (Schedule, error) {
	// ParseStandard panics on a zone without anything after it.
	if fields := strings.Fields(text); len(fields) < 2 && strings.Contains(text, "TZ=") {
		return Schedule{}, fmt.Errorf("%q is not a cron schedule: nothing follows the zone", text)
	}
	next, err := cron.ParseStandard(sunday(strings.TrimSpace(text)))
	if err != nil {
		return Schedule{}, fmt.Errorf("%q is not a cron schedule: %w; write five fields such as \"17 * * * *\", or \"@every 5m\"", text, err)
	}
	if next.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return Schedule{}, fmt.Errorf("%q never comes: there is no such date", text)
	}
	return Schedule{text: text, next: next}, nil
}

// Next returns the first time after t, in UTC, and the zero time for the zero value.
// The expression is taken in UTC unless it names a zone (CRON_TZ=…).
func (s Schedule) Next(t time.Time) time.Time {
	if s.next == nil {
		return time.Time{}
	}
	next := s.next.Next(t.UTC())
	if skipped := s.skipped(t, next); !skipped.IsZero() {
		return skipped.UTC()
	}
	return next.UTC()
}

// skipped returns the first instant after t, and before next, at which clocks go forward
// over a time that the schedule names: what was to come in the hour that does not exist
// comes at its end, as cron(8) has it. Zero: there is none. Schedules of every hour have
// nothing to make up for.
func (s Schedule) skipped(t, next time.Time) time.Time {
	const everyHour = 1 << 63 // the library's mark of a "*"
	spec, ok := s.next.(*cron.SpecSchedule)
	if !ok || spec.Hour&everyHour != 0 || spec.Location == nil {
		return time.Time{}
	}
	until := t.AddDate(5, 0, 0) // where the library gives up
	if !next.IsZero() && next.Before(until) {
		until = next
	}
	for at := t.In(spec.Location); ; {
		_, change := at.ZoneBounds()
		if change.IsZero() || !change.Before(until) {
			return time.Time{}
		}
		_, before := at.Zone()
		_, after := change.Zone()
		if gap := time.Duration(after-before) * time.Second; gap > 0 {
			still := *spec // on a clock that was not put forward
			still.Location = time.FixedZone("", before)
			if due := still.Next(change.Add(-time.Second)); !due.IsZero() && due.Before(change.Add(gap)) {
				return change
			}
		}
		at = change
	}
}

// sunday writes 7, which crontab(5) calls Sunday too, as 0 in the field of weekdays.
func sunday(text string) string {
	zone, rest := "", text
	if first, after, ok := strings.Cut(text, " "); ok && strings.Contains(first, "TZ=") {
		zone, rest = first+" ", after
	}
	fields := strings.Fields(rest)
	if len(fields) != 5 || !strings.Contains(fields[4], "7") {
		return text
	}
	parts := strings.Split(fields[4], ",")
	for i, part := range parts {
		span, step, _ := strings.Cut(part, "/")
		from, to, isRange := strings.Cut(span, "-")
		if !isRange {
			to = from
		}
		first, err := strconv.Atoi(from)
		every := 1
		if err == nil && step != "" {
			every, err = strconv.Atoi(step)
		}
		if err != nil || to != "7" || first < 0 || first > 7 || every < 1 || step != "" && !isRange {
			continue
		}
		var days []string
		for day := first; day <= 7; day += every {
			days = append(days, strconv.Itoa(day%7))
		}
		parts[i] = strings.Join(days, ",")
	}
	fields[4] = strings.Join(parts, ",")
	return zone + strings.Join(fields, " ")
}

// String returns the expression as it was written.
func (s Schedule) String() string { return s.text }

// IsZero says whether there is no schedule.
func (s Schedule) IsZero() bool { return s.next == nil }

// MarshalYAML writes the expression.
func (s Schedule) MarshalYAML() (any, error) { return s.text, nil }

// UnmarshalYAML reads what [ParseSchedule] reads.
func (s *Schedule) UnmarshalYAML(node ast.Node) error {
	text, err := scalar(node)
	if err != nil {
		return err
	}
	parsed, err := ParseSchedule(text)
	if err != nil {
		return at(node, err)
	}
	*s = parsed
	return nil
}

// Window is a span of time that opens again and again, in which scheduled work is
// done.
type Window struct {
	Cron     string   `yaml:"cron" about:"when it opens: five cron fields, in zone"`
	Duration Duration `yaml:"duration" about:"how long it stays open"`
	Zone     string   `yaml:"zone,omitempty" about:"IANA time zone; empty is UTC"`
}

// Schedule returns when the window opens, in its zone.
func (w Window) Schedule() (Schedule, error) {
	if strings.Contains(w.Cron, "TZ=") || strings.HasPrefix(strings.TrimSpace(w.Cron), "@every") {
		return Schedule{}, errors.New("a window has five cron fields; its zone stands in zone")
	}
	s, err := ParseSchedule(w.Cron)
	if err != nil || w.Zone == "" {
		return s, err
	}
	return ParseSchedule("CRON_TZ=" + w.Zone + " " + w.Cron)
}
