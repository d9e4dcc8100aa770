package emulator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// maxCertificates bounds the memory of server certificates.
const maxCertificates = 256

// An authority makes server certificates: for the addresses of the listener, and for
// each name that a client asks for, so that a host that is not known gets an answer
// that says so, and not a broken connection.
type authority struct {
	key     *ecdsa.PrivateKey
	own     *x509.Certificate
	address net.Addr

	mu   sync.Mutex
	made map[string]*tls.Certificate // by name; guarded by mu
}

// newAuthority makes one. ca is its certificate, PEM, one block.
func newAuthority(address net.Addr) (a *authority, ca []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(now.UnixNano()),
		Subject:               pkix.Name{CommonName: "rotate emulator CA, not for production"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(year),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, fmt.Errorf("emulator: make the certificate authority: %w", err)
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	a = &authority{key: key, own: own, address: address, made: map[string]*tls.Certificate{}}
	return a, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// certificate is that for the name which a client asks for; it fits
// [tls.Config.GetCertificate].
func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := hello.ServerName // empty: an address
	if c := a.made[name]; c != nil {
		return c, nil
	}
	c, err := a.issue(name)
	if err != nil {
		return nil, err
	}
	if len(a.made) >= maxCertificates {
		clear(a.made)
	}
	a.made[name] = c
	return c, nil
}

// issue makes a certificate for a name, and for the addresses.
func (a *authority) issue(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "rotate emulator"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(year),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if name != "" && name != "localhost" {
		leaf.DNSNames = append(leaf.DNSNames, name)
	}
	if tcp, ok := a.address.(*net.TCPAddr); ok && !tcp.IP.IsLoopback() && !tcp.IP.IsUnspecified() {
		leaf.IPAddresses = append(leaf.IPAddresses, tcp.IP)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.own, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("emulator: make the server certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.own.Raw}, PrivateKey: key}, nil
}
