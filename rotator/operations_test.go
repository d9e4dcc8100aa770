package rotator_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestOperations finds in docs/operations.md every word that "rotate status" can say
// about an app: what it waits for, the class of a failure, and the problems of the
// whole.
func TestOperations(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]int{}
	set := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, s := range decl.Specs {
				spec, ok := s.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, constant := range spec.Names {
					kind := ""
					for _, prefix := range []string{"Waiting", "Class"} {
						if strings.HasPrefix(constant.Name, prefix) {
							kind = prefix
						}
					}
					literal, ok := spec.Values[min(i, len(spec.Values)-1)].(*ast.BasicLit)
					if kind == "" || !ok || literal.Kind != token.STRING {
						continue
					}
					word, err := strconv.Unquote(literal.Value)
					if err != nil {
						t.Fatal(err)
					}
					words[kind]++
					if !strings.Contains(text, "`"+word+"`") {
						t.Errorf("docs/operations.md does not explain `%s` (%s)", word, constant.Name)
					}
				}
			}
		}
	}
	if words["Waiting"] < 8 || words["Class"] < 5 {
		t.Errorf("%v words found; are the constants read well?", words)
	}
	for _, problem := range []string{
		"the store cannot be written since", "the last good check was", "no good check was ever made",
		"the last check failed", "late:", "needs a look:", "not reloaded at",
	} {
		if !strings.Contains(text, problem) {
			t.Errorf("docs/operations.md does not explain %q", problem)
		}
	}
}
