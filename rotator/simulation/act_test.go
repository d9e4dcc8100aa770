package simulation

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// kind is one thing that somebody or something can do.
type kind struct {
	name string
	// weight is how often it is drawn.
	weight int
	// inside tells that it is an act of people or host, counted by pairs in one rotation.
	inside bool
	do     func(w *world, a *app, chance *rand.Rand)
}

// kinds are all acts. Their names stand in scripts.
func kinds() []kind {
	ctx := context.Background()
	start := func(req rotator.StartRequest) func(w *world, a *app, _ *rand.Rand) {
		return func(w *world, a *app, _ *rand.Rand) { w.start(a, req) }
	}
	return []kind{
		{"now", 10, true, start(rotator.StartRequest{})},
		{"now-force", 3, true, start(rotator.StartRequest{Force: true})},
		{"compromised-current", 3, true, start(rotator.StartRequest{Compromised: "current"})},
		{"compromised-next", 3, true, start(rotator.StartRequest{Compromised: "next"})},
		{"compromised-current-cut", 1, true, start(rotator.StartRequest{Compromised: "current", CutNow: true})},
		{"compromised-next-cut", 1, true, start(rotator.StartRequest{Compromised: "next", CutNow: true})},
		{"rollback", 6, true, func(w *world, a *app, _ *rand.Rand) { _, _ = w.host.program.RollBack(ctx, a.name, "admin") }},
		{"confirm", 5, true, func(w *world, a *app, chance *rand.Rand) {
			if len(a.consumers) > 0 {
				c := a.consumers[chance.IntN(len(a.consumers))]
				if slices.ContainsFunc(a.consumers, func(o *consumer) bool { return o.byWord() && o.holds != c.holds }) {
					return // a person's word counts for all whom only people know
				}
				_, err := w.host.program.Confirm(ctx, a.name, string(c.holds.thumbprint[:8]), "", "admin")
				w.note("  says that %s uses %s: %v", c.name, c.holds.name, err)
			}
		}},
		{"confirm-other", 1, true, func(w *world, a *app, _ *rand.Rand) {
			for _, other := range w.apps {
				if other != a && len(other.consumers) > 0 && (len(a.consumers) == 0 || other.consumers[0].holds != a.consumers[0].holds) {
					_, _ = w.host.program.Confirm(ctx, a.name, string(other.consumers[0].holds.thumbprint[:8]), "", "admin")
				}
			}
		}},
		{"fetch", 4, true, func(w *world, a *app, chance *rand.Rand) {
			if len(a.consumers) > 0 {
				w.fetch(a, a.consumers[chance.IntN(len(a.consumers))])
			}
		}},
		{"install", 4, true, func(w *world, a *app, _ *rand.Rand) {
			for _, c := range a.consumers {
				if c.fetched != nil && a.reg.has(c.fetched, w.now) != nil {
					c.holds = c.fetched
					w.note("  %s uses %s now", c.name, c.holds.name)
				}
			}
		}},
		{"pause", 2, true, func(w *world, a *app, chance *rand.Rand) {
			_ = w.host.program.Pause(ctx, a.name, w.host.now().Add(pick(chance, time.Hour, 3*day, 20*day)), "admin")
		}},
		{"pause-all", 1, true, func(w *world, _ *app, chance *rand.Rand) {
			_ = w.host.program.Pause(ctx, "", w.host.now().Add(pick(chance, time.Hour, 3*day)), "admin")
		}},
		{"resume", 3, true, func(w *world, a *app, _ *rand.Rand) { _, _ = w.host.program.Resume(ctx, a.name, false, "admin") }},
		{"resume-all", 2, true, func(w *world, _ *app, _ *rand.Rand) { _, _ = w.host.program.Resume(ctx, "", true, "admin") }},
		{"edit-policy", 2, true, func(w *world, a *app, chance *rand.Rand) {
			p := a.spec.Policy
			gap := time.Minute
			for _, c := range a.consumers {
				gap = max(gap, c.gap)
			}
			p.Overlap, p.ReloadWithin = new(pick(chance, day, 3*day, 14*day)), new(gap*time.Duration(1+chance.IntN(2)))
			p.Validity = new(pick(chance, 90*day, 365*day))
			if _, _, err := w.host.program.Edit(ctx, a.name, rotator.Edit{Policy: &p}, "admin"); err == nil {
				a.spec.Policy = p
			}
		}},
		{"add-target", 2, true, func(w *world, a *app, chance *rand.Rand) { w.addTarget(a, chance) }},
		{"drop-target", 2, true, func(w *world, a *app, chance *rand.Rand) {
			if n := len(a.spec.Deliveries); n > 1 {
				i := chance.IntN(n)
				w.deliverTo(a, slices.Delete(slices.Clone(a.spec.Deliveries), i, i+1))
			}
		}},
		{"no-delivery", 1, true, func(w *world, a *app, _ *rand.Rand) { w.deliverTo(a, []rotator.Delivery{}) }},
		{"mode", 1, true, func(w *world, a *app, _ *rand.Rand) {
			mode := rotator.ModeManaged
			if a.spec.Mode == mode {
				mode = rotator.ModeSelf
			}
			if _, _, err := w.host.program.Edit(ctx, a.name, rotator.Edit{Mode: &mode}, "admin"); err == nil {
				a.spec.Mode = mode
			}
		}},
		{"track-again", 2, true, func(w *world, a *app, chance *rand.Rand) { w.trackAgain(a, chance) }},
		{"object-id", 1, true, func(w *world, a *app, _ *rand.Rand) {
			for _, other := range w.apps {
				if other != a {
					_, _, _ = w.host.program.Edit(ctx, a.name, rotator.Edit{ObjectID: &other.reg.object}, "admin")
				}
			}
			_, _, _ = w.host.program.Edit(ctx, a.name, rotator.Edit{ObjectID: &a.reg.object}, "admin")
		}},

		{"delete-entry", 2, false, func(w *world, a *app, chance *rand.Rand) {
			list := slices.DeleteFunc(a.reg.list(w.now), func(e *entry) bool { return e.cert.foreign })
			if len(list) > 0 {
				e := list[chance.IntN(len(list))]
				e.gone = w.now
				w.note("  somebody deletes %s from %s", e.cert.name, a.name)
				w.wasDeleted(a, e.cert)
			}
		}},
		{"add-foreign", 1, false, func(w *world, a *app, _ *rand.Rand) {
			c := w.newCertificate(w.now, w.now.Add(3000*day))
			c.foreign, c.name = true, "F"+c.name[1:]
			a.reg.entries = append(a.reg.entries, &entry{id: w.tenant.newKeyID(), cert: c, name: "somebody's", added: w.now})
		}},
		{"stale-patch", 2, false, func(w *world, a *app, chance *rand.Rand) {
			before := a.reg.list(w.now)
			list := a.reg.list(w.now.Add(-pick(chance, time.Minute, time.Hour, day)))
			w.note("  somebody replaces the list of %s by an old one", a.name)
			w.tenant.replace(a.reg, list, "somebody")
			for _, e := range before {
				if a.reg.has(e.cert, w.now) == nil {
					w.wasDeleted(a, e.cert)
				}
			}
		}},
		{"policy", 2, false, func(_ *world, a *app, chance *rand.Rand) { a.reg.longest = pick(chance, 0, 0, 10*day, 40*day, 100*day) }},
		{"swap-file", 4, false, func(w *world, a *app, chance *rand.Rand) { w.swap(a, chance) }},
		{"swap-and-back", 3, false, func(w *world, a *app, chance *rand.Rand) {
			for _, c := range a.consumers {
				if now := c.target; c.kind == rotator.DeliverFile && now.cert != nil {
					cert, password := now.cert, now.password
					w.swap(a, chance)
					w.read(c)
					w.write(now, cert, password)
					return
				}
			}
		}},
		{"readable", 1, false, func(_ *world, a *app, _ *rand.Rand) { a.reg.readable = !a.reg.readable }},

		{"lag", 3, false, func(w *world, _ *app, chance *rand.Rand) {
			w.tenant.weather.lag = pick(chance, 2*time.Second, time.Minute, 20*time.Minute)
			w.stormTill = w.now.Add(pick(chance, time.Hour, day, 4*day))
		}},
		{"storm", 4, false, func(w *world, _ *app, chance *rand.Rand) {
			some := func() int { return pick(chance, 0, 0, 10, 40) }
			w.tenant.weather.refused, w.tenant.weather.lost, w.tenant.weather.doubled = some(), some(), some()
			w.tenant.weather.late, w.tenant.weather.ghost = some(), some()
			w.stormTill = w.now.Add(pick(chance, time.Hour, day, 4*day))
		}},
		{"fair", 2, false, func(w *world, _ *app, _ *rand.Rand) { w.tenant.weather = weather{lag: 2 * time.Second} }},
		{"tenant-clock", 1, false, func(w *world, _ *app, chance *rand.Rand) {
			w.tenant.off, w.clockTill = pick(chance, 0, 0, time.Hour, -8*day), w.now.Add(pick(chance, time.Hour, day, 4*day))
		}},

		{"die", 8, true, func(w *world, _ *app, chance *rand.Rand) {
			w.host.dieIn, w.host.after = 1+chance.IntN(12), chance.IntN(2) == 0
			w.host.downTill = w.now.Add(pick(chance, time.Minute, time.Hour, day))
		}},
		{"down", 2, true, func(w *world, _ *app, chance *rand.Rand) {
			w.host.dead, w.host.downTill = true, w.now.Add(pick(chance, time.Minute, time.Hour, day, 20*day))
		}},
		{"disk-full", 1, true, func(w *world, _ *app, _ *rand.Rand) { w.host.diskFull = true }},
		{"disk-free", 2, true, func(w *world, _ *app, _ *rand.Rand) { w.host.diskFull = false }},
		{"host-clock", 2, true, func(w *world, _ *app, chance *rand.Rand) {
			w.host.off = pick(chance, 0, 0, 10*time.Minute, 8*day, -8*day, 400*day)
			w.clockTill, w.wake = w.now.Add(pick(chance, time.Hour, day, 4*day)), w.now
		}},
		{"host-clock-right", 3, true, func(w *world, _ *app, _ *rand.Rand) { w.host.off = 0 }},
	}
}

// start is a person who asks for a rotation.
func (w *world) start(a *app, req rotator.StartRequest) {
	if req.Force {
		a.forced++
	}
	rot, err := w.host.program.Start(context.Background(), a.name, req, "admin")
	w.note("  answered: %v", err)
	switch {
	case req.Compromised == "":
	case w.host.dead:
		for _, c := range a.consumers { // nobody heard whether, and which one, it was
			c.holds.perhaps, c.holds.cut = true, c.holds.cut || req.CutNow
		}
	case err == nil && rot.Compromised != nil:
		c := w.certificates[rot.Compromised.Thumbprint]
		c.givenUp, c.cut = w.now, c.cut || req.CutNow
		w.note("  %s is given up", c.name)
	}
}

// fetch is a person who takes what waits to be handed over.
func (w *world) fetch(a *app, c *consumer) {
	if c.kind != rotator.DeliverHandOff {
		return
	}
	if h, err := w.host.program.HandOver(context.Background(), a.name, rotator.HandOverRequest{Again: true}, "admin"); err == nil {
		c.fetched = w.byDER(h.Certificate)
		w.note("  takes %s", c.fetched.name)
	}
}

// deliverTo changes an app's deliveries. A consumer whose delivery is taken away goes on
// with what it has.
func (w *world) deliverTo(a *app, to []rotator.Delivery) bool {
	if _, _, err := w.host.program.Edit(context.Background(), a.name, rotator.Edit{Deliveries: &to}, "admin"); err != nil {
		w.note("  answered: %v", err)
		return false
	}
	a.spec.Deliveries = to
	for _, c := range a.consumers {
		has := slices.ContainsFunc(to, func(d rotator.Delivery) bool {
			return c.target == nil && d.Kind == rotator.DeliverHandOff || c.target != nil && d.Kind != rotator.DeliverHandOff && w.target(d) == c.target
		})
		if !has {
			c.kind = ""
		}
	}
	return true
}

// addTarget gives the app one more consumer, with what another one has.
func (w *world) addTarget(a *app, chance *rand.Rand) {
	if len(a.consumers) == 0 || len(a.consumers) > 3 {
		return
	}
	from := a.consumers[chance.IntN(len(a.consumers))]
	d := rotator.Delivery{Kind: rotator.DeliverFile, Path: "/srv/" + a.name + "-more-" + string(rune('a'+len(a.consumers))) + ".pfx"}
	c := &consumer{name: a.name + "-more", kind: d.Kind, app: a, gap: from.gap, holds: from.holds, password: from.password, target: w.target(d)}
	c.target.writes++
	c.target.cert, c.target.password, c.target.readers = from.holds, from.password, []*consumer{c}
	if w.deliverTo(a, append(slices.Clone(a.spec.Deliveries), d)) {
		a.consumers = append(a.consumers, c)
	}
}

// trackAgain is app remove and app add, with the file of one consumer or without one.
func (w *world) trackAgain(a *app, chance *rand.Rand) {
	ctx := context.Background()
	if _, err := w.host.program.Remove(ctx, a.name, rotator.RemoveRequest{Abandon: true}, "admin"); err != nil {
		if w.host.dead {
			a.excuse = "nobody knows whether it is tracked"
		}
		return
	}
	// Who adds it says with its deliveries which consumers there are.
	a.consumers = slices.DeleteFunc(a.consumers, func(c *consumer) bool { return c.kind == "" })
	spec := a.spec
	spec.PFX, spec.Password, spec.KeyID = nil, "", ""
	for _, e := range a.reg.list(w.now) {
		e.cert.forgotten = true // it is no longer one of the app's, unless it is added with it
	}
	if len(a.consumers) > 0 && (spec.Mode == rotator.ModeSelf || chance.IntN(2) == 0) {
		c := a.consumers[chance.IntN(len(a.consumers))]
		spec.PFX, spec.Password = []byte("file "+string(c.holds.thumbprint)+" "+c.password), c.password
		if e := a.reg.has(c.holds, w.now); e != nil {
			spec.KeyID = e.id
		}
	}
	if len(spec.Deliveries) == 0 {
		spec.NoConsumer = len(a.consumers) == 0
	}
	_, err := w.host.program.Add(ctx, spec, "admin")
	w.note("  answered: %v", err)
	if err != nil {
		a.excuse = "no longer tracked"
		a.tracked = false
	}
}

// swap is somebody who puts an earlier file back, and perhaps ours again later.
func (w *world) swap(a *app, chance *rand.Rand) {
	var files []*consumer
	for _, c := range a.consumers {
		if c.kind == rotator.DeliverFile {
			files = append(files, c)
		}
	}
	var valid []*certificate
	for _, e := range a.reg.list(w.now) {
		if !e.cert.foreign && w.tenant.now().Before(e.cert.notAfter.Add(-day)) && w.wasDelivered(a, e.cert) {
			valid = append(valid, e.cert)
		}
	}
	if len(files) == 0 || len(valid) == 0 {
		return
	}
	c, put := files[chance.IntN(len(files))], valid[chance.IntN(len(valid))]
	w.note("  somebody writes %s to the file of %s", put.name, c.name)
	w.write(c.target, put, c.password)
}

// wasDelivered reports whether somebody may have the file of a pair.
func (w *world) wasDelivered(a *app, c *certificate) bool {
	return slices.ContainsFunc(a.consumers, func(one *consumer) bool {
		return one.fetched == c || slices.Contains(one.had, c) || one.target != nil && one.target.cert == c
	})
}

// wasDeleted notes that somebody else took a certificate away: its consumers' outage is
// that person's.
func (w *world) wasDeleted(_ *app, _ *certificate) {}
