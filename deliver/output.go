package deliver

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/seed-f0abd057/rotate/rotator"
)

const (
	// rawBytes of output, at least, are kept while a hook runs: much more than is shown, so
	// that no secret is cut in two where it would no longer be recognised.
	rawBytes = 64 << 10
	// tailBytes of output are shown at most, without secrets.
	tailBytes = 4 << 10
	// lineRunes is how much of one line goes into a message.
	lineRunes = 300
	removed   = "[removed]"
	// longRun is how long a mixed run of base64 letters is taken for a secret even
	// if it is not known. Thumbprints are hex and stay.
	longRun = 60
)

// output keeps the end of what a hook prints.
type output struct {
	secrets *secrets

	mu  sync.Mutex
	raw []byte
	cut bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.raw = append(o.raw, b...)
	if len(o.raw) > 2*rawBytes { // not at each write
		o.raw, o.cut = slices.Delete(o.raw, 0, len(o.raw)-rawBytes), true
	}
	return len(b), nil
}

// tail returns the last 4 KiB without secrets, as printable text.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.secrets.remove(string(o.raw), o.cut)
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
		for len(text) > 0 && !utf8.RuneStart(text[0]) {
			text = text[1:]
		}
	}
	return text
}

// lastLine returns the last line that says something, at most 300 characters of it.
func lastLine(text string) string {
	lines := strings.Split(text, "\n")
	last := ""
	for _, l := range slices.Backward(lines) {
		l = strings.TrimSpace(l)
		if strings.Trim(strings.ReplaceAll(l, removed, ""), " '\"=:;,.") != "" {
			last = l
			break
		}
		if last == "" {
			last = l
		}
	}
	if r := []rune(last); len(r) > lineRunes {
		last = string(r[:lineRunes]) + "…"
	}
	return last
}

// secrets of one package, in the forms in which programs print them.
type secrets struct {
	// words are removed wherever they stand.
	words []string
	// base64 and hex of key and file: any piece of them is removed.
	base64, hex string
	longest     int
	// thumbprint is SHA-1, lower case: a PFX holds it, and it is no secret.
	thumbprint string
	// pem is a block, with or without its end; end is the rest of one.
	pem, end *regexp.Regexp
	runs     *regexp.Regexp
	bytes    *regexp.Regexp
}

func newSecrets(pair rotator.KeyPair, content []byte) *secrets {
	s := &secrets{
		thumbprint: strings.ToLower(rotator.ThumbprintSHA1(pair.Certificate)),
		pem:        regexp.MustCompile(`(?s)-----BEGIN [^-\n]*-----.*?(?:-----END [^-\n]*-----|\z)`),
		end:        regexp.MustCompile(`(?s)\A.*-----END [^-\n]*-----`),
		runs:       regexp.MustCompile(`[A-Za-z0-9+/_-]{12,}={0,2}`),
		bytes:      regexp.MustCompile(`(?:[0-9A-Fa-f]{2}[: ]?){8,}`),
	}
	blobs := [][]byte{content}
	if pair.Key != nil {
		blobs = append(blobs, x509.MarshalPKCS1PrivateKey(pair.Key))
		if der, err := x509.MarshalPKCS8PrivateKey(pair.Key); err == nil {
			blobs = append(blobs, der)
		}
	}
	for _, b := range blobs {
		s.base64 += base64.RawStdEncoding.EncodeToString(b) + "\n"
		s.hex += hex.EncodeToString(b) + "\n"
		s.words = append(s.words, string(b))
		s.longest = max(s.longest, 3*len(b)) // hex with colons
	}
	if p := pair.Password; p != "" {
		quoted, _ := json.Marshal(p) //nolint:errchkjson // a string always can be
		s.words = append(s.words, p, url.QueryEscape(p), url.PathEscape(p),
			strings.Trim(string(quoted), `"`), strings.ReplaceAll(p, `'`, `'\''`),
			base64.StdEncoding.EncodeToString([]byte(p)), base64.RawStdEncoding.EncodeToString([]byte(p)),
			base64.RawURLEncoding.EncodeToString([]byte(p)),
			// echo and here-documents add a line end.
			base64.StdEncoding.EncodeToString([]byte(p+"\n")),
			hex.EncodeToString([]byte(p)), strings.ToUpper(hex.EncodeToString([]byte(p))))
	}
	slices.SortFunc(s.words, func(a, b string) int { return len(b) - len(a) }) // long ones first
	s.words = slices.Compact(s.words)
	return s
}

// remove returns the text without secrets. If its beginning was cut off, what
// could be the rest of one goes too.
func (s *secrets) remove(text string, cut bool) string {
	if cut {
		text = removed + text[min(s.longest, len(text)):]
	}
	for _, w := range s.words {
		text = strings.ReplaceAll(text, w, removed)
	}
	text = s.pem.ReplaceAllString(text, removed)
	text = s.end.ReplaceAllString(text, removed)
	text = s.runs.ReplaceAllStringFunc(text, func(run string) string {
		plain := strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(run)
		if strings.Contains(s.base64, plain) || len(plain) >= longRun && mixed(plain) {
			return removed
		}
		return run
	})
	text = s.bytes.ReplaceAllStringFunc(text, func(run string) string {
		plain := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(run))
		if plain != s.thumbprint && strings.Contains(s.hex, plain) {
			return removed
		}
		return run
	})
	return printable(text)
}

// mixed tells base64 from hex and words: capitals, small letters and digits.
func mixed(run string) bool {
	return strings.ContainsFunc(run, unicode.IsUpper) && strings.ContainsFunc(run, unicode.IsLower) &&
		strings.ContainsFunc(run, unicode.IsDigit)
}

// printable drops lines that are not text, and control characters.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if !utf8.ValidString(l) || strings.ContainsRune(l, 0) {
			lines[i] = removed
			continue
		}
		lines[i] = strings.Map(func(r rune) rune {
			switch {
			case r == '\t':
				return ' '
			case unicode.IsControl(r), !unicode.IsPrint(r):
				return -1
			}
			return r
		}, l)
	}
	return strings.Join(lines, "\n")
}
