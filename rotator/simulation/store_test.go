package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// records are what a store holds. Values are replaced, never altered, so that a copy of
// the maps is a copy of the store.
type records struct {
	apps      map[string]rotator.App
	rotations map[string]rotator.Rotation
	order     []string // rotations, oldest first
	wakes     map[string][]rotator.Wake
	pairs     map[rotator.Thumbprint]rotator.KeyPair
	tenants   map[string]rotator.TenantState
	state     rotator.State
}

func (d *records) fork() *records {
	c := *d
	c.apps, c.rotations, c.order = maps.Clone(d.apps), maps.Clone(d.rotations), slices.Clone(d.order)
	c.wakes, c.pairs, c.tenants = maps.Clone(d.wakes), maps.Clone(d.pairs), maps.Clone(d.tenants)
	return &c
}

// memory is a store in memory. Every write passes the host's effects, so that a death
// or a full disk can meet each of them.
type memory struct {
	*records
	host *host
	// moved tells that the records were put back from a copy.
	moved bool
	// heard is called with each event that was written.
	heard func(e rotator.Event)
}

func newMemory(h *host) *memory {
	return &memory{host: h, records: &records{
		apps: map[string]rotator.App{}, rotations: map[string]rotator.Rotation{}, wakes: map[string][]rotator.Wake{},
		pairs: map[rotator.Thumbprint]rotator.KeyPair{}, tenants: map[string]rotator.TenantState{},
	}}
}

func (m *memory) ID() string { return "0badcafe" }

func (m *memory) App(_ context.Context, name string) (rotator.App, error) {
	app, ok := m.apps[name]
	if !ok || m.host.dead {
		return rotator.App{}, cmp.Or(m.host.gone(), fmt.Errorf("app %s: %w", name, rotator.ErrNotFound))
	}
	return clone(app), nil
}

func (m *memory) Apps(ctx context.Context, after string, limit int) ([]rotator.App, error) {
	var list []rotator.App
	for _, name := range slices.Sorted(maps.Keys(m.apps)) {
		if name > after && (limit == 0 || len(list) < limit) {
			app, err := m.App(ctx, name)
			if err != nil {
				return nil, err
			}
			list = append(list, app)
		}
	}
	return list, m.host.gone()
}

func (m *memory) AppByClientID(ctx context.Context, tenant string, id rotator.ClientID) (rotator.App, error) {
	for name, app := range m.apps {
		if app.Tenant == tenant && app.ClientID == id {
			return m.App(ctx, name)
		}
	}
	return rotator.App{}, rotator.ErrNotFound
}

func (m *memory) CountApps(context.Context) (int, error) { return len(m.apps), m.host.gone() }

func (m *memory) Rotation(_ context.Context, id string) (rotator.Rotation, error) {
	rot, ok := m.rotations[id]
	if !ok || m.host.dead {
		return rotator.Rotation{}, cmp.Or(m.host.gone(), fmt.Errorf("rotation %s: %w", id, rotator.ErrNotFound))
	}
	return clone(rot), nil
}

func (m *memory) Rotations(_ context.Context, app string, limit int) ([]rotator.Rotation, error) {
	var list []rotator.Rotation
	for _, id := range slices.Backward(m.order) {
		if rot := m.rotations[id]; (app == "" || rot.App == app) && (limit == 0 || len(list) < limit) {
			list = append(list, clone(rot))
		}
	}
	return list, m.host.gone()
}

func (m *memory) Due(_ context.Context, kind rotator.WakeKind, until time.Time, limit int) ([]rotator.Wake, error) {
	var list []rotator.Wake
	for _, wakes := range m.wakes {
		for _, w := range wakes {
			if w.Kind == kind && !w.At.After(until) {
				list = append(list, w)
			}
		}
	}
	slices.SortFunc(list, func(a, b rotator.Wake) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.App, b.App)) })
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, m.host.gone()
}

func (m *memory) DueAfter(ctx context.Context, after rotator.Wake, until time.Time, limit int) ([]rotator.Wake, error) {
	list, err := m.Due(ctx, after.Kind, until, 0)
	list = slices.DeleteFunc(list, func(w rotator.Wake) bool {
		return cmp.Or(w.At.Compare(after.At), cmp.Compare(w.App, after.App)) <= 0
	})
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, err
}

func (m *memory) CountDue(ctx context.Context, kind rotator.WakeKind, until time.Time) (int, error) {
	list, err := m.Due(ctx, kind, until, 0)
	return len(list), err
}

func (m *memory) Count(ctx context.Context, kind rotator.WakeKind) (int, error) {
	return m.CountDue(ctx, kind, time.Unix(1<<40, 0))
}

func (m *memory) NextDue(ctx context.Context, kind rotator.WakeKind) (rotator.Wake, bool, error) {
	list, err := m.Due(ctx, kind, time.Unix(1<<40, 0), 1)
	if len(list) == 0 {
		return rotator.Wake{}, false, err
	}
	return list[0], true, err
}

func (m *memory) KeyPair(_ context.Context, t rotator.Thumbprint) (rotator.KeyPair, error) {
	p, ok := m.pairs[t]
	if !ok || m.host.dead {
		return rotator.KeyPair{}, cmp.Or(m.host.gone(), fmt.Errorf("key pair %s: %w", t, rotator.ErrNotFound))
	}
	return p, nil
}

func (m *memory) HasKeyPair(_ context.Context, t rotator.Thumbprint) (bool, error) {
	_, ok := m.pairs[t]
	return ok, m.host.gone()
}

func (m *memory) State(context.Context) (rotator.State, error) { return clone(m.state), m.host.gone() }

func (m *memory) Tenant(_ context.Context, name string) (rotator.TenantState, error) {
	return m.tenants[name], m.host.gone() // facts are replaced, never altered
}

func (m *memory) Tenants(context.Context) (map[string]rotator.TenantState, error) {
	return clone(m.tenants), m.host.gone()
}

func (m *memory) Moved() (bool, string) { return m.moved, "it was put back" }

func (m *memory) Settle(context.Context) error {
	m.moved = false
	return m.host.gone()
}

func (m *memory) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	return m.ChangeAll(ctx, []string{app}, func(_ string, rec *rotator.Records) error { return change(rec) })
}

func (m *memory) ChangeAll(_ context.Context, apps []string, change func(app string, rec *rotator.Records) error) error {
	return m.host.effect("store", func() error {
		if m.host.diskFull {
			return errors.New("no space left on device")
		}
		next := m.records
		if len(apps) > 1 {
			next = m.fork() // all of it or nothing
		}
		var events []rotator.Event
		for _, name := range apps {
			told, err := next.change(name, change)
			if err != nil {
				return err
			}
			events = append(events, told...)
		}
		m.records = next
		for _, e := range events {
			m.heard(e)
		}
		return nil
	})
}

// change is one app's part of a transaction.
func (d *records) change(name string, change func(app string, rec *rotator.Records) error) ([]rotator.Event, error) {
	state := clone(d.state)
	rec := &rotator.Records{State: &state}
	tenants := map[string]*rotator.TenantState{}
	rec.Tenant = func(name string) (*rotator.TenantState, error) {
		if tenants[name] == nil {
			known := d.tenants[name]
			tenants[name] = &known
		}
		return tenants[name], nil
	}
	if app, ok := d.apps[name]; ok && name != "" {
		app = clone(app)
		rec.App = &app
		if app.Rotation != "" {
			rot := clone(d.rotations[app.Rotation])
			rec.Rotation = &rot
		}
		rec.Wakes = slices.Clone(d.wakes[name])
	}
	if err := change(name, rec); err != nil {
		return nil, err
	}
	if rec.App != nil {
		for other, app := range d.apps {
			if other != name && app.ClientID == rec.App.ClientID && app.Tenant == rec.App.Tenant {
				return nil, fmt.Errorf("app %q %w", other, rotator.ErrExists)
			}
		}
	}
	d.state = *rec.State
	for name, tenant := range tenants {
		d.tenants[name] = *tenant
	}
	if name != "" {
		if rec.App == nil {
			delete(d.apps, name)
			delete(d.wakes, name)
		} else {
			d.apps[name], d.wakes[name] = *rec.App, rec.Wakes
		}
		for _, rot := range []*rotator.Rotation{rec.Closed, rec.Rotation} {
			if rot == nil {
				continue
			}
			if _, ok := d.rotations[rot.ID]; !ok {
				d.order = append(d.order, rot.ID)
			}
			d.rotations[rot.ID] = *rot
		}
	}
	for _, t := range rec.Forget {
		if !d.refersTo(t) {
			delete(d.pairs, t)
		}
	}
	for _, p := range rec.Seal {
		if kept, ok := d.pairs[p.Thumbprint()]; ok {
			p = kept.With(rec.App.Name, p)
		}
		d.pairs[p.Thumbprint()] = p
	}
	return rec.Events, nil
}

// refersTo reports whether any app or open rotation needs a sealed pair.
func (d *records) refersTo(t rotator.Thumbprint) bool {
	for _, app := range d.apps {
		list := slices.Clone(app.Former)
		for _, c := range []*rotator.Credential{app.Current, app.Previous} {
			if c != nil {
				list = append(list, *c)
			}
		}
		for _, o := range app.Orphans {
			list = append(list, o.Credential)
		}
		for _, m := range app.Removals {
			if m.IsPending() {
				list = append(list, m.Credential)
			}
		}
		if rot, ok := d.rotations[app.Rotation]; ok {
			list = append(append(list, rot.New), rot.Extra...)
			if rot.Old != nil {
				list = append(list, *rot.Old)
			}
		}
		if slices.ContainsFunc(list, func(c rotator.Credential) bool { return c.ThumbprintSHA256 == t }) {
			return true
		}
	}
	return false
}
