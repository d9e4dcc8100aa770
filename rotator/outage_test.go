package rotator_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// inbox takes every message.
type inbox struct {
	mu       sync.Mutex
	messages []notify.Message
}

func (i *inbox) Send(_ context.Context, m notify.Message) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.messages = append(i.messages, m)
	return "taken", nil
}

// with counts the messages that hold events of the kind, and those events.
func (i *inbox) with(kind rotator.EventKind) (messages, events int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, m := range i.messages {
		n := 0
		for _, e := range m.Events {
			if e.Kind == kind {
				n++
			}
		}
		if events += n; n > 0 {
			messages++
		}
	}
	return messages, events
}

// TestOutage has a tenant down while many apps are due: people get one message, and
// one more when it is back.
func TestOutage(t *testing.T) {
	const apps = 25
	bubble(t, "a tenant is down", options{mode: rotator.ModeManaged, apps: apps}, func(w *world, r *rotator.Rotator) {
		db, ok := r.Store.(*store.Store)
		if !ok {
			w.t.Fatalf("the store is a %T", r.Store)
		}
		r.MaxStartsPerDay = 1000
		var down atomic.Bool
		down.Store(true)
		watch := w.tenant.Intercept
		w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
			if down.Load() && strings.HasPrefix(q.Path, "/v1.0/") {
				return &emulator.Fault{Status: http.StatusServiceUnavailable}
			}
			return watch(q)
		}
		people := &inbox{}
		worker := notify.Worker{Outbox: db, Channels: []notify.Channel{{Name: "people", Sender: people, Filter: notify.Filter{
			Kinds: []rotator.EventKind{rotator.EventRotationFailed, rotator.EventRecovered},
		}}}}
		ctx, cancel := context.WithCancel(w.t.Context())
		done := make(chan error, 1)
		go func() { done <- worker.Run(ctx) }()
		stop := run(w.t, r)
		time.Sleep(20 * time.Hour)
		if messages, events := people.with(rotator.EventRotationFailed); messages > 3 || events != apps {
			w.t.Errorf("the outage was %d messages with %d failures, want few with %d", messages, events, apps)
		}
		down.Store(false)
		for i := range apps {
			await(w.t, r, w.apps[i].name, 24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		}
		time.Sleep(time.Hour)
		if messages, events := people.with(rotator.EventRecovered); messages > 3 || events < apps {
			w.t.Errorf("its end was %d messages with %d recoveries, want few with one for each of %d", messages, events, apps)
		}
		stop()
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// brokenStore writes nothing while it is broken.
type brokenStore struct {
	rotator.Store
	broken atomic.Bool
}

func (s *brokenStore) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	if !s.broken.Load() {
		return s.Store.Change(ctx, app, change)
	}
	return s.Store.Change(ctx, app, func(rec *rotator.Records) error {
		if err := change(rec); err != nil {
			return err
		}
		return errFull
	})
}

func (s *brokenStore) ChangeAll(ctx context.Context, apps []string, change func(string, *rotator.Records) error) error {
	if !s.broken.Load() {
		return s.Store.ChangeAll(ctx, apps, change)
	}
	return s.Store.ChangeAll(ctx, apps, func(app string, rec *rotator.Records) error {
		if err := change(app, rec); err != nil {
			return err
		}
		return errFull
	})
}

// TestEveryWriteIsNoticed breaks the store before each kind of write that is about no
// single app: what could not be written is told past the outbox, like all else.
func TestEveryWriteIsNoticed(t *testing.T) {
	keys()
	for name, write := range map[string]func(context.Context, *rotator.Rotator) error{
		"a tenant is watched": func(ctx context.Context, r *rotator.Rotator) error { return r.Watch(ctx, "contoso", true, "test") },
		"a tenant is rebound": func(ctx context.Context, r *rotator.Rotator) error { return r.RebindTenant(ctx, "contoso", "test") },
		"a tenant is inspected": func(ctx context.Context, r *rotator.Rotator) error {
			return r.Inspect(ctx)
		},
		"an act is recorded": func(ctx context.Context, r *rotator.Rotator) error {
			return r.RecordAct(ctx, "test", "configuration read again", "", "")
		},
		"an export is recorded": func(ctx context.Context, r *rotator.Rotator) error {
			return r.Record(ctx, rotator.AuditEntry{By: "test", What: "exported"})
		},
		"the due dates change": func(ctx context.Context, r *rotator.Rotator) error {
			return r.Reconfigure(ctx, rotator.Settings{
				Entra: r.Entra, Deliverer: r.Deliverer, Schedule: r.Schedule, Defaults: rotator.PolicyOverride{RenewBefore: new(20 * 24 * time.Hour)},
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, options{mode: rotator.ModeManaged, left: 300 * 24 * time.Hour})
				r, closeStore := w.inspector()
				defer closeStore()
				if _, err := w.tenant.AddApplication(emulator.Application{
					Name: "not tracked", Secrets: []emulator.Secret{{Start: time.Now().Add(-24 * time.Hour), End: time.Now().Add(5 * 24 * time.Hour)}},
				}); err != nil {
					t.Fatal(err)
				}
				if err := r.Watch(t.Context(), "contoso", true, "test"); err != nil {
					t.Fatal(err)
				}
				s := &brokenStore{Store: r.Store}
				s.broken.Store(true)
				r.Store = s
				var alarms []rotator.EventKind
				r.Alarm = func(events ...rotator.Event) {
					for _, e := range events {
						alarms = append(alarms, e.Kind)
					}
				}
				if err := write(t.Context(), r); !errors.Is(err, errFull) {
					t.Errorf("it ended with %v, want %v", err, errFull)
				}
				want := []rotator.EventKind{rotator.EventStoreFailing}
				if name == "a tenant is inspected" { // about the app, and about the tenant
					want = append(want, rotator.EventStoreFailing)
				}
				if !slices.Equal(alarms, want) {
					t.Errorf("told past the outbox: %q, want %q", alarms, want)
				}
				if status, err := r.Status(t.Context()); err != nil || !strings.Contains(strings.Join(status.Problems, "\n"), errFull.Error()) {
					t.Errorf("the status has the problems %q (%v), want that the store cannot be written", status.Problems, err)
				}
				s.broken.Store(false)
				if err := write(t.Context(), r); err != nil {
					t.Errorf("once the store can be written: %v", err)
				}
				if status, err := r.Status(t.Context()); err != nil || len(status.Problems) > 0 {
					t.Errorf("afterwards the status has the problems %q (%v)", status.Problems, err)
				}
			})
		})
	}
}

// TestStoreFails cannot write: what could not be recorded is told past the outbox,
// the status says so from memory, and all of it ends by itself.
func TestStoreFails(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		s := &brokenStore{}
		var mu sync.Mutex
		var alarms []rotator.Event
		w.wrap = func(r *rotator.Rotator) {
			s.Store, r.Store = r.Store, s
			r.Alarm = func(events ...rotator.Event) {
				mu.Lock()
				defer mu.Unlock()
				alarms = append(alarms, events...)
			}
		}
		r, closeStore := w.rotator()
		r.Schedule = every(time.Hour)
		stop := run(t, r)
		await(t, r, "app-1", time.Hour, "uploaded", func(s rotator.AppStatus) bool { return s.Rotation != nil })
		s.broken.Store(true)
		time.Sleep(2 * time.Hour)
		problems := func() string {
			t.Helper()
			status, err := r.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return strings.Join(status.Problems, "\n")
		}
		if got := problems(); !strings.Contains(got, "no space left") {
			t.Errorf("the status says %q, want why the store cannot be written", got)
		}
		mu.Lock()
		if !slices.ContainsFunc(alarms, func(e rotator.Event) bool {
			return e.Kind == rotator.EventStoreFailing && e.Severity == rotator.SeverityCritical && strings.Contains(e.Summary, errFull.Error())
		}) {
			t.Errorf("told past the outbox: %+v", alarms)
		}
		mu.Unlock()
		s.broken.Store(false)
		await(t, r, "app-1", 6*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		time.Sleep(2 * time.Hour)
		if got := problems(); got != "" {
			t.Errorf("afterwards the status says %q", got)
		}
		stop()
		closeStore()
		w.checkTenant()
	})
}

// deafStore cannot read the due index, so that no check is good.
type deafStore struct {
	rotator.Store
	deaf atomic.Bool
}

func (s *deafStore) Due(ctx context.Context, kind rotator.WakeKind, until time.Time, limit int) ([]rotator.Wake, error) {
	if s.deaf.Load() {
		return nil, errors.New("input/output error")
	}
	return s.Store.Due(ctx, kind, until, limit)
}

// TestLastGoodCheck lets the checks fail: after two turns of the schedule the status
// has a problem.
func TestLastGoodCheck(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{left: 300 * 24 * time.Hour})
		s := &deafStore{}
		w.wrap = func(r *rotator.Rotator) { s.Store, r.Store, r.Expected = r.Store, s, r.Schedule }
		r, closeStore := w.rotator()
		stop := run(t, r)
		time.Sleep(90 * time.Minute)
		problems := func() []string {
			t.Helper()
			status, err := r.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return status.Problems
		}
		if got := problems(); len(got) != 0 {
			t.Errorf("problems %q, want none", got)
		}
		s.deaf.Store(true)
		time.Sleep(4 * time.Hour)
		if got := strings.Join(problems(), "\n"); !strings.Contains(got, "the last good check was ") {
			t.Errorf("problems %q, want the age of the last good check", got)
		}
		s.deaf.Store(false)
		time.Sleep(2 * time.Hour)
		if got := problems(); len(got) != 0 {
			t.Errorf("afterwards: %q", got)
		}
		stop()
		closeStore()
	})
}

// TestBeginsWithAFullDisk starts the daemon with another policy on a disk that takes
// nothing: it goes on, says why nothing is changed, and does what the policy asks for
// when it can, soon after, not a day later.
func TestBeginsWithAFullDisk(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{left: 200 * 24 * time.Hour})
		r, closeStore := w.rotator()
		r.Schedule = every(time.Hour)
		stop := run(t, r)
		time.Sleep(2 * time.Hour)
		status, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if app := status.Apps[0]; status.LastGoodCheck.IsZero() || app.Rotation != nil || app.Trouble != nil {
			t.Fatalf("by the first policy nothing is due: %+v", app)
		}
		stop()
		closeStore()

		s := &brokenStore{}
		s.broken.Store(true)
		w.wrap = func(r *rotator.Rotator) { s.Store, r.Store = r.Store, s }
		w.defaults.RenewBefore = new(250 * 24 * time.Hour)
		r, closeStore = w.rotator()
		r.Schedule = every(24 * time.Hour)
		stop = run(t, r)
		time.Sleep(90 * time.Minute)
		if status, err = r.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(status.Problems, "\n"); !strings.Contains(got, errFull.Error()) {
			t.Errorf("the status says %q, want why the store cannot be written", got)
		}
		s.broken.Store(false)
		await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		closeStore()
		w.checkTenant()
	})
}

// onceStore fails to write once.
type onceStore struct {
	rotator.Store
	failing atomic.Bool
}

func (s *onceStore) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	if s.failing.Swap(false) {
		return errFull
	}
	return s.Store.Change(ctx, app, change)
}

// TestCheckFailsOnce lets one write of a check fail, that of the due index, and the rest
// of it work: what is due is not left until the next turn of the schedule.
func TestCheckFailsOnce(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{left: 200 * 24 * time.Hour})
		r, closeStore := w.rotator()
		stop := run(t, r)
		time.Sleep(time.Minute)
		stop()
		closeStore()
		s := &onceStore{}
		s.failing.Store(true)
		w.wrap = func(r *rotator.Rotator) { s.Store, r.Store = r.Store, s }
		w.defaults.RenewBefore = new(250 * 24 * time.Hour)
		r, closeStore = w.rotator()
		r.Schedule = every(24 * time.Hour)
		stop = run(t, r)
		await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		closeStore()
		w.checkTenant()
	})
}

// batchStore fails to write many apps at once: lost, or written and then called
// failed.
type batchStore struct {
	rotator.Store
	lost, late atomic.Bool
}

func (s *batchStore) ChangeAll(ctx context.Context, apps []string, change func(string, *rotator.Records) error) error {
	if s.lost.Load() {
		return errFull
	}
	err := s.Store.ChangeAll(ctx, apps, change)
	if s.late.Load() {
		return errFull
	}
	return err
}

// TestStaleIndex cannot bring the due index up to the policy: the check says so, and
// what is due by either policy is done.
func TestStaleIndex(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		s := &batchStore{}
		w.wrap = func(r *rotator.Rotator) { s.Store, r.Store = r.Store, s }
		s.lost.Store(true)
		r, closeStore := w.rotator()
		r.Schedule = every(time.Hour)
		stop := run(t, r)
		await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		status, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(status.LastCheckError, "renew due dates") || !status.LastGoodCheck.IsZero() {
			t.Errorf("the last check: %q, the last good one %s", status.LastCheckError, status.LastGoodCheck)
		}
		if _, err := r.Check(t.Context(), "test"); !errors.Is(err, errFull) {
			t.Errorf("a check that a person asks for: %v", err)
		}
		s.lost.Store(false)
		if _, err := r.Check(t.Context(), "test"); err != nil {
			t.Error(err)
		}
		stop()
		closeStore()
		w.checkTenant()
	})
}

// TestHalfRenewedIndex puts a policy back whose replacement came only half into the
// due index: the index is that of the policy in force after the next check.
func TestHalfRenewedIndex(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{left: 200 * 24 * time.Hour})
		s := &batchStore{}
		w.wrap = func(r *rotator.Rotator) { s.Store, r.Store = r.Store, s }
		r, closeStore := w.rotator()
		r.Schedule = every(time.Hour)
		due := func() time.Time {
			t.Helper()
			wakes, err := r.Store.Due(t.Context(), rotator.WakeStart, time.Now().Add(365*24*time.Hour), 0)
			if err != nil || len(wakes) != 1 {
				t.Fatalf("%v, %v", wakes, err)
			}
			return wakes[0].At
		}
		check := func() {
			t.Helper()
			if _, err := r.Check(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
		}
		check()
		before := due()
		s.late.Store(true)
		err := r.Reconfigure(t.Context(), rotator.Settings{
			Entra: r.Entra, Deliverer: r.Deliverer, Schedule: r.Schedule, Defaults: rotator.PolicyOverride{RenewBefore: new(60 * 24 * time.Hour)},
		})
		if !errors.Is(err, errFull) || due().Equal(before) {
			t.Fatalf("Reconfigure = %v; due %s, before %s", err, due(), before)
		}
		s.late.Store(false)
		check()
		if got := due(); !got.Equal(before) {
			t.Errorf("by the policy in force it is due %s, the index says %s", before, got)
		}
		closeStore()
	})
}
