package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// lockTimeout is how long a command waits for another one that ends just now.
const lockTimeout = 3 * time.Second

// service is the program put together: what the daemon runs, and what a command
// runs for itself where no daemon does.
type service struct {
	store   *store.Store
	rotator *rotator.Rotator
	server  *control.Server
	// monitoring is never nil.
	monitoring *monitoring
	alerts     *alerting
	close      func() error
}

// openService builds the program from its configuration, in the order of its
// parts; close takes it apart the other way round. schedule is nil for a single
// command.
func openService(ctx context.Context, cfg *config.Config, schedule rotator.Schedule, log *slog.Logger, runtimeDir string) (*service, error) {
	s := &service{}
	keys, err := store.Open(ctx, store.Options{
		Path: cfg.Store.Path, IdentityFile: cfg.Store.IdentityFile,
		LockTimeout: lockTimeout, Logger: log, Version: version(),
	})
	if err != nil {
		return nil, err
	}
	tenants, err := tenantsOf(cfg.Tenants, keys)
	if err != nil {
		return nil, errors.Join(err, keys.Close())
	}
	if s.monitoring, err = newMonitoring(ctx, cfg, keys, log); err != nil {
		return nil, errors.Join(&unusable{err}, keys.Close())
	}
	entra, err := graph.New(graph.Config{Tenants: tenants, Proxy: cfg.Proxy, Logger: log, Observe: s.monitoring.observe()})
	if err != nil {
		return nil, errors.Join(&unusable{err}, s.monitoring.close(), keys.Close())
	}
	s.close = func() error { return errors.Join(entra.Close(), s.monitoring.close(), keys.Close()) }
	if runtimeDir != "" {
		runtimeDir = filepath.Join(runtimeDir, "hooks")
	}
	deliverer := &deliver.Deliverer{Encoder: encoder{}, Hooks: hooksOf(cfg.Hooks), RuntimeDir: runtimeDir, Logger: log}
	if err := deliverer.WipeRuntime(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	defaults, err := policyOf(cfg.Defaults.Policy, config.DefaultPolicy())
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.store = keys
	s.rotator = &rotator.Rotator{
		Store: s.monitoring.store(keys), Watcher: s.monitoring.watcher(), Entra: entra, Registrar: entra, Deliverer: deliverer, Encoder: encoder{},
		Defaults: defaults, MaxStartsPerDay: int(cfg.Defaults.MaxStartsPerDay), Workers: int(cfg.Workers),
		Schedule: schedule, ParseSchedule: parseSchedule, Logger: log,
		Inventory: entra, Rights: entra, Identities: entra,
	}
	for _, t := range cfg.Tenants {
		s.rotator.Tenants = append(s.rotator.Tenants, t.Name)
	}
	if !cfg.Discovery.Off {
		s.rotator.InspectSchedule = cfg.Discovery.Schedule
	}
	s.alerts = alertingOf(cfg, entra, keys, log)
	s.alerts.attach(s.rotator, cfg)
	s.server = &control.Server{
		Rotator: s.rotator, Vault: keys, Logger: log, Notifier: s.alerts.worker, Outbox: keys,
		Warnings: identityWarnings(ctx, cfg.Tenants, keys),
	}
	return s, nil
}
