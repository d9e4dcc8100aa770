package emulator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/seed-f0abd057/rotate/emulator"
)

// testMail is the body of sendMail in the form of the documentation.
func testMail(to ...string) map[string]any {
	recipients := []any{}
	for _, a := range to {
		recipients = append(recipients, map[string]any{"emailAddress": map[string]any{"address": a}})
	}
	return map[string]any{
		"message": map[string]any{
			"subject": "test", "body": map[string]any{"contentType": "html", "content": "<p>x</p>"},
			"toRecipients": recipients, "importance": "high",
		},
		"saveToSentItems": false,
	}
}

func TestSendMail(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Permissions: []string{"Mail.Send", "User.Read.All"}})
	c := newClient(t, tenant).as(app)
	user := c.want(200, "GET", "users?$top=1", nil).values()[0]
	from, _ := user["mail"].(string)

	c.want(202, "POST", "users/"+from+"/sendMail", testMail("a@contoso.example", "b@contoso.example"))
	// The names of the metadata.
	small := testMail("a@contoso.example")
	c.want(202, "POST", "users/"+from+"/sendMail", map[string]any{"Message": small["message"]})
	want := []emulator.SentMail{
		{From: from, To: []string{"a@contoso.example", "b@contoso.example"}, Subject: "test", Content: "<p>x</p>", ContentType: "html", Importance: "high"},
		{From: from, To: []string{"a@contoso.example"}, Subject: "test", Content: "<p>x</p>", ContentType: "html", Importance: "high", Saved: true},
	}
	if diff := cmp.Diff(want, tenant.SentMails(), cmpopts.IgnoreFields(emulator.SentMail{}, "At")); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}

	with := func(name string, value any) map[string]any {
		m := testMail("a@contoso.example")
		if inner, ok := m["message"].(map[string]any); ok {
			inner[name] = value
		}
		return m
	}
	wrong, typed := with("from", map[string]any{"address": "a@contoso.example"}), with("body", map[string]any{"contentType": "markdown", "content": "x"})
	for name, tt := range map[string]struct {
		user   string
		body   map[string]any
		status int
		code   string
	}{
		"no such mailbox":    {"nobody@contoso.example", testMail("a@contoso.example"), 404, "ErrorInvalidUser"},
		"no recipient":       {from, testMail(), 400, "ErrorInvalidRecipients"},
		"not an address":     {from, testMail("a@contoso.example", "the team"), 400, "ErrorInvalidRecipients"},
		"no message":         {from, map[string]any{"saveToSentItems": false}, 400, "Request_BadRequest"},
		"unknown property":   {from, wrong, 400, "Request_BadRequest"},
		"unknown type":       {from, typed, 400, "Request_BadRequest"},
		"unknown parameter":  {from, map[string]any{"message": small["message"], "save": true}, 400, "Request_BadRequest"},
		"save is not a bool": {from, map[string]any{"message": small["message"], "saveToSentItems": "no"}, 400, "Request_BadRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.want(tt.status, "POST", "users/"+tt.user+"/sendMail", tt.body)
			if !strings.HasPrefix(a.code(), tt.code) {
				t.Errorf("code %q, want %q: %s", a.code(), tt.code, a.raw)
			}
		})
	}
	if n := len(tenant.SentMails()); n != 2 {
		t.Errorf("%d mails, want 2: one that was refused was sent", n)
	}
}

// TestOutlookToken: tokens for Exchange Online are given, and Graph refuses them.
func TestOutlookToken(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Permissions: []string{"User.Read.All"}})
	c := newClient(t, tenant)
	form := tokenForm(app.ClientID)
	form.Set("client_secret", app.Secrets[0].Text)
	form.Set("scope", "https://outlook.office365.com/.default")
	c.token = c.form(form).text("access_token")
	if c.token == "" {
		t.Fatal("no token")
	}
	if a := c.call("GET", "users", nil); a.status != 401 {
		t.Errorf("Graph took the token: %d", a.status)
	}
}
