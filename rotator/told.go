package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Told is a certificate on the app that is not ours and that a person told rotate
// to remove, once ours is confirmed. Nobody here holds its key, so it is never
// signed with, delivered or gone back to.
type Told struct {
	Credential
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// toldKeys looks the entries up that a person wants removed. What is not there, is
// ours, or is no certificate is refused, and what is there is listed.
func (r *Rotator) toldKeys(ctx context.Context, app *App, open *turn, ids []KeyID, by string) ([]Told, error) {
	t := &turn{r: r, app: *app, policy: policyOf(app, r.settings().Defaults), pairs: map[Thumbprint]KeyPair{}}
	if open != nil {
		t = open
	}
	if err := r.checkHosts(ctx, app.Tenant); err != nil {
		return nil, err
	}
	signer, err := t.signer(ctx)
	if c := app.Current; err == nil && open != nil && c != nil && c.ThumbprintSHA256 == open.rot.New.ThumbprintSHA256 {
		signer, err = t.pair(ctx, c) // it is in service already
	}
	if err != nil {
		return nil, err
	}
	const withKeys = true
	listing, err := t.keys(ctx, signer, withKeys)
	if err == nil {
		if err := r.comeBack(ctx, app, listing.shows); err != nil {
			return nil, err
		}
	}
	if app.Mode == ModeSelf && reasonOf(err) == ReasonForbidden {
		return nil, refusedf("app %s: it may not read its own list, and a key that rotate did not make is only removed where it can be looked at before; use managed mode, or remove it in the Entra portal", app.Name)
	}
	if err != nil {
		return nil, err
	}
	var rot *Rotation
	if open != nil {
		rot = &open.rot
	}
	isOurs := func(e Entry) bool {
		return isOneOf(app, rot, FoundCredential{Kind: FoundCertificate, KeyID: e.KeyID, Thumbprint: e.Thumbprint})
	}
	var told []Told
	for _, id := range ids {
		id = KeyID(strings.ToLower(string(id)))
		is := func(e Entry) bool { return e.KeyID == id }
		i := slices.IndexFunc(listing.Entries, is)
		switch {
		case slices.ContainsFunc(told, func(c Told) bool { return c.KeyID == id }):
			continue
		case slices.ContainsFunc(listing.SecretEntries, is):
			return nil, refusedf("app %s: %s is a client secret, not a certificate; remove it in the Entra portal", app.Name, id)
		case i >= 0 && app.isLeaving(id, ""):
			return nil, refusedf("app %s: the removal of the key %s was sent before; \"rotate status %s\" shows where it stands", app.Name, id, app.Name)
		case i < 0:
			return nil, usagef("app %s: no key %q is on it; that rotate did not make: %s", app.Name, id, foreignText(listing.Entries, isOurs))
		case isOurs(listing.Entries[i]):
			return nil, refusedf("app %s: the key %s is ours: a rotation removes it when its time has come; to replace it now: rotate now %s", app.Name, id, app.Name)
		case listing.Entries[i].Thumbprint == "":
			return nil, refusedf("app %s: Entra does not say which certificate the key %s is; remove it in the Entra portal", app.Name, id)
		}
		e := listing.Entries[i]
		told = append(told, Told{By: by, At: r.now().UTC(), Credential: Credential{
			KeyID: e.KeyID, ThumbprintSHA256: e.Thumbprint, NotBefore: e.NotBefore, NotAfter: e.NotAfter,
		}})
	}
	return told, nil
}

// foreignText lists the certificates that are not ours, for a message.
func foreignText(entries []Entry, isOurs func(Entry) bool) string {
	var names []string
	n := 0
	for _, e := range entries {
		if isOurs(e) {
			continue
		}
		if n++; n <= namedAtMost {
			names = append(names, fmt.Sprintf("%s (%s, until %s)", e.KeyID, shownName(e.DisplayName), e.NotAfter.Format(time.DateOnly)))
		}
	}
	if n == 0 {
		return "none"
	}
	return joinSome(names, n)
}

// addTold notes further ones, and writes who told it.
func addTold(rec *Records, told []Told) {
	for _, c := range told {
		known := func(o Told) bool { return o.KeyID == c.KeyID && !o.isLeaving() }
		if slices.ContainsFunc(rec.Rotation.Told, known) {
			continue
		}
		rec.Rotation.Told = append(slices.Clone(rec.Rotation.Told), c)
		rec.Audit = append(rec.Audit, AuditEntry{
			At: c.At, By: c.By, What: "removal of a foreign certificate asked", App: rec.App.Name, Rotation: rec.Rotation.ID,
			OldThumbprint: c.ThumbprintSHA256, Note: "key ID " + string(c.KeyID),
		})
	}
}

// settledOn returns the rotation that brought the certificate in service and ended
// with its confirmation; false if none did, so that nobody is known to use it.
func (r *Rotator) settledOn(ctx context.Context, app *App) (Rotation, bool, error) {
	if app.LastRotation == "" || app.Current == nil {
		return Rotation{}, false, nil
	}
	last, err := r.Store.Rotation(ctx, app.LastRotation)
	if err != nil {
		return Rotation{}, false, fmt.Errorf("app %s: %w", app.Name, err)
	}
	ok := last.Phase == PhaseRetired && last.New.ThumbprintSHA256 == app.Current.ThumbprintSHA256 &&
		last.Confirmation != "" && last.Confirmation != "never"
	return last, ok, nil
}

// planRemoval makes the record that only removes what a person told: the
// certificate in service was proven, delivered and confirmed by the rotation last.
func (r *Rotator) planRemoval(ctx context.Context, name string, last *Rotation, req StartRequest, told []Told, by string) (Rotation, error) {
	state, err := r.state(ctx)
	if err != nil {
		return Rotation{}, err
	}
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return Rotation{}, fmt.Errorf("app %s: %w", name, err)
	}
	policy := policyOf(&app, r.settings().Defaults)
	now := r.now().UTC()
	if err := r.mayStart(ctx, &app, &state, policy, nil, req, by, now); err != nil {
		return Rotation{}, err
	}
	rot := r.newRotation(&app, nil, *app.Current, req, by, now)
	rot.Old, rot.Extra, rot.DisplayName = nil, nil, last.DisplayName
	rot.Phase, rot.PhaseAt[PhaseConfirmed] = PhaseConfirmed, now
	rot.Upload, rot.Proof, rot.Deliveries = Upload{Seen: last.Upload.Seen}, last.Proof, last.Deliveries
	rot.Reach, rot.Confirmation, rot.ConfirmedBy, rot.Note = now, last.Confirmation, last.ConfirmedBy, last.Note
	rot.RetiresAt = now
	if at := last.PhaseAt[PhaseConfirmed].Add(policy.Overlap); at.After(now) {
		rot.RetiresAt = at
	}
	rot.PhaseAt = maps.Clone(rot.PhaseAt)
	ctx, cancel := lasting(ctx)
	defer cancel()
	err = r.change(ctx, name, func(rec *Records) error {
		switch {
		case rec.App == nil:
			return fmt.Errorf("app %s: %w", name, ErrNotFound)
		case rec.App.Rotation != "":
			return fmt.Errorf("app %s: %w", name, ErrRotating)
		case rec.App.Current == nil || rec.App.Current.ThumbprintSHA256 != rot.New.ThumbprintSHA256:
			return refusedf("app %s: it was rotated meanwhile; ask again", name)
		}
		rec.Rotation = &rot
		rec.App.Rotation, rec.App.LastRotation = rot.ID, rot.ID
		addTold(rec, told)
		return nil
	})
	if err != nil {
		return Rotation{}, fmt.Errorf("app %s: record the removal: %w", name, err)
	}
	r.announce()
	return rot, nil
}

// removeTold sends the removal of what a person told, with proofs by signer: the one
// entry that was named, and only if it still carries the certificate that was
// looked at then.
func (t *turn) removeTold(ctx context.Context, signer KeyPair) (*wait, error) {
	var left []Told
	for _, c := range t.rot.Told {
		if !c.isLeaving() {
			left = append(left, c)
		}
	}
	if len(left) == 0 {
		return nil, nil //nolint:nilnil // nothing is left
	}
	const withKeys = true
	listing, unread := t.keys(ctx, signer, withKeys)
	for _, c := range left {
		err := unread
		if err != nil {
			err = fmt.Errorf("look at the keys that are to be removed: %w", err)
		} else {
			var r *refusal
			if r, err = t.removeForeign(ctx, signer, &c, listing); r != nil {
				return t.refused(r), nil
			}
		}
		ended := !t.entraNow().IsZero() && !t.entraNow().Before(c.NotAfter)
		if err != nil && (!ended || errors.Is(err, errRecord) || ctx.Err() != nil) {
			return nil, err
		}
		if err != nil {
			t.leaveToChecks(&c.Credential, []KeyID{c.KeyID}, true, failureOf(err))
		}
	}
	return nil, nil //nolint:nilnil // all were sent
}

// removeForeign sends the removal of one entry, if [ledger.canRemoveForeign] permits it.
func (t *turn) removeForeign(ctx context.Context, signer KeyPair, c *Told, listing Listing) (*refusal, error) {
	if i := slices.IndexFunc(listing.Entries, func(e Entry) bool { return e.KeyID == c.KeyID }); i >= 0 && listing.Entries[i].Thumbprint != c.ThumbprintSHA256 {
		return nil, fix(ReasonOther, "look at it in the Entra portal; remove it there if it has to go", "app %s: the key %s carries another certificate than when its removal was asked; it is not removed", t.app.Name, c.KeyID)
	}
	p, r := t.ledger().canRemoveForeign(&c.Credential, signer.Thumbprint(), t.sighting())
	if r != nil {
		return r, nil
	}
	err := t.record(ctx, "removal of a foreign certificate begun", func(rec *Records) {
		rec.Rotation.RemovalSentAt, rec.Rotation.Removing = t.now().UTC(), c.ThumbprintSHA256
	})
	if err != nil {
		return nil, err
	}
	refused, err := t.sendRemoval(ctx, p, signer, []KeyID{c.KeyID})
	if err != nil || refused != nil {
		return nil, cmp.Or(err, refused)
	}
	t.begin(t.newRemoval(&c.Credential, []KeyID{c.KeyID}, true))
	return nil, nil //nolint:nilnil // it was sent
}

// owesTold reports whether something is to be removed that a person told. Where
// nobody confirmed, the consumer may still use it: it stays.
func (t *turn) owesTold() bool {
	return t.rot.Confirmation != "never" && slices.ContainsFunc(t.rot.Told, func(c Told) bool { return !c.isLeaving() })
}

// toldText ends a rotation's outcome with what was removed, or was not.
func toldText(rot *Rotation) string {
	var sent, stay []string
	for _, c := range rot.Told {
		if !c.isLeaving() {
			stay = append(stay, string(c.KeyID))
		} else {
			sent = append(sent, string(c.KeyID))
		}
	}
	text := ""
	if len(sent) > 0 {
		text += "; removal sent as asked: " + strings.Join(sent, ", ")
	}
	if len(stay) > 0 {
		text += "; not removed, for nobody confirmed the new one: " + strings.Join(stay, ", ")
	}
	return text
}
