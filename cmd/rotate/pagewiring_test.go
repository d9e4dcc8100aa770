//go:build e2e

package main_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/emulator"
)

// freePort is one that nobody listens on now. It is none of those that the kernel gives
// to whoever asks for any, so that no other test gets it meanwhile.
func freePort(t *testing.T) string {
	t.Helper()
	for {
		port := strconv.Itoa(20_000 + rand.IntN(12_000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// pageHost is a host whose daemon has one app and a page of this configuration.
func pageHost(t *testing.T, s *tenantServer, page string) *machine {
	t.Helper()
	m := newMachine(t)
	m.configure(t, "store", issueDefaults, s)
	m.addConfig(t, "page: "+page+"\n")
	m.must(t, 0, "init", "--no-recovery")
	m.startDaemon(t)
	return m
}

// look is what a visitor gets; an error is one of the handshake.
func look(t *testing.T, client *http.Client, address string) (int, string, error) {
	t.Helper()
	answer, err := client.Get(address)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	return answer.StatusCode, string(must1(io.ReadAll(answer.Body))(t)), nil
}

// TestPageForCertificates serves the page on every address of the host, for visitors
// with a certificate, from the configuration's file to the visitor's browser.
func TestPageForCertificates(t *testing.T) {
	t.Parallel()
	_, s := serveTenant(t, "contoso")
	ca, foreign := newAuthority(t), newAuthority(t)
	_, certificate, key := ca.issue(t, "rotate.contoso.example")
	port := freePort(t)
	m := pageHost(t, s, fmt.Sprintf(`{listen: "0.0.0.0:%s", names: [rotate.contoso.example], tls: {certificate_file: %q, key_file: %q}, clients: {ca_file: %q, names: [alice@contoso.example]}}`,
		port, certificate, key, ca.file))
	alice, _, _ := ca.issue(t, "alice@contoso.example")
	bob, _, _ := ca.issue(t, "bob@contoso.example")
	mallory, _, _ := foreign.issue(t, "alice@contoso.example")
	for name, c := range map[string]struct {
		host string
		show []tls.Certificate
		want int // 0: the handshake fails
		says string
	}{
		"alice":          {"rotate.contoso.example", []tls.Certificate{alice}, http.StatusOK, "<h1"},
		"bob":            {"rotate.contoso.example", []tls.Certificate{bob}, http.StatusForbidden, "may not see this page"},
		"mallory":        {"rotate.contoso.example", []tls.Certificate{mallory}, 0, ""},
		"no certificate": {"rotate.contoso.example", nil, 0, ""},
		"another name":   {"evil.example", []tls.Certificate{alice}, http.StatusMisdirectedRequest, "not known under that name"},
	} {
		client := &http.Client{Timeout: patient, Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.roots(), ServerName: "rotate.contoso.example", Certificates: c.show},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
			},
		}}
		status, body, err := look(t, client, "https://"+c.host+":"+port+"/")
		if c.want == 0 {
			if err == nil {
				t.Errorf("%s: %d, want a refused handshake", name, status)
			}
			continue
		}
		if err != nil || status != c.want || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d, %v, want %d and %q\n%s", name, status, err, c.want, c.says, body)
		}
	}
	if code := m.daemon.stop(t); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	if code, _, stderr := m.run(t, "config", "check"); code != 0 {
		t.Errorf("config check: %d %s", code, stderr)
	}
}

// TestPageForMembers serves the page to members of a group, who sign in at the tenant.
func TestPageForMembers(t *testing.T) {
	t.Parallel()
	const auditors = "bbbbbbbb-0000-0000-0000-000000000001"
	tenant, s := serveTenant(t, "contoso")
	app := must1(tenant.AddApplication(emulator.Application{Name: "page", Secrets: []emulator.Secret{{DisplayName: "page"}}}))(t)
	ca := newAuthority(t)
	_, certificate, key := ca.issue(t, "127.0.0.1")
	port := freePort(t)
	address := "https://127.0.0.1:" + port
	secret := filepath.Join(t.TempDir(), "page.secret")
	if err := os.WriteFile(secret, []byte(app.Secrets[0].Text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tenant.Configure(func(e *emulator.Tenant) {
		e.Users = []emulator.User{{Name: "alice@contoso.example", Groups: []string{auditors}}}
		e.RedirectURIs = map[string][]string{app.ClientID: {address + "/login/callback"}}
	})
	m := pageHost(t, s, fmt.Sprintf(`{listen: "127.0.0.1:%s", tls: {certificate_file: %q, key_file: %q}, login: {tenant: contoso, client_id: %s, client_secret_file: %q, group: %s, address: %q}}`,
		port, certificate, key, app.ClientID, secret, auditors, address))
	roots := ca.roots()
	roots.AppendCertsFromPEM(must1(os.ReadFile(s.ready.CAFile))(t))
	visitor := func() *http.Client {
		return &http.Client{Timeout: patient, Jar: must1(cookiejar.New(nil))(t), Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	}
	status, body, err := look(t, visitor(), address+"/")
	if err != nil || status != http.StatusOK || !strings.Contains(body, "No app is tracked") {
		t.Errorf("a member: %d, %v\n%s", status, err, body)
	}
	tenant.Configure(func(e *emulator.Tenant) { e.Users[0].Groups = nil })
	if status, body, err = look(t, visitor(), address+"/"); err != nil || status != http.StatusForbidden || !strings.Contains(body, "not in the group") {
		t.Errorf("somebody else: %d, %v\n%s", status, err, body)
	}
	m.daemon.stop(t)
	if strings.Contains(m.daemon.stderr.String(), app.Secrets[0].Text) {
		t.Error("the log shows the secret")
	}
}

// TestPageOpen refuses a page that others can reach and that asks nobody who they are.
func TestPageOpen(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for page, want := range map[string]string{
		`{listen: "0.0.0.0:9780", names: [rotate.contoso.example]}`:                                                   "without page.tls everybody on the way could read along; set page.tls and page.clients or page.login, or listen on 127.0.0.1",
		`{listen: "[::]:9780", names: [rotate.contoso.example], tls: {certificate_file: one.pem, key_file: one.key}}`: "nothing says who may look; set page.clients (certificates) or page.login (sign-in at the tenant), or listen on 127.0.0.1",
	} {
		m.configure(t, "store", issueDefaults)
		m.addConfig(t, "  - {name: contoso, id: 11111111-2222-3333-4444-555555555555}\npage: "+page+"\n")
		m.mustSay(t, 2, []string{"page.listen", want}, "daemon")
	}
}

// TestPageCannotListen: rotations go on without the page, and the status says that it
// is not there.
func TestPageCannotListen(t *testing.T) {
	t.Parallel()
	tenant := startTenant(t, "contoso", "--apps", "1")
	taken := must1(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer taken.Close()
	m := pageHost(t, tenant, fmt.Sprintf("{listen: %q}", taken.Addr()))
	app := newAdopted(t, m, tenant, "app-1", "self", tenant.ready.Apps[0])
	m.must(t, 0, app.add()...)
	m.must(t, 0, "now", "app-1", "--wait")
	if stdout, _ := m.must(t, 0, "status"); !strings.Contains(stdout, "the web page is not served: page: listen tcp "+taken.Addr().String()+": bind: address already in use") {
		t.Errorf("status does not say so:\n%s", stdout)
	}
	if !strings.Contains(m.daemon.stderr.String(), "there is no page") {
		t.Error("the log does not say so")
	}
	if code := m.daemon.stop(t); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	checkWorld(t, m, app)
}

// TestDemoWithoutItsPort starts a demo while something listens on 9780: it takes
// another port and says so.
func TestDemoWithoutItsPort(t *testing.T) {
	if taken, err := net.Listen("tcp", "127.0.0.1:9780"); err == nil { // else it is taken already
		defer taken.Close()
	}
	demo := launch(t, t.TempDir(), os.Environ(), "demo", "--dir", filepath.Join(t.TempDir(), "demo"))
	defer demo.kill()
	eventually(t, patient, func() error {
		_, after, ok := strings.Cut(demo.stdout.String(), "Watch it in a browser, too: http://127.0.0.1:")
		line, _, whole := strings.Cut(after, "\n")
		switch {
		case demo.hasEnded() || !ok || !whole:
			return fmt.Errorf("the demo names no page: %s%s", demo.stdout.String(), demo.stderr.String())
		case strings.HasPrefix(line, "9780/") || !strings.HasSuffix(line, "/apps/app-1 (127.0.0.1:9780 is taken)"):
			t.Errorf("the demo says %q", line)
		}
		return nil
	})
}
