//go:build e2e

package clients_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ours is what must be true after a block of our documentation was run, by the
// document and its first command.
func ours() map[string][]fact {
	return map[string][]fact{
		"entra.md: az ad app show": {{app, map[string]any{"displayName": "{name}"}}},
		"entra.md: az ad app create": {
			{"servicePrincipals?$top=999|displayName=rotate", map[string]any{"displayName": "rotate"}},
			{"applications?$top=999|displayName=rotate", map[string]any{"requiredResourceAccess.0.resourceAccess.0.id": "18a4783c-866b-4cc7-a460-3d5e5662c884"}},
			{"applications/{object}/owners", map[string]any{"value.0.displayName": "rotate", "value.#": 1}},
		},
		"recovery.md: az ad app credential reset": {{app, map[string]any{"keyCredentials.#": 2, "keyCredentials.0.keyId": "{key}"}}},
	}
}

var (
	fence   = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")
	command = regexp.MustCompile(`(?m)(?:^|\$\(|[|;&] *)(az(?: [a-z]+(?:-[a-z]+)*)+)`)
	inline  = regexp.MustCompile("`(az [^`]+)`")
)

// TestDocumentation runs each command of the Azure CLI that our documentation tells
// its reader to run, as an administrator who is signed in.
func TestDocumentation(t *testing.T) {
	more, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	left := ours()
	for _, path := range append([]string{"../../README.md"}, more...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		document := filepath.Base(path)
		for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
			first := command.FindStringSubmatch(m[2])
			if first == nil {
				continue
			}
			name := document + ": " + first[1]
			facts, known := left[name]
			if m[1] != "sh azure-cli" || !known {
				t.Errorf("%s: a block marked %q, want \"sh azure-cli\" and an entry in this test", name, m[1])
				continue
			}
			delete(left, name)
			t.Run(name, func(t *testing.T) {
				home := administrator(t)
				s := here.newSubject(t)
				line := strings.NewReplacer("22222222-3333-4444-5555-666666666666", s.ClientID, "CLIENT_ID", s.ClientID, "sudo ", "").Replace(m[2])
				here.must(t, home, line)
				for _, f := range facts {
					here.holds(t, s, f)
				}
			})
		}
		for _, m := range inline.FindAllStringSubmatch(fence.ReplaceAllString(string(text), ""), -1) {
			if m[1] != "az login" { // TestAzureCLILogin
				t.Errorf("%s: no test runs %q", document, m[1])
			}
		}
	}
	for name := range left {
		t.Errorf("%s is not in the documentation", name)
	}
}
