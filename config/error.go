package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// ErrEmpty means that a file has nothing in it but space and comments.
var ErrEmpty = errors.New("the file is empty; config.example.yaml shows every key")

// Error is one problem of a file. All problems of one reading are joined
// ([errors.Join]).
type Error struct {
	// File is the name of the file, empty if it is not known.
	File string
	// Line and Column count from 1; 0 if the place is not known.
	Line, Column int
	// Path of the key, such as tenants[0].id; empty for faults of the YAML itself.
	Path string
	// Message is the value and what is allowed. It never holds a secret.
	Message string
	// Excerpt is the line with a mark under the place, secrets taken out. It may be
	// empty.
	Excerpt string
}

// Error returns place, path, message and, on lines of their own, the excerpt.
func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ":")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", e.Line, e.Column)
	}
	if b.Len() > 0 {
		b.WriteString(" ")
	}
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Message)
	if e.Excerpt != "" {
		b.WriteString("\n" + e.Excerpt)
	}
	return b.String()
}

// at gives an error the place of a node.
func at(node ast.Node, err error) error {
	return &yaml.SyntaxError{Message: err.Error(), Token: node.GetToken()}
}

// source is the text of a file, for places and excerpts.
type source struct {
	file  string
	lines []string
	root  ast.Node
	// keys are those that the file may have anywhere.
	keys []string
}

// place fills in where an error is.
func (s *source) place(e *Error, line, column int) *Error {
	e.File, e.Line, e.Column = s.file, line, column
	if line < 1 || line > len(s.lines) {
		return e
	}
	const before, width = 60, 120
	text := []rune(s.mask(line))
	if from := column - before; from > 0 && len(text) > width && from < len(text) {
		text, column = text[from:], column-from
	}
	e.Excerpt = fmt.Sprintf("%5d | %s", line, string(text[:min(width, len(text))]))
	if column >= 1 && column <= len(text) {
		e.Excerpt += "\n      | " + strings.Repeat(" ", column-1) + "^"
	}
	return e
}

// mask returns a line without what may be a secret: the rest of the line after a key
// that sounds like one, the value below such a key, and the user of a URL. It would
// rather hide too much.
func (s *source) mask(line int) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' ' // a tab is as wide as the column says, and no terminal codes
		}
		return r
	}, s.lines[line-1])
	indent := func(l string) int { return len(l) - len(strings.TrimLeft(l, " -")) }
	for above := line - 1; above >= 1; above-- {
		l := s.lines[above-1]
		if strings.TrimSpace(l) == "" {
			continue
		}
		if end := secretKey(l); end >= 0 && indent(l) < indent(text) {
			return strings.Repeat(" ", indent(text)) + redacted
		}
		if indent(l) == 0 && indent(text) > 0 {
			break
		}
	}
	if end := secretKey(text); end >= 0 && strings.TrimSpace(text[end:]) != "" {
		text = text[:end] + " " + redacted
	}
	if scheme := strings.Index(text, "://"); scheme >= 0 {
		if user := strings.LastIndex(text, "@"); user > scheme {
			text = text[:scheme+3] + redacted + text[user:]
		}
	}
	return text
}

// secretKey returns where the value of a key that sounds like a secret begins in the
// line, or -1. Keys that hold only the path of a file are no secrets.
func secretKey(line string) int {
	lower := strings.ToLower(line)
	for i := range len(lower) {
		if lower[i] != ':' {
			continue
		}
		key := lower[:i]
		if cut := strings.LastIndexAny(key, "{,[ "); cut >= 0 && strings.TrimSpace(key[cut:]) != "" {
			key = key[cut+1:]
		}
		key = strings.Trim(key, `"' {,[`)
		if strings.HasSuffix(key, "_file") || strings.HasSuffix(key, "_path") {
			continue
		}
		if key == "url" { // of a webhook: who knows it can send
			return i + 1
		}
		for _, word := range []string{"sec", "pass", "pwd", "token", "header"} {
			if strings.Contains(key, word) {
				return i + 1
			}
		}
	}
	return -1
}

// translate turns an error of the YAML package into one of ours.
func (s *source) translate(err error) error {
	var y yaml.Error
	if !errors.As(err, &y) {
		return s.place(&Error{Message: err.Error()}, 0, 0)
	}
	e := &Error{Message: y.GetMessage()}
	if kind, ok := errors.AsType[*yaml.TypeError](err); ok {
		e.Message = "this must be " + wanted(kind.DstType)
	}
	if node, ok := errors.AsType[*yaml.UnexpectedNodeTypeError](err); ok {
		e.Message = "this must be " + wantedNode(node.Expected)
	}
	t := y.GetToken()
	if t == nil || t.Position == nil {
		return s.place(e, 0, 0)
	}
	e = s.place(e, t.Position.Line, t.Position.Column)
	if _, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		e.Message = fmt.Sprintf("unknown key %q; config.example.yaml shows every key", t.Value)
		if like := closest(t.Value, s.keys); like != "" {
			e.Message = fmt.Sprintf("unknown key %q; did you mean %s? config.example.yaml shows every key", t.Value, like)
		}
		// A misspelt client_secret is an unknown key: its value must not show.
		if before, _, found := strings.Cut(e.Excerpt, t.Value); found {
			_, mark, _ := strings.Cut(e.Excerpt, "\n")
			e.Excerpt = before + t.Value + ": …\n" + mark
		}
	}
	return e
}

// wanted says in plain words what a Go type is in YAML.
func wanted(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the kinds that a file can hold
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a mapping of keys to values"
	}
	return "text"
}

// wantedNode says in plain words what a node of YAML is.
func wantedNode(t ast.NodeType) string {
	switch t { //nolint:exhaustive // the rest is text
	case ast.MappingType:
		return "a mapping of keys to values"
	case ast.SequenceType:
		return "a list"
	}
	return "text"
}

// locate gives a problem its place: that of the key with its path or, if the key is
// absent, of the innermost one above it.
func (s *source) locate(e *Error) *Error {
	node, path, found := s.root, e.Path, s.root
	var key ast.Node
	for node != nil && path != "" {
		next, rest, name := step(node, path)
		if next == nil {
			break
		}
		node, path, found, key = next, rest, next, name
	}
	t := start(found)
	if _, leaf := found.(ast.ScalarNode); !leaf && key != nil {
		t = key.GetToken()
	}
	if t == nil || t.Position == nil {
		return s.place(e, 0, 0)
	}
	return s.place(e, t.Position.Line, t.Position.Column)
}

// step goes from a node to the child that the path names first, and returns the rest
// of the path and, in a mapping, the child's key.
func step(node ast.Node, path string) (child ast.Node, rest string, key ast.Node) {
	switch n := node.(type) {
	case *ast.MappingNode:
		path = strings.TrimPrefix(path, ".")
		longest := -1 // keys may hold dots themselves
		for _, v := range n.Values {
			name := v.Key.GetToken().Value
			after, ok := strings.CutPrefix(path, name)
			if ok && len(name) > longest && (after == "" || after[0] == '.' || after[0] == '[') {
				child, rest, key, longest = v.Value, after, v.Key, len(name)
			}
		}
	case *ast.SequenceNode:
		var i int
		if _, err := fmt.Sscanf(path, "[%d]", &i); err == nil && i >= 0 && i < len(n.Values) {
			_, rest, _ = strings.Cut(path, "]")
			child = n.Values[i]
		}
	}
	return child, rest, key
}

// start is the first token of a node.
func start(node ast.Node) *token.Token {
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	if node == nil {
		return nil
	}
	return node.GetToken()
}
