package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// maxFederated is how many federated identity credentials an application can have.
//
// https://learn.microsoft.com/graph/api/resources/federatedidentitycredentials-overview
const maxFederated = 20

// Federated is a federated identity credential of an application: whoever gets a
// token from Issuer for Subject signs in as the application, without a key.
//
// https://learn.microsoft.com/graph/api/resources/federatedidentitycredential
type Federated struct {
	// ID is Graph's id; made when adding if it is empty.
	ID string
	// Name is unique on the application.
	Name            string
	Issuer, Subject string
	// Audiences; when adding, nil: api://AzureADTokenExchange.
	Audiences   []string
	Description string
	// Expression takes the place of Subject (a flexible credential). v1.0 breaks
	// its answer off where one is to be shown, beta shows it.
	//
	// https://github.com/microsoftgraph/msgraph-sdk-python/issues/1359
	Expression string
}

// json is the credential as beta sends it, or v1.0 if it has a subject.
func (f Federated) json() map[string]any {
	m := map[string]any{
		"id": f.ID, "name": f.Name, "issuer": f.Issuer, "subject": f.Subject,
		"description": orNull(f.Description), "audiences": list(f.Audiences),
	}
	if f.Expression != "" {
		m["subject"] = nil
		m["claimsMatchingExpression"] = map[string]any{"value": f.Expression, "languageVersion": 1}
	}
	return m
}

// AddFederated gives an app a federated identity credential and returns its id.
func (t *Tenant) AddFederated(clientID string, f Federated) (string, error) {
	if f.ID == "" {
		f.ID = newID()
	}
	if f.Audiences == nil {
		f.Audiences = []string{"api://AzureADTokenExchange"}
	}
	return f.ID, t.changeFederated(clientID, func(have []Federated) ([]Federated, error) {
		switch {
		case len(have) == maxFederated:
			return nil, fmt.Errorf("emulator: the app has %d federated identity credentials, which is the most", maxFederated)
		case slices.ContainsFunc(have, func(o Federated) bool { return o.Name == f.Name }):
			return nil, fmt.Errorf("emulator: the app has a federated identity credential named %q", f.Name)
		}
		return append(have, f), nil
	})
}

// ChangeFederated replaces the one with the same id.
func (t *Tenant) ChangeFederated(clientID string, f Federated) error {
	return t.changeFederated(clientID, func(list []Federated) ([]Federated, error) {
		i := slices.IndexFunc(list, func(o Federated) bool { return o.ID == f.ID })
		if i < 0 {
			return nil, errors.New("emulator: no such federated identity credential")
		}
		list[i] = f
		return list, nil
	})
}

// RemoveFederated takes one away by its id.
func (t *Tenant) RemoveFederated(clientID, id string) error {
	return t.changeFederated(clientID, func(list []Federated) ([]Federated, error) {
		return slices.DeleteFunc(list, func(o Federated) bool { return o.ID == id }), nil
	})
}

func (t *Tenant) changeFederated(clientID string, change func([]Federated) ([]Federated, error)) error {
	t.lock()
	defer t.mu.Unlock()
	o := t.dir.client(kindApplication, clientID, view{present: true})
	if o == nil {
		return ErrNotFound
	}
	next := o.with()
	list, err := change(next.federated)
	if err != nil {
		return err
	}
	next.federated = list
	t.change(next)
	return nil
}

// federatedJSON renders the credentials of an application.
func (o *object) federatedJSON() []map[string]any {
	all := make([]map[string]any, len(o.federated))
	for i, f := range o.federated {
		all[i] = f.json()
	}
	return all
}

// list is a list of texts as JSON has it.
func list(texts []string) []any {
	values := make([]any, len(texts))
	for i, text := range texts {
		values[i] = text
	}
	return values
}

func federatedOf(c *call) string { return "applications('" + c.params[0].id + "')/" + federatedSet }

// at returns the position of the credential that a path names by id or by name, -1 if
// there is none.
//
// https://learn.microsoft.com/graph/api/federatedidentitycredential-get
func (c *call) federatedAt(o *object) int {
	want := c.params[1]
	return slices.IndexFunc(o.federated, func(f Federated) bool {
		return want.by == "" && strings.EqualFold(f.ID, want.id) || f.Name == want.id
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
	return c.page(federatedOf(c), o.federatedJSON()), nil
}

// getFederated reads one credential.
func (t *Tenant) getFederated(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	i := c.federatedAt(o)
	if i < 0 {
		return nil, notFound(c.params[1].id)
	}
	return c.brokenOff(c.entity(http.StatusOK, federatedOf(c), c.query.project(o.federated[i].json()))), nil
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
	f := Federated{ID: newID(), Name: text(c.object, "name")}
	// The texts and codes of what is missing are not documented, but for two that
	// were seen.
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`).MatchString(f.Name) {
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
func (f *Federated) set(body map[string]any, others []Federated) *graphError {
	for name, value := range body {
		text, _ := value.(string)
		switch name {
		case "id":
			if text != f.ID {
				return badRequest("Property 'id' is read-only and cannot be set.")
			}
		case "name":
			if text != f.Name {
				return badRequest("Property 'name' is read-only and cannot be set.")
			}
		case "issuer":
			f.Issuer = text
		case "subject":
			f.Subject = text
		case "description":
			f.Description = text
		case "audiences":
			f.Audiences = nil
			values, _ := value.([]any)
			for _, v := range values {
				audience, _ := v.(string)
				f.Audiences = append(f.Audiences, audience)
			}
		}
	}
	missing := ""
	switch {
	case f.Issuer == "":
		missing = "issuer"
	case f.Subject == "" && f.Expression == "":
		missing = "subject"
	case len(f.Audiences) == 0:
		missing = "audiences"
	}
	if missing != "" {
		return badFederated("A value is required for property '" + missing + "' of resource 'FederatedIdentityCredential'.")
	}
	if len(f.Audiences) > 1 {
		return badFederated("The property 'audiences' of a federated identity credential can have one value.")
	}
	for _, other := range others {
		if other.ID == f.ID {
			continue
		}
		if other.Name == f.Name {
			return &graphError{status: http.StatusConflict, code: "Request_MultipleObjectsWithSameKeyValue", message: "FederatedIdentityCredential with name " + f.Name + " already exists."}
		}
		// https://github.com/Azure/azure-workload-identity/issues/434
		if other.Issuer == f.Issuer && other.Subject == f.Subject {
			return badFederated("The combination of issuer and subject must be unique for the application. Issuer " + f.Issuer + " and Subject: " + f.Subject +
				" already exist. paramName: FederatedIdentityCredential.Subject, paramValue: " + f.Subject + ", objectType: Microsoft.Online.DirectoryServices.Application")
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

// brokenOff is what v1.0 makes of an answer with a flexible credential: where its
// subject would stand the text of an error begins, under the status 200.
func (c *call) brokenOff(a *response) *response {
	i := strings.Index(string(a.body), `"claimsMatchingExpression"`)
	if i < 0 || strings.HasPrefix(c.Path, "/beta/") {
		return a
	}
	text, err := json.Marshal(map[string]any{"error": map[string]any{
		"code": "InternalServerError", "message": "The property 'subject[Nullable=False]' of type 'Edm.String' has a null value, which is not allowed.",
	}})
	if err != nil {
		return a
	}
	return &response{status: http.StatusOK, header: a.header, body: append(bytes.TrimRight(a.body[:i:i], ","), text...)}
}
