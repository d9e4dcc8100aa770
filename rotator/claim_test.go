package rotator_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// slowStore reads one app slowly, once, after it was asked to.
type slowStore struct {
	rotator.Store
	slow atomic.Bool
}

func (s *slowStore) App(ctx context.Context, name string) (rotator.App, error) {
	if s.slow.CompareAndSwap(true, false) {
		time.Sleep(10 * time.Second)
	}
	return s.Store.App(ctx, name)
}

// TestClaimedWhenDue has a person's request hold the app at the moment when its
// rotation must go on: it goes on when the request ends, not at the next look.
func TestClaimedWhenDue(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		s := &slowStore{}
		w.wrap = func(r *rotator.Rotator) { s.Store, r.Store = r.Store, s }
		r, closeStore := w.rotator()
		stop := run(t, r)
		waits := await(t, r, "app-1", 3*time.Hour, "in its overlap", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingOverlap })
		retiresAt := waits.Rotation.RetiresAt
		time.Sleep(time.Until(retiresAt.Add(-5 * time.Second)))
		s.slow.Store(true)
		if _, err := r.Confirm(t.Context(), "app-1", string(waits.Rotation.New.ThumbprintSHA256)[:8], "", "test"); err != nil {
			t.Fatal(err)
		}
		if time.Now().Before(retiresAt) {
			t.Fatal("the request did not hold the app long enough")
		}
		ended := await(t, r, "app-1", time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if late := ended.Rotation.EndedAt.Sub(retiresAt); late > 10*time.Second {
			t.Errorf("it went on %s after it was due, %s after the request ended", late, late-5*time.Second)
		}
		stop()
		closeStore()
		w.checkTenant()
	})
}
