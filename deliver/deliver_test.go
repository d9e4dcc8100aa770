package deliver_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

var _ rotator.Deliverer = (*deliver.Deliverer)(nil)

// encoder is package pfx as the domain sees it.
type encoder struct{}

func (encoder) Encode(encoding string, key *rsa.PrivateKey, certificate []byte, chain [][]byte, password, name string) ([]byte, error) {
	leaf, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, err
	}
	var above []*x509.Certificate
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		above = append(above, c)
	}
	return pfx.EncodeNamed(pfx.Encoding(encoding), key, leaf, above, password, name)
}

func (encoder) Decode(data []byte, password string) (rotator.KeyPair, error) {
	p, err := pfx.Decode(data, password)
	if err != nil {
		return rotator.KeyPair{}, err
	}
	return rotator.KeyPair{Key: p.Key, Certificate: p.Certificate.Raw, Password: password}, nil
}

func (encoder) NewPassword() (string, error) { return pfx.NewPassword() }

const password = "kW7tQm2ZrX9bNc4HsV6yLd3GfJ8pTa5u"

// pairs are made once: keys take their time.
var pairs = sync.OnceValue(func() (made [3]rotator.KeyPair) {
	for i, name := range []string{"old", "new", "foreign"} {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)),
			Subject:      pkix.Name{CommonName: name},
			NotBefore:    time.Now().Add(-time.Hour),
			NotAfter:     time.Now().Add(24 * time.Hour),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			panic(err)
		}
		made[i] = rotator.KeyPair{Key: key, Certificate: der, Password: password, Encoded: map[string][]byte{}}
		if name == "foreign" {
			made[i].Password = "somebody-elses"
		}
		if made[i].Encoded["modern"], err = (encoder{}).Encode("modern", key, der, nil, made[i].Password, ""); err != nil {
			panic(err)
		}
	}
	return made
})

func oldPair() rotator.KeyPair     { return pairs()[0] }
func newPair() rotator.KeyPair     { return pairs()[1] }
func foreignPair() rotator.KeyPair { return pairs()[2] }

// pack is the package of a rotation from the old to the new pair.
func pack() rotator.Package {
	return rotator.Package{
		App: "contoso-sync", Tenant: "contoso", ClientID: "22222222-0000-0000-0000-000000000000", Rotation: "r1",
		Pair: newPair(), Previous: oldPair(), Encoding: "modern",
		Known:     []rotator.Thumbprint{oldPair().Thumbprint(), newPair().Thumbprint()},
		Passwords: []string{password},
	}
}

// packOld delivers the old pair.
func packOld() rotator.Package {
	p := pack()
	p.Pair, p.Previous = oldPair(), rotator.KeyPair{}
	return p
}

// folder returns one that deliveries accept.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	chmod(t, dir, 0o755)
	return dir
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// names of everything in a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func checkNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

// failure checks class and words of an error and that it leaks nothing.
func failure(t *testing.T, err error, class rotator.Class, words ...string) *rotator.Failure {
	t.Helper()
	f, ok := errors.AsType[*rotator.Failure](err)
	if !ok {
		t.Fatalf("error %v (%T), want a failure of class %s", err, err, class)
	}
	if f.Class != class {
		t.Errorf("class %q of %v, want %q", f.Class, f, class)
	}
	for _, w := range words {
		if !strings.Contains(f.Message+" | "+f.Next, w) {
			t.Errorf("failure %q, next %q, want it to say %q", f.Message, f.Next, w)
		}
	}
	checkLeaks(t, f.Message+f.Next)
	return f
}

// checkLeaks looks for the secrets of the pairs, and for pieces of them.
func checkLeaks(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, password) {
		t.Errorf("password in %.400q", text)
	}
	const piece = 16
	for _, pair := range pairs() { // a PFX holds its SHA-1 thumbprint, which is no secret
		text = strings.ReplaceAll(text, rotator.ThumbprintSHA1(pair.Certificate), "")
	}
	pieces := map[string]bool{}
	for i := 0; i+piece <= len(text); i++ {
		pieces[text[i:i+piece]] = true
	}
	for _, pair := range pairs() {
		der, err := x509.MarshalPKCS8PrivateKey(pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range [][]byte{der, x509.MarshalPKCS1PrivateKey(pair.Key), pair.Encoded["modern"]} {
			for _, secret := range []string{string(blob), base64.StdEncoding.EncodeToString(blob), hex.EncodeToString(blob)} {
				for i := 0; i+piece <= len(secret); i++ {
					if pieces[secret[i:i+piece]] {
						t.Errorf("piece %q of a secret in %.400q", secret[i:i+piece], text)
						return
					}
				}
			}
		}
	}
}

func TestUnknownKind(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	delivery := rotator.Delivery{Kind: "pigeon"}
	failure(t, d.Check(t.Context(), delivery), rotator.ClassFix, `"pigeon"`)
	failure(t, d.Deliver(t.Context(), delivery, pack()), rotator.ClassFix, `"pigeon"`, "app contoso-sync")
	_, err := d.Holds(t.Context(), delivery, nil)
	failure(t, err, rotator.ClassFix, `"pigeon"`)
}

func TestNoPair(t *testing.T) {
	d := &deliver.Deliverer{Encoder: encoder{}}
	p := pack()
	p.Pair = rotator.KeyPair{}
	failure(t, d.Deliver(t.Context(), rotator.Delivery{Kind: "file", Path: filepath.Join(folder(t), "a.pfx")}, p), rotator.ClassFix, "no key pair")
}

// logged returns a logger and what it wrote.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug})), &b
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
