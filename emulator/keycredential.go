package emulator

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // Entra's thumbprints are SHA-1
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// What a certificate for sign-in must say.
//
// https://learn.microsoft.com/graph/api/resources/keycredential
const (
	typeCertificate = "AsymmetricX509Cert"
	usageVerify     = "Verify"
	typeSigning     = "X509CertAndPassword"
	usageSign       = "Sign"
)

// maxDisplayName is how many characters of a display name are kept.
//
// https://learn.microsoft.com/graph/api/resources/keycredential
const maxDisplayName = 90

// badCertificate refuses a key that is no certificate. Seen live.
//
// https://github.com/sg1888/postfix-m365-relay
const badCertificate = "Invalid credential value. Error: Cannot find the requested object."

// wrongShape refuses a collection that is none. Seen live.
//
// https://github.com/microsoft/Microsoft365DSC/issues/7200
func wrongShape(property string) *graphError {
	return &graphError{
		status: http.StatusBadRequest, code: "BadRequest",
		message: "Property " + property + " in payload has a value that does not match schema.",
	}
}

// maxKeys is how many certificates an app may have; more were seen refused.
//
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/21469
const maxKeys = 600

// checkSize refuses a list of certificates that is too long for the object.
func checkSize(keys []keyCredential) *graphError {
	if len(keys) <= maxKeys {
		return nil
	}
	return &graphError{
		status: http.StatusForbidden, code: "Directory_ResourceSizeExceeded",
		message: "The size of the object has exceeded its limit. Please reduce the number of values and retry your request.",
	}
}

// minKeyBits is the smallest RSA key that is not refused as weak (AADSTS50032).
//
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
const minKeyBits = 2048

// A KeyCredential is one certificate of an app, as the tenant holds it.
type KeyCredential struct {
	// KeyID is the GUID of the entry. When adding, empty: a fresh one.
	KeyID string
	// DisplayName is what portals show; it may be empty.
	DisplayName string
	// Certificate is one X.509 certificate, DER.
	Certificate []byte
	// Start and End are when the entry is valid, UTC. When adding, zero: the
	// certificate's own dates.
	Start, End time.Time
	// CustomKeyIdentifier is as Graph sends it. When adding, empty: the SHA-1
	// thumbprint in 40 upper-case hex digits.
	CustomKeyIdentifier string
}

// A keyCredential is a KeyCredential with what was computed from its certificate.
type keyCredential struct {
	KeyCredential
	cert   *x509.Certificate
	sha1   [sha1.Size]byte
	sha256 [sha256.Size]byte
	// signing tells that it is the private half of a SAML signing certificate.
	signing bool
}

// newKeyCredential completes a KeyCredential and checks that its certificate is
// one.
func newKeyCredential(k KeyCredential) (keyCredential, error) {
	cert, err := x509.ParseCertificate(k.Certificate)
	if err != nil {
		return keyCredential{}, fmt.Errorf("parse certificate: %w", err)
	}
	e := keyCredential{KeyCredential: k, cert: cert, sha1: sha1.Sum(k.Certificate), sha256: sha256.Sum256(k.Certificate)} //nolint:gosec // see above
	if e.KeyID == "" {
		e.KeyID = uuid.NewString()
	}
	e.KeyID = strings.ToLower(e.KeyID)
	if e.Start.IsZero() {
		e.Start = cert.NotBefore
	}
	if e.End.IsZero() {
		e.End = cert.NotAfter
	}
	e.Start, e.End = e.Start.UTC(), e.End.UTC()
	if e.CustomKeyIdentifier == "" {
		e.CustomKeyIdentifier = e.thumbprint()
	}
	if name := []rune(e.DisplayName); len(name) > maxDisplayName {
		e.DisplayName = string(name[:maxDisplayName])
	}
	return e, nil
}

// thumbprint returns the SHA-1 of the DER in 40 upper-case hex digits.
//
// https://learn.microsoft.com/graph/applications-how-to-add-certificate
func (e *keyCredential) thumbprint() string {
	return strings.ToUpper(hex.EncodeToString(e.sha1[:]))
}

// validAt says whether the entry and its certificate are valid.
func (e *keyCredential) validAt(now time.Time) bool {
	return !now.Before(e.Start) && now.Before(e.End) &&
		!now.Before(e.cert.NotBefore) && !now.After(e.cert.NotAfter)
}

// json returns the entry as Graph sends it. key is null unless keyCredentials was
// named in $select.
//
// https://learn.microsoft.com/graph/api/application-get
func (e *keyCredential) json(withKey bool) map[string]any {
	m := map[string]any{
		"customKeyIdentifier": e.CustomKeyIdentifier,
		"displayName":         orNull(e.DisplayName),
		"endDateTime":         formatTime(e.End),
		"key":                 nil,
		"keyId":               e.KeyID,
		"startDateTime":       formatTime(e.Start),
		"type":                typeCertificate,
		"usage":               usageVerify,
	}
	if e.signing {
		// The private key of a signing certificate is never given out.
		m["type"], m["usage"] = typeSigning, usageSign
	} else if withKey {
		m["key"] = base64.StdEncoding.EncodeToString(e.Certificate)
	}
	return m
}

// unchanged says whether an entry that was sent again is the one we hold. Every
// property must be there as it was read; only key may be absent or null.
//
// https://github.com/Azure/azure-cli/issues/9124 (a missing customKeyIdentifier is a
// change), https://github.com/microsoftgraph/microsoft-graph-docs/issues/3579 (key).
func (e *keyCredential) unchanged(sent map[string]any) bool {
	as := e.json(false)
	return sent["type"] == as["type"] &&
		sent["usage"] == as["usage"] &&
		text(sent, "displayName") == e.DisplayName &&
		text(sent, "customKeyIdentifier") == e.CustomKeyIdentifier &&
		timeOf(sent, "startDateTime").Equal(e.Start) &&
		timeOf(sent, "endDateTime").Equal(e.End) &&
		(sent["key"] == nil || e.sameKey(sent))
}

func (e *keyCredential) sameKey(sent map[string]any) bool {
	der, err := certificateOf(sent)
	return err == nil && bytes.Equal(der, e.Certificate)
}

// acceptKey checks a new entry as sent by a client.
func acceptKey(sent map[string]any, now time.Time) (keyCredential, *graphError) {
	// https://github.com/microsoftgraph/msgraph-sdk-java/issues/1823
	if usage := text(sent, "usage"); usage != usageVerify {
		return keyCredential{}, badRequest(`The value for the property "usage" in one of your credentials is invalid. Acceptable values are Sign, Verify.`)
	}
	// Symmetric keys and SAML signing keys exist in Entra, but no one needs them
	// here. https://github.com/microsoftgraph/microsoft-graph-docs/pull/21237
	if text(sent, "type") != typeCertificate {
		return keyCredential{}, badRequest(`The value for the property "type" in one of your credentials is invalid. Acceptable values are AsymmetricX509Cert, X509CertAndPassword, Symmetric.`)
	}
	der, err := certificateOf(sent)
	if err != nil {
		return keyCredential{}, badRequest(badCertificate)
	}
	// https://github.com/MicrosoftDocs/azure-docs-powershell-azuread/issues/202
	if id, set := sent["customKeyIdentifier"].(string); set {
		if b, err := decodeBinary(id); err != nil || len(b) == 0 || len(b) > 32 {
			return keyCredential{}, badRequest("When present, application key identifier cannot be empty and can be at most 32 bytes.")
		}
	}
	k, err := newKeyCredential(KeyCredential{
		KeyID:               text(sent, "keyId"),
		DisplayName:         text(sent, "displayName"),
		Certificate:         der,
		Start:               timeOf(sent, "startDateTime"),
		End:                 timeOf(sent, "endDateTime"),
		CustomKeyIdentifier: text(sent, "customKeyIdentifier"),
	})
	if err != nil {
		return keyCredential{}, badRequest(badCertificate)
	}
	// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
	// (AADSTS50032); that Graph refuses it already is the stricter reading.
	key, ok := k.cert.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minKeyBits {
		return keyCredential{}, badRequest(fmt.Sprintf("Key credential value is invalid: the certificate must have an RSA key of at least %d bits.", minKeyBits))
	}
	// https://github.com/microsoft/Microsoft365DSC/issues/3426
	if k.End.After(k.cert.NotAfter) || !k.End.After(k.Start) || !k.End.After(now) {
		return keyCredential{}, &graphError{status: http.StatusBadRequest, code: "KeyCredentialsInvalidEndDate", message: "Key credential end date is invalid."}
	}
	// Not documented: the stricter reading.
	if k.Start.Before(k.cert.NotBefore) {
		return keyCredential{}, badRequest("Key credential start date is invalid.")
	}
	return k, nil
}

// certificateOf reads the DER certificate of an entry: base64 of DER, or of PEM as
// Terraform sends it.
//
// https://github.com/hashicorp/terraform-provider-azuread, internal/helpers/credentials
func certificateOf(sent map[string]any) ([]byte, error) {
	raw, err := decodeBinary(text(sent, "key"))
	if err != nil {
		return nil, fmt.Errorf("decode key: %w", err)
	}
	if block, _ := pem.Decode(raw); block != nil && block.Type == "CERTIFICATE" {
		raw = block.Bytes
	}
	if len(raw) == 0 {
		return nil, fmt.Errorf("key is missing")
	}
	return raw, nil
}

// replaceKeys is what PATCH does to keyCredentials: the list becomes the one that
// was sent. Existing entries must be unchanged; those not sent again are lost.
//
// https://github.com/microsoftgraph/microsoft-graph-docs/pull/19674
func replaceKeys(have []keyCredential, sent []any, now time.Time) ([]keyCredential, []keyCredential, *graphError) {
	var list, added []keyCredential
	used := map[string]bool{}
	for _, item := range sent {
		entry, _ := item.(map[string]any)
		id := strings.ToLower(text(entry, "keyId"))
		i := slices.IndexFunc(have, func(k keyCredential) bool {
			if id == "" {
				// The how-to page sends the existing entry with its key and without
				// its keyId. https://learn.microsoft.com/graph/applications-howto-append-certificate
				return !used[k.KeyID] && entry["key"] != nil && k.unchanged(entry)
			}
			return k.KeyID == id
		})
		var k keyCredential
		if i >= 0 {
			k = have[i]
			// https://github.com/Azure/azure-cli/issues/9124
			if !k.unchanged(entry) {
				refusal := badRequest(fmt.Sprintf("Update to existing credential with KeyId '%s' is not allowed.", k.KeyID))
				refusal.details = []map[string]any{{"code": "KeyNotUpdatable", "message": refusal.message, "target": "keyCredentials"}}
				return nil, nil, refusal
			}
		} else {
			var refusal *graphError
			if k, refusal = acceptKey(entry, now); refusal != nil {
				return nil, nil, refusal
			}
			added = append(added, k)
		}
		if used[k.KeyID] {
			return nil, nil, duplicateKeyID(k.KeyID)
		}
		used[k.KeyID] = true
		list = append(list, k)
	}
	return list, added, nil
}

// duplicateKeyID refuses a keyId that is taken. The text is not documented.
func duplicateKeyID(id string) *graphError {
	return badRequest(fmt.Sprintf("A credential with KeyId '%s' already exists.", id))
}

// badRequest is the error of a body that cannot be accepted.
func badRequest(message string) *graphError {
	return &graphError{status: http.StatusBadRequest, code: "Request_BadRequest", message: message}
}

// text returns a string property, empty if it is absent, null or something else.
func text(object map[string]any, name string) string {
	s, _ := object[name].(string)
	return s
}

// timeOf returns a date property, zero if it is absent or null.
func timeOf(object map[string]any, name string) time.Time {
	t, err := time.Parse(time.RFC3339, text(object, name))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
