package main

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

// encoder is package pfx as the domain knows it.
type encoder struct{}

// Encode implements [rotator.Encoder].
func (encoder) Encode(encoding string, key *rsa.PrivateKey, certificate []byte, chain [][]byte, password, name string) ([]byte, error) {
	leaf, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	above := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		if above[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("read certificate %d of the chain: %w", i+1, err)
		}
	}
	return pfx.EncodeNamed(pfx.Encoding(encoding), key, leaf, above, password, name)
}

// Decode implements [rotator.Encoder].
func (e encoder) Decode(data []byte, password string) (rotator.KeyPair, error) {
	return e.decode(context.Background(), data, password)
}

// decode is Decode, and stops with the context.
func (encoder) decode(ctx context.Context, data []byte, password string) (rotator.KeyPair, error) {
	p, err := pfx.DecodeContext(ctx, data, password)
	switch {
	case errors.Is(err, pfx.ErrMismatch):
		err = &known{err, rotator.ErrMismatch}
	case errors.Is(err, pfx.ErrWrongPassword):
		err = &known{err, rotator.ErrWrongPassword}
	}
	if err != nil {
		return rotator.KeyPair{}, err
	}
	pair := rotator.KeyPair{Key: p.Key, Certificate: p.Certificate.Raw, Password: password}
	// One that could not be written again is left behind: nothing else about the file
	// is wrong.
	if pfx.CheckFriendlyName(p.FriendlyName) == nil {
		pair.FriendlyName = p.FriendlyName
	}
	for _, c := range p.Chain {
		pair.Chain = append(pair.Chain, c.Raw)
	}
	return pair, nil
}

// known is an error that the domain branches on, in the words of package pfx.
type known struct {
	error
	domain error
}

func (e *known) Unwrap() []error { return []error{e.error, e.domain} }

// NewPassword implements [rotator.Encoder].
func (encoder) NewPassword() (string, error) { return pfx.NewPassword() }
