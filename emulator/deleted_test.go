package emulator_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestDeletedItems deletes an app with its service principal and brings both back, with
// the certificate that they had.
func TestDeletedItems(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t)
		p := fresh(t, 0)
		app := addApp(t, tenant, emulator.Application{Permissions: []string{"User.Read.All"}}, p)
		admin := addAdmin(t, tenant, "Application.ReadWrite.All")
		c := newClient(t, tenant).as(admin)
		signsIn := func() bool { return c.assertionToken(app.ClientID, p.assertion(t, tenant, app.ClientID)).status == 200 }
		if !signsIn() {
			t.Fatal("the app gets no token")
		}
		c.want(204, "DELETE", "applications(appId='"+app.ClientID+"')", nil)
		c.want(404, "GET", "applications/"+app.ObjectID, nil)
		c.want(404, "GET", "servicePrincipals(appId='"+app.ClientID+"')", nil)
		if signsIn() {
			t.Error("a deleted app gets a token")
		}
		deleted := c.want(200, "GET", "directory/deletedItems/microsoft.graph.application?$select=id,deletedDateTime", nil).values()
		if len(deleted) != 1 || deleted[0]["id"] != app.ObjectID || deleted[0]["deletedDateTime"] == nil {
			t.Errorf("deleted: %v", deleted)
		}
		c.want(200, "POST", "directory/deletedItems/"+app.ObjectID+"/restore", map[string]any{})
		if signsIn() {
			t.Error("an app without its service principal gets a token")
		}
		if a := c.want(200, "POST", "directory/deletedItems/"+app.ServicePrincipalID+"/restore", nil); a.text("@odata.type") != "#microsoft.graph.servicePrincipal" {
			t.Errorf("restored: %s", a.raw)
		}
		if !signsIn() {
			t.Error("the restored app gets no token")
		}
		got, err := tenant.Application(app.ClientID)
		if err != nil || len(got.Permissions) != 0 || got.ObjectID != app.ObjectID {
			t.Errorf("restored: %+v, %v; want no permissions", got, err)
		}
		c.want(204, "PATCH", "servicePrincipals(appId='"+app.ClientID+"')", map[string]any{"notes": "x"})

		// A second service principal of the app keeps the first from coming back.
		c.want(204, "DELETE", "servicePrincipals/"+app.ServicePrincipalID, nil)
		c.want(201, "POST", "servicePrincipals", map[string]any{"appId": app.ClientID})
		c.want(409, "POST", "directory/deletedItems/"+app.ServicePrincipalID+"/restore", nil)

		time.Sleep(30 * 24 * time.Hour)
		c = c.as(admin)
		c.want(404, "POST", "directory/deletedItems/"+app.ServicePrincipalID+"/restore", nil)
	})
}

// TestOwners binds users and service principals.
func TestOwners(t *testing.T) {
	tenant := newTenant(t)
	admin := addAdmin(t, tenant, "Application.ReadWrite.All", "User.Read.All")
	c := newClient(t, tenant).as(admin)
	user, _ := c.want(200, "GET", "users?$top=1", nil).values()[0]["id"].(string)
	made := c.want(201, "POST", "applications", map[string]any{"displayName": "x", "owners@odata.bind": []any{
		"https://graph.microsoft.com/v1.0/users/" + user, "https://graph.microsoft.com/v1.0/" + tenant.TenantID() + "/directoryObjects/" + admin.ServicePrincipalID,
	}})
	owners := c.want(200, "GET", "applications/"+made.text("id")+"/owners?$select=id", nil).values()
	if len(owners) != 2 || owners[0]["id"] != admin.ServicePrincipalID || owners[1]["id"] != user || owners[1]["@odata.type"] != "#microsoft.graph.user" {
		t.Errorf("owners: %v", owners)
	}
	for _, bad := range []any{"x", []any{"x"}, []any{"https://graph.microsoft.com/v1.0/groups/" + user}, []any{1}} {
		c.want(400, "POST", "applications", map[string]any{"displayName": "x", "owners@odata.bind": bad})
	}
	c.want(404, "POST", "applications", map[string]any{"displayName": "x", "owners@odata.bind": []any{
		"https://graph.microsoft.com/v1.0/directoryObjects/7ab1d382-f21e-4acd-a863-ba3e13f7da61",
	}})
	c.want(400, "GET", "me", nil)
}
