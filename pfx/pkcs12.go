package pfx

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"software.sslmate.com/src/go-pkcs12"
)

// maxRounds is how many rounds of key derivation a file may ask for. OpenSSL writes
// 2048, keytool 10000; with a number near 2³¹ a file of 3 KiB would keep a processor
// busy for hours.
const maxRounds = 2_000_000

func encodePKCS12(e *pkcs12.Encoder, key *rsa.PrivateKey, certificate *x509.Certificate, chain []*x509.Certificate, password string) ([]byte, error) {
	if !usable(password) {
		return nil, ErrPasswordCharacters
	}
	data, err := e.Encode(key, certificate, chain, password)
	if err != nil {
		return nil, fmt.Errorf("encode PKCS#12: %w", err)
	}
	return data, nil
}

func decodePKCS12(data []byte, password string) (*Pair, error) {
	if !usable(password) {
		return nil, ErrPasswordCharacters
	}
	if shorter(data) {
		return nil, ErrTruncated
	}
	if n := rounds(data, 0); n > maxRounds {
		return nil, fmt.Errorf("%w (%d rounds of key derivation, at most %d)", ErrUnsupported, n, maxRounds)
	}
	key, certificate, chain, err := pkcs12.DecodeChain(data, password)
	if err != nil {
		return nil, translate(err)
	}
	return pair(key, append([]*x509.Certificate{certificate}, chain...))
}

// usable says whether go-pkcs12 can encode the password: UCS-2, RFC 7292 B.1.
func usable(password string) bool {
	return utf8.ValidString(password) && !strings.ContainsFunc(password, func(r rune) bool { return r > math.MaxUint16 })
}

// translate turns an error of go-pkcs12 into one of this package. Some of its errors
// have no value to compare with, so their text is; the tests fail if a new version
// words them differently.
func translate(err error) error {
	const shrouded = "pkcs12: error decrypting PKCS#8 shrouded key bag: "
	var missing pkcs12.NotImplementedError
	switch text := err.Error(); {
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption), text == shrouded+pkcs12.ErrDecryption.Error():
		return ErrWrongPassword
	case errors.As(err, &missing), strings.HasPrefix(text, shrouded) && strings.HasSuffix(text, " is not supported"):
		return fmt.Errorf("%w (%w)", ErrUnsupported, err)
	case text == "pkcs12: private key missing":
		return ErrNoKey
	case text == "pkcs12: certificate missing":
		return ErrNoCertificate
	case text == "pkcs12: expected exactly one key bag":
		return ErrManyKeys
	case strings.HasPrefix(text, "pkcs12: error parsing PKCS#8 private key: x509: PKCS#8 wrapping contained private key with unknown algorithm"):
		return ErrNotRSA
	default:
		return fmt.Errorf("%w (%w)", ErrFormat, err)
	}
}

// shorter says whether the outermost DER element claims more bytes than there are.
func shorter(data []byte) bool {
	if data[0] != 0x30 {
		return false
	}
	if len(data) < 2 {
		return true
	}
	size, header := int(data[1]), 2
	if size > 0x80 {
		n := size & 0x7f
		if n > 4 {
			return false
		}
		if len(data) < header+n {
			return true
		}
		size = 0
		for _, b := range data[header : header+n] {
			size = size<<8 | int(b)
		}
		header += n
	}
	return size > len(data)-header
}

// rounds returns the largest number of key derivation rounds that stands in the
// file. In all its algorithms (PKCS#12 MAC and PBE, PBKDF2) this is the INTEGER
// after the OCTET STRING of the salt. What is inside encrypted parts is not seen.
func rounds(der []byte, depth int) int64 {
	const deepest = 32
	var most int64
	salt := false
	for len(der) > 0 && depth < deepest {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			break
		}
		octets := v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOctetString
		switch {
		case v.IsCompound, octets && isSequence(v.Bytes):
			most = max(most, rounds(v.Bytes, depth+1))
		case salt && v.Class == asn1.ClassUniversal && v.Tag == asn1.TagInteger:
			var n int64
			if _, err := asn1.Unmarshal(v.FullBytes, &n); err != nil {
				n = math.MaxInt64
			}
			most = max(most, n)
		}
		salt, der = octets, rest
	}
	return most
}

// isSequence says whether the bytes are exactly one SEQUENCE, so that salts and
// ciphertext are not taken for structure.
func isSequence(b []byte) bool {
	var v asn1.RawValue
	rest, err := asn1.Unmarshal(b, &v)
	return err == nil && len(rest) == 0 && v.Class == asn1.ClassUniversal && v.Tag == asn1.TagSequence
}
