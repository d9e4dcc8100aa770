package monitor_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// documents is where rules and dashboard lie.
var documents = filepath.Join("..", "docs", "monitoring")

// published returns the names of all metrics, from a busy world.
func published(t *testing.T) []string {
	t.Helper()
	var names []string
	synctest.Test(t, func(t *testing.T) {
		_, m := busy()
		_, body := ask(t, m, "/metrics")
		for _, found := range regexp.MustCompile(`(?m)^# TYPE (rotate_\S+) `).FindAllStringSubmatch(body, -1) {
			names = append(names, found[1])
		}
	})
	if len(names) < 20 {
		t.Fatalf("metrics %q", names)
	}
	return names
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(documents, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDashboard looks at every query of the dashboard.
func TestDashboard(t *testing.T) {
	names := published(t)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	if len(board.Panels) < 10 {
		t.Errorf("%d panels", len(board.Panels))
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("%s: no query", p.Title)
		}
		for _, target := range p.Targets {
			used := regexp.MustCompile(`\brotate_\w+`).FindAllString(target.Expr, -1)
			if len(used) == 0 {
				t.Errorf("%s: %s: no metric", p.Title, target.Expr)
			}
			for _, name := range used {
				if !slices.Contains(names, name) {
					t.Errorf("%s: %s: there is no metric %s", p.Title, target.Expr, name)
				}
			}
		}
	}
}

// TestDocuments compares the metrics that the rules use and the list of them in the
// documentation with those that there are.
func TestDocuments(t *testing.T) {
	names := published(t)
	pattern := regexp.MustCompile(`\brotate_[a-z_]+`)
	for _, name := range pattern.FindAllString(read(t, "rules.yaml"), -1) {
		if !slices.Contains(names, name) {
			t.Errorf("rules.yaml: there is no metric %s", name)
		}
	}
	text := read(t, "README.md")
	for _, name := range names {
		if !strings.Contains(text, "| `"+name+"`") {
			t.Errorf("README.md: %s is not in the list", name)
		}
	}
	for _, name := range pattern.FindAllString(text, -1) {
		if !slices.Contains(names, name) {
			t.Errorf("README.md: there is no metric %s", name)
		}
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read(t, "rules.yaml"), -1) {
		if !strings.Contains(text, "`"+alert[1]+"`") {
			t.Errorf("README.md: the alert %s is not explained", alert[1])
		}
		if strings.Count(read(t, "rules_test.yaml"), "alertname: "+alert[1]) < 2 {
			t.Errorf("rules_test.yaml: %s is not tested to fire and to stay quiet", alert[1])
		}
	}
}
