package emulator

import "net/http"

// The types of what stands beside applications and service principals.
const (
	federated       = "federatedIdentityCredential"
	federatedSet    = "federatedIdentityCredentials"
	permissionGrant = "oAuth2PermissionGrant"
	blueprint       = "agentIdentityBlueprint"
)

// routes returns everything that Graph answers here.
func routes() []route {
	all := []route{
		{http.MethodGet, signInsPattern, readSignIns(), "", "", true, (*Tenant).listSignIns},
		{http.MethodGet, "organization", readOrganization(), "", "organization", true, (*Tenant).organization},
		{http.MethodGet, "domains", readDomains(), "", "domain", true, (*Tenant).listDomains},
		{http.MethodGet, "me", nil, "", "user", false, (*Tenant).getMe},
		{http.MethodGet, "me/ownedObjects", nil, "", "directoryObject", true, (*Tenant).listMyObjects},
		{http.MethodGet, "users", readUsers(), "", "user", true, (*Tenant).listUsers},
		{http.MethodGet, "users/*", readUsers(), "", "user", false, (*Tenant).getUser},
		{http.MethodGet, "users/*/messages", readMessages(), "", "message", true, (*Tenant).listMessages},
		{http.MethodGet, "users/*/mailboxSettings", readMailboxSettings(), "", "", false, (*Tenant).getMailboxSettings},
		{http.MethodPost, "users/*/sendMail", sendMail(), sendMailBody, "", false, (*Tenant).sendMail},
		{http.MethodGet, "policies/defaultAppManagementPolicy", readPolicies(), "", "tenantAppManagementPolicy", false, (*Tenant).getDefaultPolicy},
		{http.MethodGet, "policies/appManagementPolicies", readPolicies(), "", "appManagementPolicy", true, (*Tenant).listPolicies},
		{http.MethodGet, "policies/appManagementPolicies/*", readPolicies(), "", "appManagementPolicy", false, (*Tenant).getPolicy},
		{http.MethodPost, "applications", createApplications(), kindApplication, kindApplication, false, (*Tenant).createApplication},
		{http.MethodPost, "servicePrincipals", createApplications(), kindServicePrincipal, kindServicePrincipal, false, (*Tenant).createServicePrincipal},
		{http.MethodGet, "applications/" + namespace + blueprint, readApplications(), "", kindApplication, true, (*Tenant).listBlueprints},
		{http.MethodGet, "servicePrincipals/*/ownedObjects", readApplications(), "", "directoryObject", true, (*Tenant).listOwnedObjects},
		{http.MethodGet, "directoryObjects/*", readApplications(), "", "directoryObject", false, (*Tenant).getDirectoryObject},
		{http.MethodPost, "directoryObjects/getByIds", readApplications(), "directoryObject.getByIds", "directoryObject", true, (*Tenant).getByIDs},
		{http.MethodGet, "servicePrincipals/*/oauth2PermissionGrants", readGrants(), "", permissionGrant, true, (*Tenant).listGrants},
		{http.MethodGet, "oauth2PermissionGrants", readGrants(), "", permissionGrant, true, (*Tenant).listGrants},
		{http.MethodPost, "oauth2PermissionGrants", writeGrants(), permissionGrant, permissionGrant, false, (*Tenant).createGrant},
		{http.MethodGet, "oauth2PermissionGrants/*", readGrants(), "", permissionGrant, false, (*Tenant).getGrant},
		{http.MethodPatch, "oauth2PermissionGrants/*", writeGrants(), permissionGrant, "", false, (*Tenant).patchGrant},
		{http.MethodDelete, "oauth2PermissionGrants/*", writeGrants(), "", "", false, (*Tenant).deleteGrant},
		{http.MethodGet, "directory/deletedItems/*", readApplications(), "", "directoryObject", false, (*Tenant).getDeleted},
		{http.MethodPost, "directory/deletedItems/*/restore", createApplications(), "directoryObject.restore", "directoryObject", false, (*Tenant).restore},
		{http.MethodDelete, "directory/deletedItems/*", createApplications(), "", "", false, (*Tenant).deleteForever},
	}
	for _, kind := range []string{kindApplication, kindServicePrincipal} {
		set := kind + "s"
		all = append(
			all,
			route{http.MethodGet, set, readApplications(), "", kind, true, (*Tenant).listObjects},
			route{http.MethodGet, set + countSegment, readApplications(), "", kind, true, (*Tenant).listObjects},
			route{http.MethodGet, set + "/*", readApplications(), "", kind, false, (*Tenant).getObject},
			route{http.MethodPatch, set + "/*", nil, kind, "", false, (*Tenant).patchObject},
			route{http.MethodDelete, set + "/*", nil, "", "", false, (*Tenant).deleteObject},
			route{http.MethodPost, set + "/*/addKey", nil, kind + ".addKey", "keyCredential", false, (*Tenant).addKey},
			route{http.MethodPost, set + "/*/removeKey", nil, kind + ".removeKey", "", false, (*Tenant).removeKey},
			route{http.MethodPost, set + "/*/addPassword", nil, kind + ".addPassword", "passwordCredential", false, (*Tenant).addPassword},
			route{http.MethodPost, set + "/*/removePassword", nil, kind + ".removePassword", "", false, (*Tenant).removePassword},
			route{http.MethodGet, set + "/*/owners", readApplications(), "", "directoryObject", true, (*Tenant).listOwners},
			route{http.MethodPost, set + "/*/owners/$ref", nil, refBody, "", false, (*Tenant).addOwner},
			route{http.MethodGet, set + "/*/owners/*/$ref", readApplications(), "", "", false, (*Tenant).getOwnerRef},
			route{http.MethodDelete, set + "/*/owners/*/$ref", nil, "", "", false, (*Tenant).removeOwner},
			route{http.MethodGet, set + "/*/appManagementPolicies", readPolicies(), "", "appManagementPolicy", true, (*Tenant).listObjectPolicies},
			route{http.MethodGet, "directory/deletedItems/" + namespace + kind, readApplications(), "", kind, true, (*Tenant).listDeleted},
		)
	}
	credentials := "applications/*/" + federatedSet
	all = append(
		all,
		route{http.MethodGet, credentials, readApplications(), "", federated, true, (*Tenant).listFederated},
		route{http.MethodPost, credentials, nil, federated, federated, false, (*Tenant).createFederated},
		route{http.MethodGet, credentials + "/*", readApplications(), "", federated, false, (*Tenant).getFederated},
		route{http.MethodPatch, credentials + "/*", nil, federated, "", false, (*Tenant).patchFederated},
		route{http.MethodDelete, credentials + "/*", nil, "", "", false, (*Tenant).deleteFederated},
	)
	for _, side := range []string{"appRoleAssignedTo", "appRoleAssignments"} {
		pattern := "servicePrincipals/*/" + side
		all = append(
			all,
			route{http.MethodGet, pattern, readApplications(), "", "appRoleAssignment", true, (*Tenant).listAssignments},
			route{http.MethodPost, pattern, assignRoles(), "appRoleAssignment", "appRoleAssignment", false, (*Tenant).createAssignment},
			route{http.MethodGet, pattern + "/*", readApplications(), "", "appRoleAssignment", false, (*Tenant).getAssignment},
			route{http.MethodDelete, pattern + "/*", assignRoles(), "", "", false, (*Tenant).deleteAssignment},
		)
	}
	return all
}
