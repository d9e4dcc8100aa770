package emulator_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

const host = "login.example"

// rsaKeys are made once: making one takes a tenth of a second.
var rsaKeys = sync.OnceValue(func() [3]*rsa.PrivateKey {
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		keys[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return keys
})

var checker = sync.OnceValue(emulator.NewChecker)

// A pair is a key and its certificate.
type pair struct {
	key  *rsa.PrivateKey
	cert *x509.Certificate
}

// newPair makes a certificate for one of the keys.
func newPair(tb testing.TB, key int, from, until time.Time) pair {
	tb.Helper()
	return pairOf(tb, rsaKeys()[key], from, until)
}

func pairOf(tb testing.TB, key *rsa.PrivateKey, from, until time.Time) pair {
	tb.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return pair{key, cert}
}

// fresh makes a certificate that is valid for a year.
func fresh(tb testing.TB, key int) pair {
	tb.Helper()
	return newPair(tb, key, time.Now().Add(-time.Hour), time.Now().Add(365*24*time.Hour))
}

func (p pair) sha1Hex() string {
	sum := sha1.Sum(p.cert.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func (p pair) x5t() string {
	sum := sha1.Sum(p.cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p pair) x5tS256() string {
	sum := sha256.Sum256(p.cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// entry is the certificate as a new keyCredential.
func (p pair) entry() map[string]any {
	return map[string]any{
		"type": "AsymmetricX509Cert", "usage": "Verify",
		"key":           base64.StdEncoding.EncodeToString(p.cert.Raw),
		"startDateTime": p.cert.NotBefore.UTC().Format(time.RFC3339),
		"endDateTime":   p.cert.NotAfter.UTC().Format(time.RFC3339),
	}
}

// with returns a copy of a map with changes; nil removes.
func with(m map[string]any, changes map[string]any) map[string]any {
	out := maps.Clone(m)
	for k, v := range changes {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

func sign(tb testing.TB, method jwt.SigningMethod, header, claims map[string]any, key *rsa.PrivateKey) string {
	tb.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// assertion is a client assertion as documented.
func (p pair) assertion(tb testing.TB, tenant *emulator.Tenant, clientID string) string {
	tb.Helper()
	return sign(tb, jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, assertionClaims(tenant, clientID), p.key)
}

func assertionClaims(tenant *emulator.Tenant, clientID string) map[string]any {
	now := time.Now()
	return map[string]any{
		"aud": "https://" + host + "/" + tenant.TenantID() + "/oauth2/v2.0/token",
		"iss": clientID, "sub": clientID, "jti": uuid.NewString(),
		"nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
}

// proof is a proof of possession as documented.
func (p pair) proof(tb testing.TB, objectID string) string {
	tb.Helper()
	return sign(tb, jwt.SigningMethodRS256, p.proofHeader(), proofClaims(objectID), p.key)
}

func (p pair) proofHeader() map[string]any { return map[string]any{"kid": p.sha1Hex(), "x5t": p.x5t()} }

func proofClaims(objectID string) map[string]any {
	now := time.Now()
	return map[string]any{
		"aud": "00000002-0000-0000-c000-000000000000", "iss": objectID,
		"nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// code and message are those of a Graph error.
func (a answer) code() string    { return a.errorText("code") }
func (a answer) message() string { return a.errorText("message") }

func (a answer) errorText(name string) string {
	e, _ := a.body["error"].(map[string]any)
	s, _ := e[name].(string)
	return s
}

// number is the AADSTS number.
func (a answer) number() int {
	list, _ := a.body["error_codes"].([]any)
	if len(list) != 1 {
		return 0
	}
	n, _ := list[0].(float64)
	return int(n)
}

func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

func (a answer) values() []map[string]any {
	var out []map[string]any
	list, _ := a.body["value"].([]any)
	for _, v := range list {
		m, _ := v.(map[string]any)
		out = append(out, m)
	}
	return out
}

// A client speaks to a tenant over a transport and checks every answer.
type client struct {
	tb     testing.TB
	tenant *emulator.Tenant
	trip   http.RoundTripper
	token  string
	walked map[string]bool // routes with a 2xx answer
	header http.Header     // added to each request
}

// newTenant returns a tenant whose unknown requests fail the test.
func newTenant(tb testing.TB) *emulator.Tenant {
	tb.Helper()
	return &emulator.Tenant{Unknown: func(r emulator.Request) { tb.Errorf("unknown request %s %s", r.Method, r.Path) }}
}

func newClient(tb testing.TB, tenant *emulator.Tenant) *client {
	tb.Helper()
	return &client{tb: tb, tenant: tenant, trip: tenant.Transport(), walked: map[string]bool{}, header: http.Header{}}
}

// as returns a client with a token for an app.
func (c *client) as(app emulator.Application) *client {
	c.tb.Helper()
	if len(app.Secrets) == 0 {
		c.tb.Fatalf("%s has no secret", app.Name)
	}
	out := *c
	out.token = c.secretToken(app).text("access_token")
	if out.token == "" {
		c.tb.Fatalf("no token for %s", app.Name)
	}
	return &out
}

func (c *client) form(values url.Values) answer {
	c.tb.Helper()
	return c.send(http.MethodPost, "/"+c.tenant.TenantID()+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", []byte(values.Encode()))
}

func tokenForm(clientID string) url.Values {
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID},
		"scope": {"https://graph.microsoft.com/.default openid offline_access profile"},
	}
}

func (c *client) secretToken(app emulator.Application) answer {
	c.tb.Helper()
	form := tokenForm(app.ClientID)
	form.Set("client_secret", app.Secrets[0].Text)
	return c.form(form)
}

func (c *client) assertionToken(clientID, assertion string) answer {
	c.tb.Helper()
	form := tokenForm(clientID)
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	return c.form(form)
}

// call sends a request to Graph.
func (c *client) call(method, path string, body any) answer {
	c.tb.Helper()
	if body == nil {
		return c.send(method, "/v1.0/"+path, "", nil)
	}
	b, err := json.Marshal(body)
	if err != nil {
		c.tb.Fatal(err)
	}
	return c.send(method, "/v1.0/"+path, "application/json", b)
}

// want is call for a request that must end with a status.
func (c *client) want(status int, method, path string, body any) answer {
	c.tb.Helper()
	a := c.call(method, path, body)
	if a.status != status {
		c.tb.Errorf("%s %s: got %d %s, want %d", method, path, a.status, a.raw, status)
	}
	return a
}

func (c *client) send(method, path, contentType string, body []byte) answer {
	c.tb.Helper()
	a, err := c.try(c.tb.Context(), method, path, contentType, body)
	if err != nil {
		c.tb.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (c *client) try(ctx context.Context, method, path, contentType string, body []byte) (answer, error) {
	c.tb.Helper()
	path = strings.ReplaceAll(path, " ", "%20")
	r, err := http.NewRequestWithContext(ctx, method, "https://"+host+path, bytes.NewReader(body))
	if err != nil {
		c.tb.Fatal(err)
	}
	maps.Copy(r.Header, c.header)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.trip.RoundTrip(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.raw, err = io.ReadAll(resp.Body); err != nil {
		c.tb.Fatal(err)
	}
	if len(a.raw) > 0 && resp.Header.Get("Content-Type") != "text/plain" {
		if err := json.Unmarshal(a.raw, &a.body); err != nil {
			c.tb.Errorf("%s %s: answer is not JSON: %v\n%s", method, path, err, a.raw)
		}
	}
	c.check(method, r.URL.Path, a)
	return a, nil
}

// check holds for every answer there is.
func (c *client) check(method, path string, a answer) {
	c.tb.Helper()
	for _, name := range []string{"Date", "request-id", "client-request-id"} {
		if a.header.Get(name) == "" {
			c.tb.Errorf("%s %s: %d has no header %s", method, path, a.status, name)
		}
	}
	if strings.HasPrefix(path, "/beta/") && a.status < 300 {
		c.walked[checker().Route(method, path)] = true // its types are not in the schema
		return
	}
	if !strings.HasPrefix(path, "/v1.0/") {
		return
	}
	if a.status >= 300 {
		inner, _ := a.body["error"].(map[string]any)
		details, _ := inner["innerError"].(map[string]any)
		if a.code() == "" || a.message() == "" || details["request-id"] == "" || details["date"] == "" {
			c.tb.Errorf("%s %s: %d is no Graph error: %s", method, path, a.status, a.raw)
		}
		return
	}
	c.walked[checker().Route(method, path)] = true
	if err := checker().Check(method, path, a.raw); err != nil {
		c.tb.Errorf("%s %s: answer breaks the schema: %v\n%s", method, path, err, a.raw)
	}
}

// addApp adds an app with a certificate and a secret.
func addApp(tb testing.TB, tenant *emulator.Tenant, a emulator.Application, pairs ...pair) emulator.Application {
	tb.Helper()
	if a.Name == "" {
		a.Name = "contoso-sync"
	}
	for _, p := range pairs {
		a.KeyCredentials = append(a.KeyCredentials, emulator.KeyCredential{DisplayName: "CN=test", Certificate: p.cert.Raw})
	}
	if a.Secrets == nil {
		a.Secrets = []emulator.Secret{{DisplayName: "secret"}}
	}
	app, err := tenant.AddApplication(a)
	if err != nil {
		tb.Fatal(err)
	}
	return app
}

// addAdmin adds an app with permissions.
func addAdmin(tb testing.TB, tenant *emulator.Tenant, permissions ...string) emulator.Application {
	tb.Helper()
	return addApp(tb, tenant, emulator.Application{Name: "admin", Permissions: permissions})
}
