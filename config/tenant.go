package config

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Tenant is one Entra tenant.
type Tenant struct {
	Name string `yaml:"name" about:"local name of the tenant"`
	// ID is the tenant's GUID.
	ID    string `yaml:"id" about:"the tenant's ID, a GUID"`
	Cloud Cloud  `yaml:"cloud" about:"which cloud it is in, or the hosts of another one; default global"`
	// Identity is who acts for managed apps; nil if every app is in self mode.
	Identity *Identity `yaml:"identity,omitempty" about:"who changes managed apps, of exactly one kind; absent when every app is in self mode"`
}

// UnmarshalYAML puts the default cloud in first.
func (t *Tenant) UnmarshalYAML(node ast.Node) error {
	type fields Tenant
	f := fields{Cloud: Cloud{Name: "global"}}
	if err := plain(node, &f); err != nil {
		return err
	}
	*t = Tenant(f)
	return nil
}

// Clouds returns the names of the clouds that need no hosts.
func Clouds() []string { return []string{"global", "usgov", "usgov-dod", "china"} }

// Cloud is either one of [Clouds] by its name, or two hosts.
type Cloud struct {
	// Name is one of [Clouds]; empty for hosts of one's own.
	Name string `yaml:"-"`
	// Login and Graph are https URLs without a path, only if Name is empty.
	Login string `yaml:"login" about:"https URL of the login host"`
	Graph string `yaml:"graph" about:"https URL of Microsoft Graph"`
	// CAFile is the path of the PEM certificates to trust; empty: the system's.
	CAFile string `yaml:"ca_file,omitempty" about:"PEM file of the certificates to trust with these hosts; default the system's"`
	// Removal is how long a removal is checked before it is confirmed, only if Name is
	// empty: Microsoft's clouds need their time.
	Removal *RemovalTimes `yaml:"removal,omitempty" about:"how long the removal of a certificate is checked before it counts as removed; for tests"`
}

// RemovalTimes are how long a removal is checked.
type RemovalTimes struct {
	Reads   *Duration `yaml:"reads,omitempty" about:"time over which five reads must not list the certificate; default 2m"`
	SignIns *Duration `yaml:"sign_ins,omitempty" about:"time over which three sign-ins with it must be refused; default 10m"`
	Young   *Duration `yaml:"young,omitempty" about:"the same for a certificate that was uploaded within this time before; default prove.within"`
}

// UnmarshalYAML reads a name or a mapping of hosts.
func (c *Cloud) UnmarshalYAML(node ast.Node) error {
	if node.Type() == ast.MappingType {
		type fields Cloud
		var f fields
		if err := plain(node, &f); err != nil {
			return err
		}
		*c = Cloud(f)
		return nil
	}
	name, err := scalar(node)
	if err != nil {
		return at(node, errors.New("this must be the name of a cloud, or a mapping with login and graph"))
	}
	*c = Cloud{Name: name}
	return nil
}

// MarshalYAML writes the name or the hosts.
func (c Cloud) MarshalYAML() (any, error) {
	if c.Name != "" {
		return c.Name, nil
	}
	type fields Cloud
	return fields(c), nil
}

// IdentityKind tells the kinds of [Identity] apart.
type IdentityKind string

// The kinds of identity, named as the key that makes them.
const (
	KindClientSecret     IdentityKind = "client_secret"
	KindCertificate      IdentityKind = "certificate_file"
	KindManagedIdentity  IdentityKind = "managed_identity"
	KindWorkloadIdentity IdentityKind = "workload_identity"
	KindAzureCLI         IdentityKind = "azure_cli"
)

// Identity is who acts in a tenant for managed apps: one of azidentity's kinds. See
// [Identity.Kind].
type Identity struct {
	// ClientID belongs to secret and certificate.
	ClientID         string `yaml:"client_id,omitempty" about:"client ID of the app, with a secret or a certificate"`
	ClientSecret     Secret `yaml:"client_secret,omitempty" about:"its secret; better in a file of its own"`
	ClientSecretFile string `yaml:"client_secret_file,omitempty" about:"file with its secret"`
	CertificateFile  string `yaml:"certificate_file,omitempty" about:"PFX or PEM file with its certificate and key, read when it is first tracked"`
	Password         Secret `yaml:"password,omitempty" about:"password of the PFX; better in a file of its own"`
	PasswordFile     string `yaml:"password_file,omitempty" about:"file with the password of the PFX"`

	ManagedIdentity  *ManagedIdentity  `yaml:"managed_identity,omitempty" about:"the managed identity of this Azure machine"`
	WorkloadIdentity *WorkloadIdentity `yaml:"workload_identity,omitempty" about:"a federated token, as on Kubernetes"`
	AzureCLI         *AzureCLI         `yaml:"azure_cli,omitempty" about:"who is signed in with az login; for trying"`
}

// ManagedIdentity is the identity of an Azure machine.
type ManagedIdentity struct {
	// ClientID of a user-assigned identity; empty: the system-assigned one.
	ClientID string `yaml:"client_id,omitempty" about:"client ID of a user-assigned identity; absent is the system-assigned one"`
}

// WorkloadIdentity is a federated token.
type WorkloadIdentity struct {
	// ClientID is empty for AZURE_CLIENT_ID of the environment.
	ClientID string `yaml:"client_id,omitempty" about:"client ID; absent is AZURE_CLIENT_ID"`
	// TokenFile is empty for AZURE_FEDERATED_TOKEN_FILE of the environment.
	TokenFile string `yaml:"token_file,omitempty" about:"file with the token; absent is AZURE_FEDERATED_TOKEN_FILE"`
}

// AzureCLI is who is signed in with "az login".
type AzureCLI struct{}

// Kind returns the kind of a checked identity: the first that is given.
func (i *Identity) Kind() IdentityKind {
	if kinds := i.kinds(); len(kinds) > 0 {
		return kinds[0]
	}
	return ""
}

func (i *Identity) kinds() []IdentityKind {
	var out []IdentityKind
	add := func(given bool, k IdentityKind) {
		if given {
			out = append(out, k)
		}
	}
	add(i.ClientSecret.value != nil || i.ClientSecretFile != "", KindClientSecret)
	add(i.CertificateFile != "", KindCertificate)
	add(i.ManagedIdentity != nil, KindManagedIdentity)
	add(i.WorkloadIdentity != nil, KindWorkloadIdentity)
	add(i.AzureCLI != nil, KindAzureCLI)
	return out
}

// listed returns the kinds as a text.
func listed(kinds []IdentityKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, " and ")
}
