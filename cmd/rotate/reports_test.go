package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
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

// TestS5Harmless has what Entra names, owners and notes may have in them.
func TestS5Harmless(t *testing.T) {
	const key = "K3Y"
	for text, want := range map[string]string{
		"contoso-sync ✔ ü\n":    "contoso-sync ✔ ü\n",
		"\x1b[31mred\x1b[0m":    "\x1b[31mred\x1b[0m",
		"\x1b" + key + "[2K\r":  "\x1b[2K\r",
		"a\x1b[2Jb":             "a\ufffd[2Jb",
		"a\x1b]0;title\x07b":    "a\ufffd]0;title\ufffdb",
		"a\x1b[8mhidden":        "a\ufffd[8mhidden",
		"a\u009b2Jb":            "a\ufffd2Jb",
		"invoice\u202efdp.exe":  "invoice\ufffdfdp.exe",
		"\u2066x\u2069 \u200fy": "\ufffdx\ufffd \ufffdy",
		"a\u2028b":              "a\ufffdb",
		"a\x00b\x7fc\x08":       "a\ufffdb\ufffdc\ufffd",
		"not UTF-8: \xff\xfe":   "not UTF-8: \ufffd\ufffd",
		"\x1bK3X[2K":            "\ufffdK3X[2K",
	} {
		if got := harmless(text, key); got != want {
			t.Errorf("harmless(%q) = %q, want %q", text, got, want)
		}
	}
	if got := harmless("\x1b[2J", ""); got != "\ufffd[2J" {
		t.Errorf("without a key: %q", got)
	}
}

// TestS18RequestsThatAreNoFile has folders and links where a hook leaves its request. The
// script is that of the package, with other places.
func TestS18RequestsThatAreNoFile(t *testing.T) {
	whole, err := os.ReadFile("../../systemd/run-root")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"requests", "results", "programs"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	script := strings.NewReplacer(
		"/run/rotate-root-results", filepath.Join(dir, "results"), "/run/rotate-root", filepath.Join(dir, "requests"),
		"/etc/rotate/root.d", filepath.Join(dir, "programs"), "setpriv --reuid=rotate --regid=rotate --clear-groups ", "",
		"!= rotate ]", "!= "+self.Username+" ]",
	).Replace(string(whole))
	ran := filepath.Join(dir, "ran")
	if err := os.WriteFile(filepath.Join(dir, "programs", "reload"), []byte("#!/bin/sh\necho x >>"+ran+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	request := filepath.Join(dir, "requests", "reload")
	run := func() (string, error) {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script, "run-root", "reload").CombinedOutput()
		return string(out), err
	}
	for name, lay := range map[string]func() error{
		"a folder":          func() error { return os.MkdirAll(filepath.Join(request, "within"), 0o700) },
		"a symbolic link":   func() error { return os.Symlink("/etc/hostname", request) },
		"a link to nothing": func() error { return os.Symlink("/nowhere", request) },
		"a named pipe":      func() error { return syscall.Mkfifo(request, 0o600) },
	} {
		if err := lay(); err != nil {
			t.Fatal(err)
		}
		out, err := run()
		if err == nil || !strings.Contains(out, "not a plain file of rotate") {
			t.Errorf("%s: %v, %q; want an error that says so", name, err, out)
		}
		if _, err := os.Lstat(request); err == nil {
			t.Fatalf("%s is still there: the next request is never seen", name)
		}
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the program ran for something that was no request")
	}
	if err := os.WriteFile(request, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(); err != nil {
		t.Errorf("the request after them: %v, %s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "results", "reload")); err != nil || string(got) != "0123456789abcdef0123456789abcdef 0\n" {
		t.Errorf("result %q, %v", got, err)
	}
}
