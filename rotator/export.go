package rotator

import (
	"context"
	"fmt"
	"time"
)

// Record writes one line of the audit trail about something that changes no app.
func (r *Rotator) Record(ctx context.Context, entry AuditEntry) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	entry.At = time.Now().UTC()
	return r.write(ctx, "", func(rec *Records) error {
		rec.Audit = append(rec.Audit, entry)
		return nil
	})
}

// ExportRequest asks for a key pair of an app.
type ExportRequest struct {
	// Previous asks for the pair that the current one replaced.
	Previous bool
	// Encoding is modern, legacy-des or pem; empty: modern.
	Encoding string
}

// Exported is a key pair that leaves the store. It prints as the app's name.
type Exported struct {
	App        string
	Credential Credential
	Encoding   string
	// Data is the file. Password opens it; PEM has none.
	Data     []byte
	Password string
}

// String names the app and shows nothing else.
func (e Exported) String() string { return "key pair of app " + e.App }

// GoString is [Exported.String].
func (e Exported) GoString() string { return e.String() }

// Export returns the current or the previous key pair of an app. That it was
// given is durable before the answer leaves.
func (r *Rotator) Export(ctx context.Context, name string, req ExportRequest, by string) (Exported, error) {
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return Exported{}, fmt.Errorf("app %s: %w", name, err)
	}
	which, c := "current", app.Current
	if req.Previous {
		which, c = "previous", app.Previous
	}
	switch {
	case c == nil:
		return Exported{}, refusedf("app %s: there is no %s key pair in the store", name, which)
	case c.GivenUp:
		return Exported{}, refusedf("app %s: the %s key pair was given up as compromised and is not given away", name, which)
	}
	pair, err := r.Store.KeyPair(ctx, c.ThumbprintSHA256)
	if err != nil {
		return Exported{}, fmt.Errorf("app %s: %w", name, err)
	}
	if req.Encoding == "" {
		req.Encoding = "modern"
	}
	e := Exported{App: name, Credential: *c, Encoding: req.Encoding, Data: pair.Encoded[req.Encoding]}
	if req.Encoding != "pem" {
		e.Password = pair.Password
	}
	if len(e.Data) == 0 {
		if e.Data, err = r.Encoder.Encode(req.Encoding, pair.Key, pair.Certificate, pair.Chain, pair.Password, pair.FriendlyName); err != nil {
			return Exported{}, usagef("app %s: encode the pair as %q: %v", name, req.Encoding, err)
		}
	}
	opened, err := r.Encoder.Decode(e.Data, e.Password)
	if err != nil || opened.Thumbprint() != c.ThumbprintSHA256 {
		return Exported{}, fmt.Errorf("app %s: the pair encoded as %q does not open again: %w", name, req.Encoding, err)
	}
	return e, r.Record(ctx, AuditEntry{
		By: by, What: "key pair exported", App: name, Thumbprint: c.ThumbprintSHA256, Note: which + ", encoding " + req.Encoding,
	})
}
