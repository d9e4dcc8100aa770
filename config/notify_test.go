package config_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// channels returns a configuration with a tenant and these channels.
func channels(lines string) string {
	return "tenants: [{name: contoso, id: " + guid + "}]\nnotify:\n  channels:\n" + lines
}

func TestNotifyRefuses(t *testing.T) {
	const hook = "exec: {command: [/bin/page]}"
	for name, test := range map[string]struct{ text, want string }{
		"twice":             {channels("  - {name: a, " + hook + "}\n  - {name: a, " + hook + "}\n"), "notify.channels[1].name"},
		"log":               {channels("  - {name: log, " + hook + "}\n"), "take another name"},
		"no name":           {channels("  - {" + hook + "}\n"), "notify.channels[0].name"},
		"leads nowhere":     {channels("  - {name: a}\n"), "leads nowhere"},
		"own fallback":      {channels("  - {name: a, fallback: a, " + hook + "}\n"), "is the channel itself"},
		"unknown fallback":  {channels("  - {name: a, fallback: b, " + hook + "}\n"), "is not the name of a channel"},
		"unknown kind":      {channels("  - {name: a, filter: {kinds: [expired]}, " + hook + "}\n"), "is unknown; allowed is expiring"},
		"unknown severity":  {channels("  - {name: a, filter: {severity: bad}, " + hook + "}\n"), "allowed is info, warning, critical"},
		"unknown tenant":    {channels("  - {name: a, filter: {tenants: [fabrikam]}, " + hook + "}\n"), "allowed is contoso"},
		"bad app":           {channels("  - {name: a, filter: {apps: [A b]}, " + hook + "}\n"), "filter.apps[0]"},
		"stages not sorted": {"notify: {expiry_stages: [7d, 14d]}", "write the longest first"},
		"stage too short":   {"notify: {expiry_stages: [1m]}", "allowed is 1h"},
		"both heartbeats":   {"notify: {heartbeat: {url: https://a.example, url_file: b}}", "keep one"},
		"plain heartbeat":   {"notify: {heartbeat: {url: http://a.example}}", "must begin with https"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(strings.NewReader(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Load(%q) = %v, want %q in it", test.text, err, test.want)
			}
		})
	}
}

func TestNotifyWarnings(t *testing.T) {
	for name, test := range map[string]struct {
		text, want string
	}{
		"nobody":           {"workers: 1", "neither a channel nor a heartbeat"},
		"a heartbeat":      {"notify: {heartbeat: {url_file: a}}", ""},
		"a heartbeat here": {"notify: {heartbeat: {url: https://a.example}}", "url_file keeps it"},
		"a channel":        {channels("  - {name: a, exec: {command: [/bin/page]}}\n"), ""},
		"a secret here":    {channels("  - {name: a, slack: {url: https://a.example/b}}\n"), "slack.url: the secret stands in the configuration"},
	} {
		t.Run(name, func(t *testing.T) {
			warnings := load(t, test.text).Warnings()
			if test.want == "" && len(warnings) > 0 || test.want != "" && !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, test.want) }) {
				t.Errorf("warnings of %q: %q, want %q", test.text, warnings, test.want)
			}
			if strings.Contains(strings.Join(warnings, ""), "a.example") {
				t.Errorf("a warning shows a secret: %q", warnings)
			}
		})
	}
}
