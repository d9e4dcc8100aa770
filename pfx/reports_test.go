package pfx_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/seed-f0abd057/rotate/pfx"
)

// TestB7OtherReadersTakeIt has files that OpenSSL, Java and Windows open.
func TestB7OtherReadersTakeIt(t *testing.T) {
	k := keys()
	template := &x509.Certificate{SerialNumber: big.NewInt(5), Subject: pkix.Name{CommonName: "old CA"}, NotAfter: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.one.Public(), k.one)
	if err != nil {
		t.Fatal(err)
	}
	// The serial number is the only INTEGER 5; a changed byte breaks the signature,
	// which nobody looks at.
	negative, err := x509.ParseCertificate(bytes.Replace(der, []byte{2, 1, 5}, []byte{2, 1, 0xfb}, 1))
	if err != nil {
		t.Fatalf("a negative serial number: %v", err)
	}
	old, err := pfx.Encode(pfx.Modern, k.one, negative, nil, "x")
	if err != nil {
		t.Fatal(err)
	}
	key, cert := block("PRIVATE KEY", pkcs8(t, k.one)), block("CERTIFICATE", k.cert.Raw)
	good := encode(t, pfx.Modern, nil, "x")
	tests := map[string][]byte{
		"negative serial number":     old,
		"a line feed after the end":  append(bytes.Clone(good), '\n'),
		"more after the end":         append(bytes.Clone(good), "\r\n\x00\x00"...),
		"PEM put together":           append(bytes.TrimSpace(key), cert...),
		"PKCS#12 within PEM lines":   block("PKCS12", good),
		"the same, as Windows names": block("PFX", good),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := pfx.Decode(data, "x")
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if !p.Key.Equal(k.one) {
				t.Error("another key came back")
			}
		})
	}
}

func TestB8PEMOfPowerShell(t *testing.T) {
	data := strings.ReplaceAll(string(encode(t, pfx.PEM, nil, "")), "\n", "\r\n")
	little, big := []byte{0xff, 0xfe}, []byte{0xfe, 0xff}
	for _, unit := range utf16.Encode([]rune(data)) {
		little, big = binary.LittleEndian.AppendUint16(little, unit), binary.BigEndian.AppendUint16(big, unit)
	}
	for name, data := range map[string][]byte{"little endian": little, "big endian": big} {
		p, err := pfx.Decode(data, "")
		if err != nil {
			t.Fatalf("%s: Decode: %v", name, err)
		}
		checkPair(t, p, nil)
	}
}

// TestB7EncryptedPEM has both forms, as openssl pkcs8 -topk8 and openssl rsa -aes128
// write them.
func TestB7EncryptedPEM(t *testing.T) {
	k := keys()
	old, err := x509.EncryptPEMBlock(rand.Reader, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k.one), []byte("old pässword"), x509.PEMCipherAES256) //nolint:staticcheck // it is the form that is read
	if err != nil {
		t.Fatal(err)
	}
	cert := block("CERTIFICATE", k.cert.Raw)
	tests := map[string][]byte{
		"old form": append(pem.EncodeToMemory(old), cert...),
		"PKCS#8":   append(block("ENCRYPTED PRIVATE KEY", pfx.EncryptKey(t, k.one, "old pässword")), cert...),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := pfx.Decode(data, "old pässword")
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			checkPair(t, p, nil)
			if _, err := pfx.Decode(data, "another"); !errors.Is(err, pfx.ErrWrongPassword) {
				t.Errorf("Decode with another password = %v, want %v", err, pfx.ErrWrongPassword)
			}
			if _, err := pfx.Decode(data, ""); !errors.Is(err, pfx.ErrEncrypted) {
				t.Errorf("Decode without a password = %v, want %v", err, pfx.ErrEncrypted)
			}
		})
	}
}

func TestB2FriendlyName(t *testing.T) {
	k := keys()
	for _, e := range []pfx.Encoding{pfx.Modern, pfx.LegacyDES} {
		for _, password := range []string{"pässwörd", ""} {
			data, err := pfx.EncodeNamed(e, k.one, k.cert, []*x509.Certificate{k.ca}, password, "tomcat ☃")
			if err != nil {
				t.Fatalf("%s: EncodeNamed: %v", e, err)
			}
			p, err := pfx.Decode(data, password)
			if err != nil {
				t.Fatalf("%s: Decode: %v", e, err)
			}
			checkPair(t, p, []*x509.Certificate{k.ca})
			if p.FriendlyName != "tomcat ☃" {
				t.Errorf("%s: friendly name %q came back", e, p.FriendlyName)
			}
			// Another reader's opinion of the whole, and of the two names.
			if key, _, _, err := pkcs12.DecodeChain(data, password); err != nil || !k.one.Equal(key) {
				t.Errorf("%s: go-pkcs12 says %v", e, err)
			}
			blocks, err := pkcs12.ToPEM(data, password) //nolint:staticcheck // nothing else shows the names; the blocks are not used as PEM
			if err != nil {
				t.Fatalf("%s: go-pkcs12 says %v", e, err)
			}
			named := 0
			for _, b := range blocks {
				if b.Headers["friendlyName"] == "tomcat ☃" {
					named++
				}
			}
			if named != 2 || len(blocks) != 3 {
				t.Errorf("%s: %d of %d parts have the name, want 2 of 3", e, named, len(blocks))
			}
		}
	}
	for _, name := range []string{"a\nb", "🔑", strings.Repeat("x", 129), "\x1b[31m"} {
		if _, err := pfx.EncodeNamed(pfx.Modern, k.one, k.cert, nil, "x", name); !errors.Is(err, pfx.ErrFriendlyName) {
			t.Errorf("friendly name %q: %v, want %v", name, err, pfx.ErrFriendlyName)
		}
	}
}

// TestS6HiddenRounds has rounds that only show once a part was decrypted.
func TestS6HiddenRounds(t *testing.T) {
	good := encode(t, pfx.Modern, nil, "x")
	p, err := pfx.Decode(pfx.HideRounds(t, good, "x", 2048), "x") // as many as it was made with
	if err != nil {
		t.Fatalf("Decode of the same bags in one part: %v", err)
	}
	checkPair(t, p, nil)
	for _, rounds := range []int{20_000_000, 2_000_000_000, 0, -1} {
		began := time.Now()
		p, err := pfx.Decode(pfx.HideRounds(t, good, "x", rounds), "x")
		if p != nil || !errors.Is(err, pfx.ErrUnsupported) && !errors.Is(err, pfx.ErrFormat) {
			t.Errorf("%d rounds: Decode = %v, %v", rounds, p, err)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%d rounds: it took %v", rounds, took)
		}
	}
}

// TestS6Cancelled stops a derivation that is under way.
func TestS6Cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := pfx.HideRounds(t, encode(t, pfx.Modern, nil, "x"), "x", 1_900_000)
	if _, err := pfx.DecodeContext(ctx, data, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("DecodeContext = %v, want %v", err, context.Canceled)
	}
}

// TestS6InAll has keys each of which asks for what one may ask.
func TestS6InAll(t *testing.T) {
	data := encode(t, pfx.Modern, nil, "x")
	if _, err := pfx.Decode(pfx.ManyKeys(t, data, "x", 2, 2_000_000), "x"); !errors.Is(err, pfx.ErrUnsupported) {
		t.Errorf("Decode = %v, want %v", err, pfx.ErrUnsupported)
	}
}
