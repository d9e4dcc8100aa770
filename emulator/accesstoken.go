package emulator

import (
	"net/http"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// signingKeyID names the tenant's only signing key.
const signingKeyID = "emulator-1"

// maxVerifiedTokens bounds the memory of tokens that were verified already.
const maxVerifiedTokens = 4096

// sign makes an access token.
func (t *Tenant) sign(claims jwt.MapClaims) (string, error) {
	key, err := t.signingKey()
	if err != nil {
		return "", err
	}
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = signingKeyID
	return token.SignedString(key)
}

// authenticate reads the access token of a request for a resource, which has any of
// the names.
//
// https://learn.microsoft.com/graph/resolve-auth-errors
func (t *Tenant) authenticate(r Request, names []string) (*caller, *graphError) {
	refuse := func(message string) *graphError {
		return &graphError{status: http.StatusUnauthorized, code: "InvalidAuthenticationToken", message: message}
	}
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || text == "" {
		return nil, refuse("Access token is empty.")
	}
	t.lock()
	now := t.now().Unix()
	t.mu.Unlock()
	c := t.verifyToken(text)
	if c == nil || !slices.Contains(names, c.audience) {
		return nil, refuse("Access token validation failure.")
	}
	if now >= c.expires {
		return nil, refuse("Lifetime validation failed, the token is expired.")
	}
	return c, nil
}

// verifyToken checks the signature of an access token; nil if it is not of this
// tenant. A token is verified once.
func (t *Tenant) verifyToken(text string) *caller {
	key, err := t.signingKey()
	if err != nil {
		return nil
	}
	t.signMu.Lock()
	known := t.tokens[text]
	t.signMu.Unlock()
	if known != nil {
		return known
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
	var claims struct {
		jwt.RegisteredClaims
		AppID string   `json:"appid"`
		OID   string   `json:"oid"`
		Roles []string `json:"roles"`
		// Credential is the key that the app signed in with: ours only.
		Credential string `json:"emulator_credential"`
		// Of a token of a user.
		Scopes         string   `json:"scp"`
		DirectoryRoles []string `json:"wids"`
	}
	_, err = parser.ParseWithClaims(text, &claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil })
	if err != nil || claims.ExpiresAt == nil || len(claims.Audience) != 1 {
		return nil
	}
	c := &caller{
		clientID: claims.AppID, objectID: claims.OID, roles: claims.Roles, keyID: claims.Credential,
		audience: claims.Audience[0], expires: claims.ExpiresAt.Unix(),
	}
	if claims.Scopes != "" {
		c.user, c.wids = true, claims.DirectoryRoles
		c.roles = effective(strings.Fields(claims.Scopes), c.wids)
	}
	t.signMu.Lock()
	defer t.signMu.Unlock()
	if len(t.tokens) >= maxVerifiedTokens || t.tokens == nil {
		t.tokens = map[string]*caller{}
	}
	t.tokens[text] = c
	return c
}
