package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// terminal knows what the writer can show.
type terminal struct {
	w io.Writer
	// live tells that lines can be drawn again.
	live   bool
	colour bool
	fd     int
	// key lets our own sequences through a [console].
	key string
}

func newTerminal(w io.Writer, getenv func(string) string) *terminal {
	t := &terminal{w: w}
	var f *os.File
	switch w := w.(type) {
	case *os.File:
		f = w
	case *console:
		f, t.key = w.f, w.key
	default:
		return t
	}
	t.fd = int(f.Fd())
	t.live = term.IsTerminal(t.fd) && getenv("TERM") != "dumb"
	t.colour = t.live && getenv("NO_COLOR") == ""
	return t
}

// size of the window; a usual one where it is not known.
func (t *terminal) size() (columns, rows int) {
	if columns, rows, err := term.GetSize(t.fd); t.live && err == nil && columns > 0 && rows > 0 {
		return columns, rows
	}
	return 100, 30
}

// move is a sequence that moves the cursor or clears, such as "[2K".
func (t *terminal) move(sequence string) string { return "\x1b" + t.key + sequence }

// style is an ANSI colour or weight.
type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

// paint colours a text where colours show.
func (t *terminal) paint(s style, text string) string {
	if !t.colour || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
