package rotator

import (
	"context"
	"fmt"
)

// Identities are the tenants' own identities, by which managed apps are changed.
type Identities interface {
	// IsIdentity reports whether the app is the one that its tenant's identity signs
	// in as, with a certificate.
	IsIdentity(app Registration) bool
	// RenewIdentity makes the tenant's identity sign in anew, with the pair that
	// [IdentityPair] gives, and makes one authorised call. Nil means that Entra
	// accepted it.
	RenewIdentity(ctx context.Context, app Registration) error
}

// IdentityPair returns the pair with which a tracked identity signs in: a
// function of the records, so that a process which starts again signs in with
// the same. [ErrNotFound] if the identity is not tracked.
//
// A new pair is used from proven on, and the previous one as soon as somebody
// asked to go back: a certificate is removed only in a phase in which the other
// is used.
func IdentityPair(ctx context.Context, store Store, tenant string, client ClientID) (KeyPair, error) {
	app, err := store.AppByClientID(ctx, tenant, client)
	if err != nil {
		return KeyPair{}, err
	}
	use := app.Current
	if app.Rotation != "" {
		rot, err := store.Rotation(ctx, app.Rotation)
		if err != nil {
			return KeyPair{}, fmt.Errorf("app %s: %w", app.Name, err)
		}
		use = signsWith(&app, &rot)
	}
	if use == nil {
		return KeyPair{}, fmt.Errorf("the identity of tenant %s is the app %s, which has no certificate yet", tenant, app.Name)
	}
	return store.KeyPair(ctx, use.ThumbprintSHA256)
}

// signsWith is the pair that is used while the rotation is open: the new one from
// proven on, the old one while it goes back.
func signsWith(app *App, rot *Rotation) *Credential {
	switch rot.Phase {
	case PhaseProven, PhaseDelivered, PhaseConfirmed:
		return &rot.New
	case PhaseRollingBack:
		if rot.Old != nil {
			return rot.Old
		}
	case PhasePlanned, PhaseUploaded, PhaseRetired, PhaseRolledBack:
	}
	return app.Current
}

// isIdentity reports whether the app is its tenant's own identity.
func (r *Rotator) isIdentity(app *App) bool {
	return r.settings().Identities != nil && r.settings().Identities.IsIdentity(app.registration())
}

// checkIdentity refuses managed mode for the identity itself: it would depend on
// the very certificate that is being replaced.
func (r *Rotator) checkIdentity(app *App) error {
	if app.Mode == ModeManaged && r.isIdentity(app) {
		return usagef("app %s: it is the identity of tenant %s itself, so it must roll its own key: --mode self", app.Name, app.Tenant)
	}
	return nil
}

// switchIdentity makes the running program sign in with the pair that stays,
// before a certificate of the tenant's own identity is removed.
func (t *turn) switchIdentity(ctx context.Context) error {
	if !t.r.isIdentity(&t.app) {
		return nil
	}
	if err := t.settle(ctx); err != nil { // the phase tells which pair that is
		return err
	}
	return t.r.settings().Identities.RenewIdentity(ctx, t.app.registration())
}
