package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	netmail "net/mail"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/seed-f0abd057/rotate/rotator"
)

// How a connection to a mail server is encrypted.
const (
	STARTTLS    = "starttls"
	ImplicitTLS = "implicit"
	NoTLS       = "none"
)

// How to sign in to a mail server.
const (
	AuthNone    = "none"
	AuthPlain   = "plain"
	AuthLogin   = "login"
	AuthCRAMMD5 = "cram-md5"
	AuthXOAUTH2 = "xoauth2"
)

// SMTP sends mail through a mail server. It is safe for concurrent use.
//
// A recipient that the server refuses for good does not keep the others from
// getting the mail. One that is put off (greylisting) gets it at a later
// attempt; those that have it are remembered until then, in memory, so that they
// get it again only if the program was restarted in between.
type SMTP struct {
	Host string
	// Port is 0 for 587 with STARTTLS, 465 with implicit TLS, 25 without.
	Port int
	// TLS is one of the constants; NoTLS works to this host only.
	TLS string
	// RootCAs is nil for the system's.
	RootCAs *x509.CertPool
	// Auth is one of the constants.
	Auth     string
	Username string
	// Password is asked for each connection; for XOAUTH2 it returns a token. Its
	// error is shown and must not hold the secret.
	Password func(context.Context) (string, error)
	From     string
	To       []string
	// Templates make the bodies.
	Templates *MailTemplates
	// Timeout bounds one attempt. Zero: 60 s.
	Timeout time.Duration

	// mu guards what follows.
	mu sync.Mutex
	// got holds, by ID of messages that are not through yet, who has them.
	got map[string]map[string]bool
	ids []string // of got, oldest first
}

// maxUnfinished is how many messages that are not through are remembered.
const maxUnfinished = 256

// Send sends one mail to all recipients, and returns the server's answer to it.
func (s *SMTP) Send(ctx context.Context, m Message) (string, error) {
	to, refused := recipients(m, s.To)
	pending := slices.DeleteFunc(slices.Clone(to), func(r string) bool { return s.hasGot(m.ID, r) })
	if len(pending) == 0 {
		s.forget(m.ID)
		return "every recipient has it", nil
	}
	a := &attempt{SMTP: s, ascii: !slices.ContainsFunc(append(slices.Clone(to), s.From), func(r string) bool { return !ascii(wire(r)) })}
	if s.Auth != AuthNone && s.Auth != "" {
		secret, err := s.Password(ctx)
		if err != nil {
			return "", &Error{Op: "sign in to " + s.Host, Err: err}
		}
		a.password = secret
		a.hide(secret, "\x00"+s.Username+"\x00"+secret, "user="+s.Username+"\x01auth=Bearer "+secret+"\x01\x01")
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout())
	defer cancel()
	defer context.AfterFunc(ctx, a.hangUp)()
	defer a.hangUp()
	c, err := a.dial(ctx)
	if err != nil {
		return "", err
	}
	answer, r, err := a.transmit(c, s.compose(m, to), pending)
	if err != nil {
		return answer, err
	}
	s.remember(m.ID, r.got)
	switch some := len(to) - len(r.later) - len(r.refused); {
	case len(r.later) > 0 && some > 0:
		return answer, &Error{Op: "RCPT TO", Err: fmt.Errorf("%d of %d recipients have it, the rest is put off: %s", some, len(to), r.why)}
	case len(r.later) > 0 || len(r.refused) > 0 && some == 0:
		return answer, &Error{
			Op: "RCPT TO", Permanent: len(r.later) == 0,
			Err: fmt.Errorf("no recipient was accepted (%s): %s", strings.Join(to, ", "), r.why),
		}
	}
	s.forget(m.ID)
	if refused = append(refused, r.refused...); len(refused) > 0 {
		return answer, &Error{
			Op: "RCPT TO", Permanent: true, Refused: refused,
			Err: fmt.Errorf("the others have it, but not %s: %s", strings.Join(refused, ", "), orElse(r.why, "not an address")),
		}
	}
	return answer, nil
}

func (s *SMTP) timeout() time.Duration {
	if s.Timeout <= 0 {
		return time.Minute
	}
	return s.Timeout
}

func (s *SMTP) port() int {
	switch {
	case s.Port != 0:
		return s.Port
	case s.TLS == ImplicitTLS:
		return mail.DefaultPortSSL
	case s.TLS == NoTLS:
		return mail.DefaultPort
	}
	return mail.DefaultPortTLS
}

// compose makes the mail. The same message gives the same Message-ID, so that
// mail programs show a repeated one once.
func (s *SMTP) compose(m Message, to []string) *mail.Msg {
	c := s.Templates.content(m)
	msg := mail.NewMsg(mail.WithCharset(mail.CharsetUTF8), mail.WithEncoding(mail.EncodingQP), mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&netmail.Address{Name: "rotate", Address: wire(s.From)})
	addresses := make([]*netmail.Address, len(to))
	for i, r := range to {
		addresses[i] = &netmail.Address{Address: wire(r)}
	}
	msg.ToMailAddress(addresses...)
	msg.Subject(c.subject)
	msg.SetDateWithValue(m.At.UTC())
	msg.SetMessageIDWithValue(messageID(m.ID, wire(s.From)))
	msg.SetUserAgent("rotate")
	// No out-of-office answers, please.
	// RFC 3834, 5; https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxcmail/
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	if worst(m) == rotator.SeverityCritical {
		msg.SetImportance(mail.ImportanceHigh)
	}
	msg.SetBodyString(mail.TypeTextPlain, c.text)
	msg.AddAlternativeString(mail.TypeTextHTML, c.html)
	return msg
}

// messageID makes the left side of a Message-ID of an ID, and the right side of
// the sender's domain.
func messageID(id, from string) string {
	left := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("-_", r) {
			return r
		}
		return '-'
	}, id)
	domain := "rotate.invalid"
	if at := strings.LastIndexByte(from, '@'); at >= 0 && at+1 < len(from) {
		domain = from[at+1:]
	}
	return "rotate." + cut(left, 200) + "@" + domain
}

// attempt is one connection.
type attempt struct {
	*SMTP
	scrubber

	password string
	// ascii tells that no address needs SMTPUTF8.
	ascii bool
	// connMu guards conn.
	connMu sync.Mutex
	conn   net.Conn
}

// hangUp closes the connection, so that whoever waits for an answer on it stops.
func (a *attempt) hangUp() {
	a.connMu.Lock()
	defer a.connMu.Unlock()
	if a.conn != nil {
		_ = a.conn.Close() // nothing more will be said
	}
}

// dial connects, encrypts and signs in.
func (a *attempt) dial(ctx context.Context) (*smtp.Client, error) {
	options := []mail.Option{
		mail.WithPort(a.port()), mail.WithTimeout(a.timeout()), mail.WithDialContextFunc(a.connect),
		mail.WithTLSConfig(a.tlsConfig()), mail.WithUsername(a.Username), mail.WithPassword(a.password), mail.WithSMTPAuth(a.mechanism()),
	}
	switch a.TLS {
	case ImplicitTLS:
		options = append(options, mail.WithSSL())
	case NoTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if a.ascii {
		// A mail that asks for SMTPUTF8 bounces at the next server that lacks it.
		options = append(options, mail.WithoutSMTPUTF8())
	}
	op := fmt.Sprintf("connect to %s", net.JoinHostPort(a.Host, strconv.Itoa(a.port())))
	c, err := mail.NewClient(wireHost(a.Host), options...)
	if err != nil {
		return nil, &Error{Op: op, Permanent: true, Err: a.hidden("", err)}
	}
	client, err := c.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return nil, a.dialError(ctx, op, err)
	}
	return client, nil
}

// connect opens the connection and keeps it for hangUp.
func (a *attempt) connect(ctx context.Context, network, address string) (net.Conn, error) {
	plain, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	a.connMu.Lock()
	a.conn = plain
	a.connMu.Unlock()
	if a.TLS == NoTLS {
		if tcp, ok := plain.RemoteAddr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
			return nil, errNotLocal
		}
	}
	if a.TLS != ImplicitTLS {
		return &bareLines{Conn: plain}, nil
	}
	encrypted := tls.Client(plain, a.tlsConfig())
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return encrypted, nil
}

var errNotLocal = errors.New("the server is not on this host, and without TLS mail goes to this host only")

func (a *attempt) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: wireHost(a.Host), RootCAs: a.RootCAs, MinVersion: tls.VersionTLS12}
}

func (a *attempt) mechanism() mail.SMTPAuthType {
	switch a.Auth {
	case AuthPlain:
		return mail.SMTPAuthPlain
	case AuthLogin:
		return mail.SMTPAuthLogin
	case AuthCRAMMD5:
		return mail.SMTPAuthCramMD5
	case AuthXOAUTH2:
		return mail.SMTPAuthXOAUTH2
	}
	return mail.SMTPAuthNoAuth
}

// dialError says what is wrong before the first command.
func (a *attempt) dialError(ctx context.Context, op string, err error) error {
	e := &Error{Op: op}
	var answer *textproto.Error
	var network net.Error
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &answer):
		return a.refusal("sign in to "+a.Host, answer)
	case errors.Is(err, errNotLocal):
		e.Permanent = true
		e.Err = errNotLocal
	case errors.As(err, &certificate):
		// Sending again helps as soon as somebody renewed it.
		e.Err = a.hidden("the server's certificate is not accepted: ", certificate.Err)
	case errors.As(err, &record):
		e.Permanent = true
		e.Err = &notSent{text: "the server does not speak TLS on this port; port 587 is usually starttls, 465 implicit"}
	case ctx.Err() != nil:
		e.Err = &notSent{text: "no answer in time", because: ctx.Err()}
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		e.Err = a.hidden("", err)
	case errors.Is(err, mail.ErrPlainAuthNotSupported):
		e.Permanent = true
		e.Err = a.hidden("", fmt.Errorf("%w; some servers offer the older one only: auth: login", err))
	default:
		// What is left is go-mail's own: no STARTTLS, no such mechanism.
		e.Permanent = true
		e.Err = a.hidden("", err)
	}
	return e
}

// refusal makes an error of a server's answer.
func (a *attempt) refusal(op string, answer *textproto.Error) *Error {
	text := a.clean(answer.Msg)
	e := &Error{Op: op, Permanent: answer.Code >= 500}
	switch {
	case strings.Contains(answer.Msg, "5.7.30"), strings.Contains(answer.Msg, "5.7.139"):
		// https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/deprecation-of-basic-authentication-exchange-online
		text += " (Exchange Online takes no passwords here: use graph_mail, or auth: xoauth2)"
	case answer.Code == 535:
		text += " (check username and password)"
	}
	e.Err = &notSent{text: fmt.Sprintf("%d %s", answer.Code, text)}
	return e
}

// result says who got a mail.
type result struct {
	got, later, refused []string
	// why says what the server said about the last one of later or refused.
	why string
}

// transmit sends the mail to those who are accepted. It returns an error if the
// connection or the mail failed, not if recipients did.
func (a *attempt) transmit(c *smtp.Client, msg *mail.Msg, to []string) (string, result, error) {
	var r result
	if err := c.Mail(envelope(a.From)); err != nil {
		return "", r, a.commandError("MAIL FROM", err)
	}
	var accepted []string
	for _, rcpt := range to {
		err := c.Rcpt(envelope(rcpt))
		var answer *textproto.Error
		switch {
		case err == nil:
			accepted = append(accepted, rcpt)
		case !errors.As(err, &answer):
			return "", r, a.commandError("RCPT TO", err)
		case answer.Code >= 500:
			r.refused = append(r.refused, rcpt)
			r.why = a.refusal("", answer).Err.Error()
		default:
			r.later = append(r.later, rcpt)
			r.why = a.refusal("", answer).Err.Error()
		}
	}
	if len(accepted) == 0 {
		_ = c.Quit() // a courtesy
		return "", r, nil
	}
	w, err := c.Data()
	if err != nil {
		return "", r, a.commandError("DATA", err)
	}
	if _, err := msg.WriteTo(w); err != nil {
		return "", r, a.commandError("send the mail", err)
	}
	if err := w.Close(); err != nil {
		if answer, ok := errors.AsType[*textproto.Error](err); ok {
			return "", r, a.refusal("send the mail", answer)
		}
		return "", r, &Error{Op: "send the mail", Err: a.hidden("the server did not say whether it took it, so it is sent again with the same Message-ID: ", err)}
	}
	r.got = accepted
	answer := ""
	if d, ok := w.(*smtp.DataCloser); ok {
		answer = "250 " + a.clean(d.ServerResponse())
	}
	_ = c.Quit() // the mail is theirs already
	return answer, r, nil
}

// envelope is an address in the form of MAIL and RCPT.
func envelope(address string) string { return (&netmail.Address{Address: wire(address)}).String() }

// commandError is a command that failed.
func (a *attempt) commandError(op string, err error) error {
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		return a.refusal(op, answer)
	}
	return &Error{Op: op, Err: a.hidden("", err)}
}

func (s *SMTP) hasGot(id, recipient string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got[id][recipient]
}

func (s *SMTP) remember(id string, got []string) {
	if len(got) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.got == nil {
		s.got = map[string]map[string]bool{}
	}
	if s.got[id] == nil {
		s.got[id] = map[string]bool{}
		s.ids = append(s.ids, id)
	}
	for _, r := range got {
		s.got[id][r] = true
	}
	for len(s.ids) > maxUnfinished {
		delete(s.got, s.ids[0])
		s.ids = s.ids[1:]
	}
}

func (s *SMTP) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.got, id)
	s.ids = slices.DeleteFunc(s.ids, func(o string) bool { return o == id })
}

// Unfinished returns the IDs of messages that some recipients have and others do
// not yet.
func (s *SMTP) Unfinished() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.got))
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 126 })
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
