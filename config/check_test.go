package config_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

const (
	guid  = "11111111-2222-3333-4444-555555555555"
	other = "22222222-3333-4444-5555-666666666666"
)

// tenant is a good tenant with more lines after its ID.
func tenant(more string) string {
	return "tenants:\n  - name: contoso\n    id: " + guid + "\n    " + more + "\n"
}

// TestLoadRefuses names the place of each problem and a part of its message.
func TestLoadRefuses(t *testing.T) {
	tests := map[string]struct {
		text  string
		place string
		want  string
	}{
		// The YAML itself.
		"empty":                    {"", "", "the file is empty"},
		"only comments":            {"# nothing\n\n", "", "the file is empty"},
		"only a separator":         {"---\n", "", "the file is empty"},
		"unknown key":              {"store:\n  path: x\n  pth: y\n", "3:3", `unknown key "pth"`},
		"unknown key at top":       {"wrokers: 3\n", "1:1", `unknown key "wrokers"`},
		"unknown key, custom type": {tenant("clout: global"), "4:5", `unknown key "clout"`},
		"unknown key of a cloud":   {tenant("cloud: {login: https://a, graph: https://a, ca: x}"), "4:49", `unknown key "ca"`},
		"unknown key of a hook":    {"hooks:\n  a:\n    cmd: x\n", "3:5", `unknown key "cmd"`},
		"max_starts in a window":   {"defaults: {window: {max_starts_per_day: 1}}", "1:21", `unknown key "max_starts_per_day"`},
		"repeated key":             {"workers: 1\nworkers: 2\n", "2:1", "already defined"},
		"repeated nested key":      {"log:\n  level: info\n  level: warn\n", "3:3", "already defined"},
		"tab":                      {"log:\n\tlevel: info\n", "2:1", "a tab stands in the indentation"},
		"tab after spaces":         {"log:\n  \tlevel: info\n", "2:3", "a tab stands in the indentation"},
		"two documents":            {"workers: 1\n---\nworkers: 2\n", "2:1", "a second YAML document"},
		"second one empty":         {"workers: 1\n---\n", "2:1", "a second YAML document"},
		"a list":                   {"- workers: 1\n", "1:1", "must be a mapping"},
		"a word":                   {"workers\n", "1:1", "must be a mapping"},
		"anchor":                   {"store: &s {path: x}\n", "1:8", "anchors, aliases"},
		"alias":                    {"store: *s\n", "1:8", "anchors, aliases"},
		"tag":                      {"workers: !!int 3\n", "1:10", "anchors, aliases"},
		"not closed":               {"store: {path: x\n", "1:8", "could not find"},
		"Latin-1":                  {"proxy: \"\xe4\"\n", "1:0", "not UTF-8"},
		"UTF-16":                   {"w\x00o\x00", "1:0", "not UTF-8"},

		// Types.
		"number wanted":    {"workers: many\n", "1:10", "a whole number"},
		"text for mapping": {"store: rotate.db\n", "1:8", "mapping"},
		"mapping for text": {"proxy: {a: b}\n", "1:8", "text"},
		"list wanted":      {"hooks: {a: {command: /bin/x}}\n", "1:22", "list"},
		"list for text":    {"store: {path: [a]}\n", "1:15", "text"},
		"no unit":          {"defaults:\n  validity: 365\n", "2:13", `"365" is not a duration`},
		"not a duration":   {"defaults:\n  overlap: soon\n", "2:12", `"soon" is not a duration`},
		"mapping duration": {"defaults:\n  overlap: {days: 3}\n", "2:", "a single value"},

		"number as a key": {"1: 2\n", "1:1", "this key is not text"},
		"number below":    {"log: {level: info, 2: 3}\n", "1:20", "this key is not text"},
		"fraction":        {"workers: 3.5\n", "1:10", "a whole number"},
		"octal":           {"workers: 010\n", "1:10", "a whole number"},
		"infinite":        {"workers: .inf\n", "1:10", "a whole number"},
		"huge":            {"workers: 99999999999999999999\n", "1:10", "a whole number"},
		"nested deeply":   {"store: " + strings.Repeat("[", 100000), "1:40", "nested too deeply"},

		// Values.
		"bad cron":                {"schedule: often\n", "1:11", `"often" is not a cron schedule`},
		"cron that never comes":   {"schedule: 0 0 31 2 *\n", "1:11", "never comes"},
		"cron of a zone only":     {"schedule: TZ=UTC\n", "1:11", "nothing follows the zone"},
		"empty cron":              {"schedule: \"\"\n", "1:11", "is not a cron schedule"},
		"workers":                 {"workers: 0\n", "1:10", "allowed is 1 to 32"},
		"log level":               {"log:\n  level: loud\n", "2:10", `log.level: "loud" is unknown; allowed is debug, info, warn, error`},
		"empty path":              {"store: {path: \"\"}\n", "1:15", "store.path: it is empty"},
		"one file for both":       {"store: {path: a, identity_file: a}\n", "1:33", "is the database itself"},
		"long socket":             {"control: {socket: /" + strings.Repeat("x", 107) + "}\n", "1:19", "at most 107"},
		"proxy scheme":            {"proxy: ftp://a\n", "1:8", "allowed are http, https and socks5"},
		"proxy without host":      {"proxy: proxy:3128\n", "1:8", "is not a URL"},
		"negative":                {"defaults: {overlap: -1d}\n", "1:21", "defaults.overlap: -1d is negative"},
		"validity 0":              {"defaults: {validity: 0s}\n", "1:22", "must be longer than 0s"},
		"validity long":           {"defaults: {validity: 3651d}\n", "1:22", "allowed is up to 3650d"},
		"key":                     {"defaults: {key: ec-256}\n", "1:17", `"ec-256" is unknown; allowed is rsa-2048`},
		"encoding":                {"defaults: {encoding: der}\n", "1:22", `"der" is unknown; allowed is modern, legacy-des, pem`},
		"prove":                   {"defaults: {prove: {successes: 0}}\n", "1:31", "allowed is 1 to 100"},
		"upload limit":            {"defaults: {upload_limit: {per_hour: 0}}\n", "1:37", "allowed is 1 to"},
		"starts":                  {"defaults: {max_starts_per_day: -1}\n", "1:32", "is negative"},
		"bad zone":                {"defaults: {window: {cron: 0 2 * * *, duration: 4h, zone: Europe/Bern}}\n", "1:58", `"Europe/Bern" is not a known time zone`},
		"local zone":              {"defaults: {window: {cron: 0 2 * * *, duration: 4h, zone: Local}}\n", "1:58", "is not a known time zone"},
		"window cron":             {"defaults: {window: {cron: 0 2 * *, duration: 4h}}\n", "1:27", "is not a cron schedule"},
		"window every":            {"defaults: {window: {cron: \"@every 4h\", duration: 4h}}\n", "1:27", "a window has five cron fields"},
		"window without duration": {"defaults: {window: {cron: 0 2 * * *}}\n", "1:12", "defaults.window.duration: 0s"},
		"hook relative":           {"hooks: {a: {command: [bin/x]}}\n", "1:23", `hooks.a.command[0]: "bin/x" is not an absolute path`},
		"hook empty":              {"hooks: {a: {timeout: 1s}}\n", "1:9", "hooks.a.command: it is empty"},
		"hook name":               {"hooks: {\"a b\": {command: [/bin/x]}}\n", "1:9", "is not a name"},
		"hook dotted name":        {"hooks: {a: {command: [/b]}, a.b: {command: [c]}}\n", "1:45", "hooks.a.b.command[0]"},
		"hook argument":           {"hooks: {a: {command: [/bin/x, \"a\\tb\"]}}\n", "1:31", "control characters"},
		"hook timeout":            {"hooks: {a: {command: [/bin/x], timeout: 0s}}\n", "1:41", "more than 0s"},
		"hook environment":        {"hooks: {a: {command: [/bin/x], env: [A=b]}}\n", "1:38", "not the name of an environment variable"},
		"bad GUID":                {"tenants: [{name: a, id: 1234}]\n", "1:25", `tenants[0].id: "1234" is not a GUID`},
		"GUID in braces":          {"tenants: [{name: a, id: \"{" + guid + "}\"}]\n", "1:25", "is not a GUID"},
		"no ID":                   {"tenants: [{name: a}]\n", "1:12", "tenants[0].id: it is missing"},
		"tenant name":             {"tenants: [{name: a/b, id: " + guid + "}]\n", "1:18", "is not a name"},
		"null tenant":             {"tenants: [null]\n", "", "tenants[0].name: it is missing"},
		"duplicate name":          {tenant("") + "  - name: contoso\n    id: " + other + "\n", "5:11", `tenants[1].name: "contoso" stands already at tenants[0].name`},
		"duplicate ID":            {tenant("") + "  - name: x\n    id: " + guid + "\n", "6:9", "stands already at tenants[0].id"},
		"unknown cloud":           {tenant("cloud: mars"), "4:12", `tenants[0].cloud: "mars" is unknown; allowed is global, usgov, usgov-dod, china`},
		"cloud without graph":     {tenant("cloud: {login: https://a}"), "4:5", "tenants[0].cloud.graph: it is missing"},
		"cloud over http":         {tenant("cloud: {login: http://a, graph: https://a}"), "4:20", `"http://a" is not allowed; allowed is https://HOST`},
		"cloud with path":         {tenant("cloud: {login: https://a, graph: https://a/v1.0}"), "4:38", "without a path"},
		"removal at Microsoft": {
			tenant("cloud: {login: https://login.microsoftonline.com, graph: https://a, removal: {reads: 1s}}"), "", "tenants[0].cloud.removal: it is not allowed for https://login.microsoftonline.com",
		},
		"removal too long":       {tenant("cloud: {login: https://a, graph: https://a, removal: {sign_ins: 1h}}"), "", "tenants[0].cloud.removal.sign_ins: 1h is not allowed; allowed is up to 10m"},
		"cloud is a list":        {tenant("cloud: [global]"), "4:12", "the name of a cloud, or a mapping"},
		"no kind":                {tenant("identity: {client_id: " + guid + "}"), "4:5", "no kind of identity"},
		"null kind":              {tenant("identity: {azure_cli: }"), "4:5", "write {} if it has no keys"},
		"two kinds":              {tenant("identity: {azure_cli: {}, managed_identity: {}}"), "4:5", "managed_identity and azure_cli are given together"},
		"secret and certificate": {tenant("identity: {client_id: " + guid + ", client_secret_file: x, certificate_file: y}"), "4:5", "client_secret and certificate_file are given together"},
		"secret twice":           {tenant("identity: {client_id: " + guid + ", client_secret_file: x, client_secret: hunter2}"), "4:", "both the value and client_secret_file are given"},
		"password twice":         {tenant("identity: {client_id: " + guid + ", certificate_file: x, password: hunter2, password_file: y}"), "4:", "both the value and password_file are given"},
		"empty secret":           {tenant("identity: {client_id: " + guid + ", client_secret: \"\"}"), "4:", "it is empty"},
		"secret without client":  {tenant("identity: {client_secret_file: x}"), "4:5", "identity.client_id: it is missing"},
		"client without need":    {tenant("identity: {client_id: " + guid + ", azure_cli: {}}"), "4:27", "belongs to client_secret and certificate_file only"},
		"password without need":  {tenant("identity: {password_file: x, azure_cli: {}}"), "4:5", "without certificate_file"},
		"managed client":         {tenant("identity: {managed_identity: {client_id: x}}"), "4:46", "is not a GUID"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := config.Load(strings.NewReader(tt.text))
			if err == nil || c != nil {
				t.Fatalf("Load = %v, %v, want an error", c, err)
			}
			if !strings.HasPrefix(err.Error(), tt.place) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load = %q, want %q and then %q", err, tt.place, tt.want)
			}
			if tt.place != "" {
				if _, ok := errors.AsType[*config.Error](err); !ok {
					t.Errorf("Load = %T, want an *Error in it", err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error %q shows a secret", err)
			}
		})
	}
}

func TestLoadReportsAll(t *testing.T) {
	_, err := config.Load(strings.NewReader("workers: 99\nlog:\n  level: loud\ntenants:\n  - name: a\n    id: x\n"))
	want := `1:10: workers: 99 is not allowed; allowed is 1 to 32
    1 | workers: 99
      |          ^
3:10: log.level: "loud" is unknown; allowed is debug, info, warn, error
    3 |   level: loud
      |          ^
6:9: tenants[0].id: "x" is not a GUID such as 11111111-2222-3333-4444-555555555555
    6 |     id: x
      |         ^`
	if err == nil || err.Error() != want {
		t.Errorf("Load =\n%v\nwant\n%s", err, want)
	}
	c := config.Default()
	c.Workers, c.Log.Level = 99, "loud"
	err = c.Check()
	if want := "workers: 99 is not allowed; allowed is 1 to 32\nlog.level: \"loud\" is unknown; allowed is debug, info, warn, error"; err == nil || err.Error() != want {
		t.Errorf("Check = %v, want %s", err, want)
	}
}

// TestErrorsHideSecrets has faults on and around lines that hold a secret.
func TestErrorsHideSecrets(t *testing.T) {
	for name, text := range map[string]string{
		"misspelt key":           tenant("identity:\n      client_secert: hunter2"),
		"misspelt beyond doubt":  tenant("identity:\n      cs: hunter2"),
		"misspelt, flow":         tenant("identity: {cs: hunter2}"),
		"same line, flow":        tenant("identity: {foo: 1, client_secret: hunter2, bar: 2}"),
		"same line, bad value":   tenant("identity: {client_secret: hunter2, client_id: x}"),
		"not closed":             tenant("identity: {client_secret: \"hunter2}"),
		"mapping":                tenant("identity:\n      client_secret:\n        hunter2: x"),
		"mapping, flow":          tenant("identity: {client_secret: {hunter2: x}}"),
		"list":                   tenant("identity:\n      client_secret:\n        - hunter2"),
		"list of lists":          tenant("identity:\n      client_secret: [[hunter2"),
		"block, then a fault":    tenant("identity:\n      client_secret: |\n        hunter2\n       hunter2: x: y"),
		"repeated":               tenant("identity:\n      client_secret: hunter2\n      client_secret: hunter2"),
		"alias":                  tenant("identity:\n      client_secret: *hunter2"),
		"tag":                    tenant("identity:\n      client_secret: !hunter2 x"),
		"tab below":              tenant("identity:\n      client_secret:\n\thunter2"),
		"wrong type":             tenant("identity:\n      client_secret: true"),
		"URL":                    tenant("cloud: {login: \"https://u:hunter2@a\", graph: \"https://a\"}"),
		"URL, list":              tenant("cloud: [\"https://u:hunter2@a\"]"),
		"proxy":                  "proxy: http://u:hunter2@a:3128\n",
		"proxy that is not one":  "proxy: \"http://u:hunter2@a:x\"\n",
		"proxy of another place": "workers: [\"http://u:hunter2@a\"]\n",
		"quoted key":             tenant("identity: {\"client_secret\": hunter2, x: y}"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(strings.NewReader(text))
			if err == nil {
				t.Fatalf("Load accepts %q", text)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows the secret:\n%v", err)
			}
		})
	}
}
