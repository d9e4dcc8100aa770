package odata

import (
	"slices"
	"strings"
	"unicode"
)

// A Search is the condition of $search.
type Search struct {
	property string
	words    []string
	// The others are set for a condition of two.
	left, right *Search
	either      bool
}

// ParseSearch reads $search: quoted clauses of a property and text, with AND, OR and
// parentheses between them.
//
// https://learn.microsoft.com/graph/search-query-parameter#using-search-on-directory-object-collections
func ParseSearch(text string) (*Search, error) {
	p := searchParser{text: text}
	s, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.skip(); p.at != len(text) {
		return nil, &SyntaxError{p.at, "the end"}
	}
	return s, nil
}

// Properties returns the properties that are searched, in the order in which they
// stand.
func (s *Search) Properties() []string {
	if s.left == nil {
		return []string{s.property}
	}
	return slices.Concat(s.left.Properties(), s.right.Properties())
}

// Matches decides about one object: each word of the query must be the beginning of a
// word of the property. Words end at spaces and marks, between letters and digits,
// and where a capital letter follows a small one.
func (s *Search) Matches(o Object) bool {
	if s.left != nil {
		if s.either {
			return s.left.Matches(o) || s.right.Matches(o)
		}
		return s.left.Matches(o) && s.right.Matches(o)
	}
	text, _ := o(s.property).(string)
	have := words(text)
	for _, want := range s.words {
		if !slices.ContainsFunc(have, func(word string) bool { return strings.HasPrefix(word, want) }) {
			return false
		}
	}
	return true
}

// words cuts a text into lower-case words.
func words(text string) []string {
	var list []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			list = append(list, strings.ToLower(string(word)))
		}
		word = nil
	}
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			end()
			continue
		}
		if n := len(word); n > 0 {
			last := word[n-1]
			if unicode.IsDigit(last) != unicode.IsDigit(r) || unicode.IsLower(last) && unicode.IsUpper(r) {
				end()
			}
		}
		word = append(word, r)
	}
	end()
	return list
}

type searchParser struct {
	text string
	at   int
}

func (p *searchParser) skip() {
	for p.at < len(p.text) && isSpace(p.text[p.at]) {
		p.at++
	}
}

// take reads a word or a mark if it comes next.
func (p *searchParser) take(want string) bool {
	p.skip()
	if !strings.HasPrefix(p.text[p.at:], want) {
		return false
	}
	p.at += len(want)
	return true
}

func (p *searchParser) or(depth int) (*Search, error) {
	left, err := p.and(depth)
	for err == nil && p.take("OR ") {
		var right *Search
		if right, err = p.and(depth); err == nil {
			left = &Search{left: left, right: right, either: true}
		}
	}
	return left, err
}

func (p *searchParser) and(depth int) (*Search, error) {
	left, err := p.clause(depth)
	for err == nil && p.take("AND ") {
		var right *Search
		if right, err = p.clause(depth); err == nil {
			left = &Search{left: left, right: right}
		}
	}
	return left, err
}

func (p *searchParser) clause(depth int) (*Search, error) {
	if depth > maxDepth {
		return nil, &SyntaxError{p.at, "fewer parentheses"}
	}
	if p.take("(") {
		s, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = &SyntaxError{p.at, "')'"}
		}
		return s, err
	}
	if p.take("NOT ") {
		return nil, &UnknownError{"NOT in $search"}
	}
	if !p.take(`"`) {
		return nil, &SyntaxError{p.at, `'"'`}
	}
	inner, _, closed := strings.Cut(p.text[p.at:], `"`)
	if !closed {
		return nil, &SyntaxError{p.at, "a clause that is closed"}
	}
	if strings.Contains(inner, `\`) {
		return nil, &UnknownError{`\ in $search`}
	}
	property, text, ok := strings.Cut(inner, ":")
	if !ok || property == "" || len(words(text)) == 0 {
		return nil, &SyntaxError{p.at, "property:text"}
	}
	p.at += len(inner) + 1
	return &Search{property: property, words: words(text)}, nil
}
