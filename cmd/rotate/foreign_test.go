//go:build e2e

package main_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestForeignClients hands what a rotation delivered to programs that we did not
// write: openssl and keytool open it, Microsoft's libraries sign in with it and are
// refused with what it replaced.
//
// It needs openssl, keytool, npm with Node 20, and python3-msal; a missing one is
// a failure, not a skip.
func TestForeignClients(t *testing.T) {
	t.Parallel()
	needed(t, "openssl", "apt-get install openssl")
	needed(t, "keytool", "apt-get install default-jre-headless")
	needed(t, "node", "apt-get install nodejs, or Node 20 or newer from nodejs.org")
	needed(t, "npm", "apt-get install npm")
	if out, err := exec.Command(systemPython, "-c", "import msal").CombinedOutput(); err != nil {
		t.Fatalf("python3-msal is missing; install it with: apt-get install python3-msal\n%s", out)
	}
	s := startTenant(t, "contoso", "--apps", "3")
	m := newMachine(t)
	m.folder(t, "store")
	m.configure(t, "store", issueDefaults, s)
	m.must(t, 0, "init", "--no-recovery")
	var apps []*adopted
	for i, encoding := range []string{"modern", "legacy-des", "pem"} {
		a := newAdopted(t, m, s, encoding, "self", s.ready.Apps[i])
		more := []string{"--encoding", encoding}
		if encoding == "modern" {
			more = nil // the default
		}
		m.must(t, 0, a.add(more...)...)
		apps = append(apps, a)
	}
	m.must(t, 0, "now", "--all", "--wait")
	checkWorld(t, m, apps[:2]...)

	clients := foreignClients(t)
	for _, a := range apps {
		t.Run(a.name, func(t *testing.T) {
			before := a.opensslPEM(t, a.seed.PFXFile, a.seed.PasswordFile)
			after := a.path
			if a.name != "pem" {
				a.keytoolOpens(t)
				after = a.opensslPEM(t, a.path, a.path+".password")
			}
			for _, c := range clients {
				c.signsIn(t, a, after)
				c.isRefused(t, a, before)
			}
		})
	}
}

// systemPython is the interpreter that Debian's python3-msal belongs to.
const systemPython = "/usr/bin/python3"

func needed(t *testing.T, tool, install string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Fatalf("%s is missing; install it with: %s", tool, install)
	}
}

// output runs a foreign program, which must not fail.
func output(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8"}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String() + stderr.String()
}

// opensslPEM opens a PFX with openssl, without its legacy provider, and returns
// the path of a PEM file with the key and the certificate.
func (a *adopted) opensslPEM(t *testing.T, path, passwordPath string) string {
	t.Helper()
	info := output(t, nil, "openssl", "pkcs12", "-in", path, "-passin", "file:"+passwordPath, "-info", "-noout")
	if want := map[string]string{"modern": "PBES2, PBKDF2, AES-256-CBC", "legacy-des": "pbeWithSHA1And3-KeyTripleDES-CBC"}[a.name]; path == a.path && strings.Count(info, want) != 2 {
		t.Errorf("openssl says %q, want key and certificate in %s", info, want)
	}
	to := filepath.Join(t.TempDir(), "pair.pem")
	output(t, nil, "openssl", "pkcs12", "-in", path, "-passin", "file:"+passwordPath, "-nodes", "-out", to)
	return to
}

// keytoolOpens opens the delivered PFX with Java, which must find the key and the
// certificate.
func (a *adopted) keytoolOpens(t *testing.T) {
	t.Helper()
	out := output(t, nil, "keytool", "-list", "-v", "-storetype", "PKCS12", "-keystore", a.path, "-storepass:file", a.path+".password")
	p := must1(readPFX(a.path, a.path+".password"))(t)
	sum := fmt.Sprintf("% X", sha256.Sum256(p.certificate.Raw))
	for _, want := range []string{"PrivateKeyEntry", "contains 1 entry", "SHA256: " + strings.ReplaceAll(sum, " ", ":")} {
		if !strings.Contains(out, want) {
			t.Errorf("keytool does not say %q:\n%s", want, out)
		}
	}
}

// foreignClient is a program that signs in: its name, and its command line up to
// the arguments that testdata/clients documents.
type foreignClient struct {
	name string
	// trust is the variable that names the certificate authority.
	trust string
	line  []string
}

// foreignClients installs what is missing.
func foreignClients(t *testing.T) []foreignClient {
	t.Helper()
	node := installNode(t)
	python := must1(filepath.Abs(filepath.Join("testdata", "clients", "signin.py")))(t)
	return []foreignClient{
		{"@azure/msal-node", "NODE_EXTRA_CA_CERTS", []string{"node", filepath.Join(node, "signin.mjs")}},
		{"python3-msal", "REQUESTS_CA_BUNDLE", []string{systemPython, "-B", python}},
	}
}

// installNode installs the packages that testdata/clients/package-lock.json names
// into a folder of the user's cache, once for each such file, and returns it.
func installNode(t *testing.T) string {
	t.Helper()
	from := filepath.Join("testdata", "clients")
	lock := must1(os.ReadFile(filepath.Join(from, "package-lock.json")))(t)
	cache := must1(os.UserCacheDir())(t)
	to := filepath.Join(cache, "rotate-tests", fmt.Sprintf("clients-%x", sha256.Sum256(lock))[:24])
	if _, err := os.Stat(to); err != nil {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		fresh := must1(os.MkdirTemp(filepath.Dir(to), "installing-"))(t)
		defer os.RemoveAll(fresh)
		copyFiles(t, from, fresh, "package.json", "package-lock.json", ".npmrc")
		cmd := exec.Command("npm", "ci")
		cmd.Dir = fresh
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm ci in %s: %v\n%s", from, err, out)
		}
		if err := os.Rename(fresh, to); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	copyFiles(t, from, to, "signin.mjs")
	return to
}

// copyFiles copies each in one step: somebody may be running what is there.
func copyFiles(t *testing.T, from, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		part := filepath.Join(to, fmt.Sprintf("%s.%d", name, os.Getpid()))
		if err := os.WriteFile(part, must1(os.ReadFile(filepath.Join(from, name)))(t), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(part, filepath.Join(to, name)); err != nil {
			t.Fatal(err)
		}
	}
}

type foreignAnswer struct {
	Roles []string `json:"roles"`
	Error string   `json:"error"`
}

// token asks for one with a PEM file.
func (c foreignClient) token(t *testing.T, a *adopted, file string) foreignAnswer {
	t.Helper()
	s := a.tenant
	args := append(slices.Clone(c.line[1:]), s.ready.Login, s.ready.TenantID, a.seed.ClientID, file, s.ready.Graph+"/.default")
	return decodeJSON[foreignAnswer](t, output(t, []string{c.trust + "=" + s.ready.CAFile}, c.line[0], args...))
}

func (c foreignClient) signsIn(t *testing.T, a *adopted, file string) {
	t.Helper()
	got := c.token(t, a, file)
	slices.Sort(got.Roles)
	want := foreignAnswer{Roles: []string{"Directory.Read.All", "Mail.Read", "MailboxSettings.Read", "User.Read.All"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s with the delivered pair (-want +got):\n%s", c.name, diff)
	}
}

func (c foreignClient) isRefused(t *testing.T, a *adopted, file string) {
	t.Helper()
	if got := c.token(t, a, file); !strings.Contains(got.Error, fmt.Sprintf("AADSTS%d", notRegistered)) {
		t.Errorf("%s with the replaced pair: %s, want AADSTS%d", c.name, jsonText(got), notRegistered)
	}
}
