package graph

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
	kiota "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/models/odataerrors"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Values of a keyCredential that is a certificate for signing in.
// https://learn.microsoft.com/graph/api/resources/keycredential
const (
	keyType  = "AsymmetricX509Cert"
	keyUsage = "Verify"
)

// keyCredential is a certificate to add.
// https://learn.microsoft.com/graph/api/resources/keycredential
type keyCredential struct {
	KeyID       string `json:"keyId,omitempty"`
	DisplayName string `json:"displayName"`
	Type        string `json:"type"`
	Usage       string `json:"usage"`
	// Key is DER; as JSON it is padded base64, the only form Graph reads.
	// https://github.com/microsoftgraph/microsoft-graph-docs/issues/10556
	Key   []byte    `json:"key"`
	Start time.Time `json:"startDateTime"`
	End   time.Time `json:"endDateTime"`
}

// addKeyBody is what addKey takes. PasswordCredential is always nil: Graph
// wants it to be there and null.
// https://learn.microsoft.com/graph/api/application-addkey
type addKeyBody struct {
	KeyCredential      keyCredential `json:"keyCredential"`
	PasswordCredential *struct{}     `json:"passwordCredential"`
	Proof              string        `json:"proof"`
}

// removeKeyBody is what removeKey takes.
// https://learn.microsoft.com/graph/api/application-removekey
type removeKeyBody struct {
	KeyID string `json:"keyId"`
	Proof string `json:"proof"`
}

// patchBody replaces the certificates of an application and nothing else. Each
// is a [rawEntry] or, the new one, a [keyCredential].
// https://learn.microsoft.com/graph/api/application-update
type patchBody struct {
	KeyCredentials []any `json:"keyCredentials"`
}

// rawEntry is one keyCredential as Graph sent it, property by property.
type rawEntry map[string]json.RawMessage

// id returns the entry's KeyID; empty if it has none.
func (e rawEntry) id() rotator.KeyID {
	var text string
	if json.Unmarshal(e["keyId"], &text) != nil {
		return ""
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return ""
	}
	return keyID(&id)
}

// newEntry is the keyCredential of a new certificate.
func newEntry(add rotator.NewKey) keyCredential {
	e := keyCredential{
		DisplayName: add.DisplayName, Type: keyType, Usage: keyUsage, Key: add.Certificate,
		// Whole seconds within the certificate's own dates: a later end is refused.
		// https://github.com/Azure/azure-rest-api-specs/issues/11985
		Start: add.NotBefore.UTC().Truncate(time.Second),
		End:   add.NotAfter.UTC().Truncate(time.Second),
	}
	if id, err := uuid.Parse(string(add.KeyID)); err == nil {
		e.KeyID = string(keyID(&id))
	}
	return e
}

// newWrite makes the request that changes something where a generated builder
// points.
//
// The builders' own Post and Patch are never called, and the adapter has no
// writer for them: one call of theirs keeps the code that writes each model of
// the SDK in the program: 5 MB more when measured. JSON of our own also says exactly
// what is sent, where the models drop fractions of seconds and nulls.
func newWrite(method kiota.HttpMethod, to kiota.BaseRequestBuilder, body any) (*kiota.RequestInformation, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r := kiota.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(method, to.UrlTemplate, to.PathParameters)
	r.Headers.TryAdd("Accept", "application/json")
	r.SetStreamContentAndContentType(content, "application/json")
	return r, nil
}

// errorAnswers tells kiota how an answer that refused is read. What we say of
// it comes from the exchange; see [newError].
func errorAnswers() kiota.ErrorMappings {
	return kiota.ErrorMappings{"XXX": odataerrors.CreateODataErrorFromDiscriminatorValue}
}
