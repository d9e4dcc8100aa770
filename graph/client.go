// Package graph asks Entra ID and Microsoft Graph on behalf of the rotator.
//
// Start with [New], which makes a [Client]: the [rotator.Entra] of the program.
// The package is the only importer of msgraph-sdk-go, kiota and azidentity, and
// nothing of theirs leaves it: what fails comes out as a [*rotator.Failure]
// around an [*Error] (an answer that refused) or a network error.
//
// It decides which requests are repeated (reads and tokens, in one place, see
// retry.go) and never repeats one that changes something. It does not decide
// what a failure means for a rotation; the rotator does.
package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Client asks Entra ID for tokens and Microsoft Graph for everything else. It
// is made by [New] and safe for concurrent use.
type Client struct {
	config  Config
	logger  *slog.Logger
	tenants map[string]*tenant
	guid    *regexp.Regexp

	// mu guards what follows; it is not held over I/O.
	mu sync.Mutex
	// identities are the credentials of the tenants' own identities, by tenant.
	identities map[string]*credential
	// selves are credentials of apps that act for themselves.
	selves map[selfKey]*selfCredential
}

var (
	_ rotator.Entra      = (*Client)(nil)
	_ rotator.Rights     = (*Client)(nil)
	_ rotator.Identities = (*Client)(nil)
	_ rotator.Inventory  = (*Client)(nil)
)

// Config is what a [Client] is made of.
type Config struct {
	Tenants []Tenant
	// Proxy is the URL of the proxy for tokens and Graph alike. If empty,
	// HTTPS_PROXY decides. NO_PROXY holds in both cases.
	Proxy string
	// Timeout bounds each request, the token it needs and its repetitions
	// included. If zero, 30 seconds.
	Timeout time.Duration
	// Logger gets one debug line a request: method, path, status, duration and
	// request ID, never headers or bodies. Nil: nothing is logged.
	Logger *slog.Logger
	// Observe is called after each request, those for tokens included; it must
	// be safe for concurrent use. path has "{id}" in place of GUIDs and no
	// query. A status of 0 means that there was no answer. May be nil.
	Observe func(method, path string, status int)
}

// Tenant is one Entra tenant.
type Tenant struct {
	// Name by which apps refer to it.
	Name string
	// ID is the tenant's GUID or one of its domain names.
	ID string
	// Cloud it lives in. The zero value is the global cloud.
	Cloud Cloud
	// Identity asks for apps in managed mode. The zero value is none.
	Identity Identity
}

// tenant is a [Tenant] with what its requests need.
type tenant struct {
	Tenant
	// login and graph carry requests for tokens and to Graph; direct carries
	// those of managed identities, to addresses on this host.
	login, graph, direct http.RoundTripper
	// pages is graph for the long answers of an inventory.
	pages http.RoundTripper
	pace  *pace
	idle  func()
}

// New makes a client. It asks nobody yet. Errors name the tenant and the
// setting.
func New(config Config) (*Client, error) {
	c := &Client{
		config:     config,
		logger:     config.Logger,
		tenants:    make(map[string]*tenant, len(config.Tenants)),
		guid:       regexp.MustCompile(`[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}`),
		identities: map[string]*credential{},
		selves:     map[selfKey]*selfCredential{},
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	if c.config.Timeout <= 0 {
		c.config.Timeout = 30 * time.Second
	}
	proxy, err := proxyFunc(config.Proxy)
	if err != nil {
		return nil, err
	}
	tenantID := regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
	for _, t := range config.Tenants {
		if t.Name == "" {
			return nil, errors.New("a tenant has no name")
		}
		if c.tenants[t.Name] != nil {
			return nil, fmt.Errorf("tenant %q: the name is used twice", t.Name)
		}
		if !tenantID.MatchString(t.ID) {
			return nil, fmt.Errorf("tenant %q: the ID %q is neither a GUID nor a domain name", t.Name, t.ID)
		}
		made, err := c.newTenant(t, proxy)
		if err != nil {
			return nil, fmt.Errorf("tenant %q: %w", t.Name, err)
		}
		c.tenants[t.Name] = made
	}
	return c, nil
}

func (c *Client) newTenant(t Tenant, proxy proxyOf) (*tenant, error) {
	if t.Cloud.isZero() {
		t.Cloud = globalCloud()
	}
	if err := t.Cloud.check(); err != nil {
		return nil, err
	}
	if err := t.Identity.check(); err != nil {
		return nil, err
	}
	base, direct, idle, err := transports(t.Cloud, proxy)
	if err != nil {
		return nil, err
	}
	made := &tenant{Tenant: t, pace: &pace{}, idle: idle}
	made.login = &metadata{next: &wire{next: base, hosts: t.Cloud.loginHosts(), client: c}}
	made.graph = &wire{next: base, hosts: []string{t.Cloud.graphHost()}, client: c, bearer: true}
	made.pages = &wire{next: base, hosts: []string{t.Cloud.graphHost()}, client: c, bearer: true, most: maxPageBytes}
	made.direct = &wire{next: direct, client: c}
	return made, nil
}

// Close closes idle connections. The client can be used again afterwards.
func (c *Client) Close() error {
	for _, t := range c.tenants {
		t.idle()
	}
	return nil
}

// Hosts returns the addresses of a tenant's cloud; [rotator.ErrNoTenant] if
// there is no such tenant.
func (c *Client) Hosts(name string) (rotator.Hosts, error) {
	t := c.tenants[name]
	if t == nil {
		return rotator.Hosts{}, fmt.Errorf("tenant %q: %w", name, rotator.ErrNoTenant)
	}
	return rotator.Hosts{Login: t.Cloud.Login, Graph: t.Cloud.Graph}, nil
}

// ForgetIdentity drops the credential of a tenant's identity, so that the next
// call asks the [Identity] for its secret or key pair again. An identity that
// got no token is forgotten by itself.
func (c *Client) ForgetIdentity(tenant string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.identities, tenant)
}

// call describes one operation, for messages and for what its failure means.
type call struct {
	rotator.Access
	// what is being done, as in "app NAME: WHAT: …".
	what string
	// write tells that the request changes something.
	write bool
	// proof tells that the request carries a proof of possession.
	proof bool
	// probe tells that the path is the operator's, not ours.
	probe bool
	// cold tells that the token is asked with the app's own pair to prove it.
	cold bool
}

// tenant finds the tenant of a call.
func (c *Client) tenant(k call) (*tenant, error) {
	t := c.tenants[k.Tenant]
	if t == nil {
		names := make([]string, 0, len(c.config.Tenants))
		for _, t := range c.config.Tenants {
			names = append(names, t.Name)
		}
		return nil, k.fix(rotator.ErrNoTenant,
			"add the tenant to the configuration; it has: "+strings.Join(names, ", "),
			"tenant %q is not in the configuration", k.Tenant)
	}
	return t, nil
}

// deadline bounds one request and its repetitions.
func (c *Client) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.config.Timeout)
}
