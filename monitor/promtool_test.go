//go:build e2e

package monitor_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// TestPromtool has Prometheus' own program judge the metrics and try the rules. It
// comes with Debian's package prometheus.
func TestPromtool(t *testing.T) {
	var body string
	synctest.Test(t, func(t *testing.T) {
		_, m := busy()
		_, body = ask(t, m, "/metrics")
	})
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(body)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("check metrics: %v\n%s", err, out)
	}
	check = exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader("# TYPE seconds_ms counter\nseconds_ms 1\n")
	if out, err := check.CombinedOutput(); err == nil {
		t.Errorf("check metrics finds nothing wrong with anything: %s", out)
	}
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = documents
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q in %s: %v\n%s", args, filepath.Clean(documents), err, out)
		}
	}
}
