package rotator

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// foreignOf is a credential of others, as it is kept with the app.
func foreignOf(c FoundCredential) Foreign {
	return Foreign{Kind: c.Kind, KeyID: c.KeyID, DisplayName: c.DisplayName, NotAfter: c.NotAfter, Issuer: c.Issuer, Subject: c.Subject}
}

// IsFederated reports whether it is a federated credential.
func (f Foreign) IsFederated() bool { return f.Kind == FoundFederated }

// Federated are the federated credentials among those of others.
func (l *Listed) Federated() []Foreign {
	return slices.DeleteFunc(slices.Clone(l.Foreign), func(f Foreign) bool { return !f.IsFederated() })
}

// learnsFederated reports whether a reading tells something new about what is known
// of federated credentials at all.
func (l *Listed) learnsFederated(unknown string) bool {
	return l.FederatedUnknown != unknown || unknown == "" && !l.FederatedRead
}

// noteFederated keeps whether a reading showed them.
func (l *Listed) noteFederated(before *Listed, unknown string) {
	l.FederatedUnknown = unknown
	l.FederatedRead = unknown == "" || before != nil && before.FederatedRead
}

// keepFederated keeps it where a reading showed nothing of the app at all.
func (l *Listed) keepFederated(before *Listed) {
	if before != nil {
		l.FederatedRead, l.FederatedUnknown = before.FederatedRead, before.FederatedUnknown
	}
}

// listed is what a tenant's list showed of a tracked app. Where it does not show the
// federated credentials, the app is asked for its own: a list can fail because of
// another app's.
func (in *inspection) listed(ctx context.Context, app *App, found Registered) (reading, error) {
	got := reading{found: found.Credentials, federatedUnknown: found.FederatedUnknown}
	if got.federatedUnknown == "" || got.federatedUnknown == federatedForbidden || in.notEach {
		return got, nil
	}
	federated, err := in.r.settings().Entra.Federated(ctx, Access{Registration: app.registration()})
	if ctx.Err() != nil {
		return reading{}, ctx.Err()
	}
	if reason := reasonOf(err); err != nil && reason != ReasonOther && reason != ReasonAppNotFound {
		in.notEach = true // not because of this app: the others would wait for the same
	}
	got.found, got.federatedUnknown = append(got.found, federated...), FederatedUnknown(err)
	return got, nil
}

// federatedForbidden is why nobody here can read them.
const federatedForbidden = "not allowed to read them (Application.Read.All is enough)"

// FederatedUnknown says in few words why a reading did not show them.
func FederatedUnknown(err error) string {
	switch reason := reasonOf(err); {
	case err == nil:
		return ""
	case reason == ReasonForbidden:
		return federatedForbidden
	default:
		return "the last reading failed (" + string(reason) + ")"
	}
}

// federatedSummary tells of federated credentials that appeared, apart from those with
// a key: what they allow is another sentence.
func federatedSummary(app *App, appeared []Foreign) string {
	var who []string
	for _, f := range appeared[:min(len(appeared), namedAtMost)] {
		who = append(who, fmt.Sprintf("anyone who controls %s can sign in as this app without a key (%s)", f.Trusted(), shownName(f.DisplayName)))
	}
	what := "a federated credential"
	if len(appeared) > 1 {
		what = fmt.Sprintf("%d federated credentials", len(appeared))
	}
	text := fmt.Sprintf("app %s: %s that rotate did not make appeared on it: %s", app.Name, what, strings.Join(who, "; "))
	if more := len(appeared) - len(who); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// federatedNext is what to do about them.
const federatedNext = "if you did not add it, remove it in the Entra admin center now: App registrations, the app, Certificates & secrets, Federated credentials"

// Trusted is who may sign in with a federated credential: ISSUER/SUBJECT.
func (f Foreign) Trusted() string {
	return onOneLine(strings.TrimSuffix(f.Issuer, "/")) + "/" + onOneLine(f.Subject)
}

// onOneLine makes a text that somebody else chose fit to stand in a message without
// quotes. Issuers and subjects are longer than names, and their end matters.
func onOneLine(text string) string {
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:299]) + "…"
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// blueprintTaken is the refusal to take an agent identity blueprint for the app that
// has its unique name: applications and blueprints share these names.
func blueprintTaken(app string, found Found) *Failure {
	return fix(ReasonBlueprint, "choose another local name; nothing was changed",
		"app %s: the unique name %s belongs to the agent identity blueprint %s, client ID %s, which is not an app registration", app, found.UniqueName, shownName(found.DisplayName), found.ClientID)
}
