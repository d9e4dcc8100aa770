package rotator

import (
	"fmt"
	"regexp"
	"strings"
)

// withoutKeyID lists the certificates of ours on the app whose KeyID is not known:
// the one being replaced, the one in service, and the new one once it was uploaded.
func withoutKeyID(app *App, rot *Rotation) []*Credential {
	var list []*Credential
	add := func(c *Credential) {
		if c == nil || c.KeyID != "" || c.RequestedKeyID != "" || !c.RemovedAt.IsZero() {
			return
		}
		for _, have := range list {
			if have.ThumbprintSHA256 == c.ThumbprintSHA256 {
				return
			}
		}
		list = append(list, c)
	}
	if rot != nil && !rot.Phase.IsEnd() {
		add(rot.Old)
		if !rot.PhaseAt[PhaseUploaded].IsZero() {
			add(&rot.New)
		}
	}
	add(app.Current)
	return list
}

// keyIDNext says how a person finds the KeyID of a certificate and gives it.
func (a *App) keyIDNext(c *Credential) string {
	name := a.DisplayName
	if name == "" {
		name = a.Name
	}
	return fmt.Sprintf("read it in the Entra admin centre (Entra ID, App registrations, All applications, %s with client ID %s, Certificates & secrets, Certificates: \"Certificate ID\" of the entry with thumbprint %s), then: rotate app edit %s --key-id KEYID",
		name, a.ClientID, c.ThumbprintSHA1, a.Name)
}

// keyIDForm is how a KeyID is given where several certificates lack one.
var keyIDForm = regexp.MustCompile(`^(?:([0-9A-Fa-f]{40})=)?([0-9A-Fa-f-]{36})$`)

// tellKeyID notes the KeyID that a person read in the portal, for the certificate
// whose KeyID is not known; THUMBPRINT=KEYID says which, where there are several.
// What Entra said is not overwritten; what a person gave may be corrected, that of
// the certificate being replaced first.
func tellKeyID(app *App, rot *Rotation, given KeyID) error {
	m := keyIDForm.FindStringSubmatch(string(given))
	if m == nil {
		return usagef("app %s: %q is not a key ID", app.Name, given)
	}
	thumbprint, id := strings.ToUpper(m[1]), KeyID(strings.ToLower(m[2]))
	byHand := func(c *Credential) bool { return c != nil && !c.isLeaving() && (c.Adopted || c.KeyIDByHand) }
	candidates := withoutKeyID(app, rot)
	if len(candidates) == 0 || thumbprint != "" {
		if rot != nil && !rot.Phase.IsEnd() {
			if byHand(rot.Old) {
				candidates = append(candidates, rot.Old)
			}
			if byHand(&rot.New) {
				candidates = append(candidates, &rot.New)
			}
		}
		if byHand(app.Current) {
			candidates = append(candidates, app.Current)
		}
		if thumbprint == "" && len(candidates) > 1 {
			candidates = candidates[:1]
		}
	}
	if thumbprint == "" && len(candidates) > 1 {
		return usagef("app %s: the key IDs of %d of its certificates are not known, so say which one is meant: --key-id %s=KEYID or --key-id %s=KEYID",
			app.Name, len(candidates), candidates[0].ThumbprintSHA1, candidates[1].ThumbprintSHA1)
	}
	for _, c := range candidates {
		if thumbprint == "" || c.ThumbprintSHA1 == thumbprint {
			noteKeyID(app, rot, c.ThumbprintSHA256, id)
			return nil
		}
	}
	if thumbprint != "" {
		return refusedf("app %s: it has no certificate %s whose key ID can be given", app.Name, thumbprint)
	}
	return refusedf("app %s: the key IDs of its certificates are known from Entra; none is missing", app.Name)
}

// noteKeyID notes a KeyID that a person gave wherever the certificate is described.
func noteKeyID(app *App, rot *Rotation, thumbprint Thumbprint, id KeyID) {
	for _, c := range []**Credential{&app.Current, &app.Previous} {
		if *c != nil && (*c).ThumbprintSHA256 == thumbprint {
			given := **c
			given.KeyID, given.KeyIDByHand = id, true
			*c = &given
		}
	}
	if rot == nil {
		return
	}
	for _, c := range []*Credential{rot.Old, &rot.New} {
		if c != nil && c.ThumbprintSHA256 == thumbprint {
			c.KeyID, c.KeyIDByHand = id, true
		}
	}
}
