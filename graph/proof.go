package graph

import (
	"crypto/sha1" //nolint:gosec // the header that Entra knows is SHA-1
	"encoding/base64"
	"encoding/hex"
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
// padding.
// https://learn.microsoft.com/graph/application-rollkey-prooftoken
func newProof(id rotator.ObjectID, pair rotator.KeyPair, now time.Time) (string, error) {
	if pair.IsZero() {
		return "", fmt.Errorf("there is no key pair to sign the proof with")
	}
	now = now.UTC().Truncate(time.Second)
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": proofAudience,
		"iss": string(id),
		"nbf": now.Unix(),
		"exp": now.Add(proofLifetime).Unix(),
	})
	digest := sha1.Sum(pair.Certificate) //nolint:gosec // see the import
	token.Header["kid"] = strings.ToUpper(hex.EncodeToString(digest[:]))
	token.Header["x5t"] = base64.RawURLEncoding.EncodeToString(digest[:])
	return token.SignedString(pair.Key)
}
