package emulator

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// set returns the name of the entity set of the object that a path names.
func (c *call) set() string { return strings.Split(c.route.pattern, "/")[0] }

func (t *Tenant) listObjects(c *call) (*response, *graphError) {
	kind := strings.TrimSuffix(c.set(), "s")
	var values []any
	next, count := "", 0
	last := 0
	for position, o := range t.dir.list(kind, c.view) {
		if !c.query.filter.matches(o) {
			continue
		}
		count++
		switch {
		case position <= c.query.skip:
		case len(values) < c.query.top:
			values = append(values, c.query.project(t.render(o, c.query)))
			last = position
		case next == "":
			next = c.nextLink(last)
		}
		if next != "" && !c.query.count {
			break
		}
	}
	if !c.query.count {
		count = -1
	}
	return c.collection(c.set(), values, next, count), nil
}

func (t *Tenant) getObject(c *call) (*response, *graphError) {
	if c.params[0].unique {
		return t.getUnique(c, c.params[0].id)
	}
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	return c.entity(http.StatusOK, c.set(), c.query.project(t.render(o, c.query))), nil
}

// render returns an object as Graph sends it; what was never set is empty or null.
func (t *Tenant) render(o *object, q query) map[string]any {
	keys := make([]any, len(o.keys))
	for i := range o.keys {
		keys[i] = o.keys[i].json(q.keys())
	}
	secrets := make([]any, len(o.secrets))
	for i, s := range o.secrets {
		secrets[i] = s.json(false)
	}
	m := map[string]any{
		"id":                        o.id,
		"appId":                     o.clientID,
		"createdByAppId":            orNull(o.createdBy),
		"deletedDateTime":           nil,
		"disabledByMicrosoftStatus": nil,
		"description":               nil,
		"notes":                     nil,
		"signInAudience":            "AzureADMyOrg",
		"addIns":                    []any{},
		"appRoles":                  []any{},
		"tags":                      []any{},
		"keyCredentials":            keys,
		"passwordCredentials":       secrets,
		"tokenEncryptionKeyId":      nil,
	}
	if o.kind == kindApplication {
		m["createdDateTime"] = formatTime(o.createdAt)
		m["identifierUris"] = []any{}
		m["isDisabled"] = nil
		m["publisherDomain"] = t.dir.domain
		m["requiredResourceAccess"] = []any{}
		m["serviceManagementReference"] = nil
	} else {
		m["accountEnabled"] = true
		m["alternativeNames"] = []any{}
		m["appDisplayName"] = orNull(o.name())
		m["appOwnerOrganizationId"] = t.ID
		m["appRoleAssignmentRequired"] = false
		m["notificationEmailAddresses"] = []any{}
		m["oauth2PermissionScopes"] = []any{}
		m["replyUrls"] = []any{}
		m["servicePrincipalNames"] = []any{o.clientID}
		m["servicePrincipalType"] = "Application"
	}
	maps.Copy(m, o.props)
	if q.owners {
		m["owners"] = t.expandOwners(o)
	}
	return m
}

// maxExpanded is how many related objects $expand gives.
//
// https://learn.microsoft.com/graph/query-parameters#expand
const maxExpanded = 20

// expandOwners returns the owners as $expand gives them.
func (t *Tenant) expandOwners(o *object) []any {
	owners := []any{}
	for _, id := range o.owners {
		if len(owners) == maxExpanded {
			break
		}
		if sp := t.dir.object(kindServicePrincipal, id, view{present: true}); sp != nil {
			owners = append(owners, t.directoryObject(sp))
		}
	}
	return owners
}

// createApplication makes an app. The caller's service principal becomes its owner.
//
// https://learn.microsoft.com/graph/api/application-post-applications
func (t *Tenant) createApplication(c *call) (*response, *graphError) {
	o := &object{kind: kindApplication, clientID: newID(), props: map[string]any{}}
	if text(c.object, "displayName") == "" {
		return nil, badRequest("A value is required for property 'displayName' of resource 'Application'.")
	}
	keys, _ := c.object["keyCredentials"].([]any)
	for _, k := range keys {
		// https://stackoverflow.com/questions/79463224
		if entry, _ := k.(map[string]any); entry["keyId"] != nil {
			return nil, badRequest("The property KeyId is not supported for Create Application flow.")
		}
	}
	return t.create(c, o)
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
		return nil, &graphError{status: http.StatusConflict, code: "Request_MultipleObjectsWithSameKeyValue", message: "The service principal cannot be created, updated, or restored because the service principal name " + clientID + " is already in use."}
	}
	delete(c.object, "appId")
	return t.create(c, &object{
		kind: kindServicePrincipal, clientID: clientID,
		props: map[string]any{"displayName": app.name()},
	})
}

func (t *Tenant) create(c *call, o *object) (*response, *graphError) {
	o.id, o.createdAt, o.createdBy = newID(), t.now(), c.caller.clientID
	o.owners = []string{c.caller.objectID}
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
	if c.params[0].unique {
		return t.upsert(c, c.params[0].id)
	}
	o, err := t.targetToWrite(c)
	if err != nil {
		return nil, err
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
		case slices.Contains(readOnly(), name):
			return badRequest("Property '" + name + "' is read-only and cannot be set.")
		case name == "keyCredentials":
			if err := t.checkLock(o); err != nil {
				return err
			}
			sent, _ := value.([]any)
			list, added, err := replaceKeys(o.keys, sent, t.now(), t.IgnoreKeyID)
			if err != nil {
				return err
			}
			if err := t.checkResent(list); err != nil {
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
			o.keys = list
		case name == "passwordCredentials":
			sent, _ := value.([]any)
			list, err := replaceSecrets(o.secrets, sent)
			if err != nil {
				return err
			}
			o.secrets = list
		default:
			o.props[name] = value
		}
	}
	return nil
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
// it. There is no recycle bin here.
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
	t.dir.remove(o, now, horizon)
	sp := o
	if o.kind == kindApplication {
		if sp = t.dir.client(kindServicePrincipal, o.clientID, view{present: true}); sp == nil {
			return
		}
		t.dir.remove(sp, now, horizon)
	}
	t.dir.withdraw(func(a assignment) bool { return a.principalID == sp.id || a.resourceID == sp.id })
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

func (t *Tenant) listOwners(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	var owners []map[string]any
	for _, id := range o.owners {
		if sp := t.dir.object(kindServicePrincipal, id, c.view); sp != nil {
			owners = append(owners, t.directoryObject(sp))
		}
	}
	return c.page("directoryObjects", owners), nil
}

func (t *Tenant) listOwnedObjects(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	var owned []map[string]any
	for _, kind := range []string{kindApplication, kindServicePrincipal} {
		for _, candidate := range t.dir.list(kind, c.view) {
			if slices.Contains(candidate.owners, o.id) {
				owned = append(owned, t.directoryObject(candidate))
			}
		}
	}
	return c.page("directoryObjects", owned), nil
}

// directoryObject returns an object as a member of a mixed list, with its type.
func (t *Tenant) directoryObject(o *object) map[string]any {
	m := t.render(o, query{})
	m["@odata.type"] = "#microsoft.graph." + o.kind
	return m
}

// addOwner adds a service principal as owner.
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
	if t.dir.object(kindServicePrincipal, id, c.view) == nil {
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
