package graph

import (
	"crypto/sha1" //nolint:gosec // the header that Entra knows is SHA-1
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/seed-f0abd057/rotate/rotator"
)

const (
	// proofAudience is the application ID of Azure AD Graph, not that of
	// Microsoft Graph.
	// https://learn.microsoft.com/graph/application-rollkey-prooftoken
	proofAudience = "00000002-0000-0000-c000-000000000000"
	// proofLifetime is the one that page recommends.
	proofLifetime = 10 * time.Minute
)

// newProof makes the proof of possession for addKey and removeKey: a JWT issued
// by the app (its object ID, not its client ID) and signed with a key that is
// registered on it.
//
// Its shape is that of Microsoft's sample, the only one known to be accepted:
// RS256, the SHA-1 of the certificate as kid (hex) and x5t (base64url), no
// padding. The other forms are for tenants that were found to refuse this one.
// https://learn.microsoft.com/graph/application-rollkey-prooftoken
func newProof(id rotator.ObjectID, pair rotator.KeyPair, form rotator.ProofForm, now time.Time) (string, error) {
	if pair.IsZero() {
		return "", fmt.Errorf("there is no key pair to sign the proof with")
	}
	now = now.UTC().Truncate(time.Second)
	var method jwt.SigningMethod = jwt.SigningMethodRS256
	if form == rotator.ProofPS256 {
		method = jwt.SigningMethodPS256
	}
	token := jwt.NewWithClaims(method, jwt.MapClaims{
		"aud": proofAudience,
		"iss": string(id),
		"nbf": now.Unix(),
		"exp": now.Add(proofLifetime).Unix(),
	})
	digest := sha1.Sum(pair.Certificate) //nolint:gosec // see the import
	kid, x5t := strings.ToUpper(hex.EncodeToString(digest[:])), base64.RawURLEncoding.EncodeToString(digest[:])
	switch form {
	case rotator.ProofX5T:
		token.Header["x5t"] = x5t
	case rotator.ProofKid:
		token.Header["kid"] = kid
	case rotator.ProofS256:
		digest := sha256.Sum256(pair.Certificate)
		token.Header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(digest[:])
	case rotator.ProofUsual, rotator.ProofPS256:
		token.Header["kid"], token.Header["x5t"] = kid, x5t
	}
	return token.SignedString(pair.Key)
}

// proven sends a request with a proof, in the forms that the caller allows. A refusal
// of the proof is definite, so the next form is sent at once; if none is accepted, it
// is the key that is not.
func (c *Client) proven(k call, pair rotator.KeyPair, send func(proof string) error) error {
	forms := k.Proofs
	if len(forms) == 0 {
		forms = []rotator.ProofForm{rotator.ProofUsual}
	}
	var err error
	for i, form := range forms {
		signed, signErr := k.sign(pair, form)
		if signErr != nil {
			return signErr
		}
		err = send(signed)
		f, failed := errors.AsType[*rotator.Failure](err)
		if err != nil && (!failed || f.Reason != rotator.ReasonBadProof || f.Class != rotator.ClassWait) {
			return err
		}
		if err == nil {
			c.noteProof(k, forms[:i], form)
			return nil
		}
	}
	return err
}
