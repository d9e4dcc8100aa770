// Package pfx writes and reads the file that carries an app's key pair: PKCS#12
// (PFX) in two encodings, or PEM.
//
// [Encode] makes the bytes, [Decode] opens any such file and answers with a [Pair]
// of which it is sure that key and certificate belong together. The package knows
// nothing of apps or rotations, and it neither opens nor writes files.
package pfx

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/seed-f0abd057/rotate/config/textfile"
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
	return EncodeNamed(e, key, certificate, chain, password, "")
}

// EncodeNamed is [Encode] with a friendly name for key and certificate, by which
// consumers such as Java (alias) and Windows look them up. Empty is none; [PEM] has
// none. It returns [ErrFriendlyName] for one that [CheckFriendlyName] refuses.
func EncodeNamed(e Encoding, key *rsa.PrivateKey, certificate *x509.Certificate, chain []*x509.Certificate, password, name string) ([]byte, error) {
	if err := check(key, certificate); err != nil {
		return nil, err
	}
	if err := CheckFriendlyName(name); err != nil {
		return nil, err
	}
	var form *pkcs12.Encoder
	switch e {
	case Modern, "":
		form = pkcs12.Modern2023
	case LegacyDES:
		form = pkcs12.LegacyDES
	case PEM:
		return encodePEM(key, certificate, chain)
	default:
		return nil, fmt.Errorf("%q: %w", string(e), ErrEncoding)
	}
	data, err := encodePKCS12(form, key, certificate, chain, password)
	if err != nil || name == "" {
		return data, err
	}
	return setName(data, password, name)
}

// Decode is [DecodeContext] without a way to stop it: a file whose key derivation
// would take longer than some seconds is refused anyway.
func Decode(data []byte, password string) (*Pair, error) {
	return DecodeContext(context.Background(), data, password)
}

// DecodeContext opens a PKCS#12 file, or a PEM file with one private key (PKCS#1 or
// PKCS#8, encrypted or not) and certificates in any order. A PKCS#12 file may stand in
// PEM lines (BEGIN PKCS12), and bytes after its end are ignored. Encoding, line ends
// and a byte order mark of PEM do not matter. The password is used as it is given and
// ignored where nothing is encrypted.
//
// The certificate is the first one that belongs to the key; all others are the
// chain, in the order of the file. Its dates are not looked at. Errors are those of
// this package and are told apart with [errors.Is], or that of the context.
func DecodeContext(ctx context.Context, data []byte, password string) (*Pair, error) {
	if len(data) > MaxBytes {
		return nil, ErrTooLarge
	}
	if len(data) > 0 && data[0] == 0x30 && !bytes.Contains(data, []byte("-----BEGIN ")) {
		return decodePKCS12(ctx, data, password)
	}
	lines, err := textfile.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrFormat, err)
	}
	lines = bytes.TrimSpace(lines)
	if len(lines) == 0 {
		return nil, ErrTruncated
	}
	if lines[0] == '-' || bytes.Contains(lines, []byte("-----BEGIN ")) {
		return decodePEM(ctx, lines, password)
	}
	return decodePKCS12(ctx, data, password)
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
func decodePEM(ctx context.Context, text []byte, password string) (*Pair, error) {
	// Two files put together, the first without a line end.
	text = bytes.ReplaceAll(text, []byte("----------BEGIN "), []byte("-----\n-----BEGIN "))
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
		var (
			key any
			err error
		)
		isOldForm := b.Headers["DEK-Info"] != ""
		if password == "" && (b.Type == "ENCRYPTED PRIVATE KEY" || isOldForm) {
			return nil, ErrEncrypted
		}
		if isOldForm {
			// One round of MD5, and no check: what it gives must be a key.
			if b.Bytes, err = x509.DecryptPEMBlock(b, []byte(password)); err != nil { //nolint:staticcheck // old programs write it
				return nil, ErrWrongPassword
			}
		}
		switch b.Type {
		case "PKCS12", "PFX":
			return decodePKCS12(ctx, b.Bytes, password)
		case "ENCRYPTED PRIVATE KEY":
			if key, err = decryptKey(ctx, b.Bytes, password); err != nil {
				return nil, err
			}
		case "PRIVATE KEY":
			if key, err = parseKey(b.Bytes); errors.Is(err, ErrNotRSA) {
				return nil, ErrNotRSA
			}
		case "RSA PRIVATE KEY":
			if key, err = x509.ParsePKCS1PrivateKey(b.Bytes); err != nil && isOldForm {
				return nil, ErrWrongPassword
			}
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
