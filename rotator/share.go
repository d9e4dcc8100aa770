package rotator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// shares keep one tenant from holding all workers: one that answers slowly, or not at
// all, delays its own apps. The zero value is ready; it is safe for concurrent use.
type shares struct {
	mu sync.Mutex
	// held counts the workers of each tenant; full is since when it has had all that
	// it may have.
	held map[string]int       // guarded by mu
	full map[string]time.Time // guarded by mu
	// tenants of the apps that wait for a worker, by name.
	tenants map[string]string // guarded by mu
}

// blockedAfter is how long a tenant may have all the workers that it may have before
// status names it.
const blockedAfter = 10 * time.Minute

// shareOf is how many of the workers one tenant may have.
func (r *Rotator) shareOf(workers int) int {
	if workers > 1 && len(r.settings().Tenants) > 1 {
		return workers - 1
	}
	return workers
}

// takeShare takes a worker for an app's tenant; false: the tenant has its share. leave
// gives it back.
func (r *Rotator) takeShare(ctx context.Context, app string, workers int) (leave func(), ok bool) {
	s := &r.shares
	most := r.shareOf(workers)
	if most == workers {
		return func() {}, true
	}
	tenant, err := r.tenantOf(ctx, app)
	if err != nil {
		return func() {}, true // whoever works on it says more
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[tenant] >= most {
		return nil, false
	}
	if s.held == nil {
		s.held, s.full = map[string]int{}, map[string]time.Time{}
	}
	delete(s.tenants, app)
	if s.held[tenant]++; s.held[tenant] == most {
		s.full[tenant] = r.now()
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.full, tenant)
		if s.held[tenant]--; s.held[tenant] == 0 {
			delete(s.held, tenant)
		}
	}, true
}

// tenantOf remembers the tenant of an app until it gets a worker: the loop passes those
// that wait again and again.
func (r *Rotator) tenantOf(ctx context.Context, app string) (string, error) {
	s := &r.shares
	s.mu.Lock()
	tenant, ok := s.tenants[app]
	s.mu.Unlock()
	if ok {
		return tenant, nil
	}
	found, err := r.Store.App(ctx, app)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tenants == nil {
		s.tenants = map[string]string{}
	}
	s.tenants[app] = found.Tenant
	return found.Tenant, nil
}

// blockWarnings name tenants that have had all workers that they may have for long.
func (r *Rotator) blockWarnings() []string {
	if len(r.settings().Tenants) < 2 {
		return nil
	}
	s := &r.shares
	s.mu.Lock()
	defer s.mu.Unlock()
	var warnings []string
	for tenant, since := range s.full {
		if held := r.now().Sub(since); held >= blockedAfter {
			warnings = append(warnings, fmt.Sprintf("tenant %s has had all workers that one tenant may have for %s: its requests take long, and its other apps wait; other tenants use the rest", tenant, held.Round(time.Minute)))
		}
	}
	slices.Sort(warnings)
	return warnings
}
