package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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
	// FindUnique returns the registration with a unique name; [ErrNotFound].
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
	// Thumbprint of its first certificate, KeyID that we chose for it.
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
	if err := r.checkHosts(&state, c.app.Tenant); err != nil {
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
	return AuditEntry{At: time.Now().UTC(), By: c.by, What: what, App: c.app.Name, Thumbprint: c.rec.Thumbprint, Note: "client ID " + string(c.rec.ClientID)}
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

// lookUp finds the permissions, and whether the name is free.
func (c *creator) lookUp(ctx context.Context) error {
	graph, ids, err := c.r.settings().Registrar.Roles(ctx, c.as)
	if err != nil {
		return err
	}
	c.graph = graph
	for _, p := range c.app.Permissions {
		id, ok := ids[p]
		if !ok {
			return usagef("app %s: Microsoft Graph has no application permission %q in the cloud of tenant %s; nothing was made", c.app.Name, p, c.app.Tenant)
		}
		c.roles = append(c.roles, id)
	}
	state, err := c.r.state(ctx)
	if err != nil {
		return err
	}
	unique := c.r.UniqueName(c.app.Name)
	if known, ok := state.Creations[c.app.Name]; ok {
		if known.Tenant != c.app.Tenant {
			return refusedf("app %s: its creation in tenant %s was begun; undo it with \"rotate app delete %s\" first", c.app.Name, known.Tenant, c.app.Name)
		}
		c.rec = known
		c.did("goes on where it was interrupted")
		return nil
	}
	found, err := c.r.settings().Registrar.FindUnique(ctx, c.as, unique)
	if err == nil {
		c.rec.ObjectID, c.rec.ClientID = found.ObjectID, found.ClientID
		c.did("found the registration that this store made before, client ID %s", found.ClientID)
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	same, err := c.r.settings().Registrar.FindByName(ctx, c.as, c.req.DisplayName)
	if err != nil {
		return err
	}
	return c.nameTaken(same)
}

// nameTaken never guesses: it names what is there and how to adopt it.
func (c *creator) nameTaken(same []Found) error {
	if len(same) == 0 {
		return nil
	}
	adopt := func(f Found) string {
		return fmt.Sprintf("rotate app add %s --tenant %s --client-id %s --pfx FILE --password-file FILE", c.app.Name, c.app.Tenant, f.ClientID)
	}
	if len(same) == 1 {
		return &Failure{
			Class: ClassFix, Reason: ReasonExists,
			Message: fmt.Sprintf("app %s: the tenant has an app named %q already, client ID %s; nothing was made", c.app.Name, c.req.DisplayName, same[0].ClientID),
			Next:    "to adopt it: " + adopt(same[0]) + "; to make another one: --display-name NAME",
		}
	}
	var ids []string
	for _, f := range same {
		ids = append(ids, string(f.ClientID))
	}
	return &Failure{
		Class: ClassFix, Reason: ReasonExists,
		Message: fmt.Sprintf("app %s: the tenant has %d apps named %q, client IDs %s; nothing was made", c.app.Name, len(same), c.req.DisplayName, strings.Join(ids, " and ")),
		Next:    "find out which is meant, then adopt it by its client ID: " + adopt(same[0]) + "; to make another one: --display-name NAME",
	}
}

// plan makes the key pair and the journal entry, before the first request that
// changes something.
func (c *creator) plan(ctx context.Context) error {
	if c.rec.Thumbprint != "" {
		var err error
		c.pair, err = c.r.Store.KeyPair(ctx, c.rec.Thumbprint)
		return err
	}
	app := c.app
	app.Mode = ModeSelf // the tenant's policies cannot be read for an app that is not there
	pair, credential, err := c.r.newPair(ctx, &app, c.policy, time.Now().UTC())
	if err != nil {
		return err
	}
	return c.journal(ctx, "app creation begun", func(n *Creation) {
		if n.At.IsZero() {
			n.Tenant, n.UniqueName, n.DisplayName = c.app.Tenant, c.r.UniqueName(c.app.Name), c.req.DisplayName
			n.At, n.By = time.Now().UTC(), c.by
		}
		n.Thumbprint, n.KeyID, n.UploadedAt = credential.ThumbprintSHA256, newGUID(), time.Time{}
		c.pair = pair
	}, func(rec *Records) { rec.Seal = append(rec.Seal, pair) })
}

// register makes the registration by its unique name: sent twice it is one.
func (c *creator) register(ctx context.Context) error {
	if c.rec.ObjectID == "" {
		wanted := NewRegistration{UniqueName: c.rec.UniqueName, DisplayName: c.rec.DisplayName, RoleIDs: c.roles}
		err := c.answered(ctx, "the registration", func() error { return c.r.settings().Registrar.Upsert(ctx, c.as, wanted) })
		if reasonOf(err) == ReasonUnsupported {
			err = c.registerPlainly(ctx, wanted)
		}
		if err != nil {
			return err
		}
		var found Found
		err = c.until(ctx, "the new registration", func() error {
			found, err = c.r.settings().Registrar.FindUnique(ctx, c.as, c.rec.UniqueName)
			return err
		})
		if err != nil {
			return err
		}
		if err := c.journal(ctx, "app registered", func(n *Creation) { n.ObjectID, n.ClientID = found.ObjectID, found.ClientID }, nil); err != nil {
			return err
		}
		c.did("registered %q, client ID %s, for this tenant only", c.rec.DisplayName, c.rec.ClientID)
	}
	c.as.ObjectID, c.as.ClientID = c.rec.ObjectID, c.rec.ClientID
	c.app.ObjectID, c.app.ClientID = c.rec.ObjectID, c.rec.ClientID
	return nil
}

// registerPlainly makes the registration where a cloud knows no upsert. A request
// whose answer was lost is looked for until it would be seen.
func (c *creator) registerPlainly(ctx context.Context, wanted NewRegistration) error {
	if !c.rec.RegisteredAt.IsZero() {
		for range absentReads {
			_, err := c.r.settings().Registrar.FindUnique(ctx, c.as, c.rec.UniqueName)
			if !errors.Is(err, ErrNotFound) {
				return err
			}
			if err := pause(ctx, absentEvery); err != nil {
				return c.notYet("the registration that was sent before")
			}
		}
	}
	if err := c.journal(ctx, "", func(n *Creation) { n.RegisteredAt = time.Now().UTC() }, nil); err != nil {
		return err
	}
	return c.r.settings().Registrar.Register(ctx, c.as, wanted)
}

// principal makes the service principal.
func (c *creator) principal(ctx context.Context) error {
	made := false
	err := c.until(ctx, "the service principal", func() error {
		var err error
		if c.own, err = c.r.settings().Registrar.Principal(ctx, c.as); !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := c.r.settings().Registrar.CreatePrincipal(ctx, c.as); err != nil && reasonOf(err) != ReasonExists {
			return err
		}
		made = true
		return fmt.Errorf("service principal: %w", ErrNotFound) // look again
	})
	if err == nil && made {
		c.did("made its service principal")
	}
	return err
}

// certificate puts the certificate on the app. It is the app's first, so that the
// list is replaced by one entry; what somebody else put there is kept.
func (c *creator) certificate(ctx context.Context) error {
	sent := !c.rec.UploadedAt.IsZero()
	looks := 1
	if sent {
		looks = absentReads
	}
	for range looks {
		id, err := c.listed(ctx)
		if err != nil {
			return err
		}
		if id != "" {
			c.rec.KeyID = id
			return nil
		}
		if looks > 1 {
			if err := pause(ctx, absentEvery); err != nil {
				return c.notYet("the certificate that was sent before")
			}
		}
	}
	credential, err := CredentialOf(c.pair.Certificate)
	if err != nil {
		return err
	}
	if err := c.journal(ctx, "", func(n *Creation) { n.UploadedAt = time.Now().UTC() }, nil); err != nil {
		return err
	}
	add := NewKey{
		KeyID: c.rec.KeyID, DisplayName: entryName(c.app.Name, c.r.Store.ID(), "created"),
		Certificate: c.pair.Certificate, NotBefore: credential.NotBefore, NotAfter: credential.NotAfter,
	}
	err = c.until(ctx, "the registration, to add the certificate", func() error {
		_, err := c.r.settings().Entra.PatchKeys(ctx, c.as, nil, add)
		if f := failureOf(err); err != nil && f.Ambiguous {
			if id, lookErr := c.listed(ctx); lookErr == nil && id != "" {
				return nil
			}
		}
		return err
	})
	if f := failureOf(err); err != nil && f.Reason == ReasonPolicy {
		return c.policyRefused(ctx, f)
	}
	if err != nil {
		return err
	}
	err = c.until(ctx, "the certificate", func() error {
		id, err := c.listed(ctx)
		if err == nil && id == "" {
			err = fmt.Errorf("certificate: %w", ErrNotFound)
		}
		if id != "" {
			c.rec.KeyID = id
		}
		return err
	})
	if err == nil {
		c.did("uploaded its certificate %s, until %s", credential.ThumbprintSHA1, credential.NotAfter.Format(time.DateOnly))
	}
	return err
}

// policyRefused makes a shorter certificate where the tenant's policy says how long
// it may be, else forgets the refused one.
func (c *creator) policyRefused(ctx context.Context, f *Failure) error {
	refused := c.rec.Thumbprint
	err := c.journal(ctx, "certificate refused by policy", func(n *Creation) { n.Thumbprint = "" },
		func(rec *Records) { rec.Forget = append(rec.Forget, refused) })
	if err != nil || f.LongestLifetime <= 0 || c.app.LifetimeLimit > 0 {
		return errors.Join(err, f)
	}
	c.app.LifetimeLimit = f.LongestLifetime
	c.did("the tenant's policy allows certificates for %s only", days(f.LongestLifetime))
	if err := c.plan(ctx); err != nil {
		return err
	}
	return c.certificate(ctx)
}

// listed returns the KeyID of our certificate; empty: it is not on the app.
func (c *creator) listed(ctx context.Context) (KeyID, error) {
	var listing Listing
	err := c.until(ctx, "the registration", func() (err error) {
		listing, err = c.r.settings().Entra.Keys(ctx, c.as, true)
		return err
	})
	for _, e := range listing.Entries {
		if e.Thumbprint == c.rec.Thumbprint {
			return e.KeyID, err
		}
	}
	return "", err
}

// owner makes the tenant's identity an owner, in managed mode, and notes all owners.
func (c *creator) owner(ctx context.Context) error {
	identity := ""
	if c.app.Mode == ModeManaged {
		var err error
		if identity, err = c.r.settings().Registrar.Identity(ctx, c.as); err != nil {
			return err
		}
	}
	return c.until(ctx, "its owners", func() error {
		var err error
		if c.out.Owners, err = c.r.settings().Registrar.Owners(ctx, c.as); err != nil || identity == "" {
			return err
		}
		if slices.ContainsFunc(c.out.Owners, func(o Owner) bool { return o.ID == identity }) {
			return nil
		}
		if err := c.r.settings().Registrar.AddOwner(ctx, c.as, identity); err != nil && reasonOf(err) != ReasonExists {
			return err
		}
		c.did("made the identity of tenant %s an owner", c.app.Tenant)
		return fmt.Errorf("owner: %w", ErrNotFound) // look again
	})
}

// consent grants the permissions, or says where somebody else does.
func (c *creator) consent(ctx context.Context) error {
	granted := 0
	return c.until(ctx, "the consent", func() error {
		has, err := c.r.settings().Registrar.Assigned(ctx, c.as, c.own, c.graph)
		if err != nil {
			return err
		}
		missing := ""
		for _, id := range c.roles {
			if !slices.Contains(has, id) {
				missing = id
				break
			}
		}
		switch {
		case missing == "":
			if granted > 0 {
				c.did("granted admin consent to %s", orNone(c.app.Permissions))
			}
			c.out.ConsentURL = ""
			return nil
		case c.req.NoConsent:
			c.out.ConsentURL = c.r.settings().Registrar.ConsentURL(c.as)
			return nil
		}
		for _, id := range c.roles {
			if slices.Contains(has, id) {
				continue
			}
			if err := c.r.settings().Registrar.Assign(ctx, c.as, c.own, c.graph, id); err != nil && reasonOf(err) != ReasonExists {
				return err
			}
			granted++
		}
		return fmt.Errorf("consent: %w", ErrNotFound) // look again
	})
}

// test waits until the new app can sign in with its permissions, and looks at all.
func (c *creator) test(ctx context.Context) error {
	err := c.until(ctx, "the token service", func() error {
		got, err := c.r.settings().Entra.SignIn(ctx, c.app.registration(), c.pair, nil)
		if err != nil {
			return err
		}
		for _, p := range c.app.Permissions {
			if !slices.Contains(got.Roles, p) {
				return fmt.Errorf("permission %s in the token: %w", p, ErrNotFound)
			}
		}
		return nil
	})
	if reason := reasonOf(err); err != nil && reason != ReasonBlocked {
		return err
	}
	for range testTries {
		c.out.Checks = TestConnection(ctx, c.r.settings().Entra, c.r.Encoder, Connection{App: c.app, Pair: c.pair, Policy: c.policy})
		if !slices.ContainsFunc(c.out.Checks, func(t TestCheck) bool { return t.Result == CheckFailed }) || pause(ctx, testEvery) != nil {
			break
		}
	}
	return nil //nolint:nilerr // blocked by Conditional Access: the app is there, and its consumer may sign in from elsewhere
}

// track makes it one of the tracked apps; the journal entry ends with that.
func (c *creator) track(ctx context.Context) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	credential, err := CredentialOf(c.pair.Certificate)
	if err != nil {
		return err
	}
	credential.KeyID = c.rec.KeyID
	now := time.Now().UTC()
	made := c.rec
	c.app.Current, c.app.Created = &credential, &made
	c.app.AddedAt, c.app.AddedBy = now, c.by
	err = c.r.change(ctx, c.app.Name, func(rec *Records) error {
		if rec.App != nil {
			return fmt.Errorf("app %s %w", c.app.Name, ErrExists)
		}
		if err := c.r.bindHosts(rec.State, c.app.Tenant); err != nil {
			return err
		}
		app := c.app
		rec.App = &app
		rec.State.Creations = maps.Clone(rec.State.Creations)
		delete(rec.State.Creations, c.app.Name)
		rec.Audit = append(rec.Audit, c.audit("app created"))
		return nil
	})
	if err != nil {
		return err
	}
	c.r.wake()
	c.finish()
	return nil
}

func (c *creator) finish() {
	c.out.App = c.app
	encoding := policyOf(&c.app, c.r.settings().Defaults).Encoding
	c.out.PFX, c.out.Certificate, c.out.Password = c.pair.Encoded[encoding], c.pair.Certificate, c.pair.Password
}

// until asks again while an answer shows that Entra has not spread a change yet, or
// that it passes by itself.
func (c *creator) until(ctx context.Context, what string, ask func() error) error {
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		err := ask()
		if err == nil {
			return nil
		}
		f := failureOf(err)
		passes := errors.Is(err, ErrNotFound) || f.Reason == ReasonAppNotFound || f.Class == ClassWait || f.Class == ClassRetry && f.Reason == ReasonNetwork
		if !passes || errors.Is(err, errRecord) {
			return err
		}
		if pause(ctx, max(wait, f.RetryAfter)) != nil {
			return c.notYet(what)
		}
	}
}

// answered sends a request that may be sent twice until it is answered.
func (c *creator) answered(ctx context.Context, what string, ask func() error) error {
	return c.until(ctx, what, func() error {
		err := ask()
		if reasonOf(err) == ReasonAppNotFound {
			return &Failure{Class: ClassFix, Reason: ReasonUnsupported, Message: failureOf(err).Message, Err: err}
		}
		return err
	})
}

// notYet is the end of a run whose time is over.
func (c *creator) notYet(what string) error {
	return &Failure{
		Class: ClassWait, Reason: ReasonStaleRead,
		Message: fmt.Sprintf("app %s: Entra does not show %s everywhere yet, after %s", c.app.Name, what, days(createWithin)),
		Next:    "run the same command again: it goes on where it is, and makes nothing twice",
	}
}

// pause waits; it returns the context's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
