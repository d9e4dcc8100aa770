package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/config"
)

// TestS9Configuration opens one file after the other to everybody: each of those that
// decide or are secret is refused by its name.
func TestS9Configuration(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := file("config.yaml", 0o644)
	text := `
profiles: profiles
hooks: {reload: {command: [/bin/sh, ` + file("hook.sh", 0o755) + `]}}
page: {listen: "127.0.0.1:0", tls: {certificate_file: page.pem, key_file: page.key}}
tenants:
  - name: contoso
    id: 11111111-2222-3333-4444-555555555555
    cloud: {login: https://127.0.0.1:1, graph: https://127.0.0.1:2, ca_file: ca.pem}
    identity: {client_id: 11111111-2222-3333-4444-555555555556, certificate_file: identity.pfx, password_file: identity.password}
notify:
  heartbeat: {url_file: heartbeat.url}
  channels:
    - {name: web, webhook: {url_file: web.url, secret_file: web.secret}}
    - {name: mail, smtp: {host: localhost, tls: none, from: a@contoso.example, to: [b@contoso.example], username: a, password_file: mail.password, text_template: mail.txt}}
    - {name: run, exec: {command: [` + file("channel", 0o755) + `]}}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	deciding := []string{"config.yaml", "hook.sh", "channel", "ca.pem", "page.pem", "mail.txt", "profiles/a.yaml", "profiles"}
	secret := []string{"page.key", "identity.pfx", "identity.password", "heartbeat.url", "web.url", "web.secret", "mail.password"}
	for _, name := range append([]string{"ca.pem", "page.pem", "mail.txt", "profiles/a.yaml"}, secret...) {
		file(name, 0o600)
	}
	cfg, err := config.LoadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Guard(path, os.Geteuid()); err != nil {
		t.Fatalf("with files of the owner alone: %v", err)
	}
	try := func(name string, mode os.FileMode, want string) {
		t.Helper()
		at := filepath.Join(dir, name)
		info, err := os.Stat(at)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at, info.Mode().Perm()|mode); err != nil {
			t.Fatal(err)
		}
		err = cfg.Guard(path, os.Geteuid())
		if refused := err != nil && strings.Contains(err.Error(), want+" "+at); refused != (want != "") || want == "" && err != nil {
			t.Errorf("%s with mode %04o: %v, want %q", name, info.Mode().Perm()|mode, err, want)
		}
		if err := os.Chmod(at, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append(deciding, secret...) {
		try(name, 0o002, "everybody can write to")
	}
	for _, name := range deciding {
		try(name, 0o004, "")
	}
	for _, name := range secret {
		try(name, 0o004, "everybody can read")
	}
	cfg.Tenants[0].Identity.Password = config.NewSecret("x")
	try("config.yaml", 0o004, "everybody can read")
}
