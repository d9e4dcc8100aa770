package page_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/seed-f0abd057/rotate/page"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestAttacks sends what people with bad intent send.
func TestAttacks(t *testing.T) {
	s := serve(t, &page.Server{Source: newFixed(safeApp("sync", 90*day)), Names: []string{"rotate.contoso.example"}})
	request := func(line, host, more string) string {
		return line + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + more + "\r\n"
	}
	for name, c := range map[string]struct {
		send string
		want int
	}{
		"good":                      {request("GET /", "127.0.0.1", ""), 200},
		"good with a port":          {request("GET /", "localhost:9780", ""), 200},
		"good on IPv6":              {request("GET /", "[::1]:9780", ""), 200},
		"good under its name":       {request("GET /", "ROTATE.contoso.example", ""), 200},
		"rebinding":                 {request("GET /", "evil.example", ""), 421},
		"rebinding to a look-alike": {request("GET /", "rotate.contoso.example.evil.example", ""), 421},
		"rebinding to an address":   {request("GET /", "10.0.0.1", ""), 421},
		"rebinding of the events":   {request("GET /events", "evil.example", ""), 421},
		"rebinding of the style":    {request("GET /style.css", "evil.example", ""), 421},
		"localhost as a prefix":     {request("GET /", "localhost.evil.example", ""), 421},
		"no host":                   {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 400},
		"empty host":                {request("GET /", "", ""), 421},
		"two hosts":                 {request("GET /", "127.0.0.1", "Host: evil.example\r\n"), 400},
		"path traversal":            {request("GET /../../etc/passwd", "127.0.0.1", ""), 307},
		"encoded path traversal":    {request("GET /%2e%2e/%2e%2e/etc/passwd", "127.0.0.1", ""), 404},
		"traversal in a name":       {request("GET /apps/..%2f..%2fetc%2fpasswd", "127.0.0.1", ""), 404},
		"traversal of the assets":   {request("GET /assets/style.css", "127.0.0.1", ""), 404},
		"zero byte":                 {request("GET /apps/a%00b", "127.0.0.1", ""), 404},
		"unknown app":               {request("GET /apps/nobody", "127.0.0.1", ""), 404},
		"unknown hand-off":          {request("GET /apps/nobody/handoff", "127.0.0.1", ""), 404},
		"POST":                      {request("POST /", "127.0.0.1", "Content-Length: 0\r\n"), 405},
		"DELETE":                    {request("DELETE /apps/sync", "127.0.0.1", ""), 405},
		"OPTIONS":                   {request("OPTIONS /", "127.0.0.1", "Origin: https://evil.example\r\n"), 405},
		"TRACE":                     {request("TRACE /", "127.0.0.1", ""), 405},
		"huge header":               {request("GET /", "127.0.0.1", "X-Big: "+strings.Repeat("x", 64<<10)+"\r\n"), 431},
		"huge query":                {request("GET /?q="+strings.Repeat("x", 64<<10), "127.0.0.1", ""), 431},
		"no HTTP":                   {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			answer := s.raw(c.send)
			if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", c.want)) {
				t.Errorf("answer %.200q, want status %d", answer, c.want)
			}
			if strings.Contains(answer, "root:") || strings.Contains(answer, "Access-Control-Allow-Origin") {
				t.Errorf("answer %q", answer)
			}
		})
	}
}

// TestHeaders looks at those of every kind of answer.
func TestHeaders(t *testing.T) {
	s := serve(t, &page.Server{Source: newFixed(safeApp("sync", 90*day))})
	for _, path := range []string{"/", "/apps/sync", "/apps/nobody", "/apps/sync/handoff", "/inventory.csv", "/style.css", "/page.js", "/nothing"} {
		answer, err := s.client.Get("http://" + s.address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		h := answer.Header
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(h.Get("Content-Security-Policy"), want) {
				t.Errorf("%s: Content-Security-Policy %q lacks %q", path, h.Get("Content-Security-Policy"), want)
			}
		}
		if strings.Contains(h.Get("Content-Security-Policy"), "unsafe") || h.Get("Referrer-Policy") != "no-referrer" ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: headers %v", path, h)
		}
		if strings.Contains(string(body), "style=") || strings.Contains(string(body), " onclick") || strings.Contains(string(body), "<script>") {
			t.Errorf("%s: style or script in the document", path)
		}
	}
}

// TestNamesAreText puts everything that others choose into a page, and finds it
// again as text, isolated.
func TestNamesAreText(t *testing.T) {
	evil := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `</title><h1>owned</h1>`,
		"\u202egpj.exe\u202c", "\u2067שלום", "🦀 crab 👩‍👩‍👧", "a&amp;b", "javascript:alert(1)", "{{.}}",
	}
	for i, text := range evil {
		a := inRotation("sync")
		a.App.DisplayName, a.App.Owner, a.App.Tags, a.App.Tenant = text, text, []string{text}, text
		a.App.Permissions, a.App.Probe, a.App.AddedBy, a.App.Hold = []string{text}, []string{text}, text, text
		a.App.Deliveries = []rotator.Delivery{{Kind: rotator.DeliverFile, Path: text}}
		a.App.HandOff = rotator.HandOffText{Consumer: text, Steps: []string{text}}
		a.Rotation.By, a.Rotation.Outcome, a.Rotation.Warnings = text, text, []string{text}
		a.Trouble = &rotator.Trouble{Message: text, Next: text}
		a.Rotation.Trouble, a.Warnings, a.Attention = a.Trouble, []string{text}, true
		a.Rotation.Deliveries = []rotator.DeliveryResult{{Name: "file " + text, Error: text}}
		a.App.Listed = &rotator.Listed{Foreign: []rotator.Foreign{{Kind: text, DisplayName: text}}}
		a.App.Alerts = []rotator.Alert{{Kind: rotator.EventKind(text), Severity: rotator.Severity(text), Summary: text, Next: text, AckedBy: text, AckedAt: time.Now()}}
		a.WaitingFor = rotator.WaitingPerson
		source := newFixed(a)
		source.status.Warnings, source.status.Stopped = []string{text}, text
		s := serve(t, &page.Server{Source: source, Warnings: []string{text}})
		for _, path := range []string{"/", "/?q=" + "%3Cscript%3E&tenant=%22%3E%3Cimg%3E", "/apps/sync", "/apps/sync/handoff"} {
			body := s.get(path)
			root, err := html.Parse(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for n := range root.Descendants() {
				if n.Type != html.ElementNode {
					continue
				}
				isOurs := n.Data == "script" && len(n.Attr) == 2 && n.Attr[0].Val == "/page.js"
				if n.Data == "img" || n.Data == "script" && !isOurs {
					t.Errorf("%s with text %d: an element %s came into being", path, i, n.Data)
				}
				for _, a := range n.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "href" && !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") {
						t.Errorf("%s with text %d: attribute %s=%q", path, i, a.Key, a.Val)
					}
				}
			}
			if len(found(t, body, "h1")) != 1 {
				t.Errorf("%s with text %d: %d headings", path, i, len(found(t, body, "h1")))
			}
			if strings.HasPrefix(path, "/apps/sync") && !strings.Contains(strings.Join(found(t, body, "bdi"), "\n"), text) {
				t.Errorf("%s does not show %q as it is, isolated", path, text)
			}
		}
	}
}

// TestRate sends more than one address may, and then from nobody else.
func TestRate(t *testing.T) {
	h := page.Handler(t.Context(), &page.Server{Source: newFixed()})
	send := func(from string) int {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/style.css", nil)
		r.RemoteAddr = from
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	refused := false
	for range 10_000 {
		if send("10.0.0.1:1234") == http.StatusTooManyRequests {
			refused = true
			break
		}
	}
	if !refused {
		t.Error("10,000 requests in a row were answered")
	}
	if got := send("10.0.0.2:1234"); got != http.StatusOK {
		t.Errorf("another address gets %d, want 200", got)
	}
}

// TestSlowClient sends a header a byte at a time and is cut off.
func TestSlowClient(t *testing.T) {
	t.Parallel() // it waits for the real time limit
	s := serve(t, &page.Server{Source: newFixed()})
	began := time.Now()
	answer := s.raw("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
	if took := time.Since(began); answer != "" && !strings.HasPrefix(answer, "HTTP/1.1 408") && !strings.HasPrefix(answer, "HTTP/1.1 400") || took >= rawTime {
		t.Errorf("after %s the answer is %q, want to be cut off", took, answer)
	}
}
