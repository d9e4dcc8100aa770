package rotator_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
	"github.com/seed-f0abd057/rotate/store/fleet"
)

// checkIndex compares what the due index says about apps with their status: who needs a
// person, what is open and due, and that each is in the plan once.
func (w *world) checkIndex(r *rotator.Rotator) {
	w.t.Helper()
	ctx := w.t.Context()
	all, err := r.Status(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	overview, err := r.Overview(ctx, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if overview.Counts != all.Counts {
		w.t.Errorf("the due index counts %+v, the apps are %+v", overview.Counts, all.Counts)
	}
	planned := map[string]int{}
	if err := r.Plan(ctx, func(item rotator.PlanItem) bool { planned[item.App]++; return true }); err != nil {
		w.t.Fatal(err)
	}
	for i := range all.Apps {
		if name := all.Apps[i].App.Name; planned[name] != 1 {
			w.t.Errorf("app %s is in the plan %d times", name, planned[name])
		}
	}
}

// reads counts what is read of apps and rotations.
type reads struct {
	rotator.Store
	records, entries, renewed atomic.Int64
}

func (c *reads) ChangeAll(ctx context.Context, apps []string, change func(string, *rotator.Records) error) error {
	c.renewed.Add(int64(len(apps)))
	return c.Store.ChangeAll(ctx, apps, change)
}

func (c *reads) App(ctx context.Context, name string) (rotator.App, error) {
	c.records.Add(1)
	return c.Store.App(ctx, name)
}

func (c *reads) Apps(ctx context.Context, after string, limit int) ([]rotator.App, error) {
	apps, err := c.Store.Apps(ctx, after, limit)
	c.records.Add(int64(len(apps)))
	return apps, err
}

func (c *reads) Rotation(ctx context.Context, id string) (rotator.Rotation, error) {
	c.records.Add(1)
	return c.Store.Rotation(ctx, id)
}

func (c *reads) Due(ctx context.Context, kind rotator.WakeKind, until time.Time, limit int) ([]rotator.Wake, error) {
	wakes, err := c.Store.Due(ctx, kind, until, limit)
	c.entries.Add(int64(len(wakes)))
	return wakes, err
}

func (c *reads) DueAfter(ctx context.Context, after rotator.Wake, until time.Time, limit int) ([]rotator.Wake, error) {
	wakes, err := c.Store.DueAfter(ctx, after, until, limit)
	c.entries.Add(int64(len(wakes)))
	return wakes, err
}

// fleetOf is a rotator, with a schedule and no tenant, over a store with many apps whose
// due index is built, and what is read of it.
func fleetOf(tb testing.TB, f fleet.Fleet) (*rotator.Rotator, *reads) {
	tb.Helper()
	dir := tb.TempDir()
	o := store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key"), NoSync: true}
	if _, err := store.Init(tb.Context(), store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		tb.Fatal(err)
	}
	db, err := store.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	if err := f.Fill(tb.Context(), db, nil); err != nil {
		tb.Fatal(err)
	}
	count := &reads{Store: db}
	r := &rotator.Rotator{
		Store: count, Entra: nowhere{}, Encoder: encoder{}, Schedule: every(time.Hour), ParseSchedule: parseSchedule,
	}
	if _, err := r.Check(tb.Context(), "test"); err != nil {
		tb.Fatal(err)
	}
	return r, count
}

// nowhere is a cloud that nobody asks.
type nowhere struct{ rotator.Entra }

func (nowhere) Hosts(string) (rotator.Hosts, error) { return rotator.Hosts{}, rotator.ErrNoTenant }

// TestC2OverviewCostsWhatItShows asks for the status, the plan and the first apps of few
// and of many: as many records are read.
func TestC2OverviewCostsWhatItShows(t *testing.T) {
	t.Parallel()
	cost := map[string][]int64{}
	for _, apps := range []int{400, 1_200} {
		r, count := fleetOf(t, fleet.Fleet{Apps: apps, Open: 20, Failing: 7})
		for what, ask := range map[string]func() error{
			"overview": func() error {
				s, err := r.Overview(t.Context(), 100)
				want := rotator.Counts{Apps: apps, Attention: 7, Open: 20}
				if s.Counts != want || len(s.Apps) != 7 || !s.Apps[0].Attention {
					t.Errorf("%d apps: %d shown, counts %+v, want the 7 and %+v", apps, len(s.Apps), s.Counts, want)
				}
				if want := "needs a look: " + fleet.Name(apps-7); len(s.Problems) != 1 || s.Problems[0][:len(want)] != want {
					t.Errorf("problems %q, want that it %s", s.Problems, want)
				}
				return err
			},
			"plan": func() error {
				n := 0
				err := r.Plan(t.Context(), func(rotator.PlanItem) bool { n++; return n < 50 })
				if n != 50 {
					t.Errorf("%d apps are planned, want 50", n)
				}
				return err
			},
			"first apps": func() error {
				n := 0
				err := r.SurveyAfter(t.Context(), fleet.Name(10), 300, func(a *rotator.AppStatus) error {
					if n++; a.App.Name != fleet.Name(10+n) {
						t.Errorf("app %d is %s", n, a.App.Name)
					}
					return nil
				})
				if n != 300 {
					t.Errorf("%d apps, want 300", n)
				}
				return err
			},
		} {
			count.records.Store(0)
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			cost[what] = append(cost[what], count.records.Load())
		}
	}
	for what, n := range cost {
		if n[0] != n[1] {
			t.Errorf("%s: %d records are read with 400 apps, %d with 1,200; want the same", what, n[0], n[1])
		}
	}
}

// TestC2Plan has each app in the plan once, in the order of time.
func TestC2Plan(t *testing.T) {
	t.Parallel()
	r, _ := fleetOf(t, fleet.Fleet{Apps: 300, Open: 40, Failing: 3})
	var at []time.Time
	seen := map[string]bool{}
	err := r.Plan(t.Context(), func(item rotator.PlanItem) bool {
		at = append(at, item.At)
		if seen[item.App] {
			t.Errorf("%s comes twice", item.App)
		}
		seen[item.App] = true
		return true
	})
	if err != nil || len(seen) != 300 {
		t.Errorf("%d apps are planned, %v", len(seen), err)
	}
	if !slices.IsSortedFunc(at, time.Time.Compare) {
		t.Error("the plan is not in the order of time")
	}
}

// TestC4StatusLineWalksNothing makes the line for the service manager with few and with
// many open rotations: no app, no rotation and no entry of the due index is read but those
// that need a person.
func TestC4StatusLineWalksNothing(t *testing.T) {
	t.Parallel()
	r, count := fleetOf(t, fleet.Fleet{Apps: 300, Open: 200})
	if _, err := r.Summary(t.Context()); err != nil { // the first one counts
		t.Fatal(err)
	}
	for i := range 5 {
		count.records.Store(0)
		count.entries.Store(0)
		sum, err := r.Summary(t.Context())
		if err != nil || sum.Open != 200-i || sum.Apps != 300 {
			t.Errorf("%+v, %v; want %d open of 300", sum, err, 200-i)
		}
		if count.records.Load()+count.entries.Load() > 0 {
			t.Errorf("it read %d records and %d entries", count.records.Load(), count.entries.Load())
		}
		err = r.Store.Change(t.Context(), fleet.Name(i), func(rec *rotator.Records) error {
			rec.Rotation.Phase, rec.App.Rotation = rotator.PhaseRetired, ""
			rec.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, At: time.Now().Add(time.Hour), App: fleet.Name(i)}}
			return nil
		})
		if err != nil {
			t.Fatal(fmt.Errorf("end the rotation of an app: %w", err))
		}
	}
}

// TestC5IndexIsRenewedInParts changes the policy of a store whose due index takes longer
// to renew than the loop may wait: a reload does not wait for it, another process goes on
// where the first one was, and meanwhile the status is right.
func TestC5IndexIsRenewedInParts(t *testing.T) {
	t.Parallel()
	const apps = 1_500
	first, count := fleetOf(t, fleet.Fleet{Apps: apps, Failing: 3})
	count.renewed.Store(0)
	began, calls := time.Now(), atomic.Int64{}
	first.Now = func() time.Time { return began.Add(time.Duration(calls.Add(1)) * 300 * time.Millisecond) }
	later := rotator.Settings{Entra: nowhere{}, Schedule: first.Schedule, Defaults: rotator.PolicyOverride{RenewBefore: new(50 * 24 * time.Hour)}}
	if err := first.Reconfigure(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	part := count.renewed.Load()
	if part == 0 || part >= apps {
		t.Fatalf("a reload renewed the entries of %d apps of %d, want some of them", part, apps)
	}
	overview, err := first.Overview(t.Context(), 100)
	if want := (rotator.Counts{Apps: apps, Attention: 3}); err != nil || overview.Counts != want || len(overview.Apps) != 3 {
		t.Errorf("meanwhile %+v with %d apps, %v; want %+v", overview.Counts, len(overview.Apps), err, want)
	}

	second := &rotator.Rotator{
		Store: count, Entra: nowhere{}, Encoder: encoder{}, Defaults: later.Defaults, Schedule: every(time.Hour), ParseSchedule: parseSchedule,
	}
	if _, err := second.Check(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if n := count.renewed.Load(); n != apps {
		t.Errorf("the entries of %d apps were renewed, want each of the %d once", n, apps)
	}
	if state, err := count.State(t.Context()); err != nil || state.Renewal != (rotator.Renewal{}) {
		t.Errorf("it is still renewed: %+v, %v", state.Renewal, err)
	}
	wakes, err := count.Due(t.Context(), rotator.WakeStart, time.Now().Add(400*24*time.Hour), 1)
	if err != nil || len(wakes) != 1 {
		t.Fatal(wakes, err)
	}
	app, err := count.App(t.Context(), wakes[0].App)
	if err != nil {
		t.Fatal(err)
	}
	if before := app.Current.NotAfter.Sub(wakes[0].At); before < 49*24*time.Hour {
		t.Errorf("the first start is %s before the end, want what the new policy says", before)
	}
}

// TestC5LoopGoesOn renews the index in the rounds of the loop, and has a check made after
// it.
func TestC5LoopGoesOn(t *testing.T) {
	t.Parallel()
	r, count := fleetOf(t, fleet.Fleet{Apps: 1_500})
	count.renewed.Store(0)
	var calls atomic.Int64
	checked := make(chan struct{}, 8)
	again := &rotator.Rotator{
		Store: count, Entra: nowhere{}, Encoder: encoder{}, Schedule: every(time.Hour), ParseSchedule: parseSchedule,
		Defaults: rotator.PolicyOverride{RenewBefore: new(50 * 24 * time.Hour)},
		Checked:  func(rotator.CheckReport, error) { checked <- struct{}{} },
	}
	began := r.Now
	if began == nil {
		began = time.Now
	}
	again.Now = func() time.Time { return began().Add(time.Duration(calls.Add(1)) * 300 * time.Millisecond) }
	stop := run(t, again)
	for range 2 {
		select {
		case <-checked:
		case <-time.After(2 * time.Minute): // for ever
			t.Fatal("no check is made after the index was renewed")
		}
	}
	stop()
	if n := count.renewed.Load(); n != 1_500 {
		t.Errorf("the entries of %d apps were renewed, want each of the 1,500 once", n)
	}
}
