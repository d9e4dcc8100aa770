package simulation

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

const day = 24 * time.Hour

// world is one life: a tenant, a host with the program, two apps with their consumers,
// and the judge.
type world struct {
	seed         uint64
	now          time.Time
	asked        uint64 // draws in this instant
	tenant       *tenant
	host         *host
	apps         []*app
	certificates map[rotator.Thumbprint]*certificate
	targets      map[string]*target
	without      map[rotator.Rule]bool
	// wake is when the program is due next, checked when its last check was.
	wake, checked time.Time
	// automatic tells that nobody asked for what happens now.
	automatic bool
	spins     int
	// still counts rounds since anything was done or a phase was reached: one in which
	// nothing changes is as good as ten.
	still  int
	phases string
	// until is when clocks are set right and the weather is fair again.
	clockTill, stormTill time.Time
	// broken are the promises that were broken, in order; the first counts.
	broken []string
	// log is what happened, kept if it is wanted.
	keep bool
	log  []string
}

// app is one registration with its consumers, as the world knows it.
type app struct {
	name      string
	reg       *registration
	consumers []*consumer
	spec      rotator.AppSpec
	tracked   bool
	// mayUpload is how many uploads a day are allowed, more after --force.
	forced  int
	uploads []time.Time
	// excuse is an act whose documented meaning is that this app may be locked out or
	// stay as it is; empty: none.
	excuse string
}

// consumer signs in with what it read last. It reads within gap of a change.
type consumer struct {
	name     string
	kind     string
	app      *app
	gap      time.Duration
	holds    *certificate
	password string
	readAt   time.Time // zero: nothing new to read
	// had are the pairs that it used before.
	had []*certificate
	// changed is when its target last did.
	changed time.Time
	// fetched is what a person took for it.
	fetched *certificate
	target  *target
}

// byWord reports whether only a person knows what it uses.
func (c *consumer) byWord() bool { return c.kind == "" || c.kind == rotator.DeliverHandOff }

func (w *world) note(format string, args ...any) {
	if w.keep {
		w.log = append(w.log, w.now.Format("2006-01-02 15:04:05 ")+fmt.Sprintf(format, args...))
	}
}

// breaks notes a broken promise.
func (w *world) breaks(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
	w.note("BROKEN: "+format, args...)
}

// chance is a source that depends on the seed, the instant and what is asked, so that an
// act that is left out changes little else.
func (w *world) chance(what string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(what))
	w.asked++
	return rand.New(rand.NewPCG(w.seed^h.Sum64(), uint64(w.now.UnixNano())+w.asked))
}

func (w *world) nameOf(r *registration) string {
	for _, a := range w.apps {
		if a.reg == r {
			return a.name
		}
	}
	return string(r.client)
}

func (w *world) app(name string) *app {
	for _, a := range w.apps {
		if a.name == name {
			return a
		}
	}
	return nil
}

func (w *world) consumersOf(name string) []*consumer { return w.app(name).consumers }

func (w *world) target(d rotator.Delivery) *target {
	t := w.targets[d.Name()]
	if t == nil {
		t = &target{kind: d.Kind}
		w.targets[d.Name()] = t
	}
	return t
}

// write gives a target another content; its readers read it when they like.
func (w *world) write(t *target, c *certificate, password string) {
	t.cert, t.password = c, password
	t.writes++
	for _, reader := range t.readers {
		reader.changed = w.now
		if reader.readAt.IsZero() {
			reader.readAt = w.now.Add(w.readIn(reader))
		}
	}
}

// readIn is when a consumer reads: at once, some time within its rule, or at its end.
func (w *world) readIn(c *consumer) time.Duration {
	chance := w.chance("read " + c.name)
	switch chance.IntN(4) {
	case 0:
		return time.Second
	case 1:
		return c.gap - inexact
	case 2: // late: the overlap, a day at least, is for those
		return c.gap + time.Duration(chance.Int64N(int64(20*time.Hour)))
	}
	return time.Duration(chance.Int64N(int64(c.gap)))
}

// read is a consumer that reads its target.
func (w *world) read(c *consumer) {
	c.readAt = time.Time{}
	t := c.target
	if t.cert == nil || t.cert == c.holds && t.password == c.password {
		return
	}
	w.note("the consumer %s reads %s", c.name, t.cert.name)
	c.had = append(c.had, c.holds)
	if t.password != c.password && c.app.excuse == "" {
		w.breaks("%s cannot open its file: another password", c.name)
	}
	c.holds = t.cert
}

// newWorld draws a world from a seed.
func newWorld(seed uint64, without map[rotator.Rule]bool, keep bool) *world {
	w := &world{
		seed: seed, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), certificates: map[rotator.Thumbprint]*certificate{},
		targets: map[string]*target{}, without: without, keep: keep,
	}
	w.tenant = &tenant{w: w, apps: map[rotator.ClientID]*registration{}, weather: ordinary()}
	w.host = &host{w: w}
	w.host.store = newMemory(w.host)
	w.host.store.heard = w.hear
	w.host.boot()
	chance := rand.New(rand.NewPCG(seed, 1))
	for i := range 2 {
		w.newApp(i, chance)
	}
	return w
}

func pick[T any](chance *rand.Rand, from ...T) T { return from[chance.IntN(len(from))] }

// newApp registers an app, gives its consumers a file and tracks it.
func (w *world) newApp(i int, chance *rand.Rand) {
	a := &app{name: fmt.Sprintf("app-%d", i+1), tracked: true}
	a.reg = &registration{
		object:   rotator.ObjectID(fmt.Sprintf("0000000%d-1111-4111-8111-111111111111", i+1)),
		client:   rotator.ClientID(fmt.Sprintf("0000000%d-2222-4222-8222-222222222222", i+1)),
		readable: chance.IntN(3) > 0,
	}
	w.tenant.apps[a.reg.client] = a.reg
	w.apps = append(w.apps, a)
	foreign := w.newCertificate(w.now.Add(-day), w.now.Add(3000*day))
	foreign.foreign, foreign.name = true, "F"+foreign.name[1:]
	first := w.newCertificate(w.now.Add(-300*day), w.now.Add(time.Duration(20+chance.IntN(100))*day))
	if i == 1 && chance.IntN(8) == 0 { // one pair on both apps
		first = w.apps[0].consumers[0].holds
	}
	for _, c := range []*certificate{foreign, first} {
		a.reg.entries = append(a.reg.entries, &entry{id: w.tenant.newKeyID(), cert: c, name: "made by hand", added: w.now.Add(-200 * day)})
	}
	gap := pick(chance, time.Minute, time.Hour, day)
	a.spec = rotator.AppSpec{
		Name: a.name, Tenant: "contoso", ClientID: a.reg.client, ObjectID: a.reg.object, Mode: pick(chance, rotator.ModeSelf, rotator.ModeManaged),
		Policy: rotator.PolicyOverride{
			Validity: new(pick(chance, 90*day, 180*day, 365*day)), RenewBefore: new(45 * day),
			Prove:        &rotator.ProvePolicy{Successes: 2, Spacing: time.Second, Within: pick(chance, time.Hour, 6*time.Hour)},
			ReloadWithin: new(gap * time.Duration(1+chance.IntN(2))), Overlap: new(pick(chance, day, 7*day, 14*day)),
		},
	}
	password := "password of " + a.name
	add := func(d rotator.Delivery) {
		a.spec.Deliveries = append(a.spec.Deliveries, d)
		c := &consumer{name: fmt.Sprintf("%s-%d", a.name, len(a.consumers)+1), kind: d.Kind, app: a, gap: gap, holds: first, password: password}
		a.consumers = append(a.consumers, c)
		if d.Kind != rotator.DeliverHandOff {
			c.target = w.target(d)
			c.target.readers = append(c.target.readers, c)
			c.target.cert, c.target.password = first, password
		}
	}
	file := rotator.Delivery{Kind: rotator.DeliverFile, Path: "/srv/" + a.name + ".pfx"}
	switch chance.IntN(5) {
	case 0, 1:
		add(file)
	case 2:
		add(file)
		add(rotator.Delivery{Kind: rotator.DeliverFile, Path: "/srv/" + a.name + "-2.pfx"})
	case 3:
		add(rotator.Delivery{Kind: rotator.DeliverExec, Hook: "hook-" + a.name})
	case 4:
		add(rotator.Delivery{Kind: rotator.DeliverHandOff})
		if chance.IntN(2) == 0 {
			add(file)
		}
	}
	if chance.IntN(6) == 0 && a.consumers[0].kind != rotator.DeliverHandOff {
		a.spec.Confirm = rotator.Confirmation{Rule: rotator.ConfirmPerson}
	}
	a.spec.PFX, a.spec.Password = []byte("file "+string(first.thumbprint)+" "+password), password
	if a.reg.readable || a.spec.Mode == rotator.ModeManaged {
		a.spec.KeyID = a.reg.entries[1].id
	}
	if _, err := w.host.program.Add(context.Background(), a.spec, "admin"); err != nil {
		w.breaks("setup: add %s: %v", a.name, err)
	}
}

// advance lets time pass, and everything happen that is due.
func (w *world) advance(d time.Duration) {
	until := w.now.Add(d)
	for len(w.broken) == 0 {
		next, do := until, func() {}
		sooner := func(at time.Time, what func()) {
			if !at.IsZero() && at.Before(next) {
				next, do = at, what
			}
		}
		for _, a := range w.apps {
			for _, c := range a.consumers {
				if !c.readAt.IsZero() {
					sooner(c.readAt, func() { w.read(c) })
				}
			}
		}
		for i, l := range w.tenant.late {
			sooner(l.at, func() {
				w.tenant.late = slices.Delete(w.tenant.late, i, i+1)
				w.note("a late request is carried out")
				l.do()
			})
		}
		sooner(w.clockTill, func() {
			w.note("the clocks are right again")
			w.tenant.off, w.host.off, w.clockTill = 0, 0, time.Time{}
			w.wake, w.still = w.now, 0
		})
		sooner(w.stormTill, func() {
			w.tenant.weather, w.stormTill = ordinary(), time.Time{}
			w.wake, w.still = w.now, 0
		})
		if w.host.dead {
			sooner(w.host.downTill, func() { w.note("the host is up again"); w.host.boot() })
		} else {
			sooner(w.wake, func() { w.round(false) })
			sooner(w.checkAt(), func() { w.round(true) })
		}
		if !next.Before(until) {
			w.pass(until)
			return
		}
		w.pass(next)
		do()
	}
}

func (w *world) pass(at time.Time) {
	if at.After(w.now) {
		w.now, w.asked = at, 0
	}
}

// checkAt is when the next check happens: often while a rotation is open, and where
// nothing is open not before something is due, for then a check does nothing.
func (w *world) checkAt() time.Time {
	at := w.checked.Add(day)
	open := w.checked.Add(6 * time.Hour)
	if gap := w.patience(); gap > 0 {
		at, open = w.checked.Add(day+gap), w.checked.Add(6*time.Hour+gap)
	}
	var due, openAt time.Time
	for _, wakes := range w.host.store.wakes {
		for _, one := range wakes {
			switch one.Kind { //nolint:exhaustive // the others are looked for at each check
			case rotator.WakeOpen:
				openAt = open
			case rotator.WakeStart, rotator.WakeForget, rotator.WakeAlert:
				if due.IsZero() || one.At.Before(due) {
					due = one.At
				}
			}
		}
	}
	if due.IsZero() {
		return openAt
	}
	if due = due.Add(-w.host.off); due.Before(at) {
		if due = at; !openAt.IsZero() {
			due = openAt
		}
	}
	if !openAt.IsZero() && openAt.Before(due) {
		return openAt
	}
	return due
}

// round runs the program once.
func (w *world) round(check bool) {
	if w.host.dead {
		return
	}
	before := w.now
	if check {
		w.checked = w.now
	}
	w.automatic = true
	next := w.host.program.Round(context.Background(), check)
	w.automatic = false
	w.afterwards()
	w.wake = time.Time{}
	if !next.IsZero() {
		w.wake = next.Add(-w.host.off)
	}
	if now := w.phasesNow(); now == w.phases {
		w.still++
	} else {
		w.still, w.phases = 0, now
	}
	if gap := w.patience(); gap > 0 && !w.wake.IsZero() && w.wake.Before(w.now.Add(gap)) {
		w.wake = w.now.Add(gap)
	}
	if w.wake.IsZero() || w.wake.After(before) {
		w.spins = 0
		return
	}
	if w.spins++; w.spins > 50 {
		w.breaks("the program spins: it is due again at once, 50 times")
	}
	w.wake = w.now.Add(time.Millisecond)
}

// patience is how much longer than it would the program may wait: the longer nothing
// changes, the less often it runs. A busy host is as slow.
func (w *world) patience() time.Duration {
	return max(0, min(time.Duration(w.still-8)*8*time.Hour, 20*day))
}

// phasesNow names what is open.
func (w *world) phasesNow() string {
	var b strings.Builder
	for _, a := range w.apps {
		one := w.host.store.apps[a.name]
		rot := w.host.store.rotations[one.Rotation]
		pending := len(one.Pending())
		b.WriteString(one.Rotation)
		b.WriteString(string(rot.Phase))
		b.WriteByte(byte('0' + pending))
	}
	return b.String()
}

// afterwards sees to a process that died.
func (w *world) afterwards() {
	if w.host.dead && !w.host.downTill.After(w.now) {
		w.host.downTill = w.now.Add(time.Minute)
	}
}

// describe prints a life for a person.
func (w *world) describe() string { return strings.Join(w.log, "\n") }
