package graph_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// These tests put notify.GraphMail and the client together. They are here and not in
// notify so that the tests of notify need not link the Graph SDK.

// box is a mailbox of a tenant, as the program puts it together.
type box struct{ client *graph.Client }

func (b box) SendMail(ctx context.Context, m notify.Mail) (bool, error) {
	return b.client.SendMail(ctx, "contoso", graph.Mail{From: m.From, To: m.To, Subject: m.Subject, HTML: m.HTML, Important: m.Important})
}

const clientSecret = "S3cret~of.the-identity"

// graphMail returns a tenant and a sender of a mailbox in it.
func graphMail(t *testing.T, fate func(emulator.Request) *emulator.Fault, permissions ...string) (*emulator.Tenant, *notify.GraphMail) {
	t.Helper()
	tenant := &emulator.Tenant{Unknown: func(r emulator.Request) { t.Errorf("unknown request %s %s", r.Method, r.Path) }, Intercept: fate}
	app, err := tenant.AddApplication(emulator.Application{Name: "alerts", Permissions: permissions, Secrets: []emulator.Secret{{Text: clientSecret}}})
	if err != nil {
		t.Fatal(err)
	}
	const entra = "https://entra.test:8443"
	client, err := graph.New(graph.Config{Tenants: []graph.Tenant{{
		Name: "contoso", ID: tenant.TenantID(), Cloud: graph.Cloud{Login: entra, Graph: entra, Transport: tenant.Transport()},
		Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
			ClientID: rotator.ClientID(app.ClientID), Secret: func() (string, error) { return clientSecret, nil },
		}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	templates, err := notify.LoadMailTemplates("", "")
	if err != nil {
		t.Fatal(err)
	}
	return tenant, &notify.GraphMail{
		Mailbox: box{client}, From: mailbox,
		To: []string{"admins@contoso.example", "ops@contoso.example"}, Templates: templates,
	}
}

// alert is a message of one critical alert about the app, and of the events given.
func alert(app string, more ...rotator.Event) notify.Message {
	at := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	events := append([]rotator.Event{{
		ID: "0198c1de-0000-7000-8000-000000000001", Kind: rotator.EventRotationFailed, Severity: rotator.SeverityCritical, App: app,
		Tenant: "contoso", At: at, Summary: "Adding the new certificate failed: graph: 403.", Next: "Ask an administrator.",
	}}, more...)
	return notify.Message{ID: "0198c1de-aaaa-7000-8000-00000000000a", At: at.Add(5 * time.Second), Events: events}
}

// noClientSecret looks for the identity's secret in everything that an answer and an
// error can show.
func noClientSecret(t *testing.T, answer string, err error) {
	t.Helper()
	shown := answer
	for e := err; e != nil; e = errors.Unwrap(e) {
		shown += fmt.Sprintf("\n%v\n%+v\n%#v", e, e, e)
	}
	for _, form := range []string{
		clientSecret, url.QueryEscape(clientSecret), url.PathEscape(clientSecret), strings.ToLower(clientSecret),
		base64.StdEncoding.EncodeToString([]byte(clientSecret)), base64.RawURLEncoding.EncodeToString([]byte(clientSecret)),
	} {
		if strings.Contains(shown, form) {
			t.Errorf("the client secret is shown: %s", shown)
			return
		}
	}
}

func TestGraphMail(t *testing.T) {
	tenant, g := graphMail(t, nil, "Mail.Send")
	m := alert("contoso\r\nBcc: thief@evil.example\r\n\r\n<script>alert(1)</script> 🔐 Ünïcode", rotator.Event{
		ID: "0198c1de-0000-7000-8000-000000000002", Kind: rotator.EventExpiring, Severity: rotator.SeverityWarning, App: "fabrikam-mail",
		Tenant: "contoso", At: time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC), Summary: "The certificate of fabrikam-mail ends in 7 days.",
	})
	if answer, err := g.Send(t.Context(), m); err != nil || answer != "202 Accepted" {
		t.Fatalf("Send = %q, %v", answer, err)
	}
	mails := tenant.SentMails()
	if len(mails) != 1 || !slices.Equal(mails[0].To, g.To) || mails[0].Importance != "high" || strings.Contains(mails[0].Content, "<script>") ||
		!strings.HasPrefix(mails[0].Subject, "[rotate] Critical: contoso") || !strings.HasSuffix(mails[0].Subject, "and 1 more (2026-11-26)") || !strings.Contains(mails[0].Content, "fabrikam-mail") {
		t.Errorf("sent %+v", mails)
	}
}

// TestGraphMailRecipients: one of three that is refused does not keep the others from
// getting the mail.
func TestGraphMailRecipients(t *testing.T) {
	tenant, g := graphMail(t, nil, "Mail.Send")
	g.To = []string{"one@contoso.example", "two", "three@contoso.example"}
	_, err := g.Send(t.Context(), alert("x"))
	e, ok := errors.AsType[*notify.Error](err)
	if !ok || !slices.Equal(e.Refused, []string{"two"}) {
		t.Fatalf("Send = %v; want two refused", err)
	}
	var to []string
	for _, m := range tenant.SentMails() {
		to = append(to, m.To...)
	}
	if !slices.Equal(to, []string{"one@contoso.example", "three@contoso.example"}) {
		t.Errorf("sent to %v", to)
	}
	g.To = []string{"one", "two"}
	if _, err := g.Send(t.Context(), alert("x")); err == nil || notify.Temporary(err) {
		t.Errorf("Send to nobody = %v", err)
	}
}

func TestGraphMailFaults(t *testing.T) {
	fault := func(f emulator.Fault) func(emulator.Request) *emulator.Fault {
		return func(r emulator.Request) *emulator.Fault {
			if strings.HasSuffix(r.Path, "/sendMail") {
				return &f
			}
			return nil
		}
	}
	for name, tt := range map[string]struct {
		fate        func(emulator.Request) *emulator.Fault
		permissions []string
		temporary   bool
		retryAfter  time.Duration
		want        string
	}{
		"no permission": {nil, nil, false, 0, "grant the identity of tenant \"contoso\" the application permission Mail.Send"},
		"throttled":     {fault(emulator.Fault{Status: 429, RetryAfter: 90 * time.Second}), []string{"Mail.Send"}, true, 90 * time.Second, "429"},
		"unavailable":   {fault(emulator.Fault{Status: 503}), []string{"Mail.Send"}, true, 0, "503"},
		"lost answer":   {fault(emulator.Fault{LoseAnswer: true}), []string{"Mail.Send"}, true, 0, "no answer"},
		"wrong secret": {func(r emulator.Request) *emulator.Fault {
			if r.IsToken() {
				return &emulator.Fault{AADSTS: 7000215, Message: "Invalid client secret provided: " + clientSecret}
			}
			return nil
		}, []string{"Mail.Send"}, false, 0, "AADSTS7000215"},
	} {
		t.Run(name, func(t *testing.T) {
			_, g := graphMail(t, tt.fate, tt.permissions...)
			answer, err := g.Send(t.Context(), alert("x"))
			if err == nil || notify.Temporary(err) != tt.temporary || notify.RetryAfter(err) != tt.retryAfter || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Send = %v; want %q, temporary %v after %v", err, tt.want, tt.temporary, tt.retryAfter)
			}
			noClientSecret(t, answer, err)
		})
	}
}
