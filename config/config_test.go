package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/config"
)

// issueExample is the form of a configuration that must always work.
const issueExample = `store: {path: rotate.db, identity_file: store.key}
control: {socket: rotate.sock}
schedule: "@every 2s"
defaults:
  overlap: 0s
  reload_within: 0s
  renew_before: 45d
  validity: 365d
  prove: {successes: 2, spacing: 200ms, within: 5m}
  upload_limit: {per_hour: 100, per_day: 100}
tenants:
  - name: contoso
    id: "11111111-2222-3333-4444-555555555555"
    cloud: {login: "https://127.0.0.1:43121", graph: "https://127.0.0.1:43121", ca_file: "/path/ca.pem"}
    identity: {client_id: "22222222-3333-4444-5555-666666666666", client_secret_file: "/path/admin.secret"}
`

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Load(strings.NewReader(text))
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// marshal is how two configurations are compared: every value, as text.
func marshal(tb testing.TB, v any) string {
	tb.Helper()
	out, err := yaml.Marshal(v)
	if err != nil {
		tb.Fatalf("Marshal: %v", err)
	}
	return string(out)
}

func TestLoadFile(t *testing.T) {
	file := write(t, "config.yaml", issueExample)
	c, err := config.LoadFile(file)
	if err != nil {
		t.Fatalf("LoadFile: %v", err)
	}
	folder := filepath.Dir(file)
	duration := func(d time.Duration) *config.Duration { return new(config.Duration(d)) }
	want := config.Default()
	want.Store = config.Store{Path: filepath.Join(folder, "rotate.db"), IdentityFile: filepath.Join(folder, "store.key")}
	want.Control.Socket = filepath.Join(folder, "rotate.sock")
	want.Schedule, _ = config.ParseSchedule("@every 2s")
	p := &want.Defaults.Policy
	p.Overlap, p.ReloadWithin = duration(0), duration(0)
	p.Prove = &config.Prove{Successes: new(config.Count(2)), Spacing: duration(200 * time.Millisecond), Within: duration(5 * time.Minute)}
	p.UploadLimit = &config.UploadLimit{PerHour: new(config.Count(100)), PerDay: new(config.Count(100))}
	want.Tenants = []config.Tenant{{
		Name: "contoso", ID: "11111111-2222-3333-4444-555555555555",
		Cloud:    config.Cloud{Login: "https://127.0.0.1:43121", Graph: "https://127.0.0.1:43121", CAFile: "/path/ca.pem"},
		Identity: &config.Identity{ClientID: "22222222-3333-4444-5555-666666666666", ClientSecretFile: "/path/admin.secret"},
	}}
	if diff := cmp.Diff(marshal(t, want), marshal(t, c)); diff != "" {
		t.Errorf("LoadFile (-want +got):\n%s", diff)
	}
	if got := c.Tenants[0].Identity.Kind(); got != config.KindClientSecret {
		t.Errorf("Kind = %q, want %q", got, config.KindClientSecret)
	}
	if got, want := c.Schedule.Next(time.Unix(0, 0)), time.Unix(2, 0).UTC(); !got.Equal(want) {
		t.Errorf("Next(epoch) = %v, want %v", got, want)
	}
	for _, key := range []string{"defaults.overlap: 0s", "defaults.reload_within: 0s", "store.identity_file: ", "tenants[0].cloud: "} {
		if !slices.ContainsFunc(c.Warnings(), func(w string) bool { return strings.HasPrefix(w, key) }) {
			t.Errorf("no warning begins with %q: %q", key, c.Warnings())
		}
	}
}

func TestDefaults(t *testing.T) {
	c := load(t, "workers: 2")
	want := config.Default()
	want.Workers = 2
	if diff := cmp.Diff(marshal(t, want), marshal(t, c)); diff != "" {
		t.Errorf("Load (-want +got):\n%s", diff)
	}
	if err := config.Default().Check(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
	if w := config.Default().Warnings(); len(w) != 1 || !strings.Contains(w[0], "neither a channel nor a heartbeat") {
		t.Errorf("the defaults are warned about: %q, want nobody who is told", w)
	}
	if c.Defaults.ReloadWithin != nil || c.Defaults.Window != nil {
		t.Error("reload_within and window have no default")
	}
	// A key within a mapping leaves the others as they are, and null is absent.
	c = load(t, "defaults: {prove: {successes: 7}, upload_limit: {per_day: 9}, overlap: null, encoding:}\nstore:\n  path: x.db\nlog: null\n")
	p := c.Defaults.Policy
	if *p.Prove.Successes != 7 || p.Prove.Spacing.String() != "30s" || *p.UploadLimit.PerHour != 2 || *p.UploadLimit.PerDay != 9 || p.Overlap.String() != "14d" || p.Encoding != "modern" {
		t.Errorf("defaults are %s", marshal(t, p))
	}
	if c.Store.IdentityFile != want.Store.IdentityFile || c.Log != want.Log {
		t.Errorf("store, log = %+v, %+v", c.Store, c.Log)
	}
}

func TestIdentityAndCloud(t *testing.T) {
	const head = "tenants:\n  - name: a\n    id: 11111111-2222-3333-4444-555555555555\n"
	const id = "22222222-3333-4444-5555-666666666666"
	for text, want := range map[string]config.IdentityKind{
		"{client_id: " + id + ", client_secret: x}":                        config.KindClientSecret,
		"{client_id: " + id + ", certificate_file: a.pfx, password: \"\"}": config.KindCertificate,
		"{client_id: " + id + ", certificate_file: a.pem}":                 config.KindCertificate,
		"{managed_identity: {}}":                                           config.KindManagedIdentity,
		"{managed_identity: {client_id: " + id + "}}":                      config.KindManagedIdentity,
		"{workload_identity: {}}":                                          config.KindWorkloadIdentity,
		"{azure_cli: {}}":                                                  config.KindAzureCLI,
	} {
		if got := load(t, head+"    identity: "+text).Tenants[0].Identity.Kind(); got != want {
			t.Errorf("%s is of kind %q, want %q", text, got, want)
		}
	}
	for _, cloud := range config.Clouds() {
		if got := load(t, head+"    cloud: "+cloud).Tenants[0].Cloud; got != (config.Cloud{Name: cloud}) {
			t.Errorf("cloud: %s is %+v", cloud, got)
		}
	}
	if got := load(t, head).Tenants[0]; got.Cloud.Name != "global" || got.Identity != nil {
		t.Errorf("a tenant without cloud and identity is %+v", got)
	}
}

func TestHooks(t *testing.T) {
	c := load(t, "hooks:\n  a.b: {command: [/bin/true]}\n  c: {command: [/bin/x, y], timeout: 5s, env: [HOME]}\n")
	want := map[string]config.Hook{
		"a.b": {Command: []string{"/bin/true"}, Timeout: config.Duration(time.Minute)},
		"c":   {Command: []string{"/bin/x", "y"}, Timeout: config.Duration(5 * time.Second), Env: []string{"HOME"}},
	}
	if diff := cmp.Diff(want, c.Hooks); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
}

// TestTextStaysAsWritten has what YAML takes for numbers where text is wanted.
func TestTextStaysAsWritten(t *testing.T) {
	for _, text := range []string{"0123", "0x1f", "0o17", "1_000", "+5", "-0", "7", "1.50", "1e3", ".inf", ".nan", "yes", "true", "2020-01-01", "99999999999999999999"} {
		c := load(t, "hooks: {h: {command: [/x, "+text+"]}}\n"+tenant("identity: {client_id: "+guid+", client_secret: "+text+"}"))
		if got := c.Hooks["h"].Command[1]; got != text {
			t.Errorf("the argument %s became %q", text, got)
		}
		if got := c.Tenants[0].Identity.ClientSecret.Reveal(); got != text {
			t.Errorf("the secret %s became %q", text, got)
		}
	}
}

func TestWindow(t *testing.T) {
	w := load(t, "defaults: {window: {cron: 0 2 * * *, duration: 4h, zone: Europe/Berlin}}").Defaults.Window
	s, err := w.Schedule()
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	if got, want := s.Next(from), time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("Next(%v) = %v, want %v", from, got, want)
	}
}

// TestSecretNeverShows prints a secret in every way there is.
func TestSecretNeverShows(t *testing.T) {
	const secret = "hunter2-hunter2"
	c := load(t, "tenants: [{name: a, id: 11111111-2222-3333-4444-555555555555, identity: {client_id: 11111111-2222-3333-4444-555555555555, client_secret: "+secret+"}}]")
	s := c.Tenants[0].Identity.ClientSecret
	if got := s.Reveal(); got != secret {
		t.Fatalf("Reveal = %q, want %q", got, secret)
	}
	hidden := struct{ inner config.Secret }{s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{s, &s, hidden, &hidden, c.Tenants[0].Identity, *c.Tenants[0].Identity, c} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	text, err := json.Marshal(map[string]any{"secret": s, "pointer": &s, "config": c.Tenants})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	out.WriteString(marshal(t, c))
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "hidden", hidden, "config", c)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "hidden", hidden, "config", c)
	if strings.Contains(out.String(), secret) || strings.Contains(out.String(), fmt.Sprintf("%x", secret)) {
		t.Errorf("the secret shows in %s", out.String())
	}
	if !strings.Contains(out.String(), "REDACTED") {
		t.Error("nothing says REDACTED")
	}
	if !(config.Secret{}).IsZero() || s.IsZero() || (config.Secret{}).Reveal() != "" {
		t.Error("IsZero is wrong")
	}
}

func TestExample(t *testing.T) {
	data, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := load(t, string(data))
	if w := c.Warnings(); len(w) > 0 {
		t.Errorf("the example is warned about: %q", w)
	}
	// All but the examples are the defaults.
	rest := *c
	rest.Hooks, rest.Tenants, rest.Notify.Channels = nil, nil, nil
	if diff := cmp.Diff(marshal(t, config.Default()), marshal(t, rest)); diff != "" {
		t.Errorf("the example is not the defaults (-default +example):\n%s", diff)
	}

	// Each line "#key" without its "#" is valid too.
	settings, apps, found := strings.Cut(uncomment(string(data)), "# ---- apps.yaml ----")
	if !found {
		t.Fatal("no apps in the example")
	}
	full := load(t, settings)
	if got := len(full.Tenants); got != 7 {
		t.Errorf("the whole example has %d tenants, want 7", got)
	}
	if full.Defaults.ReloadWithin == nil || full.Defaults.Window == nil {
		t.Error("the whole example lacks reload_within or window")
	}
	a, err := config.LoadAppsFile(write(t, "apps.yaml", apps))
	if err != nil {
		t.Fatalf("apps of the example: %v", err)
	}
	if len(a.Apps) != 2 || len(a.Apps[0].Deliveries) != 3 {
		t.Errorf("apps of the example: %+v", a.Apps)
	}

	// Every key of the types stands in the whole example, at its place.
	for what, missing := range map[string][]string{
		"settings": missingKeys(t, reflect.TypeFor[config.Config](), settings),
		"apps":     missingKeys(t, reflect.TypeFor[config.Apps](), apps),
	} {
		if len(missing) > 0 {
			t.Errorf("the example's %s lack %q", what, missing)
		}
	}
}

func uncomment(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		before, after, found := strings.Cut(l, "#")
		if found && strings.TrimSpace(before) == "" && after != "" && after[0] != ' ' {
			lines[i] = before + after
		}
	}
	return strings.Join(lines, "\n")
}

// missingKeys returns the paths of yaml keys of a type that a text has nowhere.
func missingKeys(t *testing.T, typ reflect.Type, text string) []string {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	collect("", tree, seen)
	var missing []string
	for _, k := range keysOf("", typ) {
		switch k {
		case ".notify.heartbeat.url": // stands there as url_file
			continue
		case ".notify.channels.*.graph_mail.text_template": // refused
			continue
		}
		if !seen[k] && !strings.HasPrefix(k, ".apps.*.policy.") { // they stand in defaults
			missing = append(missing, k)
		}
	}
	return missing
}

// collect notes the path of every key of a tree, list items and hooks' names as "*".
func collect(path string, tree any, seen map[string]bool) {
	switch n := tree.(type) {
	case map[string]any:
		for k, v := range n {
			p := path + "." + k
			if path == ".hooks" {
				p = path + ".*"
			}
			seen[p] = true
			collect(p, v, seen)
		}
	case []any:
		for _, v := range n {
			collect(path+".*", v, seen)
		}
	}
}

// keysOf returns the paths of all yaml keys below a type.
func keysOf(path string, t reflect.Type) []string {
	switch t.Kind() { //nolint:exhaustive // the rest has no keys
	case reflect.Pointer:
		return keysOf(path, t.Elem())
	case reflect.Slice, reflect.Map:
		return keysOf(path+".*", t.Elem())
	case reflect.Struct:
		var out []string
		for f := range t.Fields() {
			name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			switch {
			case options == "inline":
				out = append(out, keysOf(path, f.Type)...)
			case name != "" && name != "-":
				out = append(out, path+"."+name)
				out = append(out, keysOf(path+"."+name, f.Type)...)
			}
		}
		return out
	}
	return nil
}

// TestSchema compares the keys of the schema with those of the types, and looks into
// some of it.
func TestSchema(t *testing.T) {
	type schema struct {
		Schema               string `json:"$schema"`
		Type                 any
		Description          string
		Default              any
		Enum                 []string
		Properties           map[string]schema
		Items                *schema
		OneOf                []schema
		AdditionalProperties json.RawMessage
	}
	var root schema
	if err := json.Unmarshal(config.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var got []string
	var walk func(path string, s schema)
	walk = func(path string, s schema) {
		for name, p := range s.Properties {
			got = append(got, path+"."+name)
			if p.Description == "" {
				t.Errorf("%s.%s has no description", path, name)
			}
			walk(path+"."+name, p)
		}
		if s.Items != nil {
			walk(path+".*", *s.Items)
		}
		for _, o := range s.OneOf {
			walk(path, o)
		}
		if len(s.Properties) > 0 && string(s.AdditionalProperties) != "false" {
			t.Errorf("%s allows unknown keys", path)
		}
		var inner schema
		if json.Unmarshal(s.AdditionalProperties, &inner) == nil && len(inner.Properties) > 0 {
			walk(path+".*", inner)
		}
	}
	walk("", root)
	want := keysOf("", reflect.TypeFor[config.Config]())
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys of the schema (-want +got):\n%s", diff)
	}
	if root.Schema != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("$schema is %q", root.Schema)
	}
	defaults := root.Properties["defaults"].Properties
	if d := defaults["validity"].Default; d != "365d" {
		t.Errorf("default of validity = %v", d)
	}
	if d := defaults["prove"].Properties["successes"].Default; d != 3.0 {
		t.Errorf("default of prove.successes = %v", d)
	}
	if e := defaults["key"].Enum; len(e) != 3 {
		t.Errorf("key is one of %q", e)
	}
	if d := root.Properties["schedule"].Default; d != "17 * * * *" {
		t.Errorf("default of schedule = %v", d)
	}
}

func TestLoadFileErrors(t *testing.T) {
	if _, err := config.LoadFile(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("LoadFile of nothing = %v", err)
	}
	if _, err := config.LoadFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("LoadFile of a folder = %v", err)
	}
	file := write(t, "config.yaml", "# nothing\n")
	if _, err := config.LoadFile(file); !errors.Is(err, config.ErrEmpty) || !strings.Contains(err.Error(), file) {
		t.Errorf("LoadFile of an empty file = %v", err)
	}
	file = write(t, "config.yaml", "store:\n  path: x\n  wrokers: 3\n")
	if _, err := config.LoadFile(file); err == nil || !strings.HasPrefix(err.Error(), file+":3:3: unknown key \"wrokers\"") {
		t.Errorf("LoadFile = %v", err)
	}
}
