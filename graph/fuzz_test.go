package graph_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// FuzzAnswers: whatever Graph and the login host answer, nothing panics, errors
// are failures, and a list is never replaced by a shorter one.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		`{"id":"o","appId":"c","keyCredentials":[{"keyId":"3f2504e0-4f89-11d3-9a0c-0305e82c3301","key":null,"customKeyIdentifier":"AAAA"}],"passwordCredentials":[null]}`,
		`{"keyCredentials":[null,{},{"keyId":"x"},[],1]}`, `{"keyCredentials":{}}`, `[]`, `null`, `1`, `"a"`, ``, `{`,
		`{"error":{"code":"A","message":"b","details":[{"code":"c"}],"innerError":{"date":"2026-01-01T00:00:00"}}}`,
		`{"error":{"code":1,"message":null,"details":{}}}`, `{"error":"invalid_client","error_description":"AADSTS700027: x","error_codes":[700027]}`,
		`{"error":{"details":[null]}}`, `{"error":"x","error_codes":["a"]}`,
		`{"value":[{"isEnabled":true,"restrictions":{"keyCredentials":[{"restrictionType":"asymmetricKeyLifetime","maxLifetime":"P1D"}]}}]}`,
		`{"token_type":"Bearer","expires_in":3599,"access_token":"a.b.c"}`, `{"access_token":5}`,
	} {
		for _, status := range []int{200, 204, 302, 400, 401, 429, 500} {
			f.Add(status, "application/json", "", body)
		}
	}
	f.Add(401, "application/json", "Bearer claims=a", `{}`)
	f.Add(429, "text/html", "", "<html>")
	w := newWorld(f, nil)
	through := w.tenant.Transport()
	f.Fuzz(func(t *testing.T, status int, contentType, header, body string) {
		if status < 200 || status > 599 {
			return
		}
		toLogin := false
		client, err := graph.New(graph.Config{
			// Repeating waits, and a fuzz test has no time.
			Timeout: 100 * time.Millisecond,
			Tenants: []graph.Tenant{{
				Name: "contoso", ID: w.tenant.TenantID(),
				Cloud: graph.Cloud{Login: entraURL, Graph: entraURL, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					if strings.HasPrefix(r.URL.Path, "/v1.0/") == toLogin {
						return through.RoundTrip(r)
					}
					if r.Method == http.MethodPatch {
						t.Errorf("a list was sent after the answer %d %q", status, body)
					}
					a := answer(r, status, contentType, body)
					a.Header["Www-Authenticate"], a.Header["Retry-After"], a.Header["Request-Id"] = []string{header}, []string{header}, []string{header}
					return a, nil
				})},
				Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
					ClientID: adminID, Secret: func() (string, error) { return adminSecret, nil },
				}},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		check := func(err error) {
			if err != nil {
				if f := failure(t, err); f.Message == "" || f.Class == "" || f.Reason == "" || len(f.Message) > 4000 {
					t.Errorf("failure %+v is incomplete", f)
				}
			}
		}
		add := rotator.NewKey{KeyID: "3f2504e0-4f89-11d3-9a0c-0305e82c3302", DisplayName: "n", Certificate: w.pair.Certificate, NotAfter: time.Now()}
		seen := []rotator.KeyID{"00000000-0000-4000-8000-000000000001"}
		_, err = client.Keys(t.Context(), w.managed(), true)
		check(err)
		_, err = client.AddKey(t.Context(), w.managed(), w.pair, add)
		check(err)
		_, err = client.PatchKeys(t.Context(), w.managed(), seen, add)
		check(err)
		check(client.RemoveKey(t.Context(), w.managed(), w.pair, add.KeyID))
		_, _, err = client.LongestLifetime(t.Context(), w.managed())
		check(err)
		toLogin = true
		client.ForgetIdentity("contoso")
		_, err = client.SignIn(t.Context(), w.registration(), w.pair, nil)
		check(err)
	})
}
