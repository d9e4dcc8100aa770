package config

import (
	"errors"
	"fmt"
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
	next, err := cron.ParseStandard(strings.TrimSpace(text))
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
	return s.next.Next(t.UTC()).UTC()
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
