package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEntraEvidence: docs/entra-evidence.md has a row for each fact, and each test that
// it names is there. A name stands for the tests that begin with it.
func TestEntraEvidence(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "entra-evidence.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOf(t, filepath.Join("..", ".."))
	exists := func(name string) bool {
		for test := range tests {
			// TestL1 is the beginning of TestL1KeyIDs, and not of TestL12.
			if rest, ok := strings.CutPrefix(test, name); ok && (rest == "" || rest[0] >= 'A' && rest[0] <= 'Z') {
				return true
			}
		}
		return false
	}
	name := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	facts, named := map[string]bool{}, 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) < 4 {
			continue
		}
		fact := strings.TrimSpace(cells[0])
		found := name.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if regexp.MustCompile(`^L[0-9]+$`).MatchString(fact) {
			facts[fact] = true
			if len(found) != 1 || found[0][1] != "Test"+fact {
				t.Errorf("%s names %v, want Test%s", fact, found, fact)
			}
		}
		for _, f := range found {
			named++
			if !exists(f[1]) {
				t.Errorf("%.60s: no test begins with %s", fact, f[1])
			}
		}
	}
	// The page that was read is the real one.
	if len(facts) != 20 || named < 30 {
		t.Errorf("found %d facts and %d names, want L1 to L20 and at least 30", len(facts), named)
	}
}

// testsOf are the names of the test functions below a folder.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
