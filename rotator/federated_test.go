package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

const issuer = "https://token.actions.githubusercontent.com"

func addFederated(t *testing.T, w *world, clientID string, f emulator.Federated) string {
	t.Helper()
	id, err := w.tenant.AddFederated(clientID, f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestL20: a federated credential that appears on a tracked app, or lets in somebody
// else than before, is told of as a foreign credential, once, in a sentence of its own.
func TestL20(t *testing.T) {
	for name, o := range map[string]options{
		"managed":           {mode: rotator.ModeManaged},
		"self":              {},
		"self, by itself":   {left: 400 * 24 * time.Hour},
		"self, cannot read": {permissions: []string{}, left: 401 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o.left = max(o.left, 300*24*time.Hour)
				w := newWorld(t, o)
				r, closeStore := w.inspector()
				defer closeStore()
				if o.left >= 400*24*time.Hour { // the identity may not list
					if err := w.tenant.Withdraw(w.admin.ClientID, "Application.ReadWrite.OwnedBy"); err != nil {
						t.Fatal(err)
					}
				}
				one := w.apps[0]
				old := addFederated(t, w, one.clientID, emulator.Federated{Name: "since ever", Issuer: issuer, Subject: "repo:contoso/old"})
				inspect(t, r) // what was there before is the app's business
				w.wantTold(r)
				added := addFederated(t, w, one.clientID, emulator.Federated{Name: "deploy\x1b[2J", Issuer: issuer + "/", Subject: "repo:evil/x:ref:refs/heads/main\n"})
				inspect(t, r)
				listed := statusOfOne(t, r, "app-1").App.Listed
				if o.permissions != nil {
					w.wantTold(r)
					if listed != nil && listed.FederatedRead {
						t.Errorf("listed %+v; want that it is not known", listed)
					}
					return
				}
				w.wantTold(r, `foreign_credential warning  app app-1: a federated credential that rotate did not make appeared on it: `+
					`anyone who controls `+issuer+`/repo:evil/x:ref:refs/heads/main\n can sign in as this app without a key ("deploy\x1b[2J")`)
				if got := listed.Federated(); len(got) != 2 || !listed.FederatedRead || listed.FederatedUnknown != "" || string(got[1].KeyID) != added || got[1].Subject != "repo:evil/x:ref:refs/heads/main\n" {
					t.Errorf("listed %+v", listed)
				}
				inspect(t, r)
				w.wantTold(r) // once
				if err := w.tenant.ChangeFederated(one.clientID, emulator.Federated{ID: old, Name: "since ever", Issuer: issuer, Subject: "repo:evil/y"}); err != nil {
					t.Fatal(err)
				}
				inspect(t, r)
				w.wantTold(r, "anyone who controls "+issuer+"/repo:evil/y can sign in", `foreign_credential info  app app-1: a credential that rotate did not make are gone from it: federated credential `+old)
				if err := w.tenant.RemoveFederated(one.clientID, added); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				inspect(t, r)
				if since := time.Since(begun); since < 2*time.Minute {
					t.Errorf("absent was settled after %s, want five readings over two minutes", since)
				}
				w.wantTold(r, "foreign_credential info  app app-1: a credential that rotate did not make are gone from it: federated credential "+added)
			})
		})
	}
}

// TestL20NotKnown: a reading that fails takes nothing away and is no "none"; one
// credential over which v1.0 breaks off, or a list that fails, hides no other.
func TestL20NotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged, apps: 2, left: 300 * 24 * time.Hour})
		r, closeStore := w.inspector()
		defer closeStore()
		first := addFederated(t, w, w.apps[0].clientID, emulator.Federated{Name: "first", Issuer: issuer, Subject: "repo:contoso/first"})
		fail := ""
		w.tenant.Configure(func(e *emulator.Tenant) {
			watch := e.Intercept
			e.Intercept = func(q emulator.Request) *emulator.Fault {
				one := strings.HasSuffix(q.Path, "/federatedIdentityCredentials")
				all := strings.Contains(q.Query.Get("$expand"), "federated")
				if fail == "both" && (one || all) || fail == "list" && all {
					return &emulator.Fault{Status: http.StatusBadRequest, Code: "Request_UnsupportedQuery"}
				}
				return watch(q)
			}
		})
		fail = "both"
		inspect(t, r)
		w.wantTold(r)
		if l := statusOfOne(t, r, "app-1").App.Listed; l == nil || l.FederatedRead || l.FederatedUnknown == "" {
			t.Errorf("listed %+v; want that they are not known", l)
		}
		fail = ""
		inspect(t, r)
		w.wantTold(r) // read for the first time: no news
		if l := statusOfOne(t, r, "app-1").App.Listed; len(l.Federated()) != 1 || !l.FederatedRead || l.FederatedUnknown != "" {
			t.Errorf("listed %+v", l)
		}
		fail = "both"
		inspect(t, r)
		w.wantTold(r)
		if l := statusOfOne(t, r, "app-1").App.Listed; len(l.Federated()) != 1 || string(l.Federated()[0].KeyID) != first || l.FederatedUnknown == "" {
			t.Errorf("listed %+v; want what was there", l)
		}
		addFederated(t, w, w.apps[0].clientID, emulator.Federated{Name: "second", Issuer: issuer, Subject: "repo:evil/second"})
		fail = "list"
		inspect(t, r)
		w.wantTold(r, "controls "+issuer+"/repo:evil/second can sign in")
		fail = ""
		addFederated(t, w, w.apps[1].clientID, emulator.Federated{Name: "any", Issuer: issuer, Expression: "claims['sub'] matches 'repo:evil/*'"})
		inspect(t, r)
		w.wantTold(r, "app app-2: a federated credential that rotate did not make appeared on it: anyone who controls "+issuer+"/claims['sub'] matches 'repo:evil/*' can sign in")
	})
}

// TestL20Delete: an app that somebody else signs in with by a federated credential is
// not deleted, and not either where that is not known.
func TestL20Delete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		admin := administrator(t, w)
		r, closeStore := w.rotator()
		defer closeStore()
		out, err := r.Create(t.Context(), creation(rotator.ModeSelf, signedIn(t, w, admin)), "ann")
		if err != nil {
			t.Fatal(err)
		}
		id := addFederated(t, w, string(out.App.ClientID), emulator.Federated{Name: "deploy", Issuer: issuer, Subject: "repo:contoso/x"})
		if _, err := r.Delete(t.Context(), "new-app", signedIn(t, w, admin), "ann"); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "1 federated credential") {
			t.Errorf("delete: %v; want a refusal that names it", err)
		}
		entra := r.Entra
		r.Entra = blindToFederated{entra}
		if _, err := r.Delete(t.Context(), "new-app", signedIn(t, w, admin), "ann"); err == nil {
			t.Error("deleted although it is not known")
		}
		r.Entra = entra
		if err := w.tenant.RemoveFederated(string(out.App.ClientID), id); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Delete(t.Context(), "new-app", signedIn(t, w, admin), "ann"); err != nil {
			t.Error(err)
		}
	})
}

type blindToFederated struct{ rotator.Entra }

func (blindToFederated) Federated(context.Context, rotator.Access) ([]rotator.FoundCredential, error) {
	return nil, &rotator.Failure{Class: rotator.ClassFix, Reason: rotator.ReasonForbidden, Message: "403"}
}

// TestL19: an agent identity blueprint is not taken for an app, by whatever way it comes;
// each refusal names it.
func TestL19(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		admin := administrator(t, w)
		r, closeStore := w.inspector()
		defer closeStore()
		der := certificate(t, keys()[1], "agents", time.Now().Add(-time.Hour), time.Now().Add(200*24*time.Hour))
		blueprint, err := w.tenant.AddApplication(emulator.Application{
			Name: "CloudM Continuity", Blueprint: true, UniqueName: r.UniqueName("new-app"), Owners: []string{w.admin.ClientID},
			KeyCredentials: []emulator.KeyCredential{{Certificate: der}},
		})
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprint(blueprint)
		for name, spec := range map[string]rotator.AppSpec{
			"managed": {Mode: rotator.ModeManaged},
			"watched": {Certificate: der},
		} {
			spec.Name, spec.Tenant, spec.ClientID = "agents", "contoso", rotator.ClientID(blueprint.ClientID)
			_, err := r.Add(t.Context(), spec, "test")
			if err == nil || !strings.Contains(err.Error(), `("CloudM Continuity") is an agent identity blueprint, not an app registration`) {
				t.Errorf("%s: added with %v, want a refusal that names it", name, err)
			}
		}
		_, err = r.Create(t.Context(), creation(rotator.ModeSelf, signedIn(t, w, admin)), "ann")
		if err == nil || !strings.Contains(err.Error(), `belongs to the agent identity blueprint "CloudM Continuity", client ID `+blueprint.ClientID) {
			t.Errorf("created with %v, want a refusal that names it", err)
		}
		after, err := w.tenant.Application(blueprint.ClientID)
		if err != nil || fmt.Sprint(after) != before {
			t.Errorf("the blueprint was changed: %v, %v", after, err)
		}
		// Its display name keeps no app from being made: display names are not unique.
		request := creation(rotator.ModeSelf, signedIn(t, w, admin))
		request.Spec.Name = "another"
		if _, err := r.Create(t.Context(), request, "ann"); err != nil {
			t.Errorf("an app beside it: %v", err)
		}
		kinds := map[string]int{}
		err = r.Discover(t.Context(), rotator.DiscoverRequest{}, func(s rotator.DiscoverStep) error {
			if s.Found != nil && string(s.Found.ClientID) == blueprint.ClientID {
				kinds[s.Found.Kind]++
			}
			return nil
		})
		if err != nil || kinds[rotator.RegisteredBlueprint] != 1 || kinds[rotator.RegisteredApp] != 0 {
			t.Errorf("discovered as %v, %v", kinds, err)
		}
		if n, err := r.Store.CountApps(t.Context()); err != nil || n != 2 {
			t.Errorf("%d apps are tracked, %v; want the one from before and the one beside it", n, err)
		}
	})
}
