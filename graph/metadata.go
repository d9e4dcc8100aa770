package graph

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// metadataLife is how long a tenant's OpenID configuration is kept. It names
// addresses, not keys, and changes less than once a year.
const metadataLife = time.Hour

// metadata keeps the OpenID configuration of the login host.
//
// MSAL keeps it for one credential only, and a cold sign-in is a new credential
// each time: without this, half of the requests to the login host would ask for
// it. A sign-in stays cold: no token and no key is kept. Only answers that
// worked are.
// https://github.com/AzureAD/microsoft-authentication-library-for-go
type metadata struct {
	next http.RoundTripper

	// mu guards kept; it is not held over I/O.
	mu   sync.Mutex
	kept map[string]keptAnswer
}

type keptAnswer struct {
	at     time.Time
	header http.Header
	body   []byte
}

// RoundTrip answers from memory where it can.
func (m *metadata) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		return m.next.RoundTrip(r)
	}
	key := r.URL.String()
	m.mu.Lock()
	kept, ok := m.kept[key]
	m.mu.Unlock()
	if age := time.Since(kept.at); ok && age >= 0 && age < metadataLife {
		return kept.response(r), nil
	}
	answer, err := m.next.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		return answer, err
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		return nil, err
	}
	kept = keptAnswer{at: time.Now(), header: answer.Header, body: body}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept == nil {
		m.kept = map[string]keptAnswer{}
	}
	m.kept[key] = kept
	return kept.response(r), nil
}

func (k keptAnswer) response(r *http.Request) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: k.header.Clone(), Body: io.NopCloser(bytes.NewReader(k.body)), ContentLength: int64(len(k.body)), Request: r,
	}
}
