package notify_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/seed-f0abd057/rotate/notify"
)

// oldServer is a mail server on this host that answers EHLO as it is told to, knows no
// SMTPUTF8, and keeps the commands.
type oldServer struct {
	net.Listener
	ehlo string

	mu       sync.Mutex
	commands []string
}

func serveOld(t *testing.T, ehlo string) *oldServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &oldServer{Listener: l, ehlo: ehlo}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			serving.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return s
}

func (s *oldServer) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 old\r\n")
	data := false
	for lines := bufio.NewScanner(c); lines.Scan(); {
		line := lines.Text()
		s.mu.Lock()
		s.commands = append(s.commands, line)
		s.mu.Unlock()
		switch word, _, _ := strings.Cut(line, " "); {
		case data && line != ".":
		case word == "EHLO":
			fmt.Fprint(c, s.ehlo)
		case word == "DATA":
			data = true
			fmt.Fprint(c, "354\r\n")
		case word == "QUIT":
			fmt.Fprint(c, "221\r\n")
			return
		default:
			data = false
			fmt.Fprint(c, "250\r\n")
		}
	}
}

func (s *oldServer) sender(t *testing.T) *notify.SMTP {
	t.Helper()
	templates, err := notify.LoadMailTemplates("", "")
	if err != nil {
		t.Fatal(err)
	}
	return &notify.SMTP{
		Host: "127.0.0.1", Port: portOf(s), TLS: notify.NoTLS, From: "rotate@contoso.example", To: []string{"ops@contoso.example"}, Templates: templates,
	}
}

func (s *oldServer) said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.commands, "\n") + "\n"
}

// TestB11BareCode has a server whose answers are a code alone (RFC 5321 4.2).
func TestB11BareCode(t *testing.T) {
	server := serveOld(t, "250-t\r\n250-SIZE 0\r\n250\r\n")
	if _, err := server.sender(t).Send(t.Context(), message(failed("contoso-sync"))); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(server.said(), "RCPT TO:<ops@contoso.example>\n") {
		t.Errorf("commands: %s", server.said())
	}
}

// TestB11InternationalDomain sends to and from domains that are not ASCII.
func TestB11InternationalDomain(t *testing.T) {
	server := serveOld(t, "250-t\r\n250 8BITMIME\r\n")
	s := server.sender(t)
	s.From, s.To = "rotate@bücher.example", []string{"a@münchen.example", "b@contoso.example"}
	if _, err := s.Send(t.Context(), message(failed("contoso-sync"))); err != nil {
		t.Fatal(err)
	}
	said := server.said()
	for _, want := range []string{"RCPT TO:<a@xn--mnchen-3ya.example>\n", "MAIL FROM:<rotate@xn--bcher-kva.example>", "To: <a@xn--mnchen-3ya.example>"} {
		if !strings.Contains(said, want) {
			t.Errorf("the server was not told %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "münchen") || strings.Contains(said, "bücher") {
		t.Errorf("a domain went out as UTF-8:\n%s", said)
	}
}

// TestB11OnlyLogin has a server that offers LOGIN and no PLAIN.
func TestB11OnlyLogin(t *testing.T) {
	server := serveOld(t, "250-t\r\n250 AUTH LOGIN\r\n")
	s := server.sender(t)
	signIn(notify.AuthPlain, "S3cret-pass")(s)
	_, err := s.Send(t.Context(), message(failed("contoso-sync")))
	if err == nil || !strings.Contains(err.Error(), "auth: login") {
		t.Errorf("Send = %v, want the hint", err)
	}
}

// TestB12TakenOrNot has services that say 200 whether they took the message or not.
func TestB12TakenOrNot(t *testing.T) {
	for _, tt := range []struct {
		of              func(*webServer) notify.Sender
		body            string
		isSent, isFinal bool
	}{
		{teams, "", true, false},
		{teams, "1", true, false},
		{teams, "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 413 with ContextId x", false, true},
		{teams, "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x", false, false},
		{teams, "Webhook message delivery failed", false, false},
		{teams, `{"error":{"code":"WorkflowTriggerIsNotEnabled"}}`, false, false},
		{slack, "ok", true, false},
		{slack, "", true, false},
		{slack, `{"success":true}`, true, false},
		{slack, "channel_is_archived", false, false},
		{slack, `{"ok":false,"error":"no_text"}`, false, false},
		{slack, "<html>sign in to the network</html>", false, false},
	} {
		server := serveWeb(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, tt.body) })
		_, err := tt.of(server).Send(t.Context(), message(failed("contoso-sync")))
		if (err == nil) != tt.isSent {
			t.Errorf("%q: Send = %v", tt.body, err)
		}
		if err != nil && notify.Temporary(err) == tt.isFinal {
			t.Errorf("%q: temporary = %t: %v", tt.body, notify.Temporary(err), err)
		}
	}
}
