package emulator

import (
	"iter"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// set returns the name of the entity set of the object that a path names.
func (c *call) set() string { return strings.Split(c.route.pattern, "/")[0] }

func (t *Tenant) listObjects(c *call) (*response, *graphError) {
	return c.pageOf(c.set(), t.rows(c, c.kind(), func(*object) bool { return true })), nil
}

// kind is the kind of the objects of the set that a path names.
func (c *call) kind() string { return strings.TrimSuffix(c.set(), "s") }

// rows gives the objects of a kind for a list; those are rendered that are needed.
func (t *Tenant) rows(c *call, kind string, keep func(*object) bool) iter.Seq2[int, row] {
	return func(yield func(int, row) bool) {
		for position, o := range t.dir.list(kind, c.view) {
			if keep(o) && !yield(position, t.row(c, o)) {
				return
			}
		}
	}
}

// row is an object as an element of a list, with the key of no certificate.
func (t *Tenant) row(c *call, o *object) row {
	var whole map[string]any
	render := func() map[string]any {
		if whole == nil {
			whole = t.render(o, query{expand: c.query.expand})
		}
		return whole
	}
	return row{func(name string) any {
		switch name {
		case "id":
			return o.id
		case "appId":
			return o.clientID
		case "displayName":
			return orNull(o.name())
		case "owners", federatedSet:
			return elements(t.related(o.kind, name).list(o))
		case "ownedObjects":
			return elements(t.ownedBy(o.id, c.view))
		}
		return render()[name]
	}, render}
}

// elements are objects as the elements of a JSON array.
func elements(objects []map[string]any) []any {
	list := make([]any, len(objects))
	for i, o := range objects {
		list[i] = o
	}
	return list
}

func (t *Tenant) getObject(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	return c.entity(http.StatusOK, c.set(), c.query.project(t.render(o, c.query))), nil
}

// listBlueprints answers with the applications of the derived type.
//
// https://learn.microsoft.com/graph/api/resources/agentidentityblueprint
func (t *Tenant) listBlueprints(c *call) (*response, *graphError) {
	return c.pageOf(c.set(), t.rows(c, kindApplication, func(o *object) bool { return o.blueprint })), nil
}

// createApplication makes an app. The caller's service principal becomes its owner.
//
// https://learn.microsoft.com/graph/api/application-post-applications
func (t *Tenant) createApplication(c *call) (*response, *graphError) {
	o := &object{kind: kindApplication, clientID: newID(), props: map[string]any{}}
	if text(c.object, "displayName") == "" {
		return nil, badRequest("A value is required for property 'displayName' of resource 'Application'.")
	}
	if name := text(c.object, "uniqueName"); name != "" && t.dir.unique(name, view{present: true}) != nil {
		return nil, &graphError{
			status: http.StatusBadRequest, code: "Request_MultipleObjectsWithSameKeyValue",
			message: "Another object with the same value for property uniqueName already exists.",
		}
	}
	if err := refuseKeyIDs(c.object); err != nil {
		return nil, err
	}
	return t.create(c, o)
}

// refuseKeyIDs refuses the keyIds of a new app that comes with a secret. With
// certificates alone a keyId is accepted and kept: the Azure CLI sends one, and its
// recording of 2022-05-07 has the answer of a tenant.
//
// https://stackoverflow.com/questions/79463224
// https://github.com/ansible-collections/azure/issues/2248
// https://github.com/Azure/azure-cli, role/tests/latest/recordings/test_create_for_rbac_create_cert.yaml
func refuseKeyIDs(sent map[string]any) *graphError {
	secrets, _ := sent["passwordCredentials"].([]any)
	if len(secrets) == 0 {
		return nil
	}
	keys, _ := sent["keyCredentials"].([]any)
	for _, item := range slices.Concat(secrets, keys) {
		if entry, _ := item.(map[string]any); entry["keyId"] != nil {
			return badRequest("The property KeyId is not supported for Create Application flow.")
		}
	}
	return nil
}

// createServicePrincipal makes the service principal of an app of this tenant.
//
// https://learn.microsoft.com/graph/api/serviceprincipal-post-serviceprincipals
func (t *Tenant) createServicePrincipal(c *call) (*response, *graphError) {
	clientID := strings.ToLower(text(c.object, "appId"))
	app := t.dir.client(kindApplication, clientID, c.view)
	if app == nil {
		// https://github.com/hashicorp/go-azure-sdk, odata/errors.go
		return nil, badRequest("The appId '" + clientID + "' of the service principal does not reference a valid application object.")
	}
	if !c.caller.mayWrite(app) {
		return nil, denied()
	}
	if t.dir.client(kindServicePrincipal, clientID, view{present: true}) != nil {
		return nil, inUse(clientID)
	}
	delete(c.object, "appId")
	return t.create(c, &object{
		kind: kindServicePrincipal, clientID: clientID,
		props: map[string]any{"displayName": app.name()},
	})
}

func (t *Tenant) create(c *call, o *object) (*response, *graphError) {
	o.id, o.createdAt, o.createdBy = newID(), t.now(), c.caller.clientID
	if err := t.bindOwners(c, o); err != nil {
		return nil, err
	}
	if err := t.apply(o, c.object); err != nil {
		return nil, err
	}
	t.change(o)
	return c.entity(http.StatusCreated, c.set(), t.render(o, query{})), nil
}

// patchObject changes an application or a service principal.
//
// https://learn.microsoft.com/graph/api/application-update
func (t *Tenant) patchObject(c *call) (*response, *graphError) {
	if c.params[0].by == "uniqueName" {
		return t.upsert(c, c.params[0].id)
	}
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	if c.binds != nil {
		c.query.unknown = "owners@odata.bind in a PATCH"
		return nil, nil
	}
	if err := t.checkPrecondition(c.Header); err != nil {
		return nil, err
	}
	next := o.with()
	if err := t.apply(next, c.object); err != nil {
		return nil, err
	}
	t.change(next)
	return noContent(), nil
}

// readOnly returns the properties that a client cannot set.
//
// https://learn.microsoft.com/graph/api/resources/application
func readOnly() []string {
	return []string{
		"id", "appId", "createdDateTime", "createdByAppId", "deletedDateTime",
		"disabledByMicrosoftStatus", "publisherDomain", "appDisplayName", "appOwnerOrganizationId",
	}
}

// apply puts the properties of a checked body into an object that is not yet in the
// directory. Collections are replaced as a whole.
func (t *Tenant) apply(o *object, body map[string]any) *graphError {
	for name, value := range body {
		switch {
		case isAnnotation(name):
		// Clients send an object back with its own id, and Graph takes it.
		// https://github.com/hashicorp/terraform-provider-azuread, application_resource.go
		case name == "id" && o.id != "" && value == o.id:
		case slices.Contains(readOnly(), name):
			return badRequest("Property '" + name + "' is read-only and cannot be set.")
		case name == "keyCredentials":
			if err := t.checkLock(o); err != nil {
				return err
			}
			sent, _ := value.([]any)
			list, added, err := replaceKeys(o.keys, sent, t.now(), t.RefuseEnded)
			if err != nil {
				return err
			}
			for i := range added {
				if err := t.dir.checkPolicy(o, &added[i]); err != nil {
					return err
				}
				if err := t.checkAdded(o, &added[i], nil); err != nil {
					return err
				}
				for n := range list {
					if k := &list[n]; k.KeyID == added[i].KeyID {
						k.added = t.clock()
						if k.CustomKeyIdentifier == k.thumbprint() {
							k.CustomKeyIdentifier = t.customID(k)
						}
					}
				}
			}
			if err := checkSize(list); err != nil {
				return err
			}
			o.keys = list
		case name == "passwordCredentials":
			sent, _ := value.([]any)
			list, err := replaceSecrets(o.secrets, sent)
			if err != nil {
				return err
			}
			o.secrets = list
		default:
			o.props[name] = merged(o.props[name], value)
		}
	}
	return nil
}

// merged is a complex value after a PATCH: what was not sent stays.
//
// https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part1-protocol.html, 11.4.3
func merged(have, sent any) any {
	old, wasObject := have.(map[string]any)
	next, isObject := sent.(map[string]any)
	if !wasObject || !isObject {
		return sent
	}
	out := maps.Clone(old)
	for name, value := range next {
		out[name] = merged(old[name], value)
	}
	return out
}

// checkLock refuses to change the certificates of a service principal whose
// application locks them.
//
// https://learn.microsoft.com/graph/api/resources/serviceprincipallockconfiguration
func (t *Tenant) checkLock(o *object) *graphError {
	app := t.dir.client(kindApplication, o.clientID, view{present: true})
	if o.kind == kindApplication || app == nil {
		return nil
	}
	lock, _ := app.props["servicePrincipalLockConfiguration"].(map[string]any)
	if lock["isEnabled"] == true && (lock["allProperties"] == true || lock["credentialsWithUsageVerify"] == true) {
		return &graphError{status: http.StatusBadRequest, code: "CannotUpdateLockedServicePrincipalProperty", message: "Property keyCredentials is invalid."}
	}
	return nil
}

// deleteObject deletes an object; an application takes its service principal with
// it.
func (t *Tenant) deleteObject(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	t.remove(o)
	return noContent(), nil
}

func (t *Tenant) remove(o *object) {
	now := t.clock()
	horizon := now.Add(-max(t.Propagation, t.ReadLag))
	t.bury(o, now, horizon)
	sp := o
	if o.kind == kindApplication {
		if sp = t.dir.client(kindServicePrincipal, o.clientID, view{present: true}); sp == nil {
			return
		}
		t.bury(sp, now, horizon)
	}
	t.dir.withdraw(func(a assignment) bool { return a.principalID == sp.id || a.resourceID == sp.id })
	t.dir.consents = slices.DeleteFunc(t.dir.consents, func(g consent) bool { return g.clientID == sp.id || g.resourceID == sp.id })
}

func (t *Tenant) addPassword(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	sent, _ := c.object["passwordCredential"].(map[string]any)
	s := newSecret(Secret{
		DisplayName: text(sent, "displayName"),
		Start:       timeOf(sent, "startDateTime"),
		End:         timeOf(sent, "endDateTime"),
	}, t.now())
	next := o.with()
	next.secrets = append(next.secrets, s)
	t.change(next)
	body := s.json(true)
	body["@odata.context"] = "https://" + c.Host + "/v1.0/$metadata#microsoft.graph.passwordCredential"
	return jsonResponse(http.StatusOK, body), nil
}

func (t *Tenant) removePassword(c *call) (*response, *graphError) {
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
	}
	id := strings.ToLower(text(c.object, "keyId"))
	next := o.with()
	next.secrets = slices.DeleteFunc(next.secrets, func(s Secret) bool { return s.KeyID == id })
	if len(next.secrets) == len(o.secrets) {
		return nil, badRequest("No password credential found with keyId '" + id + "'.")
	}
	t.change(next)
	return noContent(), nil
}

func (t *Tenant) listObjectPolicies(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	var list []map[string]any
	if p, ok := t.dir.policies[o.policy]; ok {
		list = append(list, p.json())
	}
	return c.page("policies/appManagementPolicies", list), nil
}
