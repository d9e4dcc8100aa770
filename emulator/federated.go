package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// maxFederated is how many federated identity credentials an application can have.
//
// https://learn.microsoft.com/graph/api/resources/federatedidentitycredentials-overview
const maxFederated = 20

// blueprintType is the @odata.type of an agent identity blueprint, which is a kind
// of application: lists of applications hold it, with this mark.
//
// https://learn.microsoft.com/graph/api/application-list
const blueprintType = "#microsoft.graph.agentIdentityBlueprint"

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
		"description": orNull(f.Description), "audiences": f.Audiences,
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
	return f.ID, t.changeFederated(clientID, func(list []Federated) ([]Federated, error) {
		switch {
		case len(list) == maxFederated:
			return nil, fmt.Errorf("emulator: the app has %d federated identity credentials, which is the most", maxFederated)
		case slices.ContainsFunc(list, func(o Federated) bool { return o.Name == f.Name }):
			return nil, fmt.Errorf("emulator: the app has a federated identity credential named %q", f.Name)
		}
		return append(list, f), nil
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

// listFederated lists them.
//
// https://learn.microsoft.com/graph/api/application-list-federatedidentitycredentials
func (t *Tenant) listFederated(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	list := make([]map[string]any, len(o.federated))
	for i, f := range o.federated {
		list[i] = f.json()
	}
	return c.brokenOff(c.page("applications('"+o.id+"')/federatedIdentityCredentials", list)), nil
}

// expandFederated returns them as $expand gives them.
func (o *object) expandFederated() []any {
	list := []any{}
	for _, f := range o.federated {
		list = append(list, f.json())
	}
	return list
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
