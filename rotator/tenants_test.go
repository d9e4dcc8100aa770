package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// slowTenant is an inventory in which one tenant answers when it is let.
type slowTenant struct {
	rotator.Inventory
	name  string
	asked chan struct{}
}

func (s slowTenant) Registered(ctx context.Context, tenant string, each func(rotator.InventoryPage) error) error {
	if tenant != s.name {
		return s.Inventory.Registered(ctx, tenant, each)
	}
	close(s.asked)
	<-ctx.Done()
	return ctx.Err()
}

// A tenant is listed once at a time: another discovery is refused, whoever asks.
func TestS8OneDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		r, closeStore := w.inspector()
		defer closeStore()
		slow := slowTenant{r.Inventory, "contoso", make(chan struct{})}
		r.Inventory = slow
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		discover := func(ctx context.Context) error {
			return r.Discover(ctx, rotator.DiscoverRequest{}, func(rotator.DiscoverStep) error { return nil })
		}
		go func() { ended <- discover(ctx) }()
		<-slow.asked
		if err := discover(t.Context()); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "is being listed already") {
			t.Errorf("a second discovery: %v, want a refusal", err)
		}
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the first discovery: %v", err)
		}
		r.Inventory = slow.Inventory
		if err := discover(t.Context()); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
}

// dueStore has apps of two tenants that are due: those of bad first.
type dueStore struct {
	rotator.Store
	bad int
}

func (s dueStore) Due(_ context.Context, _ rotator.WakeKind, _ time.Time, limit int) ([]rotator.Wake, error) {
	var all []rotator.Wake
	for i := range s.bad {
		all = append(all, rotator.Wake{App: fmt.Sprintf("bad-%d", i)})
	}
	all = append(all, rotator.Wake{App: "good"})
	return all[:min(limit, len(all))], nil
}

func (s dueStore) App(_ context.Context, name string) (rotator.App, error) {
	tenant, _, _ := strings.Cut(name, "-")
	return rotator.App{Name: name, Tenant: tenant}, nil
}

// No tenant holds all workers: a thousand apps of one whose requests never end leave one
// of two workers to the other tenant, and status names the tenant.
func TestS3Workers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &rotator.Rotator{Store: dueStore{bad: 1000}, Schedule: never{}, Workers: 2, Tenants: []string{"bad", "good"}}
		var work sync.WaitGroup
		slots, held, done := make(chan struct{}, 2), make(chan struct{}), make(chan string, 10)
		do := func(app string) {
			if strings.HasPrefix(app, "bad") {
				<-held
			}
			done <- app
		}
		r.Dispatch(t.Context(), &work, slots, do)
		if app := <-done; app != "good" {
			t.Errorf("the first that ended is %s, want good", app)
		}
		synctest.Wait()
		r.Dispatch(t.Context(), &work, slots, do)
		if app := <-done; app != "good" {
			t.Errorf("the second that ended is %s, want good", app)
		}
		time.Sleep(20 * time.Minute)
		if warnings := r.BlockWarnings(); len(warnings) != 1 || !strings.Contains(warnings[0], "tenant bad has had all workers that one tenant may have for 20m") {
			t.Errorf("warnings %q, want one that names bad", warnings)
		}
		close(held)
		work.Wait()
		if warnings := r.BlockWarnings(); len(warnings) != 0 {
			t.Errorf("warnings %q after it", warnings)
		}
	})
}

// never is a schedule that does not come.
type never struct{}

func (never) Next(t time.Time) time.Time { return t.AddDate(100, 0, 0) }

// daily is one that comes each day.
type daily struct{}

func (daily) Next(t time.Time) time.Time { return t.Add(24 * time.Hour) }

// twoHosts knows a second tenant.
type twoHosts struct{ rotator.Entra }

func (e twoHosts) Hosts(string) (rotator.Hosts, error) { return e.Entra.Hosts("contoso") }

// Tenants are inspected side by side, each with a time limit: one that never answers stops
// no other, and its age is in the status and in one alert.
func TestS3Inspections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		r, closeStore := w.inspector()
		defer closeStore()
		good := r.Inventory
		r.Entra, r.Tenants, r.InspectSchedule = twoHosts{r.Entra}, []string{"bad", "contoso"}, daily{}
		r.Inventory = both{good}
		inspect(t, r)
		w.told(r)
		at := func(tenant string) time.Time {
			t.Helper()
			known, err := r.Store.Tenant(t.Context(), tenant)
			if err != nil {
				t.Fatal(err)
			}
			return known.Inspection.At
		}
		first := at("bad")
		if first.IsZero() {
			t.Fatal("the first inspection of bad did not work")
		}
		for day := range 4 {
			time.Sleep(24 * time.Hour)
			begun := time.Now()
			r.Inventory = slowTenant{good, "bad", make(chan struct{})}
			if err := r.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "tenant bad: it was not read to its end within 4h") {
				t.Errorf("day %d: %v, want that bad was not read", day, err)
			}
			if when := at("contoso"); when.Before(begun.Add(-time.Second)) || at("bad") != first {
				t.Errorf("day %d: contoso was inspected at %s, bad at %s; want %s and %s", day, when, at("bad"), begun, first)
			}
		}
		w.wantTold(r, "inspection_overdue warning  tenant bad was last inspected on ")
		status, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(status.Warnings, "\n"); !strings.Contains(all, "tenant bad was last inspected on "+first.Format("2006-01-02 15:04 MST")) {
			t.Errorf("warnings of the status: %s", all)
		}
		r.Inventory = both{good}
		inspect(t, r)
		w.wantTold(r, "recovered info  tenant bad is inspected again")
	})
}

// both answers for a second tenant, which holds nothing.
type both struct{ rotator.Inventory }

func (b both) Registered(ctx context.Context, tenant string, each func(rotator.InventoryPage) error) error {
	if tenant == "bad" {
		return nil
	}
	return b.Inventory.Registered(ctx, tenant, each)
}
