package pfx

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// HideRounds puts the encrypted key of a file of [Encode] into the part that is
// encrypted itself, and lets its key derivation ask for so many rounds.
func HideRounds(tb testing.TB, data []byte, text string, rounds int) []byte {
	tb.Helper()
	return ManyKeys(tb, data, text, 1, rounds)
}

// ManyKeys is [HideRounds] with the same key more than once.
func ManyKeys(tb testing.TB, data []byte, text string, times, rounds int) []byte {
	tb.Helper()
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	ctx := context.Background()
	c, content, err := unpack(data)
	must(err)
	r := &reader{work: &work{left: maxWork}, password: newPassword(text)}
	var parts []contentInfo
	must(whole(content, &parts))
	bags, err := r.open(ctx, parts[0])
	must(err)
	keys, err := r.open(ctx, parts[1])
	must(err)
	var key encryptedKey
	must(whole(keys[0].Value.Bytes, &key))
	var scheme pbes2Parameters
	must(whole(key.Algorithm.Parameters.FullBytes, &scheme))
	var derivation pbkdf2Parameters
	must(whole(scheme.Derivation.Parameters.FullBytes, &derivation))
	derivation.Rounds = rounds
	put := func(a *pkix.AlgorithmIdentifier, v any) {
		a.Parameters.FullBytes, err = asn1.Marshal(v)
		must(err)
	}
	der, err := r.work.decrypt(ctx, key.Algorithm, key.Data, r.password)
	must(err)
	put(&scheme.Derivation, derivation)
	put(&key.Algorithm, scheme)
	if rounds > 0 && rounds <= maxRounds {
		key.Data, err = r.work.encrypt(ctx, key.Algorithm, der, r.password)
		must(err)
	}
	der, err = asn1.Marshal(key)
	must(err)
	keys[0].Value = asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: der}
	for range times {
		bags = append(bags, keys...)
	}
	plain, err := asn1.Marshal(bags)
	must(err)
	var e encryptedContent
	must(whole(parts[0].Content.Bytes, &e))
	e.Info.Data, err = r.work.encrypt(ctx, e.Info.Algorithm, plain, r.password)
	must(err)
	der, err = asn1.Marshal(e)
	must(err)
	parts[0].Content = asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: der}
	content, err = asn1.Marshal(parts[:1])
	must(err)
	c.AuthSafe.Content, err = explicit(content)
	must(err)
	c.MAC.Mac.Digest, err = r.work.sum(ctx, c.MAC, content, r.password)
	must(err)
	data, err = asn1.Marshal(c)
	must(err)
	return data
}

// EncryptKey writes a key as openssl pkcs8 -topk8 does.
func EncryptKey(tb testing.TB, key *rsa.PrivateKey, text string) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	template, err := pkcs12.Modern2023.Encode(key, &x509.Certificate{}, nil, text)
	if err != nil {
		tb.Fatal(err)
	}
	_, content, err := unpack(template)
	if err != nil {
		tb.Fatal(err)
	}
	var parts []contentInfo
	if err := whole(content, &parts); err != nil {
		tb.Fatal(err)
	}
	var e encryptedContent
	if err := whole(parts[0].Content.Bytes, &e); err != nil {
		tb.Fatal(err)
	}
	data, err := (&work{left: maxWork}).encrypt(context.Background(), e.Info.Algorithm, der, newPassword(text))
	if err != nil {
		tb.Fatal(err)
	}
	out, err := asn1.Marshal(encryptedKey{e.Info.Algorithm, data})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
