package emulator_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestL20Federated: they are listed on their own path and by $expand, and v1.0
// breaks off where beta shows an expression.
func TestL20Federated(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Name: "Contoso Sync"}, fresh(t, 0))
	addApp(t, tenant, emulator.Application{Name: "without"})
	id, err := tenant.AddFederated(app.ClientID, emulator.Federated{Name: "deploy", Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:contoso/sync:ref:refs/heads/main"})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.Read.All"))
	own := "applications/" + app.ObjectID + "/federatedIdentityCredentials"
	audiences := []any{"api://AzureADTokenExchange"}
	for _, path := range []string{own, "applications(appId='" + app.ClientID + "')/federatedIdentityCredentials"} {
		list := c.want(200, "GET", path, nil).values()
		if len(list) != 1 || list[0]["id"] != id || list[0]["subject"] != "repo:contoso/sync:ref:refs/heads/main" || !cmp.Equal(list[0]["audiences"], audiences) {
			t.Errorf("%s: %v", path, list)
		}
	}
	const expand = "applications?$select=id&$expand=federatedIdentityCredentials"
	for _, o := range c.want(200, "GET", expand, nil).values() {
		want := 0
		if o["id"] == app.ObjectID {
			want = 1
		}
		if list, ok := o["federatedIdentityCredentials"].([]any); !ok || len(list) != want {
			t.Errorf("expanded: %v, want %d", o, want)
		}
	}
	if _, err := tenant.AddFederated(app.ClientID, emulator.Federated{Name: "any branch", Issuer: "https://token.actions.githubusercontent.com", Expression: "claims['sub'] matches 'repo:contoso/*'"}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{own, expand} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/v1.0/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+c.token)
		a, err := c.trip.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != http.StatusOK || json.Valid(body) {
			t.Errorf("%s: %d %s; want an answer that breaks off", path, a.StatusCode, body)
		}
		if a := c.send("GET", "/beta/"+path, "", nil); a.status != 200 || len(a.values()) == 0 {
			t.Errorf("beta %s: %d %s", path, a.status, a.raw)
		}
	}
	if err := tenant.RemoveFederated(app.ClientID, id); err != nil {
		t.Fatal(err)
	}
	newClient(t, tenant).as(addAdmin(t, tenant, "User.Read.All")).want(403, "GET", own, nil)
	for i := range 19 {
		if _, err := tenant.AddFederated(app.ClientID, emulator.Federated{Name: fmt.Sprint(i), Issuer: "https://i", Subject: "s"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tenant.AddFederated(app.ClientID, emulator.Federated{Name: "21st"}); err == nil {
		t.Error("an app has at most 20")
	}
}

// TestL19Blueprint: an agent identity blueprint is listed among the applications, with
// its type, and wants permissions of its own for a change.
func TestL19Blueprint(t *testing.T) {
	tenant := newTenant(t)
	blueprint := addApp(t, tenant, emulator.Application{Name: "agents", Blueprint: true, UniqueName: "shared"})
	addApp(t, tenant, emulator.Application{Name: "app"})
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	const kind = "#microsoft.graph.agentIdentityBlueprint"
	for _, path := range []string{"applications/" + blueprint.ObjectID + "?$select=id", "applications(uniqueName='shared')"} {
		if a := c.want(200, "GET", path, nil); a.text("@odata.type") != kind {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
	for _, o := range c.want(200, "GET", "applications?$select=id", nil).values() {
		if got, _ := o["@odata.type"].(string); (got == kind) != (o["id"] == blueprint.ObjectID) {
			t.Errorf("listed as %v", o)
		}
	}
	c.want(403, "PATCH", "applications/"+blueprint.ObjectID, map[string]any{"displayName": "x"})
	c.want(403, "PATCH", "applications(uniqueName='shared')", map[string]any{"displayName": "x"})
}
