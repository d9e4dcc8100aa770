package emulator_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestL9 signs proofs in each form that live tenants were seen to accept.
func TestL9(t *testing.T) {
	for name, tt := range map[string]struct{ header, issuer, path string }{
		"kid and x5t, object ID, by id":     {"kid x5t", "object", "applications/%s"},
		"kid alone, object ID, by id":       {"kid", "object", "applications/%s"},
		"x5t alone, object ID, by id":       {"x5t", "object", "applications/%s"},
		"kid and x5t, client ID, by id":     {"kid x5t", "client", "applications/%s"},
		"kid and x5t, object ID, by app ID": {"kid x5t", "object", "applications(appId='%s')"},
		"kid alone, client ID, by app ID":   {"kid", "client", "applications(appId='%s')"},
		"qualified":                         {"kid x5t", "object", "applications/%s/microsoft.graph"},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := newTenant(t)
			p := fresh(t, 0)
			app := addApp(t, tenant, emulator.Application{}, p)
			c := newClient(t, tenant).as(app)
			claims := proofClaims(app.ObjectID)
			if tt.issuer == "client" {
				claims["iss"] = app.ClientID
			}
			header := map[string]any{}
			for part := range strings.FieldsSeq(tt.header) {
				header[part] = p.proofHeader()[part]
			}
			id := app.ObjectID
			if strings.Contains(tt.path, "appId") {
				id = app.ClientID
			}
			path, dot := fmt.Sprintf(tt.path, id)+"/", ""
			if object, qualified := strings.CutSuffix(path, "/microsoft.graph/"); qualified {
				path, dot = object+"/", "microsoft.graph."
			}
			proof := func() string { return sign(t, jwt.SigningMethodRS256, header, claims, p.key) }
			added := c.want(200, "POST", path+dot+"addKey", map[string]any{"keyCredential": fresh(t, 1).entry(), "passwordCredential": nil, "proof": proof()})
			c.want(204, "POST", path+dot+"removeKey", map[string]any{"keyId": added.text("keyId"), "proof": proof()})
			if n := len(tenant.KeyCredentials(app.ClientID)); n != 1 {
				t.Errorf("%d certificates, want 1", n)
			}
		})
	}
}

// TestL10 asks for certificates in every way: only a single object with $select has
// them.
func TestL10(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, p)
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	c.want(204, "PATCH", "servicePrincipals/"+app.ServicePrincipalID, map[string]any{"keyCredentials": []any{p.entry()}})
	key := func(object map[string]any) any {
		list, _ := object["keyCredentials"].([]any)
		if len(list) != 1 {
			t.Fatalf("want one entry: %v", object)
		}
		entry, _ := list[0].(map[string]any)
		if entry["customKeyIdentifier"] != p.sha1Hex() || entry["keyId"] == nil {
			t.Errorf("entry %v", entry)
		}
		return entry["key"]
	}
	der := base64.StdEncoding.EncodeToString(p.cert.Raw)
	for set, id := range map[string]string{"applications": app.ObjectID, "servicePrincipals": app.ServicePrincipalID} {
		filter := url.QueryEscape("appId eq '" + app.ClientID + "'")
		for _, query := range []string{"", "&$select=keyCredentials", "&$select=id,keyCredentials&$top=999", "&$expand=owners&$select=keyCredentials"} {
			if got := key(c.want(200, "GET", set+"?$filter="+filter+query, nil).values()[0]); got != nil {
				t.Errorf("list of %s with %q contains a certificate", set, query)
			}
		}
		for _, path := range []string{set + "/" + id, set + "(appId='" + app.ClientID + "')", set + "('" + id + "')"} {
			if got := key(c.want(200, "GET", path, nil).body); got != nil {
				t.Errorf("%s contains a certificate", path)
			}
			if got := key(c.want(200, "GET", path+"?$select=id,keyCredentials", nil).body); got != der {
				t.Errorf("%s with $select: key is %v, want the certificate", path, got)
			}
			if got := c.send("GET", "/beta/"+path+"?$select=keyCredentials", "", nil); key(got.body) != der {
				t.Errorf("beta %s with $select: %s", path, got.raw)
			}
		}
	}
}

// TestL18 sends what Azure CLI, Terraform and PowerShell send.
func TestL18(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	admin := addAdmin(t, tenant, "Application.ReadWrite.All")
	app := addApp(t, tenant, emulator.Application{Name: "contoso-sync"}, p)
	c := newClient(t, tenant).as(admin)
	c.want(204, "PATCH", "applications/"+app.ObjectID, map[string]any{"identifierUris": []any{"api://contoso-sync"}})
	link := "https://graph.microsoft.com/v1.0/directoryObjects/" + app.ServicePrincipalID
	for _, tt := range []struct {
		name, method, path string
		body               map[string]any
		found              int // in the list; -1: it is none
	}{
		{"az ad app list --display-name", "GET", "/v1.0/applications?$filter=startswith(displayName,'contoso')", nil, 1},
		{"az ad app list --identifier-uri", "GET", "/v1.0/applications?$filter=identifierUris/any(s:s eq 'api://contoso-sync')", nil, 1},
		{"az ad app list, both", "GET", "/v1.0/applications?$filter=startswith(displayName,'contoso') and identifierUris/any(s:s eq 'api://contoso-sync')", nil, 1},
		{"az ad app list --app-id", "GET", "/v1.0/applications?$filter=appId eq '" + app.ClientID + "'", nil, 1},
		{"az ad sp show --id", "GET", "/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq '" + app.ClientID + "')", nil, 1},
		{"az ad sp show --id URI", "GET", "/v1.0/servicePrincipals?$filter=servicePrincipalNames/any(c:c eq 'api://contoso-sync')", nil, 1},
		{"Get-MgApplication, two", "GET", "/v1.0/applications?$filter=appId in ('" + app.ClientID + "','" + admin.ClientID + "')", nil, 2},
		{"az ad app owner list", "GET", "/v1.0/applications/" + app.ObjectID + "/owners", nil, 0},
		{"Terraform reads", "GET", "/beta/applications/" + app.ObjectID, nil, -1},
		{"Terraform reads a service principal", "GET", "/beta/servicePrincipals/" + app.ServicePrincipalID, nil, -1},
		{"Terraform creates", "POST", "/beta/applications", map[string]any{"displayName": "x", "owners@odata.bind": []any{link}}, -1},
		{"Terraform changes", "PATCH", "/beta/applications/" + app.ObjectID, map[string]any{"id": app.ObjectID, "displayName": "contoso-sync"}, -1},
		{"the JavaScript client qualifies", "POST", "/v1.0/applications/" + app.ObjectID + "/microsoft.graph.addPassword", map[string]any{"passwordCredential": map[string]any{"displayName": "s"}}, -1},
		{"az ad app owner add", "POST", "/v1.0/applications/" + app.ObjectID + "/owners/$ref", map[string]any{"@odata.id": link}, -1},
		{"az account get-access-token, objects", "POST", "/v1.0/directoryObjects/getByIds", map[string]any{"ids": []any{app.ServicePrincipalID}, "types": []any{"servicePrincipal"}}, 1},
		{"Get-MgDirectoryObject", "GET", "/v1.0/directoryObjects/" + app.ServicePrincipalID, nil, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var body []byte
			if tt.body != nil {
				body, _ = json.Marshal(tt.body)
			}
			a := c.send(tt.method, tt.path, "application/json", body)
			if a.status >= 300 || tt.found >= 0 && len(a.values()) != tt.found {
				t.Errorf("got %d %s, want %d in the list", a.status, a.raw, tt.found)
			}
		})
	}
	made := c.want(200, "GET", "applications?$filter=displayName eq 'x'&$expand=owners", nil).values()
	if owners, _ := made[0]["owners"].([]any); len(owners) != 2 {
		t.Errorf("owners of what was made: %v, want the caller and the one that was bound", owners)
	}
}

// TestFederatedRules holds the limits of federated credentials.
func TestFederatedRules(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{})
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	path := "applications/" + app.ObjectID + "/federatedIdentityCredentials"
	good := func(i int) map[string]any {
		return map[string]any{
			"name": fmt.Sprint("credential-", i), "issuer": "https://idp.example", "subject": fmt.Sprint("subject ", i), "audiences": []any{"api://AzureADTokenExchange"},
		}
	}
	for _, missing := range []string{"name", "issuer", "subject", "audiences"} {
		c.want(400, "POST", path, with(good(0), map[string]any{missing: nil}))
	}
	c.want(400, "POST", path, with(good(0), map[string]any{"name": "a b/c"}))
	c.want(400, "POST", path, with(good(0), map[string]any{"audiences": []any{"a", "b"}}))
	first := c.want(201, "POST", path, good(0)).text("id")
	c.want(409, "POST", path, with(good(1), map[string]any{"name": "credential-0"}))
	if a := c.want(400, "POST", path, with(good(1), map[string]any{"subject": "subject 0"})); a.code() != "InvalidFederatedIdentityCredentialValue" {
		t.Errorf("the same issuer and subject: %s", a.raw)
	}
	c.want(400, "PATCH", path+"/"+first, map[string]any{"name": "credential-9"})
	c.want(204, "PATCH", path+"/credential-0", map[string]any{"subject": "another"})
	c.want(404, "PATCH", path+"(name='credential-1')", good(1))
	c.header.Set("Prefer", "create-if-missing")
	c.want(201, "PATCH", path+"(name='credential-1')", good(1))
	c.want(204, "PATCH", path+"(name='credential-1')", map[string]any{"description": "x"})
	c.header.Del("Prefer")
	for i := 2; i < 20; i++ {
		c.want(201, "POST", path, good(i))
	}
	c.want(400, "POST", path, good(20))
	if n := len(c.want(200, "GET", path+"?$filter=name eq 'credential-1'", nil).values()); n != 1 {
		t.Errorf("%d named credential-1, want 1", n)
	}
	c.want(204, "DELETE", path+"/credential-1", nil)
	c.want(404, "GET", path+"/credential-1", nil)
}

// TestClone changes a tenant and its clone, and compares what each shows.
func TestClone(t *testing.T) {
	tenant := newTenant(t)
	var exported []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[emulator.Tenant]()) {
		if !f.IsExported() || len(f.Index) > 1 {
			continue
		}
		field := reflect.ValueOf(tenant).Elem().FieldByIndex(f.Index)
		switch field.Kind() { //nolint:exhaustive // the kinds that there are
		case reflect.Int, reflect.Int64:
			field.SetInt(7)
		case reflect.Uint64:
			field.SetUint(7)
		case reflect.Bool:
			field.SetBool(true)
		case reflect.String:
			if f.Name != "ID" {
				field.SetString("some.example")
			}
		case reflect.Struct:
			tenant.Facts.SelfRemoval = true
		default:
			continue // a pointer, a function or a list is shared
		}
		exported = append(exported, f.Name)
	}
	app := addApp(t, tenant, emulator.Application{Name: "before"})
	clone := tenant.Clone()
	for _, name := range exported {
		one, other := reflect.ValueOf(tenant).Elem().FieldByName(name), reflect.ValueOf(clone).Elem().FieldByName(name)
		if !one.Equal(other) {
			t.Errorf("%s is %v in the clone, want %v", name, other, one)
		}
	}
	addApp(t, tenant, emulator.Application{Name: "here only"})
	if err := clone.DeleteApplication(app.ClientID); err != nil {
		t.Fatal(err)
	}
	if here, there := len(tenant.Applications()), len(clone.Applications()); here != 2 || there != 0 {
		t.Errorf("%d and %d apps, want 2 and 0: what is done to one shows in the other", here, there)
	}
}
