package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// AuditLine is one line of the audit trail.
type AuditLine struct {
	// Number counts from 1; SHA256 covers this line and all before it.
	Number uint64    `json:"line"`
	SHA256 string    `json:"sha256"`
	At     time.Time `json:"at"`
	// By is "schedule", or the user at the other end of the socket.
	By               string `json:"by"`
	What             string `json:"what"`
	App              string `json:"app,omitempty"`
	RotationID       string `json:"rotation_id,omitempty"`
	ThumbprintSHA256 string `json:"thumbprint_sha256,omitempty"`
	// OldThumbprintSHA256 is that of the certificate that is replaced.
	OldThumbprintSHA256 string `json:"old_thumbprint_sha256,omitempty"`
	// Result is done, or why not.
	Result string `json:"result"`
	Note   string `json:"note,omitempty"`
}

func auditLineOf(l rotator.AuditLine) AuditLine {
	wire := AuditLine{
		Number: l.Number, SHA256: l.SHA256, At: l.At.UTC(), By: l.By, What: l.What, App: l.App, RotationID: l.Rotation,
		ThumbprintSHA256: string(l.Thumbprint), OldThumbprintSHA256: string(l.OldThumbprint), Result: l.Result, Note: l.Note,
	}
	if wire.Result == "" {
		wire.Result = "done"
	}
	return wire
}

// AuditProof is what following the hash chain showed.
type AuditProof struct {
	Lines uint64 `json:"lines"`
	// SHA256 of the newest line; empty without one.
	SHA256 string `json:"sha256"`
	// ExpectedLine has the hash that was asked for; null: none has it.
	ExpectedLine *uint64 `json:"expected_line"`
}

// Audit yields the lines that are not older than since, of one app or, with an
// empty name, of all.
func (c *Client) Audit(ctx context.Context, app string, since time.Time) iter.Seq2[AuditLine, error] {
	return func(yield func(AuditLine, error) bool) {
		query := url.Values{"app": {app}, "since": {since.UTC().Format(time.RFC3339Nano)}}
		response, err := c.send(ctx, http.MethodGet, "/v1/audit?"+query.Encode(), nil)
		if err != nil {
			yield(AuditLine{}, err)
			return
		}
		defer func() { _ = response.Body.Close() }() // it was read as far as it is needed
		for decoder := json.NewDecoder(response.Body); ; {
			var line struct {
				AuditLine
				End   bool   `json:"end"`
				Error *Error `json:"error"`
			}
			err := decoder.Decode(&line)
			switch {
			case err == nil && line.Error != nil:
				err = line.Error
			case err == nil && line.End:
				return
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				err = fmt.Errorf("audit: the answer was cut off: %w", ErrEnded)
			}
			if !yield(line.AuditLine, err) || err != nil {
				return
			}
		}
	}
}

// ProveAudit follows the hash chain of the audit trail and looks for the line
// with a hash, unless that is empty. report, unless it is nil, is called with how far
// that is.
func (c *Client) ProveAudit(ctx context.Context, expect string, report func(Progress)) (AuditProof, error) {
	var proof AuditProof
	return proof, c.long(ctx, "/v1/audit/proof?"+url.Values{"expect": {expect}}.Encode(), &proof, report)
}

// audit streams lines, one JSON object each, and {"end": true} last.
func (s *Server) audit(w http.ResponseWriter, r *http.Request) {
	vault, err := s.vault()
	if err != nil {
		writeError(w, err)
		return
	}
	query := r.URL.Query()
	var since time.Time
	if text := query.Get("since"); text != "" {
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			writeError(w, fmt.Errorf("since %q is not a time: %w", text, rotator.ErrUsage))
			return
		}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	encoder := json.NewEncoder(w)
	for line, err := range vault.AuditLines(r.Context(), query.Get("app"), since) {
		if err != nil {
			_ = encoder.Encode(struct { // nobody is left to tell
				Error *Error `json:"error"`
			}{errorOf(err)})
			return
		}
		if encoder.Encode(auditLineOf(line)) != nil {
			return // the reader has gone
		}
	}
	_ = encoder.Encode(struct { // the reader has gone
		End bool `json:"end"`
	}{true})
}

func (s *Server) proveAudit(c call, report reporter) (any, error) {
	vault, err := s.vault()
	if err != nil {
		return nil, err
	}
	proof, err := vault.ProveAudit(c.Context(), c.URL.Query().Get("expect"), report)
	return auditProofOf(proof), err
}

func auditProofOf(p rotator.AuditProof) AuditProof {
	wire := AuditProof{Lines: p.Lines, SHA256: p.SHA256}
	if p.Expected > 0 {
		wire.ExpectedLine = &p.Expected
	}
	return wire
}
