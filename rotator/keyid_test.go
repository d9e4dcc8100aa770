package rotator_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestL1KeyIDOfPatch adds first certificates, where only PATCH can: with a KeyID of
// ours, and where the tenant refuses that, once more at once without. The tenant's
// record keeps it, so that the next app is not refused.
func TestL1KeyIDOfPatch(t *testing.T) {
	for name, refuses := range map[string]bool{"kept": false, "refused": true} {
		bubble(t, name, options{mode: rotator.ModeManaged, noKey: true, apps: 2}, func(w *world, r *rotator.Rotator) {
			t := w.t
			var with, without atomic.Int32
			w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
				if q.Method != http.MethodPatch || !strings.HasPrefix(q.Path, "/v1.0/applications") {
					return nil
				}
				// The entry of somebody else goes back with its own; ours is the last.
				last := q.Body[bytes.LastIndexByte(q.Body, '{'):]
				if !bytes.Contains(last, []byte(`"keyId"`)) {
					without.Add(1)
					return nil
				}
				with.Add(1)
				if refuses {
					return &emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: "KeyId value must be null."}
				}
				return nil
			}
			r.Workers = 1 // one after the other: the second app learns from the first
			stop := run(t, r)
			for _, one := range w.apps {
				s := await(t, r, one.name, 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				if s.App.Current.KeyID == "" || !s.Rotation.PhaseAt[rotator.PhaseUploaded].Before(s.Rotation.StartedAt.Add(time.Hour)) {
					t.Errorf("%s: KeyID %q, uploaded %s after the start", one.name, s.App.Current.KeyID, s.Rotation.PhaseAt[rotator.PhaseUploaded].Sub(s.Rotation.StartedAt))
				}
			}
			stop()
			known, err := r.Store.Tenant(t.Context(), "contoso")
			if err != nil || known.PatchChoosesKeyID != refuses {
				t.Errorf("tenant record %+v, %v; want refused %v", known, err, refuses)
			}
			if refuses && (with.Load() != 1 || without.Load() != 2) || !refuses && (with.Load() != 2 || without.Load() != 0) {
				t.Errorf("%d PATCH requests with a KeyID of ours, %d without", with.Load(), without.Load())
			}
			w.checkTenantWith(r)
		})
	}
}

// TestL1AddKeyCarriesNoKeyID rotates an app whose list cannot be read: the answer is
// the only source of the KeyID.
func TestL1AddKeyCarriesNoKeyID(t *testing.T) {
	bubble(t, "self", options{permissions: []string{}}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		if s.App.Current.KeyID == "" || s.App.Current.RequestedKeyID != "" || !w.lists(string(s.App.Current.KeyID)) {
			t.Errorf("KeyID %q, requested %q; want the one that the tenant chose", s.App.Current.KeyID, s.App.Current.RequestedKeyID)
		}
		w.checkTenantWith(r)
	})
}
