package rotator_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

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
