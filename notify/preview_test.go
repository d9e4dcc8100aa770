package notify_test

import (
	"context"
	"encoding/json"
	"net/http"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/notify"
)

// TestPreviewIsSent compares what is shown with what servers and programs really get.
func TestPreviewIsSent(t *testing.T) {
	m := message(failed("contoso-sync"))
	for name, tt := range map[string]struct {
		of      func(*webServer) notify.Sender
		preview func() (notify.Preview, error)
	}{
		"webhook": {
			func(s *webServer) notify.Sender { return s.webhook(newSecret, oldSecret) },
			func() (notify.Preview, error) { return notify.PreviewWebhook(m, []string{"Authorization"}, 2) },
		},
		"teams": {teams, func() (notify.Preview, error) { return (&notify.Teams{}).Preview(m) }},
		"slack": {slack, func() (notify.Preview, error) { return (&notify.Slack{}).Preview(m) }},
	} {
		t.Run(name, func(t *testing.T) {
			server := serveWeb(t, nil)
			if _, err := tt.of(server).Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			got := server.taken()[0]
			shown, err := tt.preview()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(indented(t, got.body)), string(indented(t, []byte(shown.Parts[0].Text)))); diff != "" || len(shown.Parts) != 1 {
				t.Errorf("JSON (-sent +shown):\n%s", diff)
			}
			var names []string
			for _, h := range shown.Headers {
				names = append(names, http.CanonicalHeaderKey(h.Name))
				if sent := got.header.Get(h.Name); sent != h.Value && len(strings.Fields(sent)) != strings.Count(h.Value, "[not shown]") && !strings.Contains(h.Value, "[the second") && h.Value != "[not shown]" {
					t.Errorf("%s is shown as %q, sent as %q", h.Name, h.Value, sent)
				}
			}
			for name := range got.header {
				if !slices.Contains(names, name) && name != "Content-Length" && name != "Accept-Encoding" {
					t.Errorf("the header %s is sent and not shown", name)
				}
			}
			raw, err := json.Marshal(shown)
			if err != nil {
				t.Fatal(err)
			}
			noSecret(t, string(raw), nil, newSecret, oldSecret, apiToken, secretPath)
		})
	}
}

func TestPreviewOfMail(t *testing.T) {
	server := serveMail(t, false, nil)
	sender := server.sender(t)
	m := message(failed("contoso-Ünïcode 🔐"))
	if _, err := sender.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	shown, err := sender.Preview(m)
	if err != nil {
		t.Fatal(err)
	}
	raw := server.taken()[0].body
	sent, err := netmail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if len(shown.Headers) != len(sent.Header) {
		t.Errorf("%d headers are shown, %d sent: %v, %v", len(shown.Headers), len(sent.Header), shown.Headers, sent.Header)
	}
	for _, h := range shown.Headers {
		if h.Name == "Subject" && !strings.Contains(h.Value, "Ünïcode 🔐") {
			t.Errorf("the subject is shown as %q", h.Value)
		}
		if h.Name != "Subject" && h.Name != "Content-Type" && sent.Header.Get(h.Name) != h.Value {
			t.Errorf("%s is shown as %q, sent as %q", h.Name, h.Value, sent.Header.Get(h.Name))
		}
	}
	html := checkMail(t, raw, m)
	if len(shown.Parts) != 2 || shown.Parts[0].Type != "text/plain" || shown.Parts[1].Type != "text/html" {
		t.Fatalf("parts %v", shown.Parts)
	}
	if diff := cmp.Diff(strings.ReplaceAll(html, "\r\n", "\n"), shown.Parts[1].Text); diff != "" {
		t.Errorf("HTML (-sent +shown):\n%s", diff)
	}
	if e := m.Events[0]; !strings.Contains(shown.Parts[0].Text, e.Summary) || !strings.Contains(shown.Parts[0].Text, e.Next) {
		t.Errorf("the text is shown as %q", shown.Parts[0].Text)
	}
}

// sentMails is a mailbox that keeps what was sent; that Graph sends it as it is given
// is tested in graph.
type sentMails []notify.Mail

func (s *sentMails) SendMail(_ context.Context, m notify.Mail) (bool, error) {
	*s = append(*s, m)
	return false, nil
}

func TestPreviewOfOthers(t *testing.T) {
	var mails sentMails
	g := &notify.GraphMail{Mailbox: &mails, From: "adele.vance@contoso.onmicrosoft.com", To: []string{"admins@contoso.example", "ops@contoso.example"}, Templates: templates(t)}
	m := message(failed("contoso-sync"))
	if _, err := g.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	sent := mails[0]
	shown, err := g.Preview(m)
	want := notify.Preview{
		Headers: []notify.PreviewHeader{
			{Name: "From", Value: sent.From},
			{Name: "To", Value: strings.Join(sent.To, ", ")},
			{Name: "Subject", Value: sent.Subject},
			{Name: "Importance", Value: "high"},
		},
		Parts: []notify.PreviewPart{{Type: "text/html", Text: sent.HTML}},
	}
	if diff := cmp.Diff(want, shown); diff != "" || err != nil || !sent.Important {
		t.Errorf("Graph: %v (-sent +shown):\n%s", err, diff)
	}

	out := filepath.Join(t.TempDir(), "got")
	x := shell("cat >" + out)
	if _, err := x.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	shown, err = x.Preview(m)
	if err != nil || string(indented(t, raw)) != string(indented(t, []byte(shown.Parts[0].Text))) {
		t.Errorf("a program gets %s, shown is %v (%v)", raw, shown, err)
	}
}
