package page

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// historyShown bounds the history on an app's page.
const historyShown = 20

// statusOf reads the app that an address names.
func (s *site) statusOf(r *http.Request) (*rotator.AppStatus, *rotator.Status, error) {
	status, err := s.Source.Status(r.Context(), r.PathValue("name"))
	if err != nil {
		return nil, nil, err
	}
	if len(status.Apps) != 1 {
		return nil, nil, rotator.ErrNotFound
	}
	return &status.Apps[0], &status, nil
}

// app is everything about one.
func (s *site) app(r *http.Request) (string, error) {
	a, status, err := s.statusOf(r)
	if err != nil {
		return "", err
	}
	past, err := s.Source.History(r.Context(), a.App.Name, historyShown)
	if err != nil {
		return "", err
	}
	now := time.Now()
	summary := rowOf(a, now)
	return document(a.App.Name, s.frame(&status.At,
		el("div", id("answer"), class("answer "+appMood(a)), attr{"data-live", ""},
			el("p", class("crumb"), el("a", href("/"), text("All apps"))),
			el("h1", name(a.App.Name)),
			el("p", class("lead"), sentence(a, now)),
			next(a)),
		el("div", id("picture"), class("picture"), attr{"data-live", ""}, single(&summary, now)),
		section("rotation", "Rotation", running(a, now)),
		section("alerts", "Open alerts", openAlerts(a)),
		section("certificates", "Certificates", certificates(a, now)),
		section("foreign", "Not ours, on the same app", foreign(a, now)),
		section("deliveries", "Deliveries", deliveries(a)),
		section("connection", "Connection test", tested(a)),
		section("policy", "When, and why then", arithmetic(a)),
		section("history", "History", history(past)),
		section("about", "About this app", about(a)),
	)), nil
}

func appMood(a *rotator.AppStatus) string {
	if a.Attention {
		return "alarm"
	}
	return "calm"
}

// section is a part of an app's page; nothing at all if it has no content.
func section(key, title string, content node) node {
	if content == nil {
		return nil
	}
	return el("section", id(key), attr{"data-live", ""}, attr{"aria-labelledby", key + "-title"},
		el("h2", id(key+"-title"), text(title)), content)
}

// single is the timeline of one app.
func single(r *row, now time.Time) node {
	x := newAxis(now)
	return el("figure", x.scale(), x.draw(r), el("figcaption", el("span", class("hidden"), text(x.words(r))), legend()))
}

// sentence says how the app is.
func sentence(a *rotator.AppStatus, now time.Time) node {
	if why := reason(a, now); why != "" {
		return name(capital(why) + ".")
	}
	r := rowOf(a, now)
	switch {
	case a.NotAfter.IsZero():
		return text("It has no certificate yet.")
	case a.Open:
		return nodes{text("Its certificate is being replaced. The one in service is valid until "), date(a.NotAfter), text(".")}
	}
	return nodes{text("Safe until "), date(a.NotAfter), text(", " + distance(now, a.NotAfter) + " from now. Its renewal " + renewal(&r, now) + ".")}
}

// next is what a person should do.
func next(a *rotator.AppStatus) node {
	var list nodes
	add := func(parts ...node) { list = append(list, el("li", parts...)) }
	if a.WaitingFor == rotator.WaitingPerson {
		add(el("a", href("/apps/"+url.PathEscape(a.App.Name)+"/handoff"), text("What the consumer's side has to do")))
	}
	if t := a.Trouble; t != nil && t.Next != "" {
		add(text("Next: "), name(t.Next))
	}
	for _, w := range a.Warnings {
		add(name(capital(w)))
	}
	if list == nil {
		return nil
	}
	return el("ul", class("notices"), attr{"aria-label", "Notices"}, list)
}

// table has a heading for each column; labels name the cells on narrow screens.
func table(label string, heads []string, rows [][]node) node {
	var top, lines nodes
	for _, h := range heads {
		top = append(top, el("th", attr{"scope", "col"}, attr{"role", "columnheader"}, text(h)))
	}
	for _, cells := range rows {
		var line nodes
		for i, c := range cells {
			if i == 0 {
				line = append(line, el("th", attr{"scope", "row"}, attr{"role", "rowheader"}, c))
				continue
			}
			line = append(line, el("td", attr{"role", "cell"}, el("span", class("label"), text(heads[i]+" ")), c))
		}
		lines = append(lines, el("tr", attr{"role", "row"}, line))
	}
	return el("table", class("facts"), attr{"role", "table"}, attr{"aria-label", label},
		el("thead", attr{"role", "rowgroup"}, el("tr", attr{"role", "row"}, top)),
		el("tbody", attr{"role", "rowgroup"}, lines))
}

// certificates are those of ours that Entra has, had, or is about to have.
func certificates(a *rotator.AppStatus, now time.Time) node {
	var rows [][]node
	add := func(what string, c *rotator.Credential, more string) {
		key := text("not known")
		if c.KeyID != "" {
			key = text(c.KeyID)
		}
		rows = append(rows, []node{
			nodes{text(what), el("span", class("in"), text(more))},
			el("code", class("thumbprint"), text(c.ThumbprintSHA1)),
			instant(c.NotBefore, shortLayout),
			nodes{instant(c.NotAfter, shortLayout), el("span", class("in"), text(relative(c.NotAfter, now)))},
			el("code", key),
		})
	}
	seen := map[rotator.Thumbprint]bool{}
	once := func(what string, c *rotator.Credential, more string) {
		if c != nil && !seen[c.ThumbprintSHA256] {
			seen[c.ThumbprintSHA256] = true
			add(what, c, more)
		}
	}
	once("In service", a.App.Current, "")
	if a.Open {
		once("Next", &a.Rotation.New, "being introduced")
	}
	for i := range a.App.Orphans {
		once("Left behind", &a.App.Orphans[i].Credential, a.App.Orphans[i].Reason)
	}
	replaced := func(c *rotator.Credential, listed string) string {
		switch {
		case !c.RemovedAt.IsZero():
			return "removed from Entra, confirmed " + relative(c.RemovedAt, now)
		case !c.RemovalSentAt.IsZero():
			return removal(c, now)
		}
		return listed
	}
	if a.Open && a.Rotation.Old != nil {
		once("Previous", a.Rotation.Old, replaced(a.Rotation.Old, "accepted until it is retired"))
	}
	if p := a.App.Previous; p != nil {
		once("Previous", p, replaced(p, "replaced"))
	}
	for i := range a.App.Former {
		once("Former", &a.App.Former[i], replaced(&a.App.Former[i], "replaced"))
	}
	if rows == nil {
		return el("p", text("The app has no certificate of ours yet."))
	}
	return table("Certificates", []string{"Certificate", "Thumbprint (SHA-1)", "Valid from", "Valid until", "Key ID"}, rows)
}

// foreign are credentials on the app that rotate did not make and does not touch.
func foreign(a *rotator.AppStatus, now time.Time) node {
	listed := a.App.Listed
	switch {
	case listed == nil:
		return el("p", text("Not looked at yet: the daemon looks once a day where an identity may list the tenant."))
	case len(listed.Foreign) == 0 && federatedKnown(listed) == nil:
		return el("p", text("Nothing: no certificate, no secret and no federated credential of others was there at the last look."))
	case len(listed.Foreign) == 0:
		return nodes{el("p", text("No certificate and no secret of others was there at the last look.")), federatedKnown(listed)}
	}
	var rows [][]node
	for _, f := range listed.Foreign {
		called := node(text("without a name"))
		if f.DisplayName != "" {
			called = name(f.DisplayName)
		}
		until, kind := node(text("not known")), node(text(f.Kind))
		switch {
		case f.IsFederated():
			until = text("does not expire")
			kind = nodes{text("federated: anyone who controls "), name(f.Trusted()), text(" can sign in as this app without a key")}
		case !f.NotAfter.IsZero():
			until = nodes{instant(f.NotAfter, shortLayout), el("span", class("in"), text(relative(f.NotAfter, now)))}
		}
		rows = append(rows, []node{called, kind, until, el("code", text(f.KeyID))})
	}
	return nodes{table("Credentials of others", []string{"Name", "Kind", "Valid until", "Key ID"}, rows), federatedKnown(listed)}
}

// federatedKnown says why federated credentials may be missing; nil: they are not.
func federatedKnown(l *rotator.Listed) node {
	switch {
	case l.FederatedUnknown != "":
		return el("p", text("Federated credentials: not known: "+l.FederatedUnknown+"."))
	case !l.FederatedRead:
		return el("p", text("Federated credentials: not known: no inspection has read them yet."))
	}
	return nil
}

// deliveries are the places that get a new key, and how it went last.
func deliveries(a *rotator.AppStatus) node {
	if len(a.App.Deliveries) == 0 {
		return el("p", text("No delivery is set up: a new key stays in the store until somebody takes it."))
	}
	var last []rotator.DeliveryResult
	if a.Rotation != nil {
		last = a.Rotation.Deliveries
	}
	var rows [][]node
	for _, d := range a.App.Deliveries {
		result := node(text("not yet"))
		when := node(text("–"))
		holds := node(text("–"))
		if i := slices.IndexFunc(last, func(r rotator.DeliveryResult) bool { return r.Name == d.Name() }); i >= 0 {
			r := last[i]
			when = instant(r.At, minuteLayout)
			switch {
			case r.Error != "":
				result = el("span", class("bad"), name(r.Error))
			case r.Thumbprint != "":
				result = text("delivered")
				holds = el("code", text(r.Thumbprint[:min(16, len(r.Thumbprint))]+"…"))
			}
		}
		rows = append(rows, []node{name(d.Name()), result, when, holds})
	}
	return table("Deliveries", []string{"Place", "Last result", "When", "Holds (SHA-256)"}, rows)
}

// tested is the last connection test.
func tested(a *rotator.AppStatus) node {
	again := nodes{text("Test it with "), el("code", text("rotate app test "+a.App.Name)), text(".")}
	if a.App.Tested == nil {
		return el("p", text("Not tested yet. "), again)
	}
	var rows [][]node
	for _, c := range a.App.Tested.Checks {
		result := node(text(c.Result))
		if c.Result == rotator.CheckFailed {
			result = el("strong", class("bad"), text(c.Result))
		}
		next := node(text("–"))
		if c.Next != "" {
			next = name(c.Next)
		}
		rows = append(rows, []node{name(c.Name), result, name(c.Fact), next})
	}
	return nodes{
		table("Connection test", []string{"Check", "Result", "Seen", "What to do"}, rows),
		el("p", class("after"), text("Tested "), clock(a.App.Tested.At), text(". "), again),
	}
}

// history lists rotations, newest first.
func history(past []rotator.Rotation) node {
	if len(past) == 0 {
		return el("p", text("No rotation yet."))
	}
	var rows [][]node
	for i := range past {
		r := &past[i]
		end := node(text("open"))
		took := ""
		if !r.EndedAt.IsZero() {
			end, took = text(strings.ReplaceAll(string(r.Phase), "_", " ")), span(r.EndedAt.Sub(r.StartedAt))
		}
		outcome := r.Outcome
		if outcome == "" && r.Phase == rotator.PhaseRetired {
			outcome = "the certificate was replaced"
		}
		rows = append(rows, []node{instant(r.StartedAt, minuteLayout), name(r.By), end, text(took), name(outcome), el("code", text(r.New.ThumbprintSHA1[:min(8, len(r.New.ThumbprintSHA1))]))})
	}
	return table("History", []string{"Started", "By", "Ended", "Took", "Outcome", "New"}, rows)
}

// about are the names and rules of an app.
func about(a *rotator.AppStatus) node {
	var list nodes
	add := func(what string, value node) { list = append(list, el("div", el("dt", text(what)), el("dd", value))) }
	addText := func(what, value string) {
		if value != "" {
			add(what, name(value))
		}
	}
	addText("Name in Entra", a.App.DisplayName)
	addText("Tenant", a.App.Tenant)
	addText("Cloud", a.Cloud)
	addText("Owner", a.App.Owner)
	addText("Tags", strings.Join(a.App.Tags, ", "))
	add("Application (client) ID", el("code", text(a.App.ClientID)))
	add("Object ID", el("code", text(a.App.ObjectID)))
	switch a.App.Mode {
	case rotator.ModeSelf:
		add("Mode", text("self: the app adds and removes its own certificate"))
	case rotator.ModeMonitor:
		add("Mode", text("monitor: it is only watched; nobody here holds its private key, and rotate replaces nothing"))
	case rotator.ModeManaged:
		add("Mode", text("managed: the tenant's identity changes its certificates"))
	}
	addText("Permissions", strings.Join(a.App.Permissions, ", "))
	addText("Probes", strings.Join(a.App.Probe, ", "))
	add("Tracked since", nodes{date(a.App.AddedAt), text(" by "), name(a.App.AddedBy)})
	return el("dl", class("pairs"), list)
}
