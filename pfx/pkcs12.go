package pfx

import (
	"context"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"software.sslmate.com/src/go-pkcs12"
)

// Reading is our own: go-pkcs12 derives keys for as many rounds as a file asks for,
// also where the number is inside an encrypted part, cannot be stopped, and says
// nothing about friendly names. Writing is the library's.

// Content types and bags of RFC 7292 4.
const (
	contentData      = "1.2.840.113549.1.7.1"
	contentEncrypted = "1.2.840.113549.1.7.6"
	bagKey           = "1.2.840.113549.1.12.10.1.1"
	bagShroudedKey   = "1.2.840.113549.1.12.10.1.2"
	bagCertificate   = "1.2.840.113549.1.12.10.1.3"
	bagContents      = "1.2.840.113549.1.12.10.1.6"
	certificateX509  = "1.2.840.113549.1.9.22.1"
	attributeName    = "1.2.840.113549.1.9.20"
	attributeKeyID   = "1.2.840.113549.1.9.21"
)

// maxNested is how deeply bags may lie in bags. Nobody writes even one level.
const maxNested = 4

type container struct {
	Version  int
	AuthSafe contentInfo
	MAC      macData `asn1:"optional"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"optional"`
}

type macData struct {
	Mac struct {
		Algorithm pkix.AlgorithmIdentifier
		Digest    []byte
	}
	Salt   []byte
	Rounds int `asn1:"optional,default:1"`
}

type encryptedContent struct {
	Version int
	Info    struct {
		Type      asn1.ObjectIdentifier
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte `asn1:"tag:0,optional"`
	}
}

type bag struct {
	ID         asn1.ObjectIdentifier
	Value      asn1.RawValue
	Attributes []attribute `asn1:"set,optional"`
}

type attribute struct {
	ID     asn1.ObjectIdentifier
	Values asn1.RawValue
}

type certificateBag struct {
	Type asn1.ObjectIdentifier
	Data []byte `asn1:"tag:0,explicit"`
}

// encryptedKey is EncryptedPrivateKeyInfo of RFC 5958 3.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

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

// usable says whether PKCS#12 can use the password: UCS-2, RFC 7292 B.1.
func usable(password string) bool {
	return utf8.ValidString(password) && !strings.ContainsFunc(password, func(r rune) bool { return r > math.MaxUint16 })
}

func decodePKCS12(ctx context.Context, data []byte, text string) (*Pair, error) {
	if !usable(text) {
		return nil, ErrPasswordCharacters
	}
	if shorter(data) {
		return nil, ErrTruncated
	}
	c, content, err := unpack(data)
	if err != nil {
		return nil, err
	}
	r := &reader{work: &work{left: maxWork}, password: newPassword(text)}
	if len(c.MAC.Mac.Algorithm.Algorithm) == 0 {
		if text != "" {
			return nil, fmt.Errorf("%w (it has no integrity check, and so no password)", ErrFormat)
		}
	} else if err := r.verify(ctx, c.MAC, content); err != nil {
		return nil, err
	}
	var parts []contentInfo
	if err := whole(content, &parts); err != nil {
		return nil, err
	}
	for _, part := range parts {
		bags, err := r.open(ctx, part)
		if err != nil {
			return nil, err
		}
		if err := r.read(ctx, bags, 0); err != nil {
			return nil, err
		}
	}
	if len(r.keys) == 0 {
		return nil, ErrNoKey
	}
	if len(r.keys) > 1 {
		return nil, ErrManyKeys
	}
	p, err := pair(r.keys[0], r.certificates)
	if err != nil {
		return nil, err
	}
	if p.FriendlyName = r.keyName; p.FriendlyName == "" {
		p.FriendlyName = r.names[string(p.Certificate.Raw)]
	}
	return p, nil
}

// unpack returns the outermost layer of a file and the bytes that its integrity check
// is about. What follows the outermost element is ignored, as all other readers do: a
// line feed of a text editor, say.
func unpack(data []byte) (c container, content []byte, err error) {
	if _, err := asn1.Unmarshal(data, &c); err != nil {
		return c, nil, fmt.Errorf("%w (%w)", ErrFormat, err)
	}
	if c.Version != 3 {
		return c, nil, fmt.Errorf("%w (version %d of PKCS#12)", ErrUnsupported, c.Version)
	}
	if c.AuthSafe.Type.String() != contentData {
		return c, nil, fmt.Errorf("%w (it is signed with a key instead of a password)", ErrUnsupported)
	}
	err = whole(c.AuthSafe.Content.Bytes, &content)
	return c, content, err
}

// reader collects what a file has.
type reader struct {
	work         *work
	password     password
	keys         []any
	certificates []*x509.Certificate
	// keyName is the friendly name of the key, names those of certificates by DER.
	keyName string
	names   map[string]string
}

// verify checks the integrity of the file, and so the password.
func (r *reader) verify(ctx context.Context, m macData, content []byte) error {
	sum, err := r.work.sum(ctx, m, content, r.password)
	if err != nil || hmac.Equal(sum, m.Mac.Digest) {
		return err
	}
	if r.password.text != "" {
		return ErrWrongPassword
	}
	// Some programs take nothing at all for the empty password, not two zero bytes.
	r.password.ucs2 = nil
	sum, err = r.work.sum(ctx, m, content, r.password)
	if err == nil && !hmac.Equal(sum, m.Mac.Digest) {
		err = ErrWrongPassword
	}
	return err
}

// open returns the bags of one part.
func (r *reader) open(ctx context.Context, part contentInfo) (bags []bag, err error) {
	var plain []byte
	switch part.Type.String() {
	case contentData:
		err = whole(part.Content.Bytes, &plain)
	case contentEncrypted:
		var e encryptedContent
		if err = whole(part.Content.Bytes, &e); err == nil {
			plain, err = r.work.decrypt(ctx, e.Info.Algorithm, e.Info.Data, r.password)
		}
	default:
		err = fmt.Errorf("%w (content of type %s)", ErrUnsupported, part.Type)
	}
	if err == nil {
		err = whole(plain, &bags)
	}
	return bags, err
}

// read takes keys and certificates out of bags. What it does not know, it leaves: lists
// of revoked certificates and secrets are nothing for this program.
func (r *reader) read(ctx context.Context, bags []bag, depth int) error {
	for _, b := range bags {
		var err error
		switch b.ID.String() {
		case bagKey:
			err = r.key(b.Value.Bytes, b)
		case bagShroudedKey:
			var e encryptedKey
			var der []byte
			if err = whole(b.Value.Bytes, &e); err == nil {
				der, err = r.work.decrypt(ctx, e.Algorithm, e.Data, r.password)
			}
			if err == nil {
				err = r.key(der, b)
			}
		case bagCertificate:
			err = r.certificate(b)
		case bagContents:
			var inner []bag
			if depth == maxNested {
				return fmt.Errorf("%w (bags in bags)", ErrUnsupported)
			}
			if err = whole(b.Value.Bytes, &inner); err == nil {
				err = r.read(ctx, inner, depth+1)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) key(der []byte, b bag) error {
	key, err := parseKey(der)
	if err != nil {
		return err
	}
	r.keys, r.keyName = append(r.keys, key), b.name()
	return nil
}

// parseKey reads a key in PKCS#8.
func parseKey(der []byte) (any, error) {
	var info struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err == nil && info.Algorithm.Algorithm.String() != "1.2.840.113549.1.1.1" {
		return nil, ErrNotRSA
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The cause is left out: nothing of a key may get into an error.
		return nil, fmt.Errorf("%w (the private key is damaged)", ErrFormat)
	}
	return key, nil
}

func (r *reader) certificate(b bag) error {
	var c certificateBag
	if err := whole(b.Value.Bytes, &c); err != nil {
		return err
	}
	if c.Type.String() != certificateX509 {
		return fmt.Errorf("%w (certificate of type %s)", ErrUnsupported, c.Type)
	}
	certificate, err := x509.ParseCertificate(c.Data)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrFormat, err)
	}
	r.certificates = append(r.certificates, certificate)
	if name := b.name(); name != "" {
		if r.names == nil {
			r.names = map[string]string{}
		}
		r.names[string(certificate.Raw)] = name
	}
	return nil
}

// name returns the friendly name of a bag, by which consumers look it up.
func (b bag) name() string {
	for _, a := range b.Attributes {
		var v asn1.RawValue
		if a.ID.String() != attributeName || whole(a.Values.Bytes, &v) != nil || v.Tag != asn1.TagBMPString || len(v.Bytes)%2 != 0 {
			continue
		}
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = uint16(v.Bytes[2*i])<<8 | uint16(v.Bytes[2*i+1])
		}
		return string(utf16.Decode(units))
	}
	return ""
}

// decryptKey opens an encrypted private key of a PEM file.
func decryptKey(ctx context.Context, der []byte, text string) (any, error) {
	if !usable(text) {
		return nil, ErrPasswordCharacters
	}
	var e encryptedKey
	if err := whole(der, &e); err != nil {
		return nil, err
	}
	plain, err := (&work{left: maxWork}).decrypt(ctx, e.Algorithm, e.Data, newPassword(text))
	if err != nil {
		return nil, err
	}
	key, err := parseKey(plain)
	if errors.Is(err, ErrFormat) { // one wrong password of 256 ends as it must
		err = ErrWrongPassword
	}
	return key, err
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
