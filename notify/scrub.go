package notify

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	removed = "[removed]"
	// maxSaidRunes is how much of what a server said is shown.
	maxSaidRunes = 300
	// minWord is the shortest secret that can be told from ordinary words.
	minWord = 4
)

// scrubber takes the secrets of one attempt out of what servers and libraries
// say. Servers quote what they were sent, and libraries the URL.
type scrubber struct {
	words []string
	// mute tells that a secret is too short to be found: then nothing that a
	// server said is shown.
	mute bool
}

// hide adds secrets, in the forms in which they are quoted. Empty ones are none.
func (s *scrubber) hide(secrets ...string) {
	for _, secret := range secrets {
		switch {
		case secret == "":
			continue
		case len(secret) < minWord:
			s.mute = true
		}
		quoted, _ := json.Marshal(secret) //nolint:errchkjson // a string always can be
		raw := []byte(secret)
		s.words = append(s.words, secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(string(quoted), `"`),
			base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw),
			base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw), hex.EncodeToString(raw))
	}
	slices.SortFunc(s.words, func(a, b string) int { return len(b) - len(a) }) // long ones first
	s.words = slices.Compact(s.words)
}

// hideURL adds a URL and each part of it that can be a secret: everything but the
// host.
func (s *scrubber) hideURL(u *url.URL) {
	parts := append(strings.Split(u.Path, "/"), u.String(), u.RequestURI(), u.Path, u.EscapedPath(), u.RawQuery)
	for _, values := range u.Query() {
		parts = append(parts, values...)
	}
	for _, p := range parts {
		if len(p) >= minWord { // "v1" and "/" are no secrets
			s.hide(p)
		}
	}
}

// clean makes one line of a text, without secrets and without what looks like
// one.
func (s *scrubber) clean(text string) string {
	if s.mute {
		return ""
	}
	text = strings.ToValidUTF8(text, "?")
	for _, w := range s.words {
		text = replaceFold(text, w)
	}
	runs := regexp.MustCompile(`[A-Za-z0-9+/_=.-]{24,}`)
	text = runs.ReplaceAllStringFunc(text, func(run string) string {
		if strings.ContainsFunc(run, unicode.IsUpper) && strings.ContainsFunc(run, unicode.IsLower) && strings.ContainsFunc(run, unicode.IsDigit) {
			return removed
		}
		return run
	})
	return cut(oneLine(text), maxSaidRunes)
}

// replaceFold replaces a word, whatever the case of its ASCII letters.
func replaceFold(text, word string) string {
	if len(word) == 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if i+len(word) <= len(text) && strings.EqualFold(text[i:i+len(word)], word) {
			b.WriteString(removed)
			i += len(word)
			continue
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String()
}

// oneLine joins the words of a text, without control characters and what changes
// the direction of writing.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}), " ")
}

// cut shortens a text to a number of characters.
func cut(text string, runes int) string {
	if utf8.RuneCountInString(text) <= runes {
		return text
	}
	return string([]rune(text)[:runes-1]) + "…"
}

// notSent stands for an error of the network or a server. The error itself is
// not kept: its text, or a field of it, may quote what was sent.
type notSent struct {
	text string
	// because is the context's error if the context ended; else nil.
	because error
}

func (e *notSent) Error() string { return e.text }
func (e *notSent) Unwrap() error { return e.because }

// hidden makes an error of a text and what the original was about.
func (s *scrubber) hidden(prefix string, err error) *notSent {
	text := s.clean(err.Error())
	if text == "" {
		text = "failed (details are not shown, because a secret is too short to be found in them)"
	}
	e := &notSent{text: prefix + text}
	for _, c := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, c) {
			e.because = c
		}
	}
	return e
}
