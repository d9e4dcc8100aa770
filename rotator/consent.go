package rotator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// consent grants the permissions, or says where somebody else does.
func (c *creator) consent(ctx context.Context) error {
	granted := 0
	return c.until(ctx, "the consent", func() error {
		has, err := c.r.settings().Registrar.Assigned(ctx, c.as, c.own, c.graph)
		if err != nil {
			return err
		}
		missing := ""
		for _, id := range c.roles {
			if !slices.Contains(has, id) {
				missing = id
				break
			}
		}
		switch {
		case missing == "":
			if granted > 0 {
				c.did("granted admin consent to %s", orNone(c.app.Permissions))
			}
			c.out.ConsentURL = ""
			return nil
		case c.req.NoConsent:
			c.out.ConsentURL = c.r.settings().Registrar.ConsentURL(c.as)
			return nil
		}
		for _, id := range c.roles {
			if slices.Contains(has, id) {
				continue
			}
			if err := c.r.settings().Registrar.Assign(ctx, c.as, c.own, c.graph, id); err != nil && reasonOf(err) != ReasonExists {
				return err
			}
			granted++
		}
		return fmt.Errorf("consent: %w", ErrNotFound) // look again
	})
}

// test waits until the new app can sign in with its permissions, and looks at all.
func (c *creator) test(ctx context.Context) error {
	err := c.until(ctx, "the token service", func() error {
		got, err := c.r.settings().Entra.SignIn(ctx, c.app.registration(), c.pair, nil)
		if err != nil {
			return err
		}
		for _, p := range c.app.Permissions {
			if !slices.Contains(got.Roles, p) {
				return fmt.Errorf("permission %s in the token: %w", p, ErrNotFound)
			}
		}
		return nil
	})
	if reason := reasonOf(err); err != nil && reason != ReasonBlocked {
		return err
	}
	for range testTries {
		c.out.Checks = TestConnection(ctx, c.r.settings().Entra, c.r.Encoder, Connection{App: c.app, Pair: c.pair, Policy: c.policy, Now: c.r.Now})
		if !slices.ContainsFunc(c.out.Checks, func(t TestCheck) bool { return t.Result == CheckFailed }) || pause(ctx, testEvery) != nil {
			break
		}
	}
	return nil //nolint:nilerr // blocked by Conditional Access: the app is there, and its consumer may sign in from elsewhere
}

// track makes it one of the tracked apps; the journal entry ends with that.
func (c *creator) track(ctx context.Context) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	credential, err := CredentialOf(c.pair.Certificate)
	if err != nil {
		return err
	}
	credential.KeyID = c.rec.KeyID
	now := c.r.now().UTC()
	made := c.rec
	c.app.Current, c.app.Created = &credential, &made
	c.app.AddedAt, c.app.AddedBy = now, c.by
	err = c.r.change(ctx, c.app.Name, func(rec *Records) error {
		if rec.App != nil {
			return fmt.Errorf("app %s %w", c.app.Name, ErrExists)
		}
		if err := c.r.bindHosts(rec, c.app.Tenant); err != nil {
			return err
		}
		app := c.app
		rec.App = &app
		rec.State.Creations = maps.Clone(rec.State.Creations)
		delete(rec.State.Creations, c.app.Name)
		rec.Audit = append(rec.Audit, c.audit("app created"))
		return nil
	})
	if err != nil {
		return err
	}
	c.r.wake()
	c.finish()
	return nil
}

func (c *creator) finish() {
	c.out.App = c.app
	encoding := policyOf(&c.app, c.r.settings().Defaults).Encoding
	c.out.PFX, c.out.Certificate, c.out.Password = c.pair.Encoded[encoding], c.pair.Certificate, c.pair.Password
}

// until asks again while an answer shows that Entra has not spread a change yet, or
// that it passes by itself.
func (c *creator) until(ctx context.Context, what string, ask func() error) error {
	few := 1 // tries of a refusal that passes, or means what it says
	for wait := time.Second; ; wait = min(2*wait, 15*time.Second) {
		err := ask()
		if err == nil {
			return nil
		}
		f := failureOf(err)
		passes := errors.Is(err, ErrNotFound) || f.Reason == ReasonAppNotFound || f.Class == ClassWait || f.Class == ClassRetry && f.Reason == ReasonNetwork
		if !passes && few < transientTries && (f.Transient || f.Reason == ReasonForbidden && c.rec.ObjectID != "") {
			passes, few = true, few+1
		}
		if !passes || errors.Is(err, errRecord) {
			return err
		}
		if f.Transient {
			wait = 15 * time.Second
		}
		if pause(ctx, max(wait, f.RetryAfter)) != nil {
			return c.notYet(what)
		}
	}
}

// answered sends a request that may be sent twice until it is answered.
func (c *creator) answered(ctx context.Context, what string, ask func() error) error {
	return c.until(ctx, what, func() error {
		err := ask()
		if reasonOf(err) == ReasonAppNotFound {
			return &Failure{Class: ClassFix, Reason: ReasonUnsupported, Message: failureOf(err).Message, Err: err}
		}
		return err
	})
}

// notYet is the end of a run whose time is over.
func (c *creator) notYet(what string) error {
	return &Failure{
		Class: ClassWait, Reason: ReasonStaleRead,
		Message: fmt.Sprintf("app %s: Entra does not show %s everywhere yet, after %s", c.app.Name, what, days(createWithin)),
		Next:    "run the same command again: it goes on where it is, and makes nothing twice",
	}
}

// pause waits; it returns the context's error if that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
