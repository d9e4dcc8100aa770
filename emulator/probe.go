package emulator

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// organization answers the cheapest call that shows that a token works.
//
// https://learn.microsoft.com/graph/api/organization-list
func (t *Tenant) organization(c *call) (*response, *graphError) {
	return c.page("organization", []map[string]any{{
		"deletedDateTime": nil,
		"displayName":     "Contoso",
		"id":              t.ID,
		"tenantType":      "AAD",
		"verifiedDomains": []any{map[string]any{
			"capabilities": "Email, OfficeCommunicationsOnline", "isDefault": true, "isInitial": true,
			"name": t.Domain, "type": "Managed",
		}},
	}}), nil
}

func (u user) json() map[string]any {
	return map[string]any{"displayName": u.name, "id": u.id, "mail": u.address, "userPrincipalName": u.address}
}

func (t *Tenant) listUsers(c *call) (*response, *graphError) {
	var list []map[string]any
	for _, u := range t.everyUser() {
		list = append(list, u.json())
	}
	return c.page("users", list), nil
}

// everyUser returns the users with a mailbox and those who can sign in.
func (t *Tenant) everyUser() []user {
	list := slices.Clone(t.dir.users)
	for _, u := range t.Users {
		id := u.ObjectID
		if id == "" {
			id = uuid.NewSHA1(uuid.NameSpaceURL, []byte(u.Name)).String()
		}
		if !slices.ContainsFunc(list, func(have user) bool { return have.id == id }) {
			list = append(list, user{id, u.Name, u.Name})
		}
	}
	return list
}

// user returns the user that a path names, by id or address.
func (t *Tenant) user(c *call) (user, *graphError) {
	for _, u := range t.everyUser() {
		if strings.EqualFold(u.id, c.params[0].id) || strings.EqualFold(u.address, c.params[0].id) {
			return u, nil
		}
	}
	return user{}, notFound(c.params[0].id)
}

func (t *Tenant) getUser(c *call) (*response, *graphError) {
	u, err := t.user(c)
	if err != nil {
		return nil, err
	}
	return c.entity(http.StatusOK, "users", c.query.project(u.json())), nil
}

// listMessages answers with one message, so that a program that reads mail sees
// that it may.
//
// https://learn.microsoft.com/graph/api/user-list-messages
func (t *Tenant) listMessages(c *call) (*response, *graphError) {
	u, err := t.user(c)
	if err != nil {
		return nil, err
	}
	return c.page("users('"+u.id+"')/messages", []map[string]any{{
		"id":      "AAMk-" + u.id,
		"subject": "Welcome",
		"from":    map[string]any{"emailAddress": map[string]any{"name": u.name, "address": u.address}},
	}}), nil
}

// getMailboxSettings answers without a single setting: the schema subset has none,
// and a program that asks wants to know whether it may.
//
// https://learn.microsoft.com/graph/api/user-get-mailboxsettings
func (t *Tenant) getMailboxSettings(c *call) (*response, *graphError) {
	u, err := t.user(c)
	if err != nil {
		return nil, err
	}
	return jsonResponse(http.StatusOK, map[string]any{
		"@odata.context": c.context("users('" + u.id + "')/mailboxSettings"),
	}), nil
}

func (t *Tenant) getDefaultPolicy(c *call) (*response, *graphError) {
	return c.entity(http.StatusOK, "policies/defaultAppManagementPolicy", c.query.project(t.dir.defaultPolicyJSON())), nil
}

func (t *Tenant) listPolicies(c *call) (*response, *graphError) {
	var list []map[string]any
	for _, id := range t.dir.policyOrder {
		p := t.dir.policies[id]
		list = append(list, p.json())
	}
	return c.page("policies/appManagementPolicies", list), nil
}

func (t *Tenant) getPolicy(c *call) (*response, *graphError) {
	p, ok := t.dir.policies[c.params[0].id]
	if !ok {
		return nil, notFound(c.params[0].id)
	}
	return c.entity(http.StatusOK, "policies/appManagementPolicies", c.query.project(p.json())), nil
}
