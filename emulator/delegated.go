package emulator

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// cliAppID is the client ID of the Azure CLI, in every tenant. Other programs that
// sign a user in without an app of their own use it, too.
//
// https://learn.microsoft.com/troubleshoot/entra/entra-id/governance/verify-first-party-apps-sign-in
const cliAppID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// cliScopes are the delegated permissions of Microsoft Graph that its tokens carry.
//
// https://github.com/Azure/azure-cli (what its "ad" commands need); observed by
// others in tokens, not documented.
func cliScopes() []string {
	return []string{
		"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "AuditLog.Read.All",
		"DelegatedPermissionGrant.ReadWrite.All", "Directory.AccessAsUser.All", "Group.ReadWrite.All", "User.ReadWrite.All",
	}
}

// Directory roles that a [User] may have.
const (
	GlobalAdministrator           = "Global Administrator"
	PrivilegedRoleAdministrator   = "Privileged Role Administrator"
	ApplicationAdministrator      = "Application Administrator"
	CloudApplicationAdministrator = "Cloud Application Administrator"
)

// directoryRoles are the template ids of the roles, as the claim wids has them.
//
// https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
func directoryRoles() map[string]string {
	return map[string]string{
		GlobalAdministrator:           "62e90394-69f5-4237-9190-012177145e10",
		PrivilegedRoleAdministrator:   "e8611ab8-c189-46e8-94e1-60213ab1f814",
		ApplicationAdministrator:      "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",
		CloudApplicationAdministrator: "158c047a-c907-4556-b7ef-446551a6b5f7",
	}
}

// effective returns what a token of a user allows, in the names of application
// permissions: the scopes of the client, as far as the roles of the user go. wids are
// the template ids of these.
//
// https://learn.microsoft.com/graph/permissions-overview#delegated-permissions
func effective(scopes, wids []string) []string {
	is := func(roles ...string) bool {
		return slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(wids, directoryRoles()[role]) })
	}
	allowed := func(anyOf ...string) bool {
		return slices.ContainsFunc(anyOf, func(s string) bool { return slices.Contains(scopes, s) })
	}
	const asUser = "Directory.AccessAsUser.All" // whatever the user may
	var can []string
	if allowed("Application.Read.All", "Application.ReadWrite.All", asUser) {
		can = append(can, "Application.Read.All") // members read all
	}
	if allowed("Application.ReadWrite.All", asUser) {
		can = append(can, "Application.ReadWrite.OwnedBy") // members register apps, and own them
		if is(GlobalAdministrator, ApplicationAdministrator, CloudApplicationAdministrator) {
			can = append(can, "Application.ReadWrite.All")
		}
	}
	if allowed("AppRoleAssignment.ReadWrite.All", asUser) && is(GlobalAdministrator, PrivilegedRoleAdministrator) {
		can = append(can, "AppRoleAssignment.ReadWrite.All")
	}
	if allowed("DelegatedPermissionGrant.ReadWrite.All", asUser) && is(GlobalAdministrator, PrivilegedRoleAdministrator, ApplicationAdministrator, CloudApplicationAdministrator) {
		can = append(can, "DelegatedPermissionGrant.ReadWrite.All")
	}
	if allowed("User.Read.All", "User.ReadWrite.All", asUser) {
		can = append(can, "User.Read.All")
	}
	if allowed("Directory.Read.All", "Directory.ReadWrite.All", asUser) {
		can = append(can, "Directory.Read.All")
	}
	if allowed("AuditLog.Read.All") && is(GlobalAdministrator) {
		can = append(can, "AuditLog.Read.All")
	}
	if allowed("Policy.Read.All", asUser) && is(GlobalAdministrator, PrivilegedRoleAdministrator, ApplicationAdministrator, CloudApplicationAdministrator) {
		can = append(can, "Policy.Read.All")
	}
	return can
}

// A session is a user who signed in to a client, as a refresh token has it.
type session struct {
	user     User
	clientID string
}

// A device is a device code that was given out.
type device struct {
	clientID, userCode, scope string
	ends                      time.Time
	user                      *User // who entered the code; nil: nobody yet
}

// deviceLifetime is how long a device code lives, and devicePace how often a client
// may ask for its result.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
const (
	deviceLifetime = 15 * time.Minute
	devicePace     = 5 * time.Second
)

// deviceGrant is the grant type of a device code; deviceGrantShort is what MSAL for Go
// sends.
//
// https://github.com/AzureAD/microsoft-authentication-library-for-go (grant package)
const (
	deviceGrant      = "urn:ietf:params:oauth:grant-type:device_code"
	deviceGrantShort = "device_code"
)

// isPublicClient says whether a client signs users in without a secret of its own.
func isPublicClient(form url.Values) bool {
	return strings.EqualFold(form.Get("client_id"), cliAppID)
}

// hasUsers says whether a path names a directory that users of this tenant sign in
// to: the tenant itself, or those that stand for any.
//
// https://learn.microsoft.com/entra/identity-platform/v2-protocols#endpoints
func (t *Tenant) hasUsers(tenant string) bool { return isShared(tenant) || t.isMine(tenant) }

func isShared(tenant string) bool { return tenant == "common" || tenant == "organizations" }

// withID completes a user.
func (u User) withID() User {
	if u.ObjectID == "" {
		u.ObjectID = uuid.NewSHA1(uuid.NameSpaceURL, []byte(u.Name)).String()
	}
	return u
}

// signedIn returns the user whom hint names, else the first. t.mu is held.
func (t *Tenant) signedIn(hint string) (User, bool) {
	i := slices.IndexFunc(t.Users, func(u User) bool { return strings.EqualFold(u.Name, hint) })
	if i < 0 && (len(t.Users) == 0 || hint != "") {
		return User{}, false
	}
	return t.Users[max(0, i)].withID(), true
}

// startDevice answers a client that wants a user to sign in on another device.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code#device-authorization-request
func (t *Tenant) startDevice(c *call, tenant string) *response {
	if !t.hasUsers(tenant) {
		return t.loginAnswer(c, unknownTenant(tenant))
	}
	form, err := url.ParseQuery(string(c.Body))
	if err != nil || c.bodyErr != nil || !isPublicClient(form) {
		return t.unknownClientAnswer(c, form)
	}
	code := rand.Text()
	d := &device{clientID: strings.ToLower(form.Get("client_id")), userCode: rand.Text()[:9], scope: form.Get("scope")}
	t.lock()
	defer t.mu.Unlock()
	if _, refusal := t.delegatedTo(d.scope, c.Host); refusal != nil {
		return t.loginAnswerLocked(c, *refusal)
	}
	d.ends = t.now().Add(deviceLifetime)
	if t.devices == nil || len(t.devices) >= keptEntries {
		t.devices = map[string]*device{}
	}
	t.devices[code] = d
	page := "https://" + c.Host + "/common/oauth2/deviceauth"
	return jsonResponse(http.StatusOK, map[string]any{
		"user_code": d.userCode, "device_code": code, "verification_uri": page,
		"expires_in": int(deviceLifetime / time.Second), "interval": int(devicePace / time.Second),
		"message": fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, d.userCode),
	})
}

func (t *Tenant) unknownClientAnswer(c *call, form url.Values) *response {
	t.lock()
	defer t.mu.Unlock()
	return t.loginAnswerLocked(c, unknownClient(form.Get("client_id"), t.Domain))
}

// enterCode is the page where a user enters the code of a device, here as the
// parameter otc.
func (t *Tenant) enterCode(c *call) *response {
	t.lock()
	defer t.mu.Unlock()
	user, ok := t.signedIn(c.Query.Get("login_hint"))
	page := func(status int, text string) *response {
		return jsonResponse(status, map[string]any{"message": text}) // there is no form to show
	}
	if !ok {
		return page(http.StatusForbidden, "AADSTS50058: no user is signed in.")
	}
	for _, d := range t.devices {
		if d.userCode == strings.ToUpper(c.Query.Get("otc")) && d.user == nil && t.now().Before(d.ends) {
			d.user = &user
			return page(http.StatusOK, "You have signed in on your device. You may now close this window.")
		}
	}
	return page(http.StatusBadRequest, "That code didn't work. Check the code and try again.")
}

// deviceSession redeems a device code, once a user has entered it. t.mu is held.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code#authenticating-the-user
func (t *Tenant) deviceSession(form url.Values) (session, *loginError) {
	code := form.Get("device_code")
	d := t.devices[code]
	switch {
	case d == nil || !strings.EqualFold(d.clientID, form.Get("client_id")):
		return session{}, &loginError{status: http.StatusBadRequest, err: "bad_verification_code", number: 70018, text: "The provided device code is not valid."}
	case !t.now().Before(d.ends):
		return session{}, &loginError{status: http.StatusBadRequest, err: "expired_token", number: 70020, text: "The provided value for the 'code' parameter has expired."}
	case d.user == nil:
		return session{}, &loginError{status: http.StatusBadRequest, err: "authorization_pending", number: 70016, text: "OAuth 2.0 device flow error. Authorization is pending. Continue polling."}
	}
	delete(t.devices, code)
	return session{*d.user, d.clientID}, nil
}

// refreshedSession is that of a refresh token. It may be used again. t.mu is held.
func (t *Tenant) refreshedSession(form url.Values) (session, *loginError) {
	s, ok := t.refreshes[form.Get("refresh_token")]
	if !ok || !strings.EqualFold(s.clientID, form.Get("client_id")) {
		return session{}, &loginError{status: http.StatusBadRequest, err: "invalid_grant", number: 9002313, text: "Invalid request. Request is malformed or invalid."}
	}
	return s, nil
}

// delegatedTo returns the resource that the scope of a user's sign-in asks for.
// t.mu is held.
func (t *Tenant) delegatedTo(scope, host string) (string, *loginError) {
	var rest []string
	for s := range strings.FieldsSeq(scope) {
		if name, ok := strings.CutSuffix(s, "/.default"); ok {
			rest = append(rest, name+"/.default")
		} else if !slices.Contains([]string{"openid", "offline_access", "profile", "email"}, s) {
			// https://graph.microsoft.com/User.Read, or User.Read for Graph
			name := "https://" + graphHost
			if i := strings.LastIndex(s, "/"); i > 0 {
				name = s[:i]
			}
			rest = append(rest, name+"/.default")
		}
	}
	if rest = slices.Compact(rest); len(rest) == 0 {
		return "https://" + graphHost, nil // openid alone: for the user's own profile
	}
	return t.resourceOf(strings.Join(rest, " "), host)
}

// delegated answers a token request of a public client.
func (t *Tenant) delegated(c *call, tenant string, form url.Values) *response {
	if !t.hasUsers(tenant) {
		return t.loginAnswer(c, unknownTenant(tenant))
	}
	if !isPublicClient(form) {
		return t.unknownClientAnswer(c, form)
	}
	var (
		s       session
		nonce   string
		scope   = form.Get("scope")
		refusal *loginError
	)
	t.lock()
	switch form.Get("grant_type") {
	case deviceGrant, deviceGrantShort:
		if d := t.devices[form.Get("device_code")]; d != nil && scope == "" {
			scope = d.scope
		}
		s, refusal = t.deviceSession(form)
	case "refresh_token":
		s, refusal = t.refreshedSession(form)
	default:
		var g *grant
		if g, refusal = t.useCode(strings.ToLower(form.Get("client_id")), form); refusal == nil {
			s, nonce = session{g.user, g.clientID}, g.nonce
			if scope == "" {
				scope = g.scope
			}
		}
	}
	audience := ""
	if refusal == nil {
		audience, refusal = t.delegatedTo(scope, c.Host)
	}
	now := t.now()
	t.mu.Unlock()
	if refusal != nil {
		return t.loginAnswer(c, *refusal)
	}
	return t.delegatedAnswer(c, s, audience, nonce, now)
}

// delegatedAnswer gives a user's client its tokens.
func (t *Tenant) delegatedAnswer(c *call, s session, audience, nonce string, now time.Time) *response {
	tenantID := t.TenantID()
	scopes := []string{"user_impersonation"}
	if slices.Contains(audiences(c.Host), audience) {
		scopes = cliScopes()
	}
	var wids []string
	for _, role := range s.user.Roles {
		if id := directoryRoles()[role]; id != "" {
			wids = append(wids, id)
		}
	}
	pairwise := sha256.Sum256([]byte(s.clientID + s.user.ObjectID))
	access, err := t.sign(jwt.MapClaims{
		"aud": audience, "iss": "https://sts.windows.net/" + tenantID + "/",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLifetime + time.Second).Unix(),
		"appid": s.clientID, "appidacr": "0", "idtyp": "user", "ver": "1.0", "tid": tenantID,
		"oid": s.user.ObjectID, "sub": hex.EncodeToString(pairwise[:]), "name": s.user.Name, "upn": s.user.Name, "unique_name": s.user.Name,
		"scp": strings.Join(scopes, " "), "wids": wids, "uti": uuid.NewString(),
	})
	if err != nil {
		return t.loginAnswer(c, loginError{status: http.StatusInternalServerError})
	}
	id, err := t.sign(t.identity(c.Host, &grant{user: s.user, clientID: s.clientID, nonce: nonce}, now))
	if err != nil {
		return t.loginAnswer(c, loginError{status: http.StatusInternalServerError})
	}
	refresh := rand.Text() + rand.Text()
	t.lock()
	if t.refreshes == nil || len(t.refreshes) >= keptEntries {
		t.refreshes = map[string]session{}
	}
	t.refreshes[refresh] = s
	t.mu.Unlock()
	for i := range scopes {
		scopes[i] = audience + "/" + scopes[i]
	}
	// https://github.com/AzureAD/microsoft-authentication-library-for-python (the
	// account of a token cache is made of it)
	info, err := json.Marshal(map[string]string{"uid": s.user.ObjectID, "utid": tenantID})
	if err != nil {
		return t.loginAnswer(c, loginError{status: http.StatusInternalServerError})
	}
	seconds := int(tokenLifetime / time.Second)
	return jsonResponse(http.StatusOK, map[string]any{
		"token_type": "Bearer", "scope": strings.Join(append(scopes, audience+"/.default"), " "),
		"expires_in": seconds, "ext_expires_in": seconds,
		"access_token": access, "refresh_token": refresh, "id_token": id, "foci": "1",
		"client_info": base64.RawURLEncoding.EncodeToString(info),
	})
}

// realm says how a user signs in: with a password that Entra itself checks.
//
// https://github.com/AzureAD/microsoft-authentication-library-for-python (wstrust
// discovery); the answer for a managed domain.
func (t *Tenant) realm(c *call, name string) *response {
	_, domain, ok := strings.Cut(name, "@")
	if !ok {
		return t.unknown(c)
	}
	return jsonResponse(http.StatusOK, map[string]any{
		"ver": "1.0", "account_type": "Managed", "domain_name": domain,
		"cloud_instance_name": "microsoftonline.com", "cloud_audience_urn": "urn:federation:MicrosoftOnline",
	})
}
