package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/seed-f0abd057/rotate/rotator"
)

const (
	// tellEvery is how often the service manager is told at least.
	tellEvery = 15 * time.Second
	// tellPause is how often at most.
	tellPause = time.Second
)

// supervised tells the service manager how the daemon is. Without one it does
// nothing.
type supervised struct {
	rotator *rotator.Rotator
	log     *slog.Logger
}

// run says that the daemon is ready, then what it is doing, until ctx is done.
//
// The watchdog is fed only while the loop goes round and the store answers, so
// that it bites when either hangs: a ticker of its own would go on ticking.
func (s *supervised) run(ctx context.Context) error {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.WarnContext(ctx, "the service manager's watchdog cannot be used", "err", err)
	}
	every := tellEvery
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	tellManager(s.log, "READY=1")
	hung := false
	for {
		alive, cancel := context.WithTimeout(ctx, every)
		err := s.rotator.Alive(alive)
		cancel()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if !hung {
				s.log.ErrorContext(ctx, "the daemon hangs; the service manager's watchdog will end it", "err", err)
			}
			tellManager(s.log, "STATUS=hangs: "+err.Error())
		default:
			tellManager(s.log, "WATCHDOG=1\nSTATUS="+s.text(ctx))
		}
		hung = err != nil
		if !s.wait(ctx, every) {
			tellManager(s.log, "STOPPING=1\nSTATUS=recording the steps under way")
			return nil
		}
	}
}

// wait returns at the next change, or after the given time; false if ctx is done.
func (s *supervised) wait(ctx context.Context, every time.Duration) bool {
	pause, next := time.NewTimer(min(tellPause, every)), time.NewTimer(every)
	defer pause.Stop()
	defer next.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-pause.C:
	}
	select {
	case <-ctx.Done():
		return false
	case <-next.C:
	case <-s.rotator.Changed():
	}
	return true
}

// text is one line about everything.
func (s *supervised) text(ctx context.Context) string {
	sum, err := s.rotator.Summary(ctx)
	if err != nil {
		return "the store cannot be read: " + err.Error()
	}
	text := "not checked yet"
	if !sum.LastCheck.IsZero() {
		text = "checked " + sum.LastCheck.UTC().Format("15:04")
	}
	text += ", " + count(sum.Apps, "app", "apps")
	for _, part := range []struct {
		n    int
		text string
	}{{sum.Open, "rotating"}, {sum.Attention, "in need of a person"}} {
		if part.n > 0 {
			text += fmt.Sprintf(", %d %s", part.n, part.text)
		}
	}
	if sum.LastCheckError != "" {
		text += ", the last check failed"
	}
	if sum.Stopped != "" {
		text += ", stopped until rotate resume --all"
	}
	return text
}

// tellManager sends a state to the service manager, if there is one (sd_notify(3)).
func tellManager(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("the service manager cannot be told", "err", err)
	}
}
