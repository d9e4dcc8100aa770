package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/config"
)

// TestL7Scopes reads prove.scopes: inherited like the rest of prove, an empty list is
// none, and what names no whole resource is refused.
func TestL7Scopes(t *testing.T) {
	const outlook = "https://outlook.office365.com/.default"
	with := func(scopes string) string {
		return strings.Replace(issueExample, "within: 5m}", "within: 5m, scopes: ["+scopes+"]}", 1)
	}
	defaults := load(t, with(outlook+", api://11111111-2222-3333-4444-555555555555/.default")).Defaults.Policy
	if len(defaults.Prove.Scopes) != 2 || defaults.Prove.Scopes[0] != outlook {
		t.Errorf("scopes %q", defaults.Prove.Scopes)
	}
	for name, c := range map[string]struct {
		app  *config.Prove
		want []string
	}{
		"inherited": {nil, defaults.Prove.Scopes}, "other part": {&config.Prove{Successes: new(config.Count(1))}, defaults.Prove.Scopes},
		"none": {&config.Prove{Scopes: []string{}}, []string{}}, "own": {&config.Prove{Scopes: []string{outlook}}, []string{outlook}},
	} {
		got := config.Policy{Prove: c.app}.Over(defaults).Prove
		if d := cmp.Diff(c.want, got.Scopes); d != "" || got.Within == nil {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	for _, bad := range []string{"outlook", "https://outlook.office365.com", "http://outlook.office365.com/.default", "https://a@b/.default", outlook + ", " + outlook} {
		if _, err := config.Load(strings.NewReader(with(bad))); err == nil || !strings.Contains(err.Error(), "prove.scopes") {
			t.Errorf("%s: %v, want a refusal that names prove.scopes", bad, err)
		}
	}
	if p := config.DefaultPolicy(); len(p.Prove.Scopes) != 0 {
		t.Errorf("default %q, want Graph only", p.Prove.Scopes)
	}
}
