package emulator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-cmp/cmp"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/seed-f0abd057/rotate/emulator"
)

// serve starts a tenant on a real port and stops it when the test ends.
func serve(t *testing.T, tenant *emulator.Tenant, o emulator.Options) emulator.Ready {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan emulator.Ready, 1)
	done := make(chan error, 1)
	go func() { done <- emulator.Serve(ctx, tenant, o, func(r emulator.Ready) { ready <- r }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	select {
	case r := <-ready:
		return r
	case err := <-done:
		done <- nil
		t.Fatalf("Serve: %v", err)
	}
	panic("unreachable")
}

// trusting returns a transport that trusts one authority.
func trusting(t *testing.T, caFile string) *http.Transport {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		t.Fatalf("%s is not PEM", caFile)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func credentialOptions(login string, tr http.RoundTripper) azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: login},
		Transport: &http.Client{Transport: tr},
		Retry:     policy.RetryOptions{MaxRetries: -1},
	}
}

func scope() policy.TokenRequestOptions {
	return policy.TokenRequestOptions{Scopes: []string{"https://graph.microsoft.com/.default"}, EnableCAE: true}
}

// TestServe meets a real listener with Microsoft's own client.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	tenant := newTenant(t)
	if err := os.WriteFile(filepath.Join(dir, "ready.json"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	logFile := filepath.Join(dir, "requests.log")
	r := serve(t, tenant, emulator.Options{Dir: dir, Apps: 2, Permissions: emulator.PermissionsVendor, LogFile: logFile})
	tr := trusting(t, r.CAFile)
	ctx := t.Context()

	var fromFile emulator.Ready
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "ready.json"))), &fromFile); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, fromFile); diff != "" {
		t.Errorf("ready.json (-told +written):\n%s", diff)
	}
	if r.Login != r.Graph || r.TenantID != tenant.TenantID() || len(r.Apps) != 2 || r.Apps[1].Name != "app-2" {
		t.Errorf("ready: %+v", r)
	}
	for _, name := range []string{r.CAFile, r.Admin.ClientSecretFile, r.Apps[0].PFXFile, r.Apps[0].PasswordFile, logFile} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 || !filepath.IsAbs(name) {
			t.Errorf("%s: %v %v, want an absolute path of mode 0600", name, info.Mode(), err)
		}
	}

	key, cert, err := pkcs12.Decode([]byte(read(t, r.Apps[0].PFXFile)), read(t, r.Apps[0].PasswordFile))
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(cert.NotAfter); left > emulator.DefaultNotAfter || left < emulator.DefaultNotAfter-time.Hour {
		t.Errorf("the certificate lives for %v, want 20 days", left)
	}
	byCertificate, err := azidentity.NewClientCertificateCredential(r.TenantID, r.Apps[0].ClientID, []*x509.Certificate{cert}, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: credentialOptions(r.Login, tr), DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := byCertificate.GetToken(ctx, scope())
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, token string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Graph+"/v1.0/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		resp, err := tr.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := get("applications/"+r.Apps[0].ObjectID, token.Token); status != http.StatusOK {
		t.Errorf("read own app: %d", status)
	}
	bySecret, err := azidentity.NewClientSecretCredential(r.TenantID, r.Admin.ClientID, read(t, r.Admin.ClientSecretFile), &azidentity.ClientSecretCredentialOptions{
		ClientOptions: credentialOptions(r.Login, tr), DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bySecret.GetToken(ctx, scope()); err != nil {
		t.Error(err)
	}
	app, err := tenant.Application(r.Apps[0].ClientID)
	if err != nil {
		t.Fatal(err)
	}
	if len(app.KeyCredentials) != 2 || len(app.Secrets) != 1 || app.KeyCredentials[0].KeyID != r.Apps[0].KeyID ||
		!slices.Equal(app.Owners, []string{r.Admin.ClientID}) ||
		!slices.Equal(app.Permissions, []string{"Directory.Read.All", "Mail.Read", "MailboxSettings.Read", "User.Read.All"}) {
		t.Errorf("seeded app: %+v", app)
	}

	// The certificate is good for every name of this machine.
	port := r.Login[strings.LastIndex(r.Login, ":")+1:]
	for _, name := range []string{"127.0.0.1", "::1", "localhost"} {
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: tr.TLSClientConfig.RootCAs, ServerName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = conn.Close()
	}

	// A lost answer closes the connection.
	tenant.Configure(func(t *emulator.Tenant) {
		t.Intercept = func(r emulator.Request) *emulator.Fault {
			return &emulator.Fault{LoseAnswer: r.Method == http.MethodPost}
		}
	})
	form := url.Values{"client_id": {"x"}}
	resp, err := (&http.Client{Transport: tr}).PostForm(r.Login+"/x/oauth2/v2.0/token", form)
	if err == nil {
		_ = resp.Body.Close()
		t.Errorf("lost answer: got %s, want an error", resp.Status)
	}

	lines := strings.Split(strings.TrimSpace(read(t, logFile)), "\n")
	var last map[string]any
	for _, line := range lines {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Errorf("log line %q: %v", line, err)
		}
	}
	for _, name := range []string{"time", "method", "path", "status", "client_id"} {
		if last[name] == nil {
			t.Errorf("log line %v has no %s", last, name)
		}
	}
	for _, secret := range []string{read(t, r.Admin.ClientSecretFile), read(t, r.Apps[0].PasswordFile), token.Token} {
		if strings.Contains(strings.Join(lines, "\n"), secret) {
			t.Error("the request log holds a secret")
		}
	}
}

func TestServeRefusals(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		o    emulator.Options
		want string
	}{
		{"no folder", emulator.Options{}, "no folder"},
		{"a file for a folder", emulator.Options{Dir: file}, file},
		{"address in use", emulator.Options{Dir: dir, Listen: taken.Addr().String()}, "address already in use"},
		{"unknown permissions", emulator.Options{Dir: dir, Permissions: "all"}, `unknown permissions "all"`},
		{"negative", emulator.Options{Dir: dir, Apps: -1}, "-1 apps"},
		{"log in a missing folder", emulator.Options{Dir: dir, LogFile: filepath.Join(dir, "no", "log")}, "request log"},
	} {
		err := emulator.Serve(t.Context(), &emulator.Tenant{}, tt.o, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
		if _, err := os.Stat(filepath.Join(dir, "ready.json")); err == nil {
			t.Errorf("%s: ready.json was written", tt.name)
		}
	}
}

func TestServePermissionsNone(t *testing.T) {
	tenant := newTenant(t)
	r := serve(t, tenant, emulator.Options{Dir: filepath.Join(t.TempDir(), "new"), Permissions: emulator.PermissionsNone, NotAfter: -time.Hour})
	app, err := tenant.Application(r.Apps[0].ClientID)
	if err != nil {
		t.Fatal(err)
	}
	if len(app.Permissions) != 0 {
		t.Errorf("permissions %v, want none", app.Permissions)
	}
	if !app.KeyCredentials[0].End.Before(time.Now()) {
		t.Errorf("the certificate ends at %v, want it expired", app.KeyCredentials[0].End)
	}
}

func TestTransportRefusesPlainHTTP(t *testing.T) {
	tenant := newTenant(t)
	resp, err := (&http.Client{Transport: tenant.Transport()}).Get("http://" + host + "/")
	if err == nil {
		_ = resp.Body.Close()
		t.Error("an http URL was served")
	}
}

// TestServePublicHosts asks for Microsoft's names and for others at one port.
func TestServePublicHosts(t *testing.T) {
	tenant := &emulator.Tenant{}
	r := serve(t, tenant, emulator.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", PublicHosts: true})
	if r.Login != "https://login.microsoftonline.com" || r.Graph != "https://graph.microsoft.com" || r.User == "" {
		t.Errorf("ready: %+v", r)
	}
	tr := trusting(t, r.CAFile)
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, r.Listen)
	}
	client := &http.Client{Transport: tr}
	wants := map[string]int{"vault.azure.net": 501, "localhost": 501} // certificates are there for all
	for _, host := range emulator.PublicHosts() {
		wants[host] = 501 // it is a path of the login host
		if strings.HasPrefix(host, "login.") || strings.HasPrefix(host, "sts.") {
			wants[host] = 200
		}
	}
	wants["graph.microsoft.com"] = 401
	for host, want := range wants {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/common/v2.0/.well-known/openid-configuration", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := client.Do(q)
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		a.Body.Close()
		if a.StatusCode != want {
			t.Errorf("%s: got %d, want %d", host, a.StatusCode, want)
		}
	}
}
