package pfx_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/seed-f0abd057/rotate/pfx"
)

// keys are made once for all tests: making RSA keys is what takes time.
var keys = sync.OnceValue(func() (k struct {
	one, two, weak *rsa.PrivateKey
	ec             *ecdsa.PrivateKey
	cert, ca       *x509.Certificate
	weakCert       *x509.Certificate
	ecCert         *x509.Certificate
},
) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	k.one, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.two, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.weak, err = rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	k.cert, k.ca = certificate("contoso-sync", k.one), certificate("contoso-ca", k.two)
	k.weakCert, k.ecCert = certificate("weak", k.weak), certificate("ec", k.ec)
	return k
})

// certificate is self-signed and has expired: that is none of this package's business.
func certificate(name string, key crypto.Signer) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

func encode(tb testing.TB, e pfx.Encoding, chain []*x509.Certificate, password string) []byte {
	tb.Helper()
	k := keys()
	data, err := pfx.Encode(e, k.one, k.cert, chain, password)
	if err != nil {
		tb.Fatalf("Encode(%q): %v", e, err)
	}
	return data
}

// checkPair says what differs from the first test key, its certificate and the chain.
func checkPair(t *testing.T, p *pfx.Pair, chain []*x509.Certificate) {
	t.Helper()
	k := keys()
	if !p.Key.Equal(k.one) {
		t.Error("another key came back")
	}
	if !p.Certificate.Equal(k.cert) {
		t.Errorf("certificate = %v, want %v", p.Certificate.Subject, k.cert.Subject)
	}
	if len(p.Chain) != len(chain) {
		t.Fatalf("chain has %d certificates, want %d", len(p.Chain), len(chain))
	}
	for i := range chain {
		if !p.Chain[i].Equal(chain[i]) {
			t.Errorf("chain[%d] = %v, want %v", i, p.Chain[i].Subject, chain[i].Subject)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	chains := map[string][]*x509.Certificate{"no chain": nil, "chain": {keys().ca}}
	passwords := map[string]string{"plain": "correct horse", "empty": "", "unicode": "pässwörd-密码-пароль", "newline": "x\n", "nul": "a\x00b"}
	for _, e := range append(pfx.Encodings(), "") {
		for chainName, chain := range chains {
			for passwordName, password := range passwords {
				t.Run(fmt.Sprintf("%s/%s/%s", e, chainName, passwordName), func(t *testing.T) {
					p, err := pfx.Decode(encode(t, e, chain, password), password)
					if err != nil {
						t.Fatalf("Decode: %v", err)
					}
					checkPair(t, p, chain)
				})
			}
		}
	}
}

// TestDefaultEncoding looks for the algorithms' identifiers in the DER: AES-256-CBC in
// the one, pbeWithSHAAnd3-KeyTripleDES-CBC in the other.
func TestDefaultEncoding(t *testing.T) {
	aes := []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a}
	des := []byte{0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, 0x03}
	for e, want := range map[pfx.Encoding][2]bool{"": {true, false}, pfx.Modern: {true, false}, pfx.LegacyDES: {false, true}} {
		data := encode(t, e, nil, "x")
		if got := [2]bool{bytes.Contains(data, aes), bytes.Contains(data, des)}; got != want {
			t.Errorf("encoding %q has AES-256, 3DES = %v, want %v", e, got, want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	k := keys()
	tests := map[string]struct {
		encoding    pfx.Encoding
		key         *rsa.PrivateKey
		certificate *x509.Certificate
		password    string
		want        error
	}{
		"mismatch":           {pfx.Modern, k.two, k.cert, "x", pfx.ErrMismatch},
		"mismatch PEM":       {pfx.PEM, k.two, k.cert, "x", pfx.ErrMismatch},
		"weak":               {pfx.Modern, k.weak, k.weakCert, "x", pfx.ErrWeakKey},
		"no key":             {pfx.Modern, nil, k.cert, "x", pfx.ErrNoKey},
		"empty key":          {pfx.Modern, &rsa.PrivateKey{}, k.cert, "x", pfx.ErrWeakKey},
		"no certificate":     {pfx.Modern, k.one, nil, "x", pfx.ErrNoCertificate},
		"unknown encoding":   {"rc2", k.one, k.cert, "x", pfx.ErrEncoding},
		"password not BMP":   {pfx.Modern, k.one, k.cert, "🔑", pfx.ErrPasswordCharacters},
		"password not UTF-8": {pfx.LegacyDES, k.one, k.cert, "\xff", pfx.ErrPasswordCharacters},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := pfx.Encode(tt.encoding, tt.key, tt.certificate, nil, tt.password); !errors.Is(err, tt.want) {
				t.Errorf("Encode = %v, want %v", err, tt.want)
			}
		})
	}
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func pkcs8(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func TestDecodePEM(t *testing.T) {
	k := keys()
	key1, key8 := block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.one)), block("PRIVATE KEY", pkcs8(t, k.one))
	cert, ca := block("CERTIFICATE", k.cert.Raw), block("CERTIFICATE", k.ca.Raw)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	chain := []*x509.Certificate{k.ca}
	tests := map[string]struct {
		data  []byte
		chain []*x509.Certificate
	}{
		"PKCS#8 first":          {join(key8, cert), nil},
		"PKCS#1 last":           {join(cert, key1), nil},
		"chain before":          {join(ca, key8, cert), chain},
		"certificate twice":     {join(cert, ca, key8, cert), chain},
		"byte order mark":       {join([]byte("\xef\xbb\xbf"), key8, cert), nil},
		"CRLF":                  {bytes.ReplaceAll(join(key8, cert, ca), []byte("\n"), []byte("\r\n")), chain},
		"no newline at the end": {bytes.TrimSpace(join(key8, cert)), nil},
		"text between":          {join([]byte("Bag Attributes\n    friendlyName: x\n- note\n"), key8, []byte("issuer=CN = x\n"), cert, []byte("the end\n")), nil},
		"other blocks":          {join(block("DH PARAMETERS", []byte{1}), key8, cert), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := pfx.Decode(tt.data, "ignored")
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			checkPair(t, p, tt.chain)
		})
	}
}

// TestDecodeFindsLeaf has the CA's certificate first, as some exporters write it.
func TestDecodeFindsLeaf(t *testing.T) {
	k := keys()
	data, err := pkcs12.Modern2023.Encode(k.one, k.ca, []*x509.Certificate{k.cert}, "x")
	if err != nil {
		t.Fatal(err)
	}
	p, err := pfx.Decode(data, "x")
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	checkPair(t, p, []*x509.Certificate{k.ca})
}

func TestDecodeRefuses(t *testing.T) {
	const secret = "hunter2-hunter2"
	k := keys()
	raw := func(key any, c *x509.Certificate) []byte {
		data, err := pkcs12.Modern2023.Encode(key, c, nil, secret)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	trust, err := pkcs12.Modern2023.EncodeTrustStore([]*x509.Certificate{k.cert}, secret)
	if err != nil {
		t.Fatal(err)
	}
	good := encode(t, pfx.Modern, nil, secret)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	key8, cert := block("PRIVATE KEY", pkcs8(t, k.one)), block("CERTIFICATE", k.cert.Raw)
	text := append(bytes.Clone(key8), cert...)
	at := bytes.LastIndex(good, []byte{2, 2, 8, 0}) // the MAC's INTEGER 2048
	rounds := append(bytes.Clone(good[:at]), 2, 4, 0x7f, 0xff, 0xff, 0xff)
	grow(rounds, 2)

	tests := map[string]struct {
		data     []byte
		password string
		want     error
	}{
		"wrong password":               {good, "other-hunter2", pfx.ErrWrongPassword},
		"wrong password, legacy":       {encode(t, pfx.LegacyDES, nil, secret), "", pfx.ErrWrongPassword},
		"password not BMP":             {good, "🔑" + secret, pfx.ErrPasswordCharacters},
		"flipped bit":                  {flipped, secret, pfx.ErrWrongPassword},
		"no key":                       {trust, secret, pfx.ErrNoKey},
		"EC key":                       {raw(k.ec, k.ecCert), secret, pfx.ErrNotRSA},
		"weak key":                     {raw(k.weak, k.weakCert), secret, pfx.ErrWeakKey},
		"mismatch":                     {raw(k.two, k.cert), secret, pfx.ErrMismatch},
		"two thousand million rounds":  {rounds, secret, pfx.ErrUnsupported},
		"empty":                        {nil, secret, pfx.ErrTruncated},
		"only white space":             {[]byte("\r\n\n"), secret, pfx.ErrTruncated},
		"garbage":                      {[]byte("this is not a PFX"), secret, pfx.ErrFormat},
		"base64":                       {[]byte("MIIKPAIBAzCCCfYGCSqGSIb3DQEHAaCCCecEggnj"), secret, pfx.ErrFormat},
		"only a certificate, DER":      {k.cert.Raw, secret, pfx.ErrFormat},
		"indefinite length":            {append([]byte{0x30, 0x80}, good[4:]...), secret, pfx.ErrFormat},
		"too large":                    {make([]byte, pfx.MaxBytes+1), secret, pfx.ErrTooLarge},
		"PEM: no key":                  {cert, secret, pfx.ErrNoKey},
		"PEM: no certificate":          {key8, secret, pfx.ErrNoCertificate},
		"PEM: two keys":                {append(bytes.Clone(text), block("PRIVATE KEY", pkcs8(t, k.two))...), secret, pfx.ErrManyKeys},
		"PEM: EC key, SEC 1":           {append(block("EC PRIVATE KEY", []byte{1}), cert...), secret, pfx.ErrNotRSA},
		"PEM: EC key, PKCS#8":          {append(block("PRIVATE KEY", pkcs8(t, k.ec)), block("CERTIFICATE", k.ecCert.Raw)...), secret, pfx.ErrNotRSA},
		"PEM: weak":                    {append(block("PRIVATE KEY", pkcs8(t, k.weak)), block("CERTIFICATE", k.weakCert.Raw)...), secret, pfx.ErrWeakKey},
		"PEM: mismatch":                {append(block("PRIVATE KEY", pkcs8(t, k.two)), cert...), secret, pfx.ErrMismatch},
		"PEM: encrypted":               {append(block("ENCRYPTED PRIVATE KEY", []byte{1}), cert...), "", pfx.ErrEncrypted},
		"PEM: encrypted, old form":     {append(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}, Bytes: []byte{1}}), cert...), "", pfx.ErrEncrypted},
		"PEM: key is not DER":          {append(block("PRIVATE KEY", []byte("nonsense")), cert...), secret, pfx.ErrFormat},
		"PEM: certificate is not DER":  {append(bytes.Clone(key8), block("CERTIFICATE", []byte("nonsense"))...), secret, pfx.ErrFormat},
		"PEM: chain broken in between": {bytes.Join([][]byte{key8, cert[:len(cert)/2], []byte("\n"), cert}, nil), secret, pfx.ErrTruncated},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := pfx.Decode(tt.data, tt.password)
			if !errors.Is(err, tt.want) || p != nil {
				t.Fatalf("Decode = %v, %v, want %v", p, err, tt.want)
			}
			leaks(t, err.Error(), secret)
			if strings.Contains(err.Error(), "other-hunter2") {
				t.Errorf("the error %q holds the password", err)
			}
		})
	}
}

// grow adds n to the lengths of the two outermost sequences around the MAC of a PFX
// whose last bytes got longer by n.
func grow(der []byte, n int) {
	add := func(at int) { // long form, two bytes
		size := int(der[at])<<8 | int(der[at+1])
		size += n
		der[at], der[at+1] = byte(size>>8), byte(size)
	}
	add(2)
	safe := 4 + 3 // outer header, version
	size := int(der[safe+2])<<8 | int(der[safe+3])
	der[safe+4+size+1] += byte(n) // MacData, short form
}

// leaks fails the test if the text holds the password or a part of the test key.
func leaks(t *testing.T, text, password string) {
	t.Helper()
	k := keys().one
	secrets := []string{password, k.D.String(), k.D.Text(16), k.Primes[0].String(), fmt.Sprintf("%x", k.Primes[1].Bytes()), fmt.Sprintf("%v", k.D.Bytes()), "PRIVATE KEY-----"}
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			t.Errorf("%.60q… holds a secret", text)
		}
	}
}

func TestDecodeTruncated(t *testing.T) {
	for _, e := range pfx.Encodings() {
		t.Run(string(e), func(t *testing.T) {
			data := encode(t, e, []*x509.Certificate{keys().ca}, "hunter2-hunter2")
			for n := range len(data) - 1 { // the last byte of PEM is a newline
				_, err := pfx.Decode(data[:n], "hunter2-hunter2")
				known := errors.Is(err, pfx.ErrTruncated)
				if e == pfx.PEM { // the end may be missing at the end of a block
					known = known || errors.Is(err, pfx.ErrNoCertificate)
				}
				if e == pfx.PEM && err == nil && bytes.HasSuffix(bytes.TrimSpace(data[:n]), []byte("-----END CERTIFICATE-----")) {
					known = true // nobody can know that a chain followed
				}
				if !known {
					t.Fatalf("Decode of the first %d of %d bytes = %v, want %v", n, len(data), err, pfx.ErrTruncated)
				}
			}
		})
	}
}

func TestPairNeverShowsKey(t *testing.T) {
	k := keys()
	pair := pfx.Pair{Key: k.one, Certificate: k.cert}
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("x", "pair", pair, "pointer", &pair, "within", struct{ P *pfx.Pair }{&pair})
	plain := slog.New(slog.NewTextHandler(&out, nil))
	plain.Info("x", "pair", pair, "pointer", &pair, "within", struct{ P pfx.Pair }{pair})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		_, _ = fmt.Fprintf(&out, verb+verb+verb+"\n", pair, &pair, struct{ P pfx.Pair }{pair})
	}
	text, err := json.Marshal(map[string]any{"pair": pair, "pointer": &pair})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	leaks(t, out.String(), "")
	if !strings.Contains(out.String(), "contoso-sync") {
		t.Errorf("nothing shows the subject: %s", out.String())
	}
	if got := (&pfx.Pair{}).String(); got == "" {
		t.Error("an empty pair has no text")
	}
}

func TestNewPassword(t *testing.T) {
	seen := map[string]bool{}
	var all strings.Builder
	for range 200 {
		p, err := pfx.NewPassword()
		if err != nil {
			t.Fatal(err)
		}
		if len(p) < 32 || seen[p] {
			t.Fatalf("password %q is short or came twice", p)
		}
		seen[p] = true
		all.WriteString(p)
	}
	if strings.ContainsAny(all.String(), "0Oo1lI") {
		t.Error("a password has characters that look alike")
	}
	for _, r := range "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz" {
		if !strings.ContainsRune(all.String(), r) {
			t.Errorf("%q never came in %d characters", r, all.Len())
		}
	}
}

// FuzzDecode asks that Decode never panics or hangs, that it answers with either a
// whole pair or a known error, and that every pair can be written and read again.
func FuzzDecode(f *testing.F) {
	k := keys()
	for _, e := range pfx.Encodings() {
		f.Add(encode(f, e, []*x509.Certificate{k.ca}, "x"), "x")
		f.Add(encode(f, e, nil, ""), "")
	}
	f.Add(append(block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.one)), block("CERTIFICATE", k.cert.Raw)...), "x")
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n"), "")
	known := []error{
		pfx.ErrWrongPassword, pfx.ErrPasswordCharacters, pfx.ErrNoKey, pfx.ErrManyKeys, pfx.ErrNotRSA, pfx.ErrWeakKey, pfx.ErrNoCertificate,
		pfx.ErrMismatch, pfx.ErrEncrypted, pfx.ErrUnsupported, pfx.ErrTruncated, pfx.ErrFormat, pfx.ErrTooLarge,
	}
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		p, err := pfx.Decode(data, password)
		if err != nil {
			for _, want := range known {
				if errors.Is(err, want) {
					return
				}
			}
			t.Fatalf("Decode = %v, which is none of the package's errors", err)
		}
		again, err := pfx.Encode(pfx.PEM, p.Key, p.Certificate, p.Chain, "")
		if err != nil {
			t.Fatalf("Encode of what Decode accepts: %v", err)
		}
		if _, err := pfx.Decode(again, ""); err != nil {
			t.Fatalf("Decode of that: %v", err)
		}
	})
}
