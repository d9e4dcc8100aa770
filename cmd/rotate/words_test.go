package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// dialect are words of the project that a stranger reads twice.
var dialect = regexp.MustCompile(`(?i)\\b(is told|was told|are told|told again|tells of|unasked|goes on|go on with|somebody else|may give orders|mend(ed|s)?|held back|holds back|the very|of ours|not ours)\\b`)

// TestNoDialectInHelp: one line about each command, and about each of its flags, in words
// that everybody uses.
func TestNoDialectInHelp(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if found := dialect.FindString(c.Short); found != "" {
			t.Errorf("%s: %q", c.CommandPath(), found)
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if found := dialect.FindString(f.Usage); found != "" {
				t.Errorf("%s --%s: %q", c.CommandPath(), f.Name, found)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(&environment{getenv: func(string) string { return "" }}))
}

// TestNoDialectInDocuments: the documents that a stranger reads first.
func TestNoDialectInDocuments(t *testing.T) {
	for _, name := range []string{"README.md", "docs/README.md", "docs/getting-started.md", "docs/howto.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if found := dialect.FindString(line); found != "" {
				t.Errorf("%s:%d: %q", name, i+1, found)
			}
		}
	}
}
