package graph_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

const day = 24 * time.Hour

func TestLongestLifetime(t *testing.T) {
	for _, c := range []struct {
		name            string
		tenant, own     *emulator.Policy
		want            time.Duration
		wantNamePattern string
	}{
		{"no policy", nil, nil, 0, ""},
		{"tenant's", &emulator.Policy{MaxLifetime: 180 * day}, nil, 180 * day, "tenant's default"},
		{"own wins, shorter", &emulator.Policy{MaxLifetime: 180 * day}, &emulator.Policy{DisplayName: "strict", MaxLifetime: 90 * day}, 90 * day, "strict"},
		{"own wins, longer", &emulator.Policy{MaxLifetime: 90 * day}, &emulator.Policy{DisplayName: "lax", MaxLifetime: 180 * day}, 180 * day, "lax"},
		{"own is switched off", &emulator.Policy{MaxLifetime: 90 * day}, &emulator.Policy{MaxLifetime: 30 * day, Disabled: true}, 0, ""},
		{"app is older than the rule", &emulator.Policy{MaxLifetime: 90 * day, CreatedAfter: time.Now().Add(-day)}, nil, 0, ""},
		{"app is younger than the rule", &emulator.Policy{MaxLifetime: 90 * day, CreatedAfter: time.Now().Add(-3 * 365 * day)}, nil, 90 * day, "tenant's default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nil)
			old, err := w.tenant.AddApplication(emulator.Application{
				Name: "old", Owners: []string{adminID}, Created: time.Now().Add(-365 * day),
				KeyCredentials: []emulator.KeyCredential{{Certificate: w.pair.Certificate}},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.app = old
			if err := w.tenant.Grant(adminID, "Policy.Read.All"); err != nil {
				t.Fatal(err)
			}
			w.tenant.SetDefaultPolicy(c.tenant)
			if c.own != nil {
				if _, err := w.tenant.SetPolicy(w.app.ClientID, c.own); err != nil {
					t.Fatal(err)
				}
			}
			got, name, err := w.client.LongestLifetime(t.Context(), w.managed())
			if err != nil || got != c.want || !strings.Contains(name, c.wantNamePattern) || (name == "") != (c.wantNamePattern == "") {
				t.Errorf("LongestLifetime = %v, %q, %v, want %v, %q", got, name, err, c.want, c.wantNamePattern)
			}
		})
	}
}

func TestLongestLifetimeNeedsAPermission(t *testing.T) {
	w := newWorld(t, nil)
	_, _, err := w.client.LongestLifetime(t.Context(), w.managed())
	if f := failure(t, err); f.Reason != rotator.ReasonForbidden || !strings.Contains(f.Next, "Policy.Read.All") {
		t.Errorf("%v, next %q, want forbidden and the permission", f.Reason, f.Next)
	}
}

// TestDurationsOfPolicies: what the SDK reads wrongly must not become "no limit".
func TestDurationsOfPolicies(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"P90D": 90 * day, "P3M": 90 * day, "P1Y6M": 545 * day, "P2W": 14 * day, "PT36H": 36 * time.Hour,
		"P1DT30M5S": day + 30*time.Minute + 5*time.Second, "P0D": -1, "P": -1, "90 days": -1, "PX": -1, "P99999999999Y": -1, "-P1D": -1,
	} {
		w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
			body := `{"value":[]}`
			if strings.HasSuffix(r.URL.Path, "/defaultAppManagementPolicy") {
				body = `{"isEnabled":true,"applicationRestrictions":{"keyCredentials":[` +
					`{"restrictionType":"fromTheFuture","state":"enabled","maxLifetime":"P1D"},` +
					`{"restrictionType":"asymmetricKeyLifetime","state":"enabled","maxLifetime":"` + text + `"}]}}`
			}
			return answer(r, 200, "application/json", body), nil
		}))
		got, _, err := w.client.LongestLifetime(t.Context(), w.managed())
		if want < 0 {
			if err == nil {
				t.Errorf("maxLifetime %s = %v, want an error", text, got)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("maxLifetime %s = %v, %v, want %v", text, got, err, want)
		}
	}
}

// TestPolicyRefusals name the policy and, where it can be read, the limit.
func TestPolicyRefusals(t *testing.T) {
	for _, readable := range []bool{true, false} {
		w := newWorld(t, nil)
		id, err := w.tenant.SetPolicy(w.app.ClientID, &emulator.Policy{DisplayName: "ninety", MaxLifetime: 90 * day})
		if err != nil {
			t.Fatal(err)
		}
		want := time.Duration(0)
		if readable {
			want = 90 * day
			if err := w.tenant.Grant(adminID, "Policy.Read.All"); err != nil {
				t.Fatal(err)
			}
		}
		add := newKey(t, newPair(t, 1, 365*day))
		_, addErr := w.client.AddKey(t.Context(), w.managed(), w.pair, add)
		_, patchErr := w.client.PatchKeys(t.Context(), w.managed(), nil, add)
		for name, err := range map[string]error{"AddKey": addErr, "PatchKeys": patchErr} {
			f := failure(t, err)
			if f.Class != rotator.ClassFix || f.Reason != rotator.ReasonPolicy || f.LongestLifetime != want || f.Ambiguous {
				t.Errorf("%s: %v %v, longest %v, want fix, policy, %v", name, f.Class, f.Reason, f.LongestLifetime, want)
			}
			if !strings.Contains(f.Message, id) || readable != strings.Contains(f.Message, "90 days") {
				t.Errorf("%s: message %q, want policy %s and 90 days: %v", name, f.Message, id, readable)
			}
		}
	}
}
