// Package verify tries on one tenant what no document says for sure, and says what
// it found.
//
// Start with [Run]: it makes a throw-away app without any permission, tries one
// question after the other on it, and deletes it. It knows nothing of rotations and
// of the store; what it needs are the interfaces [Tenant] and [Journal]. The odd
// forms of requests that it sends are made here and nowhere else.
//
// Everything it waits for is a timer or a context, so that a test can let time fly.
package verify

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Tenant carries raw requests. An error means that no answer came; a request may
// have been carried out all the same. No request is repeated.
type Tenant interface {
	// Graph sends one request to Microsoft Graph.
	Graph(ctx context.Context, q Request) (Answer, error)
	// Token posts a form to the token endpoint. correlation goes with it as
	// client-request-id.
	Token(ctx context.Context, form map[string]string, correlation string) (Answer, error)
	// Login gets a path of the login host, freshly.
	Login(ctx context.Context, path string) (Answer, error)
	// About names the tenant and its hosts.
	About() About
}

// About is a tenant and its hosts.
type About struct {
	// TenantID is the GUID or a domain name.
	TenantID string
	// Login and Graph are https URLs without a path.
	Login, Graph string
}

// Request is one request to Graph.
type Request struct {
	Method string
	// Path begins with /v1.0/ or /beta/ and is escaped.
	Path   string
	Header map[string]string
	// Body becomes JSON; nil: none.
	Body any
	// Token is the bearer; empty: whoever runs the verification.
	Token string
}

// Answer is what came back.
type Answer struct {
	// Status is zero if nothing came.
	Status int
	Header http.Header
	Body   []byte
	// At is this host's time.
	At time.Time
	// Issuer is the organisation that signed the server's certificate; empty: unknown.
	Issuer string
}

// Entry is the journal of a run: what it takes to clean up after it.
type Entry struct {
	// App is the tracked app whose keys are tried; empty: a throw-away one.
	App string `json:"app,omitempty"`
	// UniqueName of the throw-away app, its IDs as soon as they are known, and which
	// app created it as Graph says.
	UniqueName string `json:"unique_name,omitempty"`
	ObjectID   string `json:"object_id,omitempty"`
	ClientID   string `json:"client_id,omitempty"`
	CreatedBy  string `json:"created_by,omitempty"`
	// PrincipalID is its service principal's object ID, as soon as it is known.
	PrincipalID string `json:"principal_id,omitempty"`
	// Seen tells that reads showed the app: from then on, that it is not found means
	// that it is gone.
	Seen bool `json:"seen,omitempty"`
	// Sent are the certificates that App may have by the run.
	Sent []SentKey `json:"sent,omitempty"`
	// What is the write that comes next, Writes how many there were before it.
	What   string    `json:"what"`
	Writes int       `json:"writes"`
	Begun  time.Time `json:"begun"`
	// Deleted tells that the app is gone and only the sign-in log is waited for.
	Deleted bool `json:"deleted,omitempty"`
	// LogUntil is how long the log is waited for.
	LogUntil time.Time `json:"log_until,omitzero"`
	// SignIns are those that the log is asked for.
	SignIns []SignIn `json:"sign_ins,omitempty"`
}

// SentKey is a certificate that was sent to an app that tries its own keys.
type SentKey struct {
	// KeyID is empty as long as no answer named it, and where that was lost.
	KeyID string `json:"key_id,omitempty"`
	// Thumbprint is SHA-1, upper-case hex: what carries it is the run's, whatever its
	// name.
	Thumbprint string `json:"thumbprint"`
	// Until is when it expires.
	Until time.Time `json:"until"`
}

// SignIn is one of the run's that the log should show.
type SignIn struct {
	At          time.Time `json:"at"`
	Correlation string    `json:"correlation"`
	Token       string    `json:"token_id"`
	KeyID       string    `json:"key_id"`
	Thumbprint  string    `json:"thumbprint"`
}

// Journal keeps the entry of the run of a tenant.
type Journal interface {
	// Note makes it durable. It is called before each write.
	Note(ctx context.Context, e Entry) error
	// Clear forgets it: nothing is left in the tenant.
	Clear(ctx context.Context) error
}

// Ceilings of a run.
const (
	maxWrites = 110
	maxKeys   = 50
	maxTokens = 200
	maxTime   = time.Hour
)

// keyLife is how long the certificates of a run are valid at most.
const keyLife = 2 * time.Hour

// Tag marks a throw-away app.
const Tag = "rotate-verify"

// Run is one verification. Set the exported fields, then call [Run.Do] once.
type Run struct {
	Tenant  Tenant
	Journal Journal
	// Mark is that of the store, part of the app's name.
	Mark string
	// Version of rotate, for the report.
	Version string
	// Own is an app that tries its own keys; nil: a throw-away app is made.
	Own *Own
	// Scope is a second audience whose sign-ins are tried; empty: Azure Resource
	// Manager's.
	Scope string
	// Wait is how long the sign-in log is waited for; zero: it is asked once.
	Wait time.Duration
	// GenerateKey makes a private key; nil: RSA with 2048 bits.
	GenerateKey func() (*rsa.PrivateKey, error)
	// Waiting is called when nothing of the run is left in the tenant and only the
	// sign-in log is waited for; nil: nobody wants to know.
	Waiting func()
	// Progress is told what happens; nil: nobody.
	Progress func(text string)

	entry    Entry
	report   Report
	step     int
	writes   int
	keys     int
	tokens   int
	troubles int
	made     []*rsa.PrivateKey
	masks    *masks
	// first is the app's first key pair, second the one that addKey added.
	first, second probe
	// token of Own, from when.
	ownToken string
	ownAt    time.Time
	// odd tells that a sub-list of odd forms was answered 5xx.
	odd bool
	// form is how proofs are made, if not in the usual way.
	form proofForm
}

// Own is an app that signs its own proofs: no permission is needed.
type Own struct {
	// App is its local name.
	App                string
	ObjectID, ClientID string
	Key                *rsa.PrivateKey
	// Certificate is DER.
	Certificate []byte
}

// errEnd ends a run before its last step; the report says why.
var errEnd = errors.New("the run ends")

// Do runs all steps and cleans up, whatever happens. The report is complete as far
// as the run came; the error is one of the journal or of the clean-up: something may
// be left then.
func (r *Run) Do(ctx context.Context) (Report, error) {
	about := r.Tenant.About()
	r.masks = newMasks(about)
	now := time.Now().UTC()
	r.report = Report{Version: r.Version, Begun: now}
	r.entry = Entry{Begun: now}
	if r.Own != nil {
		r.entry.App, r.entry.ObjectID, r.entry.ClientID = r.Own.App, r.Own.ObjectID, r.Own.ClientID
	} else {
		r.entry.UniqueName = AppName(r.Mark, now)
	}
	steps := []func(context.Context) error{r.clock, r.create, r.principal, r.firstKey, r.signIns, r.addKeys, r.proofLag, r.removals, r.expired, r.policies}
	if r.Own != nil {
		steps = []func(context.Context) error{r.clock, nil, nil, nil, nil, r.addKeys, r.proofLag, r.removals, nil, nil}
		r.first = probe{key: r.Own.Key, der: r.Own.Certificate}
	}
	limited, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	var failed error
	for n, step := range steps {
		if step == nil {
			continue
		}
		r.step = n
		r.tell("step %d: %s", n, stepNames()[n])
		if failed = step(limited); failed != nil {
			break
		}
	}
	if failed != nil {
		r.report.Ended = endText(ctx, limited, r.step, failed)
		r.tell("%s", r.report.Ended)
		if errors.Is(failed, errEnd) || limited.Err() != nil {
			failed = nil
		}
	}
	r.step = 11
	err := r.cleanUp(ctx)
	if err == nil && failed == nil && r.report.Ended == "" && len(r.entry.SignIns) > 0 {
		if r.Waiting != nil {
			r.Waiting()
		}
		r.signInLog(ctx)
	}
	if err == nil {
		err = r.clear(ctx)
	}
	r.report.finish(r)
	return r.report, errors.Join(failed, err)
}

// Resume waits for the sign-in log where an earlier process stopped waiting.
func (r *Run) Resume(ctx context.Context, e Entry) (Report, error) {
	r.masks = newMasks(r.Tenant.About())
	r.report = Report{Version: r.Version, Begun: e.Begun}
	r.entry = e
	r.Wait = time.Until(e.LogUntil)
	if len(e.SignIns) > 0 {
		r.signInLog(ctx)
	}
	err := r.clear(ctx)
	r.report.finish(r)
	return r.report, err
}

func (r *Run) clear(ctx context.Context) error {
	if r.step == 10 && ctx.Err() != nil {
		return nil // the next start resumes the wait
	}
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return r.Journal.Clear(lasting)
}

// endText says why a run ended before its last step.
func endText(ctx, limited context.Context, step int, err error) string {
	switch {
	case ctx.Err() != nil:
		return fmt.Sprintf("interrupted in step %d", step)
	case limited.Err() != nil:
		return fmt.Sprintf("ended in step %d after %s, the longest a run may take", step, maxTime)
	}
	return fmt.Sprintf("ended in step %d: %v", step, strings.TrimPrefix(err.Error(), errEnd.Error()+": "))
}

// AppName of a throw-away app: display name and unique name.
func AppName(mark string, at time.Time) string {
	return "rotate-verify-" + mark + "-" + at.UTC().Format("20060102-1504")
}

func stepNames() []string {
	return []string{
		"clock and metadata", "create the app", "service principal", "first certificate", "sign-ins", "addKey",
		"proofs by a fresh key", "removeKey", "an expired certificate", "policies", "sign-in log", "clean up",
	}
}

func (r *Run) tell(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...))
	}
}

// end returns an error that ends the run in order.
func end(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errEnd}, args...)...)
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// read sends a request that changes nothing.
func (r *Run) read(ctx context.Context, path string) (Answer, error) {
	token, err := r.bearer(ctx)
	if err != nil {
		return Answer{}, err
	}
	a, err := r.Tenant.Graph(ctx, Request{Method: http.MethodGet, Path: path, Token: token})
	return r.came(ctx, a, err)
}

// write sends one that changes something; what says which, in the journal before it.
func (r *Run) write(ctx context.Context, what string, q Request) (Answer, error) {
	if err := r.begin(ctx, what); err != nil {
		return Answer{}, err
	}
	if q.Token == "" {
		token, err := r.bearer(ctx)
		if err != nil {
			return Answer{}, err
		}
		q.Token = token
	}
	a, err := r.Tenant.Graph(ctx, q)
	return r.came(ctx, a, err)
}

// begin counts a write and notes it.
func (r *Run) begin(ctx context.Context, what string) error {
	if r.writes >= maxWrites {
		return end("%d writes were sent, which is the most", r.writes)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.entry.What, r.entry.Writes = what, r.writes
	if err := r.Journal.Note(ctx, r.entry); err != nil {
		return fmt.Errorf("note the next write: %w", err)
	}
	r.writes++
	return nil
}

// bearer is the token of an app that acts for itself; empty: whoever runs this.
func (r *Run) bearer(ctx context.Context) (string, error) {
	if r.Own == nil {
		return "", nil
	}
	if r.ownToken != "" && time.Since(r.ownAt) < 30*time.Minute {
		return r.ownToken, nil
	}
	a, err := r.token(ctx, r.first, tokenForm{}, "")
	if err != nil {
		return "", err
	}
	if r.ownToken = accessToken(a.Body); r.ownToken == "" {
		return "", end("the app got no token: %s", r.said(a))
	}
	r.ownAt = time.Now()
	return r.ownToken, nil
}

// came judges whether the run may continue after an answer. Two answers in a row
// that say "too much" or "not now", or none at all, end it.
func (r *Run) came(ctx context.Context, a Answer, err error) (Answer, error) {
	if ctx.Err() != nil {
		return Answer{}, ctx.Err()
	}
	if err != nil {
		a = Answer{At: time.Now()}
	}
	if id := requestID(a.Header); id != "" {
		r.report.Requests = append(r.report.Requests, RequestID{Step: r.step, At: a.At.UTC(), ID: id, Status: a.Status})
	}
	if a.Status != 0 && a.Status != http.StatusTooManyRequests && a.Status < http.StatusInternalServerError {
		r.troubles = 0
		return a, nil
	}
	if r.troubles++; r.troubles >= 2 {
		if a.Status == 0 {
			return a, end("two requests in a row were not answered")
		}
		return a, end("two answers in a row were %s", r.said(a))
	}
	return a, sleep(ctx, min(max(retryAfter(a.Header), 2*time.Second), time.Minute))
}

// fact notes what was found. An answer without a status is not shown.
func (r *Run) fact(name, value string, a Answer) {
	text := ""
	if a.Status != 0 {
		text = r.said(a)
	}
	r.note(name, value, text)
}

// note is fact with a text of ours instead of an answer.
func (r *Run) note(name, value, text string) {
	f := Fact{Step: r.step, Name: name, Value: value, At: time.Now().UTC(), Answer: text}
	if i := slices.IndexFunc(r.report.Facts, func(known Fact) bool { return known.Name == name }); i >= 0 {
		r.report.Facts[i] = f
	} else {
		r.report.Facts = append(r.report.Facts, f)
	}
	r.tell("  %s: %s", name, value)
}

// took notes a length of time.
func (r *Run) took(name string, since time.Time, a Answer) {
	r.fact(name, seconds(time.Since(since)), a)
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%ds", int(d.Round(time.Second)/time.Second))
}

// said is the answer in one masked line.
func (r *Run) said(a Answer) string {
	code, message := problem(a)
	return strings.TrimSpace(r.masks.mask(strings.TrimSpace(fmt.Sprintf("%d %s %s", a.Status, code, message))))
}

// problem reads the code and the text of a refusal of Graph or of the login host.
func problem(a Answer) (code, message string) {
	var body struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if a.Status < http.StatusBadRequest || json.Unmarshal(a.Body, &body) != nil {
		return "", ""
	}
	if body.Description != "" {
		text, _, _ := strings.Cut(body.Description, "Trace ID:")
		code, message, _ = strings.Cut(strings.TrimSpace(text), ":")
		return code, strings.TrimSpace(message)
	}
	var graph struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(body.Error, &graph) != nil {
		return "", ""
	}
	return graph.Code, graph.Message
}

func requestID(h http.Header) string {
	if id := h.Get("Request-Id"); id != "" {
		return id
	}
	return h.Get("X-Ms-Request-Id")
}

func retryAfter(h http.Header) time.Duration {
	d, err := time.ParseDuration(h.Get("Retry-After") + "s")
	if err != nil {
		return 0
	}
	return d
}

func ok(a Answer) bool { return a.Status >= 200 && a.Status < 300 }

// outcome is how an odd form ended, in one word.
func outcome(a Answer) string {
	switch {
	case a.Status == 0, a.Status == http.StatusTooManyRequests, a.Status >= http.StatusInternalServerError:
		return Unknown
	case ok(a):
		return Accepted
	case a.Status == http.StatusForbidden:
		return Forbidden
	}
	return Refused
}
