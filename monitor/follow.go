package monitor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// follower is a store that notes which apps were changed through it, so that a
// scrape reads those again and no others.
type follower struct {
	rotator.Store
	metrics *Metrics
}

// Follow returns the store that the rotator is to use: what is written through it
// shows in the metrics.
func (m *Metrics) Follow(s rotator.Store) rotator.Store { return &follower{s, m} }

// Change implements [rotator.Store].
func (f *follower) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	err := f.Store.Change(ctx, app, change)
	if app != "" {
		f.metrics.changed(app) // also after an error: reading again does no harm
	}
	return err
}

// ChangeAll implements [rotator.Store].
func (f *follower) ChangeAll(ctx context.Context, apps []string, change func(app string, rec *rotator.Records) error) error {
	err := f.Store.ChangeAll(ctx, apps, change)
	f.metrics.changed(apps...)
	return err
}

// facts are what the metrics say about one app.
type facts struct {
	tenant string
	// notAfter of the certificate in service; zero: there is none.
	notAfter time.Time
	// rotated is when the newest rotation ended well; zero: none has.
	rotated time.Time
	// phase is that of the open rotation, since when, and what it waits for; empty:
	// none is open.
	phase   rotator.Phase
	since   time.Time
	waiting string
	// class of the last failure, if nothing has worked since.
	class rotator.Class
}

func (m *Metrics) changed(apps ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, app := range apps {
		m.dirty[app] = true
	}
}

// page is how many apps are read in one transaction when the metrics are filled.
const page = 500

// refresh brings the facts up to date: all apps are read once, later those that were
// changed.
func (m *Metrics) refresh(ctx context.Context) error {
	select {
	case m.reading <- struct{}{}:
		defer func() { <-m.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !m.filled {
		if err := m.fill(ctx); err != nil {
			return err
		}
		m.filled = true
	}
	m.mu.Lock()
	dirty := m.dirty
	m.dirty = map[string]bool{}
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(dirty)) {
		err := m.readOne(ctx, name)
		if err != nil {
			m.changed(slices.Collect(maps.Keys(dirty))...) // the next time, then
			return err
		}
	}
	return nil
}

// fill reads every app.
func (m *Metrics) fill(ctx context.Context) error {
	for after := ""; ; {
		apps, err := m.Store.Apps(ctx, after, page)
		if err != nil {
			return fmt.Errorf("metrics: read apps: %w", err)
		}
		for i := range apps {
			if err := m.read(ctx, &apps[i]); err != nil {
				return err
			}
			after = apps[i].Name
		}
		if len(apps) < page {
			return nil
		}
	}
}

func (m *Metrics) readOne(ctx context.Context, name string) error {
	app, err := m.Store.App(ctx, name)
	if errors.Is(err, rotator.ErrNotFound) {
		m.forget(name)
		return nil
	}
	if err != nil {
		return fmt.Errorf("metrics: read app %s: %w", name, err)
	}
	return m.read(ctx, &app)
}

// read takes the facts of one app from the store.
func (m *Metrics) read(ctx context.Context, app *rotator.App) error {
	f := facts{tenant: app.Tenant}
	if app.Current != nil {
		f.notAfter = app.Current.NotAfter
	}
	if app.Trouble != nil {
		f.class = app.Trouble.Class
	}
	m.mu.Lock()
	before, known := m.apps[app.Name]
	m.mu.Unlock()
	if app.LastRotation != "" {
		newest, err := m.Store.Rotation(ctx, app.LastRotation)
		if err != nil {
			return fmt.Errorf("metrics: app %s: read rotation %s: %w", app.Name, app.LastRotation, err)
		}
		switch {
		case newest.Phase == rotator.PhaseRetired:
			f.rotated = newest.EndedAt
		case known:
			f.rotated = before.rotated
		default:
			if f.rotated, err = m.lastRotated(ctx, app.Name); err != nil {
				return err
			}
		}
		if !newest.Phase.IsEnd() {
			f.phase, f.since, f.waiting = newest.Phase, newest.PhaseAt[newest.Phase], newest.WaitingFor
			if newest.Trouble != nil {
				f.class = newest.Trouble.Class
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apps[app.Name] = f
	return nil
}

// lookBack is how many rotations of an app are searched for one that ended well.
const lookBack = 20

func (m *Metrics) lastRotated(ctx context.Context, app string) (time.Time, error) {
	rotations, err := m.Store.Rotations(ctx, app, lookBack)
	if err != nil {
		return time.Time{}, fmt.Errorf("metrics: app %s: read history: %w", app, err)
	}
	for i := range rotations {
		if rotations[i].Phase == rotator.PhaseRetired {
			return rotations[i].EndedAt, nil
		}
	}
	return time.Time{}, nil
}

// forget drops an app that is no longer tracked.
func (m *Metrics) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.apps, name)
	for key := range m.appFailures {
		if key.app == name {
			delete(m.appFailures, key)
		}
	}
}
