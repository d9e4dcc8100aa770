package rotator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Delete undoes what [Rotator.Create] made, and only that: the registration, with its
// service principal and consent, and the record here. It is refused for an app that
// was adopted, and for one that carries credentials of somebody else. It can be
// interrupted and asked for again.
func (r *Rotator) Delete(ctx context.Context, name string, admin Token, by string) ([]string, error) {
	release, err := r.claim(ctx, name)
	if err != nil {
		return nil, err
	}
	defer release()
	state, err := r.state(ctx)
	if err != nil {
		return nil, err
	}
	app, err := r.Store.App(ctx, name)
	made, begun := state.Creations[name]
	switch {
	case errors.Is(err, ErrNotFound) && !begun:
		return nil, fmt.Errorf("app %s: %w", name, ErrNotFound)
	case err != nil && !errors.Is(err, ErrNotFound):
		return nil, err
	case err == nil && app.Created == nil:
		return nil, refusedf("app %s: rotate did not create it, so it does not delete it; \"rotate app remove %s\" stops tracking it", name, name)
	case err == nil:
		made = *app.Created
	}
	switch {
	case state.ReadOnly:
		return nil, refusedf("app %s: nothing is deleted: %s", name, state.Stopped)
	case app.Differs != "":
		return nil, refusedf("app %s: nothing is deleted: %s; %s", name, app.Differs, app.differsNext())
	}
	if err := r.checkHosts(ctx, made.Tenant); err != nil {
		return nil, err
	}
	d := &deletion{
		r: r, app: &app, made: &made, by: by,
		as: Access{Registration: Registration{App: name, Tenant: made.Tenant, ObjectID: made.ObjectID, ClientID: made.ClientID}, Admin: admin},
	}
	if err := d.untilGone(ctx); err != nil {
		return nil, err
	}
	steps := d.steps
	ctx, cancel := lasting(ctx)
	defer cancel()
	err = r.change(ctx, name, func(rec *Records) error {
		rec.Forget = append(rec.Forget, made.Thumbprint)
		rec.State.Creations = maps.Clone(rec.State.Creations)
		delete(rec.State.Creations, name)
		if rec.App != nil {
			for _, c := range allCredentials(rec.App, rec.Rotation) {
				rec.Forget = append(rec.Forget, c.ThumbprintSHA256)
			}
		}
		if rot := rec.Rotation; rot != nil {
			now := r.now().UTC()
			rec.Forget = append(rec.Forget, rot.New.ThumbprintSHA256)
			rot.PhaseAt = maps.Clone(rot.PhaseAt)
			rot.Phase, rot.EndedAt, rot.WakeAt = PhaseRolledBack, now, time.Time{}
			rot.PhaseAt[PhaseRolledBack] = now
			rot.Outcome = "the app was deleted by " + by
			rot.Back = &Back{By: by, At: now, Reason: "abandoned"}
			rot.Seq++
		}
		slices.Sort(rec.Forget)
		rec.Forget = slices.DeleteFunc(slices.Compact(rec.Forget), func(t Thumbprint) bool { return t == "" })
		rec.App, rec.Wakes = nil, nil
		rec.Audit = append(rec.Audit, AuditEntry{At: r.now().UTC(), By: by, What: "app deleted", App: name})
		return nil
	})
	r.announce()
	return append(steps, "it is no longer tracked, and its keys were deleted"), err
}

// deletion is one registration being deleted.
type deletion struct {
	r     *Rotator
	app   *App
	made  *Creation
	as    Access
	by    string
	sends int
	steps []string
}

// deleteWithin bounds one run in which reads show it; who needs longer asks again.
const deleteWithin = createWithin

// untilGone deletes the registration, by its unique name, which nobody else has, and
// which finds also what a lost answer hid. It is gone when five reads over the time of
// [RemovalTimes] do not show it: the answer to the request proves nothing. While it is
// shown, the request is sent again.
func (d *deletion) untilGone(ctx context.Context) error {
	times := DefaultRemovalTimes().Reads
	if own, ok := d.r.settings().RemovalTimes[d.made.Tenant]; ok {
		times = own.Reads
	}
	every := times / (absentReads - 1)
	begun := d.r.now()
	var absence Absence
	var sentAt time.Time
	for {
		found, err := d.r.settings().Registrar.FindUnique(ctx, d.as, d.made.UniqueName)
		now := d.r.now().UTC()
		switch {
		case errors.Is(err, ErrNotFound):
			if absence = absence.again(now, every); absence.lasts(absentReads, times) {
				d.confirmed(absence)
				return nil
			}
		case err != nil:
			return err
		default:
			absence = Absence{}
			if d.sends == 0 || now.Sub(sentAt) >= 2*every {
				sentAt = now
				if err := d.send(ctx, found); err != nil {
					return err
				}
			}
		}
		if absence.Reads == 0 && now.Sub(begun) >= max(deleteWithin, 2*times) {
			return d.notYet()
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

// send sends the request, once it is sure that nobody else uses the registration.
func (d *deletion) send(ctx context.Context, found Found) error {
	if found.Blueprint {
		return blueprintTaken(d.as.App, found)
	}
	d.as.ObjectID, d.as.ClientID = found.ObjectID, found.ClientID
	if d.sends == 0 {
		if err := d.r.foreignOn(ctx, d.as, d.app, d.made); err != nil {
			return err
		}
		err := d.r.write(ctx, "", func(rec *Records) error {
			rec.Audit = append(rec.Audit, AuditEntry{At: d.r.now().UTC(), By: d.by, What: "app deletion begun", App: d.as.App, Note: "client ID " + string(found.ClientID)})
			return nil
		})
		if err != nil {
			return err
		}
		d.steps = append(d.steps, fmt.Sprintf("sent the deletion of the registration %q, client ID %s, with its service principal and consent", found.DisplayName, found.ClientID))
	}
	d.sends++
	if err := d.r.settings().Registrar.Unregister(ctx, d.as); err != nil && reasonOf(err) != ReasonAppNotFound {
		return err
	}
	return nil
}

func (d *deletion) confirmed(absence Absence) {
	if d.sends == 0 {
		d.steps = append(d.steps, "its registration is not in the tenant")
		return
	}
	d.steps = append(d.steps, fmt.Sprintf("%d reads over %s do not show it any more", absence.Reads, absence.Last.Sub(absence.Since).Round(time.Second)))
}

// notYet is the end of a run in which reads still show the registration: nothing is
// forgotten here before it is seen to be gone.
func (d *deletion) notYet() error {
	return &Failure{
		Class: ClassWait, Reason: ReasonStaleRead,
		Message: fmt.Sprintf("app %s: its deletion was sent (%s) and reads still show the registration; nothing was deleted here", d.as.App, howOften(d.sends)),
		Next:    "run the same command again, or check: Entra admin centre > App registrations > All applications > " + string(d.as.ClientID),
	}
}

// foreignOn refuses to delete a registration that somebody else signs in with.
func (r *Rotator) foreignOn(ctx context.Context, as Access, app *App, made *Creation) error {
	listing, err := r.settings().Entra.Keys(ctx, as, true)
	if err != nil {
		return err
	}
	var foreign []string
	for _, e := range listing.Entries {
		held, err := r.Store.HasKeyPair(ctx, e.Thumbprint)
		if err != nil {
			return err
		}
		if !held && !app.knows(e.Thumbprint) && e.Thumbprint != made.Thumbprint {
			foreign = append(foreign, fmt.Sprintf("the certificate %q", e.DisplayName))
		}
	}
	if listing.Secrets > 0 {
		foreign = append(foreign, countOf(listing.Secrets, "client secret"))
	}
	federated, err := r.settings().Entra.Federated(ctx, as)
	if err != nil {
		return err
	}
	if len(federated) > 0 {
		foreign = append(foreign, countOf(len(federated), "federated credential"))
	}
	if len(foreign) > 0 {
		return refusedf("app %s: the registration also carries %s, which rotate did not make, so somebody else may use it; remove them first, or delete the app in the Entra admin centre", as.App, strings.Join(foreign, " and "))
	}
	return nil
}
