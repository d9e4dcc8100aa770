package graph_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// deploy is a federated credential as a deployment from GitHub has it.
func deploy() emulator.Federated {
	return emulator.Federated{Name: "deploy", Issuer: "https://token.actions.githubusercontent.com", Subject: "repo:contoso/sync:ref:refs/heads/main"}
}

// flexible has an expression in place of a subject.
func flexible() emulator.Federated {
	return emulator.Federated{Name: "any branch", Issuer: "https://token.actions.githubusercontent.com", Expression: "claims['sub'] matches 'repo:contoso/*'"}
}

func addFederated(t *testing.T, w *world, f emulator.Federated) rotator.FoundCredential {
	t.Helper()
	id, err := w.tenant.AddFederated(w.app.ClientID, f)
	if err != nil {
		t.Fatal(err)
	}
	c := rotator.FoundCredential{
		Kind: rotator.FoundFederated, KeyID: rotator.KeyID(id), DisplayName: f.Name, Issuer: f.Issuer, Subject: f.Subject,
		Audiences: []string{"api://AzureADTokenExchange"},
	}
	if c.Subject == "" {
		c.Subject = f.Expression
	}
	return c
}

// federatedOf are the federated credentials of the world's app in an inventory.
func federatedOf(w *world, found []rotator.Registered) (list []rotator.FoundCredential, unknown string) {
	for _, r := range found {
		if string(r.ClientID) == w.app.ClientID && r.Kind == rotator.RegisteredApp {
			list, unknown = slices.DeleteFunc(slices.Clone(r.Credentials), func(c rotator.FoundCredential) bool { return c.Kind != rotator.FoundFederated }), r.FederatedUnknown
		}
	}
	return list, unknown
}

// TestL20: federated credentials are read with the other credentials, those with an
// expression too, over which v1.0 breaks off.
func TestL20(t *testing.T) {
	w := newWorld(t, nil)
	if found, err := w.client.Federated(t.Context(), w.managed()); err != nil || len(found) != 0 {
		t.Errorf("none: %v, %v", found, err)
	}
	want := []rotator.FoundCredential{addFederated(t, w, deploy())}
	for _, add := range []func(){func() {}, func() { want = append(want, addFederated(t, w, flexible())) }} {
		add()
		byClient := w.managed()
		byClient.ObjectID = ""
		for _, as := range []rotator.Access{w.managed(), byClient} {
			found, err := w.client.Federated(t.Context(), as)
			if diff := cmp.Diff(want, found); diff != "" || err != nil {
				t.Errorf("the app's own: %v (-want +got):\n%s", err, diff)
			}
		}
		found, _, _, err := inventory(t.Context(), w.client)
		if err != nil {
			t.Fatal(err)
		}
		list, unknown := federatedOf(w, found)
		if diff := cmp.Diff(want, list); diff != "" || unknown != "" {
			t.Errorf("inventory: unknown because %q (-want +got):\n%s", unknown, diff)
		}
		if n := len(found[1].Credentials); n != 2+len(want) {
			t.Errorf("%d credentials, want the certificate and the secret too", n)
		}
	}
}

// TestL20NotKnown: who may not read them, or gets no answer, knows nothing; that is not
// "none". The rest of the inventory is there.
func TestL20NotKnown(t *testing.T) {
	w := newWorld(t, nil)
	addFederated(t, w, deploy())
	_, err := w.client.Federated(t.Context(), w.self()) // it holds User.Read.All
	if f := failure(t, err); f.Reason != rotator.ReasonForbidden || !strings.HasPrefix(f.Message, "app contoso-sync: read federated credentials: ") {
		t.Errorf("self: %+v", f)
	}
	for name, fault := range map[string]struct {
		answer emulator.Fault
		want   string
	}{
		"refused":      {emulator.Fault{Status: http.StatusForbidden}, "not allowed"},
		"not known":    {emulator.Fault{Status: http.StatusBadRequest, Code: "Request_UnsupportedQuery", Message: "no"}, "the last reading failed (other)"},
		"no such path": {emulator.Fault{Status: http.StatusNotFound}, "the last reading failed (app_not_found)"},
	} {
		t.Run(name, func(t *testing.T) {
			w.sent.fail(func(r emulator.Request) *emulator.Fault {
				if strings.Contains(r.Query.Get("$expand"), "federated") {
					return &fault.answer
				}
				return nil
			})
			found, _, _, err := inventory(t.Context(), w.client)
			if err != nil || len(found) != 2 || len(found[1].Credentials) != 2 {
				t.Fatalf("found %+v, %v; want all the rest", found, err)
			}
			if list, unknown := federatedOf(w, found); len(list) != 0 || !strings.Contains(unknown, fault.want) {
				t.Errorf("%d found, unknown because %q, want %q", len(list), unknown, fault.want)
			}
		})
	}
}

// TestL20Ceiling: 10,000 apps cost eleven requests more, none of which asks for
// certificates and so counts against the 150 a minute.
func TestL20Ceiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(tenant *emulator.Tenant, _ *graph.Config) { tenant.KeyReadsPerMinute = 30 })
		for i := range 10_000 {
			if _, err := w.tenant.AddApplication(emulator.Application{Name: fmt.Sprint("app ", i), ClientID: guid(i)}); err != nil {
				t.Fatal(err)
			}
		}
		want := addFederated(t, w, deploy())
		w.sent.fail(nil)
		begun := time.Now()
		found, _, pauses, err := inventory(t.Context(), w.client)
		if err != nil || len(pauses) > 0 {
			t.Fatalf("%v, pauses %v", err, pauses)
		}
		if list, _ := federatedOf(w, found); !cmp.Equal(list, []rotator.FoundCredential{want}) {
			t.Errorf("found %+v", list)
		}
		expanded := 0
		for _, r := range w.sent.of(http.MethodGet, "/applications") {
			if strings.Contains(r.Query.Get("$expand"), "federated") {
				expanded++
				if strings.Contains(r.Query.Get("$select"), "keyCredentials") {
					t.Errorf("asks for certificates: %v", r.Query)
				}
			}
		}
		if n := len(w.sent.of(http.MethodGet, "/federatedIdentityCredentials")); expanded != 11 || n != 0 {
			t.Errorf("%d lists and %d requests for single apps, want 11 and none", expanded, n)
		}
		if since := time.Since(begun); since > time.Minute {
			t.Errorf("it took %s", since)
		}
	})
}

// TestL19: an agent identity blueprint is listed among the applications and is not taken
// for one, whatever asks.
func TestL19(t *testing.T) {
	w := newWorld(t, nil)
	const unique = "rotate-0a1b2c3d-agents"
	blueprint, err := w.tenant.AddApplication(emulator.Application{
		Name: "Contoso Sync", Blueprint: true, UniqueName: unique, Owners: []string{w.admin.ClientID},
		KeyCredentials: []emulator.KeyCredential{{Certificate: newPair(t, 1, time.Hour).Certificate}},
	})
	if err != nil {
		t.Fatal(err)
	}
	found, _, _, err := inventory(t.Context(), w.client)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		want := rotator.RegisteredApp
		if string(r.ClientID) == blueprint.ClientID {
			want = rotator.RegisteredBlueprint
		}
		if r.Kind != want {
			t.Errorf("%s %s is a %s, want %s", r.DisplayName, r.ClientID, r.Kind, want)
		}
	}
	as := rotator.Access{Registration: rotator.Registration{
		App: "agents", Tenant: "contoso", ObjectID: rotator.ObjectID(blueprint.ObjectID), ClientID: rotator.ClientID(blueprint.ClientID),
	}}
	pair := newPair(t, 2, time.Hour)
	for name, err := range map[string]error{
		"read":    func() error { _, err := w.client.Keys(t.Context(), as, true); return err }(),
		"look":    func() error { _, err := w.client.Keys(t.Context(), as, false); return err }(),
		"replace": func() error { _, err := w.client.PatchKeys(t.Context(), as, nil, newKey(t, pair)); return err }(),
	} {
		f := failure(t, err)
		if f.Class != rotator.ClassFix || f.Reason != rotator.ReasonBlueprint || !strings.Contains(f.Message, `("Contoso Sync") is an agent identity blueprint, not an app registration`) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if n := len(w.sent.of(http.MethodPatch, "")); n != 0 {
		t.Errorf("%d PATCH were sent", n)
	}
	one, err := w.client.FindUnique(t.Context(), w.managed(), unique)
	if err != nil || !one.Blueprint {
		t.Errorf("by its unique name: %+v, %v", one, err)
	}
	same, err := w.client.FindByName(t.Context(), w.managed(), "Contoso Sync")
	if err != nil || len(same) != 2 || same[0].Blueprint || !same[1].Blueprint {
		t.Errorf("by its display name: %+v, %v", same, err)
	}
}
