package odata_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator/odata"
)

// schema is a type with one property of each kind.
type schema map[string]string

func (s schema) PropertyType(typ, name string) (string, bool) {
	edm, ok := s[typ+"."+name]
	return edm, ok
}

func testSchema() schema {
	return schema{
		"thing.name": "Edm.String", "thing.id": "Edm.Guid", "thing.on": "Edm.Boolean", "thing.at": "Edm.DateTimeOffset",
		"thing.size": "Edm.Int32", "thing.tags": "Collection(Edm.String)", "thing.web": "graph.web", "thing.keys": "Collection(graph.key)",
		"web.uris": "Collection(Edm.String)", "web.home": "Edm.String", "key.id": "Edm.Guid", "key.at": "Edm.DateTimeOffset", "thing.raw": "Edm.Binary",
	}
}

func object(t *testing.T, text string) odata.Object {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	return func(name string) any { return m[name] }
}

func TestFilter(t *testing.T) {
	thing := object(t, `{"name":"It's One", "id":"7ab1d382-f21e-4acd-a863-ba3e13f7da61", "on":true, "at":"2026-03-01T12:00:00Z", "size":3,
		"tags":["a","b c"], "web":{"uris":["https://one.example/cb"],"home":null}, "keys":[{"id":"06b708a9-e830-4db3-a914-8e69da51d44f","at":"2026-01-01T00:00:00Z"}], "none":null}`)
	for _, tt := range []struct {
		filter string
		want   bool
	}{
		{"name eq 'it''s one'", true},
		{"name eq 'it''s'", false},
		{"name ne 'x'", true},
		{"name in ('x','It''s One')", true},
		{"name in ('x','y')", false},
		{"startswith(name,'IT')", true},
		{"startsWith( name , 'One')", false},
		{"endswith(name,'one')", true},
		{"name ge 'a' and name le 'z'", true},
		{"id eq 7AB1D382-f21e-4acd-a863-ba3e13f7da61", true},
		{"on eq true", true},
		{"on eq false", false},
		{"at ge 2026-03-01T12:00:00Z and at le 2026-03-01T13:00:00+01:00", true},
		{"at ge 2026-03-02", false},
		{"size eq 3", true},
		{"size ge 4", false},
		{"web/home eq null", true},
		{"web/home ne null", false},
		{"name eq null", false},
		{"tags/any(t:t eq 'B C')", true},
		{"tags/any(t:startswith(t,'c'))", false},
		{"web/uris/any(u:startswith(u,'https://one'))", true},
		{"keys/any(k:k/id eq 06b708a9-e830-4db3-a914-8e69da51d44f and k/at le 2026-02-01T00:00:00Z)", true},
		{"tags/$count eq 2", true},
		{"tags/$count ne 2", false},
		{"not tags/any(t:t eq 'a')", false},
		{"NOT(name eq 'x')", true},
		{"not not on eq true", true},
		// and binds closer than or.
		{"on eq true or on eq false and on eq false", true},
		{"(on eq true or on eq false) and on eq false", false},
		{"  on   eq\ttrue  ", true},
	} {
		f, err := odata.ParseFilter(tt.filter)
		if err != nil {
			t.Errorf("%s: %v", tt.filter, err)
			continue
		}
		if err := f.Check(testSchema(), "thing"); err != nil {
			t.Errorf("%s: %v", tt.filter, err)
			continue
		}
		if got := f.Matches(thing); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.filter, got, tt.want)
		}
	}
}

// TestFilterRefused tells apart what is not known and what is wrong.
func TestFilterRefused(t *testing.T) {
	for _, tt := range []struct{ filter, want string }{
		{"contains(name,'x')", "function contains is not known"},
		{"tolower(name) eq 'x'", "function tolower is not known"},
		{"startswith(tolower(name),'x')", "function tolower is not known"},
		{"name gt 'x'", "operator gt is not known"},
		{"size add 1 eq 2", "operator add is not known"},
		{"on eq true xor on eq false", "operator xor is not known"},
		{"tags/all(t:t eq 'x')", "function all is not known"},
		{"tags/any()", "any() without a condition is not known"},
		{"tags/any(t:name eq 'x')", "property name of the object within any() is not known"},
		{"keys/any(k:k/id eq 06b708a9-e830-4db3-a914-8e69da51d44f or keys/any(l:l/id eq null))", "any() within any() is not known"},
		{"'x' eq name", "a comparison that begins with a value is not known"},
		{"name eq name", "property or function name on the right side is not known"},
		{"startswith(name,'x') eq true", "a comparison of startswith(…) is not known"},
		{"tags eq 'x'", "operator eq on the collection tags is not known"},
		{"raw eq 'x'", "comparison of the type Edm.Binary is not known"},
		{"web eq 'x'", "comparison of the type graph.web is not known"},
		{"name/any(n:n eq 'x')", "any() on name, which is no collection, is not known"},
		{"keys/id eq null", "property id of a collection without any() is not known"},
		{"missing eq 'x'", "Could not find a property named 'missing' on type 'microsoft.graph.thing'."},
		{"web/missing eq 'x'", "Could not find a property named 'missing' on type 'microsoft.graph.web'."},
		{"name eq 7ab1d382-f21e-4acd-a863-ba3e13f7da61", "Found operand types 'Edm.String' and 'Edm.Guid' for operator kind 'Equal'."},
		{"id ne 'x'", "Found operand types 'Edm.Guid' and 'Edm.String' for operator kind 'NotEqual'."},
		{"name ge null", "Found operand types 'Edm.String' and 'null'"},
		{"name eq 'x", "expected a string that is closed at position 8"},
		{"name eq", "expected a value at position 7"},
		{"name", "expected an operator at position 4"},
		{"", "expected a property or a function at position 0"},
		{"(on eq true", "expected ')' at position 11"},
		{"on eq true)", "expected the end at position 10"},
		{"name eq 'a'b'", "expected the end at position 11"},
		{"name in ()", "expected a value at position 9"},
		{"at ge 2026-13-01", "expected a number or a date at position 6"},
		{"name eq #", "expected a name or a value at position 8"},
		{strings.Repeat("(", 1000) + "on eq true", "expected fewer parentheses at position 100"},
		{strings.Repeat("not ", 1000) + "on eq true", "expected fewer negations"},
	} {
		f, err := odata.ParseFilter(tt.filter)
		if err == nil {
			err = f.Check(testSchema(), "thing")
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60s: got %v, want %s", tt.filter, err, tt.want)
		}
		_, unknown := errors.AsType[*odata.UnknownError](err)
		if want := strings.HasSuffix(tt.want, "is not known"); unknown != want {
			t.Errorf("%.60s: not known is %v, want %v", tt.filter, unknown, want)
		}
	}
}

func TestClauses(t *testing.T) {
	f, err := odata.ParseFilter("keys/any(k:k/id eq null and k/at ge 2026-01-01) or not (tags/$count eq 0) and web/home in ('x')")
	if err != nil {
		t.Fatal(err)
	}
	want := []odata.Clause{
		{Path: "keys/any/id", Operator: "eq", Null: true},
		{Path: "keys/any/at", Operator: "ge", Number: "2026-01-01"},
		{Path: "tags/$count", Operator: "eq", Negated: true, Number: "0"},
		{Path: "web/home", Operator: "in", Number: "x"},
	}
	if diff := cmp.Diff(want, f.Clauses()); diff != "" {
		t.Errorf("clauses (-want +got):\n%s", diff)
	}
}

func TestSearch(t *testing.T) {
	for _, tt := range []struct {
		name, search string
		want         bool
	}{
		{"contoso-sync", `"name:contoso"`, true},
		{"contoso-sync", `"name:SYNC"`, true},
		{"contoso-sync", `"name:toso"`, false},
		{"contoso-sync", `"name:sync con"`, true},
		{"OneVideo", `"name:video"`, true},
		{"app12", `"name:12"`, true},
		{"contoso-sync", `"name:x" OR "name:sync"`, true},
		{"contoso-sync", `"name:x" AND "name:sync"`, false},
		{"contoso-sync", `("name:x" OR "name:con") AND "name:sync"`, true},
	} {
		s, err := odata.ParseSearch(tt.search)
		if err != nil {
			t.Errorf("%s: %v", tt.search, err)
			continue
		}
		if got := s.Matches(func(string) any { return tt.name }); got != tt.want {
			t.Errorf("%s in %s: got %v, want %v", tt.search, tt.name, got, tt.want)
		}
		if names := s.Properties(); slices.ContainsFunc(names, func(n string) bool { return n != "name" }) {
			t.Errorf("%s: searches %v", tt.search, names)
		}
	}
	for search, want := range map[string]string{
		"name:x": `expected '"'`, `"x"`: "expected property:text", `"name:"`: "expected property:text", `"name:x`: "closed",
		`"name:x" "name:y"`: "the end", `NOT "name:x"`: "NOT in $search is not known", `("name:x"`: "')'",
		strings.Repeat("(", 1000): "fewer parentheses",
	} {
		if _, err := odata.ParseSearch(search); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want %s", search, err, want)
		}
	}
}

func TestOrderAndExpand(t *testing.T) {
	order, err := odata.ParseOrder("name desc, at,size asc")
	if diff := cmp.Diff([]odata.Order{{Property: "name", Descending: true}, {Property: "at"}, {Property: "size"}}, order); err != nil || diff != "" {
		t.Errorf("order: %v\n%s", err, diff)
	}
	if _, err := odata.ParseOrder("name down"); err == nil {
		t.Error("name down: no error")
	}
	expand, err := odata.ParseExpand("owners($select=id, name)")
	if diff := cmp.Diff(odata.Expansion{Name: "owners", Selected: []string{"id", "name"}}, expand); err != nil || diff != "" {
		t.Errorf("expand: %v\n%s", err, diff)
	}
	for _, text := range []string{"owners,keys", "owners($top=1)", "owners($select=id;$top=1)", "owners($select=id"} {
		if _, err := odata.ParseExpand(text); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// FuzzFilter holds the parser to never panic, and what it takes to be evaluated.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"name eq 'x' and not (tags/any(t:t in ('a','b')) or web/home eq null)", "at ge 2026-01-01T00:00:00Z", "keys/$count eq 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		filter, err := odata.ParseFilter(text)
		if err != nil || filter.Check(testSchema(), "thing") != nil {
			return
		}
		filter.Clauses()
		filter.Matches(func(string) any { return nil })
	})
}
