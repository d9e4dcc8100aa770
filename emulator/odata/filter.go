package odata

import (
	"slices"
	"strings"
)

// maxDepth bounds how deep parentheses may be nested.
const maxDepth = 100

// A Literal is a value in a query. Its zero value is null.
type Literal struct {
	// Type is the EDM type, empty for null. Text is the value as it was written,
	// a string without its quotes.
	Type, Text string
}

// A Filter is a condition on objects of one type.
type Filter struct {
	root node
}

// A node is one part of a condition.
type node interface {
	// check gives the comparisons below the node their types. typ is that of the
	// object, or of the element of a collection.
	check(s Schema, typ string) error
	// matches decides about one object or element.
	matches(value any) bool
	// clauses adds the comparisons below the node, prefix is the path to the object.
	clauses(prefix []string, negated bool, list []Clause) []Clause
}

// A Clause is one comparison of a filter.
type Clause struct {
	// Path is the property with the way to it: "displayName", "web/redirectUris/any",
	// "federatedIdentityCredentials/any/issuer", "owners/$count".
	Path string
	// Operator is "eq", "ne", "ge", "le", "in", "startswith" or "endswith".
	Operator string
	// Null tells that it is a comparison with null, Negated that it stands below a not.
	Null, Negated bool
	// Number is what a $count is compared with.
	Number string
}

// The two connectives.
type (
	both   struct{ left, right node }
	either struct{ left, right node }
	not    struct{ inner node }
)

// A comparison compares a property, or with an empty path the element itself.
type comparison struct {
	path     []string
	operator string
	values   []Literal
	edm      string // type of the property, set by check
}

// An anyOf holds if a collection has an element for which its inner condition holds.
type anyOf struct {
	path  []string
	inner node
}

// ParseFilter reads $filter.
func ParseFilter(text string) (*Filter, error) {
	p := parser{lexer: lexer{text: text}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		if p.token.kind == tokenName && isSpace(text[p.token.at-1]) {
			return nil, &UnknownError{"operator " + p.token.text}
		}
		return nil, &SyntaxError{p.token.at, "the end"}
	}
	return &Filter{root}, nil
}

// Clauses returns the comparisons of the filter in the order in which they stand.
func (f *Filter) Clauses() []Clause { return f.root.clauses(nil, false, nil) }

// A parser reads a filter by recursive descent.
type parser struct {
	lexer    lexer
	token    token
	variable string // of the lambda that is being read
	depth    int
}

// advance reads the next token.
func (p *parser) advance() (err error) {
	p.token, err = p.lexer.next()
	return err
}

// expect reads a punctuation mark.
func (p *parser) expect(mark string) error {
	if !p.token.is(mark) {
		return &SyntaxError{p.token.at, "'" + mark + "'"}
	}
	return p.advance()
}

func (p *parser) or() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, &SyntaxError{p.token.at, "fewer parentheses"}
	}
	defer func() { p.depth-- }()
	left, err := p.and()
	for err == nil && p.token.isWord("or") {
		if err = p.advance(); err != nil {
			break
		}
		var right node
		if right, err = p.and(); err == nil {
			left = &either{left, right}
		}
	}
	return left, err
}

func (p *parser) and() (node, error) {
	left, err := p.unary()
	for err == nil && p.token.isWord("and") {
		if err = p.advance(); err != nil {
			break
		}
		var right node
		if right, err = p.unary(); err == nil {
			left = &both{left, right}
		}
	}
	return left, err
}

func (p *parser) unary() (node, error) {
	if !p.token.isWord("not") {
		return p.primary()
	}
	if p.depth++; p.depth > maxDepth {
		return nil, &SyntaxError{p.token.at, "fewer negations"}
	}
	defer func() { p.depth-- }()
	if err := p.advance(); err != nil {
		return nil, err
	}
	inner, err := p.unary()
	if err != nil {
		return nil, err
	}
	return &not{inner}, nil
}

func (p *parser) primary() (node, error) {
	switch {
	case p.token.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.or()
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	case p.token.kind == tokenLiteral:
		return nil, &UnknownError{"a comparison that begins with a value"}
	case p.token.kind != tokenName:
		return nil, &SyntaxError{p.token.at, "a property or a function"}
	}
	name := p.token.text
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.is("(") {
		return p.call(strings.ToLower(name), name)
	}
	path, err := p.path(name)
	if err != nil {
		return nil, err
	}
	if last := path[len(path)-1]; p.token.is("(") && len(path) > 1 {
		return p.lambda(path[:len(path)-1], last)
	}
	return p.compare(path)
}

// path reads the rest of a path whose first name was read.
func (p *parser) path(first string) ([]string, error) {
	path := []string{first}
	for p.token.is("/") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.token.kind != tokenName {
			return nil, &SyntaxError{p.token.at, "a property"}
		}
		path = append(path, p.token.text)
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	return path, nil
}

// relative returns a path as it is seen from the object, or from the element that
// the variable of a lambda stands for.
func (p *parser) relative(path []string) ([]string, error) {
	if p.variable == "" {
		return path, nil
	}
	if path[0] != p.variable {
		return nil, &UnknownError{"property " + path[0] + " of the object within any()"}
	}
	return path[1:], nil
}

// call reads startswith(path,'text') and endswith(path,'text').
func (p *parser) call(function, written string) (node, error) {
	if function != "startswith" && function != "endswith" {
		return nil, &UnknownError{"function " + written}
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.kind != tokenName {
		return nil, &SyntaxError{p.token.at, "a property"}
	}
	name := p.token.text
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.is("(") {
		return nil, &UnknownError{"function " + name}
	}
	path, err := p.path(name)
	if err != nil {
		return nil, err
	}
	if path, err = p.relative(path); err != nil {
		return nil, err
	}
	if err := p.expect(","); err != nil {
		return nil, err
	}
	value, err := p.literal()
	if err != nil {
		return nil, err
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	// startswith(…) eq true says the same in more words.
	if p.token.isWord("eq") {
		return nil, &UnknownError{"a comparison of " + written + "(…)"}
	}
	return &comparison{path: path, operator: function, values: []Literal{value}}, nil
}

// lambda reads any(x:…) behind a path.
func (p *parser) lambda(path []string, function string) (node, error) {
	if function != "any" {
		return nil, &UnknownError{"function " + function}
	}
	if p.variable != "" {
		return nil, &UnknownError{"any() within any()"}
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.token.is(")") {
		return nil, &UnknownError{"any() without a condition"}
	}
	if p.token.kind != tokenName {
		return nil, &SyntaxError{p.token.at, "a variable"}
	}
	p.variable = p.token.text
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.expect(":"); err != nil {
		return nil, err
	}
	inner, err := p.or()
	if err != nil {
		return nil, err
	}
	p.variable = ""
	return &anyOf{path, inner}, p.expect(")")
}

// compare reads an operator and what stands on its right side.
func (p *parser) compare(path []string) (node, error) {
	path, err := p.relative(path)
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenName {
		return nil, &SyntaxError{p.token.at, "an operator"}
	}
	operator := strings.ToLower(p.token.text)
	if !slices.Contains([]string{"eq", "ne", "ge", "le", "in"}, operator) {
		return nil, &UnknownError{"operator " + p.token.text}
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if operator != "in" {
		value, err := p.literal()
		return &comparison{path: path, operator: operator, values: []Literal{value}}, err
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	c := &comparison{path: path, operator: operator}
	for {
		value, err := p.literal()
		if err != nil {
			return nil, err
		}
		c.values = append(c.values, value)
		if !p.token.is(",") {
			return c, p.expect(")")
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
}

// literal reads a value.
func (p *parser) literal() (Literal, error) {
	if p.token.kind == tokenName {
		return Literal{}, &UnknownError{"property or function " + p.token.text + " on the right side"}
	}
	if p.token.kind != tokenLiteral {
		return Literal{}, &SyntaxError{p.token.at, "a value"}
	}
	value := p.token.literal
	return value, p.advance()
}
