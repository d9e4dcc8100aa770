package rotator_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestL10 looks at a tenant whose lists contain no certificate: ours under another
// KeyID is known by its certificate, and a foreign one that claims to be ours is not.
func TestL10(t *testing.T) {
	for name, o := range map[string]options{"managed": {mode: rotator.ModeManaged}, "self": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o.left = 100 * 24 * time.Hour
				w := newWorld(t, o)
				r, closeStore := w.inspector()
				defer closeStore()
				inspect(t, r)
				w.wantTold(r)

				one := w.apps[0]
				var ours emulator.KeyCredential
				for _, k := range w.tenant.KeyCredentials(one.clientID) {
					if k.KeyID == one.keyID {
						ours = k
					}
				}
				if err := w.tenant.RemoveKeyCredential(one.clientID, one.keyID); err != nil {
					t.Fatal(err)
				}
				again := ours
				again.KeyID = ""
				if _, err := w.tenant.AddKeyCredential(one.clientID, again); err != nil {
					t.Fatal(err)
				}
				inspect(t, r)
				w.wantTold(r)

				id, err := w.tenant.AddKeyCredential(one.clientID, emulator.KeyCredential{
					DisplayName: "evil", CustomKeyIdentifier: ours.CustomKeyIdentifier,
					Certificate: certificate(t, keys()[2], "evil", time.Now().Add(-time.Hour), time.Now().Add(300*24*time.Hour)),
				})
				if err != nil {
					t.Fatal(err)
				}
				inspect(t, r)
				w.wantTold(r, `foreign_credential warning  app app-1: a credential that rotate did not make appeared on it: certificate `+id+` ("evil")`)
			})
		})
	}
}
