package rotator_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// TestP9HostClockJumps sets the host's clock while the tenant's goes on: nothing
// starts unasked, nothing is PATCHed, nothing is removed, and what a person asks for
// has dates by Entra's time. With the clock right again all goes on by itself.
func TestP9HostClockJumps(t *testing.T) {
	const ahead, behind = 40 * 24 * time.Hour, -400 * 24 * time.Hour
	for _, mode := range []rotator.Mode{rotator.ModeManaged, rotator.ModeSelf} {
		for _, jump := range []time.Duration{ahead, behind} {
			bubble(t, fmt.Sprintf("%s by %s", mode, jump), options{mode: mode, apps: 3, left: 30 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
				t := w.t
				var off atomic.Int64
				r.Now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
				off.Store(int64(jump))
				stop := run(t, r)
				time.Sleep(3 * time.Hour)
				for _, one := range w.apps {
					app, err := r.Store.App(t.Context(), one.name)
					if err != nil {
						t.Fatal(err)
					}
					if app.LastRotation != "" {
						t.Errorf("%s: rotation %s started unasked while the clock was %s off", one.name, app.LastRotation, jump)
					}
				}
				made, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "test")
				if err != nil {
					t.Fatal(err)
				}
				if left := time.Until(made.New.NotAfter); left < 364*24*time.Hour || left > 366*24*time.Hour {
					t.Errorf("the new certificate ends in %s by Entra's time, want a year", left)
				}
				time.Sleep(3 * time.Hour)
				rot, err := r.Store.Rotation(t.Context(), made.ID)
				if err != nil {
					t.Fatal(err)
				}
				if rot.Upload.Way != rotator.WayAddKey {
					t.Errorf("sent by %q, want %q: a pair of ours can sign by Entra's time", rot.Upload.Way, rotator.WayAddKey)
				}
				if n := len(w.tenant.KeyCredentials(w.apps[0].clientID)); n != 3 {
					t.Errorf("%d certificates on the app, want 3: nothing is removed while the clocks differ", n)
				}
				off.Store(0)
				for _, one := range w.apps {
					await(t, r, one.name, 3*24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				}
				stop()
				w.checkTenantWith(r)
			})
		}
	}
}
