package main_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// secrets are what may be printed and stored nowhere in clear: what each is, and
// every form in which it could appear.
type secrets map[string][][]byte

// add knows a secret in all its forms.
func (s secrets) add(what string, secret []byte) {
	digits := hex.EncodeToString(secret)
	forms := [][]byte{secret, []byte(digits), []byte(strings.ToUpper(digits))}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		// In a longer text the secret begins at one of three places in a group of
		// four letters; the groups that it fills alone are always the same.
		for shift := range 3 {
			text := encoding.EncodeToString(append(make([]byte, shift), secret...))
			first, last := (shift+2)/3*4, (shift+len(secret))/3*4
			forms = append(forms, []byte(text[first:last]))
		}
	}
	s[what] = append(s[what], forms...)
}

// addPair knows the private key, whatever it is encoded as, and the password:
// where a prime stands, the key stands.
func (s secrets) addPair(what string, p keyPair) {
	s.add("private key of "+what, p.key.Primes[0].Bytes())
	s.add("private key of "+what, p.key.D.Bytes())
	s.add("PFX password of "+what, []byte(p.password))
}

// shapes are secrets that are known by their form: tokens, PEM, age identities.
var shapes = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY|AGE-SECRET-KEY-1[0-9A-Z]{10,}`)

// find returns what of the secrets stands in the data.
func (s secrets) find(data []byte) []string {
	// PEM breaks its lines; JSON writes the breaks as \n.
	joined := []byte(strings.NewReplacer(`\n`, "", "\n", "", "\r", "").Replace(string(data)))
	var found []string
	for what, forms := range s {
		if slices.ContainsFunc(forms, func(form []byte) bool { return bytes.Contains(data, form) || bytes.Contains(joined, form) }) {
			found = append(found, what)
		}
	}
	if shape := shapes.Find(data); shape != nil {
		found = append(found, fmt.Sprintf("something that begins like a secret: %.12q", shape))
	}
	slices.Sort(found)
	return found
}

// checkLeaks looks for every secret of a finished run in all that the run left
// for others to see: what commands, daemons and tenants printed, request logs,
// command lines and environments, answers of the API, the store.
func checkLeaks(t *testing.T, m *machine, store string, apps ...*adopted) {
	t.Helper()
	known := secrets{}
	tenants := map[string]*tenantServer{}
	for _, a := range apps {
		tenants[a.tenant.name] = a.tenant
		for _, p := range a.pairs() {
			known.addPair(a.name, p)
		}
		if delivered := must1(os.ReadFile(a.path))(t); len(delivered) > 1000 {
			known.add("PFX of "+a.name, delivered[500:600])
		}
	}
	m.mu.Lock()
	all := slices.Clone(m.all)
	m.mu.Unlock()
	for _, s := range tenants {
		known.add("secret of the admin of "+s.name, must1(os.ReadFile(s.ready.Admin.ClientSecretFile))(t))
		all = append(all, s.process)
	}

	look := func(where string, data []byte) {
		t.Helper()
		if found := known.find(data); len(found) > 0 {
			t.Errorf("%s: %s", where, strings.Join(found, ", "))
		}
	}
	for _, p := range all {
		look("stdout of "+p.String(), []byte(p.stdout.String()))
		look("stderr of "+p.String(), []byte(p.stderr.String()))
		look("what others see of "+p.String(), p.visible)
		if long := p.args[0] == "daemon" || p.args[0] == "emulator"; long && !bytes.Contains(p.visible, []byte(p.args[0])) {
			t.Errorf("%s: nothing of it was seen", p)
		}
	}
	for _, s := range tenants {
		look("request log of "+s.name, must1(os.ReadFile(s.log))(t))
	}
	look("an answer of the control API", []byte(m.answers.String()))
	files := must1(filepath.Glob(filepath.Join(m.path(store), "rotate.db*")))(t)
	if len(files) == 0 {
		t.Errorf("no store in %s", m.path(store))
	}
	for _, path := range files {
		look(path, must1(os.ReadFile(path))(t))
	}
}

// TestSecretsAreFound makes sure that a leak would be noticed.
func TestSecretsAreFound(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	known := secrets{}
	known.addPair("app-1", keyPair{key: key, password: "correct horse battery"})
	pkcs8 := must1(x509.MarshalPKCS8PrivateKey(key))(t)
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	pkcs8PEM := pem.EncodeToMemory(&pem.Block{Type: "SECRET", Bytes: pkcs8}) // a type that is no shape
	inJSON := must1(json.Marshal(map[string]any{"pem": string(pkcs8PEM)}))(t)
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"key, PKCS #8":           {pkcs8, "private key of app-1"},
		"key, PKCS #1":           {pkcs1, "private key of app-1"},
		"key, PEM":               {pkcs8PEM, "private key of app-1"},
		"key, PEM in JSON":       {inJSON, "private key of app-1"},
		"key, base64":            {[]byte(base64.StdEncoding.EncodeToString(pkcs1)), "private key of app-1"},
		"key, base64url shifted": {[]byte(base64.RawURLEncoding.EncodeToString(append([]byte("x"), pkcs8...))), "private key of app-1"},
		"key, hex":               {fmt.Appendf(nil, "%X", pkcs8), "private key of app-1"},
		"key, as Go prints it":   {key.D.Bytes(), "private key of app-1"},
		"password":               {[]byte(`level=INFO password="correct horse battery"`), "PFX password of app-1"},
		"password, base64":       {[]byte(base64.StdEncoding.EncodeToString([]byte("a correct horse battery b"))), "PFX password of app-1"},
		"token":                  {[]byte("Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwcyJ9.AAAA"), "something that begins like a secret"},
		"PEM of a key":           {[]byte("-----BEGIN RSA PRIVATE KEY-----"), "something that begins like a secret"},
		"age identity":           {[]byte("AGE-SECRET-KEY-1QQQQQQQQQQQQ"), "something that begins like a secret"},
		"nothing":                {[]byte("level=INFO msg=ready certificate=" + base64.StdEncoding.EncodeToString(key.N.Bytes())), ""},
	} {
		if found := strings.Join(known.find(c.data), ", "); !strings.HasPrefix(found, c.want) || (c.want == "") != (found == "") {
			t.Errorf("%s: found %q, want %q", name, found, c.want)
		}
	}
}
