package emulator

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Open are facts about Entra that nobody is known to have seen: each can be set both
// ways. The zero value is what this program assumes. What was seen live has no switch.
type Open struct {
	// SelfRemoval accepts a removeKey that the removed key itself signed.
	SelfRemoval bool
	// ProofS256, ProofPS256, ProofLong and ProofGraph accept proofs that name the
	// certificate by x5t#S256 only, are signed with PS256, live for an hour, or are for
	// Microsoft Graph's audience.
	ProofS256, ProofPS256, ProofLong, ProofGraph bool
	// ProofLag is how long a new key may not sign a proof.
	ProofLag time.Duration
	// IfMatch answers 412 to a precondition, which never holds here.
	IfMatch bool
	// RefuseTwice refuses a certificate that is on the app already, RefuseCustomID a
	// customKeyIdentifier in addKey, RefuseLateStart a start that is to come.
	RefuseTwice, RefuseCustomID, RefuseLateStart bool
	// TokenEndsWithKey makes Graph refuse a token whose key was removed.
	TokenEndsWithKey bool
	// Base64CustomID writes customKeyIdentifier in base64, not in hex.
	Base64CustomID bool
	// NoLogKeyID leaves the credential's key ID out of the log of sign-ins,
	// NoLogThumbprint its thumbprint, and NoLogFilter refuses to filter by the key ID.
	NoLogKeyID, NoLogThumbprint, NoLogFilter bool
	// OwnCA refuses certificates that are signed by themselves, as a policy with
	// trustedCertificateAuthority would.
	OwnCA bool
	// NoProofUsual refuses proofs that name the certificate by kid and x5t, NoProofX5T by
	// x5t only, NoProofKid by kid only. All were seen accepted; a report may say
	// otherwise.
	NoProofUsual, NoProofX5T, NoProofKid bool
	// LifetimeRefusal is how a certificate of more than two years is refused, code and
	// text; empty: it is not. The codes of Microsoft's own policies need [Policy].
	LifetimeRefusal string
	// DenyRemovals is which removeKey of each so many is answered "No credentials
	// found" without doing it; zero: none.
	DenyRemovals int
}

// UseFacts sets the switches from the facts of a report of "rotate tenant verify", by
// name. Facts that have no switch are left alone: they are known, or say nothing.
func (t *Tenant) UseFacts(facts map[string]string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, value := range facts {
		accepted, refused := value == "accepted", value == "refused"
		known := accepted || refused
		lag, isLag := lagOf(value)
		switch name {
		case "remove_itself":
			t.Facts.SelfRemoval = accepted
		case "proof_x5t_s256":
			t.Facts.ProofS256 = accepted
		case "proof_ps256":
			t.Facts.ProofPS256 = accepted
		case "proof_60_minutes":
			t.Facts.ProofLong = accepted
		case "proof_audience_graph":
			t.Facts.ProofGraph = accepted
		case "expired_resent":
			t.RefuseEnded = refused
		case "add_same_certificate":
			t.Facts.RefuseTwice = refused
		case "add_custom_key_identifier":
			t.Facts.RefuseCustomID = refused
		case "start_in_10_minutes":
			t.Facts.RefuseLateStart = refused
		case "self_signed":
			t.Facts.OwnCA = refused
		case "if_match":
			known, t.Facts.IfMatch = true, value == "412"
		case "token_after_removal":
			known, t.Facts.TokenEndsWithKey = value == "alive" || value == "dead", value == "dead"
		case "custom_key_identifier":
			known, t.Facts.Base64CustomID = true, value == "base64"
		case "log_key_id":
			known, t.Facts.NoLogKeyID = true, value == "empty"
		case "log_thumbprint":
			known, t.Facts.NoLogThumbprint = true, value == "empty"
		case "log_filter_by_key_id":
			known, t.Facts.NoLogFilter = known || value == "empty", refused
		case "proof_usual":
			t.Facts.NoProofUsual = refused
		case "proof_x5t":
			t.Facts.NoProofX5T = refused
		case "proof_kid":
			t.Facts.NoProofKid = refused
		case "ten_years":
			if refused {
				t.Facts.LifetimeRefusal = lifetimeRefusal
			}
		case "log_correlation_id":
			known, t.OwnCorrelationIDs = true, value != "ours"
		case "log":
			known, t.NoPremium = true, refused || value == "forbidden"
		case "patch_key_id":
			known = refused || value == "kept" || value == "replaced" // seen live: kept
		case "proof_accepted_after":
			known, t.Facts.ProofLag = isLag || refused, lag
		case "sign_in_after":
			known, t.Propagation = isLag, max(lag, t.Propagation)
		case "listed_after", "visible_by_id_steady":
			known, t.ReadLag = isLag, max(lag, t.ReadLag)
		case "log_shows_after":
			known, t.SignInDelay = isLag, lag
		case "remove_unknown":
			status, err := strconv.Atoi(value)
			known = err == nil
			if status >= 400 && status < 500 {
				t.RemoveUnknownStatus = status
			}
		case "remove_denied_though_listed":
			n, err := strconv.Atoi(value)
			if known = err == nil; n > 0 {
				t.Facts.DenyRemovals = max(20/n, 2)
			}
		default:
			known = true
		}
		if !known && value != "unknown" && value != "forbidden" {
			return fmt.Errorf("the fact %s cannot be %q", name, value)
		}
	}
	return nil
}

// lifetimeRefusal is how a tenant refuses that is set from a report: the report has the
// answer of that tenant, which this one does not repeat.
const lifetimeRefusal = "CredentialLifetimeNotAllowed The lifetime of the certificate is longer than this organization allows."

// longLifetime is what [Open.LifetimeRefusal] refuses more than.
const longLifetime = 2 * 366 * 24 * time.Hour

// lagOf reads a number of seconds such as "12s".
func lagOf(value string) (time.Duration, bool) {
	d, err := time.ParseDuration(value)
	return d, err == nil && d >= 0 && d <= 24*time.Hour
}

// proofAlgorithms are those that a proof may be signed with.
func (t *Tenant) proofAlgorithms() []string {
	if t.LenientProof || t.Facts.ProofPS256 {
		return []string{"RS256", "PS256"}
	}
	return []string{"RS256"}
}

// maySign says whether a key is old enough for a proof.
func (t *Tenant) maySign(k *keyCredential) bool {
	return k.added.IsZero() || !t.clock().Before(k.added.Add(t.Facts.ProofLag))
}

// proofFits checks what a proof is for and how long it lives.
func (t *Tenant) proofFits(audience string, life time.Duration) bool {
	most := maxProofLifetime
	if t.Facts.ProofLong {
		most = time.Hour
	}
	return life <= most && (audience == proofAudience || t.Facts.ProofGraph && audience == graphAppID)
}

// checkAdded refuses a new certificate by the switches. sent is as the client sent it
// to addKey; nil for a list.
func (t *Tenant) checkAdded(o *object, k *keyCredential, sent map[string]any) *graphError {
	switch {
	case t.Facts.OwnCA && isSelfSigned(k.cert):
		return &graphError{
			status: http.StatusBadRequest, code: "CredentialNotAllowedAsPerAppPolicy",
			message: "The certificate is not issued by a trusted certificate authority (trustedCertificateAuthority) as per assigned policy.",
		}
	case t.Facts.LifetimeRefusal != "" && k.End.Sub(k.Start) > longLifetime:
		code, message, _ := strings.Cut(t.Facts.LifetimeRefusal, " ")
		return &graphError{status: http.StatusBadRequest, code: code, message: message}
	case sent == nil:
		return nil
	case t.Facts.RefuseTwice && hasCertificate(o.keys, k):
		return badRequest("The certificate is on the application already.")
	case t.Facts.RefuseCustomID && sent["customKeyIdentifier"] != nil:
		return badRequest("CustomKeyIdentifier value must be null.")
	case t.Facts.RefuseLateStart && k.Start.After(t.now()):
		return badRequest("Key credential start date is invalid.")
	}
	return nil
}

// refusesProof says whether a switch refuses the way in which a proof names its
// certificate.
func (t *Tenant) refusesProof(header map[string]any) bool {
	_, kid := header["kid"]
	_, x5t := header["x5t"]
	return t.Facts.NoProofUsual && kid && x5t || t.Facts.NoProofX5T && x5t && !kid || t.Facts.NoProofKid && kid && !x5t
}

func isSelfSigned(c *x509.Certificate) bool { return c.Issuer.String() == c.Subject.String() }

func hasCertificate(keys []keyCredential, k *keyCredential) bool {
	for i := range keys {
		if keys[i].sha256 == k.sha256 {
			return true
		}
	}
	return false
}

// checkPrecondition answers If-Match.
func (t *Tenant) checkPrecondition(h http.Header) *graphError {
	if !t.Facts.IfMatch || h.Get("If-Match") == "" || h.Get("If-Match") == "*" {
		return nil
	}
	return &graphError{status: http.StatusPreconditionFailed, code: "PreconditionFailed", message: "The precondition does not hold."}
}

// denyRemoval says whether this removal is denied though the key is there. It counts.
func (t *Tenant) denyRemoval() bool {
	if t.Facts.DenyRemovals == 0 {
		return false
	}
	t.removalsSent++
	return t.removalsSent%t.Facts.DenyRemovals == 0
}

// checkTokenKey refuses a token whose key is on the app no more.
func (t *Tenant) checkTokenKey(c *caller) *graphError {
	if !t.Facts.TokenEndsWithKey || c.keyID == "" {
		return nil
	}
	app := t.dir.client(kindApplication, c.clientID, view{present: true})
	if app == nil {
		return nil
	}
	for i := range app.keys {
		if strings.EqualFold(app.keys[i].KeyID, c.keyID) {
			return nil
		}
	}
	return &graphError{status: http.StatusUnauthorized, code: "InvalidAuthenticationToken", message: "The credential of the token was revoked."}
}

// customID is the identifier of a certificate for which the client sent none.
func (t *Tenant) customID(k *keyCredential) string {
	if t.Facts.Base64CustomID {
		return base64.StdEncoding.EncodeToString(k.sha1[:])
	}
	return k.thumbprint()
}
