package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"
)

// Token is an access token of an administrator. It lives for one request: it is
// never stored, logged or printed.
type Token string

// String shows nothing.
func (Token) String() string { return "[token]" }

// GoString shows nothing.
func (Token) GoString() string { return "[token]" }

// LogValue keeps it out of logs.
func (Token) LogValue() slog.Value { return slog.StringValue("[token]") }

// MarshalJSON refuses: a token leaves the process in the request it is for only.
func (Token) MarshalJSON() ([]byte, error) {
	return nil, errors.New("an administrator's token must not be written as JSON")
}

// Registrar makes app registrations, with an administrator's token. Failures are
// [*Failure]; no method repeats a request that changes something.
type Registrar interface {
	// Roles returns the ID of Microsoft Graph's service principal and its
	// application permissions by name.
	Roles(ctx context.Context, as Access) (principal string, ids map[string]string, err error)
	// FindByName returns the registrations with a display name.
	FindByName(ctx context.Context, as Access, name string) ([]Found, error)
	// FindUnique returns the registration with a unique name, or the agent identity
	// blueprint: they share these names; [ErrNotFound].
	FindUnique(ctx context.Context, as Access, name string) (Found, error)
	// Upsert makes the registration with the unique name, or brings it up to date.
	Upsert(ctx context.Context, as Access, r NewRegistration) error
	// Register makes one where a cloud knows no upsert.
	Register(ctx context.Context, as Access, r NewRegistration) error
	// Principal returns the ID of the app's service principal; [ErrNotFound].
	Principal(ctx context.Context, as Access) (string, error)
	CreatePrincipal(ctx context.Context, as Access) error
	// Assigned returns the IDs of permissions of resource that were consented to.
	Assigned(ctx context.Context, as Access, principal, resource string) ([]string, error)
	Assign(ctx context.Context, as Access, principal, resource, role string) error
	// Owners of the registration.
	Owners(ctx context.Context, as Access) ([]Owner, error)
	AddOwner(ctx context.Context, as Access, owner string) error
	// Identity returns the service principal of the tenant's own identity.
	Identity(ctx context.Context, as Access) (string, error)
	// Unregister deletes the registration and its service principal.
	Unregister(ctx context.Context, as Access) error
	// ConsentURL is where an administrator consents to what the app declares.
	ConsentURL(as Access) string
}

// Found is a registration in the tenant.
type Found struct {
	ObjectID    ObjectID
	ClientID    ClientID
	DisplayName string
	UniqueName  string
	// Blueprint tells that it is an agent identity blueprint and no app.
	Blueprint bool
}

// NewRegistration is a registration to make: of this tenant only, without a
// redirect URI.
type NewRegistration struct {
	UniqueName  string
	DisplayName string
	// RoleIDs are the application permissions of Microsoft Graph that it declares.
	RoleIDs []string
}

// Owner of a registration.
type Owner struct {
	ID, Name string
	// Kind is user, servicePrincipal or another of Graph's types.
	Kind string
}

// Creation is the journal of an app that is being created. It is durable before
// the first request, and goes into the app's record with the last.
type Creation struct {
	Tenant      string   `json:"tenant"`
	UniqueName  string   `json:"unique_name"`
	DisplayName string   `json:"display_name"`
	ObjectID    ObjectID `json:"object_id,omitempty"`
	ClientID    ClientID `json:"client_id,omitempty"`
	// Thumbprint of its first certificate, KeyID that was requested for it, then its own.
	Thumbprint Thumbprint `json:"thumbprint"`
	KeyID      KeyID      `json:"key_id"`
	// RegisteredAt is when a registration was sent that may have to be looked for,
	// UploadedAt when the certificate was; zero: never.
	RegisteredAt time.Time `json:"registered_at,omitzero"`
	UploadedAt   time.Time `json:"uploaded_at,omitzero"`
	At           time.Time `json:"at"`
	By           string    `json:"by"`
}

// CreateRequest asks for an app registration.
type CreateRequest struct {
	// Spec without ClientID and PFX.
	Spec AppSpec
	// DisplayName in Entra; empty: the local name.
	DisplayName string
	Admin       Token
	// NoConsent leaves the consent to somebody else.
	NoConsent bool
}

// Created is what was made. Nothing of it is secret but what HandedOver holds.
type Created struct {
	App App
	// Steps say what was done or found, one sentence each.
	Steps  []string
	Owners []Owner
	// ConsentURL is set while an administrator's consent is waited for; then the
	// app is not tracked yet, and the same request goes on.
	ConsentURL string
	Checks     []TestCheck
	// PFX, Certificate and Password are for the consumer.
	PFX, Certificate []byte
	Password         string
}

// String names the app and shows nothing else.
func (c Created) String() string { return "created app " + c.App.Name }

// GoString is [Created.String].
func (c Created) GoString() string { return c.String() }

// A replica that lags makes a test of a new app fail; it is made again this often.
const (
	testTries = 5
	testEvery = 10 * time.Second
)

// createWithin bounds one run; a longer wait is another run.
const createWithin = 4 * time.Minute

// creator makes one app.
type creator struct {
	r      *Rotator
	req    CreateRequest
	by     string
	app    App
	policy Policy
	as     Access
	rec    Creation
	// graph is the ID of Microsoft Graph's service principal, roles the IDs of the
	// permissions that are asked for.
	graph string
	roles []string
	own   string // ID of the app's service principal
	pair  KeyPair
	out   Created
}

func (c *creator) did(format string, args ...any) {
	c.out.Steps = append(c.out.Steps, fmt.Sprintf(format, args...))
}

// UniqueName is what a registration of this store is found by, whatever answers
// were lost.
func (r *Rotator) UniqueName(app string) string { return "rotate-" + r.Store.ID() + "-" + app }

// newCreator checks a request without asking anybody.
func (r *Rotator) newCreator(ctx context.Context, req CreateRequest, by string) (*creator, error) {
	spec := req.Spec
	if spec.PFX != nil || spec.ClientID != "" {
		return nil, usagef("app %s: what exists already is added (rotate app add), not created", spec.Name)
	}
	spec.ClientID = "00000000-0000-0000-0000-000000000000"
	app, err := r.appOf(spec)
	if err != nil {
		return nil, err
	}
	app.ClientID = ""
	if _, err := r.checkApp(ctx, &app); err != nil {
		return nil, err
	}
	if err := r.checkConsumer(&app); err != nil {
		return nil, err
	}
	if req.DisplayName == "" {
		req.DisplayName = app.Name
	}
	app.DisplayName = req.DisplayName
	return &creator{
		r: r, req: req, by: by, app: app, policy: policyOf(&app, r.settings().Defaults),
		as: Access{Registration: Registration{App: app.Name, Tenant: app.Tenant}, Admin: req.Admin},
	}, nil
}

// CreateCalls lists every request that Create would make, and makes none.
func (r *Rotator) CreateCalls(ctx context.Context, req CreateRequest) ([]string, error) {
	c, err := r.newCreator(ctx, req, "")
	if err != nil {
		return nil, err
	}
	unique := r.UniqueName(c.app.Name)
	calls := []string{
		"GET /servicePrincipals(appId='00000003-0000-0000-c000-000000000000'): the IDs of the permissions",
		"GET /applications(uniqueName='" + unique + "'): was it made before?",
		"GET /applications?$filter=displayName eq '" + c.req.DisplayName + "': is the name taken?",
		"PATCH /applications(uniqueName='" + unique + "') with Prefer: create-if-missing: the registration, of this tenant only, asking for " + orNone(c.app.Permissions),
		"POST /servicePrincipals: its service principal",
		"PATCH /applications/ID: the certificate, its only one",
	}
	if c.app.Mode == ModeManaged {
		calls = append(calls, "POST /applications/ID/owners/$ref: the identity of tenant "+c.app.Tenant+" becomes an owner")
	}
	for _, p := range c.app.Permissions {
		if req.NoConsent {
			break
		}
		calls = append(calls, "POST /servicePrincipals/ID/appRoleAssignments: admin consent to "+p)
	}
	return append(calls, "GET /applications/ID/owners: who owns it", "POST /oauth2/v2.0/token as the new app, until it works: the connection test"), nil
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// Create makes an app registration with its service principal, certificate,
// permissions and consent, tests it and tracks it. It looks for each of its effects
// before it acts, so that it can be interrupted anywhere and asked for again: then it
// goes on, and makes nothing twice. The administrator's token is used for this run
// only.
//
// Errors: [ErrUsage], [ErrExists], [ErrRefused] if the name is taken in Entra, a
// [*Failure] with what is missing.
func (r *Rotator) Create(ctx context.Context, req CreateRequest, by string) (Created, error) {
	c, err := r.newCreator(ctx, req, by)
	if err != nil {
		return Created{}, err
	}
	release, err := r.claim(ctx, c.app.Name)
	if err != nil {
		return Created{}, err
	}
	defer release()
	state, err := r.state(ctx)
	if err != nil {
		return Created{}, err
	}
	if state.ReadOnly {
		return Created{}, refusedf("app %s: nothing is created: %s", c.app.Name, state.Stopped)
	}
	if err := r.checkHosts(ctx, c.app.Tenant); err != nil {
		return Created{}, err
	}
	tracked, err := r.Store.App(ctx, c.app.Name)
	if err == nil {
		return c.again(ctx, tracked)
	}
	if !errors.Is(err, ErrNotFound) {
		return Created{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, createWithin)
	defer cancel()
	for _, step := range []func(context.Context) error{
		c.lookUp, c.plan, c.register, c.principal, c.certificate, c.owner, c.consent,
	} {
		if err := step(ctx); err != nil || c.out.ConsentURL != "" {
			return c.out, err
		}
	}
	if err := c.test(ctx); err != nil {
		return c.out, err
	}
	return c.out, c.track(ctx)
}

// again answers for an app that was created before: the same files, as long as its
// first certificate is the one in service.
func (c *creator) again(ctx context.Context, tracked App) (Created, error) {
	made := tracked.Created
	if made == nil || tracked.Tenant != c.app.Tenant {
		return Created{}, fmt.Errorf("app %s %w; \"rotate app show %s\" shows it", tracked.Name, ErrExists, tracked.Name)
	}
	if tracked.Current == nil || tracked.Current.ThumbprintSHA256 != made.Thumbprint {
		return Created{}, fmt.Errorf("app %s %w and has been rotated since it was created; \"rotate app show %s\" shows it", tracked.Name, ErrExists, tracked.Name)
	}
	c.app, c.rec = tracked, *made
	c.as.ObjectID, c.as.ClientID = tracked.ObjectID, tracked.ClientID
	c.did("created before, on %s by %s", made.At.Format(time.DateOnly), made.By)
	var err error
	if c.pair, err = c.r.Store.KeyPair(ctx, made.Thumbprint); err != nil {
		return Created{}, err
	}
	c.out.Owners, err = c.r.settings().Registrar.Owners(ctx, c.as)
	if reasonOf(err) == ReasonAppNotFound {
		return Created{}, refusedf("app %s: it was created before, and its registration is not in the tenant any more; \"rotate app delete %s\" clears what is left here, then create it again", tracked.Name, tracked.Name)
	}
	if err != nil {
		return Created{}, err
	}
	c.finish()
	return c.out, c.r.change(ctx, c.app.Name, func(rec *Records) error {
		rec.Audit = append(rec.Audit, c.audit("files of a created app given again"))
		return nil
	})
}

func (c *creator) audit(what string) AuditEntry {
	return AuditEntry{At: c.r.now().UTC(), By: c.by, What: what, App: c.app.Name, Thumbprint: c.rec.Thumbprint, Note: "client ID " + string(c.rec.ClientID)}
}

// journal writes the creation's record.
func (c *creator) journal(ctx context.Context, what string, change func(*Creation), more func(*Records)) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	next := c.rec
	change(&next)
	err := c.r.write(ctx, "", func(rec *Records) error {
		all := maps.Clone(rec.State.Creations)
		if all == nil {
			all = map[string]Creation{}
		}
		all[c.app.Name] = next
		rec.State.Creations = all
		if what != "" {
			rec.Audit = append(rec.Audit, c.audit(what))
		}
		if more != nil {
			more(rec)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("app %s: record its creation: %w", c.app.Name, err)
	}
	c.rec = next
	return nil
}
