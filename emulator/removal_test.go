package emulator_test

import (
	"testing"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestL3RemovalsThatFail refuses the removal of an entry that is there as if it were
// not, then accepts it without effect, then carries it out.
func TestL3RemovalsThatFail(t *testing.T) {
	tenant := newTenant(t)
	old, next := fresh(t, 0), fresh(t, 1)
	app := addApp(t, tenant, emulator.Application{}, old, next)
	admin := addAdmin(t, tenant, "Application.ReadWrite.All")
	c := newClient(t, tenant).as(admin)
	tenant.Configure(func(t *emulator.Tenant) { t.RemoveNotFound, t.RemoveAgain = 2, 1 })
	for i, want := range []struct {
		status, left int
		message      string
	}{
		{400, 2, "No credentials found to be removed."},
		{400, 2, "No credentials found to be removed."},
		{204, 2, ""},
		{204, 1, ""},
		{400, 1, "No credentials found to be removed."},
	} {
		a := c.call("POST", "applications/"+app.ObjectID+"/removeKey",
			map[string]any{"keyId": app.KeyCredentials[0].KeyID, "proof": next.proof(t, app.ObjectID)})
		if left := len(tenant.KeyCredentials(app.ClientID)); a.status != want.status || left != want.left || want.message != "" && a.message() != want.message {
			t.Errorf("removal %d: %d %s, %d entries left; want %d and %d", i+1, a.status, a.raw, left, want.status, want.left)
		}
	}
	tenant.Configure(func(t *emulator.Tenant) { t.RemoveNotFound, t.RemoveAgain, t.RemoveNotFoundPercent = 0, 0, 100 })
	if a := c.call("POST", "applications/"+app.ObjectID+"/removeKey",
		map[string]any{"keyId": app.KeyCredentials[1].KeyID, "proof": next.proof(t, app.ObjectID)}); a.status == 204 {
		t.Errorf("with 100 percent: %d", a.status)
	}
}
