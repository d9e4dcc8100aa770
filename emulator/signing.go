package emulator

import (
	"encoding/base64"
	"fmt"
)

// AddSigningCertificate gives the service principal of an app a SAML signing
// certificate, as addTokenSigningCertificate does: an entry with the certificate,
// one for its private key, and a password with the KeyID of the second. It returns
// the KeyID of the first.
//
// https://learn.microsoft.com/graph/api/serviceprincipal-addtokensigningcertificate
func (t *Tenant) AddSigningCertificate(clientID string, k KeyCredential) (string, error) {
	verify, err := newKeyCredential(k)
	if err != nil {
		return "", fmt.Errorf("emulator: add signing certificate to %s: %w", clientID, err)
	}
	// The sample of the page shows base64, unlike certificates for sign-in.
	verify.CustomKeyIdentifier = base64.StdEncoding.EncodeToString(verify.sha1[:])
	sign := verify
	sign.KeyID, sign.signing = newID(), true
	t.lock()
	defer t.mu.Unlock()
	sp := t.dir.client(kindServicePrincipal, clientID, view{present: true})
	if sp == nil {
		return "", fmt.Errorf("%w: %s", ErrNotFound, clientID)
	}
	next := sp.with()
	next.keys = append(next.keys, sign, verify)
	next.secrets = append(next.secrets, newSecret(Secret{KeyID: sign.KeyID, Start: verify.Start, End: verify.End}, t.now()))
	next.props["preferredSingleSignOnMode"] = "saml"
	t.change(next)
	return verify.KeyID, nil
}
