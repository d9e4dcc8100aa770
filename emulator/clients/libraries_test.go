//go:build e2e

package clients_test

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// TestSignIn signs in with Microsoft's libraries for Node and Python, for Graph and for
// Resource Manager, and with a certificate that is not registered.
func TestSignIn(t *testing.T) {
	script, err := filepath.Abs("testdata/signin.py")
	if err != nil {
		t.Fatal(err)
	}
	for library, line := range map[string]string{
		"msal-node":    "node " + filepath.Join(here.dir, "node", "signin.mjs"),
		"python3-msal": systemPython + " -B " + script,
	} {
		for name, c := range map[string]struct{ arguments, prints string }{
			"Graph":                    {"{tenant} {client} {pem} https://graph.microsoft.com/.default", `{"audience":"https://graph.microsoft.com"}`},
			"Resource Manager":         {"{tenant} {client} {pem} https://management.azure.com/.default", `{"audience":"https://management.azure.com"}`},
			"tenant by domain":         {"contoso.onmicrosoft.com {client} {pem} https://graph.microsoft.com/.default", `{"audience":"https://graph.microsoft.com"}`},
			"a resource of the tenant": {"{tenant} {client} {pem} {client}/.default", `{"audience":"{client}"}`},
			"unregistered certificate": {"{tenant} {client} {other} https://graph.microsoft.com/.default", "AADSTS700027"},
			"unknown tenant":           {"{owner} {client} {pem} https://graph.microsoft.com/.default", "90002"},
		} {
			t.Run(library+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := here.newSubject(t)
				_, other := certificate(t, "not registered")
				s.names["other"] = filepath.Join(s.names["dir"], "other.pem")
				if err := os.WriteFile(s.names["other"], []byte(other), 0o600); err != nil {
					t.Fatal(err)
				}
				stdout, stderr, err := here.run(t, t.TempDir(), line+" "+s.fill(c.arguments))
				out := strings.ReplaceAll(stdout+stderr, `": "`, `":"`)
				if want := s.fill(c.prints); !strings.Contains(out, want) {
					t.Errorf("it printed no %q (%v):\n%s", want, err, out)
				}
			})
		}
	}
}

// A request is one that Graph's JavaScript client makes, as testdata/ask.mjs reads it.
type request struct {
	Path     string         `json:"path"`
	Method   string         `json:"method,omitempty"`
	Version  string         `json:"version,omitempty"`
	Body     map[string]any `json:"body,omitempty"`
	Filter   string         `json:"filter,omitempty"`
	Select   string         `json:"select,omitempty"`
	Expand   string         `json:"expand,omitempty"`
	OrderBy  string         `json:"orderby,omitempty"`
	Top      int            `json:"top,omitempty"`
	Search   string         `json:"search,omitempty"`
	Count    bool           `json:"count,omitempty"`
	Eventual bool           `json:"eventual,omitempty"`
}

// A graphCase is a request, what is in its answer, and what Graph shows us afterwards.
type graphCase struct {
	name    string
	request request
	answer  map[string]any
	facts   []fact
}

func graphCases(proof, certificate string) []graphCase {
	one := map[string]any{"value.#": 1, "value.0.appId": "{client}"}
	return []graphCase{
		{"startswith", request{Path: "/applications", Filter: "startswith(displayName,'{name}')"}, one, nil},
		{"any of names", request{Path: "/servicePrincipals", Filter: "servicePrincipalNames/any(c:c eq '{client}')"}, one, nil},
		{"any of identifier URIs", request{Path: "/applications", Filter: "identifierUris/any(x:x eq 'api://{name}')"}, one, nil},
		{"in", request{Path: "/applications", Filter: "appId in ('{client}','{bare}')", Select: "id,appId"}, map[string]any{"value.#": 2}, nil},
		{"and", request{Path: "/applications", Filter: "displayName eq '{name}' and signInAudience eq 'AzureADMyOrg'"}, one, nil},
		{"or, in parentheses", request{Path: "/applications", Filter: "(displayName eq '{name}' or displayName eq 'nothing') and appId eq '{client}'"}, one, nil},
		{"search", request{Path: "/applications", Search: `"displayName:{name}"`, Eventual: true}, one, nil},
		{"count", request{Path: "/applications", Filter: "appId eq '{client}'", Count: true, Eventual: true}, map[string]any{"@odata.count": 1}, nil},
		{"order", request{Path: "/applications", Filter: "appId in ('{client}','{bare}')", OrderBy: "displayName", Count: true, Eventual: true}, map[string]any{"value.0.appId": "{client}", "value.1.appId": "{bare}"}, nil},
		{"page", request{Path: "/applications", Top: 1}, map[string]any{"value.#": 1}, nil},
		{"owners of one", request{Path: "/applications/{bareobject}", Expand: "owners"}, map[string]any{"owners.#": 1}, nil},
		{"by client ID", request{Path: "/applications(appId='{client}')"}, map[string]any{"id": "{object}"}, nil},
		{"beta", request{Path: "/applications/{object}", Version: "beta"}, map[string]any{"appId": "{client}"}, nil},
		{"key of one", request{Path: "/applications/{object}", Select: "keyCredentials"}, map[string]any{"keyCredentials.0.keyId": "{key}"}, nil},
		{"any object", request{Path: "/directoryObjects/{sp}"}, map[string]any{"@odata.type": "#microsoft.graph.servicePrincipal"}, nil},
		{"granted roles", request{Path: "/servicePrincipals/{sp}/appRoleAssignments"}, map[string]any{"value.0.principalId": "{sp}"}, nil},
		{
			"create with owners",
			request{Path: "/applications", Method: "post", Body: map[string]any{
				"displayName": "{new}", "owners@odata.bind": []string{"https://graph.microsoft.com/v1.0/directoryObjects/{owner}"},
			}},
			map[string]any{"displayName": "{new}"},
			[]fact{{"applications?$top=999|displayName={new}", map[string]any{"displayName": "{new}"}}},
		},
		{
			"update that repeats the id",
			request{Path: "/applications/{object}", Method: "patch", Body: map[string]any{"id": "{object}", "notes": "by a client"}},
			nil,
			[]fact{{"applications/{object}", map[string]any{"notes": "by a client"}}},
		},
		{
			"qualified addKey",
			request{Path: "/applications/{object}/microsoft.graph.addKey", Method: "post", Body: map[string]any{
				"keyCredential": map[string]any{"type": "AsymmetricX509Cert", "usage": "Verify", "key": certificate}, "passwordCredential": nil, "proof": proof,
			}},
			map[string]any{"type": "AsymmetricX509Cert"},
			[]fact{{"applications/{object}", map[string]any{"keyCredentials.#": 2}}},
		},
		{
			"addPassword",
			request{Path: "/applications/{object}/addPassword", Method: "post", Body: map[string]any{"passwordCredential": map[string]any{"displayName": "by a client"}}},
			map[string]any{"displayName": "by a client"},
			[]fact{{"applications/{object}", map[string]any{"passwordCredentials.#": 2}}},
		},
		{
			"federated credential",
			request{Path: "/applications/{object}/federatedIdentityCredentials", Method: "post", Body: map[string]any{
				"name": "{new}", "issuer": "https://token.actions.githubusercontent.com", "subject": "repo:contoso/deploy", "audiences": []string{"api://AzureADTokenExchange"},
			}},
			map[string]any{"name": "{new}"},
			[]fact{{"applications/{object}/federatedIdentityCredentials", map[string]any{"value.0.name": "{new}"}}},
		},
		{
			"owner",
			request{Path: "/applications/{object}/owners/$ref", Method: "post", Body: map[string]any{"@odata.id": "https://graph.microsoft.com/v1.0/directoryObjects/{owner}"}},
			nil,
			[]fact{{"applications/{object}/owners", map[string]any{"value.0.id": "{owner}"}}},
		},
		{
			"delete",
			request{Path: "/applications/{bareobject}", Method: "delete"},
			nil,
			[]fact{{"applications/{bareobject}", nil}, {"directory/deletedItems/{bareobject}", map[string]any{"appId": "{bare}"}}},
		},
	}
}

// proofOf signs what addKey wants to see.
//
// https://learn.microsoft.com/graph/application-rollkey-prooftoken
func proofOf(t *testing.T, s *subject) string {
	t.Helper()
	k, err := key()
	if err != nil {
		t.Fatal(err)
	}
	digest := sha1.Sum(s.KeyCredentials[0].Certificate)
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": "00000002-0000-0000-c000-000000000000", "iss": s.ObjectID, "jti": uuid.NewString(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
	token.Header["x5t"] = base64.RawURLEncoding.EncodeToString(digest[:])
	text, err := token.SignedString(k)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestGraphClient makes each documented form of a request once, with @azure/identity
// and @microsoft/microsoft-graph-client.
func TestGraphClient(t *testing.T) {
	s := here.newSubject(t)
	here.graph(t, "PATCH", "applications/"+s.ObjectID, map[string]any{"identifierUris": []string{"api://" + s.Name}})
	next, _ := certificate(t, "by a client")
	cases := graphCases(proofOf(t, s), base64.StdEncoding.EncodeToString(next))
	type answer struct {
		Answer  map[string]any `json:"answer"`
		Status  int            `json:"status"`
		Code    string         `json:"code"`
		Message string         `json:"message"`
	}
	// One program asks all, when the first test needs it.
	ask := sync.OnceValues(func() ([]answer, error) {
		var requests []request
		for _, c := range cases {
			requests = append(requests, c.request)
		}
		text, err := json.Marshal(requests)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(t.Context(), "node", filepath.Join(here.dir, "node", "ask.mjs"), s.fill("{tenant}"), s.ClientID, s.pem, s.secret)
		cmd.Env, cmd.Stdin = here.env(t.TempDir()), strings.NewReader(s.fill(string(text)))
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, stderr.String())
		}
		var answers []answer
		return answers, json.Unmarshal(out, &answers)
	})
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			answers, err := ask()
			if err != nil {
				t.Fatal(err)
			}
			a := answers[i]
			if a.Status != 0 || a.Message != "" {
				t.Fatalf("%+v: %d %s: %s", c.request, a.Status, a.Code, a.Message)
			}
			for place, want := range c.answer {
				if text, ok := want.(string); ok {
					want = s.fill(text)
				}
				if got := at(a.Answer, place); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s is %v, want %v in %v", place, got, want, a.Answer)
				}
			}
			for _, f := range c.facts {
				here.holds(t, s, f)
			}
		})
	}
}
