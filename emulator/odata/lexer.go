package odata

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The types of literals and of properties; those of properties may be any of the
// schema's.
const (
	typeString   = "Edm.String"
	typeGUID     = "Edm.Guid"
	typeDateTime = "Edm.DateTimeOffset"
	typeDate     = "Edm.Date"
	typeBoolean  = "Edm.Boolean"
	typeInt      = "Edm.Int32"
	typeDouble   = "Edm.Double"
)

// A tokenKind is what a token is.
type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenLiteral
	tokenPunctuation
)

// A token is one word of a query.
type token struct {
	kind tokenKind
	text string // of a name or a punctuation mark
	at   int
	// literal is set for literals.
	literal Literal
}

// is says whether the token is a punctuation mark.
func (t token) is(mark string) bool { return t.kind == tokenPunctuation && t.text == mark }

// isWord says whether the token is a word of the language. Graph takes its words in
// any case.
func (t token) isWord(word string) bool {
	return t.kind == tokenName && strings.EqualFold(t.text, word)
}

// A lexer cuts a query into tokens.
type lexer struct {
	text string
	at   int
}

// next returns the next token.
func (l *lexer) next() (token, error) {
	for l.at < len(l.text) && isSpace(l.text[l.at]) {
		l.at++
	}
	at := l.at
	if at == len(l.text) {
		return token{at: at}, nil
	}
	switch c := l.text[at]; {
	case strings.IndexByte("(),:/", c) >= 0:
		l.at++
		return token{kind: tokenPunctuation, text: string(c), at: at}, nil
	case c == '\'':
		return l.quoted()
	}
	if guid := l.text[at:min(at+36, len(l.text))]; len(guid) == 36 && uuid.Validate(guid) == nil && !isWordAt(l.text, at+36) {
		l.at += 36
		return token{kind: tokenLiteral, at: at, literal: Literal{typeGUID, guid}}, nil
	}
	if c := l.text[at]; isDigit(c) || (c == '-' && at+1 < len(l.text) && isDigit(l.text[at+1])) {
		return l.number()
	}
	return l.name()
}

// quoted reads a string; two quotes within it are one.
func (l *lexer) quoted() (token, error) {
	at := l.at
	var b strings.Builder
	for i := at + 1; i < len(l.text); i++ {
		switch {
		case l.text[i] != '\'':
			b.WriteByte(l.text[i])
		case i+1 < len(l.text) && l.text[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			l.at = i + 1
			return token{kind: tokenLiteral, at: at, literal: Literal{typeString, b.String()}}, nil
		}
	}
	return token{}, &SyntaxError{at, "a string that is closed"}
}

// number reads a number, a date or an instant.
func (l *lexer) number() (token, error) {
	at := l.at
	end := at + 1
	for end < len(l.text) && (isWordByte(l.text[end]) || strings.IndexByte(":+-", l.text[end]) >= 0) {
		end++
	}
	text := l.text[at:end]
	l.at = end
	literal := token{kind: tokenLiteral, at: at}
	if _, err := strconv.ParseInt(text, 10, 32); err == nil {
		literal.literal = Literal{typeInt, text}
	} else if _, err := strconv.ParseFloat(text, 64); err == nil {
		literal.literal = Literal{typeDouble, text}
	} else if _, err := time.Parse(time.RFC3339, text); err == nil {
		literal.literal = Literal{typeDateTime, text}
	} else if _, err := time.Parse(time.DateOnly, text); err == nil {
		literal.literal = Literal{typeDate, text}
	} else {
		return token{}, &SyntaxError{at, "a number or a date"}
	}
	return literal, nil
}

// name reads a name, or one of the literals that look like one.
func (l *lexer) name() (token, error) {
	at := l.at
	end := at
	for end < len(l.text) && isWordByte(l.text[end]) {
		end++
	}
	if end == at {
		return token{}, &SyntaxError{at, "a name or a value"}
	}
	l.at = end
	switch text := l.text[at:end]; text {
	case "true", "false":
		return token{kind: tokenLiteral, at: at, literal: Literal{typeBoolean, text}}, nil
	case "null":
		return token{kind: tokenLiteral, at: at, literal: Literal{}}, nil
	default:
		return token{kind: tokenName, text: text, at: at}, nil
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isWordByte says whether a byte may be part of a name: letters of other scripts
// too, and what annotations and casts are written with.
func isWordByte(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80 || strings.IndexByte("_.$@", c) >= 0
}

func isWordAt(text string, at int) bool { return at < len(text) && isWordByte(text[at]) }
