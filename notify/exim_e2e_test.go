//go:build e2e

package notify_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// exim is Debian's mail server on loopback.
type exim struct {
	submission, implicit int
	maildir              string
	ca                   *authority
	log                  string
}

// eximConfig is the whole configuration. "later" is put off once for each message,
// "nobody" is refused.
const eximConfig = `
exim_user = %[1]s
exim_group = %[2]s
spool_directory = %[3]s/spool
log_file_path = %[3]s/log/%%slog
pid_file_path = %[3]s/exim.pid
primary_hostname = localhost
domainlist local_domains = contoso.example
daemon_smtp_ports = %[4]d : %[5]d
local_interfaces = 127.0.0.1
tls_on_connect_ports = %[5]d
tls_advertise_hosts = *
tls_certificate = %[3]s/server.crt
tls_privatekey = %[3]s/server.key
acl_smtp_rcpt = check_rcpt
acl_smtp_auth = accept
host_lookup =
rfc1413_hosts =
never_users =
smtputf8_advertise_hosts =
log_selector = +smtp_protocol_error

begin acl
check_rcpt:
  deny local_parts = nobody
       message = no such user here
  defer local_parts = later
        condition = ${if exists{%[3]s/put-off}{yes}{no}}
        message = greylisted, come back
  accept domains = +local_domains
         authenticated = *
  deny message = relay not permitted

begin routers
all:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = %[3]s/mail
  user = %[1]s
  group = %[2]s
  delivery_date_add
  envelope_to_add
  return_path_add

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{%[6]s}}{eq{$auth3}{%[7]s}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${if and{{eq{$auth1}{%[6]s}}{eq{$auth2}{%[7]s}}}}
  server_set_id = $auth1
  server_advertise_condition = ${if def:tls_in_cipher}
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${if eq{$auth1}{%[6]s}{%[7]s}fail}
  server_set_id = $auth1
`

func startExim(t *testing.T) *exim {
	t.Helper()
	const program = "/usr/sbin/exim4"
	if os.Geteuid() != 0 {
		t.Fatal("exim needs root")
	}
	who, err := user.Lookup("Debian-exim")
	if err != nil {
		t.Fatalf("%v: is exim4-daemon-light installed?", err)
	}
	uid, _ := strconv.Atoi(who.Uid)
	gid, _ := strconv.Atoi(who.Gid)
	// Not below t.TempDir: its parents admit root only.
	dir, err := os.MkdirTemp("", "rotate-exim-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	submission, implicit := freePorts(t)
	x := &exim{submission: submission, implicit: implicit, maildir: filepath.Join(dir, "mail"), ca: newAuthority(t), log: filepath.Join(dir, "log", "mainlog")}
	certificate := x.ca.issue(t, time.Now().Add(time.Hour), "localhost")
	private, ok := certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatal("not an ECDSA key")
	}
	key, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"", "spool", "log", "mail"} {
		path := filepath.Join(dir, sub)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chown(path, uid, gid), os.Chmod(path, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	write("server.crt", 0o644, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
	write("server.key", 0o640, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}))
	if err := os.Chown(filepath.Join(dir, "server.key"), 0, gid); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "exim.conf")
	write("exim.conf", 0o644, fmt.Appendf(nil, eximConfig, "Debian-exim", "Debian-exim", dir, x.submission, x.implicit, smtpUser, smtpPassword))
	cmd := exec.Command(program, "-C", config, "-bdf", "-q30m")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(x.log)
			t.Logf("exim said: %s\n%s", out.String(), log)
		}
	})
	within(t, "exim listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", x.implicit))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	return x
}

// freePorts returns two ports at which nobody listens.
func freePorts(t *testing.T) (one, two int) {
	t.Helper()
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports[i] = portOf(l)
	}
	return ports[0], ports[1]
}

// within waits until something is so.
func within(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !so(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within two minutes", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// mails returns what lies in the Maildir, oldest first.
func (x *exim) mails(t *testing.T) [][]byte {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(x.maildir, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	var out [][]byte
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

func (x *exim) sender(t *testing.T, encryption, auth string) *notify.SMTP {
	t.Helper()
	s := &notify.SMTP{
		Host: "localhost", Port: x.submission, TLS: encryption, RootCAs: x.ca.pool(), Auth: auth, Username: smtpUser,
		Password: func(context.Context) (string, error) { return smtpPassword, nil },
		From:     "rotate@contoso.example", To: []string{"admins@contoso.example"}, Templates: templates(t), Timeout: time.Minute,
	}
	if encryption == notify.ImplicitTLS {
		s.Port = x.implicit
	}
	return s
}

// TestExim sends mail through a real server in every way that it knows, and compares
// what it stored.
func TestExim(t *testing.T) {
	x := startExim(t)
	n := 0
	for _, encryption := range []string{notify.STARTTLS, notify.ImplicitTLS, notify.NoTLS} {
		for _, auth := range []string{notify.AuthPlain, notify.AuthLogin, notify.AuthCRAMMD5} {
			if encryption == notify.NoTLS && auth != notify.AuthCRAMMD5 {
				continue // exim, too, takes passwords under TLS only
			}
			m := message(failed(hostile), event(rotator.EventExpiring, encryption+" "+auth))
			m.ID = fmt.Sprintf("0198c1de-aaaa-7000-8000-%012d", n)
			answer, err := x.sender(t, encryption, auth).Send(t.Context(), m)
			if err != nil || !strings.HasPrefix(answer, "250 OK id=") {
				t.Fatalf("%s %s: Send = %q, %v", encryption, auth, answer, err)
			}
			n++
			within(t, "the mail is stored", func() bool { return len(x.mails(t)) == n })
			found := false
			for _, raw := range x.mails(t) {
				if bytes.Contains(raw, []byte("<rotate."+m.ID+"@")) {
					found = true
					if !bytes.Contains(raw, []byte("by localhost with "+map[string]string{notify.NoTLS: "esmtpa"}[encryption])) {
						t.Errorf("%s %s: not received as such:\n%.600s", encryption, auth, raw)
					}
					checkMail(t, bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")), m)
				}
			}
			if !found {
				t.Errorf("%s %s: the mail is not there", encryption, auth)
			}
		}
	}
	s := x.sender(t, notify.STARTTLS, notify.AuthPlain)
	s.Password = func(context.Context) (string, error) { return "wrong-Password-77", nil }
	_, err := s.Send(t.Context(), message(failed("x")))
	if err == nil || notify.Temporary(err) || !strings.Contains(err.Error(), "535") {
		t.Errorf("with a wrong password: %v", err)
	}
	noSecret(t, "", err, "wrong-Password-77")
	if got := len(x.mails(t)); got != n {
		t.Errorf("%d mails are stored, want %d: something was sent twice", got, n)
	}
}

// TestEximRecipients: greylisting and a recipient that does not exist, at a real
// server; nobody gets a mail twice.
func TestEximRecipients(t *testing.T) {
	x := startExim(t)
	putOff := filepath.Join(filepath.Dir(x.maildir), "put-off")
	if err := os.WriteFile(putOff, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := x.sender(t, notify.STARTTLS, notify.AuthPlain)
	s.To = []string{"one@contoso.example", "nobody@contoso.example", "later@contoso.example"}
	m := message(failed("contoso-sync"))
	if _, err := s.Send(t.Context(), m); err == nil || !notify.Temporary(err) || !strings.Contains(err.Error(), "451") {
		t.Fatalf("the first attempt: %v; want it put off", err)
	}
	if err := os.Remove(putOff); err != nil {
		t.Fatal(err)
	}
	_, err := s.Send(t.Context(), m)
	if e, ok := errors.AsType[*notify.Error](err); !ok || !slices.Equal(e.Refused, []string{"nobody@contoso.example"}) || !strings.Contains(err.Error(), "no such user here") {
		t.Fatalf("the second attempt: %v; want nobody@ refused", err)
	}
	within(t, "both mails are stored", func() bool { return len(x.mails(t)) == 2 })
	var to []string
	for _, raw := range x.mails(t) {
		_, rest, _ := bytes.Cut(raw, []byte("Envelope-to: "))
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		to = append(to, string(line))
	}
	slices.Sort(to)
	if want := []string{"later@contoso.example", "one@contoso.example"}; !slices.Equal(to, want) {
		t.Errorf("stored for %v, want %v once each", to, want)
	}
}
