package monitor

import (
	"context"
	"fmt"
	"time"
)

// overdueAfter is how late a check may be before it counts as missed.
const overdueAfter = 10 * time.Minute

// probeEvery bounds how often probes write to the store, however often they ask.
const probeEvery = 30 * time.Second

// probe is the last attempt at writing. It is used while Metrics.reading is held.
type probe struct {
	at  time.Time
	err error
}

// Unready lists why the daemon can not do its job now, in plain words; nothing if it
// can: the last check worked and was in time, and the store can be written.
func (m *Metrics) Unready(ctx context.Context) []string {
	var why []string
	state, err := m.Store.State(ctx)
	if err != nil {
		return []string{"the store cannot be read: " + err.Error()}
	}
	next := m.nextCheck(state.LastCheck)
	switch {
	case state.LastCheck.IsZero():
		why = append(why, "no check has ended yet")
	case state.LastCheckError != "":
		why = append(why, "the last check failed: "+state.LastCheckError)
	case !next.IsZero() && time.Since(next) > overdueAfter:
		why = append(why, "the check of "+next.UTC().Format(time.RFC3339)+" is overdue")
	}
	if state.ReadOnly {
		why = append(why, "nothing is written: "+state.Stopped)
	}
	if err := m.writable(ctx); err != nil {
		why = append(why, "the store cannot be written: "+err.Error())
	}
	return why
}

// nextCheck is when the check after one is due; zero: never.
func (m *Metrics) nextCheck(last time.Time) time.Time {
	if m.Schedule == nil || last.IsZero() {
		return time.Time{}
	}
	return m.Schedule.Next(last)
}

// writable tries to write, or returns what the last attempt showed.
func (m *Metrics) writable(ctx context.Context) error {
	select {
	case m.reading <- struct{}{}:
		defer func() { <-m.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if now := time.Now(); m.probe.at.IsZero() || now.Sub(m.probe.at) >= probeEvery {
		err := m.Store.Probe(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("no answer in time: %w", ctx.Err())
		}
		m.probe = probe{at: now, err: err}
	}
	return m.probe.err
}
