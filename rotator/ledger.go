package rotator

import (
	"cmp"
	"slices"
	"time"
)

// Consumer is who signs in with an app's pairs, as far as rotate knows: there is one
// for each delivery, also for one that was taken away. All times are Entra's.
type Consumer struct {
	// Name is that of its delivery, see [Delivery.Name].
	Name string `json:"name"`
	// Delivery brings pairs to it; without a kind, none does any more: it is known to
	// exist, and only a person reaches it.
	Delivery Delivery `json:"delivery,omitzero"`
	// MayHold are the pairs of which a byte may have reached it: noted before the first
	// can leave the store. An entry goes when another pair was confirmed for the
	// overlap, and when its certificate is gone or has expired.
	MayHold []Thumbprint `json:"may_hold,omitempty"`
	// Got is the pair that was brought to it last, at GotAt, as the very File; empty
	// while that is not certain.
	Got   Thumbprint `json:"got,omitempty"`
	GotAt time.Time  `json:"got_at,omitzero"`
	File  string     `json:"file,omitempty"`
	// RestartAt is when its time to read began anew: it was seen with anything else, or
	// its delivery was changed. Restart tells that this is still to be dated.
	RestartAt time.Time `json:"restart_at,omitzero"`
	Restart   bool      `json:"restart,omitempty"`
	// Said is the pair that a person saw it use, SaidAt since when; zero: still to be
	// dated.
	Said   Thumbprint `json:"said,omitempty"`
	SaidAt time.Time  `json:"said_at,omitzero"`
}

// byWord reports whether only a person knows what it uses.
func (c *Consumer) byWord() bool {
	return c.Delivery.Kind == "" || c.Delivery.Kind == DeliverHandOff
}

// mayHold notes that it may hold a pair.
func (c *Consumer) mayHold(list ...Thumbprint) {
	for _, t := range list {
		c.MayHold = appendOne(c.MayHold, t)
	}
}

// announce notes that a pair is on its way to a person, or was given to one: what was
// said of another pair is void.
func (c *Consumer) announce(t Thumbprint) {
	if c.byWord() && c.Said != t {
		c.Said, c.SaidAt = "", time.Time{}
	}
}

// consumer returns the one with the name; nil: there is none.
func (a *App) consumer(name string) *Consumer {
	for i := range a.Consumers {
		if a.Consumers[i].Name == name {
			return &a.Consumers[i]
		}
	}
	return nil
}

// eachConsumer alters the app's consumers. The list is replaced: others may hold it.
func (a *App) eachConsumer(change func(c *Consumer)) {
	a.Consumers = slices.Clone(a.Consumers)
	for i := range a.Consumers {
		c := &a.Consumers[i]
		c.MayHold = slices.Clone(c.MayHold)
		change(c)
	}
}

// sameWay reports whether two deliveries bring the same bytes to the same place.
func sameWay(a, b Delivery) bool {
	a.Replace, a.Previous, b.Replace, b.Previous = false, false, false, false
	return a == b
}

// keepConsumers brings the list of an app's consumers up to its deliveries; every
// change of the records ends with it. One whose delivery was taken away stays,
// unconfirmed. One that is added or changed may hold whatever any consumer of the app
// may hold; the first ones may hold each pair that there is.
func keepConsumers(app *App, rot *Rotation) {
	first := app.Consumers == nil
	if first {
		defer resumeConsumers(app, rot)
	}
	if app.Mode == ModeMonitor || app.NoConsumer {
		app.Consumers = nil
		return
	}
	var all []Thumbprint
	if first {
		for _, e := range ledgerOf(app, rot, &Policy{}, false).list {
			if e.role != roleNext || rot.isReached() {
				all = append(all, e.ThumbprintSHA256)
			}
		}
	}
	for i := range app.Consumers {
		for _, t := range app.Consumers[i].MayHold {
			all = appendOne(all, t)
		}
	}
	change := func(c *Consumer, d Delivery) {
		c.Delivery, c.Got, c.GotAt, c.File, c.Said, c.SaidAt, c.Restart = d, "", time.Time{}, "", "", time.Time{}, true
		c.mayHold(all...)
	}
	isOf := func(name string) func(d Delivery) bool { return func(d Delivery) bool { return d.Name() == name } }
	app.eachConsumer(func(c *Consumer) {
		i := slices.IndexFunc(app.Deliveries, isOf(c.Name))
		switch {
		case i < 0 && c.Delivery.Kind != "":
			change(c, Delivery{})
		case i >= 0 && !sameWay(c.Delivery, app.Deliveries[i]):
			change(c, app.Deliveries[i])
		case i >= 0:
			c.Delivery = app.Deliveries[i]
		}
	})
	for _, d := range app.Deliveries {
		if app.consumer(d.Name()) == nil {
			app.Consumers = append(app.Consumers, Consumer{Name: d.Name()})
			change(&app.Consumers[len(app.Consumers)-1], d)
		}
	}
}

// role of a certificate in its app's ledger.
type role string

const (
	roleNext     role = "next"
	roleCurrent  role = "current"
	rolePrevious role = "previous"
	roleFormer   role = "former"
)

// entry is one certificate of ours in an app's ledger.
type entry struct {
	Credential
	role role
	// orphan tells that it is left to a person.
	orphan bool
}

// ledger is everything that is known of an app's certificates, each of them once, and
// of who may hold them. It is computed from the records, by [ledgerOf] alone; what may
// be done follows from it, by the guards in guards.go alone.
type ledger struct {
	// list is oldest first.
	list      []entry
	consumers []Consumer
	// none tells that there is no consumer, for a person said so or because the app is
	// the identity that this program signs in as.
	none bool
	// reached tells that a consumer may hold the next pair; for the identity.
	reached bool
	// proven tells that the next pair was proven.
	proven bool
	// removing is the pair of which a removal has begun: it is no way back.
	removing Thumbprint
	rule     string
	policy   *Policy
	// off reports a rule that is taken out of a simulated program; nil: none is.
	off func(Rule) bool
}

func (l *ledger) without(rule Rule) bool { return l.off != nil && l.off(rule) }

// ledgerOf computes an app's ledger. rot is its open rotation, nil or zero if there is
// none.
func ledgerOf(app *App, rot *Rotation, p *Policy, none bool) *ledger {
	l := &ledger{consumers: app.Consumers, none: app.NoConsumer || none && len(app.Consumers) == 0, rule: app.ConfirmRule(), policy: p}
	if rot != nil && (rot.ID == "" || rot.Phase.IsEnd()) {
		rot = nil
	}
	l.add(app.Current, roleCurrent, false)
	if rot != nil {
		l.reached, l.proven = rot.isReached(), !rot.PhaseAt[PhaseProven].IsZero()
		if next := rot.New; rot.mayBeUploaded() || l.reached {
			if next.RequestedKeyID == "" {
				next.RequestedKeyID = rot.Upload.RequestedKeyID
			}
			l.add(&next, roleNext, false)
		}
		l.add(rot.Old, rolePrevious, false)
		for i := range rot.Extra {
			l.add(&rot.Extra[i], roleFormer, false)
		}
		if !rot.RemovalSentAt.IsZero() {
			l.removing = cmp.Or(rot.Removing, thumbprintOf(rot.Old))
		}
	}
	l.add(app.Previous, rolePrevious, false)
	for i := range app.Former {
		l.add(&app.Former[i], roleFormer, false)
	}
	for i := range app.Orphans {
		l.add(&app.Orphans[i].Credential, roleFormer, true)
	}
	for i := range app.Removals {
		if m := &app.Removals[i]; m.IsPending() && !m.Foreign {
			l.add(&m.Credential, roleFormer, false)
		}
	}
	slices.SortStableFunc(l.list, func(a, b entry) int { return a.NotBefore.Compare(b.NotBefore) })
	return l
}

// add puts a certificate into the ledger, or what another copy of it knows.
func (l *ledger) add(c *Credential, as role, orphan bool) {
	if c == nil || c.ThumbprintSHA256 == "" {
		return
	}
	e := l.entry(c.ThumbprintSHA256)
	if e == nil {
		l.list = append(l.list, entry{*c, as, orphan})
		return
	}
	e.orphan = e.orphan || orphan
	e.GivenUp, e.CutNow = e.GivenUp || c.GivenUp, e.CutNow || c.CutNow
	if c.KeyID != "" && (e.KeyID == "" || e.KeyIDByHand && !c.KeyIDByHand) {
		e.KeyID, e.KeyIDByHand = c.KeyID, c.KeyIDByHand
	}
	if e.RequestedKeyID == "" {
		e.RequestedKeyID = c.RequestedKeyID
	}
	for _, at := range []struct{ to, from *time.Time }{
		{&e.AddedAt, &c.AddedAt}, {&e.RemovalSentAt, &c.RemovalSentAt}, {&e.RemovedAt, &c.RemovedAt}, {&e.LeftAt, &c.LeftAt},
	} {
		if at.from.After(*at.to) {
			*at.to = *at.from
		}
	}
}

// entry returns the certificate with the thumbprint; nil: it is not in the ledger.
func (l *ledger) entry(t Thumbprint) *entry {
	for i := range l.list {
		if l.list[i].ThumbprintSHA256 == t {
			return &l.list[i]
		}
	}
	return nil
}

// isHeld reports whether a consumer may hold the pair. An app whose consumers are not
// known may have one that holds any.
func (l *ledger) isHeld(t Thumbprint) bool {
	if len(l.consumers) == 0 {
		e := l.entry(t)
		return e == nil || e.role != roleNext || l.reached
	}
	return slices.ContainsFunc(l.consumers, func(c Consumer) bool { return slices.Contains(c.MayHold, t) })
}

// holdsOther reports whether a consumer may hold anything but the pair, at Entra's
// time.
func (l *ledger) holdsOther(t Thumbprint, at time.Time) bool {
	return slices.ContainsFunc(l.list, func(e entry) bool {
		return e.ThumbprintSHA256 != t && e.RemovedAt.IsZero() && at.Before(e.NotAfter) && l.isHeld(e.ThumbprintSHA256)
	})
}

// others lists what may still be on the app besides the pair that stays and whose
// removal was not sent: given up first, then oldest first.
func (l *ledger) others(stays Thumbprint) []entry {
	var first, then []entry
	for _, e := range l.list {
		switch {
		case e.ThumbprintSHA256 == stays || e.isLeaving() || e.orphan:
		case e.GivenUp:
			first = append(first, e)
		default:
			then = append(then, e)
		}
	}
	return append(first, then...)
}

// settleOn notes that an ended rotation left a pair in service: what was removed,
// expired or never left the store is held by no consumer any more. kept are those that
// stay on the app.
func settleOn(app *App, stays Thumbprint, kept []entry) {
	app.eachConsumer(func(c *Consumer) {
		c.MayHold = slices.DeleteFunc(c.MayHold, func(t Thumbprint) bool {
			return t != stays && !slices.ContainsFunc(kept, func(e entry) bool { return e.ThumbprintSHA256 == t })
		})
	})
}

// ledger is that of the turn's app as it is recorded now.
func (t *turn) ledger() *ledger { return t.r.ledger(&t.app, &t.rot, &t.policy) }

func (r *Rotator) ledger(app *App, rot *Rotation, p *Policy) *ledger {
	l := ledgerOf(app, rot, p, r.isIdentity(app))
	if r.Simulated != nil {
		l.off = r.without
	}
	return l
}

// eachCopy alters a certificate wherever the records describe it. It is the only way
// to change what is known of one.
func eachCopy(rec *Records, t Thumbprint, change func(c *Credential)) {
	alter := func(c *Credential) {
		if c != nil && c.ThumbprintSHA256 == t {
			change(c)
		}
	}
	for _, rot := range []*Rotation{rec.Rotation, rec.Closed} {
		if rot == nil {
			continue
		}
		alter(rot.Old)
		alter(&rot.New)
		rot.Extra = slices.Clone(rot.Extra)
		for i := range rot.Extra {
			alter(&rot.Extra[i])
		}
	}
	if rec.App == nil {
		return
	}
	alter(rec.App.Current)
	alter(rec.App.Previous)
	rec.App.Former = slices.Clone(rec.App.Former)
	for i := range rec.App.Former {
		alter(&rec.App.Former[i])
	}
}

// resumeConsumers notes of an app's first consumers what its newest rotation delivered
// before they were noted, in a record of an older version. Their time begins again with
// the next look.
func resumeConsumers(app *App, rot *Rotation) {
	if rot == nil || rot.Phase.IsEnd() && (app.Current == nil || rot.New.ThumbprintSHA256 != app.Current.ThumbprintSHA256) {
		return
	}
	results := rot.Deliveries
	if rot.Back != nil {
		results = rot.Back.Results
	}
	app.eachConsumer(func(c *Consumer) {
		i := slices.IndexFunc(results, func(r DeliveryResult) bool { return r.Name == c.Name })
		switch {
		case c.byWord() && rot.Back == nil && rot.Confirmation == ConfirmPerson:
			c.Said = rot.New.ThumbprintSHA256
		case i >= 0 && !c.byWord():
			c.Got, c.GotAt = results[i].Thumbprint, results[i].At
		}
	})
}
