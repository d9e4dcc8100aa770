package emulator

import (
	"maps"
	"slices"
)

// graphAppID is the client ID of Microsoft Graph in every tenant.
//
// https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in
const graphAppID = "00000003-0000-0000-c000-000000000000"

// permissionIDs returns the ids of the application permissions that the tenant
// knows, by name.
//
// https://learn.microsoft.com/graph/permissions-reference
func permissionIDs() map[string]string {
	return map[string]string{
		"Application.Read.All":                      "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30",
		"Application.ReadWrite.All":                 "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9",
		"Application.ReadWrite.OwnedBy":             "18a4783c-866b-4cc7-a460-3d5e5662c884",
		"AppRoleAssignment.ReadWrite.All":           "06b708a9-e830-4db3-a914-8e69da51d44f",
		"AuditLog.Read.All":                         "b0afded3-3588-46d8-8b3d-9842eff778da",
		"DelegatedPermissionGrant.ReadWrite.All":    "8e8e4742-1d95-4f68-9d56-6ee75648c72a",
		"Directory.Read.All":                        "7ab1d382-f21e-4acd-a863-ba3e13f7da61",
		"Directory.ReadWrite.All":                   "19dbc75e-c2e2-444c-a770-ec69d8559fc7",
		"Domain.Read.All":                           "dbb9058a-0e50-45d7-ae91-66909b5d4664",
		"Mail.Read":                                 "810c84a8-4a9e-49e6-bf7d-12d183f40d01",
		"Mail.ReadBasic.All":                        "693c5e45-0940-467d-9b8a-1022fb9d42ef",
		"Mail.Send":                                 "b633e1c5-b582-4048-a93e-9f11b44c7e96",
		"MailboxSettings.Read":                      "40f97065-369a-49f4-947c-6a255697ae91",
		"Organization.Read.All":                     "498476ce-e0fe-48b0-b801-37ba7e2685c6",
		"Policy.Read.All":                           "246dd0d5-5bd0-4def-940b-0421030a5b68",
		"Policy.ReadWrite.ApplicationConfiguration": "be74164b-cff1-491c-8741-e671cb536e13",
		"Reports.Read.All":                          "230c1aed-a721-4c5d-9cb4-a90514e508ef",
		"User.Read.All":                             "df021288-bdef-4463-88db-98f22de89214",
		"User.ReadBasic.All":                        "97235f07-e226-4f63-ace3-39588e11d3a1",
	}
}

// appRoles returns the permissions in the form of a service principal's appRoles.
func appRoles(ids map[string]string) []any {
	roles := make([]any, 0, len(ids))
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		roles = append(roles, map[string]any{
			"allowedMemberTypes": []any{"Application"},
			"description":        name,
			"displayName":        name,
			"id":                 ids[name],
			"isEnabled":          true,
			"origin":             "Application",
			"value":              name,
		})
	}
	return roles
}

// Who may do what, by the permissions table of each method's page.
//
// https://learn.microsoft.com/graph/permissions-reference and
// https://github.com/microsoftgraph/microsoft-graph-devx-content, permissions/new

// readApplications also lists Application.ReadWrite.OwnedBy: it reads every
// application of the tenant, not only owned ones.
func readApplications() []string {
	return []string{
		"Application.Read.All", "Application.ReadWrite.OwnedBy", "Application.ReadWrite.All",
		"Directory.Read.All", "Directory.ReadWrite.All",
	}
}

func createApplications() []string {
	return []string{"Application.ReadWrite.OwnedBy", "Application.ReadWrite.All"}
}

func readPolicies() []string {
	return []string{"Policy.Read.All", "Policy.ReadWrite.ApplicationConfiguration"}
}

func readOrganization() []string {
	return []string{"Organization.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}
}

func readDomains() []string {
	return []string{"Domain.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}
}

// https://learn.microsoft.com/graph/api/oauth2permissiongrant-list#permissions
func readGrants() []string {
	return []string{"DelegatedPermissionGrant.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}
}

func writeGrants() []string {
	return []string{"DelegatedPermissionGrant.ReadWrite.All", "Directory.ReadWrite.All"}
}

func readUsers() []string {
	return []string{"User.ReadBasic.All", "User.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}
}

func readMessages() []string { return []string{"Mail.ReadBasic.All", "Mail.Read"} }

// https://learn.microsoft.com/graph/api/user-sendmail#permissions
func sendMail() []string { return []string{"Mail.Send"} }

func readMailboxSettings() []string { return []string{"MailboxSettings.Read"} }

// A caller is who an access token speaks for.
type caller struct {
	// keyID is the key that it signed in with; empty: a secret.
	keyID    string
	clientID string
	objectID string // of the service principal, or of the user
	user     bool   // a user signed in: objectID is theirs
	roles    []string
	wids     []string // template ids of a user's directory roles
	audience string
	expires  int64 // Unix seconds
}

func (c *caller) has(anyOf []string) bool {
	return slices.ContainsFunc(anyOf, func(role string) bool { return slices.Contains(c.roles, role) })
}

// mayWrite says whether the caller may change an object: by the permission for all,
// or by the one for owned objects and being an owner.
//
// https://learn.microsoft.com/graph/api/application-update#permissions
func (c *caller) mayWrite(o *object) bool {
	if o.blueprint {
		// A blueprint wants permissions of its own, AgentIdentityBlueprint.AddRemoveCreds.All
		// and others, which nobody holds here.
		// https://learn.microsoft.com/graph/api/agentidentityblueprint-addkey
		return false
	}
	return c.has([]string{"Application.ReadWrite.All"}) ||
		c.has([]string{"Application.ReadWrite.OwnedBy"}) && slices.Contains(o.owners, c.objectID)
}
