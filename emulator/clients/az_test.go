//go:build e2e

package clients_test

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// An azCase is one command of the Azure CLI, and what is true after it.
type azCase struct {
	// name is what the command is called.
	name string
	// line is run by a shell; {client} and so on are the parts of an app of its own.
	line string
	// prints must be in what it prints.
	prints []string
	// facts hold afterwards.
	facts []fact
}

// Some places that many facts read.
const (
	app     = "applications/{object}?$select=id,appId,displayName,keyCredentials,passwordCredentials,web,signInAudience,requiredResourceAccess"
	sp      = "servicePrincipals/{sp}"
	created = "applications?$top=999|displayName={new}"
)

// azCases are the commands in which an administrator is signed in.
func azCases() []azCase {
	is := func(path string, want map[string]any) []fact { return []fact{{path, want}} }
	return []azCase{
		{"ad app create", `az ad app create --display-name {new} --sign-in-audience AzureADMyOrg`, []string{`"displayName": "{new}"`}, is(created, map[string]any{"signInAudience": "AzureADMyOrg"})},
		{"ad app create with a redirect URI", `az ad app create --display-name {new} --web-redirect-uris https://contoso.example/back`, nil, is(created, map[string]any{"web.redirectUris.0": "https://contoso.example/back"})},
		{"ad app create of one that is there", `az ad app create --display-name {name} --web-redirect-uris https://contoso.example/back`, []string{"{object}"}, is(app, map[string]any{"web.redirectUris.0": "https://contoso.example/back", "keyCredentials.#": 1})},
		{
			"ad app create with permissions", `echo '[{"resourceAppId":"{graph}","resourceAccess":[{"id":"df021288-bdef-4463-88db-98f22de89214","type":"Role"}]}]' >{dir}/access.json
az ad app create --display-name {new} --required-resource-accesses @{dir}/access.json`, nil,
			is(created, map[string]any{"requiredResourceAccess.0.resourceAccess.0.id": "df021288-bdef-4463-88db-98f22de89214"}),
		},
		{"ad app create with an identifier URI", `az ad app create --display-name {new} --identifier-uris api://{new}`, nil, is(created, map[string]any{"identifierUris.0": "api://{new}"})},
		{"ad app list by name", `az ad app list --display-name {name} --query "[].appId" -o tsv`, []string{"{client}"}, nil},
		{"ad app list by filter", `az ad app list --filter "displayName eq '{name}'" --query "[].appId" -o tsv`, []string{"{client}"}, nil},
		{"ad app list by client ID", `az ad app list --app-id {client} --query "[].displayName" -o tsv`, []string{"{name}"}, nil},
		{"ad app list by identifier URI", `az ad app update --id {client} --identifier-uris api://{name}
az ad app list --identifier-uri api://{name} --query "[].appId" -o tsv`, []string{"{client}"}, is(app, map[string]any{"appId": "{client}"})},
		{"ad app list all", `az ad app list --all --query "[].appId" -o tsv`, []string{"{client}", "{bare}"}, nil},
		{"ad app list mine", `az ad app create --display-name {new}
az ad app list --show-mine --query "[].displayName" -o tsv`, []string{"{new}"}, is(created, map[string]any{"displayName": "{new}"})},
		{"ad app show by client ID", `az ad app show --id {client} --query id -o tsv`, []string{"{object}"}, nil},
		{"ad app show by object ID", `az ad app show --id {object} --query appId -o tsv`, []string{"{client}"}, nil},
		{"ad app update", `az ad app update --id {client} --display-name {new}`, nil, is(app, map[string]any{"displayName": "{new}", "keyCredentials.#": 1, "passwordCredentials.#": 1})},
		{"ad app update in general", `az ad app update --id {client} --set displayName={new}`, nil, is(app, map[string]any{"displayName": "{new}"})},
		{"ad app delete", `az ad app delete --id {client}`, nil, []fact{{app, nil}, {sp, nil}}},
		{"ad app credential list", `az ad app credential list --id {client} --query "[].keyId" -o tsv`, []string{"{secret}"}, nil},
		{"ad app credential list of certificates", `az ad app credential list --id {client} --cert --query "[].keyId" -o tsv`, []string{"{key}"}, nil},
		{"ad app credential reset", `az ad app credential reset --id {client} --query password -o tsv`, nil, is(app, map[string]any{"passwordCredentials.#": 1, "keyCredentials.0.keyId": "{key}"})},
		{"ad app credential reset, append", `az ad app credential reset --id {client} --append --display-name second`, []string{`"password"`}, is(app, map[string]any{"passwordCredentials.#": 2, "passwordCredentials.0.keyId": "{secret}", "passwordCredentials.1.displayName": "second", "keyCredentials.0.keyId": "{key}"})},
		{"ad app credential reset to a certificate", `az ad app credential reset --id {client} --cert @{cert}`, nil, is(app, map[string]any{"keyCredentials.#": 1, "passwordCredentials.#": 0})},
		{"ad app credential reset, append a certificate", `az ad app credential reset --id {client} --cert @{cert} --append`, nil, is(app, map[string]any{"keyCredentials.#": 2, "keyCredentials.0.keyId": "{key}", "passwordCredentials.0.keyId": "{secret}"})},
		{"ad app credential reset, make a certificate", `az ad app credential reset --id {client} --create-cert --append`, []string{"fileWithCertAndPrivateKey"}, is(app, map[string]any{"keyCredentials.#": 2, "keyCredentials.0.keyId": "{key}"})},
		{"ad app credential delete", `az ad app credential delete --id {client} --key-id {secret}`, nil, is(app, map[string]any{"passwordCredentials.#": 0, "keyCredentials.#": 1})},
		{"ad app credential delete of a certificate", `az ad app credential delete --id {client} --key-id {key} --cert`, nil, is(app, map[string]any{"passwordCredentials.#": 1, "keyCredentials.#": 0})},
		{"ad app owner add", `az ad app owner add --id {client} --owner-object-id {owner}`, nil, is("applications/{object}/owners", map[string]any{"value.0.id": "{owner}", "value.#": 1})},
		{"ad app owner list", `az ad app owner add --id {client} --owner-object-id {owner}
az ad app owner list --id {client} --query "[].id" -o tsv`, []string{"{owner}"}, nil},
		{"ad app owner remove", `az ad app owner add --id {client} --owner-object-id {owner}
az ad app owner remove --id {client} --owner-object-id {owner}`, nil, is("applications/{object}/owners", map[string]any{"value.#": 0})},
		{"ad app permission add", `az ad app permission add --id {bare} --api {graph} --api-permissions 18a4783c-866b-4cc7-a460-3d5e5662c884=Role`, nil, is("applications/{bareobject}", map[string]any{"requiredResourceAccess.0.resourceAccess.0.id": "18a4783c-866b-4cc7-a460-3d5e5662c884"})},
		{"ad app permission list", `az ad app permission list --id {client} --query "[].resourceAccess[].id" -o tsv`, []string{"1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"}, nil},
		{"ad app permission delete", `az ad app permission delete --id {client} --api {graph}`, nil, is(app, map[string]any{"requiredResourceAccess.#": 0})},
		{"ad app permission grant", `az ad app permission grant --id {client} --api {graph} --scope User.Read.All`, nil, is("oauth2PermissionGrants|clientId={sp}", map[string]any{"scope": "User.Read.All", "consentType": "AllPrincipals"})},
		{"ad app permission list-grants", `az ad app permission grant --id {client} --api {graph} --scope User.Read.All
az ad app permission list-grants --id {client} --query "[].scope" -o tsv`, []string{"User.Read.All"}, nil},
		{"ad app permission admin-consent", `az ad app permission add --id {client} --api {graph} --api-permissions df021288-bdef-4463-88db-98f22de89214=Role
az ad app permission admin-consent --id {client}`, nil, is("servicePrincipals/{sp}/appRoleAssignments|appRoleId=df021288-bdef-4463-88db-98f22de89214", map[string]any{"principalId": "{sp}"})},
		{"ad app federated-credential create", federate, []string{`"name": "{new}"`}, is("applications/{object}/federatedIdentityCredentials", map[string]any{"value.0.name": "{new}", "value.0.subject": "repo:contoso/deploy"})},
		{"ad app federated-credential list", federate + `
az ad app federated-credential list --id {client} --query "[].name" -o tsv`, []string{"{new}"}, nil},
		{"ad app federated-credential show", federate + `
az ad app federated-credential show --id {client} --federated-credential-id {new} --query subject -o tsv`, []string{"repo:contoso/deploy"}, nil},
		{"ad app federated-credential update", federate + `
sed -i s/deploy/other/ {dir}/federated.json
az ad app federated-credential update --id {client} --federated-credential-id {new} --parameters @{dir}/federated.json`, nil, is("applications/{object}/federatedIdentityCredentials", map[string]any{"value.0.subject": "repo:contoso/other"})},
		{"ad app federated-credential delete", federate + `
az ad app federated-credential delete --id {client} --federated-credential-id {new}`, nil, is("applications/{object}/federatedIdentityCredentials", map[string]any{"value.#": 0})},
		{"ad sp create", `az ad sp create --id {bare}`, []string{`"appId": "{bare}"`}, is("servicePrincipals(appId='{bare}')", map[string]any{"appId": "{bare}"})},
		{"ad sp show by client ID", `az ad sp show --id {client} --query id -o tsv`, []string{"{sp}"}, nil},
		{"ad sp show by object ID", `az ad sp show --id {sp} --query appId -o tsv`, []string{"{client}"}, nil},
		{"ad sp list by name", `az ad sp list --display-name {name} --query "[].appId" -o tsv`, []string{"{client}"}, nil},
		{"ad sp list by filter", `az ad sp list --filter "servicePrincipalNames/any(c:c eq '{client}')" --query "[].id" -o tsv`, []string{"{sp}"}, nil},
		{"ad sp list by name of service principal", `az ad sp list --spn {client} --query "[].id" -o tsv`, []string{"{sp}"}, nil},
		{"ad sp list all", `az ad sp list --all --query "[].appId" -o tsv`, []string{"{client}", "{graph}"}, nil},
		{"ad sp update", `az ad sp update --id {client} --set accountEnabled=false`, nil, is(sp, map[string]any{"accountEnabled": false})},
		{"ad sp delete", `az ad sp delete --id {client}`, nil, []fact{{sp, nil}, {app, map[string]any{"appId": "{client}"}}}},
		{"ad sp owner list", `az ad sp owner list --id {client} -o json`, []string{"[]"}, nil},
		{"ad sp credential reset", `az ad sp credential reset --id {sp}`, []string{`"password"`}, is(sp, map[string]any{"passwordCredentials.#": 1})},
		{"ad sp credential reset, append a certificate", `az ad sp credential reset --id {sp} --cert @{cert} --append`, nil, is(sp, map[string]any{"keyCredentials.#": 1})},
		{"ad sp credential list", `az ad sp credential reset --id {sp} --display-name second >/dev/null
az ad sp credential list --id {sp} --query "[].displayName" -o tsv`, []string{"second"}, nil},
		{"ad sp credential delete", `az ad sp credential reset --id {sp} >/dev/null
az ad sp credential delete --id {sp} --key-id "$(az ad sp credential list --id {sp} --query "[0].keyId" -o tsv)"`, nil, is(sp, map[string]any{"passwordCredentials.#": 0})},
		{"ad sp create-for-rbac", `az ad sp create-for-rbac --name {new}`, []string{`"displayName": "{new}"`, `"password"`}, is(created, map[string]any{"passwordCredentials.#": 1})},
		{"ad signed-in-user show", `az ad signed-in-user show --query userPrincipalName -o tsv`, []string{"administrator@contoso.onmicrosoft.com"}, nil},
	}
}

// federate adds a federated credential to the app.
const federate = `echo '{"name":"{new}","issuer":"https://token.actions.githubusercontent.com","subject":"repo:contoso/deploy","audiences":["api://AzureADTokenExchange"]}' >{dir}/federated.json
az ad app federated-credential create --id {client} --parameters @{dir}/federated.json`

// signedIn signs the administrator in to the Azure CLI, once, and returns the folder
// that knows it.
var signedIn = sync.OnceValues(func() (string, error) {
	home := filepath.Join(here.dir, "administrator")
	if err := here.deviceLogin(context.Background(), home); err != nil {
		return "", err
	}
	// The cache of its commands, and a token for Graph.
	cmd := exec.Command("az", "ad", "signed-in-user", "show")
	cmd.Env, cmd.Dir = here.env(home), home
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", &loginError{err, string(out)}
	}
	return filepath.Join(home, ".azure"), nil
})

// administrator returns a home folder in which the administrator is signed in to the
// Azure CLI. It is a copy: the CLI may not read its files while another one writes
// them.
func administrator(t *testing.T) (home string) {
	t.Helper()
	from, err := signedIn()
	if err != nil {
		t.Fatal(err)
	}
	home = t.TempDir()
	if err := os.CopyFS(filepath.Join(home, ".azure"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return home
}

// deviceLogin signs in with a device code, which it enters as a person would.
func (w *world) deviceLogin(ctx context.Context, home string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "az", "login", "--use-device-code", "--tenant", w.ready.TenantID, "--allow-no-subscriptions")
	cmd.Env, cmd.Dir = w.env(home), home
	prompt := &codePrompt{enter: func(page, code string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, page+"?otc="+url.QueryEscape(code), nil)
		if err != nil {
			return err
		}
		a, err := w.http.Do(r)
		if err == nil {
			a.Body.Close()
		}
		return err
	}}
	cmd.Stderr = prompt
	err := cmd.Run()
	if err == nil {
		err = prompt.err
	}
	if err != nil {
		return &loginError{err, prompt.text.String()}
	}
	return nil
}

type loginError struct {
	err  error
	said string
}

func (e *loginError) Error() string { return "sign in: " + e.err.Error() + "\n" + e.said }

// codePrompt is where a client writes which code to enter; it has it entered.
type codePrompt struct {
	text    strings.Builder
	entered bool
	enter   func(page, code string) error
	err     error
}

var prompted = regexp.MustCompile(`the page (https://\S+) and enter the code (\S+) `)

func (p *codePrompt) Write(b []byte) (int, error) {
	p.text.Write(b)
	if m := prompted.FindStringSubmatch(p.text.String()); m != nil && !p.entered {
		p.entered = true
		p.err = p.enter(m[1], m[2])
	}
	return len(b), nil
}

// TestAzureCLI runs each command of the Azure CLI that has to do with apps.
func TestAzureCLI(t *testing.T) {
	for _, c := range azCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			home := administrator(t)
			s := here.newSubject(t)
			out := here.must(t, home, s.fill(c.line))
			for _, want := range c.prints {
				if want = s.fill(want); !strings.Contains(out, want) {
					t.Errorf("it printed no %q:\n%s", want, out)
				}
			}
			for _, f := range c.facts {
				here.holds(t, s, f)
			}
		})
	}
}

// TestAzureCLILogin signs in and out in each way.
func TestAzureCLILogin(t *testing.T) {
	const show = "\naz account show --query user.name -o tsv\naz ad app show --id {client} --query displayName -o tsv"
	for name, c := range map[string]struct{ line, prints string }{
		"secret":      {`az login --service-principal -u {client} -p {secrettext} --tenant {tenant} --allow-no-subscriptions` + show, "{client}\n{name}"},
		"certificate": {`az login --service-principal -u {client} -p {pem} --tenant {tenant} --allow-no-subscriptions` + show, "{client}\n{name}"},
		"logout": {`az login --service-principal -u {client} -p {secrettext} --tenant {tenant} --allow-no-subscriptions >/dev/null
az logout
az account show 2>&1 || true`, "Please run 'az login'"},
		"access token": {`az login --service-principal -u {client} -p {pem} --tenant {tenant} --allow-no-subscriptions >/dev/null
az account get-access-token --resource https://graph.microsoft.com --query tenant -o tsv`, "{tenant}"},
		"wrong secret": {`az login --service-principal -u {client} -p wrong --tenant {tenant} --allow-no-subscriptions 2>&1 || true`, "AADSTS7000215"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := here.newSubject(t)
			s.names["secrettext"] = s.secret
			if out := here.must(t, t.TempDir(), s.fill(c.line)); !strings.Contains(out, s.fill(c.prints)) {
				t.Errorf("it printed no %q:\n%s", s.fill(c.prints), out)
			}
		})
	}
	t.Run("administrator with a device code", func(t *testing.T) {
		t.Parallel()
		home := administrator(t)
		if out := here.must(t, home, "az account show --query user.name -o tsv"); strings.TrimSpace(out) != here.ready.User {
			t.Errorf("signed in as %q, want %q", out, here.ready.User)
		}
	})
	t.Run("create-for-rbac with a certificate, new", func(t *testing.T) {
		t.Parallel()
		home := administrator(t)
		s := here.newSubject(t)
		here.must(t, home, s.fill(`az ad sp create-for-rbac --name {new} --create-cert --query "[appId,fileWithCertAndPrivateKey]" -o tsv >{dir}/made`))
		here.holds(t, s, fact{created, map[string]any{"keyCredentials.#": 1, "passwordCredentials.#": 0}})
		here.must(t, t.TempDir(), s.fill(`{ read -r id; read -r file; } <{dir}/made
az login --service-principal --tenant {tenant} --allow-no-subscriptions -u "$id" -p "$file"`))
	})
	t.Run("create-for-rbac with a certificate", func(t *testing.T) {
		t.Parallel()
		home := administrator(t)
		s := here.newSubject(t)
		// A second run updates the app that the first one made.
		here.must(t, home, s.fill(`az ad sp create-for-rbac --name {new}
az ad sp create-for-rbac --name {new} --create-cert --query "[appId,fileWithCertAndPrivateKey]" -o tsv >{dir}/made`))
		here.holds(t, s, fact{created, map[string]any{"keyCredentials.#": 1, "passwordCredentials.#": 0}})
		here.must(t, t.TempDir(), s.fill(`{ read -r id; read -r file; } <{dir}/made
az login --service-principal --tenant {tenant} --allow-no-subscriptions -u "$id" -p "$file"`))
	})
}
