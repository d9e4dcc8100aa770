package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	kiota "github.com/microsoft/kiota-abstractions-go"
	khttp "github.com/microsoft/kiota-http-go"

	"github.com/seed-f0abd057/rotate/rotator"
)

var _ rotator.Registrar = (*Client)(nil)

// What is being done when an app is created, in messages.
const (
	readRoles     = "read the permissions of Microsoft Graph"
	findApp       = "look for the registration"
	registerApp   = "make the registration"
	readPrincipal = "look for the service principal"
	makePrincipal = "make the service principal"
	readConsent   = "read the consent"
	giveConsent   = "grant admin consent"
	readOwners    = "read the owners"
	addOwner      = "add an owner"
	deleteApp     = "delete the registration"
	askIdentity   = "ask who the tenant's identity is"
)

// quoted is a text as a string of OData, escaped for a path and for kiota's
// template, which leaves escapes alone.
func quoted(text string) string {
	return "'" + url.PathEscape(strings.ReplaceAll(text, "'", "''")) + "'"
}

// registration is as much of an application as is needed here.
type registration struct {
	ID          string `json:"id"`
	AppID       string `json:"appId"`
	DisplayName string `json:"displayName"`
	UniqueName  string `json:"uniqueName"`
	Type        string `json:"@odata.type"`
}

func (r registration) found() rotator.Found {
	return rotator.Found{
		ObjectID: rotator.ObjectID(strings.ToLower(r.ID)), ClientID: rotator.ClientID(strings.ToLower(r.AppID)),
		DisplayName: r.DisplayName, UniqueName: r.UniqueName, Blueprint: r.Type == blueprintType,
	}
}

// Roles returns the application permissions of Microsoft Graph.
func (c *Client) Roles(ctx context.Context, as rotator.Access) (string, map[string]string, error) {
	var graph servicePrincipal
	if _, err := c.read(ctx, call{Access: as, what: readRoles}, &graph, "/servicePrincipals(appId='"+graphAppID+"')?$select=id,appRoles"); err != nil {
		return "", nil, err
	}
	ids := make(map[string]string, len(graph.AppRoles))
	for _, r := range graph.AppRoles {
		ids[r.Value] = strings.ToLower(r.ID)
	}
	return strings.ToLower(graph.ID), ids, nil
}

// FindByName returns the registrations with a display name.
func (c *Client) FindByName(ctx context.Context, as rotator.Access, name string) ([]rotator.Found, error) {
	var list struct {
		Value []registration `json:"value"`
	}
	_, err := c.read(ctx, call{Access: as, what: findApp}, &list, "/applications?$filter=displayName%20eq%20"+quoted(name)+"&$select=id,appId,displayName,uniqueName")
	var found []rotator.Found
	for _, r := range list.Value {
		found = append(found, r.found())
	}
	return found, err
}

// FindUnique reads a registration by its alternate key.
// https://learn.microsoft.com/graph/api/application-upsert
func (c *Client) FindUnique(ctx context.Context, as rotator.Access, name string) (rotator.Found, error) {
	var r registration
	_, err := c.read(ctx, call{Access: as, what: findApp}, &r, "/applications(uniqueName="+quoted(name)+")?$select=id,appId,displayName,uniqueName")
	if isGone(err) {
		return rotator.Found{}, fmt.Errorf("app %s: registration %s: %w", as.App, name, rotator.ErrNotFound)
	}
	return r.found(), err
}

func isGone(err error) bool {
	f, ok := err.(*rotator.Failure) //nolint:errorlint // do returns it bare
	return ok && f.Reason == rotator.ReasonAppNotFound
}

// newApplication is the body of a registration: one tenant, no redirect URI.
// https://learn.microsoft.com/graph/api/resources/application
type newApplication struct {
	UniqueName  string           `json:"uniqueName,omitempty"`
	DisplayName string           `json:"displayName"`
	Audience    string           `json:"signInAudience"`
	Required    []requiredAccess `json:"requiredResourceAccess"`
}

func newApplicationOf(r rotator.NewRegistration) newApplication {
	body := newApplication{DisplayName: r.DisplayName, Audience: "AzureADMyOrg", Required: []requiredAccess{}}
	if len(r.RoleIDs) > 0 {
		graph := requiredAccess{ResourceAppID: graphAppID}
		for _, id := range r.RoleIDs {
			graph.Access = append(graph.Access, resourceAccess{ID: id, Type: "Role"})
		}
		body.Required = append(body.Required, graph)
	}
	return body
}

// Upsert makes the registration, or brings it up to date: sent twice it is one.
// https://learn.microsoft.com/graph/api/application-upsert
func (c *Client) Upsert(ctx context.Context, as rotator.Access, r rotator.NewRegistration) error {
	k := call{Access: as, what: registerApp, write: true}
	return c.write(ctx, k, kiota.PATCH, "/applications(uniqueName="+quoted(r.UniqueName)+")", newApplicationOf(r), "create-if-missing")
}

// Register makes the registration where there is no upsert.
// https://learn.microsoft.com/graph/api/application-post-applications
func (c *Client) Register(ctx context.Context, as rotator.Access, r rotator.NewRegistration) error {
	body := newApplicationOf(r)
	body.UniqueName = r.UniqueName
	return c.write(ctx, call{Access: as, what: registerApp, write: true}, kiota.POST, "/applications", body, "")
}

// Principal returns the ID of the app's service principal.
func (c *Client) Principal(ctx context.Context, as rotator.Access) (string, error) {
	var sp servicePrincipal
	_, err := c.read(ctx, call{Access: as, what: readPrincipal}, &sp, "/servicePrincipals(appId="+quoted(string(as.ClientID))+")?$select=id")
	if isGone(err) {
		return "", fmt.Errorf("app %s: service principal: %w", as.App, rotator.ErrNotFound)
	}
	return strings.ToLower(sp.ID), err
}

// CreatePrincipal makes it.
// https://learn.microsoft.com/graph/api/serviceprincipal-post-serviceprincipals
func (c *Client) CreatePrincipal(ctx context.Context, as rotator.Access) error {
	body := struct {
		AppID string `json:"appId"`
	}{string(as.ClientID)}
	return c.write(ctx, call{Access: as, what: makePrincipal, write: true}, kiota.POST, "/servicePrincipals", body, "")
}

// Assigned returns which permissions of resource were consented to.
func (c *Client) Assigned(ctx context.Context, as rotator.Access, principal, resource string) ([]string, error) {
	var list struct {
		Value []roleAssignment `json:"value"`
	}
	_, err := c.read(ctx, call{Access: as, what: readConsent}, &list, "/servicePrincipals/"+url.PathEscape(principal)+"/appRoleAssignments?$top=999")
	var ids []string
	for _, a := range list.Value {
		if strings.EqualFold(a.ResourceID, resource) {
			ids = append(ids, strings.ToLower(a.RoleID))
		}
	}
	return ids, err
}

// Assign consents to one permission.
// https://learn.microsoft.com/graph/api/serviceprincipal-post-approleassignments
func (c *Client) Assign(ctx context.Context, as rotator.Access, principal, resource, role string) error {
	body := roleAssignment{RoleID: role, PrincipalID: principal, ResourceID: resource}
	return c.write(ctx, call{Access: as, what: giveConsent, write: true}, kiota.POST, "/servicePrincipals/"+url.PathEscape(principal)+"/appRoleAssignments", body, "")
}

// Owners returns the owners of the registration.
func (c *Client) Owners(ctx context.Context, as rotator.Access) ([]rotator.Owner, error) {
	var list struct {
		Value []struct {
			ID          string `json:"id"`
			DisplayName string `json:"displayName"`
			Type        string `json:"@odata.type"`
		} `json:"value"`
	}
	_, err := c.read(ctx, call{Access: as, what: readOwners}, &list, "/applications/{id}/owners")
	var owners []rotator.Owner
	for _, o := range list.Value {
		owners = append(owners, rotator.Owner{ID: strings.ToLower(o.ID), Name: o.DisplayName, Kind: strings.TrimPrefix(o.Type, "#microsoft.graph.")})
	}
	return owners, err
}

// AddOwner makes a directory object an owner.
// https://learn.microsoft.com/graph/api/application-post-owners
func (c *Client) AddOwner(ctx context.Context, as rotator.Access, owner string) error {
	k := call{Access: as, what: addOwner, write: true}
	t, err := c.tenant(k)
	if err != nil {
		return err
	}
	body := struct {
		ID string `json:"@odata.id"`
	}{"https://" + t.Cloud.graphHost() + "/v1.0/directoryObjects/" + owner}
	return c.write(ctx, k, kiota.POST, "/applications/"+url.PathEscape(string(as.ObjectID))+"/owners/$ref", body, "")
}

// Identity returns the service principal of the tenant's identity: what its own
// token says.
func (c *Client) Identity(ctx context.Context, as rotator.Access) (string, error) {
	as.Admin, as.As = "", rotator.KeyPair{}
	k := call{Access: as, what: askIdentity}
	t, err := c.tenant(k)
	if err != nil {
		return "", err
	}
	by, err := c.credential(ctx, t, k)
	if err != nil {
		return "", err
	}
	limited, cancel := c.deadline(ctx)
	defer cancel()
	token, _, err := by.cold(limited)
	if err != nil {
		return "", coldFailure(k, err)
	}
	var payload struct {
		ObjectID string `json:"oid"`
	}
	if !decodePayload(token, &payload) || payload.ObjectID == "" {
		return "", k.fix(nil, "make it an owner of the app by hand", "the token of the tenant's identity does not say who it is")
	}
	return strings.ToLower(payload.ObjectID), nil
}

// Unregister deletes the registration; its service principal goes with it.
// https://learn.microsoft.com/graph/api/application-delete
func (c *Client) Unregister(ctx context.Context, as rotator.Access) error {
	return c.write(ctx, call{Access: as, what: deleteApp, write: true}, kiota.DELETE, "/applications/"+url.PathEscape(string(as.ObjectID)), nil, "")
}

// ConsentURL is where an administrator consents to what the app declares.
// https://learn.microsoft.com/entra/identity/enterprise-apps/grant-admin-consent#construct-the-url-for-granting-tenant-wide-admin-consent
func (c *Client) ConsentURL(as rotator.Access) string {
	t := c.tenants[as.Tenant]
	if t == nil {
		return ""
	}
	return strings.TrimSuffix(t.Cloud.Login, "/") + "/" + t.ID + "/adminconsent?client_id=" + string(as.ClientID)
}

// write sends a body of our own to a path below /v1.0. A body that the answer may
// have is not read: what was made is looked for.
func (c *Client) write(ctx context.Context, k call, method kiota.HttpMethod, path string, body any, prefer string) error {
	_, err := c.do(ctx, k, func(ctx context.Context, a *khttp.NetHttpRequestAdapter) error {
		r := kiota.NewRequestInformationWithMethodAndUrlTemplateAndPathParameters(method, "{+baseurl}"+path, map[string]string{})
		r.Headers.TryAdd("Accept", "application/json")
		if prefer != "" {
			r.Headers.TryAdd("Prefer", prefer)
		}
		if body != nil {
			content, err := json.Marshal(body)
			if err != nil {
				return err
			}
			r.SetStreamContentAndContentType(content, "application/json")
		}
		return a.SendNoContent(ctx, r, errorAnswers())
	})
	return err
}
