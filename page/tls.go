package page

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/seed-f0abd057/rotate/config/textfile"
)

// Access decides who may look. Its zero value lets everybody, over HTTP: for a
// listener that only this host can reach.
type Access struct {
	// TLS is nil for HTTP. With ClientCAs, who has no certificate of theirs is
	// refused in the handshake.
	TLS *tls.Config
	// ClientNames are the common names, DNS names or mail addresses in client
	// certificates that may look; empty: each that the authority signed.
	ClientNames []string
	// Login asks people to sign in; nil: it does not.
	Login *Login
}

// LoadTLS reads the server's certificate and key, and, if clientCAFile is not
// empty, the authority of the certificates that clients must show.
func LoadTLS(certificateFile, keyFile, clientCAFile string) (*tls.Config, error) {
	certificate, err := readText(certificateFile)
	if err != nil {
		return nil, fmt.Errorf("page: certificate: %w", err)
	}
	key, err := readText(keyFile)
	if err != nil {
		return nil, fmt.Errorf("page: key: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("page: certificate %s with key %s: %w", certificateFile, keyFile, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clientCAFile == "" {
		return c, nil
	}
	data, err := readText(clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("page: authority of client certificates: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("page: authority of client certificates %s: %w", clientCAFile, errors.New("no certificate in PEM form is in it"))
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// readText reads a PEM file, which may be UTF-16.
func readText(path string) ([]byte, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the operator's own path
	if err != nil {
		return nil, err
	}
	if data, err = textfile.Decode(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// isClient reports whether the certificate that the client showed has one of the
// names.
func isClient(state *tls.ConnectionState, names []string) bool {
	if state == nil || len(state.VerifiedChains) == 0 {
		return false
	}
	c := state.PeerCertificates[0]
	has := slices.Concat([]string{c.Subject.CommonName}, c.DNSNames, c.EmailAddresses)
	return slices.ContainsFunc(names, func(n string) bool {
		return slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(h, n) })
	})
}
