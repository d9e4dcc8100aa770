package graph

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"time"

	"github.com/google/uuid"
	kiota "github.com/microsoft/kiota-abstractions-go"
	khttp "github.com/microsoft/kiota-http-go"
	"github.com/microsoftgraph/msgraph-sdk-go/applications"
	"github.com/microsoftgraph/msgraph-sdk-go/applicationswithappid"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"github.com/seed-f0abd057/rotate/rotator"
)

// What is being done, in messages.
const (
	readKeys     = "read certificates"
	addKey       = "add certificate"
	removeKey    = "remove certificate"
	readPolicies = "read app management policies"
)

// Keys reads the app's certificates.
//
// Without withKeys nothing is selected: then Graph leaves the certificates
// themselves out, and the request does not count against the limit of 150 a
// minute.
// https://learn.microsoft.com/graph/api/resources/keycredential
func (c *Client) Keys(ctx context.Context, as rotator.Access, withKeys bool) (rotator.Listing, error) {
	k := call{Access: as, what: readKeys}
	var selected []string
	if withKeys {
		selected = []string{"id", "appId", "displayName", "keyCredentials", "passwordCredentials"}
		if err := c.waitTurn(ctx, k); err != nil {
			return rotator.Listing{}, err
		}
	}
	app, x, err := c.application(ctx, k, selected)
	if err != nil {
		return rotator.Listing{}, err
	}
	if text(app.GetOdataType()) == blueprintType {
		return rotator.Listing{}, k.notAnApp(rotator.ClientID(text(app.GetAppId())), text(app.GetDisplayName()))
	}
	listing := rotator.Listing{
		At: x.date(), ObjectID: rotator.ObjectID(text(app.GetId())), ClientID: rotator.ClientID(text(app.GetAppId())),
		DisplayName: text(app.GetDisplayName()), Secrets: len(app.GetPasswordCredentials()),
	}
	if err := k.sameApp(listing.ObjectID, listing.ClientID); err != nil {
		return rotator.Listing{}, err
	}
	for _, e := range app.GetKeyCredentials() {
		if e != nil {
			listing.Entries = append(listing.Entries, entryOf(e))
		}
	}
	for _, s := range app.GetPasswordCredentials() {
		if s != nil {
			listing.SecretEntries = append(listing.SecretEntries, rotator.Entry{
				KeyID: keyID(s.GetKeyId()), DisplayName: text(s.GetDisplayName()),
				NotBefore: instant(s.GetStartDateTime()), NotAfter: instant(s.GetEndDateTime()),
			})
		}
	}
	return listing, nil
}

// waitTurn holds back a request that asks for certificates.
func (c *Client) waitTurn(ctx context.Context, k call) error {
	t, err := c.tenant(k)
	if err != nil {
		return err
	}
	wait, ok := t.pace.reserve(time.Now(), c.config.Timeout)
	if !ok {
		return &rotator.Failure{
			Class: rotator.ClassWait, Reason: rotator.ReasonThrottled, RetryAfter: wait,
			Message: k.prefix() + "too many requests for certificates at once; Graph allows 150 a minute",
		}
	}
	if err := untilDone(ctx, wait); err != nil {
		return networkFailure(k.prefix(), &exchange{err: err}, strings.Clone)
	}
	return nil
}

// application reads the registration by object ID or, without it, client ID.
func (c *Client) application(ctx context.Context, k call, selected []string) (models.Applicationable, *exchange, error) {
	var app models.Applicationable
	x, err := c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
		var err error
		if k.ObjectID == "" {
			app, err = applicationswithappid.NewApplicationsWithAppIdRequestBuilderInternal(nil, a, new(string(k.ClientID))).
				Get(ctx, &applicationswithappid.ApplicationsWithAppIdRequestBuilderGetRequestConfiguration{
					QueryParameters: &applicationswithappid.ApplicationsWithAppIdRequestBuilderGetQueryParameters{Select: selected},
				})
			return err
		}
		app, err = item(a, k.ObjectID).Get(ctx, &applications.ApplicationItemRequestBuilderGetRequestConfiguration{
			QueryParameters: &applications.ApplicationItemRequestBuilderGetQueryParameters{Select: selected},
		})
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if app == nil {
		return nil, nil, unreadable(k, x)
	}
	return app, x, nil
}

// unreadable is an answer that worked and holds nothing.
func unreadable(k call, x *exchange) *rotator.Failure {
	return &rotator.Failure{
		Class: rotator.ClassWait, Reason: rotator.ReasonOther, ServerTime: x.date(),
		Message: k.prefix() + "Graph answered without the app",
	}
}

func item(a *khttp.NetHttpRequestAdapter, id rotator.ObjectID) *applications.ApplicationItemRequestBuilder {
	return applications.NewApplicationsRequestBuilderInternal(nil, a).ByApplicationId(string(id))
}

func entryOf(e models.KeyCredentialable) rotator.Entry {
	entry := rotator.Entry{
		KeyID: keyID(e.GetKeyId()), DisplayName: text(e.GetDisplayName()),
		NotBefore: instant(e.GetStartDateTime()), NotAfter: instant(e.GetEndDateTime()), Usage: text(e.GetUsage()),
	}
	entry.Hint = sha1Hint(e.GetCustomKeyIdentifier())
	// The key itself is the only proof of identity: customKeyIdentifier can be
	// written by anybody and holds hex, raw bytes or even a name.
	if der := e.GetKey(); len(der) > 0 {
		// Some tools store the PEM text instead of DER.
		if block, _ := pem.Decode(der); block != nil {
			der = block.Bytes
		}
		entry.Thumbprint = rotator.ThumbprintOf(der)
	}
	return entry
}

// sha1Hint reads a SHA-1 thumbprint from a customKeyIdentifier, which the SDK takes
// for base64 and decodes. Two forms are in circulation: base64 of the 20 bytes, and 40
// hex digits, which as base64 are 30 bytes. Anything else is no hint.
func sha1Hint(id []byte) string {
	if len(id) == 20 {
		return strings.ToUpper(hex.EncodeToString(id))
	}
	text := base64.StdEncoding.EncodeToString(id)
	if _, err := hex.DecodeString(text); err != nil || len(text) != 40 {
		return ""
	}
	return strings.ToUpper(text)
}

// AddKey adds one certificate with addKey. Entra alone chooses the KeyID there: it
// refuses one of ours, in every tenant. What is returned is empty if the answer
// did not contain it.
// https://learn.microsoft.com/graph/api/application-addkey
func (c *Client) AddKey(ctx context.Context, as rotator.Access, proof rotator.KeyPair, add rotator.NewKey) (rotator.KeyID, error) {
	k := call{Access: as, what: addKey, write: true, proof: true}
	add.KeyID = ""
	var added rotator.KeyID
	err := c.proven(k, proof, func(signed string) error {
		body := addKeyBody{KeyCredential: newEntry(add), Proof: signed}
		_, err := c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
			r, err := newWrite(kiota.POST, item(a, k.ObjectID).AddKey().BaseRequestBuilder, body)
			if err != nil {
				return err
			}
			answer, err := a.Send(ctx, r, models.CreateKeyCredentialFromDiscriminatorValue, errorAnswers())
			if e, ok := answer.(models.KeyCredentialable); ok {
				added = keyID(e.GetKeyId())
				c.noteAdded(k, e)
			} else if err == nil {
				c.noteAdded(k, nil)
			}
			return err
		})
		return err
	})
	if err != nil {
		return "", c.explainPolicy(ctx, as, err)
	}
	return added, nil
}

// RemoveKey removes one entry with removeKey.
// https://learn.microsoft.com/graph/api/application-removekey
func (c *Client) RemoveKey(ctx context.Context, as rotator.Access, proof rotator.KeyPair, id rotator.KeyID) error {
	k := call{Access: as, what: removeKey, write: true, proof: true}
	parsed, err := uuid.Parse(string(id))
	if err != nil {
		return k.fix(nil, "", "the KeyID %q is not a GUID", id)
	}
	return c.proven(k, proof, func(signed string) error {
		body := removeKeyBody{KeyID: string(keyID(&parsed)), Proof: signed}
		_, err := c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
			r, err := newWrite(kiota.POST, item(a, k.ObjectID).RemoveKey().BaseRequestBuilder, body)
			if err != nil {
				return err
			}
			return a.SendNoContent(ctx, r, errorAnswers())
		})
		return err
	})
}

// sign makes the proof of a call.
func (k call) sign(pair rotator.KeyPair, form rotator.ProofForm) (string, error) {
	if err := k.needObjectID(); err != nil {
		return "", err
	}
	signed, err := newProof(k.ObjectID, pair, form, time.Now())
	if err != nil {
		return "", k.fix(nil, "", "%s", clean(err.Error()))
	}
	return signed, nil
}

// needObjectID: changes and proofs name the app by it alone.
func (k call) needObjectID() error {
	if k.ObjectID == "" {
		return k.fix(nil, "rotate app edit "+k.App+" --object-id ID",
			"the object ID of the app is not known; the Entra admin centre shows it under App registrations")
	}
	return nil
}

// sameApp refuses an answer about another registration than the client ID names:
// an object ID that a person mistyped would let its certificates be changed.
func (k call) sameApp(object rotator.ObjectID, client rotator.ClientID) error {
	if k.ClientID == "" || client == "" || strings.EqualFold(string(k.ClientID), string(client)) {
		return nil
	}
	return k.fix(nil, "correct it: rotate app edit "+k.App+" --object-id ID; the Entra admin centre shows it under App registrations, the app, Overview",
		"the object ID %s is that of another app registration (client ID %s), not of this one (client ID %s); nothing was changed", object, client, k.ClientID)
}

func keyID(id *uuid.UUID) rotator.KeyID {
	if id == nil {
		return ""
	}
	return rotator.KeyID(strings.ToLower(id.String()))
}

func instant(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
