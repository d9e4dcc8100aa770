package rotator_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// stuckSchedule holds the loop up while it is stuck.
type stuckSchedule struct {
	rotator.Schedule
	stuck   atomic.Bool
	release chan struct{}
}

func (s *stuckSchedule) Next(t time.Time) time.Time {
	if s.stuck.Load() {
		<-s.release
	}
	return s.Schedule.Next(t)
}

// stuckStore does not answer while it is stuck.
type stuckStore struct {
	rotator.Store
	stuck   atomic.Bool
	release chan struct{}
}

func (s *stuckStore) State(ctx context.Context) (rotator.State, error) {
	if s.stuck.Load() {
		select {
		case <-s.release: // the loop may have asked, too, and goes on
		case <-ctx.Done():
			return rotator.State{}, ctx.Err()
		}
	}
	return s.Store.State(ctx)
}

// TestAlive tells a loop and a store that hang from those that have nothing to do.
func TestAlive(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{left: 300 * 24 * time.Hour})
		schedule := &stuckSchedule{Schedule: every(time.Hour), release: make(chan struct{})}
		db := &stuckStore{release: make(chan struct{})}
		w.wrap = func(r *rotator.Rotator) { db.Store, r.Store, r.Schedule = r.Store, db, schedule }
		r, closeStore := w.rotator()
		stop := run(t, r)
		want := func(when, says string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			err := r.Alive(ctx)
			if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
				t.Errorf("%s: %v, want %q", when, err, says)
			}
		}
		time.Sleep(10 * time.Hour)
		want("nothing to do", "")
		db.stuck.Store(true)
		want("a store that hangs", "the store does not answer")
		db.stuck.Store(false)
		close(db.release)
		want("a store that answers again", "")
		schedule.stuck.Store(true)
		time.Sleep(2 * time.Hour)
		want("a loop that hangs", "the loop has done nothing for ")
		schedule.stuck.Store(false)
		close(schedule.release)
		time.Sleep(time.Minute)
		want("a loop that goes on", "")
		stop()
		closeStore()
	})
}
