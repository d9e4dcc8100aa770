// Package notify brings events from the store's outbox to people.
//
// Start with [Worker]: it takes events in order, hands each to a [Sender], and
// takes it out of the outbox once it was sent. An event is sent at least once:
// after a crash it may come again, under the same ID. The one sender so far is
// [Log].
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Outbox holds events until they are sent.
type Outbox interface {
	// NextEvents returns up to limit events, oldest first.
	NextEvents(ctx context.Context, limit int) ([]rotator.Event, error)
	// EventDone takes one out. Durable when it returns nil.
	EventDone(ctx context.Context, id string) error
}

// Worker empties an outbox.
type Worker struct {
	Outbox Outbox
	Sender Sender
	// Every is how often the outbox is looked at. Zero: 2 s.
	Every time.Duration
	// Logger is told what could not be sent. Nil: nobody is.
	Logger *slog.Logger
}

// batch is how many events are taken at a time.
const batch = 64

// Run sends events until ctx is done, then returns nil. One that cannot be sent
// stays first in the outbox and is tried again.
func (w *Worker) Run(ctx context.Context) error {
	every := w.Every
	if every <= 0 {
		every = 2 * time.Second
	}
	told := ""
	for {
		err := w.drain(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped; what is left is in the outbox
		}
		if err == nil {
			told = ""
		} else if text := err.Error(); text != told && w.Logger != nil {
			told = text
			w.Logger.ErrorContext(ctx, "events wait in the outbox", "err", err)
		}
		pause := time.NewTimer(every)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// drain sends what is there now.
func (w *Worker) drain(ctx context.Context) error {
	for {
		events, err := w.Outbox.NextEvents(ctx, batch)
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		for _, e := range events {
			if _, err := w.Sender.Send(ctx, Message{ID: e.ID, At: e.At, Events: []rotator.Event{e}}); err != nil {
				return fmt.Errorf("send %s about %s: %w", e.Kind, e.App, err)
			}
			if err := w.Outbox.EventDone(ctx, e.ID); err != nil {
				return fmt.Errorf("take a sent event out of the outbox: %w", err)
			}
		}
		if len(events) < batch {
			return nil
		}
	}
}
