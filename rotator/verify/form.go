package verify

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the header that Entra knows is SHA-1
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// probe is a key pair of the run, in memory only.
type probe struct {
	key   *rsa.PrivateKey
	der   []byte
	keyID string
	// from and until are the entry's dates.
	from, until time.Time
	addedAt     time.Time
}

func (p probe) thumbprint() string {
	digest := sha1.Sum(p.der) //nolint:gosec // see the import
	return strings.ToUpper(hex.EncodeToString(digest[:]))
}

// maxMade is how many private keys a run makes; certificates take turns.
const maxMade = 3

// newProbe makes a certificate that is valid from the start of the current minute
// until the given time, in whole seconds.
func (r *Run) newProbe(until time.Time) (probe, error) {
	if r.keys >= maxKeys {
		return probe{}, end("%d certificates were made, which is the most", r.keys)
	}
	r.keys++
	if len(r.made) < maxMade {
		generate := r.GenerateKey
		if generate == nil {
			generate = func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }
		}
		key, err := generate()
		if err != nil {
			return probe{}, err
		}
		r.made = append(r.made, key)
	}
	key := r.made[r.keys%len(r.made)]
	now := time.Now().UTC()
	p := probe{key: key, from: now.Add(-time.Minute).Truncate(time.Second), until: until.UTC().Truncate(time.Second)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + int64(r.keys)), Subject: pkix.Name{CommonName: "rotate-verify"},
		NotBefore: p.from, NotAfter: p.until, SignatureAlgorithm: x509.SHA256WithRSA,
	}
	var err error
	p.der, err = x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return p, err
}

// shortProbe is one that lives as long as a run may take.
func (r *Run) shortProbe() (probe, error) { return r.newProbe(time.Now().Add(keyLife - time.Minute)) }

// entry is a keyCredential to add. Odd forms change it.
func (r *Run) newEntry(p probe, name string) map[string]any {
	return map[string]any{
		"type": "AsymmetricX509Cert", "usage": "Verify", "displayName": name,
		"key":           base64.StdEncoding.EncodeToString(p.der),
		"startDateTime": p.from.Format(time.RFC3339), "endDateTime": p.until.Format(time.RFC3339),
	}
}

// newID is a random GUID.
func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// proofForm is how a proof of possession differs from the usual one: RS256, kid and
// x5t, issued by the object ID for ten minutes. The zero value is that one.
type proofForm struct {
	name string
	// noKid, noX5t leave a header out; s256 adds x5t#S256.
	noKid, noX5t, s256, pss bool
	issuer, audience        string
	lifetime                time.Duration
}

// proofForms are those that are tried one by one.
func (r *Run) proofForms() []proofForm {
	return []proofForm{
		{name: "proof_x5t", noKid: true},
		{name: "proof_kid", noX5t: true},
		{name: "proof_x5t_s256", noKid: true, noX5t: true, s256: true},
		{name: "proof_ps256", pss: true},
		{name: "proof_issuer_client_id", issuer: r.entry.ClientID},
		{name: "proof_60_minutes", lifetime: time.Hour},
		{name: "proof_audience_graph", audience: graphAppID},
	}
}

const (
	graphAppID = "00000003-0000-0000-c000-000000000000"
	// proofAudience is the application ID of Azure AD Graph.
	// https://learn.microsoft.com/graph/application-rollkey-prooftoken
	proofAudience = "00000002-0000-0000-c000-000000000000"
)

// proof signs one; the zero form is the one that the run found to be accepted.
func (r *Run) proof(p probe, f proofForm) (string, error) {
	if f == (proofForm{}) {
		f = r.form
	}
	now := time.Now().UTC().Truncate(time.Second)
	header := map[string]any{"typ": "JWT", "alg": "RS256"}
	if !f.noKid {
		header["kid"] = p.thumbprint()
	}
	addThumbprints(header, p, !f.noX5t, f.s256)
	claims := map[string]any{"aud": proofAudience, "iss": r.entry.ObjectID, "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix()}
	if f.issuer != "" {
		claims["iss"] = f.issuer
	}
	if f.audience != "" {
		claims["aud"] = f.audience
	}
	if f.lifetime != 0 {
		claims["exp"] = now.Add(f.lifetime).Unix()
	}
	return signed(header, claims, p.key, f.pss)
}

func addThumbprints(header map[string]any, p probe, x5t, s256 bool) {
	if x5t {
		digest := sha1.Sum(p.der) //nolint:gosec // see the import
		header["x5t"] = base64.RawURLEncoding.EncodeToString(digest[:])
	}
	if s256 {
		digest := sha256.Sum256(p.der)
		header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(digest[:])
	}
}

// signed makes a JWT.
func signed(header, claims map[string]any, key *rsa.PrivateKey, pss bool) (string, error) {
	if pss {
		header["alg"] = "PS256"
	}
	h, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	digest := sha256.Sum256([]byte(text))
	var signature []byte
	if pss {
		signature, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

// tokenForm is how a client assertion differs from the usual one: RS256, x5t, for
// the token endpoint. The zero value is that one.
type tokenForm struct {
	pss, s256 bool
	// audience is a path behind the tenant; empty: that of the token endpoint.
	audience string
	// scope is the audience of the token; empty: Graph.
	scope string
}

// token asks for a token with a key pair of the run's app.
func (r *Run) token(ctx context.Context, p probe, f tokenForm, correlation string) (Answer, error) {
	if r.tokens >= maxTokens {
		return Answer{}, end("%d tokens were asked for, which is the most", r.tokens)
	}
	r.tokens++
	about := r.Tenant.About()
	if f.audience == "" {
		f.audience = "/oauth2/v2.0/token"
	}
	if f.scope == "" {
		f.scope = about.Graph + "/.default"
	}
	now := time.Now().UTC()
	header := map[string]any{"typ": "JWT", "alg": "RS256"}
	addThumbprints(header, p, !f.s256, f.s256)
	assertion, err := signed(header, map[string]any{
		"aud": about.Login + "/" + about.TenantID + f.audience, "iss": r.entry.ClientID, "sub": r.entry.ClientID,
		"jti": newID(), "nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}, p.key, f.pss)
	if err != nil {
		return Answer{}, err
	}
	if correlation == "" {
		correlation = newID()
	}
	a, err := r.Tenant.Token(ctx, map[string]string{
		"grant_type": "client_credentials", "client_id": r.entry.ClientID, "scope": f.scope, "client_assertion": assertion,
		"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
	}, correlation)
	return r.came(ctx, a, err)
}

// accessToken in an answer; empty: there is none.
func accessToken(body []byte) string {
	var answer struct {
		Token string `json:"access_token"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Token
}

// tokenID is the claim by which the sign-in log names a token; empty: none.
func tokenID(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		ID string `json:"uti"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.ID
}
