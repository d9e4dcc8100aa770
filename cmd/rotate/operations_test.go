package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestOperations walks the words by which the program says how things stand, in its
// source, and wants each in docs/operations.md: whoever reads one there at night
// finds it.
func TestOperations(t *testing.T) {
	docs := string(must1(os.ReadFile(filepath.Join("..", "..", "docs", "operations.md")))(t))
	words := map[string]int{}
	want := func(kind, text, where string) {
		words[kind]++
		if !strings.Contains(docs, text) {
			t.Errorf("docs/operations.md lacks %s (%s, %s)", text, kind, where)
		}
	}
	constant := regexp.MustCompile(`^(Waiting|Class|Reason|Phase|Event)[A-Z]`)
	for _, folder := range []string{"rotator", "control"} {
		for _, path := range must1(filepath.Glob(filepath.Join("..", "..", folder, "*.go")))(t) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file := must1(parser.ParseFile(token.NewFileSet(), path, nil, 0))(t)
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GenDecl:
					if folder != "rotator" || n.Tok != token.CONST {
						return true
					}
					for _, spec := range n.Specs {
						value, ok := spec.(*ast.ValueSpec)
						if !ok {
							continue
						}
						kind := constant.FindStringSubmatch(value.Names[0].Name)
						if kind == nil || len(value.Values) == 0 {
							continue
						}
						if word, ok := text(value.Values[0]); ok {
							want(kind[1], "`"+word+"`", value.Names[0].Name)
						}
					}
				case *ast.FuncDecl:
					if n.Name.Name == "problems" {
						for _, problem := range sentences(n.Body) {
							want("problem", problem, path)
						}
						return false
					}
				case *ast.CallExpr:
					// The findings of the look ahead.
					if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "add" && filepath.Base(path) == "preflight.go" {
						if word, ok := text(n.Args[0]); ok {
							want("finding", "`"+word+"`", path)
						}
					}
				}
				return true
			})
		}
	}
	// The source that was walked is the real one.
	for kind, least := range map[string]int{"Waiting": 11, "Class": 5, "Reason": 19, "Phase": 8, "Event": 15, "problem": 8, "finding": 7} {
		if words[kind] < least {
			t.Errorf("found %d words of %s, want at least %d", words[kind], kind, least)
		}
	}
}

// text is the value of a literal.
func text(e ast.Expr) (string, bool) {
	literal, ok := e.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", false
	}
	value, err := strconv.Unquote(literal.Value)
	return value, err == nil
}

// sentences are the texts of a function, each up to what is filled in; pieces that
// only join are left out.
func sentences(body ast.Node) []string {
	var all []string
	ast.Inspect(body, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if value, ok := text(e); ok {
				value, _, _ = strings.Cut(value, "%")
				if value = strings.TrimSpace(value); len(value) > 2 {
					all = append(all, value)
				}
			}
		}
		return true
	})
	return all
}
