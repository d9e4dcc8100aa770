//go:build e2e

package clients_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rotateConfig is that of a tenant in the global cloud. The policy has no waits.
const rotateConfig = `allow_root: true
store: {path: data/rotate.db, identity_file: keys/store.key}
control: {socket: {dir}/rotate.sock}
defaults:
  overlap: 0s
  reload_within: 0s
  prove: {successes: 2, spacing: 200ms, within: 5m}
  upload_limit: {per_hour: 100, per_day: 100}
tenants:
  - name: contoso
    id: {tenant}
    cloud: global
    identity: {client_id: {admin}, client_secret_file: {adminsecret}}
`

// newRotate makes a home folder with a configuration and a store.
func newRotate(t *testing.T, s *subject) (home string) {
	t.Helper()
	home = t.TempDir()
	socket, err := os.MkdirTemp("", "r") // a path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(socket) })
	s.names["admin"], s.names["adminsecret"] = here.ready.Administrator.ClientID, here.ready.Administrator.ClientSecretFile
	text := strings.ReplaceAll(s.fill(rotateConfig), s.names["dir"]+"/rotate.sock", filepath.Join(socket, "s"))
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(home, "consumer"), 0o750); err != nil {
		t.Fatal(err)
	}
	s.names["rotate"] = "ROTATE_CONFIG=$HOME/config.yaml rotate"
	here.must(t, home, s.fill(`{rotate} init --no-recovery`))
	return home
}

// TestRotate rotates a certificate with the real program, for a tenant of the global
// cloud.
func TestRotate(t *testing.T) {
	for _, mode := range []string{"self", "managed"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := here.newSubject(t)
			home := newRotate(t, s)
			s.names["mode"] = mode
			here.must(t, home, s.fill(`{rotate} app add app-1 --tenant contoso --client-id {client} --object-id {object} --mode {mode} \
  --pfx {pem} --deliver-file consumer/app-1.pfx
{rotate} now app-1 --force --wait`))
			if out := here.must(t, home, s.fill(`{rotate} status -o json`)); !strings.Contains(out, `"app-1"`) {
				t.Errorf("status does not name the app:\n%s", out)
			}
			here.holds(t, s, fact{app, map[string]any{"keyCredentials.#": 1, "passwordCredentials.0.keyId": "{secret}"}})
			if keys := here.tenant.KeyCredentials(s.ClientID); len(keys) != 1 || keys[0].KeyID == s.names["key"] {
				t.Errorf("the app has %d certificates, and the old one is among them", len(keys))
			}
		})
	}
}

// TestRotateAdministrator registers an app as an administrator who signs in with a
// device code, with a browser, and with the Azure CLI.
func TestRotateAdministrator(t *testing.T) {
	create := func(s *subject, how string) string {
		s.names["how"] = how
		return s.fill(`{rotate} app create app-1 --display-name {new} --tenant contoso --permission User.Read.All --no-consumer --out $HOME/package --auth {how}`)
	}
	for how, signIn := range map[string]func(*testing.T, *subject, string){
		"device": func(t *testing.T, s *subject, home string) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "bash", "-c", create(s, "device"))
			prompt := &codePrompt{enter: func(page, code string) error {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"?otc="+url.QueryEscape(code), nil)
				if err != nil {
					return err
				}
				a, err := here.http.Do(r)
				if err == nil {
					a.Body.Close()
				}
				return err
			}}
			cmd.Env, cmd.Dir, cmd.Stderr = here.env(home), home, prompt
			if out, err := cmd.Output(); err != nil || prompt.err != nil {
				t.Fatalf("%v, %v\n%s%s", err, prompt.err, out, prompt.text.String())
			}
		},
		"browser": func(t *testing.T, s *subject, home string) {
			t.Helper()
			here.must(t, home, create(s, "browser"))
		},
		"cli": func(t *testing.T, s *subject, _ string) {
			t.Helper()
			here.must(t, s.names["home"], "export AZURE_CONFIG_DIR="+administrator(t)+"/.azure\n"+create(s, "cli"))
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := here.newSubject(t)
			s.names["home"] = newRotate(t, s)
			signIn(t, s, s.names["home"])
			here.holds(t, s, fact{created, map[string]any{"keyCredentials.#": 1, "signInAudience": "AzureADMyOrg"}})
		})
	}
}
