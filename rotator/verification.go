package rotator

import (
	"context"
	"fmt"
	"time"
)

// Verification is the journal of a run of "rotate tenant verify": what it takes to
// clean up after it.
type Verification struct {
	// Journal is JSON of who runs it.
	Journal string `json:"journal"`
	// Admin tells that an administrator signed in for it, so that the tenant's
	// identity may not be allowed to clean up.
	Admin bool      `json:"admin,omitempty"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// NoteVerification makes the journal of a run durable. The first note of a run is in
// the audit trail.
func (r *Rotator) NoteVerification(ctx context.Context, tenant string, v Verification) error {
	return r.write(ctx, "", func(rec *Records) error {
		if rec.State.ReadOnly {
			return refusedf("tenant %s: nothing is written: %s", tenant, rec.State.Stopped)
		}
		state, err := rec.Tenant(tenant)
		if err != nil {
			return err
		}
		if state.Verification == nil {
			rec.Audit = append(rec.Audit, AuditEntry{At: v.At, By: v.By, What: "tenant verification begun", Note: tenant})
		} else if !state.Verification.At.Equal(v.At) {
			return refusedf("tenant %s: a verification of %s has not cleaned up; run: rotate tenant verify %s --cleanup",
				tenant, state.Verification.At.Format("2006-01-02 15:04 UTC"), tenant)
		}
		state.Verification = &v
		return nil
	})
}

// EndVerification forgets the journal of a run that left nothing.
func (r *Rotator) EndVerification(ctx context.Context, tenant, by string) error {
	return r.write(ctx, "", func(rec *Records) error {
		state, err := rec.Tenant(tenant)
		if err != nil || state.Verification == nil {
			return err
		}
		state.Verification = nil
		rec.Audit = append(rec.Audit, AuditEntry{At: r.now().UTC(), By: by, What: "tenant verification ended", Note: tenant})
		return nil
	})
}

// Verification returns the journal of a run that has not cleaned up; nil: there is
// none. [ErrNotFound] if the configuration has no such tenant.
func (r *Rotator) Verification(ctx context.Context, tenant string) (*Verification, error) {
	if _, err := r.settings().Entra.Hosts(tenant); err != nil {
		return nil, fmt.Errorf("tenant %s: %w", tenant, err)
	}
	state, err := r.Store.Tenant(ctx, tenant)
	return state.Verification, err
}

// CheckVerify reports why nothing may be written to a tenant now.
func (r *Rotator) CheckVerify(ctx context.Context, tenant string) error {
	if _, err := r.settings().Entra.Hosts(tenant); err != nil {
		return fmt.Errorf("tenant %s: %w", tenant, err)
	}
	state, err := r.state(ctx)
	if err != nil {
		return err
	}
	if state.ReadOnly {
		return refusedf("tenant %s: nothing is written: %s", tenant, state.Stopped)
	}
	return r.checkHosts(ctx, tenant)
}

// Learn keeps what a verification found; what an earlier one found and this one did
// not stays. version is the major version of rotate.
func (r *Rotator) Learn(ctx context.Context, tenant, version string, found map[string]VerifiedFact) error {
	if len(found) == 0 {
		return nil
	}
	return r.write(ctx, "", func(rec *Records) error {
		state, err := rec.Tenant(tenant)
		if err != nil {
			return err
		}
		facts := state.Facts.clone()
		if facts.Verified == nil || facts.Version != version {
			facts.Verified = map[string]VerifiedFact{}
		}
		for name, fact := range found {
			facts.Verified[name] = fact
			facts.VerifiedAt = later(facts.VerifiedAt, fact.At)
		}
		facts.Version = version
		if facts.Since.IsZero() {
			facts.Since = facts.VerifiedAt
		}
		facts.At = later(facts.At, facts.VerifiedAt)
		state.Facts = facts
		return nil
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// VerifyPair returns a tracked app that may try its own keys, and its pair in service.
func (r *Rotator) VerifyPair(ctx context.Context, tenant, name string) (App, KeyPair, error) {
	app, err := r.Store.App(ctx, name)
	switch {
	case err != nil:
		return App{}, KeyPair{}, err
	case app.Tenant != tenant:
		return App{}, KeyPair{}, usagef("app %s: it is in tenant %s, not in %s", name, app.Tenant, tenant)
	case app.Mode != ModeSelf || !app.Verify:
		return App{}, KeyPair{}, usagef("app %s: a verification adds and removes certificates on it, so it needs mode self and: rotate app edit %s --verify", name, name)
	case app.Rotation != "":
		return App{}, KeyPair{}, fmt.Errorf("app %s: %w", name, ErrRotating)
	case app.Current == nil || app.ObjectID == "":
		return App{}, KeyPair{}, refusedf("app %s: no certificate in service, or no object ID, is known", name)
	}
	pair, err := r.Store.KeyPair(ctx, app.Current.ThumbprintSHA256)
	return app, pair, err
}

// CleanUpPair returns a tracked app and its pair in service, with which the certificates
// are removed that a verification added, whatever became of the app since.
func (r *Rotator) CleanUpPair(ctx context.Context, name string) (App, KeyPair, error) {
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return App{}, KeyPair{}, err
	}
	if app.Current == nil {
		return App{}, KeyPair{}, refusedf("app %s: no certificate in service is known, so nothing signs the removal of what a verification added", name)
	}
	pair, err := r.Store.KeyPair(ctx, app.Current.ThumbprintSHA256)
	return app, pair, err
}

// Verifications are the tenants with a run that has not cleaned up.
func (r *Rotator) Verifications(ctx context.Context) (map[string]Verification, error) {
	all, err := r.Store.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	open := map[string]Verification{}
	for name, state := range all {
		if state.Verification != nil {
			open[name] = *state.Verification
		}
	}
	return open, nil
}
