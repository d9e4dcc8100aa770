package emulator_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestWalk makes every request that Graph knows; the client checks each answer
// against the schema.
func TestWalk(t *testing.T) {
	tenant := newTenant(t)
	admin := addAdmin(
		t, tenant, "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "Policy.Read.All",
		"User.Read.All", "Mail.Read", "Mail.Send", "MailboxSettings.Read", "Organization.Read.All", "AuditLog.Read.All",
		"Domain.Read.All", "DelegatedPermissionGrant.ReadWrite.All",
	)
	tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 400 * 24 * time.Hour, CreatedAfter: time.Now()})
	c := newClient(t, tenant).as(admin)
	old, next := fresh(t, 0), fresh(t, 1)

	c.send("GET", "/beta/auditLogs/signIns?$top=1", "", nil)
	c.want(200, "GET", "organization", nil)
	user := c.want(200, "GET", "users?$top=1", nil).values()[0]["id"]
	c.want(200, "GET", fmt.Sprint("users/", user), nil)
	c.want(200, "GET", fmt.Sprint("users/", user, "/messages?$top=1"), nil)
	c.want(200, "GET", fmt.Sprint("users/", user, "/mailboxSettings"), nil)
	c.want(202, "POST", fmt.Sprint("users/", user, "/sendMail"), testMail("a@contoso.example"))
	c.want(200, "GET", "policies/defaultAppManagementPolicy", nil)

	made := c.want(201, "POST", "applications", map[string]any{
		"displayName": "made", "signInAudience": "AzureADMyOrg", "keyCredentials": []any{old.entry()},
		"requiredResourceAccess": []any{map[string]any{
			"resourceAppId":  "00000003-0000-0000-c000-000000000000",
			"resourceAccess": []any{map[string]any{"id": "7ab1d382-f21e-4acd-a863-ba3e13f7da61", "type": "Role"}},
		}},
	})
	app := "applications/" + made.text("id")
	sp := c.want(201, "POST", "servicePrincipals", map[string]any{"appId": made.text("appId")})
	principal := "servicePrincipals/" + sp.text("id")
	graph := c.want(200, "GET", "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')?$select=id,appRoles", nil)

	policy, err := tenant.SetPolicy(made.text("appId"), &emulator.Policy{MaxLifetime: 36 * time.Hour, Disabled: true})
	if err != nil {
		t.Fatal(err)
	}
	c.want(200, "GET", "policies/appManagementPolicies", nil)
	c.want(200, "GET", "policies/appManagementPolicies/"+policy, nil)
	if n := len(c.want(200, "GET", app+"/appManagementPolicies", nil).values()); n != 1 {
		t.Errorf("the app has %d policies, want 1", n)
	}
	c.want(200, "GET", principal+"/appManagementPolicies", nil)

	// The service principal needs a certificate before it can roll its own.
	c.want(204, "PATCH", principal, map[string]any{"keyCredentials": []any{old.entry()}})
	for _, o := range []struct{ path, id, set string }{{app, made.text("id"), "applications"}, {principal, sp.text("id"), "servicePrincipals"}} {
		c.want(200, "GET", o.set, nil)
		c.want(200, "GET", o.path, nil)
		c.want(200, "GET", o.path+"?$select=id,keyCredentials", nil)
		c.want(204, "PATCH", o.path, map[string]any{"@odata.type": "#microsoft.graph.x", "notes": "x"})
		added := c.want(200, "POST", o.path+"/addKey", map[string]any{"keyCredential": next.entry(), "passwordCredential": nil, "proof": old.proof(t, o.id)})
		c.want(204, "POST", o.path+"/removeKey", map[string]any{"keyId": added.text("keyId"), "proof": old.proof(t, o.id)})
		secret := c.want(200, "POST", o.path+"/addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "s"}})
		c.want(200, "GET", o.path, nil)
		c.want(204, "POST", o.path+"/removePassword", map[string]any{"keyId": secret.text("keyId")})
		c.want(204, "POST", o.path+"/owners/$ref", map[string]any{"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/" + sp.text("id")})
		if n := len(c.want(200, "GET", o.path+"/owners", nil).values()); n != 2 {
			t.Errorf("%s has %d owners, want 2", o.path, n)
		}
		c.want(200, "GET", principal+"/ownedObjects", nil)
		c.want(204, "DELETE", o.path+"/owners/"+sp.text("id")+"/$ref", nil)
	}
	for side, path := range map[string]string{"appRoleAssignedTo": "servicePrincipals/" + graph.text("id"), "appRoleAssignments": principal} {
		grant := map[string]any{"principalId": sp.text("id"), "resourceId": graph.text("id"), "appRoleId": "7ab1d382-f21e-4acd-a863-ba3e13f7da61"}
		id := c.want(201, "POST", path+"/"+side, grant).text("id")
		if a := c.want(400, "POST", path+"/"+side, grant); a.message() != "Permission being assigned already exists on the object" {
			t.Errorf("second grant: %s", a.raw)
		}
		c.want(200, "GET", path+"/"+side, nil)
		c.want(204, "DELETE", path+"/"+side+"/"+id, nil)
		if a := c.want(404, "DELETE", path+"/"+side+"/"+id, nil); a.message() != "EntitlementGrant being updated or deleted is not found." {
			t.Errorf("second withdrawal: %s", a.raw)
		}
	}
	walkRest(t, c, fmt.Sprint(user), made, sp)
	c.want(204, "DELETE", principal, nil)
	c.want(204, "DELETE", app, nil)
	c.want(404, "GET", app, nil)
	walkDeleted(c, made, sp)

	for _, r := range emulator.Routes() {
		if !c.walked[r] {
			t.Errorf("%s was never answered", r)
		}
	}
}

// walkRest makes the requests about what stands beside an app and its service
// principal.
func walkRest(t *testing.T, c *client, user string, app, sp answer) {
	t.Helper()
	c.header.Set("ConsistencyLevel", "eventual")
	for _, set := range []string{"applications", "servicePrincipals"} {
		c.want(200, "GET", set+"/$count", nil)
	}
	c.header.Del("ConsistencyLevel")
	c.want(200, "GET", "applications/microsoft.graph.agentIdentityBlueprint", nil)
	c.want(200, "GET", "domains", nil)
	token, err := emulator.UserToken(c.tenant, host, user)
	if err != nil {
		t.Fatal(err)
	}
	person := *c
	person.token = token
	person.want(200, "GET", "me", nil)
	person.want(200, "GET", "me/ownedObjects", nil)

	graph := c.want(200, "GET", "servicePrincipals(appId='00000003-0000-0000-c000-000000000000')?$select=id", nil)
	c.want(200, "GET", "directoryObjects/"+sp.text("id"), nil)
	c.want(200, "POST", "directoryObjects/getByIds", map[string]any{"ids": []any{sp.text("id"), app.text("id"), user}})
	for _, path := range []string{"applications/" + app.text("id"), "servicePrincipals/" + sp.text("id")} {
		owner := c.want(200, "GET", path+"/owners", nil).values()[0]["id"]
		c.want(200, "GET", fmt.Sprintf("%s/owners/%v/$ref", path, owner), nil)
	}

	credentials := "applications/" + app.text("id") + "/federatedIdentityCredentials"
	credential := c.want(201, "POST", credentials, map[string]any{
		"name": "github-main", "issuer": "https://token.actions.githubusercontent.com", "subject": "repo:contoso/app:ref:refs/heads/main",
		"audiences": []any{"api://AzureADTokenExchange"},
	}).text("id")
	c.want(200, "GET", credentials, nil)
	c.want(200, "GET", credentials+"/"+credential, nil)
	c.want(204, "PATCH", credentials+"/"+credential, map[string]any{"description": "x"})
	c.want(204, "DELETE", credentials+"/"+credential, nil)

	grant := c.want(201, "POST", "oauth2PermissionGrants", map[string]any{
		"clientId": sp.text("id"), "resourceId": graph.text("id"), "consentType": "AllPrincipals", "scope": "User.Read",
	}).text("id")
	c.want(200, "GET", "oauth2PermissionGrants", nil)
	c.want(200, "GET", "servicePrincipals/"+sp.text("id")+"/oauth2PermissionGrants", nil)
	c.want(200, "GET", "oauth2PermissionGrants/"+grant, nil)
	c.want(204, "PATCH", "oauth2PermissionGrants/"+grant, map[string]any{"scope": "User.Read Mail.Read"})
	c.want(204, "DELETE", "oauth2PermissionGrants/"+grant, nil)

	assigned := map[string]any{"principalId": sp.text("id"), "resourceId": graph.text("id"), "appRoleId": "7ab1d382-f21e-4acd-a863-ba3e13f7da61"}
	id := c.want(201, "POST", "servicePrincipals/"+graph.text("id")+"/appRoleAssignedTo", assigned).text("id")
	c.want(200, "GET", "servicePrincipals/"+graph.text("id")+"/appRoleAssignedTo/"+id, nil)
	c.want(200, "GET", "servicePrincipals/"+sp.text("id")+"/appRoleAssignments/"+id, nil)
}

// walkDeleted makes the requests about objects that were deleted.
func walkDeleted(c *client, app, sp answer) {
	c.tb.Helper()
	for kind, id := range map[string]string{"application": app.text("id"), "servicePrincipal": sp.text("id")} {
		if n := len(c.want(200, "GET", "directory/deletedItems/microsoft.graph."+kind, nil).values()); n != 1 {
			c.tb.Errorf("%d deleted objects of kind %s, want 1", n, kind)
		}
		c.want(200, "GET", "directory/deletedItems/"+id, nil)
	}
	c.want(200, "POST", "directory/deletedItems/"+app.text("id")+"/restore", nil)
	c.want(200, "GET", "applications/"+app.text("id"), nil)
	c.want(404, "GET", "servicePrincipals/"+sp.text("id"), nil)
	c.want(204, "DELETE", "directory/deletedItems/"+sp.text("id"), nil)
	c.want(404, "POST", "directory/deletedItems/"+sp.text("id")+"/restore", nil)
}

func TestUnknownRequestIsLoud(t *testing.T) {
	var heard []string
	tenant := &emulator.Tenant{Unknown: func(r emulator.Request) { heard = append(heard, r.Method+" "+r.Path) }}
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	for _, r := range []struct{ method, path string }{
		{"GET", "/v1.0/groups"},
		{"GET", "/v1.0/applications/"},
		{"GET", "/v1.0/applications(appId='x'"},
		{"POST", "/v1.0/$batch"},
		{"PUT", "/v1.0/applications"},
		{"GET", "/v1.0/applications/delta"},
		{"GET", "/v1.0/applications/delta()"},
		{"GET", "/v1.0/applications/microsoft.graph.delta()"},
		{"GET", "/v1.0/servicePrincipals/delta"},
		{"POST", "/v1.0/applications/getByIds"},
		{"POST", "/v1.0/applications/validateProperties"},
		{"GET", "/v1.0/users/delta"},
		{"GET", "/v1.0/applications/7ab1d382-f21e-4acd-a863-ba3e13f7da61/logo"},
		{"GET", "/v1.0/applications(displayName='x')"},
		{"DELETE", "/v1.0/applications(uniqueName='x')"},
		{"GET", "/beta/applications?$select=somethingNew"},
		{"GET", "/v1.0/users?$select=jobTitle"},
		{"GET", "/v1.0/auditLogs/signIns"},
		{"GET", "/v1.0/applications?$expand=extensionProperties"},
		{"GET", "/v1.0/applications?select=id"},
		{"GET", "/nowhere"},
		{"GET", "/v1.0/applications?$filter=contains(displayName,'x')"},
		{"GET", "/v1.0/applications?$filter=displayName gt 'x'"},
		{"GET", "/v1.0/applications?$filter=keyCredentials/any(k:k/usage eq 'Verify')"},
		{"GET", "/v1.0/applications?$filter=startswith(appId,'x')"},
		{"GET", "/v1.0/servicePrincipals?$select=owners"},
	} {
		heard = nil
		if a := c.send(r.method, r.path, "", nil); a.status != 501 || len(heard) != 1 {
			t.Errorf("%s %s: got %d and heard %v, want 501 and one call of Unknown", r.method, r.path, a.status, heard)
		}
	}
}

// TestUnknownBodyIsLoud sends properties that exist in Graph and are not in the schema.
func TestUnknownBodyIsLoud(t *testing.T) {
	tenant := &emulator.Tenant{}
	app := addApp(t, tenant, emulator.Application{})
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All", "Mail.Send", "User.Read.All"))
	mail := testMail("a@contoso.example")
	message, _ := mail["message"].(map[string]any)
	message["hasAttachments"] = false
	for path, body := range map[string]string{
		"/beta/applications/" + app.ObjectID: `{"authenticationBehaviours":{}}`,
	} {
		if a := c.send("PATCH", path, "application/json", []byte(body)); a.status != 501 || !strings.Contains(a.message(), "authenticationBehaviours") {
			t.Errorf("%s: got %d %s, want 501 by name", path, a.status, a.raw)
		}
	}
	user := c.want(200, "GET", "users?$top=1", nil).values()[0]["id"]
	if a := c.call("POST", fmt.Sprint("users/", user, "/sendMail"), mail); a.status != 501 || !strings.Contains(a.message(), "hasAttachments") {
		t.Errorf("sendMail: got %d %s, want 501 by name", a.status, a.raw)
	}
	if n := len(tenant.SentMails()); n != 0 {
		t.Errorf("%d mails were sent", n)
	}
}

func TestRequestBodies(t *testing.T) {
	tenant := newTenant(t)
	admin := addAdmin(t, tenant, "Application.ReadWrite.All")
	app := addApp(t, tenant, emulator.Application{}, fresh(t, 0))
	c := newClient(t, tenant).as(admin)
	path := "applications/" + app.ObjectID
	key := fresh(t, 1).entry()
	for _, tt := range []struct {
		name    string
		body    any
		message string // empty: accepted
	}{
		{"known property", map[string]any{"displayName": "x"}, ""},
		{"annotations only", map[string]any{"@odata.type": "#microsoft.graph.application", "@odata.context": "x"}, ""},
		{"unknown property", map[string]any{"displayname": "x"}, "The property 'displayname' does not exist on type 'microsoft.graph.application'"},
		{"unknown in a complex type", map[string]any{"keyCredentials": []any{with(key, map[string]any{"thumbprint": "x"})}}, "The property 'thumbprint' does not exist on type 'microsoft.graph.keyCredential'"},
		{"bind", map[string]any{"members@odata.bind": []any{}}, "does not exist"},
		{"string for a collection", map[string]any{"tags": "x"}, "Cannot convert a primitive value to the expected type 'Collection(Edm.String)'"},
		{"null in a collection", map[string]any{"tags": []any{nil}}, "does not allow null"},
		{"null for a collection", map[string]any{"keyCredentials": json.RawMessage("null")}, "Cannot convert"},
		{"number for a string", map[string]any{"displayName": 1}, "expected type 'Edm.String'"},
		{"base64url", map[string]any{"keyCredentials": []any{with(key, map[string]any{"key": "-_8="})}}, "Cannot convert a primitive value to the expected type 'Edm.Binary'. See the inner exception for more details."},
		{"no GUID", map[string]any{"keyCredentials": []any{with(key, map[string]any{"keyId": "1"})}}, "expected type 'Edm.Guid'"},
		{"date without a zone", map[string]any{"keyCredentials": []any{with(key, map[string]any{"endDateTime": "2026-01-01T00:00:00"})}}, "expected type 'Edm.DateTimeOffset'"},
		{"read-only", map[string]any{"appId": uuid.NewString()}, "Property 'appId' is read-only and cannot be set."},
		{"array for the body", []any{}, "Unable to read JSON request payload."},
	} {
		a := c.call("PATCH", path, tt.body)
		if tt.message == "" && a.status != 204 || tt.message != "" && (a.status != 400 || !strings.Contains(a.message(), tt.message)) {
			t.Errorf("%s: got %d %s, want %q", tt.name, a.status, a.raw, tt.message)
		}
	}
	if a := c.send("PATCH", "/v1.0/"+path, "text/plain", []byte("{}")); a.status != 400 || a.message() != "Entity only allows writes with a JSON Content-Type header." {
		t.Errorf("text/plain: got %d %s", a.status, a.raw)
	}
	for _, raw := range []string{"", "null", "{} {}", `{"a":`, "[1]"} {
		if a := c.send("PATCH", "/v1.0/"+path, "application/json", []byte(raw)); a.status != 400 {
			t.Errorf("body %q: got %d, want 400", raw, a.status)
		}
	}
	if a := c.send("DELETE", "/v1.0/"+path, "application/json", []byte("{}")); a.status != 400 {
		t.Errorf("body of DELETE: got %d, want 400", a.status)
	}
	if a := c.call("POST", path+"/removePassword", map[string]any{}); a.status != 400 || a.message() != "The parameter 'keyId' is missing." {
		t.Errorf("missing parameter: got %d %s", a.status, a.raw)
	}
	if a := c.call("POST", path+"/removePassword", map[string]any{"keyId": uuid.NewString(), "proof": "x"}); a.status != 400 || !strings.Contains(a.message(), "'proof'") {
		t.Errorf("unknown parameter: got %d %s", a.status, a.raw)
	}
}

func TestGzipBody(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{}, fresh(t, 0))
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	c.header.Set("Content-Encoding", "gzip")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte(`{"displayName":"packed"}`))
	_ = z.Close()
	if a := c.send("PATCH", "/v1.0/applications/"+app.ObjectID, "application/json", packed.Bytes()); a.status != 204 {
		t.Errorf("gzip: got %d %s, want 204", a.status, a.raw)
	}
	if got, _ := tenant.Application(app.ClientID); got.Name != "packed" {
		t.Errorf("name is %q, want packed", got.Name)
	}
	// A retry that says gzip and sends plain text, as kiota-http-go does.
	// https://github.com/microsoft/kiota-http-go/issues/183
	if a := c.send("PATCH", "/v1.0/applications/"+app.ObjectID, "application/json", []byte(`{"displayName":"x"}`)); a.status != 400 {
		t.Errorf("plain body called gzip: got %d, want 400", a.status)
	}
	var bomb bytes.Buffer
	z = gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 2<<20))
	_ = z.Close()
	if a := c.send("PATCH", "/v1.0/applications/"+app.ObjectID, "application/json", bomb.Bytes()); a.status != 400 {
		t.Errorf("2 MiB unpacked: got %d, want 400", a.status)
	}
}

func TestSchemaValues(t *testing.T) {
	for _, tt := range []struct {
		typ      string
		nullable bool
		value    any
		ok       bool
	}{
		{"Edm.String", false, "x", true},
		{"Edm.String", true, nil, true},
		{"Edm.String", false, nil, false},
		{"Edm.Boolean", false, true, true},
		{"Edm.Boolean", false, "true", false},
		{"Edm.Guid", false, "7ab1d382-f21e-4acd-a863-ba3e13f7da61", true},
		{"Edm.Guid", false, "{7ab1d382-f21e-4acd-a863-ba3e13f7da61}", false},
		{"Edm.Guid", false, "7ab1d382f21e4acda863ba3e13f7da61", false},
		{"Edm.Binary", false, base64.StdEncoding.EncodeToString([]byte("x")), true},
		{"Edm.Binary", false, "eA\n==", true},
		{"Edm.Binary", false, "eA", false},
		{"Edm.DateTimeOffset", false, "2026-01-31T12:00:00.5Z", true},
		{"Edm.DateTimeOffset", false, "2026-01-31", false},
		{"Edm.Duration", false, "P90D", true},
		{"Edm.Duration", false, "P0DT1H30M0S", true},
		{"Edm.Duration", false, "90d", false},
		{"Edm.Duration", false, "P", false},
		{"Edm.Int32", false, json.Number("1"), true},
		{"Edm.Int32", false, json.Number("4294967296"), false},
		{"Edm.Int32", false, json.Number("1.5"), false},
		{"Edm.Double", false, json.Number("1.5"), true},
		{"Edm.Unheard", false, "x", false},
		{"graph.appManagementRestrictionState", false, "enabled", true},
		{"graph.appManagementRestrictionState", false, "on", false},
		{"graph.nativeAuthenticationApisEnabled", false, "none,all", true},
		{"graph.keyCredential", false, map[string]any{"usage": "Verify"}, true},
		{"graph.keyCredential", false, "x", false},
		{"Collection(graph.keyCredential)", false, []any{map[string]any{"keyID": "x"}}, false},
	} {
		err := emulator.CheckValue(tt.typ, tt.nullable, tt.value)
		if (err == nil) != tt.ok {
			t.Errorf("%s, nullable %v, %v: got %v, want ok %v", tt.typ, tt.nullable, tt.value, err, tt.ok)
		}
	}
}

func TestReading(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{Name: "it's one"}, p)
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.Read.All"))

	entry := func(a answer) map[string]any {
		t.Helper()
		list, _ := a.body["keyCredentials"].([]any)
		if len(list) != 1 {
			t.Fatalf("want one entry: %s", a.raw)
		}
		m, _ := list[0].(map[string]any)
		return m
	}
	plain := entry(c.want(200, "GET", "applications/"+app.ObjectID, nil))
	if plain["key"] != nil {
		t.Error("key is filled though keyCredentials was not selected")
	}
	if got := plain["customKeyIdentifier"]; got != p.sha1Hex() {
		t.Errorf("customKeyIdentifier is %v, want %s", got, p.sha1Hex())
	}
	selected := c.want(200, "GET", "applications(appId='"+app.ClientID+"')?$select=id,keyCredentials", nil)
	if got := entry(selected)["key"]; got != base64.StdEncoding.EncodeToString(p.cert.Raw) {
		t.Errorf("key is %v, want the certificate", got)
	}
	if _, ok := selected.body["displayName"]; ok {
		t.Error("displayName is there though it was not selected")
	}
	for filter, want := range map[string]int{
		"appId eq '" + app.ClientID + "'":     1,
		"id eq '" + app.ObjectID + "'":        1,
		"displayName eq 'it''s one'":          1,
		"appId eq '" + uuid.NewString() + "'": 0,
	} {
		if got := len(c.want(200, "GET", "applications?$filter="+filter, nil).values()); got != want {
			t.Errorf("%s: got %d apps, want %d", filter, got, want)
		}
	}
	for _, query := range []string{"$select=nothing", "$top=0", "$top=1000", "$skiptoken=!", "$filter=appId ne 'x'", "$filter=appId eq 'a'b'", "$count=maybe", "$top=1&$top=2"} {
		c.want(400, "GET", "applications?"+query, nil)
	}
	// $count without its header is ignored.
	// https://learn.microsoft.com/graph/aad-advanced-queries
	if a := c.want(200, "GET", "applications?$count=true", nil); a.body["@odata.count"] != nil {
		t.Errorf("$count without the header: %s", a.raw)
	}
	// The two ids are not the same thing.
	c.want(404, "GET", "applications/"+app.ClientID, nil)
	c.want(404, "GET", "applications/"+app.ServicePrincipalID, nil)
	if a := c.want(404, "GET", "applications/"+uuid.Nil.String(), nil); a.code() != "Request_ResourceNotFound" ||
		a.message() != "Resource '"+uuid.Nil.String()+"' does not exist or one of its queried reference-property objects are not present." {
		t.Errorf("not found: %s", a.raw)
	}
}

func TestPaging(t *testing.T) {
	tenant := newTenant(t)
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.Read.All"))
	want := []string{"admin"}
	for i := range 104 {
		name := fmt.Sprintf("app-%d", i)
		addApp(t, tenant, emulator.Application{Name: name})
		want = append(want, name)
	}
	c.header.Set("ConsistencyLevel", "eventual")
	var got []string
	pages := 0
	for path := "applications?$top=26&$count=true&$select=displayName"; path != ""; pages++ {
		a := c.want(200, "GET", path, nil)
		if a.body["@odata.count"] != 105.0 {
			t.Fatalf("count is %v, want 105", a.body["@odata.count"])
		}
		for _, v := range a.values() {
			got = append(got, fmt.Sprint(v["displayName"]))
		}
		_, path, _ = strings.Cut(a.text("@odata.nextLink"), "https://"+host+"/v1.0/")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
	if pages != 5 {
		t.Errorf("%d pages, want 5", pages)
	}
	if n := len(c.want(200, "GET", "applications", nil).values()); n != 100 {
		t.Errorf("default page has %d apps, want 100", n)
	}
	if a := c.want(200, "GET", "applications?$top=105", nil); a.text("@odata.nextLink") != "" {
		t.Error("a full last page has a next link")
	}
}

func TestKeyReadLimit(t *testing.T) {
	now := time.Now()
	tenant := newTenant(t)
	tenant.Now = func() time.Time { return now }
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.Read.All"))
	for range 150 {
		c.want(200, "GET", "applications?$select=keyCredentials", nil)
	}
	a := c.want(http.StatusTooManyRequests, "GET", "applications?$select=keyCredentials", nil)
	if a.header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After is %q, want 60", a.header.Get("Retry-After"))
	}
	c.want(200, "GET", "applications", nil)
	now = now.Add(time.Minute)
	c.want(200, "GET", "applications?$select=keyCredentials", nil)
}
