package main

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
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

// client is a client for Entra that can be replaced while others use it.
type client = atomic.Pointer[graph.Client]

// service is the program put together: what the daemon runs, and what a command
// runs for itself where no daemon does.
type service struct {
	// entra is the client in force; a reload replaces it.
	entra   client
	store   *store.Store
	rotator *rotator.Rotator
	server  *control.Server
	// monitoring is never nil.
	monitoring *monitoring
	alerts     *alerting
	verifier   *verifier
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
	if s.monitoring, err = newMonitoring(cfg, keys, log); err != nil {
		return nil, errors.Join(&unusable{err}, keys.Close())
	}
	settings, entra, err := settingsOf(cfg, s, keys, schedule, log, runtimeDir)
	if err != nil {
		return nil, errors.Join(err, s.monitoring.close(), keys.Close()) //nolint:contextcheck // what is left is sent although ctx may be done
	}
	s.entra.Store(entra)
	s.close = func() error { return errors.Join(s.entra.Load().Close(), s.monitoring.close(), keys.Close()) } //nolint:contextcheck // the same
	if err := settings.Deliverer.(*deliver.Deliverer).WipeRuntime(); err != nil {                             //nolint:errcheck,forcetypeassert // settingsOf made it
		return nil, errors.Join(err, s.close())
	}
	s.store = keys
	s.rotator = &rotator.Rotator{
		Store: s.monitoring.store(keys), Watcher: s.monitoring.watcher(), Entra: settings.Entra, Registrar: settings.Registrar, Deliverer: settings.Deliverer, Encoder: encoder{},
		Defaults: settings.Defaults, MaxStartsPerDay: settings.MaxStartsPerDay, Workers: settings.Workers,
		Schedule: schedule, ParseSchedule: parseSchedule, Logger: log,
		Inventory: settings.Inventory, Tenants: settings.Tenants, Rights: settings.Rights, Identities: settings.Identities, Observed: settings.Observed,
		RemovalTimes: settings.RemovalTimes, Version: majorOf(version()),
	}
	if !cfg.Discovery.Off {
		s.rotator.InspectSchedule = cfg.Discovery.Schedule
	}
	s.alerts = alertingOf(cfg, &s.entra, keys, log)
	s.alerts.attach(s.rotator, cfg)
	s.verifier = &verifier{rotator: s.rotator, entra: &s.entra, mark: keys.ID(), version: version(), log: log}
	s.server = &control.Server{
		Rotator: s.rotator, Vault: keys, Logger: log, Notifier: s.alerts, Outbox: keys, Verifier: s.verifier,
		Warnings: hostWarnings(ctx, cfg, keys), Access: accessOf(cfg.Control),
	}
	return s, nil
}

// settingsOf builds what a reload can replace, and the client in it.
func settingsOf(cfg *config.Config, s *service, keys *store.Store, schedule rotator.Schedule, log *slog.Logger, runtimeDir string) (rotator.Settings, *graph.Client, error) {
	tenants, err := tenantsOf(cfg.Tenants, keys)
	if err != nil {
		return rotator.Settings{}, nil, err
	}
	entra, err := graph.New(graph.Config{Tenants: tenants, Proxy: cfg.Proxy, Logger: log, Observe: s.monitoring.observe()})
	if err != nil {
		return rotator.Settings{}, nil, &unusable{err}
	}
	defaults, err := policyOf(cfg.Defaults.Policy, config.DefaultPolicy())
	if err != nil {
		return rotator.Settings{}, nil, errors.Join(err, entra.Close())
	}
	if runtimeDir != "" {
		runtimeDir = filepath.Join(runtimeDir, "hooks")
	}
	names := make([]string, len(cfg.Tenants))
	for i, t := range cfg.Tenants {
		names[i] = t.Name
	}
	return rotator.Settings{
		Entra: entra, Inventory: entra, Tenants: names, Registrar: entra, Rights: entra, Identities: entra, Observed: entra,
		Deliverer: &deliver.Deliverer{
			Encoder: encoder{}, Hooks: hooksOf(cfg.Hooks), RuntimeDir: runtimeDir, Logger: log,
			Own: cfg.Files(), Roots: cfg.DeliveryRoots,
		},
		Defaults: defaults, MaxStartsPerDay: int(cfg.Defaults.MaxStartsPerDay), Workers: int(cfg.Workers), Schedule: schedule,
		Expected: cfg.Schedule, RemovalTimes: removalTimesOf(cfg.Tenants),
	}, entra, nil
}

func accessOf(c config.Control) control.Access {
	return control.Access{ChangeGroup: c.ChangeGroup, ViewGroup: c.ViewGroup, KeysGroup: c.KeysGroup, NoExport: c.Export == "off"}
}
