package notify_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

const (
	smtpUser     = "alerts@contoso.example"
	smtpPassword = "c0rrect-Horse+battery/staple"
)

// delivered is one mail as a server took it.
type delivered struct {
	from string
	to   []string
	body []byte
}

// mailServer is a real SMTP server on loopback.
type mailServer struct {
	host string
	port int

	mu     sync.Mutex
	mails  []delivered
	auths  []string
	refuse map[string]*smtp.SMTPError // by recipient; nil entries are accepted
	once   map[string]*smtp.SMTPError // the same, for the first time only
	data   func() error
}

func (s *mailServer) taken() []delivered {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

type mailSession struct {
	s    *mailServer
	from string
	to   []string
}

func (s *mailServer) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailSession{s: s}, nil }

func (m *mailSession) AuthMechanisms() []string { return []string{"PLAIN", "LOGIN", "XOAUTH2"} }

func (m *mailSession) Auth(mech string) (sasl.Server, error) {
	check := func(user, password string) error {
		m.s.mu.Lock()
		defer m.s.mu.Unlock()
		m.s.auths = append(m.s.auths, mech)
		if user != smtpUser || password != smtpPassword {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no: " + password + " " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))}
		}
		return nil
	}
	switch mech {
	case "PLAIN":
		return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
	case "LOGIN":
		return &loginServer{check: check}, nil
	case "XOAUTH2":
		return &xoauth2Server{check: check}, nil
	}
	return nil, smtp.ErrAuthUnknownMechanism
}

func (m *mailSession) Mail(from string, _ *smtp.MailOptions) error {
	m.from = from
	return nil
}

func (m *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	if err := m.s.once[to]; err != nil {
		delete(m.s.once, to)
		return err
	}
	if err := m.s.refuse[to]; err != nil {
		return err
	}
	m.to = append(m.to, to)
	return nil
}

func (m *mailSession) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if m.s.data != nil {
		if err := m.s.data(); err != nil {
			return err
		}
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.s.mails = append(m.s.mails, delivered{m.from, m.to, body})
	return nil
}

func (m *mailSession) Reset()        { m.from, m.to = "", nil }
func (m *mailSession) Logout() error { return nil }

type loginServer struct {
	check func(user, password string) error
	user  string
	step  int
}

func (l *loginServer) Next(answer []byte) ([]byte, bool, error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(answer)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(answer))
}

// xoauth2Server follows Microsoft's and Google's form: a refusal is a challenge
// of JSON, which the client answers with an empty line.
// https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
type xoauth2Server struct {
	check  func(user, token string) error
	failed error
}

func (x *xoauth2Server) Next(answer []byte) ([]byte, bool, error) {
	if x.failed != nil {
		return nil, true, x.failed
	}
	text, ok := strings.CutPrefix(string(answer), "user=")
	user, rest, ok2 := strings.Cut(text, "\x01auth=Bearer ")
	token, ok3 := strings.CutSuffix(rest, "\x01\x01")
	if !ok || !ok2 || !ok3 {
		return nil, true, errors.New("malformed XOAUTH2")
	}
	if x.failed = x.check(user, token); x.failed != nil {
		return []byte(`{"status":"401","schemes":"bearer"}`), false, nil //nolint:nilerr // the refusal comes after the client has answered this
	}
	return nil, true, nil
}

// serveMail starts a server; certificate may be nil for none.
func serveMail(t *testing.T, implicit bool, certificate *tls.Certificate) *mailServer {
	t.Helper()
	s := &mailServer{refuse: map[string]*smtp.SMTPError{}, once: map[string]*smtp.SMTPError{}}
	server := smtp.NewServer(s)
	server.Domain = "mail.contoso.example"
	server.AllowInsecureAuth = true
	server.ErrorLog = noLog{}
	var config *tls.Config
	if certificate != nil {
		config = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.host = "localhost"
	s.port = portOf(l)
	if implicit {
		l = tls.NewListener(l, config)
	} else {
		server.TLSConfig = config
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		_ = l.Close() // if it was closed before it began to serve
		<-done
	})
	return s
}

type noLog struct{}

func (noLog) Printf(string, ...any) {}
func (noLog) Println(...any)        {}

// sender returns one for the server, without TLS and without signing in.
func (s *mailServer) sender(t *testing.T, change ...func(*notify.SMTP)) *notify.SMTP {
	t.Helper()
	out := &notify.SMTP{
		Host: s.host, Port: s.port, TLS: notify.NoTLS, From: "rotate@contoso.example",
		To: []string{"admins@contoso.example"}, Templates: templates(t), Timeout: time.Minute,
	}
	for _, c := range change {
		c(out)
	}
	return out
}

func signIn(auth, password string) func(*notify.SMTP) {
	return func(s *notify.SMTP) {
		s.Auth, s.Username = auth, smtpUser
		s.Password = func(context.Context) (string, error) { return password, nil }
	}
}

// TestSMTPSignIn sends one mail by each way to encrypt and sign in that go-smtp
// knows; exim, in the end-to-end test, knows CRAM-MD5 too.
func TestSMTPSignIn(t *testing.T) {
	ca := newAuthority(t)
	certificate := ca.issue(t, time.Now().Add(time.Hour), "localhost")
	for _, encryption := range []string{notify.STARTTLS, notify.ImplicitTLS, notify.NoTLS} {
		for _, auth := range []string{notify.AuthNone, notify.AuthPlain, notify.AuthLogin, notify.AuthXOAUTH2} {
			t.Run(encryption+" "+auth, func(t *testing.T) {
				server := serveMail(t, encryption == notify.ImplicitTLS, &certificate)
				s := server.sender(t, func(s *notify.SMTP) { s.TLS, s.RootCAs = encryption, ca.pool() })
				if auth != notify.AuthNone {
					signIn(auth, smtpPassword)(s)
				}
				answer, err := s.Send(t.Context(), message(failed("contoso-sync")))
				if err != nil || !strings.HasPrefix(answer, "250 ") {
					t.Fatalf("Send = %q, %v", answer, err)
				}
				if got := server.taken(); len(got) != 1 || got[0].from != "rotate@contoso.example" || !slices.Equal(got[0].to, []string{"admins@contoso.example"}) {
					t.Errorf("the server took %+v, want one mail", got)
				}
				if auth != notify.AuthNone && !slices.Equal(server.auths, []string{strings.ToUpper(auth)}) {
					t.Errorf("signed in with %v, want %s once", server.auths, auth)
				}
			})
		}
	}
}

// TestSMTPFaults checks the outcome of each fault: whether sending again can help,
// and what people read.
func TestSMTPFaults(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, time.Now().Add(time.Hour), "localhost")
	expired := ca.issue(t, time.Now().Add(-time.Hour), "localhost")
	other := ca.issue(t, time.Now().Add(time.Hour), "smtp.fabrikam.example")
	starttls := func(s *notify.SMTP) { s.TLS, s.RootCAs = notify.STARTTLS, ca.pool() }
	tests := map[string]struct {
		certificate *tls.Certificate
		server      func(*mailServer)
		sender      []func(*notify.SMTP)
		temporary   bool
		want        string
	}{
		"wrong password":                      {&good, nil, []func(*notify.SMTP){starttls, signIn(notify.AuthPlain, "wrong-Password-77")}, false, "535 5.7.8"},
		"wrong token":                         {&good, nil, []func(*notify.SMTP){starttls, signIn(notify.AuthXOAUTH2, "eyJ0b2tlbi1UaGF0LWlzLXdyb25n")}, false, "535 5.7.8"},
		"certificate of others":               {&other, nil, []func(*notify.SMTP){starttls}, true, "certificate is not accepted: x509: certificate is valid for smtp.fabrikam.example, not localhost"},
		"expired certificate":                 {&expired, nil, []func(*notify.SMTP){starttls}, true, "certificate is not accepted: x509: certificate has expired"},
		"unknown authority":                   {&good, nil, []func(*notify.SMTP){starttls, func(s *notify.SMTP) { s.RootCAs = newAuthority(t).pool() }}, true, "certificate is not accepted"},
		"no STARTTLS":                         {nil, nil, []func(*notify.SMTP){starttls}, false, "does not support STARTTLS"},
		"implicit TLS to a port for STARTTLS": {&good, nil, []func(*notify.SMTP){starttls, func(s *notify.SMTP) { s.TLS = notify.ImplicitTLS }}, false, "port 587 is usually starttls"},
		"no CRAM-MD5":                         {&good, nil, []func(*notify.SMTP){starttls, signIn(notify.AuthCRAMMD5, smtpPassword)}, false, "CRAM-MD5"},
		"no password file": {&good, nil, []func(*notify.SMTP){starttls, func(s *notify.SMTP) {
			s.Auth, s.Username = notify.AuthPlain, smtpUser
			s.Password = func(context.Context) (string, error) {
				return "", errors.New("open /etc/rotate/smtp.password: no such file or directory")
			}
		}}, true, "smtp.password: no such file"},
		"nobody listens": {nil, nil, []func(*notify.SMTP){func(s *notify.SMTP) { s.Host, s.Port = "127.0.0.1", closedPort(t) }}, true, "connection refused"},
		"no such host":   {nil, nil, []func(*notify.SMTP){starttls, func(s *notify.SMTP) { s.Host = noName }}, true, noName},
		"greylisted":     {nil, func(s *mailServer) { s.refuse["admins@contoso.example"] = code(451, "come back in 5 minutes") }, nil, true, "451 4.0.0 come back in 5 minutes"},
		"refused":        {nil, func(s *mailServer) { s.refuse["admins@contoso.example"] = code(550, "no such user") }, nil, false, "no recipient was accepted (admins@contoso.example): 550 5.0.0 no such user"},
		"mail refused":   {nil, func(s *mailServer) { s.data = func() error { return code(554, "looks like spam") } }, nil, false, "send the mail: 554 5.0.0 looks like spam"},
		"disk full":      {nil, func(s *mailServer) { s.data = func() error { return code(452, "no space") } }, nil, true, "send the mail: 452 4.0.0 no space"},
		"no passwords at Exchange Online": {nil, func(s *mailServer) {
			s.data = func() error { return code(550, "5.7.30 Basic authentication is not supported for Client Submission.") }
		}, nil, false, "use graph_mail, or auth: xoauth2"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := serveMail(t, false, test.certificate)
			if test.server != nil {
				test.server(server)
			}
			s := server.sender(t, test.sender...)
			answer, err := s.Send(t.Context(), message(failed("contoso-sync")))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("Send = %q, %v; want an error with %q", answer, err, test.want)
			}
			if got := notify.Temporary(err); got != test.temporary {
				t.Errorf("Temporary(%v) = %v, want %v", err, got, test.temporary)
			}
			noSecret(t, answer, err, smtpPassword, "wrong-Password-77", "eyJ0b2tlbi1UaGF0LWlzLXdyb25n")
			if n := len(server.taken()); n != 0 {
				t.Errorf("the server took %d mails", n)
			}
		})
	}
}

func code(status int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: status, EnhancedCode: smtp.EnhancedCode{status / 100, 0, 0}, Message: text}
}

func portOf(l net.Listener) int {
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// closedPort returns a port of 127.0.0.1 at which nobody listens, and until the test
// ends nobody else can.
func closedPort(t *testing.T) int {
	t.Helper()
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	in4, ok := name.(*unix.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to a %T", name)
	}
	return in4.Port
}

// TestSMTPHangsAfterData: the mail may have arrived; it is sent again under the
// same Message-ID, and waiting for the server ends.
func TestSMTPHangsAfterData(t *testing.T) {
	server := serveMail(t, false, nil)
	release, reached := make(chan struct{}), make(chan struct{}, 1)
	server.data = func() error {
		reached <- struct{}{}
		<-release
		return nil
	}
	defer close(release)
	s := server.sender(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	_, err := s.Send(ctx, message(failed("contoso-sync")))
	if err == nil || !notify.Temporary(err) || !strings.Contains(err.Error(), "did not say whether it took it") {
		t.Fatalf("Send = %v; want a temporary error that says that it may have arrived", err)
	}

	// The same by its own time limit.
	s.Timeout = 200 * time.Millisecond
	if _, err := s.Send(t.Context(), message(failed("contoso-sync"))); err == nil || !notify.Temporary(err) {
		t.Fatalf("Send = %v; want a temporary error", err)
	}
}

// TestSMTPRecipients: one of three that is refused, or put off, does not keep the
// others from getting the mail, and nobody gets it twice.
func TestSMTPRecipients(t *testing.T) {
	three := []string{"one@contoso.example", "two@contoso.example", "three@contoso.example"}
	t.Run("refused", func(t *testing.T) {
		server := serveMail(t, false, nil)
		server.refuse["two@contoso.example"] = code(550, "no such user")
		s := server.sender(t, func(s *notify.SMTP) { s.To = three })
		answer, err := s.Send(t.Context(), message(failed("contoso-sync")))
		e, ok := errors.AsType[*notify.Error](err)
		if !ok || !e.Permanent || !slices.Equal(e.Refused, []string{"two@contoso.example"}) || !strings.HasPrefix(answer, "250") {
			t.Fatalf("Send = %q, %#v; want two@ refused", answer, err)
		}
		if got := server.taken(); len(got) != 1 || !slices.Equal(got[0].to, []string{"one@contoso.example", "three@contoso.example"}) {
			t.Errorf("the server took %+v", got)
		}
	})
	t.Run("put off", func(t *testing.T) {
		server := serveMail(t, false, nil)
		server.once["two@contoso.example"] = code(451, "greylisted")
		s := server.sender(t, func(s *notify.SMTP) { s.To = three })
		m := message(failed("contoso-sync"))
		if _, err := s.Send(t.Context(), m); err == nil || !notify.Temporary(err) || !strings.Contains(err.Error(), "2 of 3 recipients have it") {
			t.Fatalf("Send = %v; want a temporary error", err)
		}
		if _, err := s.Send(t.Context(), m); err != nil {
			t.Fatalf("the second attempt: %v", err)
		}
		var to []string
		for _, mail := range server.taken() {
			to = append(to, mail.to...)
		}
		if want := []string{"one@contoso.example", "three@contoso.example", "two@contoso.example"}; !slices.Equal(to, want) {
			t.Errorf("the mail went to %v, want %v", to, want)
		}
		if left := s.Unfinished(); len(left) > 0 {
			t.Errorf("%v are still remembered", left)
		}
	})
	t.Run("put off, then refused", func(t *testing.T) {
		server := serveMail(t, false, nil)
		server.once["two@contoso.example"] = code(451, "greylisted")
		server.refuse["two@contoso.example"] = code(550, "no such user")
		s := server.sender(t, func(s *notify.SMTP) { s.To = three })
		m := message(failed("contoso-sync"))
		if _, err := s.Send(t.Context(), m); !notify.Temporary(err) {
			t.Fatal(err)
		}
		_, err := s.Send(t.Context(), m)
		if e, ok := errors.AsType[*notify.Error](err); !ok || !slices.Equal(e.Refused, []string{"two@contoso.example"}) {
			t.Errorf("Send = %v; want two@ refused while the others have it", err)
		}
	})
	t.Run("owners", func(t *testing.T) {
		server := serveMail(t, false, nil)
		s := server.sender(t)
		m := message(failed("contoso-sync"))
		m.To = []string{"Team <team@contoso.example>", "the backup people", "team@contoso.example"}
		_, err := s.Send(t.Context(), m)
		if e, ok := errors.AsType[*notify.Error](err); !ok || !slices.Equal(e.Refused, []string{"the backup people"}) {
			t.Errorf("Send = %v; want what is no address reported", err)
		}
		if got := server.taken(); len(got) != 1 || !slices.Equal(got[0].to, []string{"team@contoso.example"}) {
			t.Errorf("the server took %+v", got)
		}
	})
}

// TestSMTPNotLocal: without TLS nothing goes to another host, whatever its name.
func TestSMTPNotLocal(t *testing.T) {
	var address string
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			address = n.IP.String()
		}
	}
	if address == "" {
		t.Log("this host has no address but loopback; nothing to connect to")
		return
	}
	l, err := net.Listen("tcp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &notify.SMTP{
		Host: address, Port: portOf(l), TLS: notify.NoTLS, From: "a@contoso.example", To: []string{"b@contoso.example"},
		Templates: templates(t), Timeout: time.Minute,
	}
	if _, err := s.Send(t.Context(), message(failed("x"))); err == nil || notify.Temporary(err) || !strings.Contains(err.Error(), "not on this host") {
		t.Errorf("Send = %v; want a refusal", err)
	}
}

// TestMail reads a mail as a mail program does.
func TestMail(t *testing.T) {
	server := serveMail(t, false, nil)
	s := server.sender(t)
	m := message(failed(hostile), event(rotator.EventExpiring, "fabrikam-mail"))
	if _, err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	mails := server.taken()
	if len(mails) != 1 {
		t.Fatalf("%d mails, want 1 for both events", len(mails))
	}
	checkMail(t, mails[0].body, m)
	if !slices.Equal(mails[0].to, []string{"admins@contoso.example"}) {
		t.Errorf("sent to %v", mails[0].to)
	}
}

// checkMail parses a mail and compares it with its message; it returns the HTML.
func checkMail(t *testing.T, raw []byte, m notify.Message) string {
	t.Helper()
	for i, line := range bytes.Split(raw, []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") { // RFC 5322, 2.1.1
			t.Errorf("line %d is not a line of RFC 5322: %.80q", i+1, line)
		}
	}
	mail, err := netmail.ReadMessage(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range mail.Header {
		if len(values) != 1 && name != "Received" {
			t.Errorf("%d headers %s", len(values), name)
		}
	}
	if got := mail.Header.Get("Bcc"); got != "" {
		t.Errorf("an app's name made a header: Bcc: %s", got)
	}
	if got := mail.Header.Get("Message-Id"); got != "<rotate."+m.ID+"@contoso.example>" {
		t.Errorf("Message-ID %q", got)
	}
	if date, err := mail.Header.Date(); err != nil || !date.Equal(m.At) {
		t.Errorf("Date %v, %v; want %v", date, err, m.At)
	}
	if from, err := mail.Header.AddressList("From"); err != nil || len(from) != 1 || from[0].Address != "rotate@contoso.example" {
		t.Errorf("From %v, %v", from, err)
	}
	if _, err := mail.Header.AddressList("To"); err != nil {
		t.Errorf("To: %v", err)
	}
	if got := mail.Header.Get("Auto-Submitted"); got != "auto-generated" {
		t.Errorf("Auto-Submitted: %q", got)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(mail.Header.Get("Subject"))
	if err != nil || !strings.HasPrefix(subject, "[rotate] ") || strings.ContainsAny(subject, "\r\n") {
		t.Errorf("Subject %q, %v", subject, err)
	}
	kind, parameters, err := mime.ParseMediaType(mail.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("Content-Type %q, %v", kind, err)
	}
	parts := map[string]string{}
	for r := multipart.NewReader(mail.Body, parameters["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Header.Get("Content-Transfer-Encoding"); got != "quoted-printable" {
			t.Errorf("a part is encoded as %q", got)
		}
		text, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		kind, parameters, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil || !strings.EqualFold(parameters["charset"], "utf-8") {
			t.Errorf("a part has %q, %v", p.Header.Get("Content-Type"), err)
		}
		parts[kind] = string(text)
	}
	if len(parts) != 2 {
		t.Fatalf("%d parts, want text and HTML", len(parts))
	}
	html := parts["text/html"]
	if strings.Contains(html, "<script>") {
		t.Error("an app's name became HTML")
	}
	for _, e := range m.Events {
		for what, want := range map[string]string{"summary": e.Summary, "next": e.Next, "ID": e.ID} {
			want = strings.Join(strings.Fields(want), " ")
			if !strings.Contains(parts["text/plain"], want) {
				t.Errorf("the text lacks the %s %q", what, want)
			}
			if !strings.Contains(html, escaped(want)) {
				t.Errorf("the HTML lacks the %s %q", what, want)
			}
		}
	}
	return html
}

func escaped(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

// TestMailSubjects: one line that says what and how bad.
func TestMailSubjects(t *testing.T) {
	storm := make([]rotator.Event, 0, 1000)
	for i := range 1000 {
		storm = append(storm, failed(fmt.Sprintf("app-%04d", i)))
	}
	tests := map[string]struct {
		events []rotator.Event
		want   string
	}{
		"one":               {[]rotator.Event{failed("contoso-sync")}, "[rotate] Critical: contoso-sync: rotation failed"},
		"good news":         {[]rotator.Event{event(rotator.EventRotated, "contoso-sync", func(e *rotator.Event) { e.Severity = rotator.SeverityInfo })}, "[rotate] contoso-sync: rotated"},
		"without app":       {[]rotator.Event{event(rotator.EventStopped, "")}, "[rotate] Warning: Stopped"},
		"one app":           {[]rotator.Event{failed("a"), event(rotator.EventExpiring, "a")}, "[rotate] Critical: a: rotation failed, and 1 more"},
		"several, some bad": {[]rotator.Event{failed("a"), event(rotator.EventExpiring, "b")}, "[rotate] Critical: a: rotation failed, and 1 more"},
		"a storm":           {storm, "[rotate] Critical: Rotation failed, 1000 times"},
		"hostile":           {[]rotator.Event{event(rotator.EventExpiring, "x\r\nBcc: y@z.example")}, "[rotate] Warning: x Bcc: y@z.example: expiring"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := serveMail(t, false, nil)
			if _, err := server.sender(t).Send(t.Context(), message(test.events...)); err != nil {
				t.Fatal(err)
			}
			raw := server.taken()[0].body
			mail, err := netmail.ReadMessage(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			got, err := new(mime.WordDecoder).DecodeHeader(mail.Header.Get("Subject"))
			if want := test.want + " (" + message(test.events...).At.Format(time.DateOnly) + ")"; err != nil || got != want {
				t.Errorf("Subject %q, %v; want %q", got, err, want)
			}
			if name == "a storm" && (len(raw) > 400<<10 || !bytes.Contains(raw, []byte("app-0999"))) {
				t.Errorf("the mail about 1000 apps has %d bytes, or lacks the last app", len(raw))
			}
		})
	}
}

// TestMailTemplates: files take the place of the built-in ones; what is wrong with
// one is said with file and line before anything is sent.
func TestMailTemplates(t *testing.T) {
	write := func(t *testing.T, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "mail.html")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct{ text, want string }{
		"missing field":     {"<p>\n{{#events}}\n<b>{{apps}}</b>{{/events}}", `mail.html:3: there is no field "apps"; there are: kind, title`},
		"missing list":      {"{{#alerts}}{{/alerts}}", `mail.html:1: there is no list "alerts"; there are: events, more`},
		"event field above": {"{{summary}}", `mail.html:1: there is no field "summary"`},
		"never closed":      {"a\n{{?host}}\nb", "mail.html:2: {{?host}} is never closed; write {{/host}}"},
		"closed twice":      {"{{?host}}{{/host}}{{/host}}", "mail.html:1: {{/host}} closes what is not open here"},
		"crossed":           {"{{#events}}{{?next}}{{/events}}{{/next}}", "mail.html:1: {{/events}} closes what is not open here"},
		"braces":            {"{{host", `mail.html:1: "{{" without "}}"`},
		"empty":             {"{{}}", "mail.html:1: {{}} names no field"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := notify.LoadMailTemplates("", write(t, test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("LoadMailTemplates = %v, want %q", err, test.want)
			}
		})
	}
	if _, err := notify.LoadMailTemplates("/nowhere/mail.txt", ""); err == nil || !strings.Contains(err.Error(), "/nowhere/mail.txt") {
		t.Errorf("LoadMailTemplates = %v, want the file named", err)
	}
	server := serveMail(t, false, nil)
	own, err := notify.LoadMailTemplates("", write(t, "<ul title=\"{{headline}}\">{{! a remark }}{{#events}}<li>{{app}} {{severity}}{{?rotation}} ({{rotation}}){{/rotation}} of {{count}}</li>{{/events}}</ul>"))
	if err != nil {
		t.Fatal(err)
	}
	s := server.sender(t, func(s *notify.SMTP) { s.Templates = own })
	if _, err := s.Send(t.Context(), message(failed(`a"b<c>`), event(rotator.EventExpiring, "d"))); err != nil {
		t.Fatal(err)
	}
	body := strings.ReplaceAll(string(server.taken()[0].body), "=\r\n", "")
	if want := "<li>a&#34;b&lt;c&gt; Critical (7f3c-2026-11-26) of 2</li><li>d Warning of 2</li></ul>"; !strings.Contains(body, want) {
		t.Errorf("the mail lacks %q:\n%s", want, body)
	}
}
