package odata

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Schema says which properties types have.
type Schema interface {
	// PropertyType returns the EDM type of a property or a relationship, such as
	// "Edm.String", "graph.webApplication" or "Collection(graph.keyCredential)"; false
	// if the type has none of that name. typ has no namespace.
	PropertyType(typ, name string) (edm string, ok bool)
}

// An Object is what a filter is asked about: its properties by name, nil for those
// that it does not have. Values are as JSON has them: string, bool, number, []any and
// map[string]any.
type Object func(name string) any

// Check gives the properties of the filter their types. It returns a
// [*PropertyError] for one that the type does not have, a [*TypeError] for a value of
// another type, and an [*UnknownError] for what cannot be compared here.
func (f *Filter) Check(s Schema, typ string) error { return f.root.check(s, typ) }

// Matches decides about one object. [Filter.Check] comes first.
func (f *Filter) Matches(o Object) bool { return f.root.matches(o) }

func (n *both) matches(v any) bool   { return n.left.matches(v) && n.right.matches(v) }
func (n *either) matches(v any) bool { return n.left.matches(v) || n.right.matches(v) }
func (n *not) matches(v any) bool    { return !n.inner.matches(v) }

func (n *both) check(s Schema, typ string) error   { return checkAll(s, typ, n.left, n.right) }
func (n *either) check(s Schema, typ string) error { return checkAll(s, typ, n.left, n.right) }
func (n *not) check(s Schema, typ string) error    { return n.inner.check(s, typ) }

func checkAll(s Schema, typ string, nodes ...node) error {
	for _, n := range nodes {
		if err := n.check(s, typ); err != nil {
			return err
		}
	}
	return nil
}

func (n *both) clauses(prefix []string, negated bool, list []Clause) []Clause {
	return n.right.clauses(prefix, negated, n.left.clauses(prefix, negated, list))
}

func (n *either) clauses(prefix []string, negated bool, list []Clause) []Clause {
	return n.right.clauses(prefix, negated, n.left.clauses(prefix, negated, list))
}

func (n *not) clauses(prefix []string, _ bool, list []Clause) []Clause {
	return n.inner.clauses(prefix, true, list)
}

func (n *anyOf) clauses(prefix []string, negated bool, list []Clause) []Clause {
	return n.inner.clauses(concat(concat(prefix, n.path), []string{"any"}), negated, list)
}

func (n *comparison) clauses(prefix []string, negated bool, list []Clause) []Clause {
	return append(list, Clause{
		Path: strings.Join(concat(prefix, n.path), "/"), Operator: n.operator,
		Null: n.values[0].Type == "", Negated: negated, Number: n.values[0].Text,
	})
}

// concat never writes into the array of its first argument, which others share.
func concat(a, b []string) []string { return append(a[:len(a):len(a)], b...) }

// resolve returns the type at the end of a path.
func resolve(s Schema, typ string, path []string) (string, error) {
	edm := "graph." + typ
	for i, name := range path {
		inner, collection := element(edm)
		if collection {
			if name == "$count" && i == len(path)-1 {
				return typeInt, nil
			}
			return "", &UnknownError{"property " + name + " of a collection without any()"}
		}
		owner := strings.TrimPrefix(strings.TrimPrefix(inner, "microsoft."), "graph.")
		if strings.Contains(name, ".") {
			return "", &UnknownError{"cast to " + name}
		}
		next, ok := s.PropertyType(owner, name)
		if !ok {
			return "", &PropertyError{owner, name}
		}
		edm = next
	}
	return edm, nil
}

// element returns the type of the elements of a collection.
func element(edm string) (inner string, collection bool) {
	inner, collection = strings.CutPrefix(edm, "Collection(")
	if !collection {
		return edm, false
	}
	return strings.TrimSuffix(inner, ")"), true
}

func (n *anyOf) check(s Schema, typ string) error {
	edm, err := resolve(s, typ, n.path)
	if err != nil {
		return err
	}
	inner, collection := element(edm)
	if !collection {
		return &UnknownError{"any() on " + strings.Join(n.path, "/") + ", which is no collection,"}
	}
	return n.inner.check(s, strings.TrimPrefix(strings.TrimPrefix(inner, "microsoft."), "graph."))
}

func (n *comparison) check(s Schema, typ string) (err error) {
	if n.edm = typ; len(n.path) > 0 {
		if n.edm, err = resolve(s, typ, n.path); err != nil {
			return err
		}
	}
	if _, collection := element(n.edm); collection {
		return &UnknownError{"operator " + n.operator + " on the collection " + strings.Join(n.path, "/")}
	}
	for _, value := range n.values {
		if value.Type == "" && (n.operator == "eq" || n.operator == "ne") {
			continue
		}
		if err := n.comparable(value); err != nil {
			return err
		}
	}
	return nil
}

// comparable says whether a value can stand on the right side.
func (n *comparison) comparable(value Literal) error {
	fits := false
	switch n.edm {
	case typeString, typeGUID, typeBoolean, typeInt:
		fits = value.Type == n.edm
	case typeDateTime:
		fits = value.Type == typeDateTime || value.Type == typeDate
	default:
		return &UnknownError{"comparison of the type " + n.edm}
	}
	if text := n.operator == "startswith" || n.operator == "endswith"; text && n.edm != typeString {
		return &UnknownError{"function " + n.operator + " of the type " + n.edm}
	}
	if !fits {
		right := value.Type
		if right == "" {
			right = "null"
		}
		return &TypeError{n.edm, right, operatorKind(n.operator)}
	}
	return nil
}

// operatorKind is the name of an operator in messages.
func operatorKind(operator string) string {
	switch operator {
	case "ne":
		return "NotEqual"
	case "ge":
		return "GreaterThanOrEqual"
	case "le":
		return "LessThanOrEqual"
	}
	return "Equal"
}

func (n *anyOf) matches(v any) bool {
	list, _ := follow(v, n.path).([]any)
	for _, e := range list {
		if n.inner.matches(e) {
			return true
		}
	}
	return false
}

func (n *comparison) matches(v any) bool {
	got := follow(v, n.path)
	if n.operator == "ne" {
		return !n.holds(got, "eq", n.values[0])
	}
	for _, value := range n.values {
		if n.holds(got, n.operator, value) {
			return true
		}
	}
	return false
}

// holds compares a value of an object with one of the filter. The directory compares
// text without regard to case.
func (n *comparison) holds(got any, operator string, want Literal) bool {
	if want.Type == "" || got == nil {
		return want.Type == "" && got == nil
	}
	have := fmt.Sprint(got)
	switch {
	case operator == "startswith":
		return len(have) >= len(want.Text) && strings.EqualFold(have[:len(want.Text)], want.Text)
	case operator == "endswith":
		return len(have) >= len(want.Text) && strings.EqualFold(have[len(have)-len(want.Text):], want.Text)
	case n.edm == typeDateTime:
		a, b := instant(have), instant(want.Text)
		return ordered(operator, a.Compare(b))
	case n.edm == typeInt:
		a, _ := strconv.Atoi(have)
		b, _ := strconv.Atoi(want.Text)
		return ordered(operator, a-b)
	}
	if operator == "eq" || operator == "in" {
		return strings.EqualFold(have, want.Text)
	}
	return ordered(operator, strings.Compare(strings.ToLower(have), strings.ToLower(want.Text)))
}

func ordered(operator string, order int) bool {
	switch operator {
	case "ge":
		return order >= 0
	case "le":
		return order <= 0
	}
	return order == 0
}

func instant(text string) time.Time {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

// follow returns the value at the end of a path, nil where it breaks off.
func follow(v any, path []string) any {
	for _, name := range path {
		switch at := v.(type) {
		case Object:
			v = at(name)
		case map[string]any:
			v = at[name]
		case []any:
			// Checked before: only $count is left.
			v = json.Number(strconv.Itoa(len(at)))
		default:
			// A collection that the object does not have is empty.
			if name == "$count" {
				return json.Number("0")
			}
			return nil
		}
	}
	return v
}
