package page

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A node is a piece of a document. What is written into a document is either an
// element made by el, or text, which is always escaped: there is no third way, so
// no name of an app can become markup.
type node interface{ write(out *strings.Builder) }

// text is what people read.
type text string

func (t text) write(out *strings.Builder) { escape(out, string(t)) }

// attr is one attribute of an element. Its name is a constant of this package.
type attr struct{ name, value string }

// write puts nothing between the tags: elements write their attributes themselves.
func (attr) write(*strings.Builder) {}

// nodes are written one after the other.
type nodes []node

func (l nodes) write(out *strings.Builder) {
	for _, n := range l {
		if n != nil {
			n.write(out)
		}
	}
}

type element struct {
	name  string
	parts []node
}

// el is an element with attributes and content, in any order; a nil part is left
// out.
func el(name string, parts ...node) node { return element{name, parts} }

func (e element) write(out *strings.Builder) {
	out.WriteString("<" + e.name)
	for _, p := range e.parts {
		if a, ok := p.(attr); ok {
			out.WriteString(" " + a.name + `="`)
			escape(out, a.value)
			out.WriteByte('"')
		}
	}
	out.WriteByte('>')
	switch e.name {
	case "meta", "link", "input", "br":
		return
	}
	nodes(e.parts).write(out)
	out.WriteString("</" + e.name + ">")
}

// escape writes s so that it is text inside an element and inside a quoted
// attribute. What is no character, or controls the terminal, becomes U+FFFD.
func escape(out *strings.Builder, s string) {
	for _, r := range s {
		switch {
		case r == '&':
			out.WriteString("&amp;")
		case r == '<':
			out.WriteString("&lt;")
		case r == '>':
			out.WriteString("&gt;")
		case r == '"':
			out.WriteString("&#34;")
		case r == '\'':
			out.WriteString("&#39;")
		case r != '\n' && r != '\t' && unicode.IsControl(r):
			out.WriteRune(unicode.ReplacementChar)
		default:
			out.WriteRune(r)
		}
	}
}

func class(names string) attr { return attr{"class", names} }

func id(name string) attr { return attr{"id", name} }

// href leads to a place of this page. Anything else becomes a link to its top, so
// that no stored text can lead elsewhere or run.
func href(to string) attr {
	if !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "#") || strings.HasPrefix(to, "//") {
		to = "#"
	}
	return attr{"href", to}
}

// name is text that others chose: isolated, so that right-to-left letters and
// marks in it do not turn what stands around it.
func name(s string) node { return el("bdi", text(s)) }

// instant is a date for people and for programs.
func instant(t time.Time, layout string) node {
	t = t.UTC()
	return el("time", attr{"datetime", t.Format(time.RFC3339)}, text(t.Format(layout)))
}

// date is an instant of which the day matters.
func date(t time.Time) node {
	if t.IsZero() {
		return text("–")
	}
	return instant(t, dateLayout)
}

// clock is an instant of which the second matters.
func clock(t time.Time) node {
	if t.IsZero() {
		return text("–")
	}
	return instant(t, clockLayout)
}

const (
	dateLayout   = "2 January 2006"
	shortLayout  = "2 Jan 2006"
	minuteLayout = "2 Jan 2006, 15:04 UTC"
	clockLayout  = "2 January 2006, 15:04:05 UTC"
)

// document writes a whole page.
func document(title string, parts ...node) string {
	var out strings.Builder
	out.WriteString("<!DOCTYPE html>\n")
	el("html", attr{"lang", "en"},
		el("head",
			el("meta", attr{"charset", "utf-8"}),
			el("title", text(title+" · rotate")),
			el("meta", attr{"name", "viewport"}, attr{"content", "width=device-width, initial-scale=1"}),
			el("meta", attr{"name", "color-scheme"}, attr{"content", "light dark"}),
			el("link", attr{"rel", "icon"}, href("/icon.svg"), attr{"type", "image/svg+xml"}),
			el("link", attr{"rel", "stylesheet"}, href("/style.css")),
			el("script", attr{"src", "/page.js"}, attr{"defer", ""}),
		),
		el("body", nodes(parts)),
	).write(&out)
	return out.String()
}

// percent is a place along a drawing.
func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 2, 64) + "%" }
