package emulator

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// maxFederated is how many federated identity credentials an application can have.
//
// https://learn.microsoft.com/graph/api/resources/federatedidentitycredentials-overview
const maxFederated = 20

// A federation is one federated identity credential: whoever can get a token of the
// issuer for the subject can sign in as the application.
type federation struct {
	id, name, issuer, subject string
	description               any // a string or null
	audiences                 []any
}

func (f federation) json() map[string]any {
	return map[string]any{
		"id": f.id, "name": f.name, "issuer": f.issuer, "subject": f.subject, "description": f.description, "audiences": f.audiences,
	}
}

func federatedOf(c *call) string { return "applications('" + c.params[0].id + "')/" + federatedSet }

// at returns the position of the credential that a path names by id or by name, -1 if
// there is none.
//
// https://learn.microsoft.com/graph/api/federatedidentitycredential-get
func (c *call) federatedAt(o *object) int {
	want := c.params[1]
	return slices.IndexFunc(o.federated, func(f federation) bool {
		return want.by == "" && strings.EqualFold(f.id, want.id) || f.name == want.id
	})
}

// listFederated lists the federated identity credentials of an application.
//
// https://learn.microsoft.com/graph/api/application-list-federatedidentitycredentials
func (t *Tenant) listFederated(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	return c.page(federatedOf(c), t.related(o.kind, federatedSet).list(o)), nil
}

func (t *Tenant) getFederated(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	i := c.federatedAt(o)
	if i < 0 {
		return nil, notFound(c.params[1].id)
	}
	return c.entity(http.StatusOK, federatedOf(c), c.query.project(o.federated[i].json())), nil
}

// createFederated adds a credential.
//
// https://learn.microsoft.com/graph/api/application-post-federatedidentitycredentials
func (t *Tenant) createFederated(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	return t.addFederated(c, o)
}

func (t *Tenant) addFederated(c *call, o *object) (*response, *graphError) {
	f := federation{id: newID(), name: text(c.object, "name")}
	// The texts and codes of what is missing are not documented, but for two that
	// were seen.
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`).MatchString(f.name) {
		return nil, badRequest("The name of a federated identity credential must have 3 to 120 characters, which can stand in a URL.")
	}
	if len(o.federated) >= maxFederated {
		return nil, badRequest("The number of federated identity credentials exceeds the maximum of 20.")
	}
	if err := f.set(c.object, o.federated); err != nil {
		return nil, err
	}
	next := o.with()
	next.federated = append(next.federated, f)
	t.change(next)
	return c.entity(http.StatusCreated, federatedOf(c), f.json()), nil
}

// set puts the properties of a checked body into a credential that is not yet among
// the others.
//
// https://learn.microsoft.com/graph/api/resources/federatedidentitycredential
func (f *federation) set(body map[string]any, others []federation) *graphError {
	for name, value := range body {
		text, _ := value.(string)
		switch name {
		case "id":
			if text != f.id {
				return badRequest("Property 'id' is read-only and cannot be set.")
			}
		case "name":
			if text != f.name {
				return badRequest("Property 'name' is read-only and cannot be set.")
			}
		case "issuer":
			f.issuer = text
		case "subject":
			f.subject = text
		case "description":
			f.description = value
		case "audiences":
			f.audiences, _ = value.([]any)
		}
	}
	missing := ""
	switch {
	case f.issuer == "":
		missing = "issuer"
	case f.subject == "":
		missing = "subject"
	case len(f.audiences) == 0:
		missing = "audiences"
	}
	if missing != "" {
		return badFederated("A value is required for property '" + missing + "' of resource 'FederatedIdentityCredential'.")
	}
	if len(f.audiences) > 1 {
		return badFederated("The property 'audiences' of a federated identity credential can have one value.")
	}
	for _, other := range others {
		if other.id == f.id {
			continue
		}
		if other.name == f.name {
			return &graphError{status: http.StatusConflict, code: "Request_MultipleObjectsWithSameKeyValue", message: "FederatedIdentityCredential with name " + f.name + " already exists."}
		}
		// https://github.com/Azure/azure-workload-identity/issues/434
		if other.issuer == f.issuer && other.subject == f.subject {
			return badFederated("The combination of issuer and subject must be unique for the application. Issuer " + f.issuer + " and Subject: " + f.subject +
				" already exist. paramName: FederatedIdentityCredential.Subject, paramValue: " + f.subject + ", objectType: Microsoft.Online.DirectoryServices.Application")
		}
	}
	return nil
}

func badFederated(message string) *graphError {
	return &graphError{status: http.StatusBadRequest, code: "InvalidFederatedIdentityCredentialValue", message: message}
}

// patchFederated changes a credential, or makes the one that is named.
//
// https://learn.microsoft.com/graph/api/federatedidentitycredential-upsert
func (t *Tenant) patchFederated(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	i := c.federatedAt(o)
	if i < 0 {
		if c.params[1].by != "name" || !c.mayCreate() {
			return nil, notFound(c.params[1].id)
		}
		if name := text(c.object, "name"); name != "" && name != c.params[1].id {
			return nil, badRequest("Property 'name' is read-only and cannot be set.")
		}
		c.object["name"] = c.params[1].id
		return t.addFederated(c, o)
	}
	next := o.with()
	if err := next.federated[i].set(c.object, o.federated); err != nil {
		return nil, err
	}
	t.change(next)
	return noContent(), nil
}

func (t *Tenant) deleteFederated(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	i := c.federatedAt(o)
	if i < 0 {
		return nil, notFound(c.params[1].id)
	}
	next := o.with()
	next.federated = slices.Delete(next.federated, i, i+1)
	t.change(next)
	return noContent(), nil
}
