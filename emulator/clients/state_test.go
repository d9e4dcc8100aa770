//go:build e2e

package clients_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

// key signs every certificate of the clients.
var key = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// certificate makes one, in DER and, with the key, in PEM.
func certificate(t *testing.T, name string) (der []byte, text string) {
	t.Helper()
	k, err := key()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// A subject is an app of one test, with one certificate and one secret, and what
// command lines call its parts.
type subject struct {
	emulator.Application
	secret string
	// pem is a file with its key and certificate, cert one with another certificate.
	pem, cert string
	names     map[string]string
}

// newSubject adds one, and what a test may need beside it.
func (w *world) newSubject(t *testing.T) *subject {
	t.Helper()
	dir := t.TempDir()
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:12]
	name := "app-" + id
	der, text := certificate(t, name)
	s := &subject{secret: "secret-of-" + name, pem: filepath.Join(dir, "key.pem"), cert: filepath.Join(dir, "cert.pem")}
	_, other := certificate(t, name+" next")
	_, other, _ = strings.Cut(other, "-----END PRIVATE KEY-----\n")
	for path, content := range map[string]string{s.pem: text, s.cert: other} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.Application, err = w.tenant.AddApplication(emulator.Application{
		Name: name, KeyCredentials: []emulator.KeyCredential{{DisplayName: "seeded", Certificate: der}},
		Secrets: []emulator.Secret{{Text: s.secret}}, Permissions: []string{"Application.ReadWrite.All", "Directory.Read.All"},
	})
	if err != nil {
		t.Fatal(err)
	}
	owner, err := w.tenant.AddApplication(emulator.Application{Name: "owner-" + id})
	if err != nil {
		t.Fatal(err)
	}
	_, bare := w.graph(t, "POST", "applications", map[string]any{"displayName": "bare-" + id})
	s.names = map[string]string{
		"name": name, "new": "new-" + id, "client": s.ClientID, "object": s.ObjectID, "sp": s.ServicePrincipalID,
		"key": s.KeyCredentials[0].KeyID, "secret": s.Secrets[0].KeyID, "owner": owner.ServicePrincipalID,
		"bare": fmt.Sprint(bare["appId"]), "bareobject": fmt.Sprint(bare["id"]),
		"graph": "00000003-0000-0000-c000-000000000000", "cert": s.cert, "pem": s.pem, "dir": dir, "tenant": w.ready.TenantID,
	}
	return s
}

// fill puts the names of the subject into a text: {client} and so on.
func (s *subject) fill(text string) string {
	var pairs []string
	for name, value := range s.names {
		pairs = append(pairs, "{"+name+"}", value)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// A fact is what Graph must show afterwards, to a request of our own.
type fact struct {
	// path is what is read; "applications|displayName={new}" is the one element of the
	// list with that value.
	path string
	// want maps places in the answer (displayName, keyCredentials.0.keyId,
	// keyCredentials.# for the length) to values. Nil: 404, or no such element.
	want map[string]any
}

// holds judges a fact.
func (w *world) holds(t *testing.T, s *subject, f fact) {
	t.Helper()
	path, element, isElement := strings.Cut(s.fill(f.path), "|")
	status, answer := w.graph(t, "GET", path, nil)
	if isElement {
		if status != 200 {
			t.Errorf("GET %s: %d %v", path, status, answer)
			return
		}
		name, value, _ := strings.Cut(element, "=")
		list, _ := answer["value"].([]any)
		list = slices.DeleteFunc(list, func(e any) bool { return fmt.Sprint(at(e, name)) != value })
		status, answer = 404, nil
		if len(list) == 1 {
			status = 200
			answer, _ = list[0].(map[string]any)
		}
	}
	if f.want == nil {
		if status != 404 {
			t.Errorf("GET %s|%s: %d, want none", path, element, status)
		}
		return
	}
	if status != 200 {
		t.Errorf("GET %s|%s: %d %v", path, element, status, answer)
		return
	}
	for _, place := range slices.Sorted(maps.Keys(f.want)) {
		want := f.want[place]
		if text, ok := want.(string); ok {
			want = s.fill(text)
		}
		if got := at(answer, place); fmt.Sprint(got) != fmt.Sprint(want) {
			text, _ := json.Marshal(answer)
			t.Errorf("GET %s|%s: %s is %v, want %v in %s", path, element, place, got, want, text)
		}
	}
}

// at returns the value at a place. Names of annotations have points of their own.
func at(value any, place string) any {
	name, rest, more := strings.Cut(place, ".")
	if strings.HasPrefix(place, "@") {
		name, more = place, false
	}
	switch v := value.(type) {
	case map[string]any:
		value = v[name]
	case []any:
		i, err := strconv.Atoi(name)
		switch {
		case name == "#":
			value = len(v)
		case err == nil && i < len(v):
			value = v[i]
		default:
			return nil
		}
	default:
		return nil
	}
	if more {
		return at(value, rest)
	}
	return value
}
