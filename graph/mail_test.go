package graph_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

const mailbox = "adele.vance@contoso.onmicrosoft.com"

func mail(to ...string) graph.Mail {
	return graph.Mail{From: mailbox, To: to, Subject: "[rotate] 🔐 test", HTML: "<p>a & b</p>", Important: true}
}

func TestSendMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		if err := w.tenant.Grant(w.admin.ClientID, "Mail.Send"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.client.SendMail(t.Context(), "contoso", mail("a@contoso.example", "b@contoso.example")); err != nil {
			t.Fatal(err)
		}
		sent := w.tenant.SentMails()
		if len(sent) != 1 {
			t.Fatalf("%d mails, want 1", len(sent))
		}
		s := sent[0]
		if !strings.EqualFold(s.From, mailbox) || !slices.Equal(s.To, []string{"a@contoso.example", "b@contoso.example"}) || s.Subject != "[rotate] 🔐 test" ||
			s.ContentType != "html" || s.Content != "<p>a & b</p>" || s.Importance != "high" || s.Saved {
			t.Errorf("sent %+v", s)
		}
		refused, err := w.client.SendMail(t.Context(), "contoso", mail("a@contoso.example", "nobody"))
		if f, ok := errors.AsType[*rotator.Failure](err); !ok || !refused || f.Class != rotator.ClassFix {
			t.Errorf("SendMail to nobody = %v, %v; want a recipient that is refused", refused, err)
		}
	})
}

// TestSendMailFails checks what each failure means, and that the mail is never
// sent again by itself.
func TestSendMailFails(t *testing.T) {
	tests := map[string]struct {
		from      string
		grant     bool
		fate      emulator.Fault
		class     rotator.Class
		ambiguous bool
		want      string
	}{
		"no permission": {mailbox, false, emulator.Fault{}, rotator.ClassFix, false, "tenant contoso: send mail: 403 Authorization_RequestDenied"},
		"no mailbox":    {"nobody@contoso.example", true, emulator.Fault{}, rotator.ClassFix, false, "404 ErrorInvalidUser"},
		"throttled":     {mailbox, true, emulator.Fault{Status: 429, RetryAfter: 90 * time.Second}, rotator.ClassWait, false, "429"},
		"unavailable":   {mailbox, true, emulator.Fault{Status: 503}, rotator.ClassWait, true, "503"},
		"lost answer":   {mailbox, true, emulator.Fault{LoseAnswer: true}, rotator.ClassRetry, true, "no answer from entra.test"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				w := newWorld(t, func(tenant *emulator.Tenant, _ *graph.Config) {
					tenant.Intercept = func(r emulator.Request) *emulator.Fault {
						if r.Method == http.MethodPost && strings.HasSuffix(r.Path, "/sendMail") {
							asked++
							return &test.fate
						}
						return nil
					}
				})
				if test.grant {
					if err := w.tenant.Grant(w.admin.ClientID, "Mail.Send"); err != nil {
						t.Fatal(err)
					}
				}
				m := mail("a@contoso.example")
				m.From = test.from
				_, err := w.client.SendMail(t.Context(), "contoso", m)
				f, ok := errors.AsType[*rotator.Failure](err)
				if !ok || f.Class != test.class || f.Ambiguous != test.ambiguous || f.RetryAfter != test.fate.RetryAfter || !strings.Contains(f.Message, test.want) {
					t.Errorf("SendMail = %+v; want class %s, ambiguous %v, %q", f, test.class, test.ambiguous, test.want)
				}
				if asked != 1 {
					t.Errorf("sent %d times, want once", asked)
				}
				if strings.Contains(fmt.Sprintf("%+v%s", f, w.log.String()), adminSecret) {
					t.Error("the secret is shown")
				}
			})
		})
	}
}

func TestMailToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := 0
		w := newWorld(t, func(tenant *emulator.Tenant, _ *graph.Config) {
			tenant.Intercept = func(r emulator.Request) *emulator.Fault {
				if r.IsToken() {
					tokens++
					if !strings.Contains(string(r.Body), "outlook.office365.com") {
						t.Errorf("the token is not asked for Exchange Online: %s", r.Body)
					}
				}
				return nil
			}
		})
		first, err := w.client.MailToken(t.Context(), "contoso")
		if err != nil || !strings.HasPrefix(first, "eyJ") {
			t.Fatalf("MailToken = %.10q, %v", first, err)
		}
		if again, err := w.client.MailToken(t.Context(), "contoso"); err != nil || again != first || tokens != 1 {
			t.Errorf("the second token is another one (%v), or was asked: %d requests", err, tokens)
		}
		if _, err := w.client.MailToken(t.Context(), "fabrikam"); !errors.Is(err, rotator.ErrNoTenant) {
			t.Errorf("MailToken of an unknown tenant = %v", err)
		}
	})
}
