package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryTestHasAPlace compares the tests in the source with the lists in .ci/run, so
// that none is forgotten and none runs twice: each package is in one of its two lists,
// each that has tests with the tag e2e has them run, and each test that is left out
// there has a step of its own. Fuzz targets are listed each.
func TestEveryTestHasAPlace(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, ".ci", "run"))
	if err != nil {
		t.Fatal(err)
	}
	script := string(text)
	list := func(name string) []string {
		m := regexp.MustCompile(`(?m)^` + name + `=\(([^)]*)\)`).FindStringSubmatch(script)
		if m == nil {
			t.Fatalf(".ci/run has no list %s", name)
		}
		return strings.Fields(m[1])
	}
	race, plain, tagged, targets := list("race"), list("plain"), list("tagged"), list("targets")
	// With the tag they run each line; the tag changes nothing else there.
	crash := `-run "$crash" ./rotator`
	alone := regexp.MustCompile(`(?m)^alone='\^\(([^)]*)\)\$'`).FindStringSubmatch(script)
	if alone == nil {
		t.Fatal(".ci/run does not say which tests have a step of their own")
	}
	left := strings.Split(alone[1], "|")

	for folder, found := range testsOf(t, root) {
		if in := slices.Contains(race, folder); in == slices.Contains(plain, folder) {
			t.Errorf("%s must be in one of the lists race and plain of .ci/run", folder)
		} else if want := in && found.tagged; want != slices.Contains(tagged, folder) {
			t.Errorf("%s has tests with the tag e2e that are not run otherwise: %v; it is in the list tagged: %v", folder, want, !want)
		}
		if folder == "rotator" && !strings.Contains(script, crash) {
			t.Errorf(".ci/run does not run the whole crash tables (%s)", crash)
		}
		for _, name := range found.fuzz {
			// To instrument the Graph SDK takes longer than all fuzzing; what graph's target
			// starts from runs as a test.
			if folder != "graph" && !slices.Contains(targets, folder+":"+name) {
				t.Errorf("%s of %s is not fuzzed by .ci/run", name, folder)
			}
		}
		left = slices.DeleteFunc(left, func(name string) bool {
			return folder == "cmd/rotate" && slices.Contains(found.tests, name)
		})
	}
	if len(left) > 0 {
		t.Errorf("left out in .ci/run, but not there: %v", left)
	}
	making, err := os.ReadFile(filepath.Join(root, "docs", "images", "make"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(alone[1], "|") {
		if run := "-run '^" + name + "$'"; !strings.Contains(script+string(making), run) {
			t.Errorf("%s is left out in .ci/run and has no step (%s)", name, run)
		}
	}
}

// A packageTests is what the test files of one folder declare.
type packageTests struct {
	tests, fuzz []string
	tagged      bool // some tests have the tag e2e
}

// testsOf reads all test files below root, by folder.
func testsOf(t *testing.T, root string) map[string]*packageTests {
	t.Helper()
	all := map[string]*packageTests{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		folder = filepath.ToSlash(folder)
		if all[folder] == nil {
			all[folder] = &packageTests{}
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			switch {
			case !ok || f.Recv != nil:
			case strings.HasPrefix(f.Name.Name, "Fuzz"):
				all[folder].fuzz = append(all[folder].fuzz, f.Name.Name)
			case strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain":
				all[folder].tests = append(all[folder].tests, f.Name.Name)
				all[folder].tagged = all[folder].tagged || strings.HasPrefix(string(text), "//go:build e2e")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
