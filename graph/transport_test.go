package graph_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// serve puts the tenant on a real port and returns its URL and the file of
// its root certificate.
func serve(t *testing.T, h http.Handler) (address, ca string) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, ca
}

// TestOverRealTLS also shows that a host with a port gets its token: kiota
// compares hosts without the port, and leaves the token away without an error.
func TestOverRealTLS(t *testing.T) {
	w := newWorld(t, func(tenant *emulator.Tenant, c *graph.Config) {
		address, ca := serve(t, tenant)
		c.Tenants[0].Cloud = graph.Cloud{Login: address, Graph: address, CAFile: ca}
	})
	defer w.client.Close()
	if _, err := w.client.Keys(t.Context(), w.managed(), false); err != nil {
		t.Error(err)
	}
	if _, err := w.client.SignIn(t.Context(), w.registration(), w.pair, []string{"/users?$top=1"}); err != nil {
		t.Error(err)
	}
}

// TestCAFileHoldsForItsTenantOnly also shows that a server that is not trusted
// gets no token and that the failure is not ambiguous.
func TestCAFileHoldsForItsTenantOnly(t *testing.T) {
	w := newWorld(t, func(tenant *emulator.Tenant, c *graph.Config) {
		address, ca := serve(t, tenant)
		c.Tenants[0].Cloud = graph.Cloud{Login: address, Graph: address, CAFile: ca}
		other := c.Tenants[0]
		other.Name, other.Cloud.CAFile = "other", ""
		c.Tenants = append(c.Tenants, other)
	})
	defer w.client.Close()
	as := w.managed()
	as.Tenant = "other"
	_, err := w.client.AddKey(t.Context(), as, w.pair, newKey(t, w.pair))
	if f := failure(t, err); f.Class != rotator.ClassFix || f.Ambiguous || !strings.Contains(f.Next, "cloud.ca_file") {
		t.Errorf("%v, ambiguous %v, next %q: %q", f.Class, f.Ambiguous, f.Next, f.Message)
	}
	if n := len(w.sent.all); n != 0 {
		t.Errorf("%d requests reached the tenant, want none", n)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
		c.Tenants[0].Cloud = graph.Cloud{Login: s.URL, Graph: s.URL, CAFile: ca}
		c.Timeout = time.Minute
	})
	defer w.client.Close()
	_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
	if f := failure(t, err); !strings.Contains(f.Message, "protocol version") {
		t.Errorf("message %q, want the protocol version", f.Message)
	}
}

// proxy is an HTTP proxy that leads every tunnel to one address.
type proxy struct {
	to  string
	mu  sync.Mutex
	led []string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.led = append(p.led, r.Method+" "+r.Host)
	p.mu.Unlock()
	there, err := net.Dial("tcp", p.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	go func() { _, _ = io.Copy(there, here); _ = there.Close() }()
	go func() { _, _ = io.Copy(here, there); _ = here.Close() }()
}

func (p *proxy) hosts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.led)
	return slices.Compact(slices.Clone(p.led))
}

// TestProxyHoldsForTokenAndGraph, explicit or from the environment.
func TestProxyHoldsForTokenAndGraph(t *testing.T) {
	for _, c := range []struct {
		name               string
		explicit, from, no bool
		want               []string
	}{
		{"explicit", true, false, false, []string{"CONNECT example.com:443"}},
		{"from the environment", false, true, false, []string{"CONNECT example.com:443"}},
		{"not for this host", true, false, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &proxy{}
			front := httptest.NewServer(p)
			defer front.Close()
			for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"} {
				t.Setenv(name, "")
			}
			if c.from {
				t.Setenv("HTTPS_PROXY", front.URL)
			}
			if c.no {
				t.Setenv("NO_PROXY", "example.com")
			}
			w := newWorld(t, func(tenant *emulator.Tenant, config *graph.Config) {
				address, ca := serve(t, tenant)
				p.to = strings.TrimPrefix(address, "https://")
				// The test server's certificate is for example.com.
				config.Tenants[0].Cloud = graph.Cloud{Login: "https://example.com", Graph: "https://example.com", CAFile: ca}
				if c.explicit {
					config.Proxy = front.URL
				}
			})
			defer w.client.Close()
			ctx := t.Context()
			if c.no {
				// Without the proxy there is nobody to answer.
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			_, err := w.client.Keys(ctx, w.managed(), false)
			if (err == nil) != (c.want != nil) {
				t.Errorf("Keys = %v", err)
			}
			if got := p.hosts(); !slices.Equal(got, c.want) {
				t.Errorf("the proxy saw %q, want %q", got, c.want)
			}
		})
	}
}

// TestEnvironmentHasNoInfluence: AZURE_AUTHORITY_HOST would choose another
// login host, AZURE_REGIONAL_AUTHORITY_NAME another one for the region; of the
// first nothing is seen, the second is refused by name.
func TestEnvironmentHasNoInfluence(t *testing.T) {
	var hosts sync.Map
	watch := func(tenant *emulator.Tenant, c *graph.Config) {
		through := tenant.Transport()
		c.Tenants[0].Cloud.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			hosts.Store(r.URL.Host, true)
			return through.RoundTrip(r)
		})
	}
	t.Setenv("AZURE_AUTHORITY_HOST", "https://evil.test/")
	t.Setenv("AZURE_TENANT_ID", "99999999-0000-0000-0000-000000000000")
	t.Setenv("AZURE_CLIENT_ID", "99999999-0000-0000-0000-000000000000")
	t.Setenv("AZURE_ADDITIONALLY_ALLOWED_TENANTS", "*")
	w := newWorld(t, watch)
	both := func() []error {
		_, selfErr := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
		_, managedErr := w.client.Keys(t.Context(), w.managed(), false)
		return []error{selfErr, managedErr}
	}
	for _, err := range both() {
		if err != nil {
			t.Errorf("with AZURE_AUTHORITY_HOST: %v", err)
		}
	}
	t.Setenv("AZURE_REGIONAL_AUTHORITY_NAME", "westeurope")
	w = newWorld(t, watch)
	for _, err := range both() {
		if f := failure(t, err); f.Class != rotator.ClassFix || !strings.Contains(f.Message, "AZURE_REGIONAL_AUTHORITY_NAME") {
			t.Errorf("with AZURE_REGIONAL_AUTHORITY_NAME: %v %q", f.Class, f.Message)
		}
	}
	hosts.Range(func(host, _ any) bool {
		if host != "entra.test:8443" {
			t.Errorf("a request went to %v", host)
		}
		return true
	})
}

// TestNothingIsAskedElsewhere: with a login host that MSAL does not know it
// would ask login.microsoftonline.com first.
func TestNothingIsAskedElsewhere(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, q := range w.sent.all {
		seen = append(seen, q.Method+" "+q.Host+strings.ReplaceAll(q.Path, w.tenant.TenantID(), "T"))
	}
	want := []string{"GET entra.test:8443/T/v2.0/.well-known/openid-configuration", "POST entra.test:8443/T/oauth2/v2.0/token"}
	if !slices.Equal(seen, want) {
		t.Errorf("requests %q, want %q", seen, want)
	}
}

// TestAnswersAreBounded: a server cannot fill the memory.
func TestAnswersAreBounded(t *testing.T) {
	var read atomic.Int64
	w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
		a := answer(r, 200, "application/json", "")
		a.ContentLength, a.Body = -1, io.NopCloser(&endless{&read})
		return a, nil
	}))
	_, err := w.client.Keys(t.Context(), w.managed(), false)
	if f := failure(t, err); !strings.Contains(f.Message, "longer than 8 MiB") {
		t.Errorf("message %q, want the limit", f.Message)
	}
	if n := read.Load(); n > 3*9<<20 {
		t.Errorf("%d bytes were read, want at most 8 MiB for each of 3 tries", n)
	}
	read.Store(0)
	answer, err := w.client.SignIn(t.Context(), w.registration(), w.pair, []string{"/users"})
	if err != nil || answer.Probes[0].Err != nil {
		t.Errorf("a probe with a long answer: %v, %v, want none", err, answer.Probes)
	}
	if n := read.Load(); n > 2<<20 {
		t.Errorf("a probe read %d bytes, want at most 1 MiB", n)
	}
}

type endless struct{ read *atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read.Add(int64(len(p)))
	return len(p), nil
}

// TestChallengesRepeatNothing: kiota would send the write again, and panic on
// claims without quotes.
func TestChallengesRepeatNothing(t *testing.T) {
	for _, challenge := range []string{`Bearer realm="", claims="eyJhIjoxfQ=="`, `Bearer claims=abc`} {
		n := 0
		w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
			n++
			a := answer(r, 401, "application/json", `{"error":{"code":"InvalidAuthenticationToken","message":"Continuous access evaluation resulted in challenge."}}`)
			a.Header.Set("WWW-Authenticate", challenge)
			return a, nil
		}))
		_, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, w.pair))
		if failure(t, err); n != 1 {
			t.Errorf("challenge %s: the write was sent %d times, want once", challenge, n)
		}
	}
}

func TestObserveAndLogSeeEveryRequest(t *testing.T) {
	type seen struct {
		method, path string
		status       int
	}
	var mu sync.Mutex
	var got []seen
	w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
		c.Observe = func(method, path string, status int) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, seen{method, path, status})
		}
	})
	if _, err := w.client.Keys(t.Context(), w.managed(), false); err != nil {
		t.Fatal(err)
	}
	want := []seen{
		{"GET", "/{id}/v2.0/.well-known/openid-configuration", 200},
		{"POST", "/{id}/oauth2/v2.0/token", 200},
		{"GET", "/v1.0/applications/{id}", 200},
	}
	if !slices.Equal(got, want) {
		t.Errorf("observed %v, want %v", got, want)
	}
	log := w.log.String()
	for _, part := range []string{"msg=request", "method=GET", "path=/v1.0/applications/{id}", "status=200", "duration=", "request_id="} {
		if !strings.Contains(log, part) {
			t.Errorf("the log has no %q:\n%s", part, log)
		}
	}
}
