package emulator

import "maps"

// maxExpanded is how many related objects $expand gives.
//
// https://learn.microsoft.com/graph/query-parameters#expand
const maxExpanded = 20

// render returns an object as Graph sends it; what was never set is empty or null. The
// certificates of keyCredentials are there if the query names it.
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
		"applicationTemplateId":     nil,
		"createdByAppId":            orNull(o.createdBy),
		"deletedDateTime":           nil,
		"disabledByMicrosoftStatus": nil,
		"description":               nil,
		"info":                      nulls("logoUrl", "marketingUrl", "privacyStatementUrl", "supportUrl", "termsOfServiceUrl"),
		"notes":                     nil,
		"signInAudience":            "AzureADMyOrg",
		"addIns":                    []any{},
		"appRoles":                  []any{},
		"tags":                      []any{},
		"keyCredentials":            keys,
		"passwordCredentials":       secrets,
		"tokenEncryptionKeyId":      nil,
		"verifiedPublisher":         nulls("addedDateTime", "displayName", "verifiedPublisherId"),
	}
	if o.kind == kindApplication {
		t.renderApplication(o, m)
	} else {
		t.renderServicePrincipal(o, m)
	}
	for name, value := range o.props {
		if name != "appRoles" || o.kind == kindApplication {
			m[name] = merged(m[name], value)
		}
	}
	if o.blueprint {
		m["@odata.type"] = "#" + namespace + blueprint
	}
	if q.expand.Name != "" {
		nested := query{selected: q.expand.Selected}
		related := t.related(o.kind, q.expand.Name).list(o)
		values := []any{}
		for _, r := range related[:min(maxExpanded, len(related))] {
			values = append(values, nested.project(r))
		}
		m[q.expand.Name] = values
	}
	return m
}

func (t *Tenant) renderApplication(o *object, m map[string]any) {
	api := nulls("acceptMappedClaims", "requestedAccessTokenVersion")
	maps.Copy(api, map[string]any{"knownClientApplications": []any{}, "oauth2PermissionScopes": []any{}, "preAuthorizedApplications": []any{}})
	web := nulls("homePageUrl", "logoutUrl")
	maps.Copy(web, map[string]any{
		"implicitGrantSettings": map[string]any{"enableAccessTokenIssuance": false, "enableIdTokenIssuance": false},
		"redirectUris":          []any{}, "redirectUriSettings": []any{},
	})
	maps.Copy(m, nulls(
		"certification", "defaultRedirectUri", "groupMembershipClaims", "isDeviceOnlyAuthSupported", "isDisabled",
		"isFallbackPublicClient", "nativeAuthenticationApisEnabled", "optionalClaims", "requestSignatureVerification",
		"samlMetadataUrl", "serviceManagementReference", "servicePrincipalLockConfiguration", "uniqueName",
	))
	maps.Copy(m, map[string]any{
		"api":                       api,
		"createdDateTime":           formatTime(o.createdAt),
		"identifierUris":            []any{},
		"managerApplications":       []any{},
		"oauth2RequirePostResponse": false,
		"parentalControlSettings":   map[string]any{"countriesBlockedForMinors": []any{}, "legalAgeGroupRule": "Allow"},
		"publicClient":              map[string]any{"redirectUris": []any{}},
		"publisherDomain":           t.dir.domain,
		"requiredResourceAccess":    []any{},
		"spa":                       map[string]any{"redirectUris": []any{}},
		"web":                       web,
	})
}

// renderServicePrincipal also gives what a service principal takes from its
// application.
func (t *Tenant) renderServicePrincipal(o *object, m map[string]any) {
	names, scopes, replies, homepage := []any{o.clientID}, []any{}, []any{}, any(nil)
	if app := t.dir.client(kindApplication, o.clientID, view{present: true}); app != nil {
		list := func(from map[string]any, name string) []any {
			values, _ := from[name].([]any)
			return values
		}
		inner := func(name string) map[string]any {
			value, _ := app.props[name].(map[string]any)
			return value
		}
		names = append(names, list(app.props, "identifierUris")...)
		scopes = append(scopes, list(inner("api"), "oauth2PermissionScopes")...)
		for _, platform := range []string{"web", "spa", "publicClient"} {
			replies = append(replies, list(inner(platform), "redirectUris")...)
		}
		homepage = inner("web")["homePageUrl"]
	}
	maps.Copy(m, nulls(
		"appDescription", "isDisabled", "loginUrl", "logoutUrl", "preferredSingleSignOnMode", "preferredTokenSigningKeyThumbprint", "samlSingleSignOnSettings",
	))
	maps.Copy(m, map[string]any{
		"accountEnabled":                         true,
		"alternativeNames":                       []any{},
		"appDisplayName":                         orNull(o.name()),
		"appOwnerOrganizationId":                 t.ID,
		"appRoleAssignmentRequired":              false,
		"appRoles":                               t.appRolesOf(o),
		"homepage":                               homepage,
		"notificationEmailAddresses":             []any{},
		"oauth2PermissionScopes":                 scopes,
		"replyUrls":                              replies,
		"resourceSpecificApplicationPermissions": []any{},
		"servicePrincipalNames":                  names,
		"servicePrincipalType":                   "Application",
	})
}

// appRolesOf returns the roles of a service principal: its own and those of its
// application.
func (t *Tenant) appRolesOf(sp *object) []any {
	own, _ := sp.props["appRoles"].([]any)
	roles := append([]any{}, own...) // an empty list, not null
	if app := t.dir.client(kindApplication, sp.clientID, view{present: true}); app != nil {
		more, _ := app.props["appRoles"].([]any)
		roles = append(roles, more...)
	}
	return roles
}

// nulls is an object whose properties are all null.
func nulls(names ...string) map[string]any {
	m := make(map[string]any, len(names))
	for _, name := range names {
		m[name] = nil
	}
	return m
}

// A relation is a relationship that can be expanded and filtered by.
type relation struct {
	typ  string // of the related objects
	list func(o *object) []map[string]any
}

// related returns a relationship of a type, nil if the tenant does not know it.
func (t *Tenant) related(typ, name string) *relation {
	switch typ + " " + name {
	case kindApplication + " owners", kindServicePrincipal + " owners":
		return &relation{"directoryObject", func(o *object) []map[string]any { return t.ownersOf(o, view{present: true}) }}
	case kindApplication + " " + federatedSet, kindServicePrincipal + " " + federatedSet:
		return &relation{federated, (*object).federatedJSON}
	case kindServicePrincipal + " appRoleAssignedTo":
		return &relation{"appRoleAssignment", func(o *object) []map[string]any { return t.assignmentsOf(o, true) }}
	case kindServicePrincipal + " appRoleAssignments":
		return &relation{"appRoleAssignment", func(o *object) []map[string]any { return t.assignmentsOf(o, false) }}
	}
	return nil
}
