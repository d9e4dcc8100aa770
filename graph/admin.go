package graph

import (
	"context"
	"fmt"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Ways in which an administrator signs in.
const (
	AdminAzureCLI = "cli"
	AdminDevice   = "device"
	AdminBrowser  = "browser"
	AdminIdentity = "identity"
)

// adminWithin is how long an administrator has to sign in.
const adminWithin = 10 * time.Minute

// AdminToken signs an administrator in to a tenant and returns the token, which is
// kept nowhere. [AdminIdentity] takes the tenant's own identity. prompt shows what
// to do to the person at the terminal.
func (c *Client) AdminToken(ctx context.Context, tenantName, how string, prompt func(string)) (rotator.Token, error) {
	k := call{Access: rotator.Access{Registration: rotator.Registration{App: tenantName, Tenant: tenantName}}, what: "sign in as administrator"}
	t, err := c.tenant(k)
	if err != nil {
		return "", err
	}
	who := "administrator of tenant " + tenantName
	var by *credential
	switch how {
	case AdminIdentity:
		if t.Identity.isZero() {
			return "", k.fix(nil, "choose another --auth, or set tenants[].identity", "tenant %q has no identity", tenantName)
		}
		by, err = newIdentity(ctx, t)
	case AdminAzureCLI:
		by, err = newCredential(t, who, t.login, nil, func(azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: t.ID})
		})
	case AdminDevice:
		by, err = newCredential(t, who, t.login, nil, func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
				ClientOptions: o, DisableInstanceDiscovery: noInstanceDiscovery, TenantID: t.ID,
				UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
					prompt(m.Message)
					return nil
				},
			})
		})
	case AdminBrowser:
		by, err = newCredential(t, who, t.login, nil, func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewInteractiveBrowserCredential(&azidentity.InteractiveBrowserCredentialOptions{
				ClientOptions: o, DisableInstanceDiscovery: noInstanceDiscovery, TenantID: t.ID,
			})
		})
	default:
		return "", fmt.Errorf("--auth %q is not known; use cli, device, browser or identity: %w", how, rotator.ErrUsage)
	}
	if err != nil {
		return "", k.fix(err, "choose another --auth", "%s", clean(err.Error()))
	}
	limited, cancel := context.WithTimeout(ctx, adminWithin)
	defer cancel()
	token, _, err := by.cold(limited)
	if err != nil {
		return "", coldFailure(k, err)
	}
	return rotator.Token(token), nil
}

// given is a token that somebody brought: an azcore.TokenCredential.
type given struct{ token rotator.Token }

// GetToken implements azcore.TokenCredential.
func (g given) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	// It is refused when it has ended; nobody can refresh it.
	return azcore.AccessToken{Token: string(g.token), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// adminCredential is that of the administrator of one call.
func (k call) adminCredential(t *tenant) *credential {
	return &credential{
		slot: make(chan struct{}, 1), x: &exchange{next: t.login},
		who: "administrator", scope: t.Cloud.scope(), secrets: []string{string(k.Admin)}, azure: given{k.Admin},
	}
}
