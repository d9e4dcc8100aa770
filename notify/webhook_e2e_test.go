//go:build e2e

package notify_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestVerifySnippets runs the programs of docs/alerts.md that check a signature:
// one that is right, one by the secret that is being replaced, and ones that were
// tampered with.
func TestVerifySnippets(t *testing.T) {
	docs, err := os.ReadFile("../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	server := serveWeb(t, nil)
	m := message(failed(hostile))
	if _, err := server.webhook(newSecret, oldSecret).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	p := server.taken()[0]
	dir := t.TempDir()
	snippet := func(language, name string) string {
		t.Helper()
		match := regexp.MustCompile("(?s)```" + language + " verify\n(.*?)```").FindSubmatch(docs)
		if match == nil {
			t.Fatalf("docs/alerts.md has no block %q", language+" verify")
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, match[1], 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	goMain := snippet("go", "main.go")
	goProgram := filepath.Join(dir, "verify-go")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", goProgram, goMain)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	programs := map[string][]string{
		"go": {goProgram}, "sh": {"sh", snippet("sh", "verify.sh")}, "python": {"/usr/bin/python3", snippet("python", "verify.py")},
	}
	now := p.header.Get("Webhook-Timestamp")
	for name, tt := range map[string]struct {
		secret, id, timestamp, signature string
		body                             []byte
		ok                               bool
	}{
		"right":                   {newSecret, m.ID, now, p.header.Get("Webhook-Signature"), p.body, true},
		"by the secret before":    {oldSecret, m.ID, now, p.header.Get("Webhook-Signature"), p.body, true},
		"another secret":          {"whsec_b3RoZXItc2VjcmV0LWZvci13ZWJob29rcy0zMi1ieXRlcw==", m.ID, now, p.header.Get("Webhook-Signature"), p.body, false},
		"another body":            {newSecret, m.ID, now, p.header.Get("Webhook-Signature"), append(bytes.Clone(p.body), '\n'), false},
		"another ID":              {newSecret, m.ID + "x", now, p.header.Get("Webhook-Signature"), p.body, false},
		"an old one played again": {newSecret, m.ID, "1700000000", p.header.Get("Webhook-Signature"), p.body, false},
		"no signature":            {newSecret, m.ID, now, "", p.body, false},
	} {
		for language, command := range programs {
			t.Run(language+" "+name, func(t *testing.T) {
				run := exec.CommandContext(t.Context(), command[0], command[1:]...)
				run.Stdin = bytes.NewReader(tt.body)
				run.Env = append(os.Environ(), "WEBHOOK_SECRET="+tt.secret, "HTTP_WEBHOOK_ID="+tt.id,
					"HTTP_WEBHOOK_TIMESTAMP="+tt.timestamp, "HTTP_WEBHOOK_SIGNATURE="+tt.signature)
				out, err := run.CombinedOutput()
				if (err == nil) != tt.ok {
					t.Errorf("%v: %s; want accepted %v", err, out, tt.ok)
				}
			})
		}
	}
}

// TestStandardWebhooksLibrary verifies signatures with the library of another
// language, as receivers do.
func TestStandardWebhooksLibrary(t *testing.T) {
	dir := t.TempDir()
	npm := exec.CommandContext(t.Context(), "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", dir, "standardwebhooks@1.0.0")
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm install: %v\n%s", err, out)
	}
	script := filepath.Join(dir, "verify.js")
	if err := os.WriteFile(script, []byte(`
const { Webhook } = require("standardwebhooks");
const { secret, headers, body } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const event = new Webhook(secret).verify(body, headers);
console.log(event.type, event.version, event.data.events[0].app);
`), 0o600); err != nil {
		t.Fatal(err)
	}
	server := serveWeb(t, nil)
	m := message(failed("Ünïcode <b> 🔐"))
	if _, err := server.webhook(newSecret, oldSecret).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	p := server.taken()[0]
	for name, tt := range map[string]struct {
		secret, body string
		ok           bool
	}{
		"new secret":     {newSecret, string(p.body), true},
		"old secret":     {oldSecret, string(p.body), true},
		"another secret": {"whsec_b3RoZXItc2VjcmV0LWZvci13ZWJob29rcy0zMi1ieXRlcw==", string(p.body), false},
		"another body":   {newSecret, string(p.body) + " ", false},
	} {
		t.Run(name, func(t *testing.T) {
			input, err := json.Marshal(map[string]any{"secret": tt.secret, "body": tt.body, "headers": map[string]string{
				"webhook-id": p.header.Get("Webhook-Id"), "webhook-timestamp": p.header.Get("Webhook-Timestamp"), "webhook-signature": p.header.Get("Webhook-Signature"),
			}})
			if err != nil {
				t.Fatal(err)
			}
			node := exec.CommandContext(t.Context(), "node", script)
			node.Stdin = bytes.NewReader(input)
			out, err := node.CombinedOutput()
			if (err == nil) != tt.ok || tt.ok && string(out) != "rotate.alerts 1 Ünïcode <b> 🔐\n" {
				t.Errorf("%v: %s; want accepted %v", err, out, tt.ok)
			}
		})
	}
}
