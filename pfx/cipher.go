package pfx

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // what other programs wrote has to be read
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"unicode/utf16"
)

// password is one password in the two forms that files need: PKCS#12's own
// algorithms take UCS-2 with zero bytes at the end, all newer ones UTF-8.
type password struct {
	text string
	ucs2 []byte
}

// newPassword expects a password that is [usable].
func newPassword(text string) password {
	var b []byte
	for _, unit := range append(utf16.Encode([]rune(text)), 0) {
		b = append(b, byte(unit>>8), byte(unit)) //nolint:gosec // the two halves
	}
	return password{text, b}
}

// pbeParameters are those of PKCS#12's and PKCS#5 v1's encryption, RFC 7292 C.
type pbeParameters struct {
	Salt   []byte
	Rounds int
}

// pbes2Parameters are those of RFC 8018 A.4.
type pbes2Parameters struct {
	Derivation, Encryption pkix.AlgorithmIdentifier
}

// pbkdf2Parameters are those of RFC 8018 A.2.
type pbkdf2Parameters struct {
	Salt   []byte
	Rounds int
	Size   int                      `asn1:"optional"`
	PRF    pkix.AlgorithmIdentifier `asn1:"optional"`
}

// pbmac1Parameters are those of RFC 8018 A.5.
type pbmac1Parameters struct {
	Derivation, MAC pkix.AlgorithmIdentifier
}

// digestOf returns a hash by the identifier of the hash or of its HMAC; nil if it is
// not supported.
func digestOf(id asn1.ObjectIdentifier) func() hash.Hash {
	switch id.String() {
	case "1.3.14.3.2.26", "1.2.840.113549.2.7":
		return sha1.New
	case "2.16.840.1.101.3.4.2.4", "1.2.840.113549.2.8":
		return sha256.New224
	case "2.16.840.1.101.3.4.2.1", "1.2.840.113549.2.9":
		return sha256.New
	case "2.16.840.1.101.3.4.2.2", "1.2.840.113549.2.10":
		return sha512.New384
	case "2.16.840.1.101.3.4.2.3", "1.2.840.113549.2.11":
		return sha512.New
	}
	return nil
}

// unsupported names the algorithm that is.
func unsupported(what string, id asn1.ObjectIdentifier) error {
	return fmt.Errorf("%w (%s %s)", ErrUnsupported, what, id)
}

// whole reads one DER value with nothing after it.
func whole(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = errors.New("something follows the end of a part")
	}
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrFormat, err)
	}
	return nil
}

// cipherOf returns the cipher of an encrypted part and its first vector.
func (w *work) cipherOf(ctx context.Context, algorithm pkix.AlgorithmIdentifier, p password) (cipher.Block, []byte, error) {
	id := algorithm.Algorithm.String()
	if id == "1.2.840.113549.1.5.13" {
		return w.pbes2(ctx, algorithm, p)
	}
	size := map[string]int{
		"1.2.840.113549.1.12.1.3": 24, "1.2.840.113549.1.12.1.4": 16, // 3DES with three and with two keys
		"1.2.840.113549.1.12.1.5": 16, "1.2.840.113549.1.12.1.6": 5, // RC2
	}[id]
	if size == 0 {
		return nil, nil, unsupported("encryption", algorithm.Algorithm)
	}
	var with pbeParameters
	if err := whole(algorithm.Parameters.FullBytes, &with); err != nil {
		return nil, nil, err
	}
	key, err := w.derive12(ctx, sha1.New, forKey, p.ucs2, with.Salt, with.Rounds, size)
	if err != nil {
		return nil, nil, err
	}
	iv, err := w.derive12(ctx, sha1.New, forIV, p.ucs2, with.Salt, with.Rounds, 8)
	if err != nil {
		return nil, nil, err
	}
	switch id[len(id)-1] {
	case '5', '6':
		return newRC2(key), iv, nil
	case '4':
		key = append(key, key[:8]...)
	}
	block, err := des.NewTripleDESCipher(key) //nolint:gosec // what other programs wrote has to be read
	return block, iv, err
}

// pbes2 is RFC 8018 6.2.
func (w *work) pbes2(ctx context.Context, algorithm pkix.AlgorithmIdentifier, p password) (cipher.Block, []byte, error) {
	var with pbes2Parameters
	if err := whole(algorithm.Parameters.FullBytes, &with); err != nil {
		return nil, nil, err
	}
	id := with.Encryption.Algorithm.String()
	size := map[string]int{
		"2.16.840.1.101.3.4.1.2": 16, "2.16.840.1.101.3.4.1.22": 24, "2.16.840.1.101.3.4.1.42": 32, // AES-CBC
		"1.2.840.113549.3.7": 24, // 3DES
	}[id]
	if size == 0 {
		return nil, nil, unsupported("encryption", with.Encryption.Algorithm)
	}
	var iv []byte
	if err := whole(with.Encryption.Parameters.FullBytes, &iv); err != nil {
		return nil, nil, err
	}
	key, err := w.pbkdf2(ctx, with.Derivation, p, size)
	if err != nil {
		return nil, nil, err
	}
	var block cipher.Block
	if id == "1.2.840.113549.3.7" {
		block, err = des.NewTripleDESCipher(key) //nolint:gosec // what other programs wrote has to be read
	} else {
		block, err = aes.NewCipher(key)
	}
	if err == nil && len(iv) != block.BlockSize() {
		err = fmt.Errorf("%w (the first vector has %d bytes)", ErrFormat, len(iv))
	}
	return block, iv, err
}

// pbkdf2 derives a key as the parameters say; size 0 takes the size from them.
func (w *work) pbkdf2(ctx context.Context, algorithm pkix.AlgorithmIdentifier, p password, size int) ([]byte, error) {
	if algorithm.Algorithm.String() != "1.2.840.113549.1.5.12" {
		return nil, unsupported("key derivation", algorithm.Algorithm)
	}
	var with pbkdf2Parameters
	if err := whole(algorithm.Parameters.FullBytes, &with); err != nil {
		return nil, err
	}
	digest := sha1.New // the default of the standard
	if len(with.PRF.Algorithm) > 0 {
		if digest = digestOf(with.PRF.Algorithm); digest == nil {
			return nil, unsupported("key derivation with", with.PRF.Algorithm)
		}
	}
	if size == 0 {
		// RFC 9579 5: at least 20, and no longer than any digest.
		if size = with.Size; size < 20 || size > sha512.Size {
			return nil, fmt.Errorf("%w (a key of %d bytes for its integrity check)", ErrUnsupported, size)
		}
	}
	return w.deriveKey(ctx, digest, []byte(p.text), with.Salt, with.Rounds, size)
}

// decrypt opens one encrypted part. Bytes that do not end as they must are
// [ErrWrongPassword].
func (w *work) decrypt(ctx context.Context, algorithm pkix.AlgorithmIdentifier, data []byte, p password) ([]byte, error) {
	block, iv, err := w.cipherOf(ctx, algorithm, p)
	if err != nil {
		return nil, err
	}
	size := block.BlockSize()
	if len(data) == 0 || len(data)%size != 0 {
		return nil, fmt.Errorf("%w (an encrypted part of %d bytes)", ErrFormat, len(data))
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	last := plain[len(plain)-1]
	pad := int(last)
	if pad < 1 || pad > size || !bytes.Equal(plain[len(plain)-pad:], bytes.Repeat([]byte{last}, pad)) {
		return nil, ErrWrongPassword
	}
	return plain[:len(plain)-pad], nil
}

// encrypt is the reverse of decrypt, with the same key and first vector. It is for
// bytes whose earlier form was never given to anybody.
func (w *work) encrypt(ctx context.Context, algorithm pkix.AlgorithmIdentifier, plain []byte, p password) ([]byte, error) {
	block, iv, err := w.cipherOf(ctx, algorithm, p)
	if err != nil {
		return nil, err
	}
	pad := block.BlockSize() - len(plain)%block.BlockSize()
	data := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...) //nolint:gosec // pad is 1 to 16, the largest block
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	return data, nil
}

// sum is the integrity check of a file.
func (w *work) sum(ctx context.Context, m macData, content []byte, p password) ([]byte, error) {
	if m.Mac.Algorithm.Algorithm.String() == "1.2.840.113549.1.5.14" { // PBMAC1, RFC 9579
		var with pbmac1Parameters
		if err := whole(m.Mac.Algorithm.Parameters.FullBytes, &with); err != nil {
			return nil, err
		}
		digest := digestOf(with.MAC.Algorithm)
		if digest == nil {
			return nil, unsupported("integrity check", with.MAC.Algorithm)
		}
		key, err := w.pbkdf2(ctx, with.Derivation, p, 0)
		if err != nil {
			return nil, err
		}
		h := hmac.New(digest, key)
		h.Write(content)
		return h.Sum(nil), nil
	}
	digest := digestOf(m.Mac.Algorithm.Algorithm)
	if digest == nil {
		return nil, unsupported("integrity check", m.Mac.Algorithm.Algorithm)
	}
	key, err := w.derive12(ctx, digest, forMAC, p.ucs2, m.Salt, m.Rounds, digest().Size())
	if err != nil {
		return nil, err
	}
	h := hmac.New(digest, key)
	h.Write(content)
	return h.Sum(nil), nil
}
