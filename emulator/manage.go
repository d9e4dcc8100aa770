package emulator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ErrNotFound is returned for an app that the tenant does not hold.
var ErrNotFound = errors.New("emulator: no such app")

// An Application is an app registration with its service principal.
type Application struct {
	// Name is the display name.
	Name string
	// ClientID is Entra's appId, ObjectID Graph's id of the application,
	// ServicePrincipalID Graph's id of its service principal. When adding, those
	// that are empty are made.
	ClientID, ObjectID, ServicePrincipalID string
	// Created is when it was made. When adding, zero: now.
	Created time.Time
	// Disabled apps get no tokens (AADSTS7000112).
	Disabled bool
	// KeyCredentials and Secrets are its credentials.
	KeyCredentials []KeyCredential
	Secrets        []Secret
	// Permissions are the application permissions of Microsoft Graph that it was
	// granted, by name: "Directory.Read.All".
	Permissions []string
	// Declared are those that the registration asks for (requiredResourceAccess).
	// When adding, nil: Permissions.
	Declared []string
	// Owners are the client IDs of the apps whose service principals own it, and
	// its service principal.
	Owners []string
	// Blueprint makes it an agent identity blueprint: it is listed among the
	// applications and is none.
	Blueprint bool
	// UniqueName is the alternate key, which applications and blueprints share.
	UniqueName string
}

// The methods in this file change the tenant as an administrator in the portal
// would. They are not throttled, need no permission, and take the client ID of the
// app. What they change travels to the token service and to lagging replicas like
// any other change, except for a new app, which is known everywhere at once.

// AddApplication adds an app and returns it with everything that was made.
//
// Certificates are taken as they are, expired ones too. It returns an error if a
// certificate cannot be read, an owner or a permission does not exist, or an id is
// taken.
func (t *Tenant) AddApplication(a Application) (Application, error) {
	t.lock()
	defer t.mu.Unlock()
	now := t.now()
	for _, id := range []*string{&a.ClientID, &a.ObjectID, &a.ServicePrincipalID} {
		if *id == "" {
			*id = newID()
		}
		*id = strings.ToLower(*id)
		if !isGUID(*id) {
			return Application{}, fmt.Errorf("emulator: add %q: %q is not a GUID", a.Name, *id)
		}
	}
	if t.dir.objects[a.ObjectID] != nil || t.dir.objects[a.ServicePrincipalID] != nil || t.dir.client(kindApplication, a.ClientID, view{present: true}) != nil {
		return Application{}, fmt.Errorf("emulator: add %q: an id is taken", a.Name)
	}
	if a.Created.IsZero() {
		a.Created = now
	}
	app := &object{
		kind: kindApplication, id: a.ObjectID, clientID: a.ClientID, createdAt: a.Created,
		props: map[string]any{"displayName": a.Name},
	}
	app.blueprint = a.Blueprint
	if a.UniqueName != "" {
		app.props["uniqueName"] = a.UniqueName
	}
	if a.Disabled {
		app.props["isDisabled"] = true
	}
	for _, k := range a.KeyCredentials {
		e, err := newKeyCredential(k)
		if err != nil {
			return Application{}, fmt.Errorf("emulator: add %q: %w", a.Name, err)
		}
		app.keys = append(app.keys, e)
	}
	for _, s := range a.Secrets {
		app.secrets = append(app.secrets, newSecret(s, now))
	}
	for _, clientID := range a.Owners {
		owner := t.dir.client(kindServicePrincipal, clientID, view{present: true})
		if owner == nil {
			return Application{}, fmt.Errorf("emulator: add %q: owner %s: %w", a.Name, clientID, ErrNotFound)
		}
		app.owners = append(app.owners, owner.id)
	}
	sp := &object{
		kind: kindServicePrincipal, id: a.ServicePrincipalID, clientID: a.ClientID, createdAt: a.Created,
		props: map[string]any{"displayName": a.Name}, owners: slices.Clone(app.owners),
	}
	for _, name := range a.Permissions {
		if t.dir.permissions[name] == "" {
			return Application{}, fmt.Errorf("emulator: add %q: unknown permission %q", a.Name, name)
		}
	}
	if a.Declared == nil {
		a.Declared = a.Permissions
	}
	if err := t.declare(app, a.Declared); err != nil {
		return Application{}, fmt.Errorf("emulator: add %q: %w", a.Name, err)
	}
	t.dir.put(app, time.Time{}, time.Time{})
	t.dir.put(sp, time.Time{}, time.Time{})
	for _, name := range a.Permissions {
		t.grant(sp, name)
	}
	return t.application(app), nil
}

// Application returns an app as it is now, everywhere or not. It returns
// [ErrNotFound] if there is none.
func (t *Tenant) Application(clientID string) (Application, error) {
	t.lock()
	defer t.mu.Unlock()
	app, err := t.app(clientID)
	if err != nil {
		return Application{}, err
	}
	return t.application(app), nil
}

// Applications returns all apps as they are now, oldest first.
func (t *Tenant) Applications() []Application {
	t.lock()
	defer t.mu.Unlock()
	var list []Application
	for _, o := range t.dir.list(kindApplication, view{present: true}) {
		list = append(list, t.application(o))
	}
	return list
}

// KeyCredentials returns the certificates of an app as they are now, in order. It
// returns nil if there is no such app.
func (t *Tenant) KeyCredentials(clientID string) []KeyCredential {
	a, err := t.Application(clientID)
	if err != nil {
		return nil
	}
	return a.KeyCredentials
}

// AddKeyCredential adds a certificate, or puts one back under its KeyID, and
// returns the KeyID. Nothing is checked but that the certificate can be read and
// that the KeyID is free.
func (t *Tenant) AddKeyCredential(clientID string, k KeyCredential) (string, error) {
	e, err := newKeyCredential(k)
	if err != nil {
		return "", fmt.Errorf("emulator: add key credential to %s: %w", clientID, err)
	}
	return e.KeyID, t.edit(clientID, func(o *object) error {
		if slices.ContainsFunc(o.keys, func(have keyCredential) bool { return have.KeyID == e.KeyID }) {
			return fmt.Errorf("key credential %s exists", e.KeyID)
		}
		o.keys = append(o.keys, e)
		return nil
	})
}

// RemoveKeyCredential removes a certificate.
func (t *Tenant) RemoveKeyCredential(clientID, keyID string) error {
	return t.edit(clientID, func(o *object) error {
		before := len(o.keys)
		o.keys = slices.DeleteFunc(o.keys, func(k keyCredential) bool { return strings.EqualFold(k.KeyID, keyID) })
		if len(o.keys) == before {
			return fmt.Errorf("no key credential %s", keyID)
		}
		return nil
	})
}

// AddSecret adds a client secret and returns it with everything that was made.
func (t *Tenant) AddSecret(clientID string, s Secret) (Secret, error) {
	t.lock()
	s = newSecret(s, t.now())
	t.mu.Unlock()
	return s, t.edit(clientID, func(o *object) error {
		o.secrets = append(o.secrets, s)
		return nil
	})
}

// RemoveSecret removes a client secret.
func (t *Tenant) RemoveSecret(clientID, keyID string) error {
	return t.edit(clientID, func(o *object) error {
		before := len(o.secrets)
		o.secrets = slices.DeleteFunc(o.secrets, func(s Secret) bool { return strings.EqualFold(s.KeyID, keyID) })
		if len(o.secrets) == before {
			return fmt.Errorf("no client secret %s", keyID)
		}
		return nil
	})
}

// SetDisabled disables or enables an app. A disabled one gets no tokens
// (AADSTS7000112).
func (t *Tenant) SetDisabled(clientID string, disabled bool) error {
	return t.edit(clientID, func(o *object) error {
		o.props["isDisabled"] = disabled
		return nil
	})
}

// DeleteApplication deletes an app and its service principal.
func (t *Tenant) DeleteApplication(clientID string) error {
	t.lock()
	defer t.mu.Unlock()
	app, err := t.app(clientID)
	if err != nil {
		return err
	}
	t.remove(app)
	return nil
}

// SetOwners replaces the owners of an app: client IDs of apps.
func (t *Tenant) SetOwners(clientID string, owners ...string) error {
	t.lock()
	ids := make([]string, 0, len(owners))
	for _, owner := range owners {
		if sp := t.dir.client(kindServicePrincipal, owner, view{present: true}); sp != nil {
			ids = append(ids, sp.id)
		}
	}
	t.mu.Unlock()
	if len(ids) != len(owners) {
		return fmt.Errorf("emulator: set owners of %s: %w", clientID, ErrNotFound)
	}
	return t.edit(clientID, func(o *object) error {
		o.owners = ids
		return nil
	})
}

// Grant grants an application permission of Microsoft Graph, by name. Tokens issued
// from now on carry it. Granting twice changes nothing.
func (t *Tenant) Grant(clientID, permission string) error {
	return t.withRole(clientID, permission, func(sp *object) { t.grant(sp, permission) })
}

// Withdraw takes a permission back. Tokens issued before keep it.
func (t *Tenant) Withdraw(clientID, permission string) error {
	return t.withRole(clientID, permission, func(sp *object) {
		role := t.dir.permissions[permission]
		t.dir.withdraw(func(a assignment) bool { return a.principalID == sp.id && a.roleID == role })
	})
}

// BlockSignIn blocks or unblocks an app by Conditional Access (AADSTS53003).
func (t *Tenant) BlockSignIn(clientID string, blocked bool) error {
	t.lock()
	defer t.mu.Unlock()
	app, err := t.app(clientID)
	if err != nil {
		return err
	}
	t.dir.blocked[app.clientID] = blocked
	return nil
}

// SetDefaultPolicy sets the tenant's default app management policy; nil switches it
// off. It returns the id of the policy, which stays the same.
func (t *Tenant) SetDefaultPolicy(p *Policy) string {
	t.lock()
	defer t.mu.Unlock()
	if p != nil {
		c := *p
		p = &c
	}
	t.dir.defaultPolicy = p
	return t.dir.policyID
}

// SetPolicy assigns a custom app management policy to an app, in place of the
// default; nil removes the assignment. It returns the id of the policy.
func (t *Tenant) SetPolicy(clientID string, p *Policy) (string, error) {
	id := ""
	if p != nil {
		c := *p
		if c.ID == "" {
			c.ID = newID()
		}
		if c.DisplayName == "" {
			c.DisplayName = "certificate lifetime"
		}
		t.lock()
		if _, ok := t.dir.policies[c.ID]; !ok {
			t.dir.policyOrder = append(t.dir.policyOrder, c.ID)
		}
		t.dir.policies[c.ID] = c
		t.mu.Unlock()
		id = c.ID
	}
	return id, t.edit(clientID, func(o *object) error {
		o.policy = id
		return nil
	})
}

// edit changes an app.
func (t *Tenant) edit(clientID string, f func(*object) error) error {
	t.lock()
	defer t.mu.Unlock()
	app, err := t.app(clientID)
	if err != nil {
		return err
	}
	next := app.with()
	if err := f(next); err != nil {
		return fmt.Errorf("emulator: app %s: %w", clientID, err)
	}
	t.change(next)
	return nil
}

// app returns the present state of an app.
func (t *Tenant) app(clientID string) (*object, error) {
	if o := t.dir.client(kindApplication, clientID, view{present: true}); o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, clientID)
}

func (t *Tenant) grant(sp *object, permission string) {
	t.dir.grant(assignment{
		id: newID(), roleID: t.dir.permissions[permission], principalID: sp.id, resourceID: t.dir.graphID, createdAt: t.now(),
	})
}

// declare writes the permissions of Microsoft Graph that the app asks for.
func (t *Tenant) declare(app *object, names []string) error {
	access := make([]any, 0, len(names))
	for _, name := range names {
		id := t.dir.permissions[name]
		if id == "" {
			return fmt.Errorf("unknown permission %q", name)
		}
		access = append(access, map[string]any{"id": id, "type": "Role"})
	}
	if len(access) > 0 {
		app.props["requiredResourceAccess"] = []any{map[string]any{"resourceAppId": graphAppID, "resourceAccess": access}}
	}
	return nil
}

// declared returns the names of the permissions that the app asks for.
func (t *Tenant) declared(app *object) []string {
	var names []string
	apis, _ := app.props["requiredResourceAccess"].([]any)
	for _, a := range apis {
		api, _ := a.(map[string]any)
		list, _ := api["resourceAccess"].([]any)
		for _, r := range list {
			role, _ := r.(map[string]any)
			for name, id := range t.dir.permissions {
				if strings.EqualFold(id, text(role, "id")) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

func (t *Tenant) withRole(clientID, permission string, f func(sp *object)) error {
	t.lock()
	defer t.mu.Unlock()
	sp := t.dir.client(kindServicePrincipal, clientID, view{present: true})
	if sp == nil {
		return fmt.Errorf("%w: %s", ErrNotFound, clientID)
	}
	if t.dir.permissions[permission] == "" {
		known := slices.Sorted(maps.Keys(t.dir.permissions))
		return fmt.Errorf("emulator: unknown permission %q; known are %s", permission, strings.Join(known, ", "))
	}
	f(sp)
	return nil
}

func (t *Tenant) application(o *object) Application {
	a := Application{
		Name: o.name(), ClientID: o.clientID, ObjectID: o.id, Created: o.createdAt,
		Disabled: o.disabled(), Secrets: slices.Clone(o.secrets), Declared: t.declared(o),
		Blueprint: o.blueprint, UniqueName: text(o.props, "uniqueName"),
	}
	for _, k := range o.keys {
		a.KeyCredentials = append(a.KeyCredentials, k.KeyCredential)
	}
	if sp := t.dir.client(kindServicePrincipal, o.clientID, view{present: true}); sp != nil {
		a.ServicePrincipalID = sp.id
		a.Permissions = t.dir.roles(sp.id)
	}
	for _, id := range o.owners {
		if owner := t.dir.object(kindServicePrincipal, id, view{present: true}); owner != nil {
			a.Owners = append(a.Owners, owner.clientID)
		}
	}
	return a
}
