package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// lookUp finds the permissions, and whether the name is free.
func (c *creator) lookUp(ctx context.Context) error {
	graph, ids, err := c.r.settings().Registrar.Roles(ctx, c.as)
	if err != nil {
		return err
	}
	c.graph = graph
	for _, p := range c.app.Permissions {
		id, ok := ids[p]
		if !ok {
			return usagef("app %s: Microsoft Graph has no application permission %q in the cloud of tenant %s; nothing was made", c.app.Name, p, c.app.Tenant)
		}
		c.roles = append(c.roles, id)
	}
	state, err := c.r.state(ctx)
	if err != nil {
		return err
	}
	unique := c.r.UniqueName(c.app.Name)
	if known, ok := state.Creations[c.app.Name]; ok {
		if known.Tenant != c.app.Tenant {
			return refusedf("app %s: its creation in tenant %s was begun; undo it with \"rotate app delete %s\" first", c.app.Name, known.Tenant, c.app.Name)
		}
		c.rec = known
		c.did("goes on where it was interrupted")
		return nil
	}
	found, err := c.r.settings().Registrar.FindUnique(ctx, c.as, unique)
	if err == nil && found.Blueprint {
		return blueprintTaken(c.app.Name, found)
	}
	if err == nil {
		c.rec.ObjectID, c.rec.ClientID = found.ObjectID, found.ClientID
		c.did("found the registration that this store made before, client ID %s", found.ClientID)
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	same, err := c.r.settings().Registrar.FindByName(ctx, c.as, c.req.DisplayName)
	if err != nil {
		return err
	}
	return c.nameTaken(same)
}

// nameTaken never guesses: it names what is there and how to adopt it.
func (c *creator) nameTaken(same []Found) error {
	same = slices.DeleteFunc(same, func(f Found) bool { return f.Blueprint })
	if len(same) == 0 {
		return nil
	}
	adopt := func(f Found) string {
		return fmt.Sprintf("rotate app add %s --tenant %s --client-id %s --pfx FILE --password-file FILE", c.app.Name, c.app.Tenant, f.ClientID)
	}
	if len(same) == 1 {
		return &Failure{
			Class: ClassFix, Reason: ReasonExists,
			Message: fmt.Sprintf("app %s: the tenant has an app named %q already, client ID %s; nothing was made", c.app.Name, c.req.DisplayName, same[0].ClientID),
			Next:    "to adopt it: " + adopt(same[0]) + "; to make another one: --display-name NAME",
		}
	}
	var ids []string
	for _, f := range same {
		ids = append(ids, string(f.ClientID))
	}
	return &Failure{
		Class: ClassFix, Reason: ReasonExists,
		Message: fmt.Sprintf("app %s: the tenant has %d apps named %q, client IDs %s; nothing was made", c.app.Name, len(same), c.req.DisplayName, strings.Join(ids, " and ")),
		Next:    "find out which is meant, then adopt it by its client ID: " + adopt(same[0]) + "; to make another one: --display-name NAME",
	}
}

// plan makes the key pair and the journal entry, before the first request that
// changes something.
func (c *creator) plan(ctx context.Context) error {
	if c.rec.Thumbprint != "" {
		var err error
		c.pair, err = c.r.Store.KeyPair(ctx, c.rec.Thumbprint)
		return err
	}
	app := c.app
	app.Mode = ModeSelf // the tenant's policies cannot be read for an app that is not there
	pair, credential, err := c.r.newPair(ctx, &app, c.policy, c.r.now().UTC())
	if err != nil {
		return err
	}
	requested, err := c.r.patchKeyID(ctx, c.app.Tenant)
	if err != nil {
		return err
	}
	return c.journal(ctx, "app creation begun", func(n *Creation) {
		if n.At.IsZero() {
			n.Tenant, n.UniqueName, n.DisplayName = c.app.Tenant, c.r.UniqueName(c.app.Name), c.req.DisplayName
			n.At, n.By = c.r.now().UTC(), c.by
		}
		n.Thumbprint, n.KeyID, n.UploadedAt = credential.ThumbprintSHA256, requested, time.Time{}
		c.pair = pair
	}, func(rec *Records) { rec.Seal = append(rec.Seal, pair) })
}

// register makes the registration by its unique name: sent twice it is one.
func (c *creator) register(ctx context.Context) error {
	if c.rec.ObjectID == "" {
		wanted := NewRegistration{UniqueName: c.rec.UniqueName, DisplayName: c.rec.DisplayName, RoleIDs: c.roles}
		err := c.answered(ctx, "the registration", func() error { return c.r.settings().Registrar.Upsert(ctx, c.as, wanted) })
		if reasonOf(err) == ReasonUnsupported {
			err = c.registerPlainly(ctx, wanted)
		}
		if err != nil {
			return err
		}
		var found Found
		err = c.until(ctx, "the new registration", func() error {
			found, err = c.r.settings().Registrar.FindUnique(ctx, c.as, c.rec.UniqueName)
			return err
		})
		if err == nil && found.Blueprint {
			err = blueprintTaken(c.app.Name, found)
		}
		if err != nil {
			return err
		}
		if err := c.journal(ctx, "app registered", func(n *Creation) { n.ObjectID, n.ClientID = found.ObjectID, found.ClientID }, nil); err != nil {
			return err
		}
		c.did("registered %q, client ID %s, for this tenant only", c.rec.DisplayName, c.rec.ClientID)
	}
	c.as.ObjectID, c.as.ClientID = c.rec.ObjectID, c.rec.ClientID
	c.app.ObjectID, c.app.ClientID = c.rec.ObjectID, c.rec.ClientID
	return nil
}

// unseenFor is how long a new object may be invisible on a bad day: 10 to 20 minutes
// were seen.
// https://github.com/hashicorp/terraform-provider-azuread/issues/1811
const unseenFor = 30 * time.Minute

// registerPlainly makes the registration where a cloud knows no upsert. A request
// whose answer was lost is looked for until it would be seen.
func (c *creator) registerPlainly(ctx context.Context, wanted NewRegistration) error {
	if !c.rec.RegisteredAt.IsZero() {
		for range absentReads {
			_, err := c.r.settings().Registrar.FindUnique(ctx, c.as, c.rec.UniqueName)
			if !errors.Is(err, ErrNotFound) {
				return err
			}
			if err := pause(ctx, absentEvery); err != nil {
				return c.notYet("the registration that was sent before")
			}
		}
	}
	if err := c.journal(ctx, "", func(n *Creation) { n.RegisteredAt = c.r.now().UTC() }, nil); err != nil {
		return err
	}
	err := c.r.settings().Registrar.Register(ctx, c.as, wanted)
	if reasonOf(err) == ReasonExists {
		return nil // a bad day: it is there, and no read shows it yet
	}
	return err
}

// principal makes the service principal.
func (c *creator) principal(ctx context.Context) error {
	made := false
	err := c.until(ctx, "the service principal", func() error {
		var err error
		if c.own, err = c.r.settings().Registrar.Principal(ctx, c.as); !errors.Is(err, ErrNotFound) {
			return err
		}
		if err := c.r.settings().Registrar.CreatePrincipal(ctx, c.as); err != nil && reasonOf(err) != ReasonExists {
			return err
		}
		made = true
		return fmt.Errorf("service principal: %w", ErrNotFound) // look again
	})
	if err == nil && made {
		c.did("made its service principal")
	}
	return err
}

// certificate puts the certificate on the app. It is the app's first, so that the
// list is replaced by one entry; what somebody else put there is kept.
func (c *creator) certificate(ctx context.Context) error {
	sent := !c.rec.UploadedAt.IsZero()
	looks := 1
	if sent {
		looks = absentReads
	}
	for range looks {
		id, err := c.listed(ctx)
		if err != nil {
			return err
		}
		if id != "" {
			c.rec.KeyID = id
			return nil
		}
		if looks > 1 {
			if err := pause(ctx, absentEvery); err != nil {
				return c.notYet("the certificate that was sent before")
			}
		}
	}
	if sent && c.rec.KeyID == "" && c.r.now().Sub(c.rec.UploadedAt) < unseenFor {
		// Without a KeyID of ours a second PATCH would add a second entry.
		return c.notYet("the certificate that was sent before")
	}
	credential, err := CredentialOf(c.pair.Certificate)
	if err != nil {
		return err
	}
	if err := c.journal(ctx, "", func(n *Creation) { n.UploadedAt = c.r.now().UTC() }, nil); err != nil {
		return err
	}
	add := NewKey{
		KeyID: c.rec.KeyID, DisplayName: entryName(c.app.Name, c.r.Store.ID(), "created"),
		Certificate: c.pair.Certificate, NotBefore: credential.NotBefore, NotAfter: credential.NotAfter,
	}
	lost := false // an answer, and with it whether the certificate is there
	err = c.until(ctx, "the registration, to add the certificate", func() error {
		if lost && add.KeyID == "" {
			id, err := c.listed(ctx)
			if err == nil && id == "" {
				err = fmt.Errorf("certificate: %w", ErrNotFound)
			}
			return err
		}
		_, err := c.r.settings().Entra.PatchKeys(ctx, c.as, nil, add)
		if reasonOf(err) == ReasonKeyIDRefused && add.KeyID != "" {
			if err := c.r.keyIDRefused(ctx, c.app.Tenant); err != nil {
				return err
			}
			if err := c.journal(ctx, "", func(n *Creation) { n.KeyID = "" }, nil); err != nil {
				return err
			}
			add.KeyID = ""
			_, err = c.r.settings().Entra.PatchKeys(ctx, c.as, nil, add)
		}
		if f := failureOf(err); err != nil && f.Ambiguous {
			lost = true
			if id, lookErr := c.listed(ctx); lookErr == nil && id != "" {
				return nil
			}
		}
		return err
	})
	if err != nil {
		known, learnErr := c.r.learnedOf(ctx, c.app.Tenant)
		if learnErr != nil {
			return errors.Join(err, learnErr)
		}
		if f := c.r.policyIn(ctx, known, c.as, failureOf(err)); f.Reason == ReasonPolicy {
			return c.policyRefused(ctx, f)
		}
		return err
	}
	err = c.until(ctx, "the certificate", func() error {
		id, err := c.listed(ctx)
		if err == nil && id == "" {
			err = fmt.Errorf("certificate: %w", ErrNotFound)
		}
		if id != "" {
			c.rec.KeyID = id
		}
		return err
	})
	if err == nil {
		c.did("uploaded its certificate %s, until %s", credential.ThumbprintSHA1, credential.NotAfter.Format(time.DateOnly))
	}
	return err
}

// policyRefused makes a shorter certificate where the tenant's policy says how long
// it may be, else forgets the refused one.
func (c *creator) policyRefused(ctx context.Context, f *Failure) error {
	refused := c.rec.Thumbprint
	err := c.journal(ctx, "certificate refused by policy", func(n *Creation) { n.Thumbprint = "" },
		func(rec *Records) { rec.Forget = append(rec.Forget, refused) })
	if err != nil || f.LongestLifetime <= 0 || c.app.LifetimeLimit > 0 {
		return errors.Join(err, f)
	}
	c.app.LifetimeLimit = f.LongestLifetime
	c.did("the tenant's policy allows certificates for %s only", days(f.LongestLifetime))
	if err := c.plan(ctx); err != nil {
		return err
	}
	return c.certificate(ctx)
}

// listed returns the KeyID of our certificate; empty: it is not on the app.
func (c *creator) listed(ctx context.Context) (KeyID, error) {
	var listing Listing
	err := c.until(ctx, "the registration", func() (err error) {
		listing, err = c.r.settings().Entra.Keys(ctx, c.as, true)
		return err
	})
	for _, e := range listing.Entries {
		if e.Thumbprint == c.rec.Thumbprint {
			return e.KeyID, err
		}
	}
	return "", err
}

// owner makes the tenant's identity an owner, in managed mode, and notes all owners.
func (c *creator) owner(ctx context.Context) error {
	identity := ""
	if c.app.Mode == ModeManaged {
		var err error
		if identity, err = c.r.settings().Registrar.Identity(ctx, c.as); err != nil {
			return err
		}
	}
	return c.until(ctx, "its owners", func() error {
		var err error
		if c.out.Owners, err = c.r.settings().Registrar.Owners(ctx, c.as); err != nil || identity == "" {
			return err
		}
		if slices.ContainsFunc(c.out.Owners, func(o Owner) bool { return o.ID == identity }) {
			return nil
		}
		if err := c.r.settings().Registrar.AddOwner(ctx, c.as, identity); err != nil && reasonOf(err) != ReasonExists {
			return err
		}
		c.did("made the identity of tenant %s an owner", c.app.Tenant)
		return fmt.Errorf("owner: %w", ErrNotFound) // look again
	})
}
