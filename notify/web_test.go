package notify_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

const (
	secretPath = "/services/T00000000/B00000000/xYz-S3cret-P4th"
	newSecret  = "whsec_bmV3LXNlY3JldC1mb3Itd2ViaG9va3MtMzItYnl0ZXM="
	oldSecret  = "whsec_b2xkLXNlY3JldC1mb3Itd2ViaG9va3MtMzItYnl0ZXM="
	apiToken   = "S3cr3t-Header-Token"
)

// post is a request that a server got.
type post struct {
	header http.Header
	body   []byte
}

// webServer is a real web server with TLS on loopback.
type webServer struct {
	*httptest.Server
	ca *authority

	mu    sync.Mutex
	posts []post
}

func serveWeb(t *testing.T, answer http.HandlerFunc) *webServer {
	t.Helper()
	s := &webServer{ca: newAuthority(t)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.posts = append(s.posts, post{r.Header, body})
		s.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	s.Config.ErrorLog = nil
	s.TLS = &tls.Config{Certificates: []tls.Certificate{s.ca.issue(t, time.Now().Add(time.Hour), "127.0.0.1")}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *webServer) taken() []post {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.posts)
}

func (s *webServer) web() notify.Web {
	return notify.Web{
		URL:       func() (string, error) { return s.URL + secretPath + "?sig=Query-S3cret", nil },
		Transport: notify.NewTransport(s.ca.pool(), nil), Timeout: time.Minute,
	}
}

func (s *webServer) webhook(secrets ...string) *notify.Webhook {
	return &notify.Webhook{
		Web:     s.web(),
		Secrets: func() ([]string, error) { return secrets, nil },
		Headers: func() (http.Header, error) {
			return http.Header{"Authorization": {"Bearer " + apiToken}}, nil
		},
	}
}

// senders are the senders that post to a server.
func (s *webServer) senders() map[string]notify.Sender {
	return map[string]notify.Sender{"webhook": s.webhook(newSecret), "teams": &notify.Teams{Web: s.web()}, "slack": &notify.Slack{Web: s.web()}}
}

func webSecrets() []string {
	return []string{
		secretPath, "T00000000", "B00000000", "xYz-S3cret-P4th", "Query-S3cret", newSecret, oldSecret,
		strings.TrimPrefix(newSecret, "whsec_"), apiToken,
	}
}

// TestWebFaults checks the outcome of each answer and each way not to get one, for
// every sender that posts. The servers quote what they were sent.
func TestWebFaults(t *testing.T) {
	quote := func(w io.Writer, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.String()+" "+r.URL.Path+" "+strings.ToUpper(r.URL.RequestURI())+" "+r.Header.Get("Authorization")+" "+r.URL.Query().Get("sig")+" "+newSecret)
	}
	status := func(code int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
			quote(w, r)
		}
	}
	release := make(chan struct{})
	defer close(release)
	elsewhere := serveWeb(t, nil)
	tests := map[string]struct {
		answer     http.HandlerFunc
		ok         bool
		temporary  bool
		retryAfter time.Duration
		want       string
	}{
		"taken":              {status(200), true, false, 0, "200 OK: "},
		"accepted":           {status(202), true, false, 0, "202 Accepted: "},
		"bad request":        {status(400), false, false, 0, "400 Bad Request: "},
		"forbidden":          {status(403), false, false, 0, "403 Forbidden: "},
		"gone":               {status(410), false, false, 0, "410 Gone: "},
		"timeout":            {status(408), false, true, 0, "408 Request Timeout: "},
		"throttled":          {status(429, "Retry-After", "17"), false, true, 17 * time.Second, "429 Too Many Requests: "},
		"throttled fraction": {status(429, "Retry-After", "2.5"), false, true, 2500 * time.Millisecond, "429"},
		"throttled for ever": {status(429, "Retry-After", "1e300"), false, true, 24 * time.Hour, "429"},
		"throttled nonsense": {status(429, "Retry-After", "soon"), false, true, 0, "429"},
		"unavailable":        {status(503, "Retry-After", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)), false, true, 0, "503 Service Unavailable"},
		"broken":             {status(500), false, true, 0, "500 Internal Server Error"},
		"10 MB": {func(w http.ResponseWriter, _ *http.Request) {
			line := bytes.Repeat([]byte("all is well "), 1000)
			for range 10 << 20 / len(line) {
				if _, err := w.Write(line); err != nil {
					return // the client has seen enough
				}
			}
		}, true, false, 0, "200 OK: all is well"},
		"10 MB of failure": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			for range 100_000 {
				if _, err := io.WriteString(w, r.URL.RequestURI()+newSecret+r.Header.Get("Authorization")); err != nil {
					return
				}
			}
		}, false, false, 0, "400 Bad Request: [removed]"},
		"redirect loop": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.RequestURI(), http.StatusTemporaryRedirect)
		}, false, false, 0, "more than 5 redirects"},
		"redirect to another host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.RequestURI(), http.StatusPermanentRedirect)
		}, false, false, 0, "another place (https://127.0.0.1:"},
		"redirect to http": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+r.Host+r.URL.RequestURI(), http.StatusPermanentRedirect)
		}, false, false, 0, "another place (http://127.0.0.1:"},
		"redirect that drops the body": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, false, false, 0, "drops the message"},
		"redirect within the host": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == secretPath {
				http.Redirect(w, r, "/moved", http.StatusPermanentRedirect)
			}
		}, true, false, 0, "200 OK"},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, true, 0, "EOF"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for kind, s := range serveWeb(t, test.answer).senders() {
				test := test
				if kind == "slack" && test.ok && test.want != "200 OK" { // any text but "ok" is a refusal there
					test.ok, test.temporary, test.want = false, true, "did not arrive"
				}
				answer, err := s.Send(t.Context(), message(failed("contoso-sync")))
				said := answer
				if err != nil {
					said = err.Error()
				}
				if !strings.Contains(said, test.want) || (err == nil) != test.ok {
					t.Errorf("%s: Send = %q, %v; want %q", kind, answer, err, test.want)
				}
				if err != nil && (notify.Temporary(err) != test.temporary || notify.RetryAfter(err) != test.retryAfter) {
					t.Errorf("%s: %v: temporary %v after %v; want %v, %v", kind, err, notify.Temporary(err), notify.RetryAfter(err), test.temporary, test.retryAfter)
				}
				if len(said) > 1000 {
					t.Errorf("%s: %d bytes are said", kind, len(said))
				}
				noSecret(t, answer, err, webSecrets()...)
			}
		})
	}
	if n := len(elsewhere.taken()); n != 0 {
		t.Errorf("another host got %d messages", n)
	}
}

// TestWebUnreachable: no server, no name, no trust, no end.
func TestWebUnreachable(t *testing.T) {
	hang := make(chan struct{})
	// Not until the client has gone: an answer written then can still reach it.
	server := serveWeb(t, func(http.ResponseWriter, *http.Request) { <-hang })
	defer close(hang)
	expired := serveWeb(t, nil)
	expired.TLS.Certificates[0] = expired.ca.issue(t, time.Now().Add(-time.Hour), "127.0.0.1")
	other := serveWeb(t, nil)
	other.TLS.Certificates[0] = other.ca.issue(t, time.Now().Add(time.Hour), "hooks.fabrikam.example")
	at := func(u string) func(*notify.Web) {
		return func(w *notify.Web) {
			w.URL = func() (string, error) { return u + secretPath + "?sig=Query-S3cret", nil }
		}
	}
	tests := map[string]struct {
		server    *webServer
		change    func(*notify.Web)
		temporary bool
		want      string
	}{
		"nobody listens":        {server, at("https://127.0.0.1:1"), true, "connection refused"},
		"no such name":          {server, at("https://" + noName), true, "the name of the server cannot be resolved"},
		"unknown authority":     {server, func(w *notify.Web) { w.Transport = notify.NewTransport(newAuthority(t).pool(), nil) }, true, "certificate is not accepted"},
		"expired certificate":   {expired, func(*notify.Web) {}, true, "certificate is not accepted: x509: certificate has expired"},
		"certificate of others": {other, func(*notify.Web) {}, true, "certificate is not accepted: x509: "},
		"no answer":             {server, func(w *notify.Web) { w.Timeout = 100 * time.Millisecond }, true, "no answer in time"},
		"not a URL":             {server, func(w *notify.Web) { w.URL = func() (string, error) { return "https://%zz" + secretPath, nil } }, false, "not a URL"},
		"no file": {server, func(w *notify.Web) {
			w.URL = func() (string, error) { return "", errors.New("open /etc/rotate/url: permission denied") }
		}, true, "permission denied"},
		"a proxy that refuses": {server, func(w *notify.Web) {
			w.Transport = notify.NewTransport(nil, func(*http.Request) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") })
		}, true, "connection refused"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			web := test.server.web()
			test.change(&web)
			hook := test.server.webhook(newSecret)
			hook.Web = web
			for kind, s := range map[string]notify.Sender{"webhook": hook, "teams": &notify.Teams{Web: web}, "slack": &notify.Slack{Web: web}} {
				answer, err := s.Send(t.Context(), message(failed("contoso-sync")))
				if err == nil || notify.Temporary(err) != test.temporary || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: Send = %q, %v; want %q, temporary %v", kind, answer, err, test.want, test.temporary)
				}
				noSecret(t, answer, err, webSecrets()...)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := server.webhook().Send(ctx, message(failed("x"))); !errors.Is(err, context.Canceled) || !notify.Temporary(err) {
		t.Errorf("Send of a cancelled context = %v", err)
	}
}

// TestShortSecrets: a secret that cannot be told from words makes the sender say
// nothing of what the server said.
func TestShortSecrets(t *testing.T) {
	server := serveWeb(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "no: "+r.Header.Get("X-Pin"))
	})
	hook := server.webhook()
	hook.Headers = func() (http.Header, error) { return http.Header{"X-Pin": {"47"}}, nil }
	_, err := hook.Send(t.Context(), message(failed("x")))
	if err == nil || strings.Contains(err.Error(), "47") && !strings.Contains(server.URL, "47") || !strings.Contains(err.Error(), "400 Bad Request") {
		t.Errorf("Send = %v", err)
	}
}

// TestWebhook compares what a server gets with the form that docs/alerts.md
// describes, and verifies both signatures.
func TestWebhook(t *testing.T) {
	server := serveWeb(t, nil)
	m := message(failed(hostile), event(rotator.EventExpiring, "fabrikam-mail"))
	if _, err := server.webhook(newSecret, oldSecret).Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	p := server.taken()[0]
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "rotate", "Authorization": "Bearer " + apiToken, "Webhook-Id": m.ID,
	} {
		if got := p.header.Get(name); got != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	for _, secret := range []string{newSecret, oldSecret} {
		by, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := by.Verify(p.body, p.header); err != nil {
			t.Errorf("the signature by %.9s… does not verify: %v", secret, err)
		}
		if err := by.Verify(append(p.body, ' '), p.header); err == nil {
			t.Error("a changed body verifies")
		}
	}
	var got notify.Payload
	d := json.NewDecoder(bytes.NewReader(p.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := notify.Payload{
		Type: "rotate.alerts", Version: 1, ID: m.ID, Timestamp: m.At,
		Data: notify.PayloadData{Summary: "[rotate] Critical: contoso Bcc: thief@evil.example <script>alert(1)</scrip…: rotation failed, and 1 more", Events: m.Events},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the body (-want +got):\n%s", diff)
	}

	// Without a secret there is no signature, and the ID is there.
	if _, err := server.webhook().Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	p = server.taken()[1]
	if p.header.Get("Webhook-Signature") != "" || p.header.Get("Webhook-Id") != m.ID {
		t.Errorf("without a secret: %v", p.header)
	}
	_, err := server.webhook("whsec_***").Send(t.Context(), m)
	if err == nil || notify.Temporary(err) || strings.Contains(err.Error(), "***") {
		t.Errorf("Send with a secret that is none = %v", err)
	}
}
