package emulator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

// TestProof runs in bubbles, for the limits are minutes and a loaded machine is slow.
func TestProof(t *testing.T) {
	rsaKeys()
	for _, tt := range []struct {
		name    string
		method  jwt.SigningMethod
		header  map[string]any // changes; nil values remove
		claims  map[string]any // the same; durations are from now on
		signer  int            // 0: the registered pair, 1: another, 2: expired, 3: of tomorrow
		key     int            // replaces the signing key, if not zero
		strict  bool
		lenient bool
	}{
		{name: "as documented", strict: true, lenient: true},
		{name: "without kid", header: map[string]any{"kid": nil}, strict: true, lenient: true},
		{name: "kid in lower case", header: map[string]any{"kid": "lower"}, strict: true, lenient: true},
		{name: "PS256", method: jwt.SigningMethodPS256, lenient: true},
		{name: "x5t#S256", header: map[string]any{"x5t": nil, "kid": nil, "x5t#S256": "own"}, lenient: true},
		{name: "kid alone", header: map[string]any{"x5t": nil}, strict: true, lenient: true},
		{name: "kid alone, in lower case", header: map[string]any{"x5t": nil, "kid": "lower"}, lenient: true},
		{name: "kid of another", header: map[string]any{"kid": strings.Repeat("A", 40)}},
		{name: "no name", header: map[string]any{"x5t": nil, "kid": nil}},
		{name: "audience of Microsoft Graph", claims: map[string]any{"aud": "00000003-0000-0000-c000-000000000000"}},
		{name: "client id as issuer", claims: map[string]any{"iss": "client"}, strict: true, lenient: true},
		{name: "another issuer", claims: map[string]any{"iss": uuid.NewString()}},
		{name: "no issuer", claims: map[string]any{"iss": nil}},
		{name: "eleven minutes", claims: map[string]any{"exp": 11 * time.Minute}},
		{name: "expired", claims: map[string]any{"nbf": -9 * time.Minute, "exp": -time.Second}},
		{name: "of the future", claims: map[string]any{"nbf": 6 * time.Minute, "exp": 16 * time.Minute}},
		{name: "no nbf", claims: map[string]any{"nbf": nil}},
		{name: "no exp", claims: map[string]any{"exp": nil}},
		{name: "unregistered certificate", signer: 1},
		{name: "expired certificate", signer: 2},
		{name: "certificate of tomorrow", signer: 3},
		{name: "another key", key: 1},
		{name: "RS512", method: jwt.SigningMethodRS512},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				p := fresh(t, 0)
				expired := newPair(t, 2, now.Add(-48*time.Hour), now.Add(-time.Hour))
				early := newPair(t, 2, now.Add(time.Hour), now.Add(48*time.Hour))
				tenant := newTenant(t)
				app := addApp(t, tenant, emulator.Application{}, p, expired, early)
				signer := []pair{p, fresh(t, 1), expired, early}[tt.signer]
				header := with(signer.proofHeader(), tt.header)
				switch header["kid"] {
				case "lower":
					header["kid"] = strings.ToLower(signer.sha1Hex())
				}
				if header["x5t#S256"] == "own" {
					header["x5t#S256"] = signer.x5tS256()
				}
				claims := with(proofClaims(app.ObjectID), tt.claims)
				for name, value := range claims {
					if d, ok := value.(time.Duration); ok {
						claims[name] = now.Add(d).Unix()
					}
				}
				if claims["iss"] == "client" {
					claims["iss"] = app.ClientID
				}
				key := signer.key
				if tt.key != 0 {
					key = rsaKeys()[tt.key]
				}
				method := tt.method
				if method == nil {
					method = jwt.SigningMethodRS256
				}
				c := newClient(t, tenant).as(app)
				for _, lenient := range []bool{false, true} {
					tenant.Configure(func(t *emulator.Tenant) { t.LenientProof = lenient })
					a := c.call("POST", "applications/"+app.ObjectID+"/addKey", map[string]any{
						"keyCredential": fresh(t, 1).entry(), "passwordCredential": nil,
						"proof": sign(t, method, header, claims, key),
					})
					ok := tt.strict && !lenient || tt.lenient && lenient
					if ok && a.status != 200 {
						t.Errorf("lenient %v: got %d %s, want 200", lenient, a.status, a.raw)
					}
					if !ok && (a.status != 401 || a.code() != "Authentication_MissingOrMalformed" || a.message() != "Access Token missing or malformed.") {
						t.Errorf("lenient %v: got %d %s, want 401", lenient, a.status, a.raw)
					}
				}
			})
		})
	}
}

func TestProofPaddingAndAbsence(t *testing.T) {
	tenant := newTenant(t)
	p := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, p)
	c := newClient(t, tenant).as(app)
	path := "applications/" + app.ObjectID + "/addKey"
	padded := strings.Split(p.proof(t, app.ObjectID), ".")
	for i, part := range padded {
		padded[i] = part + strings.Repeat("=", (4-len(part)%4)%4)
	}
	a := c.want(401, "POST", path, map[string]any{"keyCredential": fresh(t, 1).entry(), "proof": strings.Join(padded, ".")})
	if a.code() != "Authentication_MissingOrMalformed" {
		t.Errorf("padded proof: %s", a.raw)
	}
	a = c.want(403, "POST", path, map[string]any{"keyCredential": fresh(t, 1).entry()})
	if a.code() != "Authorization_RequestDenied" {
		t.Errorf("no proof: %s", a.raw)
	}
}

func TestRollKeys(t *testing.T) {
	tenant := newTenant(t)
	old, next := fresh(t, 0), fresh(t, 1)
	app := addApp(t, tenant, emulator.Application{}, old)
	c := newClient(t, tenant).as(app) // no permission at all
	path := "applications/" + app.ObjectID
	add := func(body map[string]any) answer {
		t.Helper()
		return c.call("POST", path+"/addKey", map[string]any{"keyCredential": body, "passwordCredential": nil, "proof": old.proof(t, app.ObjectID)})
	}
	a := add(with(next.entry(), map[string]any{"keyId": nil, "displayName": strings.Repeat("ü", 100)}))
	id := a.text("keyId")
	if got := tenant.KeyCredentials(app.ClientID); a.status != 200 || len(got) != 2 || id != got[1].KeyID || len([]rune(a.text("displayName"))) != 90 {
		t.Fatalf("addKey: %d %s", a.status, a.raw)
	}
	third := fresh(t, 2)
	if a := add(third.entry()); a.status != 200 {
		t.Fatalf("addKey: %d %s", a.status, a.raw)
	}

	remove := func(keyID string, signer pair) answer {
		t.Helper()
		return c.call("POST", path+"/removeKey", map[string]any{"keyId": keyID, "proof": signer.proof(t, app.ObjectID)})
	}
	if a := remove(id, next); a.status != 401 {
		t.Errorf("removeKey signed by the key it removes: %d %s, want 401", a.status, a.raw)
	}
	if a := remove(uuid.NewString(), old); a.status != 400 || a.message() != "No credentials found to be removed." {
		t.Errorf("unknown keyId: %d %s", a.status, a.raw)
	}
	tenant.Configure(func(t *emulator.Tenant) { t.LenientProof, t.RemoveUnknownStatus = true, 404 })
	if a := remove(uuid.NewString(), old); a.status != 404 {
		t.Errorf("unknown keyId with RemoveUnknownStatus: %d, want 404", a.status)
	}
	if a := remove(id, next); a.status != 204 {
		t.Errorf("lenient: removeKey signed by the key it removes: %d %s, want 204", a.status, a.raw)
	}
	if a := remove(app.KeyCredentials[0].KeyID, next); a.status != 401 {
		t.Errorf("signed by a removed key: %d, want 401", a.status)
	}
	if a := remove(app.KeyCredentials[0].KeyID, third); a.status != 204 {
		t.Errorf("removeKey: %d %s, want 204", a.status, a.raw)
	}
	if got := tenant.KeyCredentials(app.ClientID); len(got) != 1 || string(got[0].Certificate) != string(third.cert.Raw) {
		t.Errorf("left are %d entries", len(got))
	}
}

func TestNewKeyRules(t *testing.T) {
	tenant := newTenant(t)
	old := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, old)
	admin := addAdmin(t, tenant, "Application.ReadWrite.All")
	c := newClient(t, tenant).as(admin)
	now := time.Now().UTC().Truncate(time.Second)
	next := newPair(t, 1, now.Add(-time.Hour), now.Add(90*24*time.Hour))
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak := pairOf(t, weakKey, now.Add(-time.Hour), now.Add(time.Hour))
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	ec, err := x509.CreateCertificate(rand.Reader, template, template, &ecKey.PublicKey, ecKey)
	if err != nil {
		t.Fatal(err)
	}
	expired := newPair(t, 1, now.Add(-48*time.Hour), now.Add(-24*time.Hour))
	date := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	textOf := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	lines := func(s string) string {
		var b strings.Builder
		for i := 0; i < len(s); i += 64 {
			b.WriteString(s[i:min(i+64, len(s))] + "\n")
		}
		return b.String()
	}
	usage := `The value for the property "usage" in one of your credentials is invalid. Acceptable values are Sign, Verify.`
	for _, tt := range []struct {
		name    string
		entry   map[string]any
		message string // empty: accepted
	}{
		{"plain", next.entry(), ""},
		{"no dates", with(next.entry(), map[string]any{"startDateTime": nil, "endDateTime": nil}), ""},
		{"base64 in lines", with(next.entry(), map[string]any{"key": lines(textOf(next.cert.Raw))}), ""},
		{"PEM", with(next.entry(), map[string]any{"key": textOf(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: next.cert.Raw}))}), ""},
		{"own identifier", with(next.entry(), map[string]any{"customKeyIdentifier": textOf([]byte("name"))}), ""},
		{"ends after the certificate", with(next.entry(), map[string]any{"endDateTime": date(next.cert.NotAfter.Add(time.Second))}), "Key credential end date is invalid."},
		{"ends before it starts", with(next.entry(), map[string]any{"endDateTime": date(next.cert.NotBefore)}), "Key credential end date is invalid."},
		{"expired", expired.entry(), "Key credential end date is invalid."},
		{"starts before the certificate", with(next.entry(), map[string]any{"startDateTime": date(next.cert.NotBefore.Add(-time.Second))}), "Key credential start date is invalid."},
		{"no usage", with(next.entry(), map[string]any{"usage": nil}), usage},
		{"usage to sign", with(next.entry(), map[string]any{"usage": "Sign"}), usage},
		{"no type", with(next.entry(), map[string]any{"type": nil}), `The value for the property "type"`},
		{"no key", with(next.entry(), map[string]any{"key": nil}), "Invalid credential value. Error: Cannot find the requested object."},
		{"no certificate", with(next.entry(), map[string]any{"key": textOf([]byte("x"))}), "Invalid credential value. Error: Cannot find the requested object."},
		{"weak key", weak.entry(), "RSA key of at least 2048 bits"},
		{"elliptic key", with(next.entry(), map[string]any{"key": textOf(ec)}), "RSA key"},
		{"long identifier", with(next.entry(), map[string]any{"customKeyIdentifier": textOf(make([]byte, 33))}), "at most 32 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The same rules hold for addKey, PATCH and POST.
			before := c.want(200, "GET", "applications/"+app.ObjectID, nil).body["keyCredentials"]
			list, _ := before.([]any)
			add := c.call("POST", "applications/"+app.ObjectID+"/addKey", map[string]any{"keyCredential": tt.entry, "proof": old.proof(t, app.ObjectID)})
			patch := c.call("PATCH", "applications/"+app.ObjectID, map[string]any{"keyCredentials": append(list[:1:1], tt.entry)})
			post := c.call("POST", "applications", map[string]any{"displayName": "x", "keyCredentials": []any{tt.entry}})
			for name, a := range map[string]answer{"addKey": add, "PATCH": patch, "POST": post} {
				if tt.message == "" && a.status >= 300 || tt.message != "" && (a.status != 400 || !strings.Contains(a.message(), tt.message)) {
					t.Errorf("%s: got %d %s, want %q", name, a.status, a.raw, tt.message)
				}
			}
		})
	}
}

// TestL1KeyIDOfANewApp: the keyId that comes with the certificate of a new app is
// kept, and refused where a secret comes with it.
func TestL1KeyIDOfANewApp(t *testing.T) {
	tenant := newTenant(t)
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	next := fresh(t, 1)
	id := uuid.NewString()
	key := with(next.entry(), map[string]any{"keyId": id})
	a := c.want(201, "POST", "applications", map[string]any{"displayName": "x", "keyCredentials": []any{key}})
	list, _ := a.body["keyCredentials"].([]any)
	if len(list) != 1 {
		t.Fatalf("the new app has %v", list)
	}
	if got, _ := list[0].(map[string]any); got["keyId"] != id {
		t.Errorf("the new app has %v, want the keyId %s", list, id)
	}
	for name, body := range map[string]map[string]any{
		"of the certificate": {"keyCredentials": []any{key}, "passwordCredentials": []any{map[string]any{"displayName": "s"}}},
		"of the secret":      {"passwordCredentials": []any{map[string]any{"keyId": id}}},
	} {
		body["displayName"] = "x"
		if a := c.want(400, "POST", "applications", body); a.message() != "The property KeyId is not supported for Create Application flow." {
			t.Errorf("%s, with a secret: %s", name, a.raw)
		}
	}
}

func TestPatchReplacesTheList(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	for _, tt := range []struct {
		name  string
		patch func(read []map[string]any) []any // entries a, b as read
		want  string                            // names of the certificates left; "!": refused
	}{
		{"as read, key null", func(r []map[string]any) []any { return []any{r[0], r[1]} }, "ab"},
		{"key absent", func(r []map[string]any) []any {
			return []any{with(r[0], map[string]any{"key": nil}), with(r[1], map[string]any{"key": nil})}
		}, "ab"},
		{"not sent again is lost", func(r []map[string]any) []any { return []any{r[1]} }, "b"},
		{"empty list", func([]map[string]any) []any { return []any{} }, ""},
		{"other order", func(r []map[string]any) []any { return []any{r[1], r[0]} }, "ba"},
		{"a new one", func(r []map[string]any) []any { return []any{r[0], r[1], "c"} }, "abc"},
		{"same instant, other zone", func(r []map[string]any) []any {
			return []any{with(r[0], map[string]any{"endDateTime": now.Add(24 * time.Hour).In(time.FixedZone("", 3600)).Format(time.RFC3339)}), r[1]}
		}, "ab"},
		{"display name changed", func(r []map[string]any) []any { return []any{with(r[0], map[string]any{"displayName": "x"}), r[1]} }, "!"},
		{"end changed", func(r []map[string]any) []any {
			return []any{with(r[0], map[string]any{"endDateTime": now.Add(23 * time.Hour).Format(time.RFC3339)}), r[1]}
		}, "!"},
		{"start missing", func(r []map[string]any) []any { return []any{with(r[0], map[string]any{"startDateTime": nil}), r[1]} }, "!"},
		{"identifier missing", func(r []map[string]any) []any {
			return []any{with(r[0], map[string]any{"customKeyIdentifier": nil}), r[1]}
		}, "!"},
		{"type missing", func(r []map[string]any) []any { return []any{with(r[0], map[string]any{"type": nil}), r[1]} }, "!"},
		{"another key", func(r []map[string]any) []any {
			return []any{with(r[0], map[string]any{"key": base64.StdEncoding.EncodeToString([]byte("x"))}), r[1]}
		}, "!"},
		{"twice the same", func(r []map[string]any) []any { return []any{r[0], r[0]} }, "!"},
		{"by its key, without keyId", func(r []map[string]any) []any {
			return []any{with(r[0], map[string]any{"keyId": nil, "key": "own"}), r[1]}
		}, "ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tenant := newTenant(t)
			pairs := map[string]pair{}
			for i, name := range []string{"a", "b", "c"} {
				pairs[name] = newPair(t, i, now.Add(-time.Hour), now.Add(24*time.Hour))
			}
			app := addApp(t, tenant, emulator.Application{}, pairs["a"], pairs["b"])
			c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
			path := "applications/" + app.ObjectID
			var read struct {
				KeyCredentials []map[string]any `json:"keyCredentials"`
			}
			if err := json.Unmarshal(c.want(200, "GET", path, nil).raw, &read); err != nil {
				t.Fatal(err)
			}
			for _, e := range read.KeyCredentials {
				e["key"] = json.RawMessage("null")
			}
			list := tt.patch(read.KeyCredentials)
			for i, e := range list {
				m, isMap := e.(map[string]any)
				if e == "c" {
					list[i] = pairs["c"].entry()
				} else if isMap && m["key"] == "own" {
					m["key"] = base64.StdEncoding.EncodeToString(pairs["a"].cert.Raw)
				}
			}
			a := c.call("PATCH", path, map[string]any{"keyCredentials": list})
			got := ""
			ids := map[string]string{}
			for _, k := range tenant.KeyCredentials(app.ClientID) {
				for name, p := range pairs {
					if string(p.cert.Raw) == string(k.Certificate) {
						got += name
						ids[name] = k.KeyID
					}
				}
			}
			if tt.want == "!" {
				if a.status != 400 || got != "ab" {
					t.Errorf("got %d %s and %q, want 400 and nothing changed", a.status, a.raw, got)
				}
				if tt.name != "twice the same" && a.message() != "Update to existing credential with KeyId '"+app.KeyCredentials[0].KeyID+"' is not allowed." {
					t.Errorf("message %q", a.message())
				}
				return
			}
			if a.status != 204 || got != tt.want {
				t.Errorf("got %d %s and %q, want 204 and %q", a.status, a.raw, got, tt.want)
			}
			for i, name := range []string{"a", "b"} {
				if id, ok := ids[name]; ok && id != app.KeyCredentials[i].KeyID {
					t.Errorf("the keyId of %s changed", name)
				}
			}
		})
	}
}

func TestPatchSecrets(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Secrets: []emulator.Secret{{DisplayName: "one"}, {DisplayName: "two"}}})
	c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
	path := "applications/" + app.ObjectID
	list, _ := c.want(200, "GET", path, nil).body["passwordCredentials"].([]any)
	if a := c.call("PATCH", path, map[string]any{"passwordCredentials": []any{list[0], map[string]any{"displayName": "new"}}}); a.status != 400 {
		t.Errorf("new secret by PATCH: %d, want 400", a.status)
	}
	first, _ := list[0].(map[string]any)
	if a := c.call("PATCH", path, map[string]any{"passwordCredentials": []any{with(first, map[string]any{"displayName": "x"})}}); a.status != 400 {
		t.Errorf("changed secret: %d, want 400", a.status)
	}
	c.want(204, "PATCH", path, map[string]any{"passwordCredentials": list[1:]})
	got, _ := tenant.Application(app.ClientID)
	if diff := cmp.Diff(app.Secrets[1:], got.Secrets); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
}
