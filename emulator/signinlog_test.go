package emulator_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
)

// signIns asks for the log of sign-ins.
func (c *client) signIns(filter string) answer {
	c.tb.Helper()
	return c.send("GET", "/beta/auditLogs/signIns?"+url.Values{"$filter": {filter}}.Encode(), "", nil)
}

const ofPrincipals = "signInEventTypes/any(t:t eq 'servicePrincipal')"

func TestSignInLog(t *testing.T) {
	tenant := newTenant(t)
	old, next := fresh(t, 0), fresh(t, 1)
	app := addApp(t, tenant, emulator.Application{}, old, next)
	anonymous := newClient(t, tenant)
	admin := anonymous.as(addAdmin(t, tenant, "AuditLog.Read.All"))
	plain := anonymous.as(addApp(t, tenant, emulator.Application{Name: "plain", Permissions: []string{"Directory.Read.All"}}))

	anonymous.header.Set("client-request-id", "aaaaaaaa-0000-4000-8000-000000000001")
	first := anonymous.assertionToken(app.ClientID, old.assertion(t, tenant, app.ClientID))
	anonymous.assertionToken(app.ClientID, next.assertion(t, tenant, app.ClientID))
	anonymous.assertionToken(app.ClientID, fresh(t, 2).assertion(t, tenant, app.ClientID)) // refused
	mine := ofPrincipals + " and appId eq '" + app.ClientID + "'"
	byOld := mine + " and servicePrincipalCredentialKeyId eq '" + app.KeyCredentials[0].KeyID + "'"

	if a := plain.signIns(mine); a.status != 403 || a.code() != "Authorization_RequestDenied" {
		t.Errorf("without AuditLog.Read.All: %d %s", a.status, a.raw)
	}
	got := admin.signIns(byOld).values()
	if len(got) != 1 || got[0]["id"] != first.header.Get("request-id") || got[0]["correlationId"] != "aaaaaaaa-0000-4000-8000-000000000001" ||
		got[0]["servicePrincipalCredentialKeyId"] != app.KeyCredentials[0].KeyID || got[0]["servicePrincipalCredentialThumbprint"] != old.sha1Hex() {
		t.Errorf("sign-ins with the old key: %v", got)
	}
	all := admin.signIns(mine).values()
	if len(all) != 3 {
		t.Fatalf("%d sign-ins, want 3: %v", len(all), all)
	}
	refused, _ := all[0]["status"].(map[string]any)
	if refused["errorCode"] != 700027.0 || all[0]["servicePrincipalCredentialKeyId"] != nil {
		t.Errorf("a refused sign-in names no key: %v", all[0])
	}
	if n := len(admin.signIns("appId eq '" + app.ClientID + "'").values()); n != 0 {
		t.Errorf("without signInEventTypes only users are listed, got %d", n)
	}
	if n := len(admin.signIns(mine + " and createdDateTime ge " + time.Now().Add(time.Hour).UTC().Format(time.RFC3339)).values()); n != 0 {
		t.Errorf("%d sign-ins of the future", n)
	}
	for _, wrong := range []string{"appId ne 'x'", "createdDateTime ge '2026-01-01T00:00:00Z'", "nothing eq 'x'", "signInEventTypes/any(t:x eq 'servicePrincipal')"} {
		if a := admin.signIns(wrong); a.status != 400 {
			t.Errorf("%s: %d, want 400", wrong, a.status)
		}
	}

	page := admin.send("GET", "/beta/auditLogs/signIns?"+url.Values{"$filter": {mine}, "$top": {"2"}}.Encode(), "", nil)
	link, err := url.Parse(page.text("@odata.nextLink"))
	if err != nil || len(page.values()) != 2 || link.Path == "" {
		t.Fatalf("first page: %s", page.raw)
	}
	if rest := admin.send("GET", link.RequestURI(), "", nil); len(rest.values()) != 1 || rest.text("@odata.nextLink") != "" {
		t.Errorf("second page: %s", rest.raw)
	}

	tenant.Configure(func(t *emulator.Tenant) { t.SignInDelay = time.Hour })
	if n := len(admin.signIns(mine).values()); n != 0 {
		t.Errorf("%d sign-ins before the log took them in", n)
	}
	tenant.Configure(func(t *emulator.Tenant) { t.SignInDelay, t.NoPremium = 0, true })
	if a := admin.signIns(mine); a.status != 403 || a.code() != "Authentication_RequestFromNonPremiumTenantOrB2CTenant" {
		t.Errorf("without a licence: %d %s", a.status, a.raw)
	}
}
