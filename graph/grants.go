package graph

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// graphAppID is the client ID of Microsoft Graph in every tenant.
// https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in
const graphAppID = "00000003-0000-0000-c000-000000000000"

const readGrants = "read permissions"

// requiredAccess is one element of requiredResourceAccess: what an app declares to
// need of one API.
// https://learn.microsoft.com/graph/api/resources/requiredresourceaccess
type requiredAccess struct {
	ResourceAppID string           `json:"resourceAppId"`
	Access        []resourceAccess `json:"resourceAccess"`
}

type resourceAccess struct {
	ID string `json:"id"`
	// Type is Role for an application permission.
	Type string `json:"type"`
}

// roleAssignment is one appRoleAssignment: an application permission that an
// administrator consented to.
// https://learn.microsoft.com/graph/api/resources/approleassignment
type roleAssignment struct {
	ID          string `json:"id,omitempty"`
	RoleID      string `json:"appRoleId"`
	PrincipalID string `json:"principalId"`
	ResourceID  string `json:"resourceId"`
}

// servicePrincipal is as much of one as is needed here.
type servicePrincipal struct {
	ID       string `json:"id"`
	AppRoles []struct {
		ID    string `json:"id"`
		Value string `json:"value"`
	} `json:"appRoles"`
}

// Grants reads which application permissions the app declares and which were
// consented to, by name. Those of other APIs than Graph are "API/ID".
func (c *Client) Grants(ctx context.Context, as rotator.Access) (rotator.Grants, error) {
	k := call{Access: as, what: readGrants}
	if strings.ContainsAny(string(as.ClientID), "'/?# ") {
		return rotator.Grants{}, k.fix(nil, "", "the client ID %q is not a GUID", as.ClientID)
	}
	var app struct {
		Required []requiredAccess `json:"requiredResourceAccess"`
	}
	if _, err := c.read(ctx, k, &app, fmt.Sprintf("/applications(appId='%s')?$select=id,requiredResourceAccess", as.ClientID)); err != nil {
		return rotator.Grants{}, err
	}
	var graph, own servicePrincipal
	if _, err := c.read(ctx, k, &graph, "/servicePrincipals(appId='"+graphAppID+"')?$select=id,appRoles"); err != nil {
		return rotator.Grants{}, err
	}
	if _, err := c.read(ctx, k, &own, fmt.Sprintf("/servicePrincipals(appId='%s')?$select=id", as.ClientID)); err != nil {
		return rotator.Grants{}, err
	}
	var list struct {
		Value []roleAssignment `json:"value"`
	}
	own.ID = strings.ToLower(own.ID)
	if _, err := c.read(ctx, k, &list, "/servicePrincipals/"+own.ID+"/appRoleAssignments?$top=999"); err != nil {
		return rotator.Grants{}, err
	}
	name := func(api, id string) string {
		if strings.EqualFold(api, graphAppID) || strings.EqualFold(api, graph.ID) {
			for _, r := range graph.AppRoles {
				if strings.EqualFold(r.ID, id) {
					return r.Value
				}
			}
		}
		return strings.ToLower(api + "/" + id)
	}
	var g rotator.Grants
	for _, api := range app.Required {
		for _, a := range api.Access {
			if a.Type == "Role" {
				g.Declared = append(g.Declared, name(api.ResourceAppID, a.ID))
			}
		}
	}
	for _, a := range list.Value {
		g.Consented = append(g.Consented, name(a.ResourceID, a.RoleID))
	}
	slices.Sort(g.Declared)
	slices.Sort(g.Consented)
	return g, nil
}
