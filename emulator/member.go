package emulator

import (
	"net/http"
	"slices"
	"strings"
)

// maxIDs is how many objects getByIds takes.
//
// https://learn.microsoft.com/graph/api/directoryobject-getbyids
const maxIDs = 1000

// member renders an object of the directory of any kind, with its type; nil if there
// is none.
func (t *Tenant) member(id string, v view) map[string]any {
	for _, kind := range []string{kindApplication, kindServicePrincipal} {
		if o := t.dir.object(kind, id, v); o != nil {
			return t.directoryObject(o)
		}
	}
	for _, u := range t.everyUser() {
		if strings.EqualFold(u.id, id) {
			m := u.json()
			m["@odata.type"] = "#" + namespace + "user"
			return m
		}
	}
	return nil
}

// directoryObject returns an object as a member of a mixed list, with its type.
func (t *Tenant) directoryObject(o *object) map[string]any {
	m := t.render(o, query{})
	m["@odata.type"] = "#" + namespace + o.typ()
	return m
}

// getDirectoryObject reads an object of any kind.
//
// https://learn.microsoft.com/graph/api/directoryobject-get
func (t *Tenant) getDirectoryObject(c *call) (*response, *graphError) {
	m := t.member(c.params[0].id, c.view)
	if m == nil {
		return nil, notFound(c.params[0].id)
	}
	return c.entity(http.StatusOK, "directoryObjects", c.query.project(m)), nil
}

// getByIDs reads several objects; those that do not exist are left out.
//
// https://learn.microsoft.com/graph/api/directoryobject-getbyids
func (t *Tenant) getByIDs(c *call) (*response, *graphError) {
	ids, _ := c.object["ids"].([]any)
	types, _ := c.object["types"].([]any)
	if len(ids) > maxIDs {
		return nil, badRequest("The number of ids must not be more than 1000.")
	}
	values := []any{}
	for _, id := range ids {
		text, _ := id.(string)
		if !isGUID(text) {
			return nil, badRequest("Invalid GUID:" + text)
		}
		m := t.member(text, c.view)
		if m == nil {
			continue
		}
		typ, _ := m["@odata.type"].(string)
		asked := func(name any) bool {
			want, _ := name.(string)
			return strings.EqualFold("#"+namespace+want, typ) || strings.EqualFold(want, "directoryObject")
		}
		if len(types) == 0 || slices.ContainsFunc(types, asked) {
			values = append(values, m)
		}
	}
	return c.collection("directoryObjects", values, "", -1), nil
}

// me returns the user whom the access token speaks for.
//
// https://learn.microsoft.com/graph/api/user-get
func (t *Tenant) me(c *call) (user, *graphError) {
	for _, u := range t.everyUser() {
		if strings.EqualFold(u.id, c.caller.objectID) {
			return u, nil
		}
	}
	return user{}, badQuery("/me request is only valid with delegated authentication flow.")
}

func (t *Tenant) getMe(c *call) (*response, *graphError) {
	u, err := t.me(c)
	if err != nil {
		return nil, err
	}
	return c.entity(http.StatusOK, "users", c.query.project(u.json())), nil
}

func (t *Tenant) listMyObjects(c *call) (*response, *graphError) {
	u, err := t.me(c)
	if err != nil {
		return nil, err
	}
	return c.page("directoryObjects", t.ownedBy(u.id, c.view)), nil
}

// listDomains answers with the tenant's only domain.
//
// https://learn.microsoft.com/graph/api/domain-list
func (t *Tenant) listDomains(c *call) (*response, *graphError) {
	domain := nulls("availabilityStatus", "manufacturer", "model", "passwordNotificationWindowInDays", "passwordValidityPeriodInDays", "state")
	for _, name := range []string{"isAdminManaged", "isDefault", "isInitial", "isRoot", "isVerified"} {
		domain[name] = true
	}
	domain["id"], domain["authenticationType"] = t.Domain, "Managed"
	domain["supportedServices"] = []any{"Email", "OfficeCommunicationsOnline"}
	return c.page("domains", []map[string]any{domain}), nil
}
