package emulator

import (
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// tokenLifetime is what a token response says. The token itself lives a second
// longer.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
const tokenLifetime = 3599 * time.Second

// assertionType is the only kind of client assertion.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// A loginError is an error answer of the login host. err is OAuth's "error", the
// stable part; number is the AADSTS number.
//
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
type loginError struct {
	status     int
	err        string
	number     int
	text       string
	retryAfter time.Duration
}

// usualLoginError completes an error of which only the number or the status is
// known.
func usualLoginError(e loginError) loginError {
	usual := func(status int, err string, number int, text string) {
		if e.status == 0 {
			e.status = status
		}
		if e.err == "" {
			e.err = err
		}
		if e.number == 0 {
			e.number = number
		}
		if e.text == "" {
			e.text = text
		}
	}
	switch {
	case e.number == 700016:
		usual(http.StatusBadRequest, "unauthorized_client", 0, "Application was not found in the directory.")
	case e.number == 7000112:
		usual(http.StatusBadRequest, "unauthorized_client", 0, "Application is disabled.")
	case e.number == 53003:
		usual(http.StatusBadRequest, "invalid_grant", 0, "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.")
	case e.number == 70011:
		usual(http.StatusBadRequest, "invalid_scope", 0, "The provided request must include a 'scope' input parameter.")
	case e.number == 90002:
		usual(http.StatusBadRequest, "invalid_tenant", 0, "Tenant not found.")
	case e.number == 700027:
		usual(http.StatusUnauthorized, "invalid_client", 0, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found.]")
	case slices.Contains([]int{90033, 50033, 90006, 90012, 90024, 90090}, e.number):
		usual(http.StatusServiceUnavailable, "temporarily_unavailable", 0, "A transient error has occurred. Please try again.")
	// The form of a 429 here is not documented; that it comes with Retry-After is.
	case e.number == 90055 || e.status == http.StatusTooManyRequests:
		usual(http.StatusTooManyRequests, "temporarily_unavailable", 90055, "Tenant throttling error: there are too many incoming requests.")
	case e.number != 0:
		usual(http.StatusUnauthorized, "invalid_client", 0, "The client could not be authenticated.")
	case e.status >= 400 && e.status < 500:
		usual(0, "invalid_request", 900144, "The request is not valid.")
	default:
		usual(http.StatusServiceUnavailable, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again.")
	}
	return e
}

func (t *Tenant) loginFailure(c *call, f *Fault) *response {
	return t.loginAnswer(c, loginError{f.Status, f.Code, f.AADSTS, f.Message, f.RetryAfter})
}

// loginAnswer writes an error as the login host does.
//
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func (t *Tenant) loginAnswer(c *call, e loginError) *response {
	t.lock()
	defer t.mu.Unlock()
	return t.loginAnswerLocked(c, e)
}

// loginAnswerLocked is loginAnswer while t.mu is held.
func (t *Tenant) loginAnswerLocked(c *call, e loginError) *response {
	e = usualLoginError(e)
	stamp := t.now().Format("2006-01-02 15:04:05Z")
	a := jsonResponse(e.status, map[string]any{
		"error": e.err,
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			e.number, e.text, c.id, c.clientID, stamp),
		"error_codes":    []int{e.number},
		"timestamp":      stamp,
		"trace_id":       c.id,
		"correlation_id": c.clientID,
		"error_uri":      fmt.Sprintf("https://%s/error?code=%d", c.Host, e.number),
	})
	if e.retryAfter > 0 {
		a.header.Set("Retry-After", retryAfter(e.retryAfter))
	}
	return a
}

// login answers a request for the login host.
func (t *Tenant) login(c *call) *response {
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(c.Path, "/"), "/")
	if name, ok := strings.CutPrefix(rest, "userrealm/"); ok && c.Method == http.MethodGet && tenant == "common" {
		return t.realm(c, name)
	}
	switch c.Method + " " + rest {
	case "GET v2.0/.well-known/openid-configuration":
		return t.known(c, tenant, t.metadata)
	case "GET .well-known/openid-configuration":
		return t.known(c, tenant, t.metadataV1)
	case "GET discovery/v2.0/keys", "GET discovery/keys":
		if !t.hasUsers(tenant) {
			return t.loginAnswer(c, unknownTenant(tenant))
		}
		return t.publicKeys()
	case "GET discovery/instance":
		if tenant == "common" {
			return t.instances(c)
		}
	case "GET oauth2/v2.0/authorize":
		return t.authorization(c, tenant)
	case "POST oauth2/v2.0/devicecode":
		return t.startDevice(c, tenant)
	case "GET oauth2/deviceauth":
		if tenant == "common" {
			return t.enterCode(c)
		}
	case "POST oauth2/v2.0/token":
		return t.token(c, tenant, false)
	case "POST oauth2/token":
		return t.token(c, tenant, true)
	}
	return t.unknown(c)
}

// known answers with metadata, if the path names this tenant or one of those that
// stand for any.
func (t *Tenant) known(c *call, tenant string, metadata func(host, tenant string) map[string]any) *response {
	if !t.hasUsers(tenant) {
		return t.loginAnswer(c, unknownTenant(tenant))
	}
	return jsonResponse(http.StatusOK, metadata(c.Host, tenant))
}

// isMine says whether a path names this tenant, by its id or its domain.
func (t *Tenant) isMine(tenant string) bool {
	t.lock()
	defer t.mu.Unlock()
	return strings.EqualFold(tenant, t.ID) || strings.EqualFold(tenant, t.Domain)
}

// unknownTenant is answered to the request for the metadata already.
//
// https://github.com/Azure/azure-sdk-for-js (recordings of @azure/identity)
func unknownTenant(tenant string) loginError {
	return loginError{number: 90002, text: fmt.Sprintf("Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenant)}
}

// metadata returns the OpenID configuration. Clients refuse an issuer of another
// host than the authority.
//
// https://learn.microsoft.com/entra/identity-platform/v2-protocols-oidc
func (t *Tenant) metadata(host, tenant string) map[string]any {
	base := "https://" + host + "/" + tenant
	issuer := t.TenantID()
	if isShared(tenant) {
		issuer = "{tenantid}" // to the letter
	}
	return map[string]any{
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"issuer":                                "https://" + host + "/" + issuer + "/v2.0",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"scopes_supported":                      []string{"openid"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"claims_supported":                      []string{"aud", "iss", "iat", "exp"},
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   host,
	}
}

// metadataV1 returns the configuration of the endpoints of version 1.
//
// https://learn.microsoft.com/entra/identity-platform/access-tokens#token-endpoints-and-issuers
func (t *Tenant) metadataV1(host, tenant string) map[string]any {
	m := t.metadata(host, tenant)
	base := "https://" + host + "/" + tenant
	issuer := t.TenantID()
	if isShared(tenant) {
		issuer = "{tenantid}"
	}
	m["issuer"] = "https://sts.windows.net/" + issuer + "/"
	m["jwks_uri"] = base + "/discovery/keys"
	m["token_endpoint"] = base + "/oauth2/token"
	delete(m, "authorization_endpoint") // not served
	delete(m, "device_authorization_endpoint")
	return m
}

// publicKeys returns the key that access tokens are signed with.
func (t *Tenant) publicKeys() *response {
	key, err := t.signingKey()
	if err != nil {
		return jsonResponse(http.StatusInternalServerError, map[string]any{"error": "server_error"})
	}
	return jsonResponse(http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "kid": signingKeyID,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
	}}})
}

// instances answers instance discovery: this host is the only one, or one of the
// global cloud's.
//
// https://learn.microsoft.com/entra/msal/dotnet/advanced/instance-metadata
func (t *Tenant) instances(c *call) *response {
	tenant := t.TenantID()
	if u, err := url.Parse(c.Query.Get("authorization_endpoint")); err == nil {
		if first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/"); first != "" {
			tenant = first
		}
	}
	network, cache, aliases := c.Host, c.Host, []string{c.Host}
	if names := loginHosts(); slices.Contains(names, hostName(c.Host)) {
		network, cache, aliases = names[0], names[1], names
	}
	return jsonResponse(http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + c.Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": network, "preferred_cache": cache, "aliases": aliases}},
	})
}

// formValue returns a field of a form, empty if it cannot be read.
func formValue(body []byte, name string) string {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	return form.Get(name)
}

// token answers a token request. version 1 names a resource where version 2 has a
// scope, and writes its numbers as texts.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
// and https://learn.microsoft.com/previous-versions/azure/active-directory/azuread-dev/v1-oauth2-client-creds-grant-flow
func (t *Tenant) token(c *call, tenant string, version1 bool) *response {
	if !t.hasUsers(tenant) {
		return t.loginAnswer(c, unknownTenant(tenant))
	}
	form, err := url.ParseQuery(string(c.Body))
	if err != nil || c.bodyErr != nil || !isType(c.Header, "application/x-www-form-urlencoded") {
		return t.loginAnswer(c, loginError{status: http.StatusBadRequest, err: "invalid_request", number: 900144, text: "The request body must contain the following parameter: 'grant_type'."})
	}
	grantType := form.Get("grant_type")
	if version1 {
		if grantType != "client_credentials" {
			return t.unknown(c)
		}
		form.Set("scope", form.Get("resource")+"/.default")
	}
	switch grantType {
	case "authorization_code":
		if !isPublicClient(form) && t.isMine(tenant) {
			return t.redeem(c, tenant, form)
		}
		return t.delegated(c, tenant, form)
	case deviceGrant, deviceGrantShort, "refresh_token":
		return t.delegated(c, tenant, form)
	case "password", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:saml2-bearer":
		return t.unknown(c) // Entra knows them, this tenant does not
	}
	if isShared(tenant) {
		return t.loginAnswer(c, loginError{status: http.StatusBadRequest, err: "invalid_request", number: 50059, text: "No tenant-identifying information found in either the request or implied by any provided credentials."})
	}
	claims, refusal := t.authorize(c, tenant, form)
	if refusal != nil {
		return t.loginAnswer(c, *refusal)
	}
	token, err := t.sign(claims)
	if err != nil {
		return t.loginAnswer(c, loginError{status: http.StatusInternalServerError})
	}
	seconds := int(tokenLifetime / time.Second)
	if version1 {
		text := strconv.Itoa(seconds)
		return jsonResponse(http.StatusOK, map[string]any{
			"token_type": "Bearer", "expires_in": text, "ext_expires_in": text, "access_token": token,
			"expires_on": fmt.Sprint(claims["exp"]), "not_before": fmt.Sprint(claims["nbf"]), "resource": form.Get("resource"),
		})
	}
	return jsonResponse(http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token,
	})
}

// authorize checks a token request against what the answering replica knows and
// returns the claims of the token.
func (t *Tenant) authorize(c *call, tenant string, form url.Values) (jwt.MapClaims, *loginError) {
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		return nil, &loginError{status: http.StatusBadRequest, err: "unsupported_grant_type", number: 70003, text: "The app requested an unsupported grant type '" + grant + "'."}
	}
	t.lock()
	defer t.mu.Unlock()
	now := t.now()
	client, refusal := t.clientOf(form)
	if refusal != nil {
		return nil, refusal
	}
	audience, refusal := t.resourceOf(form.Get("scope"), c.Host)
	if refusal != nil {
		return nil, refusal
	}
	method, refusal := t.authenticateClient(c, client, tenant, form)
	t.noteSignIn(c, client, form, refusal)
	if refusal != nil {
		return nil, refusal
	}
	app, sp := client.app, client.sp
	keyID, thumbprint := signedWith(form, app, sp)
	if thumbprint == "" {
		keyID = "" // a secret
	}
	var roles []string // those of other resources are not known
	if slices.Contains(slices.Concat(audiences(c.Host), outlook()), audience) {
		roles = t.dir.roles(sp.id)
	}
	return jwt.MapClaims{
		"emulator_credential": keyID,
		"aud":                 audience, "iss": "https://sts.windows.net/" + t.ID + "/",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLifetime + time.Second).Unix(),
		"appid": app.clientID, "appidacr": method, "idtyp": "app", "ver": "1.0",
		"oid": sp.id, "sub": sp.id, "tid": t.ID, "roles": roles, "uti": uuid.NewString(),
	}, nil
}

// client is an app that asks for a token.
type client struct {
	id      string
	app, sp *object
}

// clientOf finds who asks, as the answering replica knows it. t.mu is held.
func (t *Tenant) clientOf(form url.Values) (client, *loginError) {
	v := t.nextReplica(&t.turn, t.Propagation, 1)
	id := strings.ToLower(form.Get("client_id"))
	found := client{id, t.dir.client(kindApplication, id, v), t.dir.client(kindServicePrincipal, id, v)}
	if found.app == nil || found.sp == nil {
		refusal := unknownClient(form.Get("client_id"), t.Domain)
		return found, &refusal
	}
	return found, nil
}

func unknownClient(id, domain string) loginError {
	return loginError{number: 700016, text: fmt.Sprintf("Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", id, domain)}
}

// authenticateClient checks that who asks is the app, and returns how as appidacr
// has it. t.mu is held.
func (t *Tenant) authenticateClient(c *call, found client, tenant string, form url.Values) (string, *loginError) {
	app, sp := found.app, found.sp
	var refusal *loginError
	method := "2" // a certificate
	switch {
	case form.Has("client_assertion"):
		a := assertion{text: form.Get("client_assertion"), typ: form.Get("client_assertion_type"), clientID: found.id, now: t.now()}
		for _, name := range []string{tenant, t.ID, t.Domain} {
			base := "https://" + c.Host + "/" + name
			a.audiences = append(a.audiences, base+"/v2.0", base+"/oauth2/v2.0/token", base+"/oauth2/token")
		}
		refusal = a.check(app, sp)
	case form.Has("client_secret"):
		method = "1"
		refusal = checkSecret(form.Get("client_secret"), t.now(), app, sp)
	default:
		refusal = &loginError{number: 7000218, text: "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}
	}
	if refusal != nil {
		return "", refusal
	}
	// What was switched off, or blocked, shows only to those who know the key.
	if app.disabled() || sp.disabled() {
		return "", &loginError{number: 7000112, err: t.DeniedError, text: fmt.Sprintf("Application '%s'(%s) is disabled.", app.clientID, app.name())}
	}
	if t.dir.blocked[found.id] {
		return "", &loginError{number: 53003, err: t.DeniedError}
	}
	return method, nil
}

// resourceOf returns the resource that a scope asks for: Graph, in any cloud and under
// the host that was asked; Exchange Online; Resource Manager; or any that has a service
// principal here; and the portal. t.mu is held.
//
// https://learn.microsoft.com/entra/identity-platform/scopes-oidc#the-default-scope
func (t *Tenant) resourceOf(scope, host string) (string, *loginError) {
	audience := ""
	for s := range strings.FieldsSeq(scope) {
		switch s {
		case "openid", "offline_access", "profile": // MSAL always adds them
			continue
		}
		resource, ok := strings.CutSuffix(s, "/.default")
		if !ok || audience != "" {
			return "", &loginError{number: 70011, text: fmt.Sprintf("The provided value for the input parameter 'scope' is not valid. The scope %s is not valid.", scope)}
		}
		audience = resource
	}
	if audience == "" {
		return "", &loginError{number: 70011, text: "The provided request must include a 'scope' input parameter."}
	}
	audience = strings.TrimSuffix(audience, "/")
	if !slices.Contains(slices.Concat(audiences(host), outlook(), managementNames(), []string{portalAppID}), audience) && !t.isResource(audience) {
		return "", &loginError{status: http.StatusBadRequest, err: "invalid_resource", number: 500011, text: fmt.Sprintf("The resource principal named %s was not found in the tenant.", audience)}
	}
	return audience, nil
}

// isResource says whether a service principal has the name: its client ID, or one that
// the app or itself was given. t.mu is held.
func (t *Tenant) isResource(name string) bool {
	if t.dir.client(kindServicePrincipal, name, view{present: true}) != nil {
		return true
	}
	has := func(o *object, property string) bool {
		if o == nil {
			return false
		}
		names, _ := o.props[property].([]any)
		return slices.ContainsFunc(names, func(n any) bool { return n == name || n == name+"/" })
	}
	for _, sp := range t.dir.list(kindServicePrincipal, view{present: true}) {
		if has(sp, "servicePrincipalNames") || has(t.dir.client(kindApplication, sp.clientID, view{present: true}), "identifierUris") {
			return true
		}
	}
	return false
}

// audiences returns the names of Graph: in each cloud, by client ID, and under the
// host that was asked.
//
// https://learn.microsoft.com/graph/deployments
func audiences(host string) []string {
	return []string{
		"https://graph.microsoft.com", "https://graph.microsoft.us", "https://dod-graph.microsoft.us",
		"https://microsoftgraph.chinacloudapi.cn", graphAppID, "https://" + host,
	}
}

// outlook returns the names of Exchange Online, for SMTP. Graph refuses its tokens.
//
// https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
func outlook() []string {
	return []string{"https://outlook.office365.com", "https://outlook.office365.us", "https://partner.outlook.cn"}
}

// checkSecret checks a client secret against those of the app.
func checkSecret(text string, now time.Time, objects ...*object) *loginError {
	for _, o := range objects {
		for _, s := range o.secrets {
			if !s.matches(text) {
				continue
			}
			if now.Before(s.Start) || !now.Before(s.End) {
				return &loginError{number: 7000222, text: fmt.Sprintf("The provided client secret keys for app '%s' are expired.", o.clientID)}
			}
			return nil
		}
	}
	return &loginError{number: 7000215, text: fmt.Sprintf("Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", objects[0].clientID)}
}
