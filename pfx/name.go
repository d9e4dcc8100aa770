package pfx

import (
	"bytes"
	"context"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
)

// maxNameLength is more than any keystore shows, in characters.
const maxNameLength = 128

// CheckFriendlyName says whether a friendly name can be written: printable, one line,
// at most 128 characters, none of them beyond UCS-2.
func CheckFriendlyName(name string) error {
	if !usable(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) || len([]rune(name)) > maxNameLength {
		return ErrFriendlyName
	}
	return nil
}

// setName gives key and certificate of a file that [Encode] made the friendly name.
// go-pkcs12 writes none. Everything else stays, but for the integrity check.
func setName(data []byte, text, name string) ([]byte, error) {
	ctx := context.Background() // the file is our own: a few thousand rounds
	c, content, err := unpack(data)
	if err != nil {
		return nil, err
	}
	r := &reader{work: &work{left: maxWork}, password: newPassword(text)}
	var parts []contentInfo
	if err := whole(content, &parts); err != nil {
		return nil, err
	}
	for i := range parts {
		if err := r.namePart(ctx, &parts[i], name); err != nil {
			return nil, err
		}
	}
	if content, err = asn1.Marshal(parts); err != nil {
		return nil, fmt.Errorf("set friendly name: %w", err)
	}
	if c.AuthSafe.Content, err = explicit(content); err != nil {
		return nil, err
	}
	if c.MAC.Mac.Digest, err = r.work.sum(ctx, c.MAC, content, r.password); err != nil {
		return nil, err
	}
	if data, err = asn1.Marshal(c); err != nil {
		return nil, fmt.Errorf("set friendly name: %w", err)
	}
	return data, nil
}

// namePart names the key, and the certificate that is tied to it.
func (r *reader) namePart(ctx context.Context, part *contentInfo, name string) error {
	bags, err := r.open(ctx, *part)
	if err != nil {
		return err
	}
	for i := range bags {
		isTied := slices.ContainsFunc(bags[i].Attributes, func(a attribute) bool { return a.ID.String() == attributeKeyID })
		if !isTied {
			continue // a certificate of the chain
		}
		a, err := nameAttribute(name)
		if err != nil {
			return err
		}
		bags[i].Attributes = append(bags[i].Attributes, a)
		slices.SortFunc(bags[i].Attributes, func(a, b attribute) int { // DER sorts sets
			x, errX := asn1.Marshal(a)
			y, errY := asn1.Marshal(b)
			if errX != nil || errY != nil {
				return 0
			}
			return bytes.Compare(x, y)
		})
	}
	plain, err := asn1.Marshal(bags)
	if err != nil {
		return fmt.Errorf("set friendly name: %w", err)
	}
	if part.Type.String() == contentData {
		part.Content, err = explicit(plain)
		return err
	}
	var e encryptedContent
	if err := whole(part.Content.Bytes, &e); err != nil {
		return err
	}
	if e.Info.Data, err = r.work.encrypt(ctx, e.Info.Algorithm, plain, r.password); err != nil {
		return err
	}
	der, err := asn1.Marshal(e)
	if err != nil {
		return fmt.Errorf("set friendly name: %w", err)
	}
	part.Content = asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: der}
	return nil
}

// explicit wraps bytes as [0] EXPLICIT OCTET STRING.
func explicit(content []byte) (asn1.RawValue, error) {
	der, err := asn1.Marshal(content)
	if err != nil {
		return asn1.RawValue{}, fmt.Errorf("set friendly name: %w", err)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: der}, nil
}

// nameAttribute is the attribute of RFC 2985 5.5.1: a set of one BMPString.
func nameAttribute(name string) (attribute, error) {
	var b []byte
	for _, unit := range utf16.Encode([]rune(name)) {
		b = append(b, byte(unit>>8), byte(unit)) //nolint:gosec // the two halves
	}
	value, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagBMPString, Bytes: b})
	if err != nil {
		return attribute{}, fmt.Errorf("set friendly name: %w", err)
	}
	return attribute{
		ID:     asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20},
		Values: asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: value},
	}, nil
}
