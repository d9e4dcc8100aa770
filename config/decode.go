package config

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/seed-f0abd057/rotate/config/textfile"
)

// maxBytes is the size of the largest file that is read: some thousand apps.
const maxBytes = 16 << 20

// maxDepth is how deeply brackets may be nested. No key needs more than five.
const maxDepth = 32

// maxBlockDepth is how deeply blocks may be nested: the parser takes time with the square
// of it.
const maxBlockDepth = 100

// tooDeep returns the first line that is nested more than that by its indentation and by
// the dashes before it; 0: none is.
func tooDeep(lines []string) int {
	var above []int
	for i, line := range lines {
		rest := strings.TrimLeft(line, " ")
		if rest == "" {
			continue
		}
		indent := len(line) - len(rest)
		for len(above) > 0 && above[len(above)-1] >= indent {
			above = above[:len(above)-1]
		}
		for above = append(above, indent); ; above = append(above, indent) {
			after, isEntry := strings.CutPrefix(rest, "- ")
			after = strings.TrimLeft(after, " ")
			if !isEntry || len(above) > maxBlockDepth {
				break
			}
			indent += len(rest) - len(after)
			rest = after
		}
		if len(above) > maxBlockDepth {
			return i + 1
		}
	}
	return 0
}

// decode reads exactly one YAML document into a value that holds its defaults. It
// returns the source for the places of later problems.
func decode(r io.Reader, file string, into any) (*source, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	decoded, wrong := textfile.Decode(data)
	if wrong == nil {
		data = decoded
	}
	s := &source{file: file, lines: strings.Split(string(data), "\n"), keys: keysOf(reflect.TypeOf(into))}
	if wrong != nil {
		return nil, s.place(&Error{Message: wrong.Error()}, 0, 0)
	}
	if err := s.precheck(data); err != nil {
		return nil, err
	}
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, s.translate(err)
	}
	for _, document := range parsed.Docs {
		switch {
		case s.root != nil: // also an empty one: what is written there later would be ignored
			return nil, s.second(document)
		case document.Body == nil || document.Body.Type() == ast.NullType || document.Body.Type() == ast.CommentType:
		default:
			s.root = document.Body
		}
	}
	if s.root == nil {
		return nil, s.empty()
	}
	if s.root.Type() != ast.MappingType {
		return nil, s.translate(at(s.root, errors.New("the file must be a mapping of keys to values")))
	}
	if s.root, err = literal(s.root); err != nil {
		return nil, s.translate(err)
	}
	if err := yaml.NodeToValue(s.root, into, yaml.Strict()); err != nil {
		return nil, s.translate(err)
	}
	return s, nil
}

func (s *source) empty() error {
	if s.file == "" {
		return ErrEmpty
	}
	return fmt.Errorf("%s: %w", s.file, ErrEmpty)
}

func (s *source) second(document *ast.DocumentNode) error {
	e := &Error{Message: "a second YAML document begins here; one file holds one document, remove the \"---\""}
	if t := document.Start; t != nil && t.Position != nil {
		return s.place(e, t.Position.Line, t.Position.Column)
	}
	return s.place(e, 0, 0)
}

// precheck refuses what YAML packages answer with unclear messages or in ways that
// surprise.
func (s *source) precheck(data []byte) error {
	if len(data) > maxBytes {
		return s.place(&Error{Message: fmt.Sprintf("the file is larger than %d MiB", maxBytes>>20)}, 0, 0)
	}
	for i, line := range s.lines {
		if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
			return s.place(&Error{Message: "the file is not UTF-8 text; save it as UTF-8"}, i+1, 0)
		}
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		if tab := strings.IndexByte(indent, '\t'); tab >= 0 {
			// No excerpt: the indentation, by which secrets are found, is broken.
			return &Error{File: s.file, Line: i + 1, Column: tab + 1, Message: "a tab stands in the indentation; YAML allows only spaces there"}
		}
	}
	if strings.TrimSpace(string(data)) == "" {
		return s.empty()
	}
	if line := tooDeep(s.lines); line > 0 {
		return s.place(&Error{Message: fmt.Sprintf("it is nested more than %d deep", maxBlockDepth)}, line, 0)
	}
	depth := 0
	for _, t := range lexer.Tokenize(string(data)) {
		switch t.Type { //nolint:exhaustive // only these are refused
		case token.MappingStartType, token.SequenceStartType:
			if depth++; depth > maxDepth { // the parser takes time with the square of it
				return s.place(&Error{Message: "brackets are nested too deeply"}, t.Position.Line, t.Position.Column)
			}
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.DirectiveType:
			e := &Error{Message: "anchors, aliases, merge keys, tags and directives (&, *, <<, !, %) are not allowed; quote the text, or write the value out"}
			return s.place(e, t.Position.Line, t.Position.Column)
		}
	}
	return nil
}

// literal refuses keys that are no text, which the decoder leaves out without a word,
// and turns numbers that are not plain whole ones into the text that stands there:
// the decoder would make 83 of 0123. Where a number is needed, [Count] refuses such
// text.
func literal(node ast.Node) (ast.Node, error) {
	var err error
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			if v.Key.Type() != ast.StringType {
				return nil, at(v.Key, errors.New("this key is not text; remove it, or quote it"))
			}
			if v.Value, err = literal(v.Value); err != nil {
				return nil, err
			}
		}
	case *ast.SequenceNode:
		for i := range n.Values {
			if n.Values[i], err = literal(n.Values[i]); err != nil {
				return nil, err
			}
		}
	case *ast.IntegerNode:
		if fmt.Sprint(n.Value) != n.Token.Value {
			return ast.String(n.Token), nil
		}
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return ast.String(n.GetToken()), nil
	}
	return node, nil
}

// plain decodes a node strictly into a value; [yaml.Strict] does not reach into
// types that decode themselves.
func plain(node ast.Node, into any) error {
	return yaml.NodeToValue(node, into, yaml.Strict())
}
