package emulator

import (
	"fmt"
	"net/http"
	"slices"
)

// managementAppID is the client ID of Azure Resource Manager in every tenant.
//
// https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in
const managementAppID = "797f4846-ba00-4fd7-ba43-dac1f8f63013"

// managementNames are the resources that tokens for Azure Resource Manager are asked
// for with.
func managementNames() []string {
	names := []string{managementAppID}
	for _, host := range managementHosts() {
		names = append(names, "https://"+host)
	}
	return names
}

// management answers for Azure Resource Manager: the tenant has no subscription, and
// is not listed. Clients ask for both at sign-in.
//
// https://learn.microsoft.com/rest/api/resources/tenants/list and
// https://learn.microsoft.com/rest/api/resources/subscriptions/list
func (t *Tenant) management(c *call) *response {
	if c.Method != http.MethodGet || !slices.Contains([]string{"/tenants", "/subscriptions"}, c.Path) {
		return t.unknown(c)
	}
	refuse := func(status int, code, message string) *response {
		return jsonResponse(status, map[string]any{"error": map[string]any{"code": code, "message": message}})
	}
	if by, err := t.authenticate(c.Request, managementNames()); err != nil || by == nil {
		a := refuse(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed.")
		a.header.Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization_uri="https://%s/%s", error="invalid_token", error_description="The access token is missing or invalid."`, loginHosts()[0], t.TenantID()))
		return a
	}
	if c.Query.Get("api-version") == "" {
		return refuse(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	body := map[string]any{"value": []any{}}
	if c.Path == "/subscriptions" {
		body["count"] = map[string]any{"type": "Total", "value": 0}
	}
	return jsonResponse(http.StatusOK, body)
}
