package textfile_test

import (
	"errors"
	"testing"

	"github.com/seed-f0abd057/rotate/config/textfile"
)

func TestB8Decode(t *testing.T) {
	tests := map[string]struct{ data, want string }{
		"UTF-8":                  {"pässwörd\n", "pässwörd\n"},
		"UTF-8 with mark, CRLF":  {"\xef\xbb\xbfa\r\nb", "a\nb"},
		"UTF-16 LE":              {"\xff\xfea\x00\xe4\x00\r\x00\n\x00", "aä\n"},
		"UTF-16 BE":              {"\xfe\xff\x00a\x00\xe4\x00\r\x00\n", "aä\n"},
		"UTF-16 LE, two units":   {"\xff\xfe\x3d\xd8\x11\xdd", "🔑"},
		"a lone CR stays":        {"a\rb", "a\rb"},
		"bytes that are no text": {"\x30\x82\xff", "\x30\x82\xff"},
		"nothing":                {"", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := textfile.Decode([]byte(tt.data))
			if err != nil || string(got) != tt.want {
				t.Errorf("Decode(%q) = %q, %v, want %q", tt.data, got, err, tt.want)
			}
		})
	}
	for name, data := range map[string]string{"half a unit": "\xff\xfea", "half a pair": "\xff\xfe\x3d\xd8", "pair the wrong way round": "\xff\xfe\x11\xdd\x3d\xd8"} {
		t.Run(name, func(t *testing.T) {
			if _, err := textfile.Decode([]byte(data)); !errors.Is(err, textfile.ErrUTF16) {
				t.Errorf("Decode(%q) = %v, want %v", data, err, textfile.ErrUTF16)
			}
		})
	}
}
