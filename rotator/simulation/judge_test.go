package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// This file is the judge. It knows what people and the tenant did, what consumers hold
// and what Entra has; of the program it knows what anybody sees: its requests, its
// files, its answers and its alerts.

// inexact is what Entra's times, in whole seconds, may lack at both ends of a wait.
const inexact = 3 * time.Second

// gone judges an entry that has just left an app.
func (w *world) gone(r *registration, e *entry, by string) {
	if by != "rotate" {
		return
	}
	c := e.cert
	if c.foreign {
		if !c.told {
			w.breaks("the foreign certificate %s of %s was removed", c.name, w.nameOf(r))
		}
		return
	}
	if w.tenant.now().After(c.notAfter) || c.cut || r.has(c, w.now) != nil {
		return
	}
	for _, a := range w.apps {
		if a.reg != r || a.excuse != "" {
			continue
		}
		for _, one := range a.consumers {
			if one.holds == c && c.givenUp.IsZero() && !c.perhaps || one.holds == c && (one.readAt.IsZero() || w.now.Sub(one.changed) < one.gap-inexact) {
				w.breaks("%s is locked out: it uses %s, which was removed", one.name, c.name)
			} else if one.target != nil && one.target.cert == c && one.kind == rotator.DeliverFile {
				w.breaks("%s is locked out at its next start: its file is %s, which was removed", one.name, c.name)
			}
		}
	}
}

// cameBack notes that something else than rotate put a certificate on the app again.
func (w *world) cameBack(c *certificate) { c.back = w.now }

// lockedOut tells whether a consumer that follows its rule gets no token.
func (w *world) lockedOut(c *consumer) bool {
	now := w.tenant.now()
	return c.app.reg.has(c.holds, w.now) == nil || now.After(c.holds.notAfter)
}

// judgeDelivery judges a pair that is being brought to a consumer.
func (w *world) judgeDelivery(p rotator.Package, c *certificate) {
	a := w.app(p.App)
	if a.excuse != "" {
		return
	}
	switch {
	case !c.givenUp.IsZero() && w.now.Sub(c.givenUp) > 0:
		w.breaks("%s gets %s, which was given up as compromised", a.name, c.name)
	case a.reg.has(c, w.now) == nil && a.reg.has(c, w.now.Add(-w.tenant.weather.lag-time.Minute)) == nil:
		w.breaks("%s gets %s, which is not on the app", a.name, c.name)
	case w.tenant.now().After(c.notAfter):
		w.breaks("%s gets %s, which has expired", a.name, c.name)
	}
}

// judgeUpload judges a certificate that was just added.
func (w *world) judgeUpload(r *registration, c *certificate) {
	if w.tenant.now().After(c.notAfter) {
		w.breaks("%s was uploaded, which has expired by Entra's time", c.name)
	}
	if c.app != "" && c.app != w.nameOf(r) {
		w.breaks("%s was made for %s and uploaded to %s", c.name, c.app, w.nameOf(r))
	}
}

// judgeLimit judges how often is uploaded: two requests an hour that change something,
// and those that a person forces.
func (w *world) judgeLimit(r *registration) {
	for _, a := range w.apps {
		if a.reg != r {
			continue
		}
		a.uploads = append(a.uploads, w.now)
		recent := 0
		for _, at := range a.uploads {
			if w.now.Sub(at) < 50*time.Minute {
				recent++
			}
		}
		if recent > 3+a.forced && a.excuse == "" {
			w.breaks("%d uploads to %s within an hour", recent, a.name)
		}
	}
}

// judgePatch judges the exception: a list is replaced only where no pair that rotate
// has can sign.
func (w *world) judgePatch(r *registration, read []*entry) {
	for _, e := range r.list(w.now) {
		_, held := w.host.store.pairs[e.cert.thumbprint]
		old := e.added.Before(w.now.Add(-7 * time.Hour))
		if held && old && !e.cert.foreign && !e.cert.forgotten && slices.Contains(read, e) && w.tenant.now().Before(e.cert.notAfter) {
			w.breaks("the list of %s is PATCHed although %s can sign", w.nameOf(r), e.cert.name)
		}
	}
}

// hear judges what the program reports.
func (w *world) hear(e rotator.Event) {
	w.note("event %s: %s", e.Kind, e.Summary)
	if off := w.host.off - w.tenant.off; e.Kind == rotator.EventRotationStarted && w.automatic && off.Abs() > 15*time.Minute {
		w.breaks("a rotation of %s starts automatically while the clocks differ", e.App)
	}
	if e.Kind != rotator.EventRemoved || e.Old == nil {
		return
	}
	for _, a := range w.apps {
		for _, one := range a.reg.list(w.now) {
			c := one.cert
			if a.name == e.App && e.Summary != "" && containsWord(e.Summary, c.sha1) && c.back.IsZero() && w.tenant.now().Before(c.notAfter) {
				w.breaks("%s is called removed, and is on %s", c.name, a.name)
			}
		}
	}
}

func containsWord(text, word string) bool {
	for i := 0; i+len(word) <= len(text); i++ {
		if text[i:i+len(word)] == word {
			return true
		}
	}
	return false
}

// calm ends the storm: the tenant behaves, clocks are right, people do what they are
// asked to.
func (w *world) calm() {
	w.note("the storm is over")
	w.tenant.weather = weather{lag: 2 * time.Second}
	w.tenant.late = nil
	w.tenant.off, w.host.off, w.host.diskFull, w.host.dieIn = 0, 0, false, 0
	w.host.downTill, w.clockTill, w.stormTill = w.now, time.Time{}, time.Time{}
	for _, a := range w.apps {
		a.reg.longest = 0
	}
}

// judgeEnd lets a calm time pass in which people follow what they are told, and
// judges what is left.
func (w *world) judgeEnd() {
	w.calm()
	w.advance(day)
	ctx := context.Background()
	for i := range 30 {
		w.still = 0
		if len(w.broken) > 0 {
			return
		}
		p := w.host.program
		_, _ = p.Resume(ctx, "", true, "admin")
		for _, a := range w.apps {
			_, _ = p.Resume(ctx, a.name, false, "admin")
			w.person(a)
			if i%10 == 5 && w.needsPerson(a) {
				w.start(a, rotator.StartRequest{Force: true}) // what the alerts advise
			}
		}
		w.round(true)
		w.advance(2 * day)
	}
	for _, a := range w.apps {
		if a.tracked && a.excuse == "" {
			w.judgeApp(a)
		}
	}
}

// needsPerson reports whether somebody would do something about the app: it is in
// trouble, or a consumer gets no token.
func (w *world) needsPerson(a *app) bool {
	s, err := w.host.program.Status(context.Background(), a.name)
	if err != nil || len(s.Apps) != 1 {
		return false
	}
	return s.Apps[0].Trouble != nil || s.Apps[0].App.Hold != "" || slices.ContainsFunc(a.consumers, w.lockedOut)
}

// person is somebody who hands over and confirms what waits for it.
func (w *world) person(a *app) {
	ctx := context.Background()
	for _, c := range a.consumers {
		if c.kind != rotator.DeliverHandOff {
			continue
		}
		w.fetch(a, c)
		if c.fetched != nil {
			c.holds = c.fetched
		}
	}
	for _, c := range a.consumers {
		if !slices.ContainsFunc(a.consumers, func(o *consumer) bool { return o.byWord() && o.holds != c.holds }) {
			_, _ = w.host.program.Confirm(ctx, a.name, string(c.holds.thumbprint[:8]), "", "admin")
			return
		}
	}
}

// judgeApp judges one app after the calm.
func (w *world) judgeApp(a *app) {
	s, err := w.host.program.Status(context.Background(), a.name)
	if err != nil || len(s.Apps) != 1 {
		w.breaks("%s: no status: %v", a.name, err)
		return
	}
	one := s.Apps[0]
	now := w.tenant.now()
	dead := true // nothing that rotate has can sign
	for _, e := range a.reg.list(w.now) {
		_, held := w.host.store.pairs[e.cert.thumbprint]
		dead = dead && (!held || e.cert.foreign || now.After(e.cert.notAfter))
	}
	if dead && one.App.Mode == rotator.ModeSelf {
		return // only a person can go on, and the alert says so
	}
	for _, c := range a.consumers {
		byItself := c.kind == rotator.DeliverFile || c.kind == rotator.DeliverExec
		if byItself && w.lockedOut(c) {
			w.breaks("%s: %s is still locked out: it uses %s; phase %q, waiting %q, %s", a.name, c.name, c.holds.name, one.Phase, one.WaitingFor, troubleOf(&one))
		}
	}
	if one.Phase != "" && !one.Phase.IsEnd() && one.Rotation != nil && w.now.Sub(one.Rotation.StartedAt) > 55*day {
		w.breaks("%s: its rotation is stuck in %s for %s, waiting %q, %s", a.name, one.Phase, w.now.Sub(one.Rotation.StartedAt), one.WaitingFor, troubleOf(&one))
	}
	for _, e := range a.reg.list(w.now) {
		c := e.cert
		if c.foreign || now.After(c.notAfter) || !w.isOurs(c) {
			continue
		}
		if !w.isNamed(&one, c) {
			w.breaks("%s: %s is on the app and nothing names it", a.name, c.name)
		}
		if !c.givenUp.IsZero() && w.now.Sub(c.givenUp) > 50*day && c.back.IsZero() && !slices.ContainsFunc(one.App.Alerts, func(al rotator.Alert) bool { return al.Severity == rotator.SeverityCritical }) {
			w.breaks("%s: %s was given up and is still accepted, and no critical alert is open", a.name, c.name)
		}
	}
}

func troubleOf(s *rotator.AppStatus) string {
	if s.Trouble != nil {
		return s.Trouble.Message
	}
	return "no trouble; hold: " + s.App.Hold
}

func (w *world) isOurs(c *certificate) bool { return !c.foreign }

// isNamed reports whether status names a certificate.
func (w *world) isNamed(s *rotator.AppStatus, c *certificate) bool {
	list := slices.Clone(s.App.Former)
	for _, o := range s.App.Orphans {
		list = append(list, o.Credential)
	}
	for _, m := range s.App.Removals {
		if m.IsPending() {
			list = append(list, m.Credential)
		}
	}
	for _, one := range []*rotator.Credential{s.App.Current, s.App.Previous} {
		if one != nil {
			list = append(list, *one)
		}
	}
	if rot := s.Rotation; rot != nil && !rot.Phase.IsEnd() {
		list = append(append(list, rot.New), rot.Extra...)
		if rot.Old != nil {
			list = append(list, *rot.Old)
		}
	}
	return slices.ContainsFunc(list, func(o rotator.Credential) bool { return o.ThumbprintSHA256 == c.thumbprint })
}
