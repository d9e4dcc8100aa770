package rotator

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// observe describes an app of which only the certificate is known. It is compared
// with Entra where the tenant's identity may read it.
func (r *Rotator) observe(ctx context.Context, app *App, spec AppSpec, added *Added) error {
	if len(app.Deliveries) > 0 {
		return usagef("app %s: it would only be watched, so there is nothing to deliver; leave its deliveries out", app.Name)
	}
	if r.isIdentity(app) {
		return usagef("app %s: it is the identity of tenant %s itself, which signs in with its key: add it with --pfx", app.Name, app.Tenant)
	}
	der, err := certificateIn(spec.Certificate)
	if err != nil {
		return usagef("app %s: %v", app.Name, err)
	}
	current, err := CredentialOf(der)
	if err != nil {
		return usagef("app %s: %v", app.Name, err)
	}
	current.Adopted = true
	current.KeyID = KeyID(strings.ToLower(string(spec.KeyID)))
	app.Current = &current
	if now := r.now(); now.After(current.NotAfter) {
		added.Warnings = append(added.Warnings, "the certificate expired on "+current.NotAfter.Format(time.DateOnly))
	}
	// Without the private key nobody signs in as the app.
	err = r.locate(ctx, app, KeyPair{}, added)
	if f, ok := errors.AsType[*Failure](err); ok && f.Reason != ReasonAppNotFound && f.Reason != ReasonNotRegistered && f.Reason != ReasonBlueprint {
		added.Warnings = append(added.Warnings, "it could not be compared with Entra: "+f.Message)
		return nil
	}
	return err
}

// certificateIn finds the one certificate of a DER or PEM file.
func certificateIn(file []byte) ([]byte, error) {
	if !strings.Contains(string(file), "-----BEGIN") {
		return file, nil
	}
	var der []byte
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, usagef("the file holds a private key, too: with --pfx the app is rotated, not only watched")
		case block.Type == "CERTIFICATE" && der != nil:
			return nil, usagef("the file holds several certificates; give the app's own alone")
		case block.Type == "CERTIFICATE":
			der = block.Bytes
		}
	}
	if der == nil {
		return nil, usagef("the file holds no certificate")
	}
	return der, nil
}

// yieldsTo reports whether adding next may take the app's place: it was only
// watched, and it is the same registration.
func (a *App) yieldsTo(next *App) bool {
	return a.Mode == ModeMonitor && a.Tenant == next.Tenant && a.ClientID == next.ClientID
}

// follow keeps what the watched app had and the new record does not say.
func (a *App) follow(watched *App) {
	a.Listed, a.Alerts, a.AlertsAt, a.SnoozedUntil = watched.Listed, watched.Alerts, watched.AlertsAt, watched.SnoozedUntil
	if a.Owner == "" {
		a.Owner = watched.Owner
	}
	if a.Tags == nil {
		a.Tags = watched.Tags
	}
	if a.Listed != nil {
		listed := *a.Listed
		listed.Missing = time.Time{} // of the certificate that was watched
		if a.Mode != ModeMonitor && a.Current == nil && watched.Current != nil && watched.Current.KeyID != "" {
			// The certificate that was watched is a stranger's from now on, and no news.
			listed.Foreign = append([]Foreign{{Kind: FoundCertificate, KeyID: watched.Current.KeyID, NotAfter: watched.Current.NotAfter}}, listed.Foreign...)
		}
		a.Listed = &listed
	}
}

func alreadyTracked(name string) error {
	return fmt.Errorf("app %s %w; \"rotate app show %s\" shows it, \"rotate app edit %s\" changes it", name, ErrExists, name, name)
}

// watchedOnly refuses what needs a private key that nobody here holds.
func watchedOnly(app *App) error {
	return refusedf("app %s: it is only watched: nobody here holds its private key, so rotate can not replace its certificate; to have it rotated: rotate app add %s --tenant %s --client-id %s --pfx FILE, or --mode managed without a file",
		app.Name, app.Name, app.Tenant, app.ClientID)
}
