//go:build e2e

package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// peopleServers are a mail server and a receiver of webhooks, which can be stopped
// and started on the same ports.
type peopleServers struct {
	mail, web string // addresses

	mu       sync.Mutex
	mails    []string
	messages []webhookMessage

	stop func()
}

// webhookMessage is what a webhook gets, as far as the test reads it.
type webhookMessage struct {
	ID   string `json:"id"`
	Data struct {
		Events []struct {
			ID   string `json:"id"`
			Kind string `json:"kind"`
		} `json:"events"`
	} `json:"data"`
}

func (s *peopleServers) start(t *testing.T) {
	t.Helper()
	listen := func(address string) net.Listener {
		var l net.Listener
		eventually(t, patient, func() (err error) {
			l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
			return err
		})
		return l
	}
	if s.mail == "" {
		s.mail, s.web = "127.0.0.1:0", "127.0.0.1:0"
	}
	mailListener, webListener := listen(s.mail), listen(s.web)
	s.mail, s.web = mailListener.Addr().String(), webListener.Addr().String()
	mail := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &mailSession{s}, nil }))
	mail.Domain = "localhost"
	web := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m webhookMessage
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.messages = append(s.messages, m)
		w.WriteHeader(http.StatusNoContent)
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = mail.Serve(mailListener) }) // ends with an error when it is closed
	serving.Go(func() { _ = web.Serve(webListener) })
	s.stop = sync.OnceFunc(func() {
		_ = mail.Close()
		_ = web.Close()
		serving.Wait()
	})
	t.Cleanup(s.stop)
}

// mailSession takes every mail.
type mailSession struct{ s *peopleServers }

func (m *mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (m *mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (m *mailSession) Reset()                               {}
func (m *mailSession) Logout() error                        { return nil }

func (m *mailSession) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.s.mails = append(m.s.mails, string(body))
	return nil
}

// take returns what came so far.
func (s *peopleServers) take() (mails []string, messages []webhookMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails), slices.Clone(s.messages)
}

// kinds of all events of the messages, in order; an event that comes twice fails.
func kinds(t *testing.T, messages []webhookMessage) []string {
	t.Helper()
	var list []string
	seen := map[string]bool{}
	for _, m := range messages {
		for _, e := range m.Data.Events {
			if seen[e.ID] {
				t.Errorf("the event %s (%s) came twice", e.ID, e.Kind)
			}
			seen[e.ID] = true
			list = append(list, e.Kind)
		}
	}
	return list
}

// TestAlertsArrive stops the servers of people, lets an app fail and recover, kills
// the daemon while its alerts wait, and starts the servers again: everything that
// mattered arrives once, in order, grouped.
func TestAlertsArrive(t *testing.T) {
	t.Parallel()
	tenant := startTenant(t, "contoso", "--apps", "1")
	m := newMachine(t)
	m.configure(t, "store", issueDefaults, tenant)
	var people peopleServers
	people.start(t)
	_, mailPort, err := net.SplitHostPort(people.mail)
	if err != nil {
		t.Fatal(err)
	}
	channels := fmt.Sprintf(`notify:
  channels:
    - name: admins
      smtp: {host: 127.0.0.1, port: %s, tls: none, from: rotate@contoso.example, to: [admins@contoso.example]}
    - name: tickets
      webhook: {url: "http://%s/hook"}
`, mailPort, people.web)
	config := must1(os.ReadFile(m.config))(t)
	if err := os.WriteFile(m.config, append(config, channels...), 0o600); err != nil {
		t.Fatal(err)
	}
	m.must(t, 0, "init", "--no-recovery")
	m.startDaemon(t)
	stdout, _ := m.must(t, 0, "notify", "test")
	if !strings.Contains(stdout, "admins: ") || !strings.Contains(stdout, "tickets: ") {
		t.Errorf("notify test: %s", stdout)
	}
	mails, messages := people.take()
	if len(mails) != 1 || len(messages) != 1 {
		t.Fatalf("a test of both channels brought %d mails and %d webhooks", len(mails), len(messages))
	}

	people.stop()
	if code := m.daemon.stop(t); code != 0 { // else it may deliver before the folder is gone
		t.Errorf("the daemon ended with %d", code)
	}
	app := newAdopted(t, m, tenant, "app-1", "self", tenant.ready.Apps[0])
	folder := filepath.Dir(app.path)
	m.must(t, 0, app.add()...)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	m.startDaemon(t)
	eventually(t, patient, func() error {
		if s := m.status(t)["app-1"]; s.LastError == nil {
			return fmt.Errorf("app-1 does not fail: %s", jsonText(s))
		}
		return nil
	})
	m.daemon.kill()
	m.startDaemon(t)
	if stdout, _ := m.must(t, 0, "alerts"); !strings.Contains(stdout, "rotation_failed") {
		t.Errorf("after the kill nothing is open:\n%s", stdout)
	}
	// That the end comes nearer is found by a check, before the app recovers.
	eventually(t, patient, func() error {
		if stdout, _ := m.must(t, 0, "alerts"); !strings.Contains(stdout, "expiring") {
			return fmt.Errorf("no check found that the certificate ends soon:\n%s", stdout)
		}
		return nil
	})
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	m.must(t, 0, "now", "app-1")
	m.daemon.kill()
	m.startDaemon(t)

	people.start(t)
	m.must(t, 0, "notify", "test")
	// The failure and the end that comes nearer are two conditions, so two are over.
	want := []string{"rotation_started", "rotation_failed", "expiring", "recovered", "recovered", "rotated"}
	eventually(t, 2*patient, func() error {
		_, messages := people.take()
		var got []string
		for _, kind := range kinds(t, messages) {
			if slices.Contains(want, kind) {
				got = append(got, kind)
			}
		}
		if len(got) < len(want) {
			return fmt.Errorf("the webhook got %q, want %q", got, want)
		}
		return nil
	})
	var mattered []string
	groups := 0
	mails, messages = people.take()
	for _, one := range messages {
		group := kinds(t, []webhookMessage{one})
		group = slices.DeleteFunc(group, func(kind string) bool { return !slices.Contains(want, kind) })
		if len(group) > 0 {
			groups++
		}
		mattered = append(mattered, group...)
	}
	if !slices.Equal(mattered, want) || groups > 2 {
		t.Errorf("the webhook got %q in %d messages, want %q in at most 2", mattered, groups, want)
	}
	eventually(t, 2*patient, func() error {
		mails, _ = people.take()
		all := strings.Join(mails, "\n")
		if n := strings.Count(all, "Subject: [rotate]"); n < 3 {
			return fmt.Errorf("%d mails, want the tests and what happened:\n%s", n, all)
		}
		return nil
	})
	if all := strings.Join(mails, "\n"); !strings.Contains(all, "app-1") || len(mails) > 5 {
		t.Errorf("%d mails, want few that tell of app-1:\n%s", len(mails), all)
	}
	if code := m.daemon.stop(t); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	checkWorld(t, m, app)
}
