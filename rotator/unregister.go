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

// freshFor is how long after its creation a registration that is not shown may be
// one that is not shown yet.
const freshFor = time.Hour

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
	as := Access{Registration: Registration{App: name, Tenant: made.Tenant, ObjectID: made.ObjectID, ClientID: made.ClientID}, Admin: admin}
	var steps []string
	// By its unique name, which nobody else has: also what a lost answer hid.
	found, err := r.settings().Registrar.FindUnique(ctx, as, made.UniqueName)
	for looks := 1; errors.Is(err, ErrNotFound) && looks < absentReads && time.Since(made.At) < freshFor; looks++ {
		// A replica may not know it yet: absence is no proof.
		if err := pause(ctx, absentEvery); err != nil {
			return nil, err
		}
		found, err = r.settings().Registrar.FindUnique(ctx, as, made.UniqueName)
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err == nil && found.Blueprint {
		return nil, blueprintTaken(name, found)
	}
	if err == nil {
		as.ObjectID, as.ClientID = found.ObjectID, found.ClientID
		if err := r.foreignOn(ctx, as, &app, &made); err != nil {
			return nil, err
		}
		err := r.write(ctx, "", func(rec *Records) error {
			rec.Audit = append(rec.Audit, AuditEntry{At: time.Now().UTC(), By: by, What: "app deletion begun", App: name, Note: "client ID " + string(found.ClientID)})
			return nil
		})
		if err != nil {
			return nil, err
		}
		if err := r.settings().Registrar.Unregister(ctx, as); err != nil && reasonOf(err) != ReasonAppNotFound {
			return nil, err
		}
		steps = append(steps, fmt.Sprintf("sent the deletion of the registration %q, client ID %s, with its service principal and consent", found.DisplayName, found.ClientID),
			r.deletedText(ctx, as, made.UniqueName))
	} else {
		steps = append(steps, "its registration is not in the tenant")
	}
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
			now := time.Now().UTC()
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
		rec.Audit = append(rec.Audit, AuditEntry{At: time.Now().UTC(), By: by, What: "app deleted", App: name})
		return nil
	})
	r.announce()
	return append(steps, "it is no longer tracked, and its keys were deleted"), err
}

// deletedText says what a read showed directly after the deletion: the answer to it
// proves nothing, and neither does one read.
func (r *Rotator) deletedText(ctx context.Context, as Access, uniqueName string) string {
	_, err := r.settings().Registrar.FindUnique(ctx, as, uniqueName)
	const check = "Entra admin centre > App registrations > All applications > "
	switch {
	case errors.Is(err, ErrNotFound):
		return "a read after that does not show it any more; to be sure, check later: " + check + string(as.ClientID)
	case err != nil:
		return "whether it is gone could not be read (" + err.Error() + "); check it: " + check + string(as.ClientID)
	}
	return "a read after that still shows it, as reads may lag; check it: " + check + string(as.ClientID)
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
