package notify

import (
	"fmt"
	"html"
	"maps"
	"slices"
	"strings"
)

// template is text with placeholders, for mail. It is small on purpose: the
// templates of the standard library call methods by reflection, which makes the
// program 12 MB larger.
//
//	{{name}}                  a field, escaped
//	{{?name}} … {{/name}}     only if the field is not empty
//	{{#list}} … {{/list}}     once for each element; its fields come first
//	{{! … }}                  nothing
type template struct {
	nodes []node
	html  bool
}

type node struct {
	text  string // if verb is 0
	verb  byte   // '=' a field, '?' a condition, '#' a list
	name  string
	nodes []node
}

// fields are what a template may name: texts, and lists of more fields.
type fields struct {
	texts map[string]string
	lists map[string][]fields
}

// known says which names there are; an element of a list knows the names around
// it as well.
type known struct {
	texts []string
	lists map[string]known
}

// parse reads a template. name is that of its file, for errors, which say the
// line of each fault.
func parse(name, text string, isHTML bool, k known) (*template, error) {
	p := parser{name: name, rest: text, line: 1}
	nodes, err := p.block("", k)
	if err != nil {
		return nil, err
	}
	return &template{nodes, isHTML}, nil
}

type parser struct {
	name, rest string
	line       int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s", p.name, p.line, fmt.Sprintf(format, args...))
}

func (p *parser) take(n int) string {
	out := p.rest[:n]
	p.rest = p.rest[n:]
	p.line += strings.Count(out, "\n")
	return out
}

// block reads up to the end of the block that is named, or of the text.
func (p *parser) block(closes string, k known) ([]node, error) {
	began := p.line
	var nodes []node
	for {
		open := strings.Index(p.rest, "{{")
		if open < 0 {
			if closes != "" {
				p.line = began
				return nil, p.errorf("{{%s}} is never closed; write {{/%s}} where it ends", closes, closes[1:])
			}
			return append(nodes, node{text: p.rest}), nil
		}
		nodes = append(nodes, node{text: p.take(open)})
		length := strings.Index(p.rest, "}}")
		if length < 0 {
			return nil, p.errorf("\"{{\" without \"}}\"")
		}
		tag := strings.TrimSpace(p.rest[2:length])
		switch {
		case tag == "":
			return nil, p.errorf("{{}} names no field")
		case tag[0] == '!':
			p.take(length + 2)
		case tag[0] == '/':
			if closes == "" || tag[1:] != closes[1:] {
				return nil, p.errorf("{{%s}} closes what is not open here", tag)
			}
			p.take(length + 2)
			return nodes, nil
		default:
			n, err := p.tag(tag, length+2, k)
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, n)
		}
	}
}

func (p *parser) tag(tag string, length int, k known) (node, error) {
	n := node{verb: '=', name: tag}
	if tag[0] == '?' || tag[0] == '#' {
		n.verb, n.name = tag[0], strings.TrimSpace(tag[1:])
	}
	inner := k
	if n.verb == '#' {
		list, ok := k.lists[n.name]
		if !ok {
			return n, p.errorf("there is no list %q; there are: %s", n.name, strings.Join(slices.Sorted(maps.Keys(k.lists)), ", "))
		}
		inner = known{texts: slices.Concat(list.texts, k.texts), lists: list.lists}
	} else if !slices.Contains(k.texts, n.name) {
		return n, p.errorf("there is no field %q; there are: %s", n.name, strings.Join(k.texts, ", "))
	}
	if n.verb == '=' {
		p.take(length)
		return n, nil
	}
	p.take(length)
	var err error
	n.nodes, err = p.block(string(n.verb)+n.name, inner)
	return n, err
}

// render fills in the fields. Every name was checked by parse.
func (t *template) render(f fields) string {
	var b strings.Builder
	t.write(&b, t.nodes, []fields{f})
	return b.String()
}

func (t *template) write(b *strings.Builder, nodes []node, scopes []fields) {
	for _, n := range nodes {
		switch n.verb {
		case 0:
			b.WriteString(n.text)
		case '=':
			value := lookup(scopes, n.name)
			if t.html {
				value = html.EscapeString(value)
			}
			b.WriteString(value)
		case '?':
			if lookup(scopes, n.name) != "" {
				t.write(b, n.nodes, scopes)
			}
		case '#':
			for _, f := range scopes[len(scopes)-1].lists[n.name] {
				t.write(b, n.nodes, append(slices.Clone(scopes), f))
			}
		}
	}
}

// lookup finds a field, in the innermost scope that has it.
func lookup(scopes []fields, name string) string {
	for _, s := range slices.Backward(scopes) {
		if v, ok := s.texts[name]; ok {
			return v
		}
	}
	return ""
}
