package emulator

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// An assertion is the signed claim of a client to be an app.
//
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials
type assertion struct {
	text, typ string
	clientID  string
	audiences []string // the token endpoint, by all its names
	now       time.Time
}

// check verifies the assertion against the certificates of the app as the answering
// replica knows them.
func (a assertion) check(objects ...*object) *loginError {
	if a.typ != assertionType {
		return invalidAssertion("client_assertion_type must be '" + assertionType + "'")
	}
	// PS256 is what the page documents, RS256 is still accepted.
	// https://github.com/AzureAD/microsoft-authentication-library-for-java/issues/958
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"PS256", "RS256"}), jwt.WithoutClaimsValidation())
	var claims jwt.MapClaims
	token, parts, err := parser.ParseUnverified(a.text, &claims)
	if err != nil {
		return invalidAssertion("it is not a signed JWT")
	}
	if alg := token.Method.Alg(); alg != "PS256" && alg != "RS256" {
		return invalidAssertion("the algorithm is not supported")
	}
	if refusal := a.checkClaims(claims); refusal != nil {
		return refusal
	}
	k, used := signerOf(token.Header, objects)
	if used == "" {
		return invalidAssertion("the header has neither x5t nor x5t#S256")
	}
	if k == nil {
		return unregistered("The key was not found.", used, a.clientID)
	}
	found := fmt.Sprintf(", Found key 'Start=%s, End=%s'", k.Start.Format("01/02/2006 15:04:05"), k.End.Format("01/02/2006 15:04:05"))
	if !a.now.Before(k.End) || a.now.After(k.cert.NotAfter) {
		return unregistered("The key used is expired.", used+found, a.clientID)
	}
	if a.now.Before(k.Start) || a.now.Before(k.cert.NotBefore) {
		return &loginError{number: 1000502, text: "The provided certificate is not within its specified time range."}
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return invalidAssertion("the signature is not base64url")
	}
	if token.Method.Verify(parts[0]+"."+parts[1], signature, k.cert.PublicKey) != nil {
		return &loginError{number: 700027, text: fmt.Sprintf("Client assertion contains an invalid signature. [Reason - The provided signature value did not match the expected signature value., Thumbprint of key used by client: '%s'%s]", used, found)}
	}
	return nil
}

// checkClaims checks everything but the signature. nbf and iat may be missing:
// python3-msal sends no nbf, MSAL Go no iat.
func (a assertion) checkClaims(claims jwt.MapClaims) *loginError {
	audience, audErr := claims.GetAudience()
	issuer, issErr := claims.GetIssuer()
	subject, subErr := claims.GetSubject()
	from, fromErr := claims.GetNotBefore()
	until, untilErr := claims.GetExpirationTime()
	if _, err := claims.GetIssuedAt(); err != nil || audErr != nil || issErr != nil || subErr != nil || fromErr != nil || untilErr != nil {
		return invalidAssertion("a claim has the wrong type")
	}
	if id, _ := claims["jti"].(string); id == "" {
		return invalidAssertion("jti is missing")
	}
	if until == nil {
		return invalidAssertion("exp is missing")
	}
	if issuer != subject {
		return &loginError{number: 50048, text: "Subject mismatches Issuer claim in the client assertion."}
	}
	if !strings.EqualFold(issuer, a.clientID) {
		return &loginError{number: 700021, text: "Client assertion application identifier doesn't match 'client_id' parameter."}
	}
	if len(audience) != 1 || !slices.Contains(a.audiences, audience[0]) {
		// https://github.com/AzureAD/microsoft-authentication-library-for-dotnet/issues/2746
		return &loginError{number: 700023, text: "Client assertion audience claim does not match Realm issuer. Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials ."}
	}
	validFrom := "not given"
	if from != nil {
		validFrom = formatTime(from.Time)
	}
	if from != nil && from.After(a.now.Add(clockTolerance)) || !until.After(a.now) {
		return &loginError{number: 700024, text: fmt.Sprintf("Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.", formatTime(a.now), validFrom, formatTime(until.Time))}
	}
	return nil
}

func invalidAssertion(why string) *loginError {
	return &loginError{number: 50027, text: "JWT token is invalid or malformed: " + why + "."}
}

// unregistered is the refusal of a key that may not sign.
//
// https://learn.microsoft.com/answers/questions/5915574/aadsts700027-error
func unregistered(reason, used, clientID string) *loginError {
	return &loginError{number: 700027, text: fmt.Sprintf("The certificate with identifier used to sign the client assertion is not registered on application. [Reason - %s, Thumbprint of key used by client: '%s', Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '%s'.]", reason, used, clientID)}
}

// signerOf finds the entry that the header of a token names; used is how it is
// named, in hex, empty if it is not.
func signerOf(header map[string]any, objects []*object) (k *keyCredential, used string) {
	for _, name := range []string{"x5t#S256", "x5t"} {
		value, ok := header[name].(string)
		if !ok {
			continue
		}
		thumbprint, ok := decodeThumbprint(value)
		if !ok {
			return nil, value
		}
		used = strings.ToUpper(hex.EncodeToString(thumbprint))
		for _, o := range objects {
			for i := range o.keys {
				if o.keys[i].named(header, name) {
					return &o.keys[i], used
				}
			}
		}
		return nil, used
	}
	return nil, ""
}

// named says whether a header parameter is the thumbprint of the certificate.
func (e *keyCredential) named(header map[string]any, name string) bool {
	value, _ := header[name].(string)
	thumbprint, ok := decodeThumbprint(value)
	want := e.sha1[:]
	if name == "x5t#S256" {
		want = e.sha256[:]
	}
	return ok && slices.Equal(thumbprint, want)
}

// decodeThumbprint reads base64url as documented, base64url with padding as MSAL
// for Python sends it, and standard base64 with padding as MSAL Go does.
//
// https://github.com/AzureAD/microsoft-authentication-library-for-go
// https://github.com/AzureAD/microsoft-authentication-library-for-python (JwtAssertionCreator)
func decodeThumbprint(value string) ([]byte, bool) {
	for _, encoding := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding, base64.StdEncoding} {
		if b, err := encoding.DecodeString(value); err == nil {
			return b, true
		}
	}
	return nil, false
}
