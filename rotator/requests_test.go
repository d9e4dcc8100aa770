package rotator_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestRequestsPerRotation(t *testing.T) {
	keys()
	for name, o := range map[string]options{
		"self":            {},
		"self unreadable": {permissions: []string{}},
		"managed":         {mode: rotator.ModeManaged},
	} {
		o.defaults = fast()
		o.defaults.Prove = &rotator.ProvePolicy{Successes: 3, Spacing: time.Second, Within: 10 * time.Minute}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, o)
				w.schedule = every(1000 * time.Hour)
				r, closeStore := w.rotator()
				var got []string
				w.tenant.Configure(func(tenant *emulator.Tenant) {
					tenant.Log = func(e emulator.Entry) {
						app, err := r.Store.App(t.Context(), "app-1")
						if err != nil {
							t.Error(err)
						}
						phase := "none"
						if app.LastRotation != "" {
							rot, _ := r.Store.Rotation(t.Context(), app.LastRotation)
							phase = string(rot.Phase)
						}
						who := "app"
						if e.ClientID == w.admin.ClientID {
							who = "admin"
						}
						path := strings.ReplaceAll(e.Path, w.apps[0].objectID, "ID")
						got = append(got, fmt.Sprintf("%-10s %-5s %s %s %s %d", phase, who, e.Method, path, e.Query, e.Status))
					}
				})
				stop := run(t, r)
				await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				stop()
				closeStore()
				w.checkTenant()
				t.Logf("%d\n%s", len(got), strings.Join(got, "\n"))
			})
		})
	}
}
