package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestSecurityDocument: each test that docs/security.md names is there.
func TestSecurityDocument(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOf(t, filepath.Join("..", ".."))
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	for _, name := range named {
		if !tests[name[1]] {
			t.Errorf("there is no test %s", name[1])
		}
	}
	if len(named) < 30 {
		t.Errorf("the page names %d tests, want at least 30", len(named))
	}
}
