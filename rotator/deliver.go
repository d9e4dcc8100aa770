package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// deliver brings the new pair to every target, in order, and looks whether it
// arrived. A target that holds it already is left alone.
func (t *turn) deliver(ctx context.Context) (*wait, error) {
	if w, err := t.look(ctx); w != nil || err != nil || t.rot.Phase != PhaseProven {
		return w, err
	}
	if w := t.deliverable(); w != nil {
		return w, nil
	}
	if c := t.rot.Compromised; c != nil && c.CutNow && !c.isDone() {
		if err := t.cut(ctx); err != nil {
			return nil, err
		}
	}
	pkg, err := t.packageOf(ctx, &t.rot.New)
	if err != nil {
		return nil, err
	}
	if t.rot.Reach.IsZero() {
		// From here on a consumer may hold the new pair.
		err := t.record(ctx, "delivery begun", func(rec *Records) { rec.Rotation.Reach = time.Now().UTC() })
		if err != nil {
			return nil, err
		}
	}
	results, err := t.bring(ctx, pkg, t.rot.Deliveries, func(rec *Records, results []DeliveryResult) { rec.Rotation.Deliveries = results })
	if err != nil {
		return nil, err
	}
	delivered := func(rec *Records) {
		rec.Rotation.Deliveries = results
		t.askPerson(rec, &t.rot.New)
	}
	if slices.ContainsFunc(t.app.Deliveries, func(d Delivery) bool { return d.Kind != DeliverFile }) {
		// What a program or a person did cannot be looked at.
		return nil, t.enter(ctx, PhaseDelivered, delivered)
	}
	t.reach(ctx, PhaseDelivered, delivered)
	return nil, nil //nolint:nilnil // the next step may run
}

// bring makes every target hold the package's pair. done are the results of an
// earlier attempt: a hook that ran for this very pair is not run again. keep
// stores results as they come.
func (t *turn) bring(ctx context.Context, pkg Package, done []DeliveryResult, keep func(*Records, []DeliveryResult)) ([]DeliveryResult, error) {
	wanted := pkg.Credential.ThumbprintSHA256
	deliveries := t.app.Deliveries // an edit holds from the next attempt on
	results := make([]DeliveryResult, len(deliveries))
	for i, d := range deliveries {
		results[i] = DeliveryResult{Name: d.Name()}
		if i < len(done) && done[i].Name == d.Name() {
			results[i] = done[i]
		}
	}
	if err := t.settle(ctx); err != nil {
		return nil, err
	}
	for i, d := range deliveries {
		held, err := t.r.settings().Deliverer.Holds(ctx, d, pkg.Passwords)
		cannotTell := errors.Is(err, ErrCannotTell)
		if (held == wanted || cannotTell) && results[i].Thumbprint == wanted {
			continue
		}
		for j := i + 1; j < len(results); j++ {
			results[j].Thumbprint = "" // what follows a changed target follows again
		}
		err = t.r.settings().Deliverer.Deliver(ctx, d, pkg)
		if err == nil && !cannotTell {
			held, err = t.r.settings().Deliverer.Holds(ctx, d, pkg.Passwords)
			if err == nil && held != wanted {
				err = fix(ReasonOther, "see who else writes it", "app %s: delivery %s holds %s after the new certificate was written", t.app.Name, d.Name(), held)
			}
		}
		now := time.Now().UTC()
		if err != nil {
			if ctx.Err() != nil {
				return results, err
			}
			results[i].Error = err.Error()
			recorded := t.record(ctx, "", func(rec *Records) { keep(rec, results) })
			return results, errors.Join(recorded, err)
		}
		results[i] = DeliveryResult{Name: d.Name(), Thumbprint: wanted, At: now}
		if i == len(deliveries)-1 {
			break // recorded with the phase
		}
		if err := t.record(ctx, "", func(rec *Records) { keep(rec, results) }); err != nil {
			return results, err
		}
	}
	return results, nil
}

// packageOf makes what a delivery brings for one of the app's pairs.
func (t *turn) packageOf(ctx context.Context, c *Credential) (Package, error) {
	pair, err := t.pair(ctx, c)
	if err != nil {
		return Package{}, err
	}
	passwords, err := t.passwords(ctx)
	if err != nil {
		return Package{}, err
	}
	pkg := Package{
		App: t.app.Name, Tenant: t.app.Tenant, ClientID: t.app.ClientID, Rotation: t.rot.ID,
		Pair: pair, Credential: *c, Encoding: t.policy.Encoding, Passwords: passwords,
		Known: []Thumbprint{t.rot.New.ThumbprintSHA256},
	}
	for _, o := range []*Credential{t.rot.Old, t.app.Current, t.app.Previous} {
		if o != nil {
			pkg.Known = append(pkg.Known, o.ThumbprintSHA256)
		}
	}
	for _, o := range append(append([]Credential{}, t.app.Former...), t.rot.Extra...) {
		pkg.Known = append(pkg.Known, o.ThumbprintSHA256)
	}
	for _, o := range t.app.Orphans {
		pkg.Known = append(pkg.Known, o.ThumbprintSHA256)
	}
	if old := t.rot.Old; old != nil && !old.GivenUp && old.ThumbprintSHA256 != c.ThumbprintSHA256 {
		pkg.Previous, err = t.pair(ctx, old)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return Package{}, err
		}
	}
	return pkg, nil
}

// astray reports a target that does not hold the pair that was delivered, or a
// hook that has not run for it. results are those of the delivery.
func (t *turn) astray(ctx context.Context, wanted *Credential, results []DeliveryResult) error {
	passwords, err := t.passwords(ctx)
	if err != nil {
		return err
	}
	for _, d := range t.app.Deliveries {
		held, err := t.r.settings().Deliverer.Holds(ctx, d, passwords)
		switch {
		case errors.Is(err, ErrCannotTell):
			ran := func(r DeliveryResult) bool { return r.Name == d.Name() && r.Thumbprint == wanted.ThumbprintSHA256 }
			if slices.ContainsFunc(results, ran) {
				continue
			}
			return fix(ReasonOther, "to run it: rotate now "+t.app.Name,
				"app %s: delivery %s was added and has not run for this certificate; nothing is retired", t.app.Name, d.Name())
		case err == nil && held == wanted.ThumbprintSHA256:
			continue
		case err != nil:
			return fmt.Errorf("app %s: look at delivery %s: %w", t.app.Name, d.Name(), err)
		}
		what := "another certificate (" + string(held) + ")"
		switch {
		case held == "":
			what = "nothing"
		case t.rot.Phase == PhaseRollingBack && held == t.rot.New.ThumbprintSHA256:
			what = "the new certificate again"
		case t.rot.Old != nil && held == t.rot.Old.ThumbprintSHA256:
			what = "the old certificate again"
		}
		next := "find out who changed it; to deliver the new certificate again: rotate now " + t.app.Name + "; to go back: rotate rollback " + t.app.Name
		if t.rot.Phase == PhaseRollingBack {
			next = "find out who changed it; to deliver the previous certificate again: rotate now " + t.app.Name
		}
		return fix(ReasonTargetChanged, next, "app %s: delivery %s contains %s; nothing is removed", t.app.Name, d.Name(), what)
	}
	return nil
}
