package graph

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/seed-f0abd057/rotate/rotator"
)

const readRights = "read owners"

// Rights tells what the tenant's identity may do to an app: the permissions in
// its token, and whether its service principal is among the owners.
// https://learn.microsoft.com/graph/api/application-list-owners
func (c *Client) Rights(ctx context.Context, app rotator.Registration) (rotator.AppRights, error) {
	k := call{Access: rotator.Access{Registration: app}, what: readRights}
	if err := k.needObjectID(); err != nil {
		return rotator.AppRights{}, err
	}
	var owners struct {
		Value []struct {
			ID string `json:"id"`
		} `json:"value"`
	}
	if _, err := c.read(ctx, k, &owners, "/applications/{id}/owners"); err != nil {
		return rotator.AppRights{}, err
	}
	t, err := c.tenant(k)
	if err != nil {
		return rotator.AppRights{}, err
	}
	by, err := c.credential(ctx, t, k)
	if err != nil {
		return rotator.AppRights{}, err
	}
	limited, cancel := c.deadline(ctx)
	defer cancel()
	token, err := by.GetToken(limited, policy.TokenRequestOptions{Scopes: []string{by.scope}})
	if f := c.failure(k, by, &exchange{}, err); f != nil {
		return rotator.AppRights{}, f
	}
	// oid is the object ID of the service principal that the token speaks for.
	// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
	var payload struct {
		Subject string `json:"oid"`
	}
	decodePayload(token.Token, &payload)
	may := rotator.AppRights{Roles: roles(token.Token)}
	for _, owner := range owners.Value {
		may.Owner = may.Owner || payload.Subject != "" && owner.ID == payload.Subject
	}
	return may, nil
}
