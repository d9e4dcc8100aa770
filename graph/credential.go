package graph

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/seed-f0abd057/rotate/rotator"
)

// credential gets tokens for one caller. It is an azcore.TokenCredential.
type credential struct {
	// slot admits one caller at a time. azidentity holds a mutex over its
	// request, and those who wait for a mutex cannot give up when their
	// deadline has come.
	// https://github.com/Azure/azure-sdk-for-go/blob/main/sdk/azidentity/confidential_client.go
	slot chan struct{}
	// x carries its requests; it belongs to who holds the slot.
	x     *exchange
	azure azcore.TokenCredential
	// who completes "app NAME: add certificate: WHO: …".
	who     string
	scope   string
	secrets []string
	// correlation names the token requests, for the sign-in log; empty: MSAL does.
	correlation string
}

func newCredential(t *tenant, who string, via http.RoundTripper, secrets []string,
	build func(azcore.ClientOptions) (azcore.TokenCredential, error),
) (*credential, error) {
	c := &credential{
		slot: make(chan struct{}, 1), x: &exchange{next: via},
		who: who, scope: t.Cloud.scope(), secrets: secrets,
	}
	var err error
	c.azure, err = build(azcore.ClientOptions{Cloud: t.Cloud.azure(), Transport: c.x, Retry: oneTry()})
	return c, err
}

// GetToken implements azcore.TokenCredential. Errors are [*refused].
func (c *credential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, _, err := c.token(ctx, options)
	return token, err
}

// cold asks for the token of a credential that was just made and returns the
// answer's header too.
func (c *credential) cold(ctx context.Context) (string, http.Header, error) {
	token, header, err := c.token(ctx, policy.TokenRequestOptions{Scopes: []string{c.scope}})
	return token.Token, header, err
}

func (c *credential) token(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, http.Header, error) {
	select {
	case c.slot <- struct{}{}:
		defer func() { <-c.slot }()
	case <-ctx.Done():
		return azcore.AccessToken{}, nil, &refused{c, &exchange{err: ctx.Err()}, ctx.Err()}
	}
	*c.x = exchange{next: c.x.next, correlation: c.correlation}
	token, err := c.azure.GetToken(ctx, options)
	if err != nil {
		// A copy: the next caller uses c.x again.
		x := *c.x
		return azcore.AccessToken{}, nil, &refused{c, &x, err}
	}
	return token, c.x.header, nil
}

// refused is a token that was not given. It is never shown: azidentity's text
// quotes the whole answer, and MSAL's the answer with a token that it could not
// decode. What people see is made from the exchange.
// https://github.com/AzureAD/microsoft-authentication-library-for-go/blob/main/apps/internal/oauth/ops/internal/comm/comm.go
type refused struct {
	by  *credential
	x   *exchange
	err error
}

func (r *refused) Error() string { return r.by.who + ": no token" }

// redact removes the caller's secrets from a text that a server or a library
// made. What looks like a token or an assertion is removed by [clean].
func (c *credential) redact(text string) string {
	for _, s := range c.secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "[removed]")
			text = strings.ReplaceAll(text, url.QueryEscape(s), "[removed]")
		}
	}
	return text
}

// selfKey names the credential of an app that acts for itself.
type selfKey struct {
	tenant     string
	client     rotator.ClientID
	thumbprint rotator.Thumbprint
}

type selfCredential struct {
	*credential
	usedAt time.Time
}

// maxSelves bounds how many credentials of apps are kept. They save a token
// request while an app is worked on.
const maxSelves = 128

// credential returns that of the app itself or of the tenant's identity.
func (c *Client) credential(ctx context.Context, t *tenant, k call) (*credential, error) {
	if k.Admin != "" {
		return k.adminCredential(t), nil
	}
	if !k.As.IsZero() {
		return c.selfCredential(t, k)
	}
	if t.Identity.isZero() {
		next := "set tenants[].identity in the configuration"
		if k.App != "" {
			next += `, or use "rotate app edit ` + k.App + ` --mode self"`
		}
		return nil, k.fix(nil, next,
			"tenant %q has no identity to ask with", t.Name)
	}
	c.mu.Lock()
	known := c.identities[t.Name]
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	made, err := newIdentity(ctx, t)
	if err != nil {
		return nil, k.fix(err, "check tenants[].identity in the configuration",
			"the identity of tenant %q cannot be used: %s", t.Name, clean(err.Error()))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first := c.identities[t.Name]; first != nil {
		return first, nil
	}
	c.identities[t.Name] = made
	return made, nil
}

func (c *Client) selfCredential(t *tenant, k call) (*credential, error) {
	key := selfKey{t.Name, k.ClientID, k.As.Thumbprint()}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.selves[key]; known != nil {
		known.usedAt = time.Now()
		return known.credential, nil
	}
	made, err := k.pairCredential(t, k.As)
	if err != nil {
		return nil, err
	}
	c.keepSelf(key, made)
	return made, nil
}

// keep makes the credential of a sign-in the app's own.
func (c *Client) keep(t *tenant, k call, by *credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keepSelf(selfKey{t.Name, k.ClientID, k.As.Thumbprint()}, by)
}

// keepSelf remembers an app's credential; the caller holds mu.
func (c *Client) keepSelf(key selfKey, made *credential) {
	if _, known := c.selves[key]; !known && len(c.selves) >= maxSelves {
		var oldest selfKey
		first := true
		for key, s := range c.selves {
			if first || s.usedAt.Before(c.selves[oldest].usedAt) {
				oldest, first = key, false
			}
		}
		delete(c.selves, oldest)
	}
	c.selves[key] = &selfCredential{made, time.Now()}
}

// pairCredential makes a new credential for the app with a pair of its own.
func (k call) pairCredential(t *tenant, pair rotator.KeyPair) (*credential, error) {
	who := "sign in with certificate " + rotator.ThumbprintSHA1(pair.Certificate)
	made, err := newPairCredential(t, who, k.ClientID, pair)
	if err != nil {
		return nil, k.fix(err, "", "%s: %s", who, clean(err.Error()))
	}
	made.correlation = k.CorrelationID
	return made, nil
}

// forget drops a credential that Entra refused or whose token Graph refused,
// so that the next call starts from a new one.
func (c *Client) forget(used *credential) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range c.selves {
		if s.credential == used {
			delete(c.selves, key)
		}
	}
	for name, i := range c.identities {
		if i == used {
			delete(c.identities, name)
		}
	}
}

// roles of an app from the payload of its access token, sorted. The token came
// from the login host over TLS and is used to look at only, so its signature is
// not checked; Microsoft calls access tokens opaque, so one that cannot be read
// has no roles and is no error.
// https://learn.microsoft.com/entra/identity-platform/access-tokens
func roles(token string) []string {
	var payload struct {
		Roles []string `json:"roles"`
	}
	if !decodePayload(token, &payload) {
		return nil
	}
	slices.Sort(payload.Roles)
	return slices.Compact(payload.Roles)
}
