package graph

import (
	"context"
	"maps"
	"slices"
	"time"

	khttp "github.com/microsoft/kiota-http-go"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

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
	before, x, err := c.application(ctx, call{Access: as, what: readKeys}, nil)
	if err != nil {
		return "", err
	}
	known := before.GetKeyCredentials()
	ids := make([]rotator.KeyID, 0, len(known))
	for _, e := range known {
		if e == nil || e.GetKeyId() == nil {
			return "", k.stale(x, "an entry of the list has no KeyID")
		}
		ids = append(ids, keyID(e.GetKeyId()))
	}
	for _, id := range seen {
		if !slices.Contains(ids, id) {
			return "", k.stale(x, "the list does not show the certificate "+string(id)+" that an earlier one showed")
		}
	}
	if add.KeyID != "" && slices.Contains(ids, add.KeyID) {
		return add.KeyID, nil
	}
	entries := newEntries(known, add)
	if len(entries) != len(known)+1 {
		return "", k.stale(x, "the list to send is not the list read and one more")
	}
	// Never the application that was read: sent back, it would carry all its
	// properties, or with the root client's change-tracking store none at all
	// and Graph would answer 204 to it.
	// https://github.com/microsoftgraph/msgraph-sdk-go/issues/643
	body := models.NewApplication()
	body.SetKeyCredentials(entries)
	_, err = c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
		// 204: the result is nil.
		_, err := item(a, k.ObjectID).Patch(ctx, body, nil)
		return err
	})
	if err != nil {
		return "", c.explainPolicy(ctx, as, err)
	}
	return c.added(ctx, as, ids, add), nil
}

// stale refuses to replace a list by one that was not read well.
func (k call) stale(x *exchange, text string) *rotator.Failure {
	return &rotator.Failure{
		Class: rotator.ClassWait, Reason: rotator.ReasonStaleRead, ServerTime: x.date(),
		Message: k.prefix() + text + "; nothing was sent",
	}
}

// newEntries returns the list to send: every entry as it was read, and the new
// one.
//
// Each is copied into a fresh object. Objects that were read are frozen when
// the root client has enabled its change-tracking store: then only what was
// set after the read is written. Without key: Graph keeps the one it has.
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/3579
func newEntries(known []models.KeyCredentialable, add rotator.NewKey) []models.KeyCredentialable {
	entries := make([]models.KeyCredentialable, 0, len(known)+1)
	for _, e := range known {
		entries = append(entries, resent(e))
	}
	return append(entries, newEntry(add))
}

// resent copies an entry so that Graph takes it for unchanged; a changed one is
// refused ("Update to existing credential … is not allowed").
//
// customKeyIdentifier goes back as the very bytes: as JSON it may be hex or
// base64, and the model reads both as base64, so what was hex is hex again.
// Dates go as text, because the SDK writes times without the fraction of a
// second that Graph sends.
// https://github.com/microsoft/kiota-serialization-json-go/blob/main/json_serialization_writer.go (WriteTimeValue)
// https://github.com/Azure/azure-cli/issues/9124
func resent(e models.KeyCredentialable) models.KeyCredentialable {
	c := models.NewKeyCredential()
	c.SetKeyId(e.GetKeyId())
	c.SetDisplayName(e.GetDisplayName())
	c.SetTypeEscaped(e.GetTypeEscaped())
	c.SetUsage(e.GetUsage())
	c.SetCustomKeyIdentifier(e.GetCustomKeyIdentifier())
	more := map[string]any{}
	maps.Copy(more, e.GetAdditionalData())
	for name, at := range map[string]*time.Time{"startDateTime": e.GetStartDateTime(), "endDateTime": e.GetEndDateTime()} {
		if at != nil {
			more[name] = at.UTC().Format(time.RFC3339Nano)
		}
	}
	c.SetAdditionalData(more)
	return c
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
