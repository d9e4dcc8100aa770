package graph_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// keys are RSA keys made once: making one takes a tenth of a second.
var keys = sync.OnceValue(func() []*rsa.PrivateKey {
	made := make([]*rsa.PrivateKey, 3)
	for i := range made {
		var err error
		if made[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return made
})

// newPair makes a key pair with key n that is valid from a minute ago.
func newPair(tb testing.TB, n int, validity time.Duration) rotator.KeyPair {
	tb.Helper()
	return pairBetween(tb, n, time.Now().Add(-time.Minute), time.Now().Add(validity))
}

func pairBetween(tb testing.TB, n int, from, until time.Time) rotator.KeyPair {
	tb.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		tb.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "contoso"},
		NotBefore: from.UTC().Truncate(time.Second), NotAfter: until.UTC().Truncate(time.Second),
	}
	key := keys()[n]
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	return rotator.KeyPair{Key: key, Certificate: der}
}

// world is a tenant with an app, an identity that owns it, and a client.
type world struct {
	tenant *emulator.Tenant
	client *graph.Client
	app    emulator.Application
	admin  emulator.Application
	// pair is the app's own, registered under keyID.
	pair  rotator.KeyPair
	keyID rotator.KeyID
	// log is what the client logged.
	log *buffer
	// sent are the requests that reached the tenant.
	sent *requests
}

const (
	adminID     = "aaaaaaaa-0000-0000-0000-000000000001"
	adminSecret = "S3cret~of.the-identity"
	entraURL    = "https://entra.test:8443"
)

// newWorld makes one. change may alter tenant and configuration; it may be nil.
func newWorld(tb testing.TB, change func(*emulator.Tenant, *graph.Config)) *world {
	tb.Helper()
	w := &world{tenant: &emulator.Tenant{}, pair: newPair(tb, 0, 20*24*time.Hour), log: &buffer{}, sent: &requests{}}
	w.tenant.Unknown = func(r emulator.Request) { tb.Errorf("unknown request %s %s", r.Method, r.Path) }
	w.tenant.Intercept = w.sent.see
	config := graph.Config{
		Tenants: []graph.Tenant{{
			Name: "contoso", ID: w.tenant.TenantID(),
			Cloud: graph.Cloud{Login: entraURL, Graph: entraURL, Transport: w.tenant.Transport()},
			Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
				ClientID: adminID, Secret: func() (string, error) { return adminSecret, nil },
			}},
		}},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(w.tenant, &config)
	}
	var err error
	if w.admin, err = w.tenant.AddApplication(emulator.Application{
		Name: "admin", ClientID: adminID,
		Permissions: []string{"Application.ReadWrite.OwnedBy"}, Secrets: []emulator.Secret{{Text: adminSecret}},
	}); err != nil {
		tb.Fatal(err)
	}
	if w.app, err = w.tenant.AddApplication(emulator.Application{
		Name: "Contoso Sync", Owners: []string{w.admin.ClientID}, Permissions: []string{"User.Read.All"},
		KeyCredentials: []emulator.KeyCredential{{DisplayName: "first", Certificate: w.pair.Certificate}},
		Secrets:        []emulator.Secret{{DisplayName: "foreign"}},
	}); err != nil {
		tb.Fatal(err)
	}
	w.keyID = rotator.KeyID(w.app.KeyCredentials[0].KeyID)
	if w.client, err = graph.New(config); err != nil {
		tb.Fatal(err)
	}
	return w
}

func (w *world) registration() rotator.Registration {
	return rotator.Registration{
		App: "contoso-sync", Tenant: "contoso",
		ObjectID: rotator.ObjectID(w.app.ObjectID), ClientID: rotator.ClientID(w.app.ClientID),
	}
}

func (w *world) managed() rotator.Access { return rotator.Access{Registration: w.registration()} }

func (w *world) self() rotator.Access {
	return rotator.Access{Registration: w.registration(), As: w.pair}
}

// newKey is a certificate to add, for pair.
func newKey(tb testing.TB, pair rotator.KeyPair) rotator.NewKey {
	tb.Helper()
	c, err := x509.ParseCertificate(pair.Certificate)
	if err != nil {
		tb.Fatal(err)
	}
	return rotator.NewKey{
		KeyID: rotator.KeyID(uuid.NewString()), DisplayName: "contoso-sync (rotate 0a1b2c3d/4e5f)",
		Certificate: pair.Certificate, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
	}
}

// checkNow compares an instant, which may be of whole seconds, with the time since begun.
func checkNow(tb testing.TB, what string, begun, got time.Time) {
	tb.Helper()
	if now := time.Now(); got.Before(begun.Truncate(time.Second)) || got.After(now) {
		tb.Errorf("%s = %v, want it from %v to %v", what, got, begun, now)
	}
}

// failure returns the failure in err, which must be one.
func failure(tb testing.TB, err error) *rotator.Failure {
	tb.Helper()
	f, ok := errors.AsType[*rotator.Failure](err)
	if !ok {
		tb.Fatalf("error is %T %v, want a *rotator.Failure", err, err)
	}
	return f
}

// requests are what reached a tenant.
type requests struct {
	mu   sync.Mutex
	all  []emulator.Request
	fate func(emulator.Request) *emulator.Fault
}

// see is an Intercept that keeps the request and asks fate what to do.
func (r *requests) see(q emulator.Request) *emulator.Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, q)
	if r.fate == nil {
		return nil
	}
	return r.fate(q)
}

// fail sets what becomes of requests from now on.
func (r *requests) fail(fate func(emulator.Request) *emulator.Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.fate = nil, fate
}

// of returns the requests with a method whose path ends in suffix.
func (r *requests) of(method, suffix string) []emulator.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []emulator.Request
	for _, q := range r.all {
		if q.Method == method && strings.HasSuffix(q.Path, suffix) {
			found = append(found, q)
		}
	}
	return found
}

// tokens counts the requests for tokens.
func (r *requests) tokens() int { return len(r.of(http.MethodPost, "/oauth2/v2.0/token")) }

// body decodes the only request with a method whose path ends in suffix.
func (r *requests) body(tb testing.TB, method, suffix string) map[string]any {
	tb.Helper()
	found := r.of(method, suffix)
	if len(found) != 1 {
		tb.Fatalf("%d requests %s …%s, want 1", len(found), method, suffix)
	}
	var body map[string]any
	if err := json.Unmarshal(found[0].Body, &body); err != nil {
		tb.Fatal(err)
	}
	return body
}

// on returns a fate for the requests with a method whose path ends in suffix.
func on(method, suffix string, f emulator.Fault) func(emulator.Request) *emulator.Fault {
	return func(q emulator.Request) *emulator.Fault {
		if q.Method != method || !strings.HasSuffix(q.Path, suffix) {
			return nil
		}
		return &f
	}
}

// onToken returns a fate for requests for tokens.
func onToken(f emulator.Fault) func(emulator.Request) *emulator.Fault {
	return on(http.MethodPost, "/oauth2/v2.0/token", f)
}

// buffer is a bytes.Buffer for several writers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answer is a response with a body.
func answer(r *http.Request, status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header:        http.Header{"Content-Type": {contentType}, "Date": {time.Now().UTC().Format(http.TimeFormat)}},
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}

// instead makes a change for newWorld that answers requests to Graph itself;
// with a nil response the tenant answers.
func instead(f func(*http.Request) (*http.Response, error)) func(*emulator.Tenant, *graph.Config) {
	return func(t *emulator.Tenant, c *graph.Config) {
		through := t.Transport()
		c.Tenants[0].Cloud.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if strings.HasPrefix(r.URL.Path, "/v1.0/") {
				if a, err := f(r); a != nil || err != nil {
					return a, err
				}
			}
			return through.RoundTrip(r)
		})
	}
}

func readAll(tb testing.TB, r *http.Request) []byte {
	tb.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Error(err)
	}
	return body
}

func withBody(r *http.Request, body []byte) *http.Request {
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}
