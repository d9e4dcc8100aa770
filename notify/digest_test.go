package notify_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestU1MailAboutManyApps: of 32 rotations and one failure the mail is about the failure.
func TestU1MailAboutManyApps(t *testing.T) {
	var events []rotator.Event
	info := func(e *rotator.Event) { e.Severity = rotator.SeverityInfo }
	for i := range 32 {
		events = append(events, event(rotator.EventRotationStarted, fmt.Sprintf("app-%02d", i), info))
	}
	for i := range 32 {
		events = append(events, event(rotator.EventRotated, fmt.Sprintf("app-%02d", i), info))
	}
	events = append(events, event(rotator.EventExpiring, "late"), failed("broken"))
	m := message(events...)
	sender := &notify.SMTP{From: "rotate@contoso.example", To: []string{"ops@contoso.example"}, Templates: templates(t)}
	sender.Templates.Page = "https://rotate.contoso.example:9780/"
	text, html := bodies(t, sender, m)
	for name, body := range map[string]string{"text": text, "HTML": html} {
		first := strings.Index(body, "broken")
		warning, started := strings.Index(body, "late"), strings.Index(body, "app-00")
		if first < 0 || warning < first || started < warning {
			t.Errorf("%s: the failure is at %d, the warning at %d, the first start at %d", name, first, warning, started)
		}
		if n := strings.Count(body, "What to do"); n > 2 {
			t.Errorf("%s: %d events are shown in full, want the failure and the warning", name, n)
		}
		if !strings.Contains(body, "https://rotate.contoso.example:9780/apps/broken") {
			t.Errorf("%s: there is no link to the page of the app", name)
		}
		if !strings.Contains(body, "64 more") {
			t.Errorf("%s: the information is not collapsed", name)
		}
	}
	preview, err := sender.Preview(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range preview.Headers {
		if want := "[rotate] Critical: broken: rotation failed, and 65 more (" + m.At.Format("2006-01-02") + ")"; h.Name == "Subject" && h.Value != want {
			t.Errorf("Subject %q, want %q", h.Value, want)
		}
	}
}

// TestU1OnlyGoodNews: a mail that asks for nothing is short.
func TestU1OnlyGoodNews(t *testing.T) {
	var events []rotator.Event
	for i := range 10 {
		events = append(events, event(rotator.EventRecovered, fmt.Sprintf("app-%d", i), func(e *rotator.Event) { e.Severity = rotator.SeverityInfo }))
	}
	sender := &notify.SMTP{From: "rotate@contoso.example", To: []string{"ops@contoso.example"}, Templates: templates(t)}
	text, _ := bodies(t, sender, message(events...))
	if !strings.Contains(text, "7 more") || !strings.Contains(text, "app-9: Recovered") {
		t.Errorf("the mail:\n%s", text)
	}
}

// bodies returns the parts of a mail.
func bodies(t *testing.T, sender *notify.SMTP, m notify.Message) (text, html string) {
	t.Helper()
	preview, err := sender.Preview(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range preview.Parts {
		if p.Type == "text/html" {
			html = p.Text
		} else {
			text = p.Text
		}
	}
	return text, html
}
