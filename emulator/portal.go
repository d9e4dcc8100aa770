package emulator

import (
	"net/http"
	"slices"
	"strings"
)

// portalHost is the part of the Azure portal that gives an administrator's consent.
// It is not documented; the Azure CLI's "ad app permission admin-consent" asks it.
//
// https://github.com/Azure/azure-cli, role module, admin_consent
const portalHost = "main.iam.ad.ext.azure.com"

// portalAppID is the resource of its tokens.
const portalAppID = "74658136-14ec-4630-ad9b-26e160ff0fc6"

// portal answers for it: consent to everything that a registration asks for, in the
// name of all.
func (t *Tenant) portal(c *call) *response {
	id, ok := strings.CutPrefix(c.Path, "/api/RegisteredApplications/")
	id, isConsent := strings.CutSuffix(id, "/Consent")
	if !ok || !isConsent || c.Method != http.MethodPost || c.Query.Get("onBehalfOfAll") != "true" {
		return t.unknown(c)
	}
	refuse := func(status int, text string) *response {
		return jsonResponse(status, map[string]any{"Message": text})
	}
	by, err := t.authenticate(c.Request, []string{portalAppID})
	// It serves users only: an app gets 401.
	// https://github.com/Azure/azure-cli/issues/12137
	if err != nil || !by.user {
		return refuse(http.StatusUnauthorized, "Unauthorized")
	}
	if !by.is(GlobalAdministrator, PrivilegedRoleAdministrator) {
		return refuse(http.StatusForbidden, "Forbidden")
	}
	t.lock()
	defer t.mu.Unlock()
	app := t.dir.client(kindApplication, id, view{present: true})
	sp := t.dir.client(kindServicePrincipal, id, view{present: true})
	if app == nil || sp == nil {
		return refuse(http.StatusBadRequest, "The app or its service principal was not found.")
	}
	t.consent(app, sp)
	return noContent()
}

// consent grants what the app asks for. t.mu is held.
func (t *Tenant) consent(app, sp *object) {
	apis, _ := app.props["requiredResourceAccess"].([]any)
	for _, a := range apis {
		api, _ := a.(map[string]any)
		resource := t.dir.client(kindServicePrincipal, text(api, "resourceAppId"), view{present: true})
		if resource == nil {
			continue
		}
		list, _ := api["resourceAccess"].([]any)
		for _, r := range list {
			// Delegated ones (Scope) are known by number only, and the tenant has no names
			// for them.
			if role, _ := r.(map[string]any); text(role, "type") == "Role" {
				t.dir.grant(assignment{
					id: newID(), roleID: strings.ToLower(text(role, "id")), principalID: sp.id, resourceID: resource.id, createdAt: t.now(),
				})
			}
		}
	}
}

// is says whether the caller is a user with one of the directory roles.
func (c *caller) is(roles ...string) bool {
	return c.user && slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(c.wids, directoryRoles()[role]) })
}
