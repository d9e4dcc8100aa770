package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// TestReferenceDocument: docs/configuration.md is what the program prints, with every key of
// the example.
func TestReferenceDocument(t *testing.T) {
	text := config.ReferenceMarkdown()
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != text {
		t.Error("docs/configuration.md is old; make it again: go run ./cmd/rotate config reference >docs/configuration.md")
	}
	for _, key := range []string{"`store.path`", "`notify.channels[].smtp.password_file`", "`hooks.NAME.command`", "`tenants[].identity.client_id`", "`defaults.prove.within`"} {
		if !strings.Contains(text, "| "+key+" |") {
			t.Errorf("the key %s is missing", key)
		}
	}
	for _, s := range config.Settings() {
		if s.About == "" {
			t.Errorf("%s says nothing about itself", s.Key)
		}
	}
	if page := config.ReferenceMan("2026-11-30"); !strings.Contains(page, ".B defaults.overlap\n") || !strings.Contains(page, `Default: 14d`) {
		t.Error("rotate.yaml(5) lacks defaults.overlap, or its default")
	}
}
