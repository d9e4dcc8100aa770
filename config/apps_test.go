package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/config"
)

func TestLoadAppsFile(t *testing.T) {
	file := write(t, "apps.yaml", `apps:
  - name: contoso-sync
    tenant: contoso
    client_id: `+guid+`
    pfx: a.pfx
    password_file: /secrets/a
    permissions: [Mail.Read]
    policy: {overlap: 0s, prove: {successes: 5}}
    deliveries:
      - {kind: file, path: out/a.pfx, mode: 0640, password_path: out/a.password}
      - {kind: exec, hook: reload-sync}
    probe: ["/users?$top=1"]
    confirm: {rule: command, hook: reload-sync}
  - {name: b, tenant: contoso, client_id: `+other+`, mode: managed}
`)
	got, err := config.LoadAppsFile(file)
	if err != nil {
		t.Fatalf("LoadAppsFile: %v", err)
	}
	folder := filepath.Dir(file)
	want := &config.Apps{Apps: []config.App{
		{
			Name: "contoso-sync", Tenant: "contoso", ClientID: guid, Mode: "self",
			PFX: filepath.Join(folder, "a.pfx"), PasswordFile: "/secrets/a", Permissions: []string{"Mail.Read"},
			Policy: config.Policy{Overlap: new(config.Duration), Prove: &config.Prove{Successes: new(config.Count(5))}},
			Deliveries: []config.Delivery{
				{Kind: "file", Path: filepath.Join(folder, "out/a.pfx"), Mode: "0640", PasswordPath: filepath.Join(folder, "out/a.password")},
				{Kind: "exec", Hook: "reload-sync"},
			},
			Probe:   []string{"/users?$top=1"},
			Confirm: config.Confirm{Rule: "command", Hook: "reload-sync"},
		},
		{Name: "b", Tenant: "contoso", ClientID: other, Mode: "managed"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("LoadAppsFile (-want +got):\n%s", diff)
	}
	if w := got.Warnings(); !slices.ContainsFunc(w, func(s string) bool { return strings.HasPrefix(s, "apps[0].policy.overlap: 0s") }) || len(w) != 1 {
		t.Errorf("Warnings = %q", w)
	}
}

func TestLoadAppsRefuses(t *testing.T) {
	app := func(more string) string {
		return "apps:\n  - name: a\n    tenant: t\n    client_id: " + guid + "\n    " + more + "\n"
	}
	deliver := func(d string) string { return app("deliveries: [" + d + "]") }
	tests := map[string]struct{ text, place, want string }{
		"no app":             {"apps: []\n", "1:1", "there is no app"},
		"unknown key":        {app("colour: red"), "5:5", `unknown key "colour"`},
		"starts in a policy": {app("policy: {max_starts_per_day: 1}"), "5:14", "unknown key"},
		"no name":            {"apps: [{tenant: t, client_id: " + guid + "}]", "1:9", "apps[0].name: it is missing"},
		"upper-case name":    {"apps:\n  - name: Sync\n    tenant: t\n    client_id: " + guid, "2:11", `"Sync" is not a name`},
		"name with a slash":  {"apps:\n  - name: a/b\n    tenant: t\n    client_id: " + guid, "2:11", "is not a name"},
		"name with dots":     {"apps:\n  - name: ..\n    tenant: t\n    client_id: " + guid, "2:11", "is not a name"},
		"long name":          {"apps:\n  - name: " + strings.Repeat("a", 65) + "\n    tenant: t\n    client_id: " + guid, "2:11", "is not a name"},
		"same name":          {app("") + "  - {name: a, tenant: t, client_id: " + other + "}", "6:12", `"a" stands already at apps[0].name`},
		"same client":        {app("") + "  - {name: b, tenant: t, client_id: " + guid + "}", "6:37", "stands already at apps[0].client_id"},
		"client ID":          {"apps: [{name: a, tenant: t, client_id: contoso}]", "1:40", "is not a GUID"},
		"object ID":          {app("object_id: 1"), "5:16", "is not a GUID"},
		"key ID":             {app("key_id: 1"), "5:13", "is not a GUID"},
		"mode":               {app("mode: auto"), "5:11", `"auto" is unknown; allowed is self, managed`},
		"password only":      {app("password_file: x"), "5:20", "belongs to a pfx"},
		"permission":         {app("permissions: [\"\"]"), "5:19", "is not allowed"},
		"same permission":    {app("permissions: [a, a]"), "5:22", "stands already"},
		"policy":             {app("policy: {encoding: der}"), "5:24", "apps[0].policy.encoding"},
		"kind":               {deliver("{kind: ftp}"), "5:25", `"ftp" is unknown; allowed is file, exec`},
		"no kind":            {deliver("{path: /a}"), "5:19", "kind: it is missing"},
		"no path":            {deliver("{kind: file}"), "5:19", "path: it is empty"},
		"relative path":      {deliver("{kind: file, path: a}"), "5:37", "is not an absolute path"},
		"folder":             {deliver("{kind: file, path: /a/}"), "5:37", "is not the path of a file"},
		"relative password":  {deliver("{kind: file, path: /a, password_path: b}"), "5:56", "is not an absolute path"},
		"encoding":           {deliver("{kind: file, path: /a, encoding: der}"), "5:51", "allowed is modern, legacy-des, pem"},
		"open mode":          {deliver("{kind: file, path: /a, mode: \"0644\"}"), "5:47", "nothing for others"},
		"mode not octal":     {deliver("{kind: file, path: /a, mode: rw}"), "5:47", "octal"},
		"hook of a file":     {deliver("{kind: file, path: /a, hook: b}"), "5:47", "belongs to the kind exec"},
		"path of an exec":    {deliver("{kind: exec, hook: a, path: /b}"), "5:19", "kind and hook only"},
		"exec without hook":  {deliver("{kind: exec}"), "5:19", "hook: it is missing"},
		"same path":          {deliver("{kind: file, path: /a}, {kind: file, path: /a}"), "5:61", "stands already"},
		"probe":              {app("probe: [https://evil.example/users]"), "5:13", "is not a path of Graph"},
		"probe of a host":    {app("probe: [//evil.example/users]"), "5:13", "is not a path of Graph"},
		"probe upwards":      {app("probe: [/users/../x]"), "5:13", "is not a path of Graph"},
		"confirm":            {app("confirm: {rule: never}"), "5:21", "allowed is automatic, command, person"},
		"command, no hook":   {app("confirm: {rule: command}"), "5:5", "confirm.hook: it is missing"},
		"evidence by itself": {app("evidence: true"), "5:15", "needs mode managed"},
		"hook, no command":   {app("confirm: {hook: a}"), "5:21", "belongs to the rule command"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := config.LoadApps(strings.NewReader(tt.text))
			if err == nil || a != nil {
				t.Fatalf("LoadApps = %v, %v, want an error", a, err)
			}
			if !strings.HasPrefix(err.Error(), tt.place+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("LoadApps = %q, want %q and then %q", err, tt.place, tt.want)
			}
		})
	}
}

func TestPolicyOver(t *testing.T) {
	base := config.DefaultPolicy()
	if diff := cmp.Diff(base, config.Policy{}.Over(base)); diff != "" {
		t.Errorf("an empty policy changes the base:\n%s", diff)
	}
	got := config.Policy{Overlap: new(config.Duration), Prove: &config.Prove{Successes: new(config.Count(5))}, Encoding: "pem"}.Over(base)
	want := config.DefaultPolicy()
	want.Overlap, want.Encoding, want.Prove.Successes = new(config.Duration), "pem", new(config.Count(5))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Over (-want +got):\n%s", diff)
	}
	if base.Prove.Successes == nil || *base.Prove.Successes != 3 {
		t.Error("Over changed its base")
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "45d": 45 * 24 * time.Hour, "1.5d": 36 * time.Hour, "1d12h": 36 * time.Hour, "-2d": -48 * time.Hour,
		"-1d1h": -25 * time.Hour, "200ms": 200 * time.Millisecond, "1h30m": 90 * time.Minute, "-5s": -5 * time.Second, "0d": 0, "+1d": 24 * time.Hour,
		"365d6h30m15.5s": 365*24*time.Hour + 6*time.Hour + 30*time.Minute + 15*time.Second + 500*time.Millisecond,
	} {
		got, err := config.ParseDuration(text)
		if err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1", "1w", "1d1", "1d-1h", "1d+1h", "--1d", "+-1d", "1h1d", "d1h", ".d", "1 d", "1e3d", "106752d", "9999999999999999d", "106751d23h48m", "1d1d", "½d"} {
		if got, err := config.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 24 * time.Hour: "1d", 36 * time.Hour: "1d12h", 90 * time.Minute: "1h30m", -25 * time.Hour: "-1d1h", time.Nanosecond: "1ns",
		24*time.Hour + 10*time.Minute: "1d10m", 10 * time.Second: "10s", 24*time.Hour + 10*time.Second: "1d10s",
	} {
		if got := config.Duration(d).String(); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"45d", "1.5d", "1d12h", "-2d", "200ms", "0", "d", "9999999d", "106751d23h47m16.854775807s", "-2562047h47m16.854775808s"} {
		f.Add(s, int64(0))
	}
	f.Add("", int64(-1<<63))
	f.Fuzz(func(t *testing.T, s string, n int64) {
		values := []config.Duration{config.Duration(n)}
		if d, err := config.ParseDuration(s); err == nil {
			values = append(values, d)
		}
		for _, d := range values {
			if again, err := config.ParseDuration(d.String()); err != nil || again != d {
				t.Errorf("ParseDuration(%q) = %d, %v, want %d", d.String(), again, err, d)
			}
		}
	})
}

// quoted is YAML with every text in quotes: the encoder leaves out some that it needs.
func quoted(tb testing.TB, v any) string {
	tb.Helper()
	out, err := yaml.MarshalWithOptions(v, yaml.JSON())
	if err != nil {
		tb.Fatalf("Marshal: %v", err)
	}
	return string(out)
}

// FuzzLoad asks that Load never panics, and that what it accepts can be written,
// read again, and is then the same.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add(uncomment(string(example)))
	f.Add(issueExample)
	for _, s := range []string{"workers: 3", "hooks: {a.b: {command: [/x, \"\\t\"]}}", "defaults: {window: {cron: 0 2 * * *, duration: 4h}}", tenant("identity: {azure_cli: {}}"), tenant("cloud: [a]"), "a: &x [*x]", "? a\n: b", "schedule: TZ=0", "hooks: {\"1\": {command: [/x, \".inf\", \"? x\", 0x1f, \"null\", é]}}", "store:\n- a\n- b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Load(strings.NewReader(text))
		if err != nil {
			return
		}
		c.Warnings()
		first := quoted(t, c)
		again, err := config.Load(strings.NewReader(first))
		if err != nil {
			t.Fatalf("Load of what was written: %v\n%s", err, first)
		}
		if second := quoted(t, again); first != second {
			t.Errorf("written twice (-first +second):\n%s", cmp.Diff(first, second))
		}
	})
}

// FuzzLoadApps asks the same of files of apps.
func FuzzLoadApps(f *testing.F) {
	example, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	_, apps, _ := strings.Cut(uncomment(string(example)), "# ---- apps.yaml ----")
	f.Add(apps)
	f.Add("apps: [{name: a, tenant: t, client_id: " + guid + ", deliveries: [{kind: file, path: /a, mode: 0o640}]}]")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := config.LoadApps(strings.NewReader(text))
		if err != nil {
			return
		}
		a.Warnings()
		first := quoted(t, a)
		again, err := config.LoadApps(strings.NewReader(first))
		if err != nil {
			t.Fatalf("LoadApps of what was written: %v\n%s", err, first)
		}
		if second := quoted(t, again); first != second {
			t.Errorf("written twice (-first +second):\n%s", cmp.Diff(first, second))
		}
	})
}
