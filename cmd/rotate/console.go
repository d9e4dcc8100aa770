package main

import (
	"crypto/rand"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// console is a terminal that text of others cannot command: names in Entra, owners, tags,
// notes and answers of servers may have escape sequences, line ends and marks that turn
// the direction of writing. It is the one place where that is taken out, and all that is
// printed goes through it. What is no terminal gets text as it is.
type console struct {
	f *os.File
	// key marks our own sequences; nobody else knows it.
	key string

	mu sync.Mutex
	// rest is the beginning of a character whose end was not written yet; guarded by mu.
	rest []byte
}

// newConsole returns the file itself if it is no terminal.
func newConsole(f *os.File) io.Writer {
	if !term.IsTerminal(int(f.Fd())) {
		return f
	}
	return &console{f: f, key: rand.Text()}
}

// Write implements [io.Writer].
func (s *console) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := append(s.rest, p...)
	whole := len(all)
	for n := 1; n < utf8.UTFMax && n <= len(all); n++ {
		if b := all[len(all)-n:]; utf8.RuneStart(b[0]) {
			if !utf8.FullRune(b) {
				whole -= n
			}
			break
		}
	}
	s.rest = append([]byte(nil), all[whole:]...)
	if _, err := io.WriteString(s.f, harmless(string(all[:whole]), s.key)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ownColours are the sequences that colour and nothing else.
var ownColours = regexp.MustCompile(`^\x1b\[(0|1|2|31|32|33|36)m`)

// harmless replaces what would command a terminal. Sequences that begin with ESC and the
// key are ours: the key is left out.
func harmless(text, key string) string {
	if !strings.ContainsFunc(text, commands) && utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	for text != "" {
		if own, ok := strings.CutPrefix(text, "\x1b"+key); ok && key != "" {
			out.WriteByte('\x1b')
			text = own
			continue
		}
		if colour := ownColours.FindString(text); colour != "" {
			out.WriteString(colour)
			text = text[len(colour):]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		text = text[size:]
		if commands(r) || r == utf8.RuneError && size == 1 {
			r = '\ufffd'
		}
		out.WriteRune(r)
	}
	return out.String()
}

// commands reports whether a terminal does something else with a character than showing
// it. Line ends and tabs are ours: tables and sentences have none inside.
func commands(r rune) bool {
	switch {
	case r == '\n', r == '\t', r == '\r':
		return false
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
		return true
	}
	return false
}
