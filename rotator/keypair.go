package rotator

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the thumbprint that portals show is SHA-1
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"strings"
	"time"
)

// KeyPair is a private key, its certificate and the very bytes that consumers
// get. It is sealed whenever it is stored and never printed.
type KeyPair struct {
	Key *rsa.PrivateKey
	// Certificate is DER.
	Certificate []byte
	// Chain holds further certificates of an adopted file, DER each.
	Chain [][]byte
	// Password of the encoded files. May be empty for an adopted file.
	Password string
	// FriendlyName is the name of the key in the encoded files, by which consumers may
	// look it up (Java: alias); empty: none.
	FriendlyName string
	// Encoded are the files as consumers get them, by encoding. Made once, so
	// that what is proven is what is delivered.
	Encoded map[string][]byte
	// Others are the files of the apps, by name, that were adopted with the same pair in
	// a file of their own: with another password, or under another name. See
	// [KeyPair.Of].
	Others map[string]Files
}

// Files is what differs between the files of one pair.
type Files struct {
	Password, FriendlyName string
	Encoded                map[string][]byte
}

// Of is the pair as the app's consumers get it.
func (p KeyPair) Of(app string) KeyPair {
	if own, ok := p.Others[app]; ok {
		p.Password, p.FriendlyName, p.Encoded = own.Password, own.FriendlyName, own.Encoded
	}
	return p
}

// With is the pair p, which is kept, after an app was adopted with the same one in a file
// of its own: the files of others stay as they are.
func (p KeyPair) With(app string, adopted KeyPair) KeyPair {
	others := maps.Clone(p.Others)
	delete(others, app)
	if p.Password == adopted.Password && p.FriendlyName == adopted.FriendlyName {
		encoded := map[string][]byte{}
		maps.Copy(encoded, adopted.Encoded)
		maps.Copy(encoded, p.Encoded) // the very bytes that are there
		p.Encoded, p.Others = encoded, others
		return p
	}
	if others == nil {
		others = map[string]Files{}
	}
	others[app] = Files{adopted.Password, adopted.FriendlyName, adopted.Encoded}
	p.Others = others
	return p
}

// IsZero reports that there is no pair.
func (p KeyPair) IsZero() bool { return p.Key == nil }

// Thumbprint of the certificate.
func (p KeyPair) Thumbprint() Thumbprint { return ThumbprintOf(p.Certificate) }

// String names the pair by its thumbprint and shows nothing else.
func (p KeyPair) String() string { return "key pair " + string(p.Thumbprint()) }

// GoString is [KeyPair.String]: %#v shows no secret either.
func (p KeyPair) GoString() string { return p.String() }

// LogValue keeps the pair out of logs.
func (p KeyPair) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalJSON refuses: a pair leaves the process sealed or not at all.
func (p KeyPair) MarshalJSON() ([]byte, error) {
	return nil, fmt.Errorf("%s must not be written as JSON", p)
}

// ThumbprintOf returns the SHA-256 of a certificate's DER.
func ThumbprintOf(der []byte) Thumbprint {
	sum := sha256.Sum256(der)
	return Thumbprint(hex.EncodeToString(sum[:]))
}

// ThumbprintSHA1 returns the SHA-1 of a certificate's DER in upper-case hex,
// as the Entra portal and Windows show it.
func ThumbprintSHA1(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// CredentialOf describes a certificate (DER) without its KeyID.
func CredentialOf(der []byte) (Credential, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Credential{}, fmt.Errorf("read certificate: %w", err)
	}
	return Credential{
		ThumbprintSHA1:   ThumbprintSHA1(der),
		ThumbprintSHA256: ThumbprintOf(der),
		NotBefore:        c.NotBefore.UTC(),
		NotAfter:         c.NotAfter.UTC(),
	}, nil
}

// NewCertificate makes a self-signed certificate (DER) for the key, with a serial
// number from random. The dates are cut to whole seconds, UTC.
func NewCertificate(random io.Reader, key *rsa.PrivateKey, commonName string, notBefore, notAfter time.Time) ([]byte, error) {
	serial, err := rand.Int(random, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             notBefore.UTC().Truncate(time.Second),
		NotAfter:              notAfter.UTC().Truncate(time.Second),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		SignatureAlgorithm:    x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(random, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return der, nil
}
