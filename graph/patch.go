package graph

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"
	khttp "github.com/microsoft/kiota-http-go"

	"github.com/seed-f0abd057/rotate/rotator"
)

// PatchKeys adds one certificate by replacing the list.
//
// Graph deletes every entry that is not sent again, and knows no precondition
// for it. So the list is read directly before, must show every KeyID of seen,
// and is sent back whole. The new entry's KeyID is looked up once afterwards;
// it is empty if that read does not show it.
// https://learn.microsoft.com/graph/api/application-update
func (c *Client) PatchKeys(ctx context.Context, as rotator.Access, seen []rotator.KeyID, add rotator.NewKey) (rotator.KeyID, error) {
	k := call{Access: as, what: addKey, write: true}
	if err := k.needObjectID(); err != nil {
		return "", err
	}
	var before struct {
		// Nil if the answer has no such property.
		KeyCredentials []rawEntry       `json:"keyCredentials"`
		ClientID       rotator.ClientID `json:"appId"`
		Type           string           `json:"@odata.type"`
		Name           string           `json:"displayName"`
	}
	x, err := c.read(ctx, call{Access: as, what: readKeys}, &before, "/applications/{id}")
	if err != nil {
		return "", err
	}
	if before.Type == blueprintType {
		return "", k.notAnApp(as.ClientID, before.Name)
	}
	if err := k.sameApp(k.ObjectID, before.ClientID); err != nil {
		return "", err
	}
	if before.KeyCredentials == nil {
		return "", k.stale(x, "the answer shows no list of certificates, not even an empty one")
	}
	ids := make([]rotator.KeyID, 0, len(before.KeyCredentials))
	for _, e := range before.KeyCredentials {
		id := e.id()
		if id == "" {
			return "", k.stale(x, "an entry of the list has no KeyID")
		}
		ids = append(ids, id)
	}
	for _, id := range seen {
		if !slices.Contains(ids, id) {
			return "", k.stale(x, "the list does not show the certificate "+string(id)+" that an earlier one showed")
		}
	}
	if add.KeyID != "" && slices.Contains(ids, add.KeyID) {
		return add.KeyID, nil
	}
	after := withEntry(before.KeyCredentials, add)
	if len(after) != len(ids)+1 {
		return "", k.stale(x, "the list to send is not the list read and one more")
	}
	_, err = c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
		r, err := newWrite(kiota.PATCH, item(a, k.ObjectID).BaseRequestBuilder, patchBody{after})
		if err != nil {
			return err
		}
		return a.SendNoContent(ctx, r, errorAnswers())
	})
	if f, ok := errors.AsType[*rotator.Failure](err); ok && add.KeyID != "" && namesKeyID(f) {
		f.Reason = rotator.ReasonKeyIDRefused
	}
	if err != nil {
		return "", c.explainPolicy(ctx, as, err)
	}
	return c.added(ctx, as, ids, add), nil
}

// namesKeyID reports whether a PATCH was refused for the KeyID of its new entry: the
// answer is definite and names the property, and not an entry that was sent back.
func namesKeyID(f *rotator.Failure) bool {
	e, ok := errors.AsType[*Error](f)
	return ok && e.StatusCode == http.StatusBadRequest && !slices.Contains(e.Details, "KeyNotUpdatable") &&
		!strings.Contains(e.Message, "Update to existing credential") && strings.Contains(strings.ToLower(e.Message), "keyid")
}

// stale refuses to replace a list by one that was not read well.
func (k call) stale(x *exchange, text string) *rotator.Failure {
	return &rotator.Failure{
		Class: rotator.ClassWait, Reason: rotator.ReasonStaleRead, ServerTime: x.date(),
		Message: k.prefix() + text + "; nothing was sent",
	}
}

// withEntry returns the list to send: every entry as it was read, and the new
// one.
//
// An entry goes back as the very JSON that came, so that Graph takes it for
// unchanged; a changed one is refused ("Update to existing credential … is not
// allowed"). That holds for customKeyIdentifier, which may be hex or base64,
// for fractions of seconds, and for properties that are newer than this
// program. Only key stays away: Graph keeps the one it has.
// https://github.com/Azure/azure-cli/issues/9124
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/3579
func withEntry(read []rawEntry, add rotator.NewKey) []any {
	entries := make([]any, 0, len(read)+1)
	for _, e := range read {
		resent := maps.Clone(e)
		delete(resent, "key")
		entries = append(entries, resent)
	}
	return append(entries, newEntry(add))
}

// added looks once for the entry that a PATCH added: under the KeyID we chose,
// else as the one entry that is new and has its name and dates.
func (c *Client) added(ctx context.Context, as rotator.Access, before []rotator.KeyID, add rotator.NewKey) rotator.KeyID {
	listing, err := c.Keys(ctx, as, false)
	if err != nil {
		return ""
	}
	var found []rotator.KeyID
	for _, e := range listing.Entries {
		switch {
		case e.KeyID == add.KeyID && e.KeyID != "":
			return e.KeyID
		case e.DisplayName == add.DisplayName && !slices.Contains(before, e.KeyID) &&
			e.NotAfter.Equal(add.NotAfter.Truncate(time.Second)):
			found = append(found, e.KeyID)
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return ""
}
