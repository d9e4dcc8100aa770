package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxAnswerBytes of an answer are read; the rest is not.
	maxAnswerBytes = 4 << 10
	// maxRedirects within one host.
	maxRedirects = 5
	// maxRetryAfter is the longest wait that a server may ask for.
	maxRetryAfter = 24 * time.Hour
)

// Web is a web server that takes messages by POST. It is safe for concurrent use.
type Web struct {
	// URL is asked for each request. It is a secret, which the error must not
	// hold.
	URL func() (string, error)
	// Transport carries the requests; see [NewTransport].
	Transport http.RoundTripper
	// Timeout bounds a request with its answer. Zero: 30 s.
	Timeout time.Duration
}

// NewTransport makes what requests to web servers go through. roots is nil for
// the system's certificates, proxy nil for none.
func NewTransport(roots *x509.CertPool, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    15 * time.Second,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // what is read is bounded as it is sent
		ForceAttemptHTTP2:      true,
	}
}

// post sends one body of JSON. Secrets of s do not show in the answer or in an
// error.
func (w Web) post(ctx context.Context, s *scrubber, body []byte, header http.Header) (string, error) {
	return w.postTo(ctx, s, body, header, nil)
}

// postTo is post to a service whose answers say 200 also when it did not take the
// message: refused returns the true status of an answer by its body, 0 if it took it.
func (w Web) postTo(ctx context.Context, s *scrubber, body []byte, header http.Header, refused func(body string) int) (string, error) {
	address, err := w.URL()
	if err != nil {
		return "", &Error{Op: "POST", Err: err}
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", &Error{Op: "POST", Permanent: true, Err: errors.New("what is configured is not a URL (it is not shown, because it is a secret)")}
	}
	s.hideURL(u)
	op := "POST to " + u.Host
	timeout := w.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return "", &Error{Op: op, Permanent: true, Err: s.hidden("", withoutURL(err))}
	}
	maps.Copy(r.Header, header)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "rotate")
	client := http.Client{Transport: w.Transport, CheckRedirect: sameHost}
	answer, err := client.Do(r)
	if err != nil {
		if answer != nil {
			_ = answer.Body.Close() // a redirect that was not followed
		}
		return "", s.webFailure(op, err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes+1))
	status := fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	if text := s.quote(said); text != "" {
		status += ": " + text
	}
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300 && refused != nil && refused(strings.TrimSpace(string(said))) != 0:
		return "", &Error{
			Op: op, Permanent: permanent(refused(strings.TrimSpace(string(said)))),
			Err: fmt.Errorf("it answered %s, so the message did not arrive", status),
		}
	case code >= 200 && code < 300:
		return status, nil // the headers said that it was taken
	case err != nil && code < 300:
		return "", s.webFailure(op, err)
	default:
		return "", &Error{
			Op: op, Permanent: permanent(code), Err: errors.New(status),
			RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
		}
	}
}

// quote is what is shown of an answer. The end of one that was cut off may hold a
// piece of a secret, and goes too.
func (s *scrubber) quote(said []byte) string {
	text := string(said)
	if len(said) <= maxAnswerBytes {
		return s.clean(text)
	}
	longest := 0
	for _, w := range s.words {
		longest = max(longest, len(w))
	}
	return s.clean(text[:max(0, len(text)-longest)])
}

// permanent tells statuses that sending again does not change.
// https://www.standardwebhooks.com (Retries); 408 and 429 ask to come again.
func permanent(status int) bool {
	return status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// redirect is one that is not followed.
type redirect struct{ why string }

func (e *redirect) Error() string { return e.why }

// sameHost follows redirects within one host that keep the method. Another host
// would get the message, and the secret headers, of somebody who was not asked.
func sameHost(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return &redirect{fmt.Sprintf("more than %d redirects one after the other", maxRedirects)}
	case r.URL.Host != first.Host || r.URL.Scheme != first.Scheme:
		return &redirect{"it redirects to another place (" + r.URL.Scheme + "://" + r.URL.Host + "), which is not followed; correct the URL"}
	case r.Method != http.MethodPost:
		return &redirect{"it redirects in a way that drops the message (only 307 and 308 keep it); correct the URL"}
	}
	return nil
}

// webFailure is a request without an answer.
func (s *scrubber) webFailure(op string, err error) *Error {
	e := &Error{Op: op}
	var turned *redirect
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	switch {
	case errors.As(err, &turned):
		e.Permanent = true
		e.Err = s.hidden("", turned)
	case errors.As(err, &certificate):
		// Sending again helps as soon as somebody renewed it.
		e.Err = s.hidden("the server's certificate is not accepted: ", certificate.Err)
	case errors.As(err, &name):
		e.Err = s.hidden("the name of the server cannot be resolved: ", name)
	case errors.Is(err, context.DeadlineExceeded):
		e.Err = &notSent{text: "no answer in time", because: context.DeadlineExceeded}
	case errors.Is(err, context.Canceled):
		e.Err = &notSent{text: "interrupted", because: context.Canceled}
	default:
		e.Err = s.hidden("", withoutURL(err))
	}
	return e
}

// withoutURL strips what net/http puts around an error: the URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// retryAfter reads the header: seconds, also with a fraction, or a date.
// https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	wait := time.Duration(0)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if seconds > maxRetryAfter.Seconds() {
			return maxRetryAfter
		}
		wait = time.Duration(seconds * float64(time.Second))
	} else if date, err := http.ParseTime(value); err == nil {
		wait = date.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
