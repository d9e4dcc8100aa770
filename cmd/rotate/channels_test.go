package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestSendersOf makes a sender of each kind, and says what is wrong with one without
// showing what is secret.
func TestSendersOf(t *testing.T) {
	const (
		secret    = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYq="
		webhook   = "https://hooks.contoso.example/T0KEN-in-the-path"
		badSecret = "whsec_dG9vLXNob3J0"
	)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("url", webhook+"\n")
	write("ftp", "ftp://hooks.contoso.example/T0KEN-in-the-path\n")
	write("secret", secret+"\n")
	write("bad", badSecret+"\n")
	write("password", "c0rrect\n")
	write("pem", "no certificate\n")
	write("lines", "a\nb\n")
	write("mail.html", "<p>\n{{apps}}")
	load := func(channel string) *config.Config {
		t.Helper()
		path := filepath.Join(dir, "config.yaml")
		text := "tenants:\n  - name: contoso\n    id: 11111111-2222-3333-4444-555555555555\n    identity: {managed_identity: {}}\n" +
			"notify:\n  channels:\n    - name: one\n      " + channel + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.LoadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	const addresses = "from: a@contoso.example, to: [b@contoso.example]"
	for name, tt := range map[string]struct{ channel, want string }{
		"smtp":              {"smtp: {host: smtp.contoso.example, username: a, password_file: password, " + addresses + "}", ""},
		"xoauth2":           {"smtp: {host: smtp.office365.com, auth: xoauth2, tenant: contoso, username: a, " + addresses + "}", ""},
		"graph_mail":        {"graph_mail: {tenant: contoso, " + addresses + "}", ""},
		"webhook":           {"webhook: {url_file: url, secret_file: secret, previous_secret_file: secret, headers: [{name: X-Token, value_file: password}]}", ""},
		"teams":             {"teams: {url_file: url}", ""},
		"slack":             {"slack: {url: \"" + webhook + "\"}", ""},
		"exec":              {"exec: {command: [/usr/local/bin/alert]}", ""},
		"no password file":  {"smtp: {host: h, username: a, password_file: nowhere, " + addresses + "}", "channel one: open " + dir + "/nowhere: no such file or directory"},
		"no authority":      {"smtp: {host: h, ca_file: pem, " + addresses + "}", "pem holds no certificate in PEM form"},
		"template":          {"smtp: {host: h, html_template: mail.html, " + addresses + "}", `mail.html:2: there is no field "apps"`},
		"url of a file":     {"slack: {url_file: ftp}", "/ftp: it must begin with https://"},
		"short secret":      {"webhook: {url_file: url, secret_file: bad}", "/bad: it is not \"whsec_\" and the base64 of 24 to 64 bytes"},
		"header with lines": {"webhook: {url_file: url, headers: [{name: X-Token, value_file: lines}]}", "header X-Token holds a line end"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := load(tt.channel)
			senders, err := sendersOf(cfg, nil)
			if tt.want == "" {
				if err != nil || senders["one"] == nil {
					t.Fatalf("sendersOf = %v, %v", senders, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(senders) > 0 {
				t.Fatalf("sendersOf = %v, %v; want %q", senders, err, tt.want)
			}
			for _, s := range []string{"T0KEN", secret, badSecret, "c0rrect"} {
				if strings.Contains(err.Error(), s) {
					t.Errorf("a secret is shown: %v", err)
				}
			}
			if name == "template" && !strings.Contains(checkTemplates(cfg).Error(), tt.want) {
				t.Error("config check does not say so")
			}
		})
	}
}

// TestU1DefaultFilter: where a channel says nothing, people get what asks for attention, and
// that it is over; programs get everything.
func TestU1DefaultFilter(t *testing.T) {
	started := rotator.Event{Kind: rotator.EventRotationStarted, Severity: rotator.SeverityInfo}
	for name, test := range map[string]struct {
		kind   config.ChannelKind
		filter config.Filter
		event  rotator.Event
		want   bool
	}{
		"mail, a start":           {config.ChannelSMTP, config.Filter{}, started, false},
		"Teams, a start":          {config.ChannelTeams, config.Filter{Apps: []string{"a"}}, started, false},
		"a webhook, a start":      {config.ChannelWebhook, config.Filter{}, started, true},
		"a program, a start":      {config.ChannelExec, config.Filter{}, started, true},
		"mail that asks for all":  {config.ChannelSMTP, config.Filter{Severity: "info"}, started, true},
		"mail that asks for kind": {config.ChannelGraphMail, config.Filter{Kinds: []string{"rotation_started"}}, started, true},
		"mail, a failure":         {config.ChannelSMTP, config.Filter{}, rotator.Event{Kind: rotator.EventRotationFailed, Severity: rotator.SeverityWarning}, true},
		"mail, the end of it":     {config.ChannelSMTP, config.Filter{}, rotator.Event{Kind: rotator.EventRecovered, Severity: rotator.SeverityInfo}, true},
		"mail, a hand-off":        {config.ChannelSMTP, config.Filter{}, rotator.Event{Kind: rotator.EventHandOffReady, Severity: rotator.SeverityWarning}, true},
	} {
		if got := filterOf(test.kind, test.filter).Wants(test.event); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
