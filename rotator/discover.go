package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Discovered is one thing that the tenant holds, and what it is to us.
type Discovered struct {
	Registered
	Tenant string
	// App is the name under which the registration is tracked; empty: it is not.
	App string
	// Ours are the places in Credentials of those that are ours.
	Ours []int
}

// DiscoverRequest asks for what tenants hold.
type DiscoverRequest struct {
	// Tenant; empty: all that are configured.
	Tenant string
	// Expiring leaves out credentials that end later than so far from now, and what
	// has no others; zero: nothing is left out.
	Expiring time.Duration
}

// DiscoverStep is one step of a discovery: something that was found, or how far
// it is.
type DiscoverStep struct {
	Found *Discovered
	// Tenant that is being read; Read objects of it so far.
	Tenant string
	Read   int
	// Waiting is the pause that Graph asked for; zero: none.
	Waiting time.Duration
}

// Discover lists what tenants hold and tells each of it as it comes; nothing is
// kept, and nothing is changed. An error of each ends it. A tenant that cannot be
// listed does not keep the others from it; failures are joined.
func (r *Rotator) Discover(ctx context.Context, req DiscoverRequest, each func(DiscoverStep) error) error {
	tenants := r.settings().Tenants
	if req.Tenant != "" {
		if _, err := r.settings().Entra.Hosts(req.Tenant); err != nil {
			return usagef("the configuration has no tenant %q; add it under tenants", req.Tenant)
		}
		tenants = []string{req.Tenant}
	}
	var failed []error
	for _, tenant := range tenants {
		var told error
		err := r.discover(ctx, tenant, req.Expiring, func(s DiscoverStep) error {
			told = each(s)
			return told
		})
		if told != nil || ctx.Err() != nil {
			return errors.Join(told, ctx.Err())
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (r *Rotator) discover(ctx context.Context, tenant string, expiring time.Duration, each func(DiscoverStep) error) error {
	until := r.now().Add(expiring)
	late := func(c FoundCredential) bool {
		return expiring > 0 && (c.NotAfter.IsZero() || c.NotAfter.After(until))
	}
	read := 0
	return r.registered(ctx, tenant, false, func(page InventoryPage) error {
		read += page.Read
		if err := each(DiscoverStep{Tenant: tenant, Read: read, Waiting: page.Waiting}); err != nil {
			return err
		}
		for _, found := range page.Found {
			found.Credentials = slices.DeleteFunc(found.Credentials, late)
			if expiring > 0 && len(found.Credentials) == 0 {
				continue
			}
			d := Discovered{Registered: found, Tenant: tenant}
			app, rot, err := r.trackedAs(ctx, tenant, found.ClientID)
			if err != nil {
				return err
			}
			if app != nil {
				d.App = app.Name
				for i, c := range found.Credentials {
					if found.Kind == RegisteredApp && isOneOf(app, rot, c) {
						d.Ours = append(d.Ours, i)
					}
				}
			}
			if err := each(DiscoverStep{Found: &d, Tenant: tenant, Read: read}); err != nil {
				return err
			}
		}
		return nil
	})
}

// registered lists a tenant whose hosts are the ones that the store knows. A tenant is
// listed once at a time, so that it takes the memory of one answer at most; who comes
// second is refused or, with wait, waits.
func (r *Rotator) registered(ctx context.Context, tenant string, wait bool, each func(InventoryPage) error) error {
	if r.settings().Inventory == nil {
		return refusedf("this program has no way to list a tenant")
	}
	if err := r.checkHosts(ctx, tenant); err != nil {
		return err
	}
	free := r.listingOf(tenant)
	select {
	case free <- struct{}{}:
	default:
		if !wait {
			return refusedf("tenant %s is being listed already, by another command or the regular inspection; try again when that has ended", tenant)
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-free }()
	return r.settings().Inventory.Registered(ctx, tenant, each)
}

// listingOf is the place in which who lists a tenant puts something.
func (r *Rotator) listingOf(tenant string) chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listings == nil {
		r.listings = map[string]chan struct{}{}
	}
	if r.listings[tenant] == nil {
		r.listings[tenant] = make(chan struct{}, 1)
	}
	return r.listings[tenant]
}

// trackedAs returns the app that a registration is tracked as, with its open
// rotation; nil: it is not tracked.
func (r *Rotator) trackedAs(ctx context.Context, tenant string, id ClientID) (*App, *Rotation, error) {
	app, err := r.Store.AppByClientID(ctx, tenant, id)
	if errors.Is(err, ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if app.Rotation == "" {
		return &app, nil, nil
	}
	rot, err := r.Store.Rotation(ctx, app.Rotation)
	if err != nil {
		return nil, nil, fmt.Errorf("app %s: %w", app.Name, err)
	}
	return &app, &rot, nil
}

// isOneOf reports whether a credential is one of ours, which the records name.
func isOneOf(app *App, rot *Rotation, found FoundCredential) bool {
	if found.Kind != FoundCertificate {
		return false
	}
	for _, m := range app.Removals {
		if !m.Foreign && (m.Carries(found.KeyID, found.Thumbprint) || found.hintsAt(m.Credential)) {
			return true
		}
	}
	return slices.ContainsFunc(ownCredentials(app, rot), func(c Credential) bool {
		return found.KeyID != "" && (c.KeyID == found.KeyID || c.RequestedKeyID == found.KeyID) ||
			found.Thumbprint != "" && c.ThumbprintSHA256 == found.Thumbprint || found.hintsAt(c)
	})
}

// ownCredentials returns the credentials that the records name, those of an open
// rotation too.
func ownCredentials(app *App, rot *Rotation) []Credential {
	ours := allCredentials(app, rot)
	if rot != nil {
		ours = append(ours, rot.New, Credential{KeyID: rot.Upload.RequestedKeyID})
	}
	return ours
}
