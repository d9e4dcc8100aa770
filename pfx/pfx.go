// Package pfx writes and reads the file that carries an app's key pair: PKCS#12
// (PFX) in two encodings, or PEM.
//
// [Encode] makes the bytes, [Decode] opens any such file and answers with a [Pair]
// of which it is sure that key and certificate belong together. The package knows
// nothing of apps or rotations, and it neither opens nor writes files.
package pfx

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

const (
	// MaxBytes is the size of the largest file that [Decode] accepts, in bytes.
	MaxBytes = 1 << 20
	// MinKeyBits is the length of the shortest RSA key that is accepted, in bits.
	MinKeyBits = 2048
)

// Encoding says how a key pair is written. The zero value is [Modern].
type Encoding string

const (
	// Modern is PKCS#12 with AES-256 and HMAC-SHA-256, read by OpenSSL 1.1.1,
	// Java 12, Windows Server 2019 and newer. Windows Server 2016 and macOS say
	// "wrong password" to it.
	Modern Encoding = "modern"
	// LegacyDES is PKCS#12 with 3DES and HMAC-SHA-1, read by everything.
	LegacyDES Encoding = "legacy-des"
	// PEM is the key (PKCS#8), the certificate and its chain in one text file,
	// unencrypted.
	PEM Encoding = "pem"
)

// Encodings returns all encodings, the default first.
func Encodings() []Encoding { return []Encoding{Modern, LegacyDES, PEM} }

// Encode returns the file with the key, its certificate and the certificates above
// it. Salts are random: the same pair gives other bytes each time.
//
// The password may be empty; [PEM] has none and ignores it. Encode returns
// [ErrMismatch] if the certificate is not that of the key, [ErrWeakKey],
// [ErrPasswordCharacters], [ErrNoKey] and [ErrNoCertificate] for nil arguments,
// and [ErrEncoding].
func Encode(e Encoding, key *rsa.PrivateKey, certificate *x509.Certificate, chain []*x509.Certificate, password string) ([]byte, error) {
	if err := check(key, certificate); err != nil {
		return nil, err
	}
	switch e {
	case Modern, "":
		return encodePKCS12(pkcs12.Modern2023, key, certificate, chain, password)
	case LegacyDES:
		return encodePKCS12(pkcs12.LegacyDES, key, certificate, chain, password)
	case PEM:
		return encodePEM(key, certificate, chain)
	}
	return nil, fmt.Errorf("%q: %w", string(e), ErrEncoding)
}

// Decode opens a PKCS#12 file in any encoding that go-pkcs12 can read, or a PEM file
// with one private key (PKCS#1 or PKCS#8) and certificates in any order. Line ends
// and a byte order mark do not matter; the password is used as it is given and
// ignored for PEM.
//
// The certificate is the first one that belongs to the key; all others are the
// chain, in the order of the file. Its dates are not looked at. Errors are those of
// this package and are told apart with [errors.Is].
func Decode(data []byte, password string) (*Pair, error) {
	if len(data) > MaxBytes {
		return nil, ErrTooLarge
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if len(text) == 0 {
		return nil, ErrTruncated
	}
	if text[0] == '-' || bytes.Contains(text, []byte("-----BEGIN ")) {
		return decodePEM(text)
	}
	return decodePKCS12(data, password)
}

// pair puts together what a file held.
func pair(key any, certificates []*x509.Certificate) (*Pair, error) {
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, ErrNotRSA
	}
	p := &Pair{Key: private}
	for _, c := range certificates {
		switch {
		case p.Certificate == nil && private.PublicKey.Equal(c.PublicKey):
			p.Certificate = c
		case p.Certificate != nil && p.Certificate.Equal(c):
		default:
			p.Chain = append(p.Chain, c)
		}
	}
	if p.Certificate == nil && len(certificates) > 0 {
		return nil, ErrMismatch
	}
	if err := check(p.Key, p.Certificate); err != nil {
		return nil, err
	}
	return p, nil
}

// check says whether key and certificate are a pair that Entra ID can use.
func check(key *rsa.PrivateKey, certificate *x509.Certificate) error {
	switch {
	case key == nil:
		return ErrNoKey
	case certificate == nil:
		return ErrNoCertificate
	case key.N == nil || key.N.BitLen() < MinKeyBits:
		return ErrWeakKey
	case !key.PublicKey.Equal(certificate.PublicKey):
		return ErrMismatch
	}
	return nil
}

func encodePEM(key *rsa.PrivateKey, certificate *x509.Certificate, chain []*x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	var out bytes.Buffer
	blocks := []*pem.Block{{Type: "PRIVATE KEY", Bytes: der}, {Type: "CERTIFICATE", Bytes: certificate.Raw}}
	for _, c := range chain {
		blocks = append(blocks, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	for _, b := range blocks {
		if err := pem.Encode(&out, b); err != nil {
			return nil, fmt.Errorf("encode %s: %w", b.Type, err)
		}
	}
	return out.Bytes(), nil
}

// decodePEM reads all blocks of a PEM file.
func decodePEM(text []byte) (*Pair, error) {
	var (
		keys         []any
		certificates []*x509.Certificate
		blocks       int
	)
	for rest := text; ; blocks++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
			return nil, ErrEncrypted
		}
		var (
			key any
			err error
		)
		switch b.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		case "EC PRIVATE KEY", "DSA PRIVATE KEY", "OPENSSH PRIVATE KEY":
			return nil, ErrNotRSA
		case "CERTIFICATE", "X509 CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(b.Bytes); err == nil {
				certificates = append(certificates, c)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w (block %d, %s: %w)", ErrFormat, blocks+1, b.Type, err)
		}
		if key != nil {
			keys = append(keys, key)
		}
	}
	if cut(text, blocks) {
		return nil, ErrTruncated
	}
	switch len(keys) {
	case 0:
		return nil, ErrNoKey
	case 1:
		return pair(keys[0], certificates)
	}
	return nil, ErrManyKeys
}

// cut says whether a PEM text holds anything but that many whole blocks: the
// decoder skips over broken ones without a word.
func cut(text []byte, blocks int) bool {
	var begins, ends int
	var last []byte
	for line := range bytes.Lines(text) {
		last = bytes.TrimSpace(line)
		if bytes.HasPrefix(last, []byte("-----BEGIN ")) {
			begins++
		}
		if bytes.HasPrefix(last, []byte("-----END ")) {
			ends++
		}
	}
	return begins != blocks || ends != blocks || (bytes.HasPrefix(last, []byte("-")) && !bytes.HasPrefix(last, []byte("-----END ")))
}
