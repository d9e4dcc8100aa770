package rotator_test

import (
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// TestRotation rotates an app from the schedule's tick to the removed
// certificate, in both modes, and then once more from the first one's result.
func TestRotation(t *testing.T) {
	keys()
	for name, o := range map[string]options{
		"self":            {},
		"self unreadable": {permissions: []string{}},
		"managed":         {mode: rotator.ModeManaged},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, o)
				r, closeStore := w.rotator()
				stop := run(t, r)
				first := await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				if first.App.Current.ThumbprintSHA256 == w.apps[0].first {
					t.Error("the current certificate is still the adopted one")
				}
				if first.App.Current.KeyID == "" {
					t.Error("the KeyID of the new certificate is not known")
				}
				rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "test")
				if err != nil {
					t.Fatal(err)
				}
				second := await(t, r, "app-1", 3*time.Hour, "retired again", func(s rotator.AppStatus) bool {
					return s.Rotation.ID == rot.ID && s.Phase == rotator.PhaseRetired
				})
				if second.App.Previous.KeyID != first.App.Current.KeyID {
					t.Errorf("previous is %s, want %s", second.App.Previous.KeyID, first.App.Current.KeyID)
				}
				stop()
				closeStore()
				w.checkTenant()
				for _, e := range w.tenant.Requests() {
					if e.Method == http.MethodPatch {
						t.Errorf("PATCH %s although a valid key of ours could sign a proof", e.Path)
					}
				}
				if t.Failed() {
					os.Stderr.WriteString(w.logs.String())
				}
			})
		})
	}
}
