package rotator

import (
	"cmp"
	"context"
	"errors"
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
	if w, err := t.mayDeliver(ctx, &t.rot.New); w != nil || err != nil {
		return w, err
	}
	delivered, err := t.bring(ctx, &t.rot.New, false)
	if err != nil {
		return nil, err
	}
	done := func(rec *Records) {
		delivered(rec)
		t.askPerson(rec, &t.rot.New)
	}
	if slices.ContainsFunc(t.app.Deliveries, func(d Delivery) bool { return d.Kind != DeliverFile }) {
		// What a program or a person did cannot be looked at.
		return nil, t.enter(ctx, PhaseDelivered, done)
	}
	t.reach(ctx, PhaseDelivered, done)
	return nil, nil //nolint:nilnil // the next step may run
}

// mayDeliver waits until a pair may be brought to consumers, see [ledger.canDeliver].
func (t *turn) mayDeliver(ctx context.Context, c *Credential) (*wait, error) {
	if !t.rot.Proof.Unprovable && !t.isRecent(t.accepts[c.ThumbprintSHA256]) {
		pair, err := t.pair(ctx, c)
		if err != nil {
			return nil, err
		}
		if _, err := t.cold(ctx, pair, nil); err != nil && reasonOf(err) != ReasonBlocked {
			return nil, err
		}
	}
	s := t.sighting()
	if t.rot.Proof.Unprovable {
		s.accepted = append(s.accepted, c.ThumbprintSHA256) // as far as this host can know
	}
	if r := t.ledger().canDeliver(c.ThumbprintSHA256, s); r != nil {
		t.log.DebugContext(ctx, "nothing is delivered yet", "because", r.why)
		return &wait{WaitingPropagation, t.now().UTC().Add(absentEvery)}, nil
	}
	return nil, nil //nolint:nilnil // it may
}

// bring makes every target hold the pair, and returns what the next record notes of
// it. What it brought before, and is still there, is brought again only if a person asked. Before the
// first byte it is durable that consumers may hold the pair, and that whatever they had
// got is uncertain: a write whose record is lost is done again, and its time begins
// again.
func (t *turn) bring(ctx context.Context, c *Credential, again bool) (done func(rec *Records), err error) {
	pkg, err := t.packageOf(ctx, c)
	if err != nil {
		return nil, err
	}
	wanted := c.ThumbprintSHA256
	deliveries := t.app.Deliveries // an edit holds from the next attempt on
	var rest []Delivery
	changes := again
	for _, d := range deliveries {
		if d.Kind == DeliverHandOff {
			rest = append(rest, d)
			continue
		}
		if changes = changes || !t.has(ctx, d, wanted, pkg.Passwords); changes { // what follows a changed target follows again
			rest = append(rest, d)
		}
	}
	certain := t.certain(wanted) // writing it again takes nothing away from who uses it
	if err := t.begun(ctx, c, rest); err != nil {
		return nil, err
	}
	results := make([]brought, 0, len(rest))
	keep := func(rec *Records) { keepResults(rec, c, deliveries, results) }
	for i, d := range rest {
		result, err := t.bringTo(ctx, d, pkg)
		if err != nil && ctx.Err() != nil {
			return nil, err
		}
		if since := certain[d.Name()]; err == nil && !since.IsZero() {
			result.got = since
		}
		results = append(results, result)
		if err == nil && i == len(rest)-1 {
			break // recorded with the phase
		}
		if recorded := t.record(ctx, "", keep); recorded != nil || err != nil {
			return nil, errors.Join(recorded, err)
		}
	}
	t.places = nil // what was read before is out of date
	return keep, nil
}

// has reports whether a delivery needs nothing: it brought the pair, and the target
// still contains it.
func (t *turn) has(ctx context.Context, d Delivery, wanted Thumbprint, passwords []string) bool {
	c := t.app.consumer(d.Name())
	if c == nil || c.Got != wanted {
		return false
	}
	target, err := t.r.settings().Deliverer.Holds(ctx, d, passwords)
	return errors.Is(err, ErrCannotTell) || err == nil && target.Thumbprint == wanted
}

// certain are the consumers that use the pair without a doubt, and since when they had
// it: a file was seen to be the very one that was written, or a hook ran for it, and the
// time to read has passed. One that has not read it yet may put that off when it is told
// again. After a step that does not end, nothing is certain any more.
func (t *turn) certain(wanted Thumbprint) map[string]time.Time {
	since, now := map[string]time.Time{}, t.entraNow()
	for i := range t.app.Consumers {
		c := &t.app.Consumers[i]
		very := c.Delivery.Kind == DeliverExec || t.places[c.Name] == (Target{wanted, c.File})
		if c.Got == wanted && !c.Restart && very && !now.Before(c.readBy(t.policy.ReloadWithin)) {
			since[c.Name] = c.readBy(0)
		}
	}
	return since
}

// begun records that a pair is about to leave the store.
func (t *turn) begun(ctx context.Context, pair *Credential, to []Delivery) error {
	now := t.now().UTC()
	what := ""
	if pair.ThumbprintSHA256 == t.rot.New.ThumbprintSHA256 && t.rot.Reach.IsZero() {
		what = "delivery begun"
	} else if !slices.ContainsFunc(to, func(d Delivery) bool { return d.Kind != DeliverHandOff }) {
		return t.settle(ctx)
	}
	return t.record(ctx, what, func(rec *Records) {
		if what != "" {
			rec.Rotation.Reach = now
		}
		rec.App.eachConsumer(func(c *Consumer) {
			if c.Delivery.Kind != DeliverFile && c.Delivery.Kind != DeliverExec ||
				!slices.ContainsFunc(to, func(d Delivery) bool { return d.Name() == c.Name }) {
				return
			}
			c.mayHold(pair.ThumbprintSHA256)
			c.Got, c.GotAt, c.File = "", time.Time{}, ""
		})
	})
}

// brought is what one delivery came to.
type brought struct {
	DeliveryResult
	// got is Entra's time then, file the very file; zero where they are not known.
	got  time.Time
	file string
}

// bringTo makes one target hold the package's pair.
func (t *turn) bringTo(ctx context.Context, d Delivery, pkg Package) (brought, error) {
	wanted := pkg.Credential.ThumbprintSHA256
	result := brought{DeliveryResult: DeliveryResult{Name: d.Name()}}
	err := t.r.settings().Deliverer.Deliver(ctx, d, pkg)
	if err == nil {
		var target Target
		target, err = t.r.settings().Deliverer.Holds(ctx, d, pkg.Passwords)
		switch {
		case errors.Is(err, ErrCannotTell):
			err = nil
		case err == nil && target.Thumbprint != wanted:
			err = fix(ReasonOther, "see who else writes it", "app %s: delivery %s holds %s after the new certificate was written", t.app.Name, d.Name(), target.Thumbprint)
		}
		result.file = target.File
	}
	if err != nil {
		result.Error = err.Error()
		return result, err
	}
	result.Thumbprint, result.At, result.got = wanted, t.now().UTC(), t.latest()
	return result, nil
}

// latest is the latest that Entra's time can be now, for what a consumer may have read a
// moment ago: Entra's times are whole seconds. Where consumers read their files at once,
// the first delivery of a pair needs no such care.
func (t *turn) latest() time.Time {
	at := t.entraNow()
	if at.IsZero() || t.rot.Phase == PhaseProven && t.policy.ReloadWithin == 0 {
		return at
	}
	return at.Add(inexact)
}

// keepResults notes what deliveries of a pair brought, in the rotation for people, and
// with each consumer for the guards.
func keepResults(rec *Records, pair *Credential, deliveries []Delivery, results []brought) {
	var list *[]DeliveryResult
	if pair.ThumbprintSHA256 == rec.Rotation.New.ThumbprintSHA256 {
		list = &rec.Rotation.Deliveries
	} else if rec.Rotation.Back != nil {
		back := *rec.Rotation.Back
		rec.Rotation.Back = &back
		list = &back.Results
	}
	brings := func(name string) int {
		return slices.IndexFunc(results, func(r brought) bool { return r.Name == name })
	}
	if list != nil {
		all := make([]DeliveryResult, 0, len(deliveries))
		for _, d := range deliveries {
			one := DeliveryResult{Name: d.Name()}
			if i := slices.IndexFunc(*list, func(r DeliveryResult) bool { return r.Name == one.Name }); i >= 0 {
				one = (*list)[i]
			}
			if i := brings(one.Name); i >= 0 {
				one = results[i].DeliveryResult
			}
			all = append(all, one)
		}
		*list = all
	}
	rec.App.eachConsumer(func(c *Consumer) {
		if i := brings(c.Name); i >= 0 && results[i].Error == "" && !c.byWord() {
			c.Got, c.GotAt, c.File = results[i].Thumbprint, results[i].got, results[i].file
			c.RestartAt, c.Restart = time.Time{}, c.GotAt.IsZero() // before the write is before its time
		}
	})
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
	for _, e := range t.ledger().list {
		pkg.Known = append(pkg.Known, e.ThumbprintSHA256)
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
// hook that has not run for it. One that was seen with anything else, content or
// identity, may have been read then: its consumer's time begins again. What no delivery is
// known to have brought the pair to is to be written again, whatever it contains.
func (t *turn) astray(ctx context.Context, wanted *Credential) (again bool, err error) {
	if err := t.holdsNow(ctx); err != nil {
		return false, err
	}
	var strayed []string
	for _, d := range t.app.Deliveries {
		c := t.app.consumer(d.Name())
		target, seen := t.places[d.Name()]
		got := c != nil && c.Got == wanted.ThumbprintSHA256
		switch {
		case !seen && (got || d.Kind == DeliverHandOff):
		case !seen, !got && c != nil && c.GotAt.IsZero():
			again = true // it was added, or its last run did not end
		case target.Thumbprint != wanted.ThumbprintSHA256:
			strayed = append(strayed, d.Name())
			err = cmp.Or(err, t.changedTarget(d, target.Thumbprint))
		case !got:
			again = true
		case target.File != c.File:
			strayed = append(strayed, d.Name())
		}
	}
	return again, errors.Join(err, t.restart(ctx, strayed))
}

// changedTarget says what a target was found to contain.
func (t *turn) changedTarget(d Delivery, held Thumbprint) error {
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

// restart begins the time of consumers anew whose target was seen as anything else than
// what was written. It is durable before the target is written again or relied upon.
func (t *turn) restart(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	at := t.latest()
	return t.record(ctx, "", func(rec *Records) {
		rec.App.eachConsumer(func(c *Consumer) {
			if !slices.Contains(names, c.Name) {
				return
			}
			c.RestartAt, c.Restart = at, at.IsZero()
			if seen := t.places[c.Name]; seen.Thumbprint == c.Got {
				c.File = seen.File // what others put there is the same: it counts from now on
				return
			}
			c.Got, c.File = "", ""
			if held := t.places[c.Name].Thumbprint; held != "" {
				c.mayHold(held)
			}
		})
	})
}
