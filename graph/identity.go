package graph

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Identity is who asks for apps in managed mode: one of its fields, or none.
type Identity struct {
	ClientSecret     *ClientSecret
	Certificate      *Certificate
	ManagedIdentity  *ManagedIdentity
	WorkloadIdentity *WorkloadIdentity
	AzureCLI         *AzureCLI
}

// ClientSecret is an app that signs in with a secret.
type ClientSecret struct {
	ClientID rotator.ClientID
	// Secret is asked for each new credential, so that a file may change while
	// the program runs.
	Secret func() (string, error)
}

// Certificate is an app that signs in with a certificate.
type Certificate struct {
	ClientID rotator.ClientID
	// Pair is asked for each new credential; see [Client.ForgetIdentity].
	Pair func(context.Context) (rotator.KeyPair, error)
}

// ManagedIdentity is that of the Azure host the program runs on. It is asked
// without a proxy.
type ManagedIdentity struct {
	// ClientID of a user-assigned identity; empty: the host's own.
	ClientID rotator.ClientID
}

// WorkloadIdentity is that of a Kubernetes pod.
type WorkloadIdentity struct {
	// ClientID; empty: AZURE_CLIENT_ID of the environment.
	ClientID rotator.ClientID
	// TokenFile; empty: AZURE_FEDERATED_TOKEN_FILE of the environment.
	TokenFile string
}

// AzureCLI is whoever is signed in to the az program.
type AzureCLI struct{}

func (i Identity) check() error {
	n := 0
	for _, set := range []bool{
		i.ClientSecret != nil, i.Certificate != nil, i.ManagedIdentity != nil, i.WorkloadIdentity != nil, i.AzureCLI != nil,
	} {
		if set {
			n++
		}
	}
	switch {
	case n > 1:
		return errors.New("identity: only one kind may be set")
	case i.ClientSecret != nil && (i.ClientSecret.ClientID == "" || i.ClientSecret.Secret == nil):
		return errors.New("identity: a client ID and a secret belong together")
	case i.Certificate != nil && (i.Certificate.ClientID == "" || i.Certificate.Pair == nil):
		return errors.New("identity: a client ID and a certificate belong together")
	}
	return nil
}

func (i Identity) isZero() bool { return i == Identity{} }

// newIdentity makes the credential of a tenant's identity.
func newIdentity(ctx context.Context, t *tenant) (*credential, error) {
	i := t.Identity
	who := fmt.Sprintf("sign in as the identity of tenant %q", t.Name)
	switch {
	case i.ClientSecret != nil:
		secret, err := i.ClientSecret.Secret()
		if err != nil {
			return nil, err
		}
		return newCredential(t, who, t.login, []string{secret}, func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewClientSecretCredential(t.ID, string(i.ClientSecret.ClientID), secret,
				&azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: noInstanceDiscovery})
		})
	case i.Certificate != nil:
		pair, err := i.Certificate.Pair(ctx)
		if err != nil {
			return nil, err
		}
		return newPairCredential(t, who, i.Certificate.ClientID, pair)
	case i.WorkloadIdentity != nil:
		return newCredential(t, who, t.login, nil, func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
				ClientOptions: o, DisableInstanceDiscovery: noInstanceDiscovery, TenantID: t.ID,
				ClientID: string(i.WorkloadIdentity.ClientID), TokenFilePath: i.WorkloadIdentity.TokenFile,
			})
		})
	case i.ManagedIdentity != nil:
		return newCredential(t, who, t.direct, nil, func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
			options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: o}
			if id := i.ManagedIdentity.ClientID; id != "" {
				options.ID = azidentity.ClientID(id)
			}
			return azidentity.NewManagedIdentityCredential(options)
		})
	default:
		return newCredential(t, who, t.login, nil, func(azcore.ClientOptions) (azcore.TokenCredential, error) {
			return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: t.ID})
		})
	}
}

// newPairCredential makes the credential of an app that signs in with a key
// pair.
//
// The pair is handed over as parsed. azidentity.ParseCertificates cannot read
// what is delivered today: it knows neither AES nor SHA-256 in PKCS#12.
// https://pkg.go.dev/github.com/Azure/azure-sdk-for-go/sdk/azidentity#ParseCertificates
func newPairCredential(t *tenant, who string, id rotator.ClientID, pair rotator.KeyPair) (*credential, error) {
	if pair.Key == nil {
		return nil, errors.New("the key pair has no private key")
	}
	certificate, err := x509.ParseCertificate(pair.Certificate)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return newCredential(t, who, t.login, nil, func(o azcore.ClientOptions) (azcore.TokenCredential, error) {
		return azidentity.NewClientCertificateCredential(t.ID, string(id), []*x509.Certificate{certificate}, pair.Key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: noInstanceDiscovery})
	})
}

// noInstanceDiscovery keeps azidentity from asking login.microsoftonline.com
// whether a login host can be trusted. The configuration says so; for custom
// hosts the question costs some 15 s without a way out to the internet.
// https://pkg.go.dev/github.com/Azure/azure-sdk-for-go/sdk/azidentity#ClientCertificateCredentialOptions
const noInstanceDiscovery = true

// oneTry keeps azcore from repeating requests for tokens: it would sleep up to
// 60 s three times while every other caller of the credential waits. What is
// repeated is decided in retry.go.
// https://pkg.go.dev/github.com/Azure/azure-sdk-for-go/sdk/azcore/policy#RetryOptions
func oneTry() policy.RetryOptions { return policy.RetryOptions{MaxRetries: -1} }

// IsIdentity reports whether the app is the one that its tenant's identity signs
// in as with a certificate.
func (c *Client) IsIdentity(app rotator.Registration) bool {
	t := c.tenants[app.Tenant]
	return t != nil && t.Identity.Certificate != nil && strings.EqualFold(string(t.Identity.Certificate.ClientID), string(app.ClientID))
}

// RenewIdentity drops the credential of the tenant's identity and asks for the
// identity's own app registration with a new one. A 403 is an answer too: the
// token was accepted.
func (c *Client) RenewIdentity(ctx context.Context, app rotator.Registration) error {
	c.ForgetIdentity(app.Tenant)
	k := call{Access: rotator.Access{Registration: app}, what: "sign in as the identity"}
	_, _, err := c.application(ctx, k, []string{"id"})
	if f, ok := errors.AsType[*rotator.Failure](err); ok && f.Reason == rotator.ReasonForbidden {
		return nil
	}
	return err
}
