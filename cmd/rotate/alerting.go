package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// alerting sends events to channels, and tells a watcher that checks happen.
type alerting struct {
	// direct are events that could not be written to the store.
	direct chan []rotator.Event
	// replaced is poked when ways is another one.
	replaced chan struct{}

	mu   sync.Mutex
	ways *ways // guarded by mu; never nil
}

// ways are the channels and the heartbeat of one configuration.
type ways struct {
	worker *notify.Worker
	// heartbeat is nil where none is configured.
	heartbeat *notify.Heartbeat
}

// directWaiting is how many batches of events wait to be sent past the store; more
// are dropped, for the log has them.
const directWaiting = 64

// alertingOf makes the channels of the configuration, and the log, which is always
// one. One that cannot be used fails at each message, so that the others tell of it:
// rotations matter more than a wrong setting.
func alertingOf(cfg *config.Config, entra *client, outbox *store.Store, log *slog.Logger) *alerting {
	return &alerting{
		direct: make(chan []rotator.Event, directWaiting), replaced: make(chan struct{}, 1),
		ways: waysOf(cfg, entra, outbox, log),
	}
}

// current are the ways in force.
func (a *alerting) current() *ways {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ways
}

// replace puts the channels of another configuration in force. What waits in the outbox
// stays there, for those that have the same name.
func (a *alerting) replace(w *ways) {
	a.mu.Lock()
	a.ways = w
	a.mu.Unlock()
	select {
	case a.replaced <- struct{}{}:
	default: // it is known already
	}
}

// Test implements [control.Notifier] with the channels in force.
func (a *alerting) Test(ctx context.Context, channel, by string) ([]rotator.ChannelTest, error) {
	return a.current().worker.Test(ctx, channel, by)
}

func waysOf(cfg *config.Config, entra *client, outbox *store.Store, log *slog.Logger) *ways {
	senders, problem := sendersOf(cfg, entra)
	a := &ways{worker: &notify.Worker{Outbox: outbox, Logger: log}}
	a.worker.Channels = append(a.worker.Channels, notify.Channel{Name: "log", Sender: notify.Log{Logger: log}, AtOnce: true})
	for i := range cfg.Notify.Channels {
		c := &cfg.Notify.Channels[i]
		sender := senders[c.Name]
		if sender == nil {
			sender = unusableChannel{problem}
		}
		kind := c.Kind()
		a.worker.Channels = append(a.worker.Channels, notify.Channel{
			Name: c.Name, Sender: sender, Filter: filterOf(kind, c.Filter), Fallback: c.Fallback,
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

// filterOf is the filter of a channel. Where it says nothing of what it wants, people get
// what asks for attention, and programs everything.
func filterOf(kind config.ChannelKind, f config.Filter) notify.Filter {
	out := notify.Filter{Severity: rotator.Severity(f.Severity), Tenants: f.Tenants, Apps: f.Apps, Tags: f.Tags}
	for _, kind := range f.Kinds {
		out.Kinds = append(out.Kinds, rotator.EventKind(kind))
	}
	if f.Severity == "" && len(f.Kinds) == 0 && kind != config.ChannelWebhook && kind != config.ChannelExec {
		out.Kinds = slices.DeleteFunc(rotator.EventKinds(), func(k rotator.EventKind) bool {
			return k == rotator.EventRotationStarted || k == rotator.EventRotated || k == rotator.EventRemoved
		})
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
		heartbeat := a.current().heartbeat
		if heartbeat == nil {
			return
		}
		if err != nil {
			heartbeat.Beat(false, "the check failed: "+err.Error())
			return
		}
		heartbeat.Beat(true, fmt.Sprintf("checked %s, %s", count(report.Apps, "app", "apps"), count(len(report.Attention), "needs attention", "need attention")))
	}
}

// run sends until ctx is done.
func (a *alerting) run(ctx context.Context) error {
	var work errgroup.Group
	work.Go(func() error {
		for ctx.Err() == nil {
			a.runWays(ctx)
		}
		return nil
	})
	work.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case events := <-a.direct:
				a.current().worker.Direct(ctx, events...)
			}
		}
	})
	return work.Wait()
}

// runWays sends with the ways in force until they are replaced or ctx is done.
func (a *alerting) runWays(ctx context.Context) {
	now := a.current()
	until, stop := context.WithCancel(ctx)
	defer stop()
	var work errgroup.Group
	work.Go(func() error { return now.worker.Run(until) })
	if now.heartbeat != nil {
		work.Go(func() error { return now.heartbeat.Run(until) })
	}
	select {
	case <-ctx.Done():
	case <-a.replaced:
	}
	stop()
	_ = work.Wait() // both return nil when they are stopped
}

// logTo makes the log channel write to another log.
func (a *alerting) logTo(log *slog.Logger) {
	a.current().worker.Channels[0].Sender = notify.Log{Logger: log}
}

// flush sends what waits, once: for a command that runs without a daemon.
func (a *alerting) flush(ctx context.Context) error {
	now := a.current()
	err := now.worker.Flush(ctx)
	if now.heartbeat != nil {
		if beatErr := now.heartbeat.Flush(ctx); beatErr != nil {
			err = errors.Join(err, fmt.Errorf("heartbeat: %w", beatErr))
		}
	}
	return err
}
