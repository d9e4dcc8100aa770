package rotator_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// fullStore refuses to record that the removal of a certificate was sent, while it is full.
type fullStore struct {
	rotator.Store
	full atomic.Bool
}

var errFull = errors.New("no space left on device")

func (s *fullStore) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	return s.Store.Change(ctx, app, func(rec *rotator.Records) error {
		if err := change(rec); err != nil {
			return err
		}
		for _, line := range rec.Audit {
			if s.full.Load() && line.What == "certificate removal sent" {
				return errFull
			}
		}
		return nil
	})
}

// TestRest has a disk that fills between a removal and its record: Entra is asked
// less and less often, and a person who asks is served at once.
func TestRest(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		s := &fullStore{}
		s.full.Store(true)
		w.wrap = func(r *rotator.Rotator) { s.Store, r.Store = r.Store, s }
		var removals atomic.Int32
		watch := w.tenant.Intercept
		w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
			if q.Method == http.MethodPost && strings.HasSuffix(q.Path, "/removeKey") {
				removals.Add(1)
			}
			return watch(q)
		}
		r, closeStore := w.rotator()
		stop := run(t, r)
		waits := await(t, r, "app-1", 3*time.Hour, "in its overlap", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingOverlap })
		time.Sleep(time.Until(waits.Rotation.RetiresAt.Add(time.Hour)))
		if n := removals.Load(); n < 30 || n > 75 {
			t.Errorf("%d removals sent in an hour that nothing could be recorded, want about one a minute", n)
		}
		s.full.Store(false)
		before := time.Now()
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "test"); err != nil && !errors.Is(err, rotator.ErrRotating) {
			t.Fatal(err)
		}
		await(t, r, "app-1", time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if took := time.Since(before); took > 15*time.Second {
			t.Errorf("it went on %s after a person asked", took)
		}
		stop()
		closeStore()
		w.checkTenant()
	})
}
