package rotator

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// The guards' world: N is the new pair, O the one that it replaces, F an older one, in
// service before. A consumer t of each kind.
var guardsNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const (
	pairN = Thumbprint("nnnn")
	pairO = Thumbprint("oooo")
	pairF = Thumbprint("ffff")
)

func pairOf(t Thumbprint, from, to int) Credential {
	return Credential{ThumbprintSHA256: t, ThumbprintSHA1: strings.ToUpper(string(t)), KeyID: KeyID("id-" + t), NotBefore: daysFrom(from), NotAfter: daysFrom(to)}
}

func daysFrom(n int) time.Time { return guardsNow.Add(time.Duration(n) * day) }

// guarded is one case: what the records say, and what was seen.
type guarded struct {
	app    App
	rot    Rotation
	policy Policy
	seen   sighting
}

// delivered is an app whose new pair N lies in the file since ten days ago, in its
// overlap, and was seen there just now.
func delivered() *guarded {
	g := &guarded{policy: DefaultPolicy()}
	g.policy.ReloadWithin, g.policy.Overlap = day, 5*day
	o, n, f := pairOf(pairO, -300, 30), pairOf(pairN, -10, 355), pairOf(pairF, -600, 10)
	file := Delivery{Kind: DeliverFile, Path: "/srv/a.pfx"}
	old, next := o, n
	g.app = App{Name: "a", Current: &next, Previous: &old, Former: []Credential{f}, Deliveries: []Delivery{file}}
	g.app.Former[0].RemovedAt = daysFrom(-200)
	g.app.Consumers = []Consumer{{
		Name: file.Name(), Delivery: file, MayHold: []Thumbprint{pairO, pairN}, Got: pairN, GotAt: daysFrom(-10), File: "1",
	}}
	g.rot = Rotation{ID: "r", Phase: PhaseConfirmed, Old: &o, New: n, Reach: daysFrom(-10), PhaseAt: map[Phase]time.Time{
		PhaseUploaded: daysFrom(-10), PhaseProven: daysFrom(-10), PhaseDelivered: daysFrom(-10), PhaseConfirmed: daysFrom(-9),
	}}
	g.seen = sighting{
		at: guardsNow, accepted: []Thumbprint{pairN, pairO}, readable: true, listed: []Thumbprint{pairN, pairO},
		targets: map[string]Target{file.Name(): {pairN, "1"}},
	}
	return g
}

func (g *guarded) ledger() *ledger { return ledgerOf(&g.app, &g.rot, &g.policy, false) }

func (g *guarded) consumer() *Consumer { return &g.app.Consumers[0] }

// add makes a second consumer of a kind, which may hold what the first may.
func (g *guarded) add(kind string) *Consumer {
	d := Delivery{Kind: kind, Hook: "h"}
	name := d.Name()
	if kind == "" {
		name = "file /srv/before.pfx"
	} else {
		g.app.Deliveries = append(g.app.Deliveries, d)
	}
	g.app.Consumers = append(g.app.Consumers, Consumer{Name: name, Delivery: d, MayHold: []Thumbprint{pairO, pairN}})
	c := &g.app.Consumers[len(g.app.Consumers)-1]
	if kind == "" {
		c.Delivery = Delivery{}
	}
	return c
}

// giveUp marks a pair, wherever it is described.
func (g *guarded) giveUp(t Thumbprint, cut bool) {
	eachCopy(&Records{App: &g.app, Rotation: &g.rot}, t, func(c *Credential) { c.GivenUp, c.CutNow = true, cut })
}

// TestCanRemove has each condition of the guard, one at a time.
func TestCanRemove(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(g *guarded)
		e, o   Thumbprint // empty: O goes, N stays
		want   string     // why it may go, or a part of why not
	}{
		"every consumer uses the new one":       {func(*guarded) {}, "", "", removeReplaced},
		"it stays itself":                       {func(*guarded) {}, pairN, pairN, "not known beside"},
		"it is not known":                       {func(*guarded) {}, "else", "", "not known beside"},
		"what stays is not known":               {func(*guarded) {}, "", "else", "not known"},
		"Entra's time is not known":             {func(g *guarded) { g.seen.at = time.Time{} }, "", "", "time is not known"},
		"what stays has expired":                {func(g *guarded) { g.seen.at = daysFrom(400) }, "", "", "has expired"},
		"what stays leaves":                     {func(g *guarded) { g.app.Current.RemovalSentAt = daysFrom(-1) }, "", "", "removal of the certificate that stays"},
		"what stays was not accepted just now":  {func(g *guarded) { g.seen.accepted = nil }, "", "", "not accepted and listed"},
		"what stays is not listed":              {func(g *guarded) { g.seen.listed = []Thumbprint{pairO} }, "", "", "not accepted and listed"},
		"no list can be read":                   {func(g *guarded) { g.seen.readable, g.seen.listed = false, nil }, "", "", removeReplaced},
		"a target contains it":                  {func(g *guarded) { g.seen.targets["file /srv/a.pfx"] = Target{pairO, "2"} }, "", "", "contains it"},
		"the overlap has not passed":            {func(g *guarded) { g.consumer().GotAt = daysFrom(-5) }, "", "", "overlap"},
		"the reload has not passed":             {func(g *guarded) { g.consumer().GotAt = guardsNow.Add(-time.Hour) }, "", "", "time to be read"},
		"expired":                               {func(g *guarded) { g.seen.at = daysFrom(31); g.consumer().Got = "" }, "", "", removeExpired},
		"expired, but a target contains it":     {func(g *guarded) { g.seen.at = daysFrom(31); g.seen.targets["file /srv/a.pfx"] = Target{pairO, "2"} }, "", "", "contains it"},
		"nobody may hold it":                    {func(g *guarded) { g.consumer().MayHold = []Thumbprint{pairN}; g.consumer().Got = "" }, "", "", removeUnheld},
		"given up: no overlap":                  {func(g *guarded) { g.giveUp(pairO, false); g.consumer().GotAt = daysFrom(-2) }, "", "", removeReplaced},
		"given up: the reload all the same":     {func(g *guarded) { g.giveUp(pairO, false); g.consumer().GotAt = guardsNow.Add(-time.Hour) }, "", "", "time to be read"},
		"given up, at once":                     {func(g *guarded) { g.giveUp(pairO, true); g.consumer().Got = "" }, "", "", removeCut},
		"given up, at once, target contains it": {func(g *guarded) { g.giveUp(pairO, true); g.seen.targets["file /srv/a.pfx"] = Target{pairO, "2"} }, "", "", removeCut},
		"at once, but not proven": {func(g *guarded) {
			g.giveUp(pairO, true)
			g.app.Current, g.app.Previous = g.app.Previous, nil
			g.rot.PhaseAt, g.consumer().Got = map[Phase]time.Time{PhaseUploaded: daysFrom(-1)}, ""
		}, "", "", "not certain"},
		"without a consumer": {func(g *guarded) { g.app.NoConsumer, g.app.Consumers = true, nil }, "", "", removeReplaced},
		"consumers unknown":  {func(g *guarded) { g.app.Consumers = nil }, "", "", "no way to it"},
		"one of two is not confirmed": {func(g *guarded) {
			g.add(DeliverExec)
		}, "", "", "not certain that exec h"},
	}
	for name, test := range tests {
		g := delivered()
		test.change(g)
		if test.e == "" {
			test.e = pairO
		}
		if test.o == "" {
			test.o = pairN
		}
		p, r := g.ledger().canRemove(test.e, test.o, &g.seen)
		if got := p.because + r.text(); !strings.Contains(got, test.want) || p.because != "" && p.of != test.e {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// TestConfirmed has each kind of consumer.
func TestConfirmed(t *testing.T) {
	t.Parallel()
	file := func(change func(g *guarded, c *Consumer)) func(g *guarded) *Consumer {
		return func(g *guarded) *Consumer {
			change(g, g.consumer())
			return g.consumer()
		}
	}
	other := func(kind string, change func(g *guarded, c *Consumer)) func(g *guarded) *Consumer {
		return func(g *guarded) *Consumer {
			c := g.add(kind)
			change(g, c)
			return c
		}
	}
	name := "file /srv/a.pfx"
	tests := map[string]struct {
		of   func(g *guarded) *Consumer
		want time.Time // zero: it is not
	}{
		"file":                            {file(func(*guarded, *Consumer) {}), daysFrom(-9)},
		"file, not read now":              {file(func(g *guarded, _ *Consumer) { g.seen.targets = nil }), time.Time{}},
		"file, contains another":          {file(func(g *guarded, _ *Consumer) { g.seen.targets[name] = Target{pairO, "1"} }), time.Time{}},
		"file, not the very one":          {file(func(g *guarded, _ *Consumer) { g.seen.targets[name] = Target{pairN, "2"} }), time.Time{}},
		"file, the record of it was lost": {file(func(_ *guarded, c *Consumer) { c.Got = "" }), time.Time{}},
		"file, seen as anything else":     {file(func(_ *guarded, c *Consumer) { c.RestartAt = daysFrom(-3) }), daysFrom(-2)},
		"file, seen so, not dated":        {file(func(_ *guarded, c *Consumer) { c.Restart = true }), time.Time{}},
		"file, time to read":              {file(func(_ *guarded, c *Consumer) { c.GotAt = guardsNow.Add(-23 * time.Hour) }), time.Time{}},
		"hook":                            {other(DeliverExec, func(_ *guarded, c *Consumer) { c.Got, c.GotAt = pairN, daysFrom(-4) }), daysFrom(-3)},
		"hook, for another pair":          {other(DeliverExec, func(_ *guarded, c *Consumer) { c.Got, c.GotAt = pairO, daysFrom(-4) }), time.Time{}},
		"hook, time to read":              {other(DeliverExec, func(_ *guarded, c *Consumer) { c.Got, c.GotAt = pairN, guardsNow }), time.Time{}},
		"hook, rule command, not asked":   {other(DeliverExec, func(g *guarded, c *Consumer) { g.app.Confirm.Rule, c.Got = ConfirmCommand, pairN }), time.Time{}},
		"hook, rule command, exited 0": {other(DeliverExec, func(g *guarded, c *Consumer) {
			g.app.Confirm.Rule, g.seen.asked, c.Got, c.GotAt = ConfirmCommand, true, pairN, daysFrom(-4)
		}), daysFrom(-3)},
		"hand-off":                         {other(DeliverHandOff, func(_ *guarded, c *Consumer) { c.Said, c.SaidAt = pairN, daysFrom(-1) }), daysFrom(-1)},
		"hand-off, of another":             {other(DeliverHandOff, func(_ *guarded, c *Consumer) { c.Said, c.SaidAt = pairO, daysFrom(-1) }), time.Time{}},
		"hand-off, not dated":              {other(DeliverHandOff, func(_ *guarded, c *Consumer) { c.Said = pairN }), time.Time{}},
		"hand-off, another announced":      {other(DeliverHandOff, func(_ *guarded, c *Consumer) { c.Said, c.SaidAt = pairN, daysFrom(-1); c.announce(pairO) }), time.Time{}},
		"hand-off, the same fetched again": {other(DeliverHandOff, func(_ *guarded, c *Consumer) { c.Said, c.SaidAt = pairN, daysFrom(-1); c.announce(pairN) }), daysFrom(-1)},
		"bare":                             {other("", func(*guarded, *Consumer) {}), time.Time{}},
		"bare, confirmed":                  {other("", func(_ *guarded, c *Consumer) { c.Said, c.SaidAt = pairN, daysFrom(-1) }), daysFrom(-1)},
	}
	for what, test := range tests {
		g := delivered()
		c := test.of(g)
		at, r := g.ledger().confirmed(c, pairN, &g.seen)
		if !at.Equal(test.want) || (r == nil) == test.want.IsZero() {
			t.Errorf("%s: confirmed since %s (%s), want %s", what, at, r.text(), test.want)
		}
	}
}

// TestCanDeliver has each condition of the guard.
func TestCanDeliver(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(g *guarded)
		want   string
	}{
		"ready":      {func(*guarded) {}, ""},
		"given up":   {func(g *guarded) { g.giveUp(pairN, false) }, "given up"},
		"leaves":     {func(g *guarded) { g.app.Current.RemovalSentAt = guardsNow }, "removal was sent"},
		"refused":    {func(g *guarded) { g.seen.accepted = nil }, "not accepted"},
		"not listed": {func(g *guarded) { g.seen.listed = nil }, "not accepted"},
		"no list":    {func(g *guarded) { g.seen.readable, g.seen.listed = false, nil }, ""},
	}
	for name, test := range tests {
		g := delivered()
		test.change(g)
		if got := g.ledger().canDeliver(pairN, &g.seen).text(); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// TestWaysBack has each condition of the guard, and which of several pairs it is.
func TestWaysBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(g *guarded)
		want   []Thumbprint
		why    string
	}{
		"the previous one":     {func(*guarded) {}, []Thumbprint{pairO}, "was removed"},
		"given up":             {func(g *guarded) { g.giveUp(pairO, false) }, nil, "given up"},
		"removal sent":         {func(g *guarded) { g.app.Previous.RemovalSentAt = guardsNow }, nil, "removal was sent"},
		"removal begun":        {func(g *guarded) { g.rot.RemovalSentAt, g.rot.Removing = guardsNow, pairO }, nil, "removal was sent"},
		"begun, older version": {func(g *guarded) { g.rot.RemovalSentAt = guardsNow }, nil, "removal was sent"},
		"nobody may hold it":   {func(g *guarded) { g.consumer().MayHold = []Thumbprint{pairN} }, nil, "never delivered"},
		"it lives too short":   {func(g *guarded) { g.seen.at = daysFrom(20) }, nil, "ends"},
		"it has expired":       {func(g *guarded) { g.seen.at = daysFrom(31) }, nil, "ends"},
		"an older one, the newest first": {func(g *guarded) {
			g.app.Former[0].RemovedAt, g.app.Former[0].NotAfter = time.Time{}, daysFrom(100)
			g.consumer().MayHold = append(g.consumer().MayHold, pairF)
		}, []Thumbprint{pairO, pairF}, ""},
		"past a given-up one to an older one": {func(g *guarded) {
			g.giveUp(pairO, false)
			g.app.Former[0].RemovedAt, g.app.Former[0].NotAfter = time.Time{}, daysFrom(100)
			g.consumer().MayHold = append(g.consumer().MayHold, pairF)
		}, []Thumbprint{pairF}, "given up"},
	}
	for name, test := range tests {
		g := delivered()
		test.change(g)
		list, why := g.ledger().waysBack(pairN, g.seen.at)
		var got []Thumbprint
		for _, e := range list {
			got = append(got, e.ThumbprintSHA256)
		}
		if !slices.Equal(got, test.want) || !strings.Contains(why, test.why) {
			t.Errorf("%s: %v (%s), want %v (%s)", name, got, why, test.want, test.why)
		}
	}
}

// TestNeverConfirmed: a rotation is over unconfirmed only when nothing else is valid that
// a consumer may hold, whichever rotation it came from.
func TestNeverConfirmed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(g *guarded)
		want   bool
	}{
		"the old one is valid":   {func(*guarded) {}, false},
		"the old one expired":    {func(g *guarded) { g.seen.at = daysFrom(30) }, true},
		"an older one is valid":  {func(g *guarded) { g.seen.at = daysFrom(30); g.valid(pairF); g.consumer().mayHold(pairF) }, false},
		"valid, and nobody's":    {func(g *guarded) { g.seen.at = daysFrom(30); g.valid(pairF) }, true},
		"valid, and was removed": {func(g *guarded) { g.seen.at = daysFrom(30); g.consumer().mayHold(pairF) }, true},
	}
	for name, test := range tests {
		g := delivered()
		test.change(g)
		if got := g.ledger().neverConfirmed(pairN, g.seen.at); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// valid makes an older pair one that is still on the app.
func (g *guarded) valid(t Thumbprint) {
	eachCopy(&Records{App: &g.app}, t, func(c *Credential) { c.RemovedAt, c.NotAfter = time.Time{}, daysFrom(100) })
}

// TestLedger: each certificate is there once, with what any copy of it knows.
func TestLedger(t *testing.T) {
	t.Parallel()
	g := delivered()
	g.rot.Old.GivenUp = true                 // one copy knows
	g.app.Previous.RemovalSentAt = guardsNow // another knows something else
	g.app.Previous.KeyID, g.app.Previous.KeyIDByHand = "typed", true
	g.rot.Extra = []Credential{g.app.Former[0]}
	l := g.ledger()
	if len(l.list) != 3 {
		t.Fatalf("%d certificates, want 3", len(l.list))
	}
	o := l.entry(pairO)
	if !o.GivenUp || o.RemovalSentAt.IsZero() || o.KeyID != "id-oooo" || o.KeyIDByHand {
		t.Errorf("the old one is %+v", o)
	}
	if l.list[0].ThumbprintSHA256 != pairF || l.list[2].role != roleCurrent {
		t.Errorf("the order is %s, …, %s (%s)", l.list[0].ThumbprintSHA256, l.list[2].ThumbprintSHA256, l.list[2].role)
	}
	if left := l.others(pairN); len(left) != 0 {
		t.Errorf("%d are left to be removed, want none: the removal of one was sent, the other was removed", len(left))
	}
}

// TestKeepConsumers follows a list of consumers through edits of the deliveries.
func TestKeepConsumers(t *testing.T) {
	t.Parallel()
	g := delivered()
	g.app.Consumers = nil
	keepConsumers(&g.app, &g.rot)
	c := g.app.Consumers
	if len(c) != 1 || !slices.Equal(c[0].MayHold, []Thumbprint{pairF, pairO, pairN}) || c[0].Got != "" || !c[0].Restart {
		t.Fatalf("the first list is %+v; want one that may hold everything, unconfirmed", c)
	}
	g = delivered()
	keepConsumers(&g.app, &g.rot)
	if c := g.consumer(); len(g.app.Consumers) != 1 || c.Got != pairN || c.Restart {
		t.Errorf("without an edit it is %+v", c)
	}
	g.app.Deliveries = []Delivery{{Kind: DeliverFile, Path: "/srv/b.pfx"}} // another place
	keepConsumers(&g.app, &g.rot)
	if c := g.app.Consumers; len(c) != 2 || c[0].Delivery.Kind != "" || c[0].Got != "" || c[1].Got != "" || !c[1].Restart ||
		!slices.Equal(c[1].MayHold, []Thumbprint{pairO, pairN}) {
		t.Errorf("moved: %+v; want the one before without a way, the new one unconfirmed", c)
	}
	g = delivered()
	g.app.Deliveries[0].PasswordPath = "/srv/a.password"
	keepConsumers(&g.app, &g.rot)
	if c := g.consumer(); len(g.app.Consumers) != 1 || c.Got != "" || !c.Restart {
		t.Errorf("changed: %+v, want it unconfirmed", c)
	}
	g.app.NoConsumer, g.app.Deliveries = true, nil
	keepConsumers(&g.app, &g.rot)
	if g.app.Consumers != nil {
		t.Errorf("a person said that there is none: %+v", g.app.Consumers)
	}
}
