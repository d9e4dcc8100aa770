package emulator_test

import (
	"testing"

	"github.com/seed-f0abd057/rotate/emulator"
)

// FuzzGraphBody sends arbitrary bodies to everything that takes one. Nothing may
// panic, every answer is in form, and what is refused changes nothing.
func FuzzGraphBody(f *testing.F) {
	tenant := &emulator.Tenant{}
	p := fresh(f, 0)
	app := addApp(f, tenant, emulator.Application{}, p)
	c := newClient(f, tenant).as(addAdmin(f, tenant, "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"))
	paths := []struct{ method, path string }{
		{"PATCH", "applications/" + app.ObjectID},
		{"POST", "applications"},
		{"POST", "servicePrincipals"},
		{"POST", "applications/" + app.ObjectID + "/addKey"},
		{"POST", "applications/" + app.ObjectID + "/removeKey"},
		{"POST", "applications/" + app.ObjectID + "/addPassword"},
		{"POST", "applications/" + app.ObjectID + "/owners/$ref"},
		{"POST", "servicePrincipals/" + app.ServicePrincipalID + "/appRoleAssignedTo"},
	}
	for i := range paths {
		f.Add(i, []byte(`{"keyCredentials":[{"keyId":"7ab1d382-f21e-4acd-a863-ba3e13f7da61","key":"eA==","type":"AsymmetricX509Cert","usage":"Verify","endDateTime":"2026-01-01T00:00:00Z"}],"passwordCredentials":[null]}`))
		f.Add(i, []byte(`{"keyCredential":{"key":null},"proof":"a.b.c","keyId":"7ab1d382-f21e-4acd-a863-ba3e13f7da61","@odata.id":"x/"}`))
	}
	f.Fuzz(func(t *testing.T, i int, body []byte) {
		to := paths[uint(i)%uint(len(paths))]
		c := *c
		c.tb = t
		before, _ := tenant.Application(app.ClientID)
		a := c.send(to.method, "/v1.0/"+to.path, "application/json", body)
		after, _ := tenant.Application(app.ClientID)
		if a.status >= 300 && (len(before.KeyCredentials) != len(after.KeyCredentials) || before.Name != after.Name) {
			t.Errorf("%s %s: %d, but the app changed", to.method, to.path, a.status)
		}
	})
}

// FuzzToken sends arbitrary forms and assertions to the token endpoint.
func FuzzToken(f *testing.F) {
	tenant := &emulator.Tenant{}
	p := fresh(f, 0)
	app := addApp(f, tenant, emulator.Application{}, p)
	c := newClient(f, tenant)
	f.Add("grant_type=client_credentials&client_id="+app.ClientID, "a.b.c")
	f.Add("scope=%zz", "eyJhbGciOiJSUzI1NiIsIng1dCI6MX0.e30.")
	f.Fuzz(func(t *testing.T, form, assertion string) {
		c := *c
		c.tb = t
		if a := c.send("POST", "/"+tenant.TenantID()+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", []byte(form)); a.status == 200 {
			t.Errorf("a token for %q", form)
		}
		if a := c.assertionToken(app.ClientID, assertion); a.status == 200 {
			t.Errorf("a token for the assertion %q", assertion)
		}
	})
}
