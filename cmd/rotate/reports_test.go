package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

// windows is a text as Windows PowerShell 5 writes it with > and Out-File.
func windows(text string) []byte {
	data := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(text)) {
		data = binary.LittleEndian.AppendUint16(data, unit)
	}
	return data
}

func TestB8PasswordFile(t *testing.T) {
	for name, data := range map[string][]byte{
		"PowerShell":           windows("old-pass-ü\r\n"),
		"UTF-8 with a mark":    []byte("\xef\xbb\xbfold-pass-ü\r\n"),
		"a plain line":         []byte("old-pass-ü\n"),
		"no line end at all":   []byte("old-pass-ü"),
		"UTF-16 without CR LF": windows("old-pass-ü"),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "app.password")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := readPassword(path); got != "old-pass-ü" || err != nil {
				t.Errorf("readPassword = %q, %v", got, err)
			}
		})
	}
}

func TestB10Year9999(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	end := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	if got, want := relative(&end, now), "in 2912109 d"; got != want {
		t.Errorf("relative = %q, want %q", got, want)
	}
	if got, want := relative(&now, end), "2912109 d ago"; got != want {
		t.Errorf("relative = %q, want %q", got, want)
	}
	if got, want := daysUntil(end, now), 2912109; got != want {
		t.Errorf("daysUntil = %d, want %d", got, want)
	}
}

func TestB3ProxyThatIsNoURL(t *testing.T) {
	for value, ok := range map[string]bool{
		"": true, "http://proxy.contoso.example:3128": true, "proxy.contoso.example:3128": true, "proxy.contoso.example": true,
		"http://user:p%40ss@proxy.contoso.example:3128": true, "socks5://127.0.0.1:1080": true,
		`http://dom\user:p@ss:w%rd@proxy.contoso.example:3128`: false, "http://": false, "http://a b:1": false,
	} {
		for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
			err := checkProxies(func(asked string) string {
				if asked == name {
					return value
				}
				return ""
			})
			switch {
			case (err == nil) != ok:
				t.Errorf("%s=%q: %v", name, value, err)
			case err != nil && (!strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "rd@")):
				t.Errorf("%s=%q: the message %q must name it and not show it", name, value, err)
			}
		}
	}
}
