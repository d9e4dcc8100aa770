package emulator

import (
	"net/http"
	"strings"
)

// assignRoles returns the permission that grants anything to anything. A reading
// one is needed beside it, see createAssignment.
//
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/12833
func assignRoles() []string { return []string{"AppRoleAssignment.ReadWrite.All"} }

// side says whether a path lists what was granted to others on the object
// (appRoleAssignedTo), or what was granted to the object.
func (c *call) resourceSide() bool { return strings.Contains(c.route.pattern, "/appRoleAssignedTo") }

func (t *Tenant) listAssignments(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	return c.page(assignmentSet(c), t.assignmentsOf(o, c.resourceSide())), nil
}

// assignmentsOf renders what was granted on an object, or to it.
func (t *Tenant) assignmentsOf(o *object, asResource bool) []map[string]any {
	var list []map[string]any
	for _, a := range t.dir.assignments {
		if asResource && a.resourceID == o.id || !asResource && a.principalID == o.id {
			list = append(list, t.renderAssignment(a))
		}
	}
	return list
}

func assignmentSet(c *call) string {
	return "servicePrincipals('" + c.params[0].id + "')/" + strings.Split(c.route.pattern, "/")[2]
}

// createAssignment grants an app role.
//
// https://learn.microsoft.com/graph/api/serviceprincipal-post-approleassignedto
func (t *Tenant) createAssignment(c *call) (*response, *graphError) {
	if !c.caller.has(readApplications()) {
		return nil, denied()
	}
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	a := assignment{
		id:          newID(),
		roleID:      strings.ToLower(text(c.object, "appRoleId")),
		principalID: strings.ToLower(text(c.object, "principalId")),
		resourceID:  strings.ToLower(text(c.object, "resourceId")),
		createdAt:   t.now(),
	}
	if want := a.principalID; c.resourceSide() && o.id != a.resourceID || !c.resourceSide() && o.id != want {
		return nil, badRequest("The id in the path does not match the id in the payload.")
	}
	resource := t.dir.object(kindServicePrincipal, a.resourceID, c.view)
	// https://github.com/hashicorp/go-azure-sdk, odata/errors.go
	if resource == nil || t.dir.object(kindServicePrincipal, a.principalID, c.view) == nil {
		return nil, badRequest("Not a valid reference update.")
	}
	if !t.hasRole(resource, a.roleID) {
		return nil, badRequest("Permission being assigned was not found on application '" + resource.clientID + "'.")
	}
	if !t.dir.grant(a) {
		// Not documented; other tools compare this text. beta has another one:
		// https://github.com/microsoftgraph/msgraph-bicep-types/issues/161
		return nil, badRequest("Permission being assigned already exists on the object")
	}
	return c.entity(http.StatusCreated, assignmentSet(c), t.renderAssignment(a)), nil
}

func (t *Tenant) deleteAssignment(c *call) (*response, *graphError) {
	if !c.caller.has(readApplications()) {
		return nil, denied()
	}
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	found := t.dir.withdraw(func(a assignment) bool {
		return a.id == c.params[1].id && (a.principalID == o.id || a.resourceID == o.id)
	})
	if !found {
		return nil, &graphError{status: http.StatusNotFound, code: "Request_ResourceNotFound", message: "EntitlementGrant being updated or deleted is not found."}
	}
	return noContent(), nil
}

func (t *Tenant) hasRole(resource *object, roleID string) bool {
	for _, r := range t.appRolesOf(resource) {
		if role, _ := r.(map[string]any); strings.EqualFold(text(role, "id"), roleID) {
			return true
		}
	}
	return false
}

// getAssignment reads one assignment from either side.
//
// https://learn.microsoft.com/graph/api/approleassignment-get
func (t *Tenant) getAssignment(c *call) (*response, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	for _, a := range t.dir.assignments {
		if a.id == c.params[1].id && (c.resourceSide() && a.resourceID == o.id || !c.resourceSide() && a.principalID == o.id) {
			return c.entity(http.StatusOK, assignmentSet(c), c.query.project(t.renderAssignment(a))), nil
		}
	}
	return nil, notFound(c.params[1].id)
}

func (t *Tenant) renderAssignment(a assignment) map[string]any {
	name := func(id string) any {
		if o := t.dir.object(kindServicePrincipal, id, view{present: true}); o != nil {
			return orNull(o.name())
		}
		return nil
	}
	return map[string]any{
		"appRoleId":            a.roleID,
		"createdDateTime":      formatTime(a.createdAt),
		"deletedDateTime":      nil,
		"id":                   a.id,
		"principalDisplayName": name(a.principalID),
		"principalId":          a.principalID,
		"principalType":        "ServicePrincipal",
		"resourceDisplayName":  name(a.resourceID),
		"resourceId":           a.resourceID,
	}
}
