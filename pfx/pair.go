package pfx

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Pair is a private key with its certificate. However it is printed, logged or
// marshalled, only the certificate shows.
type Pair struct {
	// Key is the private key, RSA of at least [MinKeyBits].
	Key *rsa.PrivateKey
	// Certificate is the one that belongs to Key.
	Certificate *x509.Certificate
	// Chain holds the other certificates of the file, in its order. It may be empty.
	Chain []*x509.Certificate
	// FriendlyName is the name that the file gives the key, or else the certificate;
	// Java calls it alias. Empty: it gives none.
	FriendlyName string
}

// String returns the subject, the SHA-256 of the DER and the last day of the
// certificate, and never the key.
func (p Pair) String() string {
	if p.Certificate == nil {
		return "key pair without a certificate"
	}
	return fmt.Sprintf("key pair %q, SHA-256 %x, until %s", p.Certificate.Subject.String(),
		sha256.Sum256(p.Certificate.Raw), p.Certificate.NotAfter.UTC().Format(time.RFC3339))
}

// Format writes [Pair.String] for every verb: %+v, %#v and %x included.
func (p Pair) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, p.String()) // a fmt.State keeps its own error
}

// LogValue is what log/slog shows.
func (p Pair) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText is what encoding/json and others show.
func (p Pair) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
