package emulator

import (
	"net/http"
	"slices"
	"strings"
)

// A consent lets a client call a resource in the name of one user or of all.
//
// https://learn.microsoft.com/graph/api/resources/oauth2permissiongrant
type consent struct {
	id, clientID, resourceID string // the last two are ids of service principals
	consentType              string // "AllPrincipals" or "Principal"
	principalID, scope       string
}

func (g consent) json() map[string]any {
	return map[string]any{
		"id": g.id, "clientId": g.clientID, "resourceId": g.resourceID,
		"consentType": g.consentType, "principalId": orNull(g.principalID), "scope": g.scope,
	}
}

// listGrants lists the grants of the tenant, or those of one client.
//
// https://learn.microsoft.com/graph/api/oauth2permissiongrant-list
func (t *Tenant) listGrants(c *call) (*response, *graphError) {
	of := ""
	if len(c.params) > 0 {
		o, err := t.target(c)
		if err != nil {
			return nil, err
		}
		of = o.id
	}
	var list []map[string]any
	for _, g := range t.dir.consents {
		if of == "" || g.clientID == of {
			list = append(list, g.json())
		}
	}
	return c.page("oauth2PermissionGrants", list), nil
}

// createGrant grants delegated permissions.
//
// https://learn.microsoft.com/graph/api/oauth2permissiongrant-post
func (t *Tenant) createGrant(c *call) (*response, *graphError) {
	g := consent{
		id: newID(), clientID: strings.ToLower(text(c.object, "clientId")), resourceID: strings.ToLower(text(c.object, "resourceId")),
		consentType: text(c.object, "consentType"), principalID: strings.ToLower(text(c.object, "principalId")), scope: text(c.object, "scope"),
	}
	switch {
	case g.consentType != "AllPrincipals" && g.consentType != "Principal":
		return nil, badRequest("Invalid value specified for property 'consentType' of resource 'OAuth2PermissionGrant'.")
	case (g.consentType == "Principal") != (g.principalID != ""):
		return nil, badRequest("Invalid value specified for property 'principalId' of resource 'OAuth2PermissionGrant'.")
	}
	for _, id := range []string{g.clientID, g.resourceID} {
		if t.dir.object(kindServicePrincipal, id, c.view) == nil {
			return nil, notFound(id)
		}
	}
	same := func(have consent) bool {
		return have.clientID == g.clientID && have.resourceID == g.resourceID && have.principalID == g.principalID
	}
	if slices.ContainsFunc(t.dir.consents, same) {
		// The text is compared by other tools; the status is not documented.
		return nil, &graphError{status: http.StatusConflict, code: "Request_MultipleObjectsWithSameKeyValue", message: "Permission entry already exists."}
	}
	t.dir.consents = append(t.dir.consents, g)
	return c.entity(http.StatusCreated, "oauth2PermissionGrants", g.json()), nil
}

// consentAt returns the position of the grant that a path names.
func (t *Tenant) consentAt(c *call) (int, *graphError) {
	i := slices.IndexFunc(t.dir.consents, func(g consent) bool { return strings.EqualFold(g.id, c.params[0].id) })
	if i < 0 {
		return i, notFound(c.params[0].id)
	}
	return i, nil
}

func (t *Tenant) getGrant(c *call) (*response, *graphError) {
	i, err := t.consentAt(c)
	if err != nil {
		return nil, err
	}
	return c.entity(http.StatusOK, "oauth2PermissionGrants", c.query.project(t.dir.consents[i].json())), nil
}

// patchGrant changes the scopes of a grant; nothing else can be changed.
//
// https://learn.microsoft.com/graph/api/oauth2permissiongrant-update
func (t *Tenant) patchGrant(c *call) (*response, *graphError) {
	i, err := t.consentAt(c)
	if err != nil {
		return nil, err
	}
	have := t.dir.consents[i].json()
	for name, value := range c.object {
		if name != "scope" && !isAnnotation(name) && value != have[name] {
			return nil, badRequest("Property '" + name + "' is read-only and cannot be set.")
		}
	}
	if scope, sent := c.object["scope"].(string); sent {
		t.dir.consents[i].scope = scope
	}
	return noContent(), nil
}

func (t *Tenant) deleteGrant(c *call) (*response, *graphError) {
	i, err := t.consentAt(c)
	if err != nil {
		return nil, err
	}
	t.dir.consents = slices.Delete(t.dir.consents, i, i+1)
	return noContent(), nil
}
