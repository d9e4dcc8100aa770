package graph

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/seed-f0abd057/rotate/config/textfile"
)

// maxBodyBytes bounds an answer: an app with the full 1,200 credentials and
// their certificates takes about 3 MiB.
const maxBodyBytes = 8 << 20

// maxErrorBytes bounds what is kept of an answer that refuses.
const maxErrorBytes = 64 << 10

type proxyOf = func(*http.Request) (*url.URL, error)

// proxyFunc returns the proxy rule: the explicit one or that of the
// environment, with NO_PROXY in both cases.
func proxyFunc(explicit string) (proxyOf, error) {
	settings := httpproxy.FromEnvironment()
	if explicit != "" {
		u, err := url.Parse(explicit)
		if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme) {
			// The value is not shown: it may hold a password.
			return nil, errors.New("proxy: the value is not a URL like http://HOST:PORT")
		}
		settings.HTTPSProxy, settings.HTTPProxy = explicit, explicit
	}
	rule := settings.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return rule(r.URL) }, nil
}

// transports returns what carries requests: to the tenant's hosts, and without
// a proxy to addresses on this host; and a function that closes idle
// connections.
func transports(c Cloud, proxy proxyOf) (base, direct http.RoundTripper, idle func(), err error) {
	if c.Transport != nil {
		return c.Transport, c.Transport, func() {}, nil
	}
	roots, err := rootsOf(c)
	if err != nil {
		return nil, nil, nil, err
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                  proxy,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    8,
		MaxResponseHeaderBytes: 64 << 10,
	}
	d := t.Clone()
	d.Proxy = nil
	return t, d, func() { t.CloseIdleConnections(); d.CloseIdleConnections() }, nil
}

// rootsOf returns the system's roots and those of the cloud's own file; nil
// means the system's.
func rootsOf(c Cloud) (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("cloud.ca_file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if pem, err = textfile.Decode(pem); err != nil {
		return nil, fmt.Errorf("cloud.ca_file: %s: %w", c.CAFile, err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("cloud.ca_file: %s holds no certificate in PEM form", c.CAFile)
	}
	return roots, nil
}

// wire is what every request of a tenant goes through: it keeps requests to
// the tenant's hosts, bounds answers, and tells log and observer.
type wire struct {
	next http.RoundTripper
	// hosts that requests may go to; empty: any.
	hosts []string
	// bearer tells that each request must carry a token.
	bearer bool
	// most bytes that an answer may have; zero: maxBodyBytes.
	most   int64
	client *Client
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := w.refuse(r); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	begun := time.Now()
	a, err := w.next.RoundTrip(r)
	status, id := 0, ""
	if err == nil {
		status, id = a.StatusCode, requestID(a.Header)
		a.Body = &bounded{ReadCloser: a.Body, left: cmp.Or(w.most, maxBodyBytes), most: cmp.Or(w.most, maxBodyBytes)}
		dropChallenge(a.Header)
	}
	path := w.client.guid.ReplaceAllString(r.URL.Path, "{id}")
	w.client.logger.DebugContext(r.Context(), "request", "method", r.Method, "path", path,
		"status", status, "duration", time.Since(begun), "request_id", id)
	if w.client.config.Observe != nil {
		w.client.config.Observe(r.Method, path, status)
	}
	return a, err
}

// refuse reports why a request must not leave this host.
//
// Two traps end here. AZURE_REGIONAL_AUTHORITY_NAME and MSAL_FORCE_REGION of
// the environment make MSAL ask another host than the configured one, and no
// option turns that off:
// https://github.com/AzureAD/microsoft-authentication-library-for-go/blob/main/apps/confidential/confidential.go
// And kiota sends a request without a token, and without an error, to a host
// that it does not count as valid:
// https://github.com/microsoft/kiota-authentication-azure-go/blob/main/azure_identity_access_token_provider.go
func (w *wire) refuse(r *http.Request) error {
	if len(w.hosts) > 0 && !slices.Contains(w.hosts, strings.ToLower(r.URL.Host)) {
		return &unsent{fmt.Errorf("a request to %s was refused: the tenant's host is %s (does the environment set AZURE_REGIONAL_AUTHORITY_NAME or MSAL_FORCE_REGION?)", r.URL.Host, w.hosts[0])}
	}
	if len(w.hosts) > 0 && r.URL.Scheme != "https" {
		return &unsent{fmt.Errorf("a request to %s was refused: it is not https", r.URL.Host)}
	}
	if w.bearer && r.Header.Get("Authorization") == "" {
		return &unsent{fmt.Errorf("a request to %s was refused: it carries no token", r.URL.Host)}
	}
	return nil
}

// dropChallenge removes what makes kiota repeat a request after a 401: it would
// repeat a write on its own, and it panics when the claims of the challenge are
// not in quotes (retryCAEResponseIfRequired). Tokens are asked without
// continuous access evaluation, so no challenge is meant for us.
// https://github.com/microsoft/kiota-http-go/blob/main/nethttp_request_adapter.go
func dropChallenge(h http.Header) { h.Del("WWW-Authenticate") }

// unsent is an error of a request that surely was not sent.
type unsent struct{ err error }

func (e *unsent) Error() string { return e.err.Error() }
func (e *unsent) Unwrap() error { return e.err }

// tooLong is an answer that is not read to its end.
type tooLong struct{ most int64 }

func (e tooLong) Error() string {
	return fmt.Sprintf("the answer is longer than %d MiB", e.most>>20)
}

// bounded fails when an answer is longer than we are willing to read.
type bounded struct {
	io.ReadCloser
	left, most int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// One byte tells a full answer from one that goes on.
		n, err := b.ReadCloser.Read(make([]byte, 1))
		if n == 0 {
			return 0, err
		}
		return 0, tooLong{b.most}
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// exchange carries the requests of one operation, one after the other, and
// keeps how the last one ended. It exists because the SDKs lose that: kiota
// drops the status of an error whose body is no JSON, azidentity hides it in a
// text that quotes the whole answer.
type exchange struct {
	next http.RoundTripper
	// correlation replaces the client-request-id that MSAL makes up, if it is set.
	correlation string

	// sent tells that a request was handed to the network, method and host
	// which one and to whom.
	sent         bool
	method, host string
	// err is how the last request failed without an answer.
	err error
	// status, header and body are those of the last answer; the body only of
	// one that refused.
	status int
	header http.Header
	body   []byte
	at     time.Time
}

// RoundTrip carries one request.
func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	*x = exchange{next: x.next, correlation: x.correlation, sent: true, method: r.Method, host: r.URL.Host}
	if x.correlation != "" {
		r = r.Clone(r.Context())
		r.Header.Set("client-request-id", x.correlation)
	}
	a, err := x.next.RoundTrip(r)
	x.at = time.Now()
	if err != nil {
		x.err = err
		return nil, err
	}
	x.status, x.header = a.StatusCode, a.Header
	if a.StatusCode >= http.StatusBadRequest {
		// An error body that cannot be read to its end is still a refusal.
		x.body, _ = io.ReadAll(io.LimitReader(a.Body, maxErrorBytes))
		_ = a.Body.Close()
		a.Body = io.NopCloser(bytes.NewReader(x.body))
		a.ContentLength = int64(len(x.body))
	} else {
		a.Body = &watched{ReadCloser: a.Body, x: x}
	}
	return a, nil
}

// Do carries one request for azcore, which follows no redirects then.
func (x *exchange) Do(r *http.Request) (*http.Response, error) { return x.RoundTrip(r) }

// watched notes that an answer broke off.
type watched struct {
	io.ReadCloser
	x *exchange
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.x.err = err
	}
	return n, err
}

// date is the server's time; zero if the answer had none.
func (x *exchange) date() time.Time { return dateOf(x.header) }

func dateOf(h http.Header) time.Time {
	t, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// requestID is what Microsoft's support asks for.
func requestID(h http.Header) string {
	for _, name := range []string{"Request-Id", "X-Ms-Request-Id"} {
		if id := h.Get(name); id != "" && len(id) <= 64 && !strings.ContainsFunc(id, isControl) {
			return id
		}
	}
	return ""
}

// retryAfter is what the server asked for, in seconds (Graph sends fractions)
// or as a date.
// https://learn.microsoft.com/graph/throttling#sample-response
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(value, 64); err == nil && seconds > 0 && seconds < 1e6 {
		return time.Duration(seconds * float64(time.Second))
	}
	if t, err := http.ParseTime(value); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

// neverSent reports whether an error means that no request left this host.
func neverSent(err error) bool {
	if _, ok := errors.AsType[*unsent](err); ok {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "dial" || op.Op == "proxyconnect") {
		return true
	}
	var dns *net.DNSError
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	return errors.As(err, &dns) || errors.As(err, &verify) || errors.As(err, &record) ||
		errors.As(err, &unknown) || errors.As(err, &name)
}

// untilDone waits; it returns early with the context's error.
func untilDone(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
