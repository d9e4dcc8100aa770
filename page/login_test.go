package page_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/page"
)

const (
	pageClient  = "aaaaaaaa-0000-0000-0000-000000000001"
	otherClient = "aaaaaaaa-0000-0000-0000-000000000002"
	auditors    = "bbbbbbbb-0000-0000-0000-000000000001"
	others      = "bbbbbbbb-0000-0000-0000-000000000002"
)

// guarded is a page with a login at a tenant, both on real ports with TLS.
type guarded struct {
	t       *testing.T
	tenant  *emulator.Tenant
	login   *httptest.Server
	address string
	secrets map[string]string
	browser *http.Client
	// meddle changes requests on their way to the login host; nil: nobody does.
	meddle func(*http.Request)
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{t: t, tenant: &emulator.Tenant{}, secrets: map[string]string{}}
	for _, id := range []string{pageClient, otherClient} {
		a, err := g.tenant.AddApplication(emulator.Application{Name: "page " + id, ClientID: id, Secrets: []emulator.Secret{{DisplayName: "page"}}})
		if err != nil {
			t.Fatal(err)
		}
		g.secrets[id] = a.Secrets[0].Text
	}
	g.login = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.meddle != nil {
			g.meddle(r)
		}
		g.tenant.ServeHTTP(w, r)
	}))
	t.Cleanup(g.login.Close)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = "https://" + l.Addr().String()
	g.tenant.Configure(func(e *emulator.Tenant) {
		e.Users = []emulator.User{{Name: "alice@contoso.example", Groups: []string{others, strings.ToUpper(auditors)}}}
		e.RedirectURIs = map[string][]string{pageClient: {g.address + "/login/callback"}, otherClient: {g.address + "/login/callback"}}
	})
	server := &page.Server{Source: newFixed(safeApp("sync", 90*day)), Access: page.Access{
		TLS: &tls.Config{Certificates: g.login.TLS.Certificates, MinVersion: tls.VersionTLS12},
		Login: &page.Login{
			Issuer: g.login.URL + "/" + g.tenant.TenantID() + "/v2.0", ClientID: pageClient, Secret: g.secrets[pageClient],
			Group: auditors, Address: g.address, Client: g.login.Client(),
		},
	}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	g.browser = g.newBrowser()
	return g
}

// newBrowser keeps cookies and trusts the test's certificates, as one does.
func (g *guarded) newBrowser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	return &http.Client{Jar: jar, Transport: g.login.Client().Transport, Timeout: time.Minute}
}

func (g *guarded) visit(to string) (int, string, *url.URL) {
	g.t.Helper()
	answer, err := g.browser.Get(to)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer.StatusCode, string(body), answer.Request.URL
}

func TestLogin(t *testing.T) {
	g := newGuarded(t)
	status, body, at := g.visit(g.address + "/apps/sync?x=1")
	if status != http.StatusOK || !strings.Contains(body, "Certificates") || at.RequestURI() != "/apps/sync?x=1" {
		t.Fatalf("after the login: %d at %s\n%s", status, at, body)
	}
	asked := len(g.tenant.Requests())
	if status, _, _ := g.visit(g.address + "/inventory.csv"); status != http.StatusOK || len(g.tenant.Requests()) != asked {
		t.Errorf("the session does not hold: %d", status)
	}
	for _, c := range g.browser.Jar.Cookies(must(url.Parse(g.address))) {
		if !strings.HasPrefix(c.Name, "__Host-") {
			t.Errorf("cookie %s", c.Name)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestLoginAttacks signs in in ways that must not lead inside.
func TestLoginAttacks(t *testing.T) {
	noRedirects := func(g *guarded) {
		g.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	for name, c := range map[string]struct {
		attack func(g *guarded) (int, string, *url.URL)
		status int
		says   string
	}{
		"not signed in": {func(g *guarded) (int, string, *url.URL) {
			noRedirects(g)
			return g.visit(g.address + "/")
		}, http.StatusSeeOther, ""},
		"events without a session": {func(g *guarded) (int, string, *url.URL) { return g.visit(g.address + "/events") }, http.StatusUnauthorized, "not signed in"},
		"made-up session": {func(g *guarded) (int, string, *url.URL) {
			noRedirects(g)
			g.browser.Jar.SetCookies(must(url.Parse(g.address)), []*http.Cookie{{Name: "__Host-rotate", Value: "AAAA", Path: "/", Secure: true}})
			return g.visit(g.address + "/")
		}, http.StatusSeeOther, ""},
		"another group": {func(g *guarded) (int, string, *url.URL) {
			g.tenant.Configure(func(e *emulator.Tenant) { e.Users[0].Groups = []string{others} })
			return g.visit(g.address + "/")
		}, http.StatusForbidden, "not in the group"},
		"no groups at all": {func(g *guarded) (int, string, *url.URL) {
			g.tenant.Configure(func(e *emulator.Tenant) { e.Users[0].Groups = nil })
			return g.visit(g.address + "/")
		}, http.StatusForbidden, "not in the group"},
		"too many groups": {func(g *guarded) (int, string, *url.URL) {
			g.tenant.Configure(func(e *emulator.Tenant) {
				for range 300 {
					e.Users[0].Groups = append(e.Users[0].Groups, auditors)
				}
			})
			return g.visit(g.address + "/")
		}, http.StatusForbidden, "too many groups"},
		"nobody": {func(g *guarded) (int, string, *url.URL) {
			g.tenant.Configure(func(e *emulator.Tenant) { e.Users = nil })
			return g.visit(g.address + "/")
		}, http.StatusBadRequest, "login_required"},
		// A token that the tenant signed, for the same person, but for another app.
		"token for another audience": {func(g *guarded) (int, string, *url.URL) {
			g.meddle = func(r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "/authorize"):
					r.URL.RawQuery = strings.ReplaceAll(r.URL.RawQuery, pageClient, otherClient)
				case strings.HasSuffix(r.URL.Path, "/token"):
					_ = r.ParseForm()
					form := r.PostForm
					form.Set("client_id", otherClient)
					form.Set("client_secret", g.secrets[otherClient])
					r.Header.Del("Authorization")
					r.Body = io.NopCloser(strings.NewReader(form.Encode()))
				}
			}
			return g.visit(g.address + "/")
		}, http.StatusForbidden, "not for this page"},
		"state of somebody else": {func(g *guarded) (int, string, *url.URL) {
			g.meddle = func(r *http.Request) {
				if q := r.URL.Query(); q.Has("state") {
					q.Set("state", "AAAAAAAAAAAAAAAAAAAAAAAAAA")
					r.URL.RawQuery = q.Encode()
				}
			}
			return g.visit(g.address + "/")
		}, http.StatusBadRequest, "not begun in this browser"},
		"nonce of another login": {func(g *guarded) (int, string, *url.URL) {
			g.meddle = func(r *http.Request) {
				if q := r.URL.Query(); q.Has("nonce") {
					q.Set("nonce", "AAAAAAAAAAAAAAAAAAAAAAAAAA")
					r.URL.RawQuery = q.Encode()
				}
			}
			return g.visit(g.address + "/")
		}, http.StatusForbidden, "not for this login"},
		"challenge of another login": {func(g *guarded) (int, string, *url.URL) {
			g.meddle = func(r *http.Request) {
				if q := r.URL.Query(); q.Has("code_challenge") {
					q.Set("code_challenge", strings.Repeat("A", 43))
					r.URL.RawQuery = q.Encode()
				}
			}
			return g.visit(g.address + "/")
		}, http.StatusForbidden, "did not accept"},
		"callback out of the blue": {func(g *guarded) (int, string, *url.URL) {
			return g.visit(g.address + "/login/callback?code=x&state=y")
		}, http.StatusBadRequest, "not begun in this browser"},
		"a callback twice": {func(g *guarded) (int, string, *url.URL) {
			var callback string
			g.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				if r.URL.Path == "/login/callback" {
					callback = r.URL.String()
				}
				return nil
			}
			g.visit(g.address + "/")
			g.browser.CheckRedirect = nil
			return g.visit(callback)
		}, http.StatusBadRequest, "not begun in this browser"},
		"the callback of another browser": {func(g *guarded) (int, string, *url.URL) {
			var callback string
			g.browser.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
				if r.URL.Path == "/login/callback" {
					callback = r.URL.String()
					return http.ErrUseLastResponse
				}
				return nil
			}
			g.visit(g.address + "/")
			g.browser = g.newBrowser()
			return g.visit(callback)
		}, http.StatusBadRequest, "not begun in this browser"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t)
			status, body, at := c.attack(g)
			if status != c.status || !strings.Contains(body, c.says) {
				t.Errorf("%d at %s, want %d and %q\n%s", status, at.Redacted(), c.status, c.says, body)
			}
			if strings.Contains(body, "safe until") {
				t.Error("the page shows its apps")
			}
		})
	}
}

// TestOpenRedirect leads nobody elsewhere after the login.
func TestOpenRedirect(t *testing.T) {
	for _, to := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, `\\evil.example`, "javascript:alert(1)", "/%0d%0aSet-Cookie:x=1", "///evil.example"} {
		g := newGuarded(t)
		_, _, at := g.visit(g.address + "/login?to=" + url.QueryEscape(to))
		if "https://"+at.Host != g.address {
			t.Errorf("%q leads to %s", to, at)
		}
	}
}

// TestClientCertificates shows the page good, foreign, unnamed and no certificates.
func TestClientCertificates(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	server := ours.issue("127.0.0.1")
	dir := t.TempDir()
	certificate, key, ca := writePEM(t, dir, server, ours)
	conf, err := page.LoadTLS(certificate, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, &page.Server{Source: newFixed(safeApp("sync", 90*day)), Access: page.Access{TLS: conf, ClientNames: []string{"alice@contoso.example"}}})
	roots := x509.NewCertPool()
	roots.AddCert(ours.certificate)
	for name, c := range map[string]struct {
		show []tls.Certificate
		want int // 0: the handshake fails
	}{
		"good":             {[]tls.Certificate{ours.issue("alice@contoso.example")}, http.StatusOK},
		"another name":     {[]tls.Certificate{ours.issue("mallory@contoso.example")}, http.StatusForbidden},
		"no certificate":   {nil, 0},
		"foreign":          {[]tls.Certificate{foreign.issue("alice@contoso.example")}, 0},
		"the server's own": {[]tls.Certificate{server}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: c.show}}}
			answer, err := client.Get("https://" + s.address + "/")
			if c.want == 0 {
				if err == nil {
					t.Errorf("answer %s, want a refused handshake", answer.Status)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			if answer.StatusCode != c.want {
				t.Errorf("answer %s, want %d", answer.Status, c.want)
			}
			if answer.Header.Get("Strict-Transport-Security") == "" {
				t.Error("no Strict-Transport-Security")
			}
		})
	}
}
