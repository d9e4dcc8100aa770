package emulator

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Constants of the proof of possession.
//
// https://learn.microsoft.com/graph/application-rollkey-prooftoken
const (
	// proofAudience is the client ID of the older Azure AD Graph, not that of
	// Microsoft Graph.
	proofAudience = "00000002-0000-0000-c000-000000000000"
	// maxProofLifetime is the longest time between nbf and exp. The page used to
	// call it a limit and now recommends it.
	maxProofLifetime = 10 * time.Minute
)

// clockTolerance is how far a client's clock may be ahead of the tenant's. Entra's
// own is not documented; this is the default of Microsoft's libraries.
//
// https://learn.microsoft.com/dotnet/api/microsoft.identitymodel.tokens.tokenvalidationparameters.defaultclockskew
const clockTolerance = 5 * time.Minute

// rollTarget returns the object of addKey and removeKey. An application needs no
// permission to roll its own keys; everybody else needs that of a PATCH. The page
// for service principals does not have that sentence.
//
// https://learn.microsoft.com/graph/api/application-addkey#permissions
func (t *Tenant) rollTarget(c *call) (*object, *graphError) {
	o, err := t.targetNow(c)
	if err != nil {
		return nil, err
	}
	self := o.kind == kindApplication && o.clientID == c.caller.clientID
	if !self && !c.caller.mayWrite(o) {
		return nil, denied()
	}
	return o, t.checkLock(o)
}

// addKey adds one certificate.
//
// https://learn.microsoft.com/graph/api/application-addkey
func (t *Tenant) addKey(c *call) (*response, *graphError) {
	o, err := t.rollTarget(c)
	if err != nil {
		return nil, err
	}
	if _, ok := t.proofSigner(o, text(c.object, "proof")); !ok {
		return nil, badProof()
	}
	if c.object["passwordCredential"] != nil {
		return nil, badRequest("A password credential is allowed only with a key credential of type X509CertAndPassword.")
	}
	sent, _ := c.object["keyCredential"].(map[string]any)
	// Seen live: the tenant alone chooses it here, unlike with PATCH.
	// https://github.com/azitc-ac/exo-smtp-relay
	if sent["keyId"] != nil {
		return nil, badRequest("KeyId value must be null.")
	}
	k, err := acceptKey(sent, t.now())
	if err != nil {
		return nil, err
	}
	if err := t.dir.checkPolicy(o, &k); err != nil {
		return nil, err
	}
	if err := t.checkAdded(o, &k, sent); err != nil {
		return nil, err
	}
	k.added = t.clock()
	if sent["customKeyIdentifier"] == nil {
		k.CustomKeyIdentifier = t.customID(&k)
	}
	next := o.with()
	next.keys = append(next.keys, k)
	if err := checkSize(next.keys); err != nil {
		return nil, err
	}
	t.change(next)
	// Seen live: dates in whole seconds, and no key.
	// https://github.com/sg1888/postfix-m365-relay
	body := k.json(false)
	body["startDateTime"], body["endDateTime"] = k.Start.Format(time.RFC3339), k.End.Format(time.RFC3339)
	body["@odata.context"] = c.context("microsoft.graph.keyCredential")
	return jsonResponse(http.StatusOK, body), nil
}

// removeKey removes one certificate.
//
// https://learn.microsoft.com/graph/api/application-removekey
func (t *Tenant) removeKey(c *call) (*response, *graphError) {
	o, err := t.rollTarget(c)
	if err != nil {
		return nil, err
	}
	signer, ok := t.proofSigner(o, text(c.object, "proof"))
	if !ok {
		return nil, badProof()
	}
	id := strings.ToLower(text(c.object, "keyId"))
	next := o.with()
	next.keys = slices.DeleteFunc(next.keys, func(k keyCredential) bool { return k.KeyID == id })
	if len(next.keys) == len(o.keys) || t.denyRemoval() {
		return nil, t.noCredentials()
	}
	if signer == id && !t.LenientProof && !t.Facts.SelfRemoval {
		return nil, badProof()
	}
	if done, refusal := t.removalFails(id); refusal != nil || done {
		return noContent(), refusal
	}
	t.change(next)
	return noContent(), nil
}

// badProof is what Graph says about a bad proof, though the text speaks of the
// access token.
//
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/10686
func badProof() *graphError {
	return &graphError{status: http.StatusUnauthorized, code: "Authentication_MissingOrMalformed", message: "Access Token missing or malformed."}
}

// proofSigner checks a proof of possession and returns the keyId of the entry whose
// key signed it.
//
// Padding in base64url is refused by the parser.
// https://learn.microsoft.com/graph/application-rollkey-prooftoken
func (t *Tenant) proofSigner(o *object, proof string) (keyID string, ok bool) {
	now := t.now()
	parser := jwt.NewParser(jwt.WithValidMethods(t.proofAlgorithms()), jwt.WithoutClaimsValidation())
	var claims jwt.MapClaims
	_, err := parser.ParseWithClaims(proof, &claims, func(token *jwt.Token) (any, error) {
		for i := range o.keys {
			k := &o.keys[i]
			if k.validAt(now) && t.maySign(k) && t.namedInProof(k, token.Header) {
				keyID = k.KeyID
				return k.cert.PublicKey, nil
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	})
	if err != nil {
		return "", false
	}
	audience, audErr := claims.GetAudience()
	issuer, issErr := claims.GetIssuer()
	from, fromErr := claims.GetNotBefore()
	until, untilErr := claims.GetExpirationTime()
	if audErr != nil || issErr != nil || fromErr != nil || untilErr != nil || from == nil || until == nil {
		return "", false
	}
	return keyID, len(audience) == 1 && t.proofFits(audience[0], until.Sub(from.Time)) &&
		(strings.EqualFold(issuer, o.id) || strings.EqualFold(issuer, o.clientID)) &&
		!from.After(now.Add(clockTolerance)) &&
		until.After(now)
}

// namedInProof says whether the header of a proof names an entry: by x5t, by the
// upper-case thumbprint as kid, or by both. All three were seen accepted by live
// tenants, and so was the client ID as issuer.
func (t *Tenant) namedInProof(k *keyCredential, header map[string]any) bool {
	if t.refusesProof(header) {
		return false
	}
	kid, hasKid := header["kid"].(string)
	if hasKid && !strings.EqualFold(kid, k.thumbprint()) {
		return false
	}
	if _, has := header["x5t"]; has {
		return k.named(header, "x5t")
	}
	return kid == k.thumbprint() || t.Facts.ProofS256 && k.named(header, "x5t#S256") || t.LenientProof && (k.named(header, "x5t#S256") || hasKid)
}
