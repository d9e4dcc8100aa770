package emulator_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

func TestMetadata(t *testing.T) {
	tenant := newTenant(t)
	c := newClient(t, tenant)
	base := "https://" + host + "/" + tenant.TenantID()
	a := c.send("GET", "/"+tenant.TenantID()+"/v2.0/.well-known/openid-configuration", "", nil)
	if a.status != 200 || a.text("token_endpoint") != base+"/oauth2/v2.0/token" || a.text("issuer") != base+"/v2.0" || a.text("authorization_endpoint") == "" {
		t.Errorf("metadata: %d %s", a.status, a.raw)
	}
	if a := c.send("GET", "/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration", "", nil); a.status != 200 {
		t.Errorf("metadata by domain: %d %s", a.status, a.raw)
	}
	if a := c.send("GET", "/"+uuid.NewString()+"/v2.0/.well-known/openid-configuration", "", nil); a.status != 400 || a.text("error") != "invalid_tenant" || a.number() != 90002 {
		t.Errorf("metadata of another tenant: %d %s", a.status, a.raw)
	}
	if a := c.send("GET", "/"+tenant.TenantID()+"/discovery/v2.0/keys", "", nil); a.status != 200 {
		t.Errorf("keys: %d %s", a.status, a.raw)
	}
	if a := c.send("GET", "/common/discovery/instance?api-version=1.1&authorization_endpoint=https://x/t/oauth2/v2.0/authorize", "", nil); a.text("tenant_discovery_endpoint") != "https://"+host+"/t/v2.0/.well-known/openid-configuration" {
		t.Errorf("instances: %d %s", a.status, a.raw)
	}
}

func TestTokenClaims(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{Permissions: []string{"User.Read.All", "Mail.Read"}}, p)
	c := newClient(t, tenant)
	claims := func(a answer) jwt.MapClaims {
		t.Helper()
		if a.status != 200 || a.text("token_type") != "Bearer" || a.body["expires_in"] != 3599.0 {
			t.Fatalf("token: %d %s", a.status, a.raw)
		}
		var m jwt.MapClaims
		if _, _, err := jwt.NewParser().ParseUnverified(a.text("access_token"), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := claims(c.assertionToken(app.ClientID, p.assertion(t, tenant, app.ClientID)))
	got := map[string]any{"aud": m["aud"], "appid": m["appid"], "oid": m["oid"], "tid": m["tid"], "roles": m["roles"], "appidacr": m["appidacr"]}
	want := map[string]any{
		"aud": "https://graph.microsoft.com", "appid": app.ClientID, "oid": app.ServicePrincipalID, "tid": tenant.TenantID(),
		"roles": []any{"Mail.Read", "User.Read.All"}, "appidacr": "2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	// Roles are those at the time of issue.
	old := newClient(t, tenant).as(app)
	if err := tenant.Withdraw(app.ClientID, "User.Read.All"); err != nil {
		t.Fatal(err)
	}
	old.want(200, "GET", "users?$top=1", nil)
	if got := claims(c.secretToken(app))["roles"]; cmp.Diff([]any{"Mail.Read"}, got) != "" {
		t.Errorf("roles after the withdrawal: %v", got)
	}
	newClient(t, tenant).as(app).want(403, "GET", "users?$top=1", nil)
}

func TestAssertionForms(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t)
		p := fresh(t, 0)
		for !strings.ContainsAny(p.x5t(), "-_") { // where the alphabets differ
			p = fresh(t, 0)
		}
		app := addApp(t, tenant, emulator.Application{}, p)
		c := newClient(t, tenant)
		sha1Sum, _ := hex.DecodeString(p.sha1Hex())
		sha256Sum, _ := base64.RawURLEncoding.DecodeString(p.x5tS256())
		claims := assertionClaims(tenant, app.ClientID)
		for _, tt := range []struct {
			name   string
			method jwt.SigningMethod
			header map[string]any
			claims map[string]any
		}{
			{"as documented", jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, claims},
			{"MSAL Go: standard base64", jwt.SigningMethodPS256, map[string]any{"x5t#S256": base64.StdEncoding.EncodeToString(sha256Sum)}, with(claims, map[string]any{"iat": nil})},
			{"legacy RS256", jwt.SigningMethodRS256, map[string]any{"x5t": p.x5t()}, claims},
			{"legacy, standard base64", jwt.SigningMethodRS256, map[string]any{"x5t": base64.StdEncoding.EncodeToString(sha1Sum)}, claims},
			{"python3-msal: padding, no nbf", jwt.SigningMethodRS256, map[string]any{"x5t": base64.URLEncoding.EncodeToString(sha1Sum)}, with(claims, map[string]any{"nbf": nil})},
			{"audience by domain", jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, with(claims, map[string]any{"aud": "https://" + host + "/contoso.onmicrosoft.com/oauth2/v2.0/token"})},
			{"clock four minutes ahead", jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, with(claims, map[string]any{"nbf": time.Now().Add(4 * time.Minute).Unix()})},
		} {
			if a := c.assertionToken(app.ClientID, sign(t, tt.method, tt.header, tt.claims, p.key)); a.status != 200 {
				t.Errorf("%s: got %d %s, want 200", tt.name, a.status, a.raw)
			}
		}
	})
}

func TestAssertionRefusals(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t)
		now := time.Now()
		p, other := fresh(t, 0), fresh(t, 1)
		expired := newPair(t, 1, now.Add(-48*time.Hour), now.Add(-time.Hour))
		early := newPair(t, 1, now.Add(time.Hour), now.Add(48*time.Hour))
		app := addApp(t, tenant, emulator.Application{}, p, expired, early)
		c := newClient(t, tenant)
		claims := assertionClaims(tenant, app.ClientID)
		ps256 := func(p pair, changes map[string]any) string {
			t.Helper()
			return sign(t, jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, with(claims, changes), p.key)
		}
		good := ps256(p, nil)
		for _, tt := range []struct {
			name      string
			assertion string
			number    int
			text      string
		}{
			{"not registered", ps256(other, nil), 700027, "[Reason - The key was not found., Thumbprint of key used by client: '"},
			{"expired certificate", ps256(expired, nil), 700027, "[Reason - The key used is expired."},
			{"certificate of tomorrow", ps256(early, nil), 1000502, "not within its specified time range"},
			{"wrong key", sign(t, jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, claims, other.key), 700027, "The provided signature value did not match the expected signature value."},
			{"signature cut", good[:len(good)-8] + "AAAAAAAA", 700027, "did not match"},
			{"thumbprint in hex", sign(t, jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.sha1Hex()}, claims, p.key), 700027, "The key was not found."},
			{"thumbprint of the other hash", sign(t, jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5t()}, claims, p.key), 700027, "The key was not found."},
			{"no thumbprint", sign(t, jwt.SigningMethodPS256, nil, claims, p.key), 50027, "x5t"},
			{"RS512", sign(t, jwt.SigningMethodRS512, map[string]any{"x5t": p.x5t()}, claims, p.key), 50027, "algorithm"},
			{"no JWT", "a.b", 50027, "JWT"},
			{"padding", strings.Replace(good, ".", "=.", 1), 50027, "JWT"},
			{"expired", ps256(p, map[string]any{"exp": now.Add(-time.Second).Unix()}), 700024, "Client assertion is not within its valid time range."},
			{"clock six minutes ahead", ps256(p, map[string]any{"nbf": now.Add(6 * time.Minute).Unix()}), 700024, "valid time range"},
			{"no exp", ps256(p, map[string]any{"exp": nil}), 50027, "exp"},
			{"no jti", ps256(p, map[string]any{"jti": nil}), 50027, "jti"},
			{"text for a date", ps256(p, map[string]any{"nbf": "now"}), 50027, "type"},
			{"subject is another", ps256(p, map[string]any{"sub": "x"}), 50048, "Subject mismatches Issuer"},
			{"another app", ps256(p, map[string]any{"iss": "x", "sub": "x"}), 700021, "client_id"},
			{"object id", ps256(p, map[string]any{"iss": app.ObjectID, "sub": app.ObjectID}), 700021, "client_id"},
			{"audience of version 1 without its end", ps256(p, map[string]any{"aud": "https://" + host + "/" + tenant.TenantID() + "/oauth2"}), 700023, "audience"},
			{"audience of another tenant", ps256(p, map[string]any{"aud": "https://" + host + "/" + uuid.NewString() + "/v2.0"}), 700023, "audience"},
			{"audience of any tenant", ps256(p, map[string]any{"aud": "https://" + host + "/common/oauth2/v2.0/token"}), 700023, "audience"},
			{"audience of another host", ps256(p, map[string]any{"aud": "https://login.microsoftonline.com/" + tenant.TenantID() + "/oauth2/v2.0/token"}), 700023, "audience"},
		} {
			a := c.assertionToken(app.ClientID, tt.assertion)
			if a.status != 401 || a.text("error") != "invalid_client" || a.number() != tt.number || !strings.Contains(a.text("error_description"), tt.text) {
				t.Errorf("%s: got %d %s, want %d %q", tt.name, a.status, a.raw, tt.number, tt.text)
			}
			if !strings.HasPrefix(a.text("error_description"), fmt.Sprintf("AADSTS%d: ", tt.number)) || a.text("trace_id") == "" || a.text("timestamp") == "" {
				t.Errorf("%s: not Entra's form: %s", tt.name, a.raw)
			}
		}
		if a := c.assertionToken(app.ClientID, good); a.status != 200 {
			t.Errorf("the good one: %d %s", a.status, a.raw)
		}
	})
}

func TestTokenRefusals(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Secrets: []emulator.Secret{
		{Text: "good secret"},
		{Text: "old secret", Start: time.Now().Add(-time.Hour), End: time.Now().Add(-time.Minute)},
	}})
	disabled := addApp(t, tenant, emulator.Application{Disabled: true})
	blocked := addApp(t, tenant, emulator.Application{})
	if err := tenant.BlockSignIn(blocked.ClientID, true); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, tenant)
	form := func(app emulator.Application, changes map[string]string) url.Values {
		f := tokenForm(app.ClientID)
		f.Set("client_secret", app.Secrets[0].Text)
		for k, v := range changes {
			f.Set(k, v)
			if v == "" {
				f.Del(k)
			}
		}
		return f
	}
	for _, tt := range []struct {
		name   string
		form   url.Values
		status int
		err    string
		number int
	}{
		{"good", form(app, nil), 200, "", 0},
		{"scope of the host", form(app, map[string]string{"scope": "https://" + host + "/.default"}), 200, "", 0},
		{"scope of a national cloud", form(app, map[string]string{"scope": "https://graph.microsoft.us/.default"}), 200, "", 0},
		{"wrong secret", form(app, map[string]string{"client_secret": "x"}), 401, "invalid_client", 7000215},
		{"id of the secret", form(app, map[string]string{"client_secret": app.Secrets[0].KeyID}), 401, "invalid_client", 7000215},
		{"expired secret", form(app, map[string]string{"client_secret": "old secret"}), 401, "invalid_client", 7000222},
		{"no credential", form(app, map[string]string{"client_secret": ""}), 401, "invalid_client", 7000218},
		{"assertion without its type", form(app, map[string]string{"client_assertion": "x"}), 401, "invalid_client", 50027},
		{"unknown app", form(app, map[string]string{"client_id": uuid.NewString()}), 400, "unauthorized_client", 700016},
		{"object id for client id", form(app, map[string]string{"client_id": app.ObjectID}), 400, "unauthorized_client", 700016},
		{"disabled", form(disabled, nil), 400, "unauthorized_client", 7000112},
		{"disabled, wrong secret", form(disabled, map[string]string{"client_secret": "x"}), 401, "invalid_client", 7000215},
		{"blocked", form(blocked, nil), 400, "invalid_grant", 53003},
		{"scope without default", form(app, map[string]string{"scope": "https://graph.microsoft.com/User.Read"}), 400, "invalid_scope", 70011},
		{"no scope", form(app, map[string]string{"scope": ""}), 400, "invalid_scope", 70011},
		{"another resource", form(app, map[string]string{"scope": "https://vault.azure.net/.default"}), 400, "invalid_resource", 500011},
		{"another grant", form(app, map[string]string{"grant_type": "made_up"}), 400, "unsupported_grant_type", 70003},
	} {
		a := c.form(tt.form)
		if a.status != tt.status || a.text("error") != tt.err || a.number() != tt.number {
			t.Errorf("%s: got %d %s, want %d %s %d", tt.name, a.status, a.raw, tt.status, tt.err, tt.number)
		}
		if strings.Contains(string(a.raw), "secret\"") || strings.Contains(string(a.raw), "good secret") {
			t.Errorf("%s: the answer holds a secret: %s", tt.name, a.raw)
		}
	}
	if a := c.send("POST", "/"+uuid.NewString()+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", []byte(form(app, nil).Encode())); a.number() != 90002 {
		t.Errorf("another tenant: %d %s", a.status, a.raw)
	}
	if a := c.send("POST", "/"+tenant.TenantID()+"/oauth2/v2.0/token", "application/json", []byte(`{}`)); a.status != 400 || a.number() != 900144 {
		t.Errorf("JSON body: %d %s", a.status, a.raw)
	}
	tenant.Configure(func(t *emulator.Tenant) { t.DeniedError = "access_denied" })
	for _, app := range []emulator.Application{disabled, blocked} {
		if a := c.secretToken(app); a.text("error") != "access_denied" {
			t.Errorf("DeniedError: %s", a.raw)
		}
	}
	if err := tenant.DeleteApplication(app.ClientID); err != nil {
		t.Fatal(err)
	}
	if a := c.secretToken(app); a.number() != 700016 {
		t.Errorf("deleted app: %s", a.raw)
	}
}

func TestAccessTokens(t *testing.T) {
	now := time.Now()
	tenant := newTenant(t)
	tenant.Now = func() time.Time { return now }
	app := addApp(t, tenant, emulator.Application{Permissions: []string{"Organization.Read.All"}})
	c := newClient(t, tenant).as(app)
	c.want(200, "GET", "organization", nil)

	other := newTenant(t)
	foreign := newClient(t, other).as(addApp(t, other, emulator.Application{Permissions: []string{"Organization.Read.All"}})).token
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"aud": "https://graph.microsoft.com", "exp": now.Add(time.Hour).Unix()}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"none": "", "of another tenant": foreign, "unsigned": unsigned, "no JWT": "x"} {
		bad := *c
		bad.token = token
		if a := bad.want(http.StatusUnauthorized, "GET", "organization", nil); a.code() != "InvalidAuthenticationToken" {
			t.Errorf("token %s: %s", name, a.raw)
		}
	}
	now = now.Add(time.Hour)
	if a := c.want(http.StatusUnauthorized, "GET", "organization", nil); !strings.Contains(a.message(), "expired") {
		t.Errorf("after an hour: %s", a.raw)
	}
}
