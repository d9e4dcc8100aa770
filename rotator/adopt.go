package rotator

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// guidForm is a GUID in any case.
var guidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// Add adopts an existing app registration with the pair that its consumer uses
// today. The pair must open, belong together and get a token. Nothing is
// changed in Entra.
//
// Errors: [ErrUsage] for a spec that cannot work; [ErrExists]; a [*Failure] if
// Entra refuses the pair.
func (r *Rotator) Add(ctx context.Context, spec AppSpec, by string) (Added, error) {
	app, pair, added, err := r.examine(ctx, spec)
	if err != nil {
		return Added{}, err
	}
	now := r.now().UTC()
	app.AddedAt, app.AddedBy = now, by
	err = r.change(ctx, app.Name, func(rec *Records) error {
		what := "app added"
		if rec.App != nil {
			if !rec.App.yieldsTo(&app) {
				return alreadyTracked(app.Name)
			}
			app.follow(rec.App)
			what = "app added over the one that was only watched"
		}
		if err := r.bindHosts(rec, app.Tenant); err != nil {
			return err
		}
		rec.App = &app
		var thumbprint Thumbprint
		if !pair.IsZero() {
			rec.Seal = append(rec.Seal, pair)
			thumbprint = pair.Thumbprint()
		}
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: what, App: app.Name, Thumbprint: thumbprint})
		return nil
	})
	if err != nil {
		return Added{}, err
	}
	added.App = app
	added.Warnings = append(added.Warnings, r.aheadOf(ctx, app.Name)...)
	if added.App, err = r.Store.App(ctx, app.Name); err != nil {
		return Added{}, err
	}
	r.wake()
	return added, nil
}

// aheadOf looks ahead at the next renewal of an app that a person has just added or
// changed, and returns what would stand in its way.
func (r *Rotator) aheadOf(ctx context.Context, name string) []string {
	if _, err := r.Preflight(ctx, name); err != nil {
		r.log().DebugContext(ctx, "renewal cannot be looked ahead at", "app", name, "err", err) // the weekly look will
		return nil
	}
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return nil
	}
	ahead, _ := app.preflightWarnings()
	return ahead
}

// examine checks a spec against the store, Entra and the host, and returns the
// app as it would be tracked.
func (r *Rotator) examine(ctx context.Context, spec AppSpec) (App, KeyPair, Added, error) {
	var added Added
	none := func(err error) (App, KeyPair, Added, error) { return App{}, KeyPair{}, Added{}, err }
	app, err := r.appOf(spec)
	if err != nil {
		return none(err)
	}
	if err := r.checkFree(ctx, &app); err != nil {
		return none(err)
	}
	if err := r.checkHosts(ctx, app.Tenant); err != nil {
		return none(err)
	}
	if added.Warnings, err = r.checkApp(ctx, &app); err != nil {
		return none(err)
	}
	if err := r.checkConsumer(&app); err != nil {
		return none(err)
	}
	var pair KeyPair
	if app.Mode == ModeMonitor {
		added.Warnings = nil // they are about rotations
		if err := r.observe(ctx, &app, spec, &added); err != nil {
			return none(err)
		}
		return app, pair, added, nil
	}
	if spec.PFX == nil {
		if app.Mode == ModeSelf {
			return none(usagef("app %s: self mode needs the app's own certificate and key (--pfx): the app signs with it to add the next one", app.Name))
		}
	} else if pair, err = r.openAdopted(ctx, &app, spec, &added); err != nil {
		return none(err)
	}
	if err := r.locate(ctx, &app, pair, &added); err != nil {
		return none(err)
	}
	for _, d := range app.Deliveries {
		if w := r.targetAtAdoption(ctx, &app, d, pair); w != "" {
			added.Warnings = append(added.Warnings, w)
		}
	}
	return app, pair, added, nil
}

// appOf turns a spec into a record, checking its form.
func (r *Rotator) appOf(spec AppSpec) (App, error) {
	if err := CheckName(spec.Name); err != nil {
		return App{}, err
	}
	switch {
	case spec.Certificate != nil && spec.PFX != nil:
		return App{}, usagef("app %s: a certificate alone goes without a PFX: the PFX holds it", spec.Name)
	case spec.Certificate != nil && (spec.Mode == "" || spec.Mode == ModeMonitor):
		spec.Mode = ModeMonitor
	case spec.Certificate != nil:
		return App{}, usagef("app %s: with a certificate alone it can only be watched (mode monitor), not %s: rotating needs the private key (--pfx), or managed mode without a file", spec.Name, spec.Mode)
	case spec.Mode == ModeMonitor:
		return App{}, usagef("app %s: an app that is only watched needs its certificate (--from-certificate)", spec.Name)
	case spec.Mode == "":
		spec.Mode = ModeSelf
	}
	for _, id := range []struct{ what, value string }{
		{"client ID", string(spec.ClientID)}, {"object ID", string(spec.ObjectID)}, {"key ID", string(spec.KeyID)},
	} {
		if (id.value != "" || id.what == "client ID") && !guidForm.MatchString(id.value) {
			return App{}, usagef("app %s: the %s %q is not a GUID such as 11111111-2222-3333-4444-555555555555", spec.Name, id.what, id.value)
		}
	}
	if spec.Mode != ModeSelf && spec.Mode != ModeManaged && spec.Mode != ModeMonitor {
		return App{}, usagef("app %s: mode %q is not known; use self or managed", spec.Name, spec.Mode)
	}
	if _, err := r.settings().Entra.Hosts(spec.Tenant); err != nil {
		return App{}, usagef("app %s: the configuration has no tenant %q; add it under tenants", spec.Name, spec.Tenant)
	}
	if spec.Evidence && spec.Mode != ModeManaged {
		return App{}, evidenceMode(spec.Name)
	}
	if err := checkFriendlyName(spec.Name, spec.FriendlyName); err != nil {
		return App{}, err
	}
	if err := checkTexts(spec.Name, spec.Owner, spec.Tags, spec.HandOff); err != nil {
		return App{}, err
	}
	return App{
		Evidence: spec.Evidence, Verify: spec.Verify, CorrelationID: string(r.newGUID()),
		Name: spec.Name, Tenant: spec.Tenant, Mode: spec.Mode,
		ClientID: ClientID(strings.ToLower(string(spec.ClientID))), ObjectID: ObjectID(strings.ToLower(string(spec.ObjectID))),
		Permissions: spec.Permissions, Tags: spec.Tags, Owner: spec.Owner, Policy: spec.Policy,
		Deliveries: spec.Deliveries, Probe: spec.Probe, Confirm: spec.Confirm, HandOff: spec.HandOff, NoConsumer: spec.NoConsumer,
		FriendlyName: spec.FriendlyName, NewPassword: spec.NewPassword,
	}, nil
}

// checkFree refuses a name or a registration that is tracked already.
func (r *Rotator) checkFree(ctx context.Context, app *App) error {
	if tracked, err := r.Store.App(ctx, app.Name); err == nil {
		if !tracked.yieldsTo(app) {
			return alreadyTracked(app.Name)
		}
		return nil
	} else if !errors.Is(err, ErrNotFound) {
		return err
	}
	other, err := r.Store.AppByClientID(ctx, app.Tenant, app.ClientID)
	if err == nil {
		return fmt.Errorf("app %s: the client ID %s of tenant %s %w as %q; one registration is tracked once", app.Name, app.ClientID, app.Tenant, ErrExists, other.Name)
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	return nil
}

// checkApp checks policy, deliveries, probes and the confirmation rule of a
// record. The warnings are for a person.
func (r *Rotator) checkApp(ctx context.Context, app *App) ([]string, error) {
	var warnings []string
	if err := r.checkIdentity(app); err != nil {
		return nil, err
	}
	policy := wishOf(app, r.settings().Defaults)
	if err := policy.Check(app.ConfirmRule()); err != nil {
		return nil, fmt.Errorf("app %s: %w", app.Name, err)
	}
	if app.handsOff() && app.Confirm.Rule == ConfirmAutomatic {
		return nil, usagef("app %s: a hand-off to a person can not be confirmed automatically: nobody but that person knows; use --confirm person, or command with a hook that asks the consumer", app.Name)
	}
	switch app.ConfirmRule() {
	case ConfirmAutomatic, ConfirmPerson:
	case ConfirmCommand:
		if app.Confirm.Hook == "" {
			return nil, usagef("app %s: confirmation by command needs the name of a hook", app.Name)
		}
	default:
		return nil, usagef("app %s: confirmation rule %q is not known; use automatic, command or person", app.Name, app.Confirm.Rule)
	}
	if app.Confirm.Hook != "" {
		if err := r.settings().Deliverer.Check(ctx, Delivery{Kind: DeliverExec, Hook: app.Confirm.Hook}); err != nil {
			return nil, fmt.Errorf("app %s: confirmation: %w", app.Name, err)
		}
	}
	for _, p := range app.Probe {
		if !strings.HasPrefix(p, "/") || strings.Contains(p, "://") {
			return nil, usagef("app %s: probe %q is not a Graph path such as /users?$top=1", app.Name, p)
		}
	}
	if policy.Window != nil {
		if _, err := r.ParseSchedule(policy.Window.Cron, policy.Window.Zone); err != nil {
			return nil, usagef("app %s: window: %v", app.Name, err)
		}
	}
	targets := map[string]bool{}
	for _, d := range app.Deliveries {
		if targets[d.Name()] {
			return nil, usagef("app %s: delivery %s is named twice", app.Name, d.Name())
		}
		targets[d.Name()] = true
		if err := r.settings().Deliverer.Check(ctx, d); err != nil {
			return nil, fmt.Errorf("app %s: %w", app.Name, err)
		}
	}
	if policy.Overlap == 0 {
		warnings = append(warnings, "overlap 0s: the old certificate is removed as soon as the new one is confirmed")
	}
	if policy.ReloadWithin == 0 && app.ConfirmRule() == ConfirmAutomatic && !app.NoConsumer {
		warnings = append(warnings, "reload_within 0s: the consumer is taken to read its files at once")
	}
	return warnings, nil
}

// openAdopted opens the adopted file and gets a token with it.
func (r *Rotator) openAdopted(ctx context.Context, app *App, spec AppSpec, added *Added) (KeyPair, error) {
	pair, err := r.Encoder.Decode(spec.PFX, spec.Password)
	if err != nil {
		return KeyPair{}, usagef("app %s: open the key file: %v", app.Name, err)
	}
	pair.Password = spec.Password
	if !IsDeliverable(pair.Password) && !spec.NewPassword {
		return KeyPair{}, usagef("app %s: the password of its file cannot be kept: it is not one printable line of at most 128 characters, and it would be written into the password file; add --new-password, and the first rotation makes a password of its own", app.Name)
	}
	current, err := CredentialOf(pair.Certificate)
	if err != nil {
		return KeyPair{}, usagef("app %s: %v", app.Name, err)
	}
	current.Adopted = true
	current.KeyID = KeyID(strings.ToLower(string(spec.KeyID)))
	app.Current = &current
	policy := policyOf(app, r.settings().Defaults)
	encodings := map[string]bool{policy.Encoding: true}
	for _, d := range app.Deliveries {
		encodings[d.Encoding] = d.Encoding != "" || encodings[d.Encoding]
	}
	pair.Encoded = map[string][]byte{}
	for e := range encodings {
		if e == "" {
			continue
		}
		if pair.Encoded[e], err = r.Encoder.Encode(e, pair.Key, pair.Certificate, pair.Chain, pair.Password, pair.FriendlyName); err != nil {
			return KeyPair{}, fmt.Errorf("app %s: encode the pair as %s: %w", app.Name, e, err)
		}
	}
	added.Warnings = append(added.Warnings, changesFrom(app, pair)...)
	now := r.now()
	switch {
	case now.After(current.NotAfter) && app.Mode == ModeSelf:
		return KeyPair{}, fix(ReasonExpired,
			"upload a new certificate by hand in the Entra portal and add the app with it, or use --mode managed with an identity that owns the app",
			"app %s: the certificate expired on %s, so the app cannot sign a proof for a new one (self mode)", app.Name, current.NotAfter.Format(time.DateOnly))
	case now.After(current.NotAfter):
		added.Warnings = append(added.Warnings, "the certificate expired on "+current.NotAfter.Format(time.DateOnly)+"; managed mode can still replace it")
		return pair, nil
	case now.Before(current.NotBefore):
		return KeyPair{}, usagef("app %s: the certificate is valid from %s only; look at the host's clock", app.Name, current.NotBefore.Format(time.RFC3339))
	}
	const young = true // nobody knows how long it has been there
	var got SignIn
	err = askAgain(ctx, young, func() (err error) {
		got, err = r.settings().Entra.SignIn(ctx, app.registration(), pair, nil)
		return err
	})
	switch {
	case reasonOf(err) == ReasonBlocked:
		added.Warnings = append(added.Warnings, "Conditional Access lets the app sign in only from elsewhere: rotate cannot prove a new certificate from this host, its consumer must confirm")
	case err != nil:
		return KeyPair{}, err
	}
	added.SignedIn, added.Roles = err == nil, got.Roles
	for _, p := range app.Permissions {
		if !slices.Contains(got.Roles, p) && err == nil {
			added.Warnings = append(added.Warnings, "its token does not carry "+p+": grant it with admin consent, or leave it out")
		}
	}
	return pair, nil
}

// changesFrom says what the first certificate of ours will not have of the adopted one.
func changesFrom(app *App, pair KeyPair) []string {
	var changes []string
	c, err := x509.ParseCertificate(pair.Certificate)
	if err != nil {
		return nil // it was opened: somebody else says it better
	}
	if is, next := c.Subject.String(), (pkix.Name{CommonName: app.Name}).String(); is != next {
		changes = append(changes, fmt.Sprintf("new certificates have the subject %s; this one has %s. A consumer that looks its certificate up by subject needs the new one", next, strconv.QuoteToGraphic(is)))
	}
	if len(pair.Chain) > 0 || c.Issuer.String() != c.Subject.String() {
		changes = append(changes, "new certificates are self-signed and come without a chain; this one was issued by "+strconv.QuoteToGraphic(c.Issuer.String()))
	}
	return changes
}

// IsDeliverable reports whether a password may be written into a file: one printable
// line of at most 128 characters, so that it can be nothing else than a password
// wherever the file lies. The empty one may.
func IsDeliverable(password string) bool {
	return utf8.ValidString(password) && utf8.RuneCountInString(password) <= 128 &&
		!strings.ContainsFunc(password, func(r rune) bool { return !unicode.IsPrint(r) })
}

// checkTexts refuses what people would not see as it is: characters that command a
// terminal, end a line, or turn the direction of writing.
func checkTexts(app, owner string, tags []string, h HandOffText) error {
	for _, text := range slices.Concat([]string{owner, h.Consumer}, tags, h.Steps) {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
			return usagef("app %s: %q has characters that do not show, such as line ends or marks of direction; write one plain line", app, text)
		}
	}
	return nil
}

func checkFriendlyName(app, name string) error {
	if utf8.RuneCountInString(name) <= 128 && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r > math.MaxUint16 }) {
		return nil
	}
	return usagef("app %s: the friendly name is not one printable line of at most 128 characters", app)
}

// locate finds the ObjectID and the KeyID where they can be read.
func (r *Rotator) locate(ctx context.Context, app *App, pair KeyPair, added *Added) error {
	as := Access{Registration: app.registration()}
	as.ObjectID = "" // by client ID, which people do not mix up
	if app.Mode == ModeSelf {
		as.As = pair
	}
	var listing Listing
	err := askAgain(ctx, app.Mode == ModeManaged, func() (err error) {
		listing, err = r.settings().Entra.Keys(ctx, as, true)
		return err
	})
	if err != nil {
		unreadable := app.Mode == ModeSelf && (reasonOf(err) == ReasonForbidden || reasonOf(err) == ReasonBlocked)
		if !unreadable {
			return err
		}
		if app.ObjectID == "" {
			return usagef("app %s: the app may not read itself in Entra, so give its object ID: --object-id (portal: App registrations, the app, Overview, \"Object ID\"; not the one under Enterprise applications)", app.Name)
		}
		byHand := "the app may not read itself in Entra, so the present certificate must be removed by hand after the first rotation"
		if app.Current.KeyID == "" {
			byHand += "; with --key-id (portal: Certificates & secrets, \"Certificate ID\") its entry is named then"
		} else {
			app.Current.KeyIDByHand = true // it may be that of another certificate
			added.Found = append(added.Found, "the app may not read itself in Entra; object ID and key ID are taken as given")
		}
		added.Warnings = append(added.Warnings, byHand)
		return nil
	}
	if app.ObjectID != "" && app.ObjectID != listing.ObjectID {
		return usagef("app %s: its object ID is %s, not %s (that may be the one of the enterprise application)", app.Name, listing.ObjectID, app.ObjectID)
	}
	app.ObjectID, app.DisplayName = listing.ObjectID, listing.DisplayName
	added.Found = append(added.Found, "object ID "+string(listing.ObjectID)+" read from Entra")
	if err := r.recall(ctx, app, listing, added); err != nil || app.Current == nil {
		return err
	}
	for _, e := range listing.Entries {
		if e.Thumbprint != app.Current.ThumbprintSHA256 {
			continue
		}
		if given := app.Current.KeyID; given != "" && given != e.KeyID {
			return usagef("app %s: the key ID of this certificate is %s, not %s", app.Name, e.KeyID, given)
		}
		app.Current.KeyID = e.KeyID
		added.Found = append(added.Found, "key ID "+string(e.KeyID)+" found by the certificate")
		return nil
	}
	if r.now().After(app.Current.NotAfter) {
		added.Warnings = append(added.Warnings, "the expired certificate is no longer listed on the app")
		return nil
	}
	return fix(ReasonNotRegistered, "upload the certificate to the app, or add the app with the file that its consumer uses",
		"app %s: the certificate %s is not among the %d on the app", app.Name, app.Current.ThumbprintSHA1, len(listing.Entries))
}

// recall finds earlier keys of ours on the app: those that the journal made or
// replaced on this very registration, and whose sealed pair the store still
// holds. The one that lives longest becomes current where no file was given; the
// others are removed by the next rotation. A certificate that is ours elsewhere
// and was put here by somebody is foreign here.
func (r *Rotator) recall(ctx context.Context, app *App, listing Listing, added *Added) error {
	var ours map[Thumbprint]bool // read once it is needed: the journal is long
	for _, e := range listing.Entries {
		held, err := r.Store.HasKeyPair(ctx, e.Thumbprint)
		if err != nil {
			return err
		}
		if !held || app.Current != nil && app.Current.ThumbprintSHA256 == e.Thumbprint {
			continue
		}
		if ours == nil {
			if ours, err = r.journalled(ctx, app); err != nil {
				return err
			}
		}
		if !ours[e.Thumbprint] {
			continue
		}
		pair, err := r.Store.KeyPair(ctx, e.Thumbprint)
		if err != nil {
			return fmt.Errorf("app %s: %w", app.Name, err)
		}
		c, err := CredentialOf(pair.Certificate)
		if err != nil {
			return fmt.Errorf("app %s: %w", app.Name, err)
		}
		c.KeyID = e.KeyID
		added.Found = append(added.Found, "an earlier certificate of ours, "+c.ThumbprintSHA1+", is on the app")
		app.Former = append(app.Former, c)
	}
	if app.Current != nil {
		return nil
	}
	newest := -1
	for i, c := range app.Former {
		if r.now().Before(c.NotAfter) && (newest < 0 || c.NotAfter.After(app.Former[newest].NotAfter)) {
			newest = i
		}
	}
	if newest >= 0 {
		c := app.Former[newest]
		app.Current, app.Former = &c, slices.Delete(app.Former, newest, newest+1)
	}
	return nil
}

// journalled are the certificates that rotations of this registration made or
// replaced, under whatever local name.
func (r *Rotator) journalled(ctx context.Context, app *App) (map[Thumbprint]bool, error) {
	rotations, err := r.Store.Rotations(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	ours := map[Thumbprint]bool{}
	for _, rot := range rotations {
		if rot.ClientID != app.ClientID {
			continue
		}
		ours[rot.New.ThumbprintSHA256] = true
		if rot.Old != nil {
			ours[rot.Old.ThumbprintSHA256] = true
		}
		for _, c := range rot.Extra {
			ours[c.ThumbprintSHA256] = true
		}
	}
	return ours, nil
}

// targetAtAdoption warns about a target that the first delivery would find
// changed hands.
func (r *Rotator) targetAtAdoption(ctx context.Context, app *App, d Delivery, pair KeyPair) string {
	target, err := r.settings().Deliverer.Holds(ctx, d, []string{pair.Password})
	held := target.Thumbprint
	switch {
	case errors.Is(err, ErrCannotTell), d.Replace:
		return ""
	case err != nil:
		return fmt.Sprintf("delivery %s will be refused unless replace is set: %v", d.Name(), err)
	case held != "" && !app.knows(held):
		return fmt.Sprintf("delivery %s holds another certificate (%s) and will be refused unless replace is set", d.Name(), held)
	}
	return ""
}

// Remove stops tracking an app. Its sealed keys are kept unless Purge is set,
// and nothing is changed in Entra. It is refused while a rotation is open,
// unless Abandon is set.
func (r *Rotator) Remove(ctx context.Context, name string, req RemoveRequest, by string) (Removed, error) {
	release, err := r.claim(ctx, name)
	if err != nil {
		return Removed{}, err
	}
	defer release()
	now := r.now().UTC()
	var removed Removed
	err = r.change(ctx, name, func(rec *Records) error {
		if rec.App == nil {
			return fmt.Errorf("app %s: %w", name, ErrNotFound)
		}
		if rec.Rotation != nil && !req.Abandon {
			return fmt.Errorf("app %s: %w: it is %s; let it end, roll it back, or use --abandon to leave its certificates on the app", name, ErrRotating, rec.Rotation.Phase)
		}
		all := allCredentials(rec.App, rec.Rotation)
		for _, c := range all {
			if c.RemovedAt.IsZero() {
				removed.Left = append(removed.Left, c)
			}
			if req.Purge {
				rec.Forget = append(rec.Forget, c.ThumbprintSHA256)
			}
		}
		if req.Purge && rec.Rotation != nil {
			rec.Forget = append(rec.Forget, rec.Rotation.New.ThumbprintSHA256) // even if it was never sent
		}
		if rot := rec.Rotation; rot != nil {
			rot.PhaseAt = maps.Clone(rot.PhaseAt)
			rot.Phase, rot.EndedAt, rot.WakeAt = PhaseRolledBack, now, time.Time{}
			rot.PhaseAt[PhaseRolledBack] = now
			rot.Outcome = "abandoned by " + by + ": the app is no longer tracked, its certificates stay"
			rot.Back = &Back{By: by, At: now, Reason: "abandoned"}
			rot.Seq++
		}
		rec.App = nil
		rec.Wakes = nil
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "app removed", App: name})
		return nil
	})
	removed.KeysKept = !req.Purge
	r.announce()
	return removed, err
}

// allCredentials lists every certificate of ours that the records name, once.
func allCredentials(app *App, rot *Rotation) []Credential {
	var all []Credential
	add := func(c *Credential) {
		if c != nil && !slices.ContainsFunc(all, func(o Credential) bool { return o.ThumbprintSHA256 == c.ThumbprintSHA256 }) {
			all = append(all, *c)
		}
	}
	add(app.Current)
	add(app.Previous)
	for i := range app.Former {
		add(&app.Former[i])
	}
	for i := range app.Orphans {
		add(&app.Orphans[i].Credential)
	}
	if rot != nil {
		if rot.Upload.Sends > 0 {
			add(&rot.New)
		}
		for i := range rot.Extra {
			add(&rot.Extra[i])
		}
	}
	return all
}
