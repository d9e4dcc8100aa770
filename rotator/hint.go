package rotator

import (
	"context"
	"strings"
)

// Lists do not contain certificates, only thumbprints that whoever added an entry may
// have chosen. So a thumbprint in a list is a hint, and where it matters the app is read
// by itself, which shows the certificates.
//
// https://learn.microsoft.com/graph/api/resources/keycredential

// hintsAt reports whether a list says of an entry that it is this certificate. It is
// false where the certificate itself is known.
func (f FoundCredential) hintsAt(c Credential) bool {
	return f.Thumbprint == "" && f.ThumbprintSHA1 != "" && strings.EqualFold(f.ThumbprintSHA1, c.ThumbprintSHA1)
}

// isUncertain reports whether only the certificate can tell if an entry of a list is
// one of ours: its KeyID is none of ours, and its thumbprint is, or it has none and a
// KeyID of ours is not known.
func isUncertain(ours []Credential, f FoundCredential) bool {
	if f.Kind != FoundCertificate || f.Thumbprint != "" {
		return false
	}
	uncertain := false
	for _, c := range ours {
		if f.KeyID != "" && (c.KeyID == f.KeyID || c.RequestedKeyID == f.KeyID) {
			return false
		}
		uncertain = uncertain || f.hintsAt(c) || f.ThumbprintSHA1 == "" && c.KeyID == ""
	}
	return uncertain
}

// certain is what a list shows of an app, read again from the app itself if the list
// leaves open which entries are ours. Few apps need it: such readings are limited to 150
// a minute. Without an answer the hints have to do until the next look.
func (in *inspection) certain(ctx context.Context, app *App, rot *Rotation, listed reading) (reading, error) {
	ours := ownCredentials(app, rot)
	for _, f := range listed.found {
		if !isUncertain(ours, f) {
			continue
		}
		got, err := in.read(ctx, app)
		switch {
		case ctx.Err() != nil:
			return reading{}, ctx.Err()
		case err != nil || got.deleted || got.refused:
			in.r.log().DebugContext(ctx, "app cannot be read for its certificates", "app", app.Name, "err", err)
			return listed, nil
		}
		return got, nil
	}
	return listed, nil
}
