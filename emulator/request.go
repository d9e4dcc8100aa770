package emulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxBodyBytes is the largest request body, unpacked.
const maxBodyBytes = 1 << 20

// A Request is what hooks see of a request.
type Request struct {
	// Method is the HTTP method.
	Method string
	// Host is the host that was asked, with its port.
	Host string
	// Path is the unescaped path of the URL.
	Path string
	// Query holds the parameters of the URL.
	Query url.Values
	// Header holds the headers. It contains the access token.
	Header http.Header
	// Body is the body, unpacked. It contains client secrets and assertions.
	Body []byte
	// ClientID is that of the access token, or the client_id of a token request;
	// empty if there is neither.
	ClientID string
}

// IsToken says whether the request asks for an access token.
func (r Request) IsToken() bool {
	return r.Method == http.MethodPost && r.service() == serviceLogin &&
		(strings.HasSuffix(r.Path, "/oauth2/v2.0/token") || strings.HasSuffix(r.Path, "/oauth2/token"))
}

// isGraph says whether the request is one for Graph.
func (r Request) isGraph() bool { return r.service() == serviceGraph }

// isWrite says whether the request may change something in Graph.
func (r Request) isWrite() bool { return r.isGraph() && r.Method != http.MethodGet }

// properties returns the names at the top of a JSON body, sorted.
func (r Request) properties() []string {
	var object map[string]json.RawMessage
	if !r.isGraph() || len(r.Body) == 0 || json.Unmarshal(r.Body, &object) != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(object))
}

// A Fault is what [Tenant.Intercept] does to a request. The zero value does nothing.
type Fault struct {
	// Delay is waited before anything else.
	Delay time.Duration
	// Status is the status of the answer. If zero, and AADSTS is too, the request
	// is handled as usual.
	Status int
	// Code is Graph's error code, or the login host's "error". If empty, the usual
	// one for the status or the number.
	Code string
	// Message is Graph's message, or the login host's text after the number.
	Message string
	// RetryAfter is sent in the header Retry-After, if positive.
	RetryAfter time.Duration
	// AADSTS is the number of the error, for requests to the login host.
	AADSTS int
	// Done makes the tenant do the work first and then answer with Status.
	Done bool
	// LoseAnswer makes the tenant do the work and then close the connection;
	// [Tenant.Transport] returns an error.
	LoseAnswer bool
}

func (f *Fault) answers() bool { return f.Status != 0 || f.AADSTS != 0 }

// An Entry is one line of the request log. It holds no secret.
type Entry struct {
	// Time is when the request arrived, by the tenant's clock.
	Time time.Time `json:"time"`
	// Method and Path are those of the request; Path is unescaped.
	Method string `json:"method"`
	Path   string `json:"path"`
	// Query is the query string as it was sent; may be empty.
	Query string `json:"query,omitempty"`
	// Properties are the names at the top of the JSON body of a request to Graph.
	Properties []string `json:"properties,omitempty"`
	// Status is the status of the answer, also if it was lost.
	Status int `json:"status"`
	// ClientID is that of the access token, or the client_id of a token request.
	ClientID string `json:"client_id,omitempty"`
	// Lost is set if the answer did not reach the client.
	Lost bool `json:"lost,omitempty"`
}

// A response is an answer before it is written.
type response struct {
	status int
	header http.Header
	body   []byte // nil: none
}

// jsonResponse makes an answer of a value that can be encoded.
func jsonResponse(status int, value any) *response {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		panic("emulator: encode answer: " + err.Error())
	}
	return &response{status, http.Header{"Content-Type": {"application/json; charset=utf-8"}}, b.Bytes()}
}

// readBody reads and unpacks the body of a request.
func readBody(r *http.Request) ([]byte, error) {
	var body io.Reader = r.Body
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		body = z
	default:
		return nil, fmt.Errorf("content encoding %q is not supported", encoding)
	}
	b, err := io.ReadAll(io.LimitReader(body, maxBodyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if len(b) > maxBodyBytes {
		return nil, fmt.Errorf("the body is larger than %d bytes", maxBodyBytes)
	}
	return b, nil
}

// decodeObject reads a body that must be one JSON object.
func decodeObject(body []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, err
	}
	if object == nil {
		return nil, errors.New("null is not an object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return object, nil
}

// isType says whether a request's Content-Type is the one given.
func isType(h http.Header, want string) bool {
	got, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && got == want
}

// setCommonHeaders adds what every answer has.
//
// https://learn.microsoft.com/graph/best-practices-concept#reliability-and-support
func setCommonHeaders(h http.Header, requestID, clientRequestID string, now time.Time) {
	h.Set("Date", now.UTC().Format(http.TimeFormat))
	h.Set("request-id", requestID)
	h.Set("client-request-id", clientRequestID)
	h.Set("Cache-Control", "no-store, no-cache")
}

// clientRequestID returns the id that the client gave its request, or a fresh one.
func clientRequestID(h http.Header) string {
	if id := h.Get("client-request-id"); isGUID(id) {
		return id
	}
	return uuid.NewString()
}
