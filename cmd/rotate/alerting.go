package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// alerting brings what happened to people, and tells a watcher that checks happen.
type alerting struct {
	worker *notify.Worker
	// heartbeat is nil where none is configured.
	heartbeat *notify.Heartbeat
	// direct are events that could not be written to the store.
	direct chan []rotator.Event
}

// directWaiting is how many batches of events wait to be sent past the store; more
// are dropped, for the log has them.
const directWaiting = 64

// alertingOf makes the channels of the configuration, and the log, which is always
// one. One that cannot be used fails at each message, so that the others tell of it:
// rotations matter more than a wrong setting.
func alertingOf(cfg *config.Config, entra *client, outbox *store.Store, log *slog.Logger) *alerting {
	senders, problem := sendersOf(cfg, entra)
	a := &alerting{
		worker: &notify.Worker{Outbox: outbox, Logger: log},
		direct: make(chan []rotator.Event, directWaiting),
	}
	a.worker.Channels = append(a.worker.Channels, notify.Channel{Name: "log", Sender: notify.Log{Logger: log}, AtOnce: true})
	for i := range cfg.Notify.Channels {
		c := &cfg.Notify.Channels[i]
		sender := senders[c.Name]
		if sender == nil {
			sender = unusableChannel{problem}
		}
		kind := c.Kind()
		a.worker.Channels = append(a.worker.Channels, notify.Channel{
			Name: c.Name, Sender: sender, Filter: filterOf(c.Filter), Fallback: c.Fallback,
			ByOwner: kind == config.ChannelSMTP || kind == config.ChannelGraphMail,
		})
	}
	if !cfg.Notify.Heartbeat.IsZero() {
		web, err := webOf(&cfg.Notify.Heartbeat.Address, cfg.Proxy)
		if err != nil {
			web.URL = func() (string, error) { return "", fmt.Errorf("notify.heartbeat: %w", err) }
		}
		a.heartbeat = &notify.Heartbeat{Web: web, Logger: log}
	}
	return a
}

func filterOf(f config.Filter) notify.Filter {
	out := notify.Filter{Severity: rotator.Severity(f.Severity), Tenants: f.Tenants, Apps: f.Apps, Tags: f.Tags}
	for _, kind := range f.Kinds {
		out.Kinds = append(out.Kinds, rotator.EventKind(kind))
	}
	return out
}

// unusableChannel is one whose settings cannot be used.
type unusableChannel struct{ err error }

func (u unusableChannel) Send(context.Context, notify.Message) (string, error) {
	return "", &notify.Error{Permanent: true, Err: u.err}
}

// attach lets the rotator tell what cannot be written and how checks end.
func (a *alerting) attach(r *rotator.Rotator, cfg *config.Config) {
	r.Expected = cfg.Schedule
	for _, stage := range cfg.Notify.ExpiryStages {
		r.ExpiryStages = append(r.ExpiryStages, time.Duration(stage))
	}
	r.Alarm = func(events ...rotator.Event) {
		select {
		case a.direct <- events:
		default:
		}
	}
	r.Checked = func(report rotator.CheckReport, err error) {
		if a.heartbeat == nil {
			return
		}
		if err != nil {
			a.heartbeat.Beat(false, "the check failed: "+err.Error())
			return
		}
		a.heartbeat.Beat(true, fmt.Sprintf("checked %s, %s", count(report.Apps, "app", "apps"), count(len(report.Attention), "needs attention", "need attention")))
	}
}

// run sends until ctx is done.
func (a *alerting) run(ctx context.Context) error {
	var work errgroup.Group
	work.Go(func() error { return a.worker.Run(ctx) })
	work.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case events := <-a.direct:
				a.worker.Direct(ctx, events...)
			}
		}
	})
	if a.heartbeat != nil {
		work.Go(func() error { return a.heartbeat.Run(ctx) })
	}
	return work.Wait()
}

// logTo makes the log channel write to another log.
func (a *alerting) logTo(log *slog.Logger) {
	a.worker.Channels[0].Sender = notify.Log{Logger: log}
}

// flush sends what waits, once: for a command that runs without a daemon.
func (a *alerting) flush(ctx context.Context) error {
	err := a.worker.Flush(ctx)
	if a.heartbeat != nil {
		if beatErr := a.heartbeat.Flush(ctx); beatErr != nil {
			err = errors.Join(err, fmt.Errorf("heartbeat: %w", beatErr))
		}
	}
	return err
}
