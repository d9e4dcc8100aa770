package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// keptEntries is how many entries of the request log are kept.
const keptEntries = 1 << 16

// ErrLost is the error of [Tenant.Transport] for an answer that was lost. The work
// may have been done.
var ErrLost = errors.New("emulator: connection closed before an answer")

// ServeHTTP answers for the login host and for Graph. A lost answer closes the
// connection.
func (t *Tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a, err := t.exchange(r)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // the client may be gone; nothing to do about it
	}
}

// Transport returns a transport that calls the tenant without a network, for any
// https host. It works inside testing/synctest bubbles.
//
// A lost answer is [ErrLost]; a request whose context ends while the tenant waits
// returns the error of the context. It is safe for concurrent use.
func (t *Tenant) Transport() http.RoundTripper { return transport{t} }

type transport struct{ tenant *Tenant }

// RoundTrip implements [http.RoundTripper].
func (tr transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("emulator: %q is not an https URL", r.URL.Redacted())
	}
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	a, err := tr.tenant.exchange(in)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(newReader(a.body)), ContentLength: int64(len(a.body)),
		Request: r,
	}, nil
}

// exchange handles one request. An error means that the client gets no answer.
func (t *Tenant) exchange(r *http.Request) (*response, error) {
	body, bodyErr := readBody(r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	req := Request{
		Method: r.Method, Host: r.Host, Path: r.URL.Path, Query: r.URL.Query(),
		Header: r.Header, Body: body,
	}
	t.lock()
	arrived, latency, intercept := t.now(), t.Latency, t.Intercept
	t.mu.Unlock()

	c := &call{Request: req, id: uuid.NewString(), clientID: clientRequestID(r.Header), bodyErr: bodyErr}
	if req.isGraph() {
		c.caller, c.tokenErr = t.authenticate(req, audiences(req.Host))
		if c.caller != nil {
			c.ClientID = c.caller.clientID
		}
	} else if req.IsToken() {
		c.ClientID = formValue(body, "client_id")
	}
	entry := Entry{
		Time: arrived, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Properties: req.properties(), ClientID: c.ClientID,
	}

	a, err := t.handle(r.Context(), c, latency, intercept)
	if a != nil {
		entry.Status = a.status
	}
	entry.Lost = err != nil
	t.record(entry)
	return a, err
}

// handle waits, decides the fate of a request, does the work and answers. Nothing
// is locked while it waits.
func (t *Tenant) handle(ctx context.Context, c *call, latency time.Duration, intercept func(Request) *Fault) (*response, error) {
	if err := wait(ctx, latency/2); err != nil {
		return nil, err
	}
	var fault *Fault
	if intercept != nil {
		fault = intercept(c.Request)
	}
	if fault == nil {
		fault = t.rollDice(c.Request)
	}
	if err := wait(ctx, fault.Delay); err != nil {
		return nil, err
	}
	var a *response
	if !fault.answers() || fault.Done || fault.LoseAnswer {
		a = t.work(c)
	}
	if fault.answers() {
		a = t.failure(c, fault)
	}
	t.lock()
	now := t.now()
	t.mu.Unlock()
	setCommonHeaders(a.header, c.id, c.clientID, now)
	if fault.LoseAnswer {
		return a, ErrLost
	}
	if err := wait(ctx, latency-latency/2); err != nil {
		return a, err
	}
	return a, nil
}

// rollDice decides by the percentages of the Tenant.
func (t *Tenant) rollDice(r Request) *Fault {
	t.lock()
	defer t.mu.Unlock()
	hit := func(percent int) bool { return percent > 0 && t.dice.IntN(100) < percent }
	switch {
	case hit(t.ThrottlePercent):
		return t.throttle()
	case hit(t.FailPercent):
		status := http.StatusInternalServerError
		switch t.dice.IntN(4) {
		case 0:
			status = http.StatusBadGateway
		case 1:
			status = http.StatusServiceUnavailable
		case 2:
			status = http.StatusGatewayTimeout
		}
		return &Fault{Status: status, Done: status == http.StatusGatewayTimeout}
	case r.isWrite() && hit(t.ConflictPercent):
		return &Fault{Status: http.StatusConflict}
	case hit(t.LoseAnswersPercent):
		return &Fault{LoseAnswer: true}
	}
	return &Fault{}
}

// throttle returns a 429 with the configured Retry-After.
func (t *Tenant) throttle() *Fault {
	after := t.RetryAfter
	if after == 0 {
		after = time.Second
	}
	return &Fault{Status: http.StatusTooManyRequests, RetryAfter: after}
}

// failure makes the answer that a fault asks for.
func (t *Tenant) failure(c *call, f *Fault) *response {
	if !c.isGraph() {
		return t.loginFailure(c, f)
	}
	e := &graphError{status: f.Status, code: f.Code, message: f.Message, retryAfter: f.RetryAfter}
	if e.status == 0 {
		e.status = http.StatusServiceUnavailable
	}
	code, message := usualError(e.status)
	if e.code == "" {
		e.code = code
	}
	if e.message == "" {
		e.message = message
	}
	return t.graphFailure(c, e)
}

// usualError returns the code and the text that Graph sends with a status.
//
// https://learn.microsoft.com/graph/errors; 409: https://github.com/nais/azurerator;
// 429: https://learn.microsoft.com/graph/throttling
func usualError(status int) (code, message string) {
	switch status {
	case http.StatusBadRequest:
		return "Request_BadRequest", "One or more property values specified are invalid."
	case http.StatusUnauthorized:
		return "InvalidAuthenticationToken", "Access token validation failure."
	case http.StatusForbidden:
		return "Authorization_RequestDenied", insufficientPrivileges
	case http.StatusNotFound:
		return "Request_ResourceNotFound", "Resource does not exist or one of its queried reference-property objects are not present."
	case http.StatusConflict:
		return "Directory_ConcurrencyViolation", "Error due to concurrent requests being made to the tenant. Please wait briefly and retry."
	case http.StatusTooManyRequests:
		return "TooManyRequests", "Please retry again later."
	case http.StatusBadGateway:
		return "BadGateway", "The server returned an invalid response."
	case http.StatusServiceUnavailable:
		return "ServiceNotAvailable", "The service is temporarily unavailable. Please retry."
	case http.StatusGatewayTimeout:
		return "GatewayTimeout", "The request timed out."
	}
	return "Service_InternalServerError", "Encountered an internal server error."
}

// wait waits, or returns the error of the context if that ends first.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// retryAfter writes a Retry-After with fractions of a second, as Graph does.
//
// https://learn.microsoft.com/graph/throttling
func retryAfter(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// record adds an entry to the request log.
func (t *Tenant) record(e Entry) {
	t.lock()
	log := t.Log
	t.mu.Unlock()
	t.logMu.Lock()
	defer t.logMu.Unlock()
	t.log.add(e)
	if log != nil {
		log(e)
	}
}

// Requests returns the request log, oldest first. The newest 65,536 entries are
// kept. A request is logged once its fate is decided.
func (t *Tenant) Requests() []Entry {
	t.logMu.Lock()
	defer t.logMu.Unlock()
	return t.log.all()
}

// ForgetRequests empties the request log.
func (t *Tenant) ForgetRequests() {
	t.logMu.Lock()
	defer t.logMu.Unlock()
	t.log = ring{}
}

// A ring holds the newest entries of the request log.
type ring struct {
	entries []Entry
	next    int // the oldest, once the ring is full
}

func (r *ring) add(e Entry) {
	if len(r.entries) < keptEntries {
		r.entries = append(r.entries, e)
		return
	}
	r.entries[r.next] = e
	r.next = (r.next + 1) % keptEntries
}

func (r *ring) all() []Entry {
	return slices.Concat(r.entries[r.next:], r.entries[:r.next])
}
