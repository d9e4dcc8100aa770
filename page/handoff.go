package page

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// handoff is what somebody at the consumer's side has to do, and what the person at
// this host types.
func (s *site) handoff(r *http.Request) (string, error) {
	a, status, err := s.statusOf(r)
	if err != nil {
		return "", err
	}
	now := time.Now()
	h, err := s.Source.HandOff(r.Context(), a.App.Name)
	switch {
	case err == nil:
	case a.WaitingFor == rotator.WaitingPerson: // no package, but a person confirms
		h = rotator.HandOff{App: a.App, Rotation: *a.Rotation, Credential: a.Rotation.New, Deadline: a.Deadline}
		if a.Phase == rotator.PhaseRollingBack && a.Rotation.Old != nil {
			h.Credential = *a.Rotation.Old
		}
	case errors.Is(err, rotator.ErrRefused), errors.Is(err, rotator.ErrNotFound):
		return document("Hand-off of "+a.App.Name, s.frame(&status.At, handOffHead(a, "calm", text("Nothing waits to be handed over.")))), nil
	default:
		return "", err
	}
	mood, lead := handOffLead(&h, now)
	return document("Hand-off of "+a.App.Name, s.frame(&status.At,
		handOffHead(a, mood, lead),
		section("pair", "The new key", handedPair(&h, s.TenantIDs[a.App.Tenant], now)),
		section("steps", "What to do", el("ol", class("steps"), s.handOffSteps(&h, err == nil))),
	)), nil
}

func handOffHead(a *rotator.AppStatus, mood string, lead node) node {
	return el("div", id("answer"), class("answer "+mood), attr{"data-live", ""},
		el("p", class("crumb"), el("a", href("/"), text("All apps")), text(" / "), appLink(a.App.Name)),
		el("h1", text("Hand-off of "), name(a.App.Name)), el("p", class("lead"), lead))
}

func handOffLead(h *rotator.HandOff, now time.Time) (mood string, lead node) {
	consumer := name(cmp.Or(h.App.HandOff.Consumer, "its consumer"))
	switch {
	case h.Confirmed:
		return "calm", text("Done: the consumer uses the new key.")
	case h.Deadline.IsZero():
		return "alarm", nodes{text("A new key waits to be brought to "), consumer, text(".")}
	case h.Deadline.Before(now):
		return "alarm", nodes{
			text("A new key waits to be brought to "), consumer, text(". That should have been done before "), date(h.Deadline),
			text("; the old certificate ends on "), date(h.Rotation.Old.NotAfter), text(" and is not removed before."),
		}
	}
	return "alarm", nodes{
		text("A new key waits to be brought to "), consumer, text(" by "), date(h.Deadline),
		text(", " + relative(h.Deadline, now) + "."),
	}
}

// handedPair is what the consumer asks for.
func handedPair(h *rotator.HandOff, tenantID string, now time.Time) node {
	var list nodes
	add := func(what string, value node) { list = append(list, el("div", el("dt", text(what)), el("dd", value))) }
	add("Thumbprint (SHA-1)", el("code", class("thumbprint"), text(h.Credential.ThumbprintSHA1)))
	add("Valid until", date(h.Credential.NotAfter))
	add("Application (client) ID", el("code", text(h.App.ClientID)))
	if tenantID != "" {
		add("Directory (tenant) ID", el("code", text(tenantID)))
	}
	if h.App.Owner != "" {
		add("Owner", name(h.App.Owner))
	}
	if h.Fetched != nil {
		add("Fetched", nodes{clock(h.Fetched.At), text(" by "), name(h.Fetched.By), text(", " + relative(h.Fetched.At, now))})
	}
	return el("dl", class("pairs"), list)
}

// handOffSteps are those of the app, with its names put in. fetched tells that the
// pair is a package to be fetched.
func (s *site) handOffSteps(h *rotator.HandOff, packaged bool) nodes {
	var steps nodes
	add := func(parts ...node) { steps = append(steps, el("li", parts...)) }
	command := func(line string) node {
		return el("pre", el("code", text(line)))
	}
	file := h.App.Name + ".pfx"
	if packaged {
		add(text("Fetch the package on this host; its password is shown once:"), command("rotate handoff "+h.App.Name+" --out DIR"))
	}
	for _, d := range h.App.Deliveries {
		if d.Kind == rotator.DeliverFile {
			file = d.Path
		}
	}
	confirm := "rotate confirm " + h.App.Name
	put := strings.NewReplacer("{app}", h.App.Name, "{file}", file, "{client_id}", string(h.App.ClientID),
		"{tenant_id}", cmp.Or(s.TenantIDs[h.App.Tenant], h.App.Tenant))
	list := h.App.HandOff.Steps
	if len(list) == 0 {
		list = s.Steps
	}
	confirms := false
	for _, step := range list {
		if before, _, ok := strings.Cut(step, "rotate confirm"); ok {
			confirms = true
			add(name(put.Replace(before)), command(confirm))
			continue
		}
		add(name(put.Replace(step)))
	}
	if !confirms {
		add(text("Confirm it on this host: "), command(confirm))
	}
	return steps
}
