package rotator

import (
	"context"
	"time"
)

// Inventory lists what a tenant holds, tracked or not.
type Inventory interface {
	// Registered calls each with the app registrations of the tenant, then with
	// the service principals that have credentials of their own, a page at a
	// time; it holds one page in memory. Throttling is waited for, and each is
	// told. It returns a [*Failure], or the error of each, which ends it.
	Registered(ctx context.Context, tenant string, each func(InventoryPage) error) error
}

// InventoryPage is one answer of many.
type InventoryPage struct {
	Found []Registered
	// Read counts what the answer held, before it was picked.
	Read int
	// Waiting tells that Graph asked for a pause, and how long it is; the rest is
	// empty then.
	Waiting time.Duration
}

// Kinds of what an inventory finds.
const (
	RegisteredApp              = "app"
	RegisteredServicePrincipal = "service_principal"
	// RegisteredBlueprint is an agent identity blueprint: Entra lists it among the
	// applications, and it is none.
	RegisteredBlueprint = "agent_identity_blueprint"
)

// Registered is one app registration, or one service principal that has
// credentials of its own, as somebody made it: its texts can hold anything.
type Registered struct {
	// Kind is [RegisteredApp], [RegisteredServicePrincipal] or [RegisteredBlueprint].
	Kind        string
	ObjectID    ObjectID
	ClientID    ClientID
	DisplayName string
	// Owners by name, by ID where the name may not be read; at most 20.
	Owners      []string
	Credentials []FoundCredential
	// FederatedUnknown is why Credentials lacks the federated ones, if there are any;
	// empty: it has them.
	FederatedUnknown string
}

// Kinds of credentials.
const (
	FoundCertificate = "certificate"
	FoundSecret      = "secret"
	// FoundSAML is a certificate that signs SAML tokens.
	FoundSAML = "saml"
	// FoundFederated is a federated identity credential: it has no key and never
	// expires. Who gets a token of its issuer for its subject signs in as the app.
	// https://learn.microsoft.com/graph/api/resources/federatedidentitycredentials-overview
	FoundFederated = "federated"
)

// FoundCredential is one credential of it.
type FoundCredential struct {
	// Kind is [FoundCertificate], [FoundSecret], [FoundSAML] or [FoundFederated].
	Kind string
	// KeyID, of a federated one Graph's id.
	KeyID       KeyID
	DisplayName string
	// NotBefore and NotAfter are zero if Entra does not tell.
	NotBefore, NotAfter time.Time
	// Thumbprint is empty for secrets, and where Entra did not give the certificate, as
	// in lists. ThumbprintSHA1 is what the entry says there: a hint, upper-case hex;
	// empty if it says nothing of the kind.
	Thumbprint     Thumbprint
	ThumbprintSHA1 string
	// Issuer, Subject and Audiences are those of a federated one; the subject may be
	// an expression that subjects must match.
	Issuer, Subject string
	Audiences       []string
}
