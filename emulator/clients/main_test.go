//go:build e2e

// Package clients_test runs programs that we did not write against the emulator: as
// they are, for the public cloud, without a word about where to go.
//
// The test runs itself in a network and a mount namespace of its own, where /etc/hosts
// leads Microsoft's names to 127.0.0.1 and the emulator listens on port 443. It needs
// root, and the Azure CLI, iproute2, Node.js with npm, and python3-msal; a missing one
// is a failure, not a skip.
package clients_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
)

// inside is set, to the folder for everything, when the test runs in its namespaces.
const inside = "ROTATE_TEST_CLIENTS"

func TestMain(m *testing.M) {
	dir := os.Getenv(inside)
	if dir == "" {
		fmt.Fprintln(os.Stderr, enter())
		os.Exit(1)
	}
	code := 1
	if err := serve(dir, func() { code = m.Run() }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// systemPython is the interpreter that Debian's python3-msal belongs to.
const systemPython = "/usr/bin/python3"

// enter makes what needs the network, and starts this program once more, in its
// namespaces. It returns only if it could not.
func enter() error {
	if os.Geteuid() != 0 {
		return errors.New("the clients run in namespaces: run the test as root")
	}
	for tool, install := range map[string]string{"az": "azure-cli", "ip": "iproute2", "unshare": "util-linux", "node": "nodejs", "npm": "npm", "openssl": "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing; install it with: apt-get install %s", tool, install)
		}
	}
	if out, err := exec.Command(systemPython, "-c", "import msal").CombinedOutput(); err != nil {
		return fmt.Errorf("python3-msal is missing; install it with: apt-get install python3-msal\n%s", out)
	}
	dir, err := os.MkdirTemp("", "clients-")
	if err != nil {
		return err
	}
	if err := installNode(filepath.Join(dir, "node")); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "rotate"), "../../cmd/rotate")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--net", "--mount", "--propagation", "private", "--", self}, os.Args[1:]...)
	return syscall.Exec(unshare, args, append(os.Environ(), inside+"="+dir))
}

// installNode installs the packages that the lock file names into a folder of the
// user's cache, once for each such file, and links to it.
func installNode(link string) error {
	browser, err := filepath.Abs("testdata/xdg-open")
	if err != nil {
		return err
	}
	lock, err := os.ReadFile("testdata/package-lock.json")
	if err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	to := filepath.Join(cache, "rotate-tests", fmt.Sprintf("emulator-clients-%x", sha256.Sum256(lock))[:32])
	if _, err := os.Stat(to); err != nil {
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		fresh, err := os.MkdirTemp(filepath.Dir(to), "installing-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(fresh)
		if err := copyFiles(fresh, "package.json", "package-lock.json", ".npmrc"); err != nil {
			return err
		}
		cmd := exec.Command("npm", "ci")
		cmd.Dir = fresh
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("npm ci: %w\n%s", err, out)
		}
		// Another run may have been faster.
		if err := os.Rename(fresh, to); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	// rotate opens the user's browser by this name.
	if err := os.Symlink(browser, filepath.Join(filepath.Dir(link), "xdg-open")); err != nil {
		return err
	}
	if err := os.Mkdir(link, 0o755); err != nil {
		return err
	}
	if err := copyFiles(link, "package.json", "ask.mjs", "signin.mjs"); err != nil {
		return err
	}
	return os.Symlink(filepath.Join(to, "node_modules"), filepath.Join(link, "node_modules"))
}

func copyFiles(to string, names ...string) error {
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A world is the tenant that all clients meet, and the folder of this run.
type world struct {
	dir    string
	tenant *emulator.Tenant
	ready  emulator.Ready
	http   *http.Client
	reader emulator.Application // who asks Graph for the tests
}

// here is that of this process.
var here world

// serve leads Microsoft's names to an emulator of this process while run runs.
func serve(dir string, run func()) error {
	hosts := "127.0.0.1 localhost " + strings.Join(emulator.PublicHosts(), " ") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	for _, line := range [][]string{
		{"ip", "link", "set", "lo", "up"},
		{"mount", "--bind", filepath.Join(dir, "hosts"), "/etc/hosts"},
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(line, " "), err, out)
		}
	}
	unknown, err := os.Create(filepath.Join(dir, "unknown"))
	if err != nil {
		return err
	}
	defer unknown.Close()
	here = world{dir: dir, tenant: &emulator.Tenant{
		Unknown: func(r emulator.Request) {
			fmt.Fprintf(unknown, "%s https://%s%s?%s\n", r.Method, r.Host, r.Path, r.Query.Encode())
		},
	}}
	ctx, stop := context.WithCancel(context.Background())
	ready, served := make(chan emulator.Ready, 1), make(chan error, 1)
	go func() {
		served <- emulator.Serve(ctx, here.tenant, emulator.Options{
			Dir: filepath.Join(dir, "tenant"), Listen: "127.0.0.1:443", PublicHosts: true,
		}, func(r emulator.Ready) { ready <- r })
	}()
	select {
	case err := <-served:
		stop()
		return err
	case here.ready = <-ready:
	}
	here.reader, err = here.tenant.AddApplication(emulator.Application{
		Name: "reader", Secrets: []emulator.Secret{{Text: "secret of the reader"}},
		Permissions: []string{"Application.ReadWrite.All", "Directory.Read.All"},
	})
	err = errors.Join(err, here.trust())
	if err == nil {
		run()
	}
	stop()
	return errors.Join(err, <-served)
}

// trust makes the clients, and this process, trust the emulator: as an administrator
// would have them trust the authority of a proxy.
func (w *world) trust() error {
	pem, err := os.ReadFile(w.ready.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	w.http = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	return nil
}

// env is the environment of the clients.
func (w *world) env(home string) []string {
	return []string{
		"PATH=" + w.dir + ":" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8",
		"SSL_CERT_FILE=" + w.ready.CAFile, "REQUESTS_CA_BUNDLE=" + w.ready.CAFile, "NODE_EXTRA_CA_CERTS=" + w.ready.CAFile,
		"AZURE_CONFIG_DIR=" + filepath.Join(home, ".azure"), "AZURE_CORE_COLLECT_TELEMETRY=no", "AZURE_CORE_SURVEY_MESSAGE=no",
	}
}

// run runs a client, by a shell as people do, and returns what it printed.
func (w *world) run(t *testing.T, home, line string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", line)
	cmd.Env, cmd.Dir = w.env(home), home
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// must is run for a client that must not fail.
func (w *world) must(t *testing.T, home, line string) string {
	t.Helper()
	stdout, stderr, err := w.run(t, home, line)
	if err != nil {
		unknown, readErr := os.ReadFile(filepath.Join(w.dir, "unknown"))
		t.Fatalf("%s: %v\n%s%s\nnot known by the emulator so far:\n%s%v", line, err, stdout, stderr, unknown, readErr)
	}
	return stdout
}

// token signs the reader in with a request of our own.
func (w *world) token(t *testing.T) string {
	t.Helper()
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {w.reader.ClientID}, "client_secret": {w.reader.Secrets[0].Text},
		"scope": {"https://graph.microsoft.com/.default"},
	}
	a, err := w.http.PostForm("https://login.microsoftonline.com/"+w.ready.TenantID+"/oauth2/v2.0/token", form)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	decode(t, a, &answer)
	return answer.Token
}

func decode(t *testing.T, a *http.Response, into any) {
	t.Helper()
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err == nil && len(body) > 0 {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
}

// graph asks Graph with a request of our own.
func (w *world) graph(t *testing.T, method, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	var sent io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		sent = strings.NewReader(string(b))
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "https://graph.microsoft.com/v1.0/"+strings.ReplaceAll(path, " ", "%20"), sent)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token(t))
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := w.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, a, &answer)
	return a.StatusCode, answer
}
