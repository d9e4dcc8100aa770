package emulator_test

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

// cli is the client ID of the Azure CLI.
const cli = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// withUsers returns a tenant with a Global Administrator and a member.
func withUsers(t *testing.T) (*emulator.Tenant, *client) {
	t.Helper()
	tenant := newTenant(t)
	tenant.Users = []emulator.User{
		{Name: "admin@contoso.example", Roles: []string{emulator.GlobalAdministrator}},
		{Name: "member@contoso.example"},
	}
	return tenant, newClient(t, tenant)
}

// post sends a form to the login host.
func (c *client) post(path string, form url.Values) answer {
	c.tb.Helper()
	return c.send(http.MethodPost, path, "application/x-www-form-urlencoded", []byte(form.Encode()))
}

// deviceToken signs a user in with a device code.
func (c *client) deviceToken(user, scope string) answer {
	c.tb.Helper()
	d := c.post("/organizations/oauth2/v2.0/devicecode", url.Values{"client_id": {cli}, "scope": {scope}})
	if a := c.send(http.MethodGet, "/common/oauth2/deviceauth?login_hint="+url.QueryEscape(user)+"&otc="+d.text("user_code"), "", nil); a.status != 200 {
		c.tb.Fatalf("enter the code: %d %s", a.status, a.raw)
	}
	return c.post("/organizations/oauth2/v2.0/token", url.Values{
		"client_id": {cli}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d.text("device_code")},
	})
}

func claimsOf(t *testing.T, token string) jwt.MapClaims {
	t.Helper()
	var m jwt.MapClaims
	if _, _, err := jwt.NewParser().ParseUnverified(token, &m); err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	return m
}

// TestDeviceCode walks a device code from pending to used and expired.
func TestDeviceCode(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		tenant, c := withUsers(t)
		ask := url.Values{"client_id": {cli}, "scope": {"https://graph.microsoft.com//.default openid offline_access profile"}}
		d := c.post("/"+tenant.TenantID()+"/oauth2/v2.0/devicecode", ask)
		if d.status != 200 || d.text("verification_uri") == "" || !strings.Contains(d.text("message"), d.text("user_code")) || d.body["expires_in"] != 900.0 || d.body["interval"] != 5.0 {
			t.Fatalf("device code: %d %s", d.status, d.raw)
		}
		poll := func(code string) answer {
			return c.post("/"+tenant.TenantID()+"/oauth2/v2.0/token", url.Values{
				"client_id": {cli}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code},
			})
		}
		refused := func(what string, a answer, err string, number int) {
			t.Helper()
			if a.status != 400 || a.text("error") != err || a.number() != number {
				t.Errorf("%s: got %d %s, want 400 %s %d", what, a.status, a.raw, err, number)
			}
		}
		refused("before a user entered it", poll(d.text("device_code")), "authorization_pending", 70016)
		refused("another code", poll("x"), "bad_verification_code", 70018)
		if a := c.send("GET", "/common/oauth2/deviceauth?otc=WRONG", "", nil); a.status != 400 {
			t.Errorf("a wrong user code: %d %s", a.status, a.raw)
		}
		if a := c.send("GET", "/common/oauth2/deviceauth?otc="+d.text("user_code"), "", nil); a.status != 200 {
			t.Errorf("the user code: %d %s", a.status, a.raw)
		}
		got := poll(d.text("device_code"))
		m := claimsOf(t, got.text("access_token"))
		scopes, _ := m["scp"].(string)
		if got.status != 200 || m["aud"] != "https://graph.microsoft.com" || m["idtyp"] != "user" || m["upn"] != "admin@contoso.example" ||
			!strings.Contains(scopes, "Application.ReadWrite.All") || m["roles"] != nil {
			t.Errorf("token: %d %v", got.status, m)
		}
		refused("twice", poll(d.text("device_code")), "bad_verification_code", 70018)
		late := c.post("/common/oauth2/v2.0/devicecode", ask)
		time.Sleep(15 * time.Minute)
		refused("too late", poll(late.text("device_code")), "expired_token", 70020)
	})
}

// TestDelegated signs an administrator and a member in and lets each do what their
// roles allow.
func TestDelegated(t *testing.T) {
	tenant, c := withUsers(t)
	foreign := addApp(t, tenant, emulator.Application{Name: "foreign"})
	for _, tt := range []struct {
		user        string
		patch, role int // the status for somebody else's app, and for a grant
	}{
		{"admin@contoso.example", 204, 201},
		{"member@contoso.example", 403, 403},
	} {
		a := c.deviceToken(tt.user, "https://graph.microsoft.com/.default")
		by := *c
		by.token = a.text("access_token")
		made := by.want(201, "POST", "applications", map[string]any{"displayName": "of " + tt.user})
		by.want(204, "PATCH", "applications/"+made.text("id"), map[string]any{"displayName": "renamed"})
		by.want(tt.patch, "PATCH", "applications/"+foreign.ObjectID, map[string]any{"displayName": "foreign"})
		graph := by.want(200, "GET", "servicePrincipals?$filter=appId eq '00000003-0000-0000-c000-000000000000'", nil).values()[0]["id"]
		by.want(tt.role, "POST", "servicePrincipals/"+foreign.ServicePrincipalID+"/appRoleAssignments", map[string]any{
			"principalId": foreign.ServicePrincipalID, "resourceId": graph, "appRoleId": "df021288-bdef-4463-88db-98f22de89214",
		})
	}
}

// TestRefreshToken changes one sign-in into tokens for other resources.
func TestRefreshToken(t *testing.T) {
	tenant, c := withUsers(t)
	first := c.deviceToken("", "https://management.core.windows.net//.default openid")
	if aud := claimsOf(t, first.text("access_token"))["aud"]; aud != "https://management.core.windows.net" {
		t.Errorf("audience %v", aud)
	}
	if a := c.send("GET", "/subscriptions?api-version=2019-11-01", "", nil); a.status != 401 {
		t.Errorf("subscriptions without a token: %d %s", a.status, a.raw)
	}
	refresh := func(token, scope string) answer {
		return c.post("/"+tenant.TenantID()+"/oauth2/v2.0/token", url.Values{"client_id": {cli}, "grant_type": {"refresh_token"}, "refresh_token": {token}, "scope": {scope}})
	}
	second := refresh(first.text("refresh_token"), "https://graph.microsoft.com/.default openid")
	if aud := claimsOf(t, second.text("access_token"))["aud"]; aud != "https://graph.microsoft.com" {
		t.Errorf("audience %v", aud)
	}
	if a := refresh(second.text("refresh_token"), "https://nothing.example/.default"); a.number() != 500011 {
		t.Errorf("a resource without a service principal: %d %s", a.status, a.raw)
	}
	if a := refresh("x", "openid"); a.status != 400 || a.text("error") != "invalid_grant" {
		t.Errorf("an unknown refresh token: %d %s", a.status, a.raw)
	}
	by := *c
	by.token = first.text("access_token")
	by.want(401, "GET", "applications", nil) // Graph refuses the token for another resource
	for path, want := range map[string]int{"/tenants?api-version=2019-11-01": 200, "/subscriptions?api-version=2019-11-01": 200, "/subscriptions": 400} {
		if a := by.send("GET", path, "", nil); a.status != want || want == 200 && len(a.values()) != 0 {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
}

// TestBrowserSignIn redeems an authorization code without a secret, on any port of the
// user's machine.
func TestBrowserSignIn(t *testing.T) {
	tenant, _ := withUsers(t)
	verifier := strings.Repeat("v", 43)
	digest := sha256.Sum256([]byte(verifier))
	ask := url.Values{
		"client_id": {cli}, "redirect_uri": {"http://localhost:45678"}, "response_type": {"code"}, "state": {"s"},
		"scope":          {"https://graph.microsoft.com/.default openid offline_access profile"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(digest[:])}, "code_challenge_method": {"S256"}, "prompt": {"select_account"},
	}
	trip := tenant.Transport()
	authorize := func(q url.Values) answer {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/organizations/oauth2/v2.0/authorize?"+q.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := trip.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return answer{status: resp.StatusCode, header: resp.Header, raw: must(io.ReadAll(resp.Body))(t)}
	}
	a := authorize(ask)
	back := must(url.Parse(a.header.Get("Location")))(t)
	if a.status != 302 || back.Host != "localhost:45678" || back.Query().Get("state") != "s" {
		t.Fatalf("authorize: %d %s", a.status, back)
	}
	c := newClient(t, tenant)
	got := c.post("/organizations/oauth2/v2.0/token", url.Values{
		"client_id": {cli}, "grant_type": {"authorization_code"}, "code": {back.Query().Get("code")},
		"redirect_uri": {"http://localhost:45678"}, "code_verifier": {verifier},
	})
	m := claimsOf(t, got.text("access_token"))
	if got.status != 200 || m["upn"] != "admin@contoso.example" || m["aud"] != "https://graph.microsoft.com" || got.text("client_info") == "" {
		t.Errorf("token: %d %v", got.status, m)
	}
	ask.Set("response_mode", "form_post")
	a = authorize(ask)
	page := string(a.raw)
	if a.status != 200 || !strings.Contains(page, `action="http://localhost:45678"`) || !strings.Contains(page, `name="code" value="`) {
		t.Errorf("a form: %d %s", a.status, page)
	}
	ask.Del("response_mode")
	ask.Set("redirect_uri", "https://page.contoso.example")
	if a := authorize(ask); a.status != 400 && a.status != 401 {
		t.Errorf("an address that is not the user's machine: %d %s", a.status, a.header.Get("Location"))
	}
}

// TestL17 signs in with each audience that is documented for an assertion.
func TestL17(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, p)
	c := newClient(t, tenant)
	base := "https://" + host + "/" + tenant.TenantID()
	for audience, accepted := range map[string]bool{
		base + "/v2.0":              true,
		base + "/oauth2/v2.0/token": true,
		base + "/oauth2/token":      true,
		base + "/v1.0":              false,
		base:                        false,
		"https://" + host + "/" + uuid.NewString() + "/v2.0": false,
	} {
		claims := with(assertionClaims(tenant, app.ClientID), map[string]any{"aud": audience})
		a := c.assertionToken(app.ClientID, sign(t, jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, claims, p.key))
		if (a.status == 200) != accepted || !accepted && a.number() != 700023 {
			t.Errorf("%s: got %d %d, want accepted %t", audience, a.status, a.number(), accepted)
		}
	}
	for _, tenantName := range []string{"common", "organizations", tenant.TenantID()} {
		for path, issuer := range map[string]string{"/v2.0/.well-known/openid-configuration": "https://" + host + "/%s/v2.0", "/.well-known/openid-configuration": "https://sts.windows.net/%s/"} {
			id := tenant.TenantID()
			if tenantName != id {
				id = "{tenantid}"
			}
			if a := c.send("GET", "/"+tenantName+path, "", nil); a.status != 200 || a.text("issuer") != strings.Replace(issuer, "%s", id, 1) {
				t.Errorf("metadata of %s%s: %d %s", tenantName, path, a.status, a.raw)
			}
		}
	}
	form := tokenForm(app.ClientID)
	if a := c.post("/common/oauth2/v2.0/token", form); a.status != 400 || a.number() != 50059 {
		t.Errorf("an app at /common: %d %s", a.status, a.raw)
	}
}

// TestTokenVersion1 asks the older endpoint, which names a resource.
func TestTokenVersion1(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Secrets: []emulator.Secret{{Text: "good secret"}}, Permissions: []string{"Application.Read.All"}})
	c := newClient(t, tenant)
	ask := func(resource string) answer {
		return c.post("/"+tenant.TenantID()+"/oauth2/token", url.Values{
			"grant_type": {"client_credentials"}, "client_id": {app.ClientID}, "client_secret": {"good secret"}, "resource": {resource},
		})
	}
	a := ask("https://graph.microsoft.com/")
	if a.status != 200 || a.text("expires_in") != "3599" || a.text("resource") != "https://graph.microsoft.com/" || a.text("expires_on") == "" {
		t.Fatalf("token: %d %s", a.status, a.raw)
	}
	by := *c
	by.token = a.text("access_token")
	by.want(200, "GET", "applications", nil)
	if a := ask("https://management.azure.com"); claimsOf(t, a.text("access_token"))["roles"] != nil {
		t.Errorf("a token for Resource Manager carries the roles of Graph")
	}
	if a := ask(app.ClientID); a.status != 200 || claimsOf(t, a.text("access_token"))["aud"] != app.ClientID {
		t.Errorf("a resource that has a service principal: %d %s", a.status, a.raw)
	}
	if a := ask("https://vault.azure.net"); a.number() != 500011 {
		t.Errorf("a resource without one: %d %s", a.status, a.raw)
	}
}

// TestLoginUnknown asks for what Entra has and the emulator has not.
func TestLoginUnknown(t *testing.T) {
	tenant := &emulator.Tenant{PublicHosts: true}
	c := newClient(t, tenant)
	id := tenant.TenantID()
	for _, tt := range []struct {
		host, method, path string
		form               url.Values
		status             int
	}{
		{"login.microsoftonline.com", "GET", "/" + id + "/v2.0/.well-known/openid-configuration", nil, 200},
		{"login.windows.net", "GET", "/common/discovery/instance?api-version=1.1&authorization_endpoint=https://login.microsoftonline.com/common/oauth2/v2.0/authorize", nil, 200},
		{"login.microsoftonline.com", "GET", "/common/userrealm/admin@contoso.example?api-version=1.0", nil, 200},
		{"login.microsoftonline.com", "POST", "/" + id + "/oauth2/v2.0/token", url.Values{"grant_type": {"password"}}, 501},
		{"login.microsoftonline.com", "POST", "/" + id + "/oauth2/token", url.Values{"grant_type": {"refresh_token"}}, 501},
		{"login.microsoftonline.com", "GET", "/v1.0/applications", nil, 501},
		{"graph.microsoft.com", "GET", "/" + id + "/v2.0/.well-known/openid-configuration", nil, 401},
		{"graph.microsoft.com", "GET", "/subscriptions", nil, 401},
		{"management.azure.com", "GET", "/subscriptions/x/resourceGroups", nil, 501},
		{"vault.azure.net", "GET", "/", nil, 501},
		{"127.0.0.1", "GET", "/" + id + "/v2.0/.well-known/openid-configuration", nil, 501},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tt.method, "https://"+tt.host+tt.path, strings.NewReader(tt.form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if tt.form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		a, err := c.trip.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		a.Body.Close()
		if a.StatusCode != tt.status {
			t.Errorf("%s https://%s%s: got %d, want %d", tt.method, tt.host, tt.path, a.StatusCode, tt.status)
		}
	}
}

// must fails the test for an error.
func must[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
