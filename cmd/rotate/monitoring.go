package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/monitor"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// monitoring is what tells other programs how this one is doing, as far as the
// configuration asks for it.
type monitoring struct {
	settings config.Metrics
	metrics  *monitor.Metrics // nil: no metrics
	tracer   *monitor.Tracer  // nil: no traces
	listener net.Listener     // nil: nobody is answered
	log      *slog.Logger
}

// newMonitoring makes what the configuration asks for. Nobody is answered yet.
func newMonitoring(cfg *config.Config, keys *store.Store, log *slog.Logger) (*monitoring, error) {
	m := &monitoring{settings: cfg.Metrics, log: log}
	if cfg.Metrics.Listen != "" || cfg.Metrics.Textfile != "" {
		m.metrics = monitor.New(monitor.Options{
			Store: keys, Schedule: cfg.Schedule, PerApp: cfg.Metrics.PerApp, PerAppLimit: int(cfg.Metrics.PerAppLimit),
			Version: version(), Revision: revision(),
		})
	}
	if cfg.OTLP.Endpoint == "" {
		return m, nil
	}
	var err error
	m.tracer, err = monitor.NewTracer(monitor.TraceOptions{
		Endpoint: cfg.OTLP.Endpoint, StoreID: keys.ID(), Version: version(), Logger: log,
	})
	return m, err
}

// store is the one that the rotator uses.
func (m *monitoring) store(keys rotator.Store) rotator.Store {
	if m.metrics == nil {
		return keys
	}
	return m.metrics.Follow(keys)
}

// observe is what graph tells of its requests.
func (m *monitoring) observe() func(method, path string, status int) {
	if m.metrics == nil {
		return nil
	}
	return m.metrics.Request
}

// watcher is what the rotator tells of its steps.
func (m *monitoring) watcher() rotator.Watcher {
	var all monitor.Watchers
	if m.metrics != nil {
		all = append(all, m.metrics)
	}
	if m.tracer != nil {
		all = append(all, m.tracer)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// listen binds the address of the configuration.
func (m *monitoring) listen(ctx context.Context) error {
	if m.settings.Listen == "" {
		return nil
	}
	var err error
	if m.listener, err = monitor.Listen(ctx, m.settings.Listen); err != nil {
		return withHint(err, `set "metrics.listen" to an address that is free, or to "" to switch it off`)
	}
	m.log.InfoContext(ctx, "metrics are answered", "address", m.settings.Listen)
	return nil
}

// run adds what listens and writes to a group.
func (m *monitoring) run(ctx context.Context, work *errgroup.Group) {
	if m.listener != nil {
		work.Go(func() error { return m.metrics.Serve(ctx, m.listener) })
	}
	if m.settings.Textfile != "" {
		work.Go(func() error { return m.metrics.RunFile(ctx, m.settings.Textfile, m.log) })
	}
}

// writeFile writes the textfile once, for a check without a daemon.
func (m *monitoring) writeFile(ctx context.Context) error {
	if m == nil || m.settings.Textfile == "" {
		return nil
	}
	return m.metrics.WriteFile(ctx, m.settings.Textfile)
}

// close sends the last traces. That a collector does not take them is no failure of
// ours: it was logged.
func (m *monitoring) close() error {
	var err error
	if m.listener != nil {
		if err = m.listener.Close(); errors.Is(err, net.ErrClosed) {
			err = nil
		}
	}
	if m.tracer != nil {
		if stopErr := m.tracer.Close(); stopErr != nil {
			m.log.Warn("traces not sent", "err", stopErr)
		}
	}
	return err
}

// revision is the commit that the program was built from; empty: unknown.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
