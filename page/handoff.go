package page

import (
	"net/http"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// codeDigits is how much of a thumbprint a person types to confirm it.
const codeDigits = 8

// handoff is what somebody at the consumer's side has to do, and what the person at
// this host types.
func (s *site) handoff(r *http.Request) (string, error) {
	a, status, err := s.statusOf(r)
	if err != nil {
		return "", err
	}
	title := "Hand-off of " + a.App.Name
	head := func(mood string, lead ...node) node {
		return el("div", id("answer"), class("answer "+mood), attr{"data-live", ""},
			el("p", class("crumb"), el("a", href("/"), text("All apps")), text(" / "), appLink(a.App.Name)),
			el("h1", text("Hand-off of "), name(a.App.Name)), el("p", append([]node{class("lead")}, lead...)...))
	}
	if a.WaitingFor != rotator.WaitingPerson {
		return document(title, frame(&status.At, head("calm", text("Nobody has to do anything now.")))), nil
	}
	pair := &a.Rotation.New
	if a.Phase == rotator.PhaseRollingBack && a.Rotation.Old != nil {
		pair = a.Rotation.Old
	}
	code := string(pair.ThumbprintSHA256[:min(codeDigits, len(pair.ThumbprintSHA256))])
	deadline := nodes{text("There is no deadline: no certificate is about to end.")}
	if !a.Deadline.IsZero() {
		deadline = nodes{text("Until "), date(a.Deadline), text(" (" + relative(a.Deadline, time.Now()) + "), so that both certificates are accepted for the whole overlap.")}
	}
	return document(title, frame(&status.At,
		head("alarm", deadline),
		section("consumer", "At the consumer", el("ol", class("steps"), consumerSteps(a, pair))),
		section("host", "At this host", nodes{
			el("p", text("When the connection test there has passed with the new certificate:")),
			el("pre", attr{"tabindex", "0"}, attr{"aria-label", "Command"}, el("code", text("rotate confirm "+a.App.Name+" "+code))),
			el("p", text("The code is the beginning of the new certificate's SHA-256 thumbprint. Until it is typed, the old certificate stays.")),
		}),
	)), nil
}

func consumerSteps(a *rotator.AppStatus, pair *rotator.Credential) nodes {
	var steps nodes
	add := func(parts ...node) { steps = append(steps, el("li", parts...)) }
	for _, d := range a.App.Deliveries {
		if d.Kind == rotator.DeliverFile {
			add(text("Take the new key from "), el("code", name(d.Path)), text(" on this host."))
		}
	}
	add(text("Give it to the consumer in place of the old one. Client ID: "), el("code", text(a.App.ClientID)), text("."))
	add(text("Check that the consumer shows the thumbprint "), el("code", class("thumbprint"), text(pair.ThumbprintSHA1)), text(", valid until "), date(pair.NotAfter), text("."))
	add(text("Run the consumer's own connection test."))
	return steps
}
