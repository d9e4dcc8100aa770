//go:build e2e

package main_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// exchange is a mail server that takes nothing but XOAUTH2 over STARTTLS, as Exchange
// Online does, and asks the tenant's keys whether a token is good.
type exchange struct {
	port string
	keys *oidc.RemoteKeySet

	mu     sync.Mutex
	mails  []string
	tokens []string
	// apps are the client IDs of tokens that were good.
	apps []string
	// closed lets nobody in any more.
	closed bool
}

func startExchange(t *testing.T, s *tenantServer, ca *authority) *exchange {
	t.Helper()
	pair, _, _ := ca.issue(t, "localhost")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: rootsOfFile(t, s.ready.CAFile)}}}
	x := &exchange{keys: oidc.NewRemoteKeySet(oidc.ClientContext(t.Context(), client), s.ready.Login+"/"+s.ready.TenantID+"/discovery/v2.0/keys")}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &exchangeSession{x: x}, nil }))
	server.Domain = "localhost"
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	l := must1(net.Listen("tcp", "127.0.0.1:0"))(t)
	_, x.port, _ = net.SplitHostPort(l.Addr().String())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends with an error when it is closed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return x
}

// admit checks a token: signed by the tenant, for Exchange Online.
func (x *exchange) admit(user, token string) error {
	no := &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 3}, Message: "Authentication unsuccessful " + token}
	payload, err := x.keys.VerifySignature(context.Background(), token)
	var claims struct {
		Audience string `json:"aud"`
		App      string `json:"appid"`
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tokens = append(x.tokens, token)
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Audience != "https://outlook.office365.com" || user != "alerts@contoso.example" || x.closed {
		return no
	}
	x.apps = append(x.apps, claims.App)
	return nil
}

type exchangeSession struct {
	x        *exchange
	admitted bool
}

func (e *exchangeSession) AuthMechanisms() []string { return []string{"XOAUTH2"} }

func (e *exchangeSession) Auth(string) (sasl.Server, error) {
	return &bearer{admit: func(user, token string) error {
		err := e.x.admit(user, token)
		e.admitted = err == nil
		return err
	}}, nil
}

func (e *exchangeSession) Mail(string, *smtp.MailOptions) error {
	if !e.admitted {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 57}, Message: "Client not authenticated to send mail"}
	}
	return nil
}

func (e *exchangeSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (e *exchangeSession) Reset()                               {}
func (e *exchangeSession) Logout() error                        { return nil }

func (e *exchangeSession) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	e.x.mails = append(e.x.mails, string(body))
	return nil
}

// bearer is XOAUTH2 as Microsoft documents it: a refusal is a challenge first.
// https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
type bearer struct {
	admit  func(user, token string) error
	failed error
}

func (b *bearer) Next(answer []byte) ([]byte, bool, error) {
	if b.failed != nil {
		return nil, true, b.failed
	}
	user, rest, ok := strings.Cut(strings.TrimPrefix(string(answer), "user="), "\x01auth=Bearer ")
	token, ok2 := strings.CutSuffix(rest, "\x01\x01")
	if !ok || !ok2 {
		return nil, true, errors.New("malformed XOAUTH2")
	}
	if b.failed = b.admit(user, token); b.failed != nil {
		return []byte(`{"status":"401","schemes":"bearer"}`), false, nil //nolint:nilerr // the refusal comes after the client has answered this
	}
	return nil, true, nil
}

// TestMailByTheTenant sends mail by the identity of a tenant in both ways: signed in to
// a mail server with a token of it, and through Graph. The program, the token, the
// server and its certificate are real.
func TestMailByTheTenant(t *testing.T) {
	t.Parallel()
	tenant, s := serveTenant(t, "contoso")
	ca := newAuthority(t)
	x := startExchange(t, s, ca)
	if err := tenant.Grant(s.ready.Admin.ClientID, "Mail.Send"); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	m.configure(t, "store", issueDefaults, s)
	m.addConfig(t, fmt.Sprintf(`notify:
  channels:
    - name: exchange
      smtp: {host: localhost, port: %s, ca_file: %q, auth: xoauth2, tenant: contoso, username: alerts@contoso.example, from: alerts@contoso.example, to: [admins@contoso.example]}
    - name: mailbox
      graph_mail: {tenant: contoso, from: adele.vance@contoso.onmicrosoft.com, to: [admins@contoso.example]}
`, x.port, ca.file))
	m.must(t, 0, "init", "--no-recovery")

	// Without a daemon, and by one.
	for _, daemon := range []bool{false, true} {
		if daemon {
			m.startDaemon(t)
		}
		for channel, want := range map[string]string{"exchange": "exchange: 250 ", "mailbox": "mailbox: 202 Accepted"} {
			stdout, _ := m.must(t, 0, "notify", "test", channel)
			if !strings.HasPrefix(stdout, want) {
				t.Errorf("notify test %s (daemon: %t) says %q, want %q", channel, daemon, stdout, want)
			}
		}
	}
	x.mu.Lock()
	mails, apps := slices.Clone(x.mails), slices.Clone(x.apps)
	x.mu.Unlock()
	if len(mails) != 2 || !strings.Contains(mails[0], "Subject: [rotate] Test") || !strings.Contains(mails[0], "To: <admins@contoso.example>") {
		t.Errorf("the mail server has %q, want two tests", mails)
	}
	if !slices.Equal(apps, []string{s.ready.Admin.ClientID, s.ready.Admin.ClientID}) {
		t.Errorf("the tokens are of %q, want of the tenant's identity %s", apps, s.ready.Admin.ClientID)
	}
	sent := tenant.SentMails()
	if len(sent) != 2 || sent[0].From != "adele.vance@contoso.onmicrosoft.com" || !slices.Equal(sent[0].To, []string{"admins@contoso.example"}) || !strings.HasPrefix(sent[0].Subject, "[rotate] Test (20") {
		t.Errorf("the tenant sent %+v, want two tests", sent)
	}

	// What both say when they refuse: what to do, and no token.
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	if err := tenant.Withdraw(s.ready.Admin.ClientID, "Mail.Send"); err != nil {
		t.Fatal(err)
	}
	m.daemon.stop(t) // a token in memory still has the permission
	m.startDaemon(t)
	stdout, stderr := m.must(t, 1, "notify", "test", "exchange")
	if !strings.Contains(stdout, "exchange: sign in to localhost: 535 ") {
		t.Errorf("refused: %s%s", stdout, stderr)
	}
	stdout, stderr = m.must(t, 1, "notify", "test", "mailbox")
	if !strings.Contains(stdout, "grant the identity of tenant \"contoso\" the application permission Mail.Send") {
		t.Errorf("refused: %s%s", stdout, stderr)
	}
	m.daemon.stop(t)
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range m.all {
		for _, token := range x.tokens {
			if strings.Contains(p.stdout.String()+p.stderr.String()+string(p.visible), token) {
				t.Errorf("%s shows a token", p)
			}
		}
	}
}
