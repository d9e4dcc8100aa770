package emulator

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// A User signs in with a browser. There is no form and no password: the login host
// takes the user that login_hint names, else the first.
type User struct {
	// Name is the user principal name.
	Name string
	// ObjectID is made if it is empty and the user signs in.
	ObjectID string
	// Groups are the object IDs of the user's groups, all in the groups claim.
	Groups []string
	// Roles are the directory roles of the user, by name: [GlobalAdministrator] and
	// so on. Without one it is a member who may register apps.
	Roles []string
}

// codeLifetime is how long an authorization code lives: "typically 1 minute".
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow
const codeLifetime = time.Minute

// maxGroups is how many groups a token names; with more it names none, and says
// where to ask.
//
// https://learn.microsoft.com/security/zero-trust/develop/configure-tokens-group-claims-app-roles
const maxGroups = 200

// grant is an authorization code that was given out.
type grant struct {
	user                             User
	clientID, redirect, nonce, proof string
	scope                            string // of a public client
	ends                             time.Time
	used                             bool
}

// authorization answers a browser that comes to sign in: with a code at the address
// that the app registered. What is wrong with the app or the address is said here,
// since nobody knows then where the browser may be sent.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#request-an-authorization-code
func (t *Tenant) authorization(c *call, tenant string) *response {
	q := c.Query
	public := isPublicClient(q)
	if !t.isMine(tenant) && (!public || !isShared(tenant)) {
		return t.loginAnswer(c, unknownTenant(tenant))
	}
	clientID, redirect := strings.ToLower(q.Get("client_id")), q.Get("redirect_uri")
	t.lock()
	known := public || t.dir.client(kindApplication, clientID, t.nextReplica(&t.turn, t.Propagation, 1)) != nil
	registered := slices.Contains(t.RedirectURIs[clientID], redirect) || public && isLoopback(redirect)
	user, present := t.signedIn(q.Get("login_hint"))
	now := t.now()
	var wrong *loginError
	if public {
		_, wrong = t.delegatedTo(q.Get("scope"), c.Host)
	}
	t.mu.Unlock()
	switch {
	case !known:
		return t.loginAnswer(c, loginError{number: 700016, text: fmt.Sprintf("Application with identifier '%s' was not found in the directory.", clientID)})
	case !registered:
		return t.loginAnswer(c, loginError{status: http.StatusBadRequest, err: "invalid_request", number: 50011, text: fmt.Sprintf("The redirect URI '%s' specified in the request does not match the redirect URIs configured for the application '%s'.", redirect, clientID)})
	}
	mode := q.Get("response_mode")
	if mode != "" && mode != "query" && mode != "form_post" {
		return t.unknown(c)
	}
	back := func(values url.Values) *response {
		values.Set("state", q.Get("state"))
		if mode == "form_post" {
			return formPost(redirect, values)
		}
		return &response{http.StatusFound, http.Header{"Location": {redirect + "?" + values.Encode()}}, nil}
	}
	refuse := func(err, text string) *response {
		return back(url.Values{"error": {err}, "error_description": {text}})
	}
	scopes := strings.Fields(q.Get("scope"))
	switch {
	case q.Get("response_type") != "code":
		return refuse("unsupported_response_type", "AADSTS700054: only response_type 'code' is enabled for the application.")
	case wrong != nil:
		return refuse(wrong.err, fmt.Sprintf("AADSTS%d: %s", wrong.number, wrong.text))
	case !slices.Contains(scopes, "openid") || !public && slices.ContainsFunc(scopes, func(s string) bool {
		return !slices.Contains([]string{"openid", "profile", "email", "offline_access"}, s)
	}):
		return refuse("invalid_scope", "AADSTS70011: The provided value for the input parameter 'scope' is not valid.")
	case q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		// Entra also lets confidential clients in without; this tenant does not.
		return refuse("invalid_request", "AADSTS9002325: Proof Key for Code Exchange is required.")
	case !public && q.Get("nonce") == "" || q.Get("state") == "":
		return refuse("invalid_request", "AADSTS900144: The request must contain the parameters 'nonce' and 'state'.")
	case !present:
		return refuse("login_required", "AADSTS50058: no user is signed in.")
	}
	g := grant{
		user: user, clientID: clientID, redirect: redirect, nonce: q.Get("nonce"), proof: q.Get("code_challenge"),
		scope: q.Get("scope"), ends: now.Add(codeLifetime),
	}
	code := rand.Text()
	t.lock()
	defer t.mu.Unlock()
	if t.grants == nil || len(t.grants) >= keptEntries {
		t.grants = map[string]*grant{}
	}
	t.grants[code] = &g
	return back(url.Values{"code": {code}, "session_state": {uuid.NewString()}})
}

// formPost is a page that sends its form by itself.
//
// https://openid.net/specs/oauth-v2-form-post-response-mode-1_0.html
func formPost(to string, values url.Values) *response {
	var page strings.Builder
	fmt.Fprintf(&page, `<html><head><title>Working...</title></head><body><form method="POST" name="hiddenform" action="%s">`, html.EscapeString(to))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&page, `<input type="hidden" name="%s" value="%s"/>`, html.EscapeString(name), html.EscapeString(values.Get(name)))
	}
	page.WriteString(`<noscript><input type="submit" name="submit" value="Submit"/></noscript></form><script>document.forms[0].submit();</script></body></html>`)
	return &response{http.StatusOK, http.Header{"Content-Type": {"text/html; charset=utf-8"}}, []byte(page.String())}
}

// isLoopback says whether a redirect URI is that of a program on the user's own
// machine, where the port does not matter.
//
// https://learn.microsoft.com/entra/identity-platform/reply-url#localhost-exceptions
func isLoopback(redirect string) bool {
	u, err := url.Parse(redirect)
	return err == nil && u.Scheme == "http" && u.Hostname() == "localhost"
}

// useCode takes an authorization code, once. t.mu is held.
//
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#redeem-a-code-for-an-access-token
func (t *Tenant) useCode(clientID string, form url.Values) (*grant, *loginError) {
	g := t.grants[form.Get("code")]
	digest := sha256.Sum256([]byte(form.Get("code_verifier")))
	invalid := func(number int, text string) (*grant, *loginError) {
		return nil, &loginError{http.StatusBadRequest, "invalid_grant", number, text, 0}
	}
	switch {
	case g == nil || g.clientID != clientID:
		return invalid(9002313, "Invalid request. Request is malformed or invalid.")
	case g.used:
		return invalid(54005, "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.")
	case !t.now().Before(g.ends):
		return invalid(70008, "The provided authorization code or refresh token has expired due to inactivity.")
	case g.redirect != form.Get("redirect_uri"):
		return invalid(50011, "The redirect URI specified in the request does not match the one of the authorization request.")
	case base64.RawURLEncoding.EncodeToString(digest[:]) != g.proof:
		return invalid(501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request.")
	}
	g.used = true
	return g, nil
}

// redeem answers a token request of a web app with an authorization code.
func (t *Tenant) redeem(c *call, tenant string, form url.Values) *response {
	t.lock()
	found, refusal := t.clientOf(form)
	if refusal == nil {
		_, refusal = t.authenticateClient(c, found, tenant, form)
	}
	var g *grant
	if refusal == nil {
		g, refusal = t.useCode(found.id, form)
	}
	now := t.now()
	t.mu.Unlock()
	if refusal != nil {
		return t.loginAnswer(c, *refusal)
	}
	id, err := t.sign(t.identity(c.Host, g, now))
	if err != nil {
		return t.loginAnswer(c, loginError{status: http.StatusInternalServerError})
	}
	seconds := int(tokenLifetime / time.Second)
	return jsonResponse(http.StatusOK, map[string]any{
		"token_type": "Bearer", "scope": "openid profile", "expires_in": seconds, "ext_expires_in": seconds,
		"access_token": rand.Text(), // for the user's own profile only; nothing here takes it
		"id_token":     id,
	})
}

// identity are the claims of an ID token.
//
// https://learn.microsoft.com/entra/identity-platform/id-token-claims-reference
func (t *Tenant) identity(host string, g *grant, now time.Time) jwt.MapClaims {
	id := t.TenantID()
	pairwise := sha256.Sum256([]byte(g.clientID + g.user.ObjectID))
	claims := jwt.MapClaims{
		"ver": "2.0", "iss": "https://" + host + "/" + id + "/v2.0", "aud": g.clientID, "tid": id,
		"sub": hex.EncodeToString(pairwise[:]), "oid": g.user.ObjectID, "name": g.user.Name, "preferred_username": g.user.Name,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLifetime).Unix(), "nonce": g.nonce, "uti": uuid.NewString(),
	}
	switch {
	case len(g.user.Groups) > maxGroups:
		claims["_claim_names"] = map[string]any{"groups": "src1"}
		claims["_claim_sources"] = map[string]any{"src1": map[string]any{"endpoint": "https://" + host + "/v1.0/users/" + g.user.ObjectID + "/getMemberObjects"}}
	case len(g.user.Groups) > 0:
		claims["groups"] = g.user.Groups
	}
	return claims
}
