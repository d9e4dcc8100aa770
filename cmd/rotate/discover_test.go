package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/control"
)

// TestDiscoverHostileNames: names are those of whoever made the app. They reach
// no terminal, spreadsheet or parser as anything but text.
func TestDiscoverHostileNames(t *testing.T) {
	names := []string{
		`=HYPERLINK("http://evil.example","click")`, "+1+1", "-2+3", "@SUM(A1)", "  =1+1", "\t=1+1", "\r=1", "＝1+1",
		"<script>alert(1)</script>", "\x1b]0;owned\x07\x1b[2J", "line\nbreak", "a\u202egnp.exe", "null\x00byte", "\xff\xfe",
		`"quoted", with comma`, "- yaml: [", "? : &anchor *alias !!binary", "#comment", "'single", strings.Repeat("long ", 100), "", "Ünïcode 漢字",
	}
	now := time.Now()
	end := now.Add(40 * day)
	for _, name := range names {
		f := control.Found{
			Tenant: "contoso", Kind: "app", DisplayName: name, ClientID: "11111111-2222-3333-4444-555555555555", Owners: []string{name, name},
			Credentials: []control.FoundCredential{{Kind: "secret", DisplayName: name, KeyID: "k", NotAfter: &end}, {Kind: "certificate", DisplayName: name}},
		}
		out := map[listFormat]string{}
		for _, format := range listFormats() {
			f1 := listFormat(format)
			var b bytes.Buffer
			w := f1.writer(&terminal{w: &b}, now)
			for range 2 {
				if err := w.found(f); err != nil {
					t.Fatalf("%q as %s: %v", name, format, err)
				}
			}
			if err := w.end(); err != nil {
				t.Fatalf("%q as %s: %v", name, format, err)
			}
			out[f1] = b.String()
			odd := func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }
			if format != "json" && format != "yaml" && strings.ContainsFunc(b.String(), odd) {
				t.Errorf("%q as %s prints control characters: %q", name, format, b.String())
			}
			if strings.ContainsAny(b.String(), "\x1b\x00\x07") || format == "yaml" && strings.ContainsFunc(b.String(), odd) {
				t.Errorf("%q as %s: %q", name, format, b.String())
			}
		}
		if lines := strings.Count(out["table"], "\n"); lines != 5 {
			t.Errorf("%q: the table has %d lines, want a head and 4", name, lines)
		}
		var fromJSON []control.Found
		var fromYAML []map[string]any
		if err := json.Unmarshal([]byte(out["json"]), &fromJSON); err != nil || len(fromJSON) != 2 {
			t.Errorf("%q as json: %v", name, err)
		} else if fromJSON[1].DisplayName != name && !strings.Contains(name, "\xff") {
			t.Errorf("json holds %q, want %q", fromJSON[1].DisplayName, name)
		}
		if err := yaml.Unmarshal([]byte(out["yaml"]), &fromYAML); err != nil || len(fromYAML) != 2 {
			t.Errorf("%q as yaml: %v\n%s", name, err, out["yaml"])
		} else if got := fromYAML[1]["display_name"]; got != strings.ToValidUTF8(name, "\ufffd") {
			t.Errorf("yaml holds %q, want %q", got, name)
		} else if diff := cmp.Diff([]any{got, got}, fromYAML[0]["owners"]); diff != "" {
			t.Errorf("owners of %q in yaml (-want +got):\n%s", name, diff)
		}
		rows, err := csv.NewReader(strings.NewReader(out["csv"])).ReadAll()
		if err != nil || len(rows) != 5 {
			t.Fatalf("%q as csv: %d rows, %v", name, len(rows), err)
		}
		for _, cell := range rows[1] {
			if strings.TrimSpace(cell) != "" && strings.ContainsAny(strings.TrimSpace(cell)[:1], "=+-@\t\r") {
				t.Errorf("%q: a spreadsheet takes the cell %q for a formula", name, cell)
			}
		}
	}
}
