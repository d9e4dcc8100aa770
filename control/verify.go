package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

// Verifier tries tenants.
type Verifier interface {
	// Verify runs one verification and tells what happens. It ends with its client, but
	// for the wait for the sign-in log, which the daemon continues.
	Verify(ctx context.Context, tenant string, q VerifyRequest, by string, tell func(string)) (verify.Report, error)
	// CleanUp cleans up after one that was stopped; left says what stays, empty if
	// there was nothing to do.
	CleanUp(ctx context.Context, tenant string, admin rotator.Token, by string) (left string, err error)
}

// VerifyRequest asks for a verification.
type VerifyRequest struct {
	// Admin is the token of an administrator; empty: the tenant's identity does it.
	Admin Admin `json:"admin,omitempty"`
	// App is a tracked app that tries its own keys; empty: a throw-away app is made.
	App string `json:"app,omitempty"`
	// Scope is a second audience; empty: Azure Resource Manager's.
	Scope string `json:"scope,omitempty"`
	// Wait is how long the sign-in log is waited for.
	Wait Duration `json:"wait,omitempty"`
	// CleanUp only cleans up.
	CleanUp bool `json:"clean_up,omitempty"`
}

// String shows no token.
func (q VerifyRequest) String() string { return "verify tenant" }

// GoString is [VerifyRequest.String].
func (q VerifyRequest) GoString() string { return q.String() }

// VerifyStep is one line of a verification: what happens, or the end.
type VerifyStep struct {
	Text string `json:"text,omitempty"`
	// Report is in the last line, with the request IDs for Microsoft's support.
	Report   *verify.Report     `json:"report,omitempty"`
	Requests []verify.RequestID `json:"requests,omitempty"`
	// Left is what a clean-up could not take away, and until when it stays.
	Left  string `json:"left,omitempty"`
	Error *Error `json:"error,omitempty"`
	End   bool   `json:"end,omitempty"`
}

// verifyTenant streams a verification, one VerifyStep a line.
func (s *Server) verifyTenant(stop context.Context, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	c := call{r, peerOf(r.Context()).by, http.MaxBytesReader(w, r.Body, maxBodyBytes)} //nolint:contextcheck // the request's context; stop only ends it
	var q VerifyRequest
	if err := c.decode(&q); err != nil {
		writeError(w, err)
		return
	}
	if s.Verifier == nil {
		writeError(w, errors.New("this process cannot verify tenants"))
		return
	}
	encoder, control := json.NewEncoder(w), http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // not in memory
	w.Header().Set("Content-Type", "application/jsonl")
	tell := func(step VerifyStep) {
		_ = encoder.Encode(step) // nobody is left to tell
		_ = control.Flush()
	}
	tenant := r.PathValue("name")
	end := VerifyStep{End: true}
	var err error
	if q.CleanUp {
		end.Left, err = s.Verifier.CleanUp(ctx, tenant, rotator.Token(q.Admin), c.by) //nolint:contextcheck // the same
	} else {
		var report verify.Report
		report, err = s.Verifier.Verify(ctx, tenant, q, c.by, func(text string) { tell(VerifyStep{Text: text}) }) //nolint:contextcheck // the same
		if !report.Begun.IsZero() {
			end.Report, end.Requests = &report, report.Requests
		}
	}
	end.Error = errorOf(err)
	tell(end)
}

// Verify runs a verification and tells what happens.
func (c *Client) Verify(ctx context.Context, tenant string, q VerifyRequest, tell func(string)) (VerifyStep, error) {
	response, err := c.send(ctx, http.MethodPost, "/v1/tenants/"+url.PathEscape(tenant)+"/verify", q)
	if err != nil {
		return VerifyStep{}, err
	}
	defer func() { _ = response.Body.Close() }() // it was read as far as it is needed
	for decoder := json.NewDecoder(response.Body); ; {
		var step VerifyStep
		err := decoder.Decode(&step)
		switch {
		case ctx.Err() != nil:
			return VerifyStep{}, ctx.Err()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return VerifyStep{}, ErrEnded
		case err != nil:
			return VerifyStep{}, fmt.Errorf("verify: %w", err)
		case step.End && step.Error != nil:
			return step, step.Error
		case step.End:
			return step, nil
		}
		tell(step.Text)
	}
}

// TenantFacts is what a tenant was seen to do.
type TenantFacts struct {
	Tenant string `json:"tenant"`
	// Since and At are when the first and the last was noted; null: never.
	Since *time.Time     `json:"since"`
	At    *time.Time     `json:"at"`
	Count map[string]int `json:"counts"`
	Spans []FactSpan     `json:"spans"`
	// Refusals have no identifiers.
	Refusals []rotator.Refusal `json:"refusals"`
	// Verified are what "rotate tenant verify" found, by name.
	Verified   map[string]rotator.VerifiedFact `json:"verified"`
	VerifiedAt *time.Time                      `json:"verified_at"`
	Version    string                          `json:"version,omitempty"`
	// Old says why what was verified is not used any more; empty: it is used.
	Old string `json:"old,omitempty"`
	// Unfinished is when a verification began that has not cleaned up; null: none.
	Unfinished *time.Time `json:"unfinished"`
}

// FactSpan is the distribution of a length of time, in seconds.
type FactSpan struct {
	Name   string  `json:"name"`
	Count  int     `json:"count"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func (s *Server) facts(c call) (int, any, error) {
	name := c.PathValue("name")
	f, err := s.Rotator.Facts(c.Context(), name)
	if err != nil {
		return 0, nil, err
	}
	v, err := s.Rotator.Verification(c.Context(), name)
	if err != nil {
		return 0, nil, err
	}
	wire := TenantFacts{
		Tenant: name, Since: instant(f.Since), At: instant(f.At), Count: f.Counts, Spans: []FactSpan{}, Refusals: list(f.Refusals),
		Verified: f.Verified, VerifiedAt: instant(f.VerifiedAt), Version: f.Version, Old: f.Old(s.Rotator.Version, time.Now()),
	}
	if wire.Count == nil {
		wire.Count = map[string]int{}
	}
	if wire.Verified == nil {
		wire.Verified = map[string]rotator.VerifiedFact{}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Spans)) {
		span := f.Spans[name]
		wire.Spans = append(wire.Spans, FactSpan{name, span.Count, span.Min.Seconds(), span.Median().Seconds(), span.Max.Seconds()})
	}
	if v != nil {
		wire.Unfinished = instant(v.At)
	}
	return http.StatusOK, wire, nil
}

// Facts returns what is known of a tenant.
func (c *Client) Facts(ctx context.Context, tenant string) (TenantFacts, error) {
	var facts TenantFacts
	return facts, c.do(ctx, http.MethodGet, "/v1/tenants/"+url.PathEscape(tenant)+"/facts", nil, &facts)
}
