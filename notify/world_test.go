package notify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// hostile is an app's name that tries to become a header, HTML, a mention and a
// link; the emoji must arrive.
const hostile = "contoso\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script> <!channel> [x](https://evil.example) 🔐 Ünïcode"

// noName is a host that no resolver asks anybody about: one of its labels is longer
// than 63 bytes.
const noName = "mail-of-a-label-that-is-longer-than-the-sixty-three-bytes-that-it-may-have.invalid"

func event(kind rotator.EventKind, app string, change ...func(*rotator.Event)) rotator.Event {
	e := rotator.Event{
		ID: "0198c1de-0000-7000-8000-000000000001", Kind: kind, Severity: rotator.SeverityWarning, App: app, Tenant: "contoso",
		At:      time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC),
		Summary: "The certificate of " + app + " ends in 7 days and nothing replaces it.",
		Next:    "Run \"rotate now " + app + "\".",
	}
	for _, c := range change {
		c(&e)
	}
	return e
}

func failed(app string) rotator.Event {
	return event(rotator.EventRotationFailed, app, func(e *rotator.Event) {
		e.Severity = rotator.SeverityCritical
		e.Rotation = "7f3c-2026-11-26"
		e.Summary = "Adding the new certificate failed: graph: 403 Authorization_RequestDenied: Insufficient privileges to complete the operation."
		e.Next = "Make the identity of tenant contoso an owner of this app, or run \"rotate app edit " + app + " --mode self\"."
		e.Owner, e.Tags = "backup-team@contoso.example", []string{"backup", "tier-1"}
		e.Old = &rotator.Credential{
			ThumbprintSHA1: "5D41402ABC4B2A76B9719D911017C592AE1D8A31", KeyID: "0b1c2d3e-0000-4000-8000-000000000001",
			NotAfter: time.Date(2026, 12, 10, 12, 0, 0, 0, time.UTC),
		}
		e.New = &rotator.Credential{
			ThumbprintSHA1: "7D793037A0760186574B0282F2F435E7D1D8A311", NotAfter: time.Date(2027, 11, 26, 3, 45, 0, 0, time.UTC),
		}
	})
}

func message(events ...rotator.Event) notify.Message {
	return notify.Message{ID: "0198c1de-aaaa-7000-8000-00000000000a", At: time.Date(2026, 11, 26, 4, 0, 5, 0, time.UTC), Events: events}
}

// authority is a certificate authority of the test.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, cert}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a server certificate for the names that ends at the time.
func (a *authority) issue(t *testing.T, notAfter time.Time, names ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func templates(t *testing.T) *notify.MailTemplates {
	t.Helper()
	made, err := notify.LoadMailTemplates("", "")
	if err != nil {
		t.Fatal(err)
	}
	made.Host = "admin-1"
	return made
}
