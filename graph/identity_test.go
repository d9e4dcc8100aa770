package graph_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestWithoutAnIdentity(t *testing.T) {
	w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) { c.Tenants[0].Identity = graph.Identity{} })
	_, err := w.client.Keys(t.Context(), w.managed(), false)
	f := failure(t, err)
	if f.Class != rotator.ClassFix || !strings.Contains(f.Message, `tenant "contoso" has no identity`) || !strings.Contains(f.Next, "--mode self") {
		t.Errorf("%v %q, next %q", f.Class, f.Message, f.Next)
	}
	if _, err := w.client.AddKey(t.Context(), w.self(), w.pair, newKey(t, newPair(t, 1, time.Hour))); err != nil {
		t.Errorf("self mode: %v, want none", err)
	}
}

// TestIdentityWithACertificate that is rotated while the client lives.
func TestIdentityWithACertificate(t *testing.T) {
	var pair rotator.KeyPair
	var broken error
	asked := 0
	w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
		c.Tenants[0].Identity = graph.Identity{Certificate: &graph.Certificate{
			ClientID: adminID,
			Pair:     func(context.Context) (rotator.KeyPair, error) { asked++; return pair, broken },
		}}
	})
	read := func() error {
		_, err := w.client.Keys(t.Context(), w.managed(), false)
		return err
	}
	broken = errors.New("not held")
	if f := failure(t, read()); f.Class != rotator.ClassFix || !strings.Contains(f.Message, "not held") {
		t.Errorf("%v %q, want fix and the reason", f.Class, f.Message)
	}
	broken, pair = nil, newPair(t, 1, time.Hour)
	if f := failure(t, read()); f.Class != rotator.ClassWait || f.Reason != rotator.ReasonOther {
		t.Errorf("not registered: %v %v %q, want wait, other", f.Class, f.Reason, f.Message)
	}
	first, err := w.tenant.AddKeyCredential(adminID, emulator.KeyCredential{Certificate: pair.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	asked = 0
	for range 2 {
		if err := read(); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("the pair was asked %d times for 2 reads, want once, after it had been refused", asked)
	}

	next := newPair(t, 2, time.Hour)
	if _, err := w.tenant.AddKeyCredential(adminID, emulator.KeyCredential{Certificate: next.Certificate}); err != nil {
		t.Fatal(err)
	}
	if err := w.tenant.RemoveKeyCredential(adminID, first); err != nil {
		t.Fatal(err)
	}
	pair = next
	w.sent.fail(nil)
	w.client.ForgetIdentity("contoso")
	if err := read(); err != nil {
		t.Errorf("with the next pair: %v, want none", err)
	}
	if n := w.sent.tokens(); n != 1 {
		t.Errorf("%d token requests after ForgetIdentity, want 1", n)
	}
}

// TestARefusedTokenIsNotUsedAgain: the next call gets a new one.
func TestARefusedTokenIsNotUsedAgain(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.client.Keys(t.Context(), w.managed(), false); err != nil {
		t.Fatal(err)
	}
	w.sent.fail(on(http.MethodGet, w.app.ObjectID, emulator.Fault{Status: 401, Code: "InvalidAuthenticationToken"}))
	if _, err := w.client.Keys(t.Context(), w.managed(), false); err == nil {
		t.Fatal("a refused token: no error")
	}
	w.sent.fail(nil)
	if _, err := w.client.Keys(t.Context(), w.managed(), false); err != nil || w.sent.tokens() != 1 {
		t.Errorf("%v, %d token requests, want none and 1", err, w.sent.tokens())
	}
}

func TestSecretIsReadForEachCredential(t *testing.T) {
	secret := "wrong"
	w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
		c.Tenants[0].Identity.ClientSecret.Secret = func() (string, error) {
			if secret == "" {
				return "", errors.New("the file is empty")
			}
			return secret, nil
		}
	})
	for _, c := range []struct{ secret, want string }{{"wrong", "AADSTS7000215"}, {"", "the file is empty"}, {adminSecret, ""}} {
		secret = c.secret
		_, err := w.client.Keys(t.Context(), w.managed(), false)
		if c.want == "" {
			if err != nil {
				t.Errorf("right secret: %v", err)
			}
			continue
		}
		if f := failure(t, err); f.Class != rotator.ClassFix || !strings.Contains(f.Message, c.want) {
			t.Errorf("secret %q: %v %q, want fix and %q", c.secret, f.Class, f.Message, c.want)
		}
	}
}

// TestOtherIdentities fail with a message of their own when there is nothing
// to ask, and ask what they should.
func TestOtherIdentities(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("a-federated-token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		identity graph.Identity
		want     string
	}{
		{"az is not installed", graph.Identity{AzureCLI: &graph.AzureCLI{}}, "executable not found"},
		{"no token file", graph.Identity{WorkloadIdentity: &graph.WorkloadIdentity{ClientID: adminID, TokenFile: file + "x"}}, "no such file"},
		{"federation refused", graph.Identity{WorkloadIdentity: &graph.WorkloadIdentity{ClientID: adminID, TokenFile: file}}, "AADSTS"},
		{"managed identity", graph.Identity{ManagedIdentity: &graph.ManagedIdentity{ClientID: adminID}}, "169.254.169.254"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, func(tenant *emulator.Tenant, config *graph.Config) {
				config.Tenants[0].Identity = c.identity
				through := tenant.Transport()
				config.Tenants[0].Cloud.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					if r.URL.Host == "169.254.169.254" {
						return nil, errors.New("no route to host")
					}
					return through.RoundTrip(r)
				})
			})
			_, err := w.client.Keys(t.Context(), w.managed(), false)
			f := failure(t, err)
			if !strings.Contains(f.Message, c.want) || strings.Contains(f.Message, "a-federated-token") {
				t.Errorf("%v %q, want %q", f.Class, f.Message, c.want)
			}
		})
	}
}

func TestBadConfigurations(t *testing.T) {
	good := graph.Tenant{Name: "contoso", ID: "contoso.onmicrosoft.com"}
	secret := func() (string, error) { return "", nil }
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config func(*graph.Config, *graph.Tenant)
		want   string
	}{
		"no name": {func(_ *graph.Config, t *graph.Tenant) { t.Name = "" }, "no name"},
		"bad ID":  {func(_ *graph.Config, t *graph.Tenant) { t.ID = "a/b" }, `"a/b"`},
		"twice":   {func(c *graph.Config, t *graph.Tenant) { c.Tenants = append(c.Tenants, *t) }, "twice"},
		"http":    {func(_ *graph.Config, t *graph.Tenant) { t.Cloud = graph.Cloud{Login: "http://a", Graph: "https://b"} }, "cloud.login"},
		"a path": {func(_ *graph.Config, t *graph.Tenant) {
			t.Cloud = graph.Cloud{Login: "https://a", Graph: "https://b/v1.0"}
		}, "cloud.graph"},
		"user in the URL": {func(_ *graph.Config, t *graph.Tenant) {
			t.Cloud = graph.Cloud{Login: "https://u@a", Graph: "https://b"}
		}, "cloud.login"},
		"unknown cloud": {func(_ *graph.Config, t *graph.Tenant) { t.Cloud = graph.Cloud{Name: "moon"} }, `"moon"`},
		"other hosts": {func(_ *graph.Config, t *graph.Tenant) {
			t.Cloud = graph.Cloud{Name: "global", Login: "https://a", Graph: "https://b"}
		}, "login.microsoftonline.com"},
		"CA for Microsoft": {func(_ *graph.Config, t *graph.Tenant) {
			t.Cloud = graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.test", CAFile: "ca.pem"}
		}, "custom hosts only"},
		"no CA file": {func(_ *graph.Config, t *graph.Tenant) {
			t.Cloud = graph.Cloud{Login: "https://a", Graph: "https://a", CAFile: "/none"}
		}, "/none"},
		"empty CA file": {func(_ *graph.Config, t *graph.Tenant) {
			t.Cloud = graph.Cloud{Login: "https://a", Graph: "https://a", CAFile: empty}
		}, "no certificate"},
		"two identities": {func(_ *graph.Config, t *graph.Tenant) {
			t.Identity = graph.Identity{AzureCLI: &graph.AzureCLI{}, ManagedIdentity: &graph.ManagedIdentity{}}
		}, "only one"},
		"secret without client ID": {func(_ *graph.Config, t *graph.Tenant) {
			t.Identity = graph.Identity{ClientSecret: &graph.ClientSecret{Secret: secret}}
		}, "belong together"},
		"certificate without client ID": {func(_ *graph.Config, t *graph.Tenant) {
			t.Identity = graph.Identity{Certificate: &graph.Certificate{}}
		}, "belong together"},
		"proxy": {func(c *graph.Config, _ *graph.Tenant) { c.Proxy = "://user:hunter2@proxy" }, "proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			config, tenant := graph.Config{}, good
			c.config(&config, &tenant)
			config.Tenants = append(config.Tenants, tenant)
			_, err := graph.New(config)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("New = %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestClouds(t *testing.T) {
	for _, name := range []string{"global", "usgov", "usgov-dod", "china"} {
		c, err := graph.CloudByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := graph.New(graph.Config{Tenants: []graph.Tenant{{Name: "t", ID: "contoso.com", Cloud: c}}}); err != nil {
			t.Errorf("cloud %s: %v", name, err)
		}
	}
	client, err := graph.New(graph.Config{Tenants: []graph.Tenant{{Name: "t", ID: "contoso.com"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := rotator.Hosts{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com"}
	if hosts, err := client.Hosts("t"); err != nil || hosts != want {
		t.Errorf("Hosts = %v, %v, want %v", hosts, err, want)
	}
}
