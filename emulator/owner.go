package emulator

import (
	"net/http"
	"slices"
	"strings"
)

// maxBoundOwners is how many owners can be given when an application is made.
//
// https://github.com/hashicorp/terraform-provider-azuread, application_resource.go (the
// first 20 are bound, the others added later)
const maxBoundOwners = 20

// takeBinds takes owners@odata.bind out of a body and returns the ids of the objects.
// Any other bind is left there: the schema refuses it.
//
// https://learn.microsoft.com/graph/api/application-post-applications
func takeBinds(typ string, body map[string]any) ([]string, *graphError) {
	const name = "owners@odata.bind"
	value, ok := body[name]
	if !ok || typ != kindApplication && typ != kindServicePrincipal {
		return nil, nil
	}
	delete(body, name)
	links, isList := value.([]any)
	if !isList || len(links) > maxBoundOwners {
		return nil, badRequest("Invalid value for '" + name + "'.")
	}
	ids := []string{}
	for _, link := range links {
		text, _ := link.(string)
		id := idOfLink(text)
		if id == "" {
			return nil, badRequest("Invalid URL format specified in @odata.bind for owners.")
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// idOfLink returns the id at the end of a link to an object of the directory, empty if
// there is none. A tenant may stand in it, as Terraform sends it.
func idOfLink(link string) string {
	for _, set := range []string{"/directoryObjects/", "/users/", "/servicePrincipals/"} {
		if before, id, ok := strings.Cut(link, set); ok && strings.HasPrefix(before, "https://") && isGUID(id) {
			return strings.ToLower(id)
		}
	}
	return ""
}

// bindOwners makes the caller an owner of what it makes, and those that it named.
func (t *Tenant) bindOwners(c *call, o *object) *graphError {
	o.owners = []string{c.caller.objectID}
	for _, id := range c.binds {
		if t.member(id, c.view) == nil {
			return notFound(id)
		}
		if !slices.Contains(o.owners, id) {
			o.owners = append(o.owners, id)
		}
	}
	return nil
}

// ownersOf renders the owners of an object.
func (t *Tenant) ownersOf(o *object, v view) []map[string]any {
	var owners []map[string]any
	for _, id := range o.owners {
		if m := t.member(id, v); m != nil {
			owners = append(owners, m)
		}
	}
	return owners
}

func (t *Tenant) listOwners(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	return c.page("directoryObjects", t.ownersOf(o, c.view)), nil
}

// ownedBy renders what an object owns.
func (t *Tenant) ownedBy(id string, v view) []map[string]any {
	var owned []map[string]any
	for _, kind := range []string{kindApplication, kindServicePrincipal} {
		for _, candidate := range t.dir.list(kind, v) {
			if slices.Contains(candidate.owners, id) {
				owned = append(owned, t.directoryObject(candidate))
			}
		}
	}
	return owned
}

func (t *Tenant) listOwnedObjects(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	return c.page("directoryObjects", t.ownedBy(o.id, c.view)), nil
}

// addOwner adds a service principal or a user as owner.
//
// https://learn.microsoft.com/graph/api/application-post-owners
func (t *Tenant) addOwner(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	link := text(c.object, "@odata.id")
	if len(c.object) != 1 || link == "" {
		return nil, badRequest("The request body must contain exactly one reference, '@odata.id'.")
	}
	id := strings.ToLower(link[strings.LastIndex(link, "/")+1:])
	if t.member(id, c.view) == nil {
		return nil, notFound(id)
	}
	if slices.Contains(o.owners, id) {
		return nil, badRequest("One or more added object references already exist for the following modified properties: 'owners'.")
	}
	next := o.with()
	next.owners = append(next.owners, id)
	t.change(next)
	return noContent(), nil
}

// getOwnerRef answers whether an object is an owner. Terraform asks so before it
// removes one.
//
// https://github.com/manicminer/hamilton, msgraph/applications.go (GetOwner)
func (t *Tenant) getOwnerRef(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(c.params[1].id)
	if !slices.Contains(o.owners, id) {
		return nil, notFound(id)
	}
	return jsonResponse(http.StatusOK, map[string]any{
		"@odata.context": c.context("$ref"),
		"@odata.id":      "https://" + c.Host + "/" + c.version() + "/" + t.ID + "/directoryObjects/" + id,
	}), nil
}

func (t *Tenant) removeOwner(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(c.params[1].id)
	if !slices.Contains(o.owners, id) {
		return nil, notFound(id)
	}
	next := o.with()
	next.owners = slices.DeleteFunc(next.owners, func(owner string) bool { return owner == id })
	t.change(next)
	return noContent(), nil
}
