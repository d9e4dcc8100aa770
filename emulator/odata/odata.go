// Package odata reads the query language of Graph ($filter, $search, $orderby and
// $expand) and answers it for objects in memory.
//
// Start with [ParseFilter]; [Filter.Check] gives the properties their types, and
// [Filter.Matches] decides about one object. What Graph documents for which property
// is not known here: see [Filter.Clauses].
//
// The grammar is the part of OData that Graph documents for objects of the
// directory. What is beyond it is an [*UnknownError], never a guess; what is no OData
// at all is a [*SyntaxError].
//
// https://learn.microsoft.com/graph/filter-query-parameter
// https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part2-url-conventions.html
package odata

import (
	"fmt"
	"strings"
)

// An UnknownError is a part of a query that may mean something to Graph and is not
// known here.
type UnknownError struct {
	// What names it: "function contains".
	What string
}

func (e *UnknownError) Error() string { return e.What + " is not known" }

// A SyntaxError is a query that is not well-formed.
type SyntaxError struct {
	// At is the position in the text, in bytes.
	At int
	// Want is what was expected there.
	Want string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("expected %s at position %d", e.Want, e.At) }

// A TypeError is a comparison of things that cannot be compared.
type TypeError struct {
	// Left and Right are the types of the two sides, Operator OData's name of the
	// operator: "Equal".
	Left, Right, Operator string
}

// Error returns the text of Microsoft's OData library.
func (e *TypeError) Error() string {
	return fmt.Sprintf("A binary operator with incompatible types was detected. Found operand types '%s' and '%s' for operator kind '%s'.", e.Left, e.Right, e.Operator)
}

// A PropertyError is a property that a type does not have.
type PropertyError struct{ Type, Name string }

func (e *PropertyError) Error() string {
	return fmt.Sprintf("Could not find a property named '%s' on type 'microsoft.graph.%s'.", e.Name, e.Type)
}

// An Order is one property of $orderby.
type Order struct {
	Property   string
	Descending bool
}

// ParseOrder reads $orderby.
func ParseOrder(text string) ([]Order, error) {
	var list []Order
	at := 0
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		switch {
		case len(words) == 1, len(words) == 2 && strings.EqualFold(words[1], "asc"):
			list = append(list, Order{Property: words[0]})
		case len(words) == 2 && strings.EqualFold(words[1], "desc"):
			list = append(list, Order{words[0], true})
		default:
			return nil, &SyntaxError{at, "a property, and asc or desc"}
		}
		at += len(part) + 1
	}
	return list, nil
}

// An Expansion is one relationship of $expand.
type Expansion struct {
	Name string
	// Selected are the properties of the related objects; nil: all.
	Selected []string
}

// ParseExpand reads $expand with one relationship and, in parentheses, a $select.
func ParseExpand(text string) (Expansion, error) {
	name, rest, nested := strings.Cut(text, "(")
	e := Expansion{Name: strings.TrimSpace(name)}
	if strings.Contains(name, ",") {
		return e, &UnknownError{"more than one relationship in $expand"}
	}
	if !nested {
		return e, nil
	}
	inner, closed := strings.CutSuffix(strings.TrimSpace(rest), ")")
	if !closed {
		return e, &SyntaxError{len(text), "')'"}
	}
	selected, ok := strings.CutPrefix(strings.TrimSpace(inner), "$select=")
	if !ok || strings.ContainsAny(selected, "$;()") {
		return e, &UnknownError{"option " + inner + " in $expand"}
	}
	for name := range strings.SplitSeq(selected, ",") {
		e.Selected = append(e.Selected, strings.TrimSpace(name))
	}
	return e, nil
}
