package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Rights tells what a tenant's identity may do to an app.
type Rights interface {
	// Rights asks as the tenant's identity. A [*Failure] if that cannot be told.
	Rights(ctx context.Context, app Registration) (AppRights, error)
}

// AppRights are those of a tenant's identity.
type AppRights struct {
	// Roles are the application permissions in its token.
	Roles []string
	// Owner tells that it owns the app.
	Owner bool
}

// Preflight is what a look ahead at the next renewal showed.
type Preflight struct {
	At       time.Time          `json:"at"`
	Problems []PreflightProblem `json:"problems,omitempty"`
}

// PreflightProblem is one thing that would keep the next renewal from working, or
// change it.
type PreflightProblem struct {
	// Check is permission, ownership, policy, clock, room, gone or expired.
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Next     string   `json:"next,omitempty"`
}

const (
	// preflightEvery is how often an app is looked at.
	preflightEvery = 7 * day
	// maxCredentials is how much room an app has: about 1,000 entries in all its
	// collections.
	// https://learn.microsoft.com/entra/identity-platform/supported-accounts-validation
	maxCredentials = 1000
)

// Preflight looks ahead at the next renewal of an app: is the permission there,
// the ownership, room for a second certificate; does a policy allow it; is the
// clock right. It changes nothing in Entra. What it finds is stored and told when
// it is new. An error means that it could not be found out now.
func (r *Rotator) Preflight(ctx context.Context, name string) ([]PreflightProblem, error) {
	app, err := r.appToAsk(ctx, name)
	if err != nil {
		return nil, err
	}
	p := &preflight{r: r, app: &app, policy: wishOf(&app, r.settings().Defaults)}
	if err := p.look(ctx); err != nil {
		return nil, err
	}
	release, err := r.claim(ctx, name)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := lasting(ctx)
	defer cancel()
	return p.problems, r.change(ctx, name, p.record)
}

// preflight is one look ahead at one app.
type preflight struct {
	r        *Rotator
	app      *App
	policy   Policy
	problems []PreflightProblem
	// limit is the longest lifetime that a policy allows, where it may be read.
	limit   time.Duration
	limited bool
	// listing is the app's list, where it could be read.
	listing Listing
}

func (p *preflight) add(check string, severity Severity, next, format string, args ...any) {
	p.problems = append(p.problems, PreflightProblem{check, severity, fmt.Sprintf(format, args...), next})
}

func (p *preflight) look(ctx context.Context) error {
	if p.app.Mode == ModeMonitor {
		return nil // nothing of it is ever renewed here
	}
	now := p.r.now()
	as := Access{Registration: p.app.registration()}
	if p.app.Mode == ModeSelf {
		if p.app.Current == nil {
			return nil
		}
		if !now.Before(p.app.Current.NotAfter) {
			p.add("expired", SeverityCritical, "use \"rotate app edit "+p.app.Name+" --mode managed\", or upload a certificate by hand",
				"its certificate has expired, so the app cannot add the next one itself (self mode)")
			return nil
		}
		use, err := p.r.inUse(ctx, p.app)
		if err != nil {
			return err
		}
		pair, err := p.r.Store.KeyPair(ctx, use.ThumbprintSHA256)
		if err != nil {
			return fmt.Errorf("app %s: %w", p.app.Name, err)
		}
		as.As = pair
		var got SignIn
		err = askAgain(ctx, p.app.isYoung(now), func() (err error) {
			got, err = p.r.settings().Entra.SignIn(ctx, p.app.registration(), pair, nil)
			return err
		})
		if err != nil {
			return err
		}
		p.clock(now, got.At)
	}
	var listing Listing
	err := askAgain(ctx, p.app.Mode == ModeManaged && p.app.isYoung(now), func() (err error) {
		listing, err = p.r.settings().Entra.Keys(ctx, as, false)
		return err
	})
	switch reason := reasonOf(err); {
	case reason == ReasonAppNotFound:
		p.add("gone", SeverityCritical, failureOf(err).Next, "the app registration is not in Entra")
		return nil
	case reason == ReasonForbidden && p.app.Mode == ModeManaged:
		p.add("permission", SeverityWarning, failureOf(err).Next, "the tenant's identity may not read it")
		return nil
	case reason == ReasonForbidden:
		// In self mode most apps may not read themselves; what can be known is.
	case err != nil:
		return err
	default:
		p.listing = listing
		p.clock(now, listing.At)
		p.room(listing)
	}
	if p.app.Mode == ModeManaged {
		if err := p.rights(ctx, listing.ObjectID); err != nil {
			return err
		}
	}
	if as.ObjectID == "" {
		as.ObjectID = listing.ObjectID
	}
	return p.lifetime(ctx, as)
}

func (p *preflight) clock(now, server time.Time) {
	known := slices.ContainsFunc(p.problems, func(o PreflightProblem) bool { return o.Check == "clock" })
	if off := clockError(now, server); !server.IsZero() && off.Abs() > maxClockError && !known {
		p.add("clock", SeverityWarning, "set the clock (timedatectl)", "this host's clock is more than %s off Entra's", maxClockError)
	}
}

func (p *preflight) room(listing Listing) {
	if n := len(listing.Entries) + listing.Secrets; n >= maxCredentials {
		p.add("room", SeverityWarning, "remove credentials that have expired in the Entra portal",
			"the app carries %d credentials; Entra takes about %d, so there is no room for a second certificate", n, maxCredentials)
	}
}

// rights looks whether the identity may change the app.
func (p *preflight) rights(ctx context.Context, id ObjectID) error {
	if p.r.settings().Rights == nil {
		return nil
	}
	app := p.app.registration()
	app.ObjectID = id
	var may AppRights
	err := askAgain(ctx, p.app.isYoung(p.r.now()), func() (err error) {
		may, err = p.r.settings().Rights.Rights(ctx, app)
		return err
	})
	switch {
	case err != nil:
		return err
	case slices.Contains(may.Roles, "Application.ReadWrite.All"):
	case !slices.Contains(may.Roles, "Application.ReadWrite.OwnedBy"):
		p.add("permission", SeverityWarning, "grant it Application.ReadWrite.OwnedBy with admin consent and make it an owner of this app",
			"the identity of tenant %q holds neither Application.ReadWrite.OwnedBy nor Application.ReadWrite.All", p.app.Tenant)
	case !may.Owner:
		p.add("ownership", SeverityWarning, "make it an owner of this app, or use \"rotate app edit "+p.app.Name+" --mode self\"",
			"the identity of tenant %q is not an owner of the app, which Application.ReadWrite.OwnedBy asks for", p.app.Tenant)
	}
	return nil
}

// lifetime looks at the app management policies, where they may be read.
func (p *preflight) lifetime(ctx context.Context, as Access) error {
	limit, policy, err := p.r.settings().Entra.LongestLifetime(ctx, as)
	switch {
	case reasonOf(err) == ReasonForbidden:
		return nil // optional; a refusal would tell
	case err != nil:
		return err
	}
	p.limit, p.limited = limit, true
	rule := p.app.ConfirmRule()
	fitted := p.policy.fitted(limit, rule)
	switch err := fitted.checkLifetime(p.app.Name, rule); {
	case limit <= 0 || limit >= p.policy.Validity:
	case err != nil:
		p.add("policy", SeverityCritical, failureOf(err).Next, "%s: %s", policy, failureOf(err).Message)
	default:
		p.add("policy", SeverityInfo, "set validity to "+days(limit)+" to make this the rule",
			"%s allows certificates for %s, not %s: the next one lives that long, is renewed %s before it expires, and the overlap is %s",
			policy, days(limit), days(p.policy.Validity), days(fitted.RenewBefore), days(fitted.Overlap))
	}
	return nil
}

// record stores what was found, and tells what is new.
func (p *preflight) record(rec *Records) error {
	app := rec.App
	if app == nil {
		return nil
	}
	var before []PreflightProblem
	if app.Preflight != nil {
		before = app.Preflight.Problems
	}
	same := func(a PreflightProblem) func(PreflightProblem) bool {
		return func(b PreflightProblem) bool { return a.Check == b.Check && a.Severity == b.Severity }
	}
	for _, problem := range p.problems {
		if !slices.ContainsFunc(before, same(problem)) {
			rec.Events = append(rec.Events, p.r.newEvent(app, nil, EventRenewalAtRisk, problem.Severity, "app "+app.Name+": the next renewal: "+problem.Message, problem.Next))
		}
	}
	if len(before) > 0 && len(p.problems) == 0 {
		rec.Events = append(rec.Events, p.r.newEvent(app, nil, EventRecovered, SeverityInfo, "app "+app.Name+": nothing stands in the way of the next renewal any more", ""))
	}
	if p.limited {
		app.LifetimeLimit = p.limit
	}
	app.Preflight = &Preflight{At: p.r.now().UTC(), Problems: p.problems}
	p.r.revive(rec, p.listing.shows, app.Preflight.At)
	return nil
}

// preflights looks ahead at the apps of a tenant whose turn has come. What could
// not be found out is tried at the next inspection.
func (in *inspection) preflights(ctx context.Context) error {
	return in.eachApp(ctx, func(app *App) error {
		if app.Rotation != "" || app.Preflight != nil && in.now.Sub(app.Preflight.At) < preflightEvery {
			return nil
		}
		_, err := in.r.Preflight(ctx, app.Name)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotFound) {
			in.r.log().WarnContext(ctx, "renewal cannot be looked ahead at", "app", app.Name, "err", err)
		}
		return ctx.Err()
	})
}

// preflightWarnings are the lines of a status, and whether a person should look.
func (a *App) preflightWarnings() (warnings []string, attention bool) {
	if a.Preflight == nil {
		return nil, false
	}
	for _, p := range a.Preflight.Problems {
		text := "the next renewal: " + p.Message
		if p.Next != "" {
			text += "; " + p.Next
		}
		warnings = append(warnings, text)
		attention = attention || p.Severity != SeverityInfo
	}
	return warnings, attention
}
