package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// bySchedule is who asks when nobody does.
const bySchedule = "schedule"

// Start begins a rotation of the app because a person asked, or carries the
// open one on at once, skipping its pause after a failure. Asking twice is
// harmless: the open rotation is returned. It does not wait for the end; see
// [Rotator.Follow].
//
// Errors: [ErrNotFound]; [ErrRefused] if it must not start now, with the reason;
// a [*Failure] if the plan itself could not be made.
func (r *Rotator) Start(ctx context.Context, app string, req StartRequest, by string) (Rotation, error) {
	switch {
	case req.Compromised != "" && req.Compromised != "current" && req.Compromised != "next":
		return Rotation{}, usagef("compromised must be current or next, not %q", req.Compromised)
	case req.CutNow && req.Compromised == "":
		return Rotation{}, usagef("cut-now only goes with a compromised pair")
	case req.Compromised != "" && len(req.RetireKeys) > 0:
		return Rotation{}, usagef("a foreign key is not retired together with a compromised pair: do one after the other")
	}
	for _, id := range req.RetireKeys {
		if !guidForm.MatchString(string(id)) {
			return Rotation{}, usagef("app %s: the key ID %q is not a GUID such as 11111111-2222-3333-4444-555555555555", app, id)
		}
	}
	release, err := r.claim(ctx, app)
	if err != nil {
		return Rotation{}, err
	}
	defer release()
	t, err := r.open(ctx, app)
	if err != nil {
		return Rotation{}, fmt.Errorf("app %s: %w", app, err)
	}
	if len(req.RetireKeys) > 0 {
		return r.startTold(ctx, app, t, req, by)
	}
	defer r.ask(app)
	if t == nil || req.Compromised != "" || t.isStuckBack() && req.Force {
		return r.plan(ctx, app, t, req, nil, by)
	}
	return r.carryOn(ctx, t, req, nil, by)
}

// startTold is [Rotator.Start] with foreign keys to remove.
func (r *Rotator) startTold(ctx context.Context, name string, t *turn, req StartRequest, by string) (Rotation, error) {
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return Rotation{}, fmt.Errorf("app %s: %w", name, err)
	}
	switch {
	case app.Mode == ModeMonitor:
		return Rotation{}, watchedOnly(&app)
	case t != nil && t.rot.Phase == PhaseRollingBack:
		return Rotation{}, refusedf("app %s: its rotation is rolling back; let it end first", name)
	}
	told, err := r.toldKeys(ctx, &app, t, req.RetireKeys, by)
	if err != nil {
		return Rotation{}, err
	}
	defer r.ask(name)
	if t != nil {
		return r.carryOn(ctx, t, req, told, by)
	}
	last, settled, err := r.settledOn(ctx, &app)
	if err != nil {
		return Rotation{}, err
	}
	if settled {
		return r.planRemoval(ctx, name, &last, req, told, by)
	}
	return r.plan(ctx, name, nil, req, told, by)
}

// isStuckBack reports whether a rollback cannot be done, so that a person may
// close it into a fresh rotation.
func (t *turn) isStuckBack() bool {
	return t.rot.Phase == PhaseRollingBack && t.rot.Trouble != nil && t.rot.Trouble.Class == ClassFix
}

// carryOn makes the open rotation go on at once.
func (r *Rotator) carryOn(ctx context.Context, t *turn, req StartRequest, told []Told, by string) (Rotation, error) {
	again := req.Force && !t.rot.Missing.IsZero() && t.rot.Phase != PhaseRollingBack
	err := t.record(ctx, "", func(rec *Records) {
		rot := rec.Rotation
		rot.Asked, rot.Force = true, rot.Force || req.Force
		// The trouble stays until a step gets past it: it is not over because
		// somebody asks again.
		rot.WaitingFor, rot.WakeAt = "", r.now().UTC()
		rot.LookedAt, rot.Unreadable = time.Time{}, false
		// Not for a sweep: a target that holds something else may do so on purpose.
		rot.Redeliver = !req.sweep && (rot.Phase == PhaseDelivered || rot.Phase == PhaseConfirmed || rot.Phase == PhaseRollingBack)
		addTold(rec, told)
		if again {
			// A person decided that a certificate which vanished comes back.
			old := rot.New.KeyID
			rot.Upload.Seen = slices.DeleteFunc(rot.Upload.Seen, func(id KeyID) bool { return id == old })
			rot.Phase, rot.Missing, rot.Absence = PhasePlanned, time.Time{}, Absence{}
			rot.Upload.RequestedKeyID, rot.Upload.SentAt = "", time.Time{}
			rot.New.RequestedKeyID = ""
			setKeyID(rec, "")
		}
		rec.Audit = append(rec.Audit, AuditEntry{
			At: r.now().UTC(), By: by, What: "rotation carried on", App: t.app.Name, Rotation: rot.ID,
			Thumbprint: rot.New.ThumbprintSHA256,
		})
	})
	return t.rot, err
}

// plan makes the next key pair and the journal record. open is the rotation
// that a compromise closes; nil otherwise. told are foreign keys to remove.
func (r *Rotator) plan(ctx context.Context, name string, open *turn, req StartRequest, told []Told, by string) (rot Rotation, err error) {
	defer func(ctx context.Context, began time.Time) { r.planned(ctx, name, open, rot, began, err) }(ctx, r.now())
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return Rotation{}, fmt.Errorf("app %s: %w", name, err)
	}
	state, err := r.state(ctx)
	if err != nil {
		return Rotation{}, err
	}
	policy := policyOf(&app, r.settings().Defaults)
	if by != bySchedule {
		r.clockOff(ctx, &app) // the dates of what a person asks for are Entra's
	}
	now, entra := r.now().UTC(), r.entraNow(app.Tenant).UTC()
	if err := r.mayStart(ctx, &app, &state, policy, open, req, by, entra); err != nil {
		return Rotation{}, err
	}
	app.LifetimeLimit = r.lifetimeLimit(ctx, &app)
	policy = policyOf(&app, r.settings().Defaults)
	if err := policy.checkLifetime(name, app.ConfirmRule()); err != nil {
		return Rotation{}, err
	}
	pair, credential, err := r.newPair(ctx, &app, policy, entra)
	if err != nil {
		return Rotation{}, err
	}
	rot = r.newRotation(&app, open, credential, req, by, now)
	allowed, err := r.startsADay(ctx)
	if err != nil {
		return Rotation{}, err
	}
	ctx, cancel := lasting(ctx)
	defer cancel()
	err = r.change(ctx, name, func(rec *Records) error {
		switch {
		case rec.App == nil:
			return fmt.Errorf("app %s: %w", name, ErrNotFound)
		case open == nil && rec.App.Rotation != "":
			return fmt.Errorf("app %s: %w", name, ErrRotating)
		}
		if by == bySchedule {
			// Once more, inside the transaction: others start side by side.
			if r.startAt(rec.App).After(now) {
				return refusedf("app %s: no longer due", name)
			}
			if err := dayAllows(rec.App, rec.State, policy, allowed, now); err != nil && rec.App.givenUp(entra) == nil {
				return err
			}
			rec.State.Starts = countStart(rec.State.Starts, now)
		}
		if open != nil {
			closed := open.rot
			closed.Phase, closed.EndedAt, closed.WakeAt = PhaseRolledBack, now, time.Time{}
			closed.PhaseAt = maps.Clone(closed.PhaseAt)
			closed.PhaseAt[PhaseRolledBack] = now
			closed.Outcome = "closed into rotation " + rot.ID + " because the " + req.Compromised + " pair was given up"
			closed.Back = &Back{By: by, At: now, From: open.rot.Phase, Reason: "compromised"}
			if req.superseding {
				closed.Outcome = "closed into rotation " + rot.ID + " because its own certificate ends before it could go on"
				closed.Back.Reason = "superseded"
			} else if req.Compromised == "" {
				closed.Outcome = "closed into rotation " + rot.ID + " because it could not be rolled back"
				closed.Back.Reason = "stuck"
			}
			closed.Seq++
			rec.Closed = &closed
		}
		if rec.App.CorrelationID == "" {
			rec.App.CorrelationID = string(r.newGUID())
		}
		rec.App.LifetimeLimit = app.LifetimeLimit
		giveUp(rec, &rot)
		rec.Rotation = &rot
		rec.App.Rotation, rec.App.LastRotation = rot.ID, rot.ID
		addTold(rec, told)
		rec.App.Trouble, rec.App.Hold = nil, ""
		rec.Seal = append(rec.Seal, pair)
		rec.Audit = append(rec.Audit, AuditEntry{At: now, By: by, What: "rotation planned", App: name, Rotation: rot.ID, Thumbprint: credential.ThumbprintSHA256, OldThumbprint: thumbprintOf(rot.Old)})
		rec.Events = append(rec.Events, r.newEvent(rec.App, &rot, EventRotationStarted, SeverityInfo, "a rotation started", ""))
		return nil
	})
	if err != nil {
		return Rotation{}, fmt.Errorf("app %s: record the plan: %w", name, err)
	}
	r.log().InfoContext(ctx, "rotation reached phase", "app", name, "rotation_id", rot.ID, "phase", rot.Phase, "thumbprint_sha256", credential.ThumbprintSHA256)
	r.announce()
	return rot, nil
}

// mayStart tells why a rotation must not start now; nil: it may.
func (r *Rotator) mayStart(ctx context.Context, app *App, state *State, policy Policy, open *turn, req StartRequest, by string, now time.Time) error {
	if app.Mode == ModeMonitor {
		return watchedOnly(app)
	}
	if r.lacksDelivery(app) {
		return noDelivery(app)
	}
	if state.ReadOnly {
		return refusedf("app %s: nothing starts: %s; look at what differs, then \"rotate resume --all\"", app.Name, state.Stopped)
	}
	if app.Differs != "" {
		return refusedf("app %s: nothing starts: %s; %s", app.Name, app.Differs, app.differsNext())
	}
	if err := r.checkHosts(ctx, app.Tenant); err != nil {
		return err
	}
	rule := app.ConfirmRule()
	if err := wishOf(app, r.settings().Defaults).Check(rule); err != nil {
		return fmt.Errorf("app %s: %w", app.Name, err)
	}
	var lastSafe time.Time
	if app.Current != nil {
		lastSafe = lastSafeStart(app.Current.NotAfter, policy, rule)
	}
	givenUp := app.givenUp(now) != nil
	if req.Compromised == "" && !givenUp {
		for _, pause := range []struct {
			until time.Time
			of    string
		}{{state.PausedUntil, "--all"}, {app.PausedUntil, app.Name}} {
			if end := pauseEnd(pause.until, lastSafe); now.Before(end) {
				return refusedf("app %s: paused until %s; \"rotate resume %s\" ends it", app.Name, end.Format(time.RFC3339), pause.of)
			}
		}
	}
	if req.Compromised == "next" && open == nil {
		return refusedf("app %s: no rotation is open, so there is no next pair to give up; to replace the one in service: --compromised current", app.Name)
	}
	if req.Compromised == "current" && app.Current == nil {
		return refusedf("app %s: it has no certificate of ours yet, so there is none to give up", app.Name)
	}
	if open != nil && open.rot.Phase == PhaseRollingBack && !open.isStuckBack() && !req.superseding {
		return refusedf("app %s: its rotation is rolling back; let it end first", app.Name)
	}
	if by == bySchedule {
		if err := r.clockDiffers(ctx, app); err != nil {
			return err
		}
	}
	var rot *Rotation
	if open != nil {
		rot = &open.rot
	}
	canSign := len(r.ledger(app, rot, &policy).signers("", now, nil)) > 0
	if app.Mode == ModeSelf && !canSign {
		return fix(ReasonExpired,
			"upload a new certificate by hand in the Entra portal and add the app again with it, or give the tenant an identity that owns the app and \"rotate app edit "+app.Name+" --mode managed\"",
			"app %s: its certificate is no longer valid, so the app cannot sign a proof for a new one (self mode)", app.Name)
	}
	if req.Compromised == "" && by != bySchedule && !req.Force && app.Hold != "" && app.LastRotation != "" {
		last, err := r.Store.Rotation(ctx, app.LastRotation)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if last.Back != nil && last.Back.Reason == "vanished" {
			return refusedf("app %s: %s", app.Name, app.Hold)
		}
	}
	if by != bySchedule {
		return nil
	}
	if givenUp && app.Hold == "" {
		return nil // whoever has its key may sign in: only a person's hold is stronger
	}
	return r.mayStartUnasked(ctx, app, state, policy, lastSafe, now)
}

// mayStartUnasked holds the brakes for what nobody asked for.
func (r *Rotator) mayStartUnasked(ctx context.Context, app *App, state *State, policy Policy, lastSafe, now time.Time) error {
	switch {
	case app.Hold != "":
		return refusedf("app %s: %s", app.Name, app.Hold)
	case state.Stopped != "":
		return refusedf("app %s: %s", app.Name, state.Stopped)
	}
	if policy.Window != nil {
		s, err := r.ParseSchedule(policy.Window.Cron, policy.Window.Zone)
		if err != nil {
			return fmt.Errorf("app %s: window: %w", app.Name, err)
		}
		if at := windowAt(s, policy.Window.Duration, now, lastSafe); now.Before(at) {
			return refusedf("app %s: its window opens %s", app.Name, at.Format(time.RFC3339))
		}
	}
	allowed, err := r.startsADay(ctx)
	if err != nil {
		return err
	}
	return dayAllows(app, state, policy, allowed, now)
}

// startsADay is how many unasked starts a day may see.
func (r *Rotator) startsADay(ctx context.Context) (int, error) {
	apps, err := r.Store.CountApps(ctx)
	return startsAllowed(r.settings().MaxStartsPerDay, apps), err
}

// dayAllows refuses one more unasked start on a day that has seen enough,
// unless the app can wait no longer.
func dayAllows(app *App, state *State, policy Policy, allowed int, now time.Time) error {
	var lastSafe time.Time
	if app.Current != nil {
		lastSafe = lastSafeStart(app.Current.NotAfter, policy, app.ConfirmRule())
	}
	if startsOfDay(state.Starts, now) < allowed || isLate(lastSafe, now) {
		return nil
	}
	return refusedf("app %s: %d rotations started unasked in the last 24 h, the most that is allowed (max_starts_per_day); it starts when the brake lets it, before it is too late",
		app.Name, allowed)
}

// backdate is how far NotBefore lies in the past, so that a host whose clock
// is a little fast makes no certificate that Entra calls not yet valid.
const backdate = 15 * time.Minute

// newPair makes a key, a certificate and the files that will be delivered.
func (r *Rotator) newPair(ctx context.Context, app *App, policy Policy, now time.Time) (KeyPair, Credential, error) {
	notBefore, notAfter := now.Add(-backdate), now.Add(policy.Validity)
	if limit := app.LifetimeLimit; limit > 0 && notAfter.Sub(notBefore) > limit {
		notAfter = notBefore.Add(limit)
	}
	key, err := r.newKey(policy.KeyBits)
	if err != nil {
		return KeyPair{}, Credential{}, fmt.Errorf("app %s: make RSA key: %w", app.Name, err)
	}
	der, err := r.newCertificate(key, app.Name, notBefore, notAfter)
	if err != nil {
		return KeyPair{}, Credential{}, err
	}
	credential, err := CredentialOf(der)
	if err != nil {
		return KeyPair{}, Credential{}, err
	}
	pair := KeyPair{Key: key, Certificate: der, Encoded: map[string][]byte{}}
	if pair.Password, pair.FriendlyName, err = r.passwordFor(ctx, app); err != nil {
		return KeyPair{}, Credential{}, err
	}
	encodings := []string{policy.Encoding}
	for _, d := range app.Deliveries {
		if d.Encoding != "" && !slices.Contains(encodings, d.Encoding) {
			encodings = append(encodings, d.Encoding)
		}
	}
	for _, e := range encodings {
		if pair.Encoded[e], err = r.Encoder.Encode(e, key, der, nil, pair.Password, pair.FriendlyName); err != nil {
			return KeyPair{}, Credential{}, fmt.Errorf("app %s: encode the new pair as %s: %w", app.Name, e, err)
		}
	}
	return pair, credential, nil
}

// lifetimeLimit is what the tenant's policies allow, if that can be known; 0
// otherwise. Reading them needs Policy.Read.All, which is optional.
func (r *Rotator) lifetimeLimit(ctx context.Context, app *App) time.Duration {
	if app.Mode != ModeManaged {
		return app.LifetimeLimit
	}
	limit, _, err := r.settings().Entra.LongestLifetime(ctx, Access{Registration: app.registration()})
	if err != nil {
		return app.LifetimeLimit
	}
	return limit
}

// passwordFor keeps password and friendly name across rotations: so the consumer's
// switch is one rename of one file, and what it looks the key up by stays.
func (r *Rotator) passwordFor(ctx context.Context, app *App) (password, name string, err error) {
	var current KeyPair
	if app.Current != nil {
		current, err = r.Store.KeyPair(ctx, app.Current.ThumbprintSHA256)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", "", err
		}
		current = current.Of(app.Name)
	}
	name = cmp.Or(app.FriendlyName, current.FriendlyName)
	if current.IsZero() || app.NewPassword || current.Password == "" { // a PEM file may have none
		password, err = r.Encoder.NewPassword()
		return password, name, err
	}
	return current.Password, name, nil
}

// newRotation makes the journal record.
func (r *Rotator) newRotation(app *App, open *turn, next Credential, req StartRequest, by string, now time.Time) Rotation {
	id := r.newID()
	rot := Rotation{
		ID: id, App: app.Name, ClientID: app.ClientID, Mode: app.Mode, By: by, Asked: by != bySchedule, Force: req.Force,
		Phase: PhasePlanned, New: next, DisplayName: entryName(app.Name, r.Store.ID(), id),
		StartedAt: now, PhaseAt: map[Phase]time.Time{PhasePlanned: now}, WakeAt: now,
	}
	if app.Current != nil {
		old := *app.Current
		rot.Old = &old
	}
	if open != nil {
		rot.Extra = append(rot.Extra, open.leftovers()...)
		rot.Told = slices.Clone(open.rot.Told)
	}
	earlier := slices.Clone(app.Former)
	if app.Previous != nil {
		earlier = append(earlier, *app.Previous)
	}
	for _, c := range earlier {
		// What an earlier rotation may have left is taken along.
		taken := func(e Credential) bool { return e.ThumbprintSHA256 == c.ThumbprintSHA256 }
		if !c.isLeaving() && (c.KeyID != "" || c.RequestedKeyID != "") && !slices.ContainsFunc(rot.Extra, taken) {
			rot.Extra = append(rot.Extra, c)
		}
	}
	which := req.Compromised
	if c := app.Current; which == "" && c != nil && c.GivenUp {
		// An earlier rotation could not replace it: the reason lasts.
		which, req.CutNow = "current", c.CutNow
	}
	switch which {
	case "current":
		if app.Current != nil {
			rot.Compromised = &Compromise{Which: "current", Thumbprint: app.Current.ThumbprintSHA256, CutNow: req.CutNow}
		}
	case "next":
		rot.Compromised = &Compromise{Which: "next", Thumbprint: open.rot.New.ThumbprintSHA256, CutNow: req.CutNow}
	}
	return rot
}

// leftovers are the certificates of ours that a closed rotation leaves on the
// app, besides the one in service.
func (t *turn) leftovers() []Credential {
	var left []Credential
	if c := t.app.Current; c != nil && c.ThumbprintSHA256 == t.rot.New.ThumbprintSHA256 {
		if t.rot.Old != nil && !t.rot.Old.isLeaving() {
			left = append(left, *t.rot.Old)
		}
	} else if t.rot.mayBeUploaded() && !t.rot.New.isLeaving() {
		c := t.rot.New
		if c.RequestedKeyID == "" {
			c.RequestedKeyID = t.rot.Upload.RequestedKeyID
		}
		left = append(left, c)
	}
	for _, c := range t.rot.Extra {
		if !c.isLeaving() {
			left = append(left, c)
		}
	}
	return left
}

// giveUp marks a compromised pair wherever the records describe it, and keeps
// the pair of a closed rotation among the app's own.
func giveUp(rec *Records, rot *Rotation) {
	app := rec.App
	for _, c := range rot.Extra {
		if !app.knows(c.ThumbprintSHA256) {
			app.Former = append(app.Former, c)
		}
	}
	if c := rot.Compromised; c != nil {
		eachCopy(&Records{App: app, Rotation: rot, Closed: rec.Closed}, c.Thumbprint, func(given *Credential) {
			given.GivenUp, given.CutNow = true, given.CutNow || c.CutNow
		})
	}
}

// appToAsk reads an app about which Entra may be asked.
func (r *Rotator) appToAsk(ctx context.Context, name string) (App, error) {
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return App{}, fmt.Errorf("app %s: %w", name, err)
	}
	return app, r.checkHosts(ctx, app.Tenant)
}

// checkHosts refuses to ask another login or Graph host than the tenant was
// first used with: no test address ever meets a production store.
func (r *Rotator) checkHosts(ctx context.Context, tenant string) error {
	known, err := r.Store.Tenant(ctx, tenant)
	if err != nil {
		return fmt.Errorf("tenant %s: %w", tenant, err)
	}
	return r.compareHosts(known.Hosts, tenant)
}

func (r *Rotator) compareHosts(bound Hosts, tenant string) error {
	hosts, err := r.settings().Entra.Hosts(tenant)
	if err != nil {
		return err
	}
	if bound != (Hosts{}) && bound != hosts {
		return fix(ReasonOther, "correct the tenant's cloud in the configuration, or type \"rotate tenant rebind "+tenant+"\" if the move is meant",
			"tenant %s: this store belongs to %s and %s, the configuration names %s and %s; nothing is asked there",
			tenant, bound.Login, bound.Graph, hosts.Login, hosts.Graph)
	}
	return nil
}

// bindHosts remembers a tenant's hosts at its first use.
func (r *Rotator) bindHosts(rec *Records, tenant string) error {
	known, err := rec.Tenant(tenant)
	if err != nil {
		return err
	}
	if err := r.compareHosts(known.Hosts, tenant); err != nil {
		return err
	}
	known.Hosts, err = r.settings().Entra.Hosts(tenant)
	return err
}

// newEvent builds an event; rot may be nil.
func (r *Rotator) newEvent(app *App, rot *Rotation, kind EventKind, severity Severity, summary, next string) Event {
	e := Event{ID: string(r.newGUID()), Kind: kind, Severity: severity, At: r.now().UTC(), Summary: summary, Next: next}
	if app != nil {
		e.App, e.Tenant, e.Old = app.Name, app.Tenant, app.Current
		e.Tags, e.Owner = app.Tags, app.Owner
	}
	if rot != nil {
		n := rot.New
		e.Rotation, e.Old, e.New = rot.ID, rot.Old, &n
	}
	return e
}
