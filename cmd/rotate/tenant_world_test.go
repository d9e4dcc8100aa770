//go:build e2e

package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
)

// serveTenant serves a tenant of this process, which the test can look into, on a
// real port.
func serveTenant(t *testing.T, name string) (*emulator.Tenant, *tenantServer) {
	t.Helper()
	s := &tenantServer{name: name}
	tenant := &emulator.Tenant{Unknown: func(r emulator.Request) { t.Errorf("unknown request %s %s", r.Method, r.Path) }}
	ready := make(chan emulator.Ready, 1)
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	dir := filepath.Join(t.ArtifactDir(), "tenant-"+name)
	go func() {
		ended <- emulator.Serve(ctx, tenant, emulator.Options{Dir: dir}, func(r emulator.Ready) { ready <- r })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case r := <-ready:
		s.ready = decodeJSON[readyFile](t, string(must1(json.Marshal(r))(t)))
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return tenant, s
}

// authority signs certificates of servers and visitors.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	// file is its certificate in PEM form.
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t), file: filepath.Join(t.TempDir(), "authority.pem")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must1(x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key))(t)
	a.certificate = must1(x509.ParseCertificate(der))(t)
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue makes a certificate for an address, a host name or a mailbox, and a PEM file
// of it and of its key.
func (a *authority) issue(t *testing.T, name string) (pair tls.Certificate, certificateFile, keyFile string) {
	t.Helper()
	key := must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	switch ip := net.ParseIP(name); {
	case ip != nil:
		template.IPAddresses = []net.IP{ip}
	case strings.Contains(name, "@"):
		template.EmailAddresses = []string{name}
	default:
		template.DNSNames = []string{name}
	}
	der := must1(x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key))(t)
	dir := t.TempDir()
	certificateFile, keyFile = filepath.Join(dir, "one.pem"), filepath.Join(dir, "one.key")
	writePEM(t, certificateFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", must1(x509.MarshalPKCS8PrivateKey(key))(t))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, certificateFile, keyFile
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// roots holds the authority.
func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// rootsOfFile reads an authority that something else wrote.
func rootsOfFile(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(must1(os.ReadFile(path))(t)) {
		t.Fatalf("%s holds no certificate", path)
	}
	return pool
}

// addConfig appends to the configuration.
func (m *machine) addConfig(t *testing.T, text string) {
	t.Helper()
	before := must1(os.ReadFile(m.config))(t)
	if err := os.WriteFile(m.config, append(before, text...), 0o600); err != nil {
		t.Fatal(err)
	}
}
