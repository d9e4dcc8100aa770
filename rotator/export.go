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
	entry.At = r.now().UTC()
	return r.write(ctx, "", func(rec *Records) error {
		rec.Audit = append(rec.Audit, entry)
		return nil
	})
}

// RecordTaken is [Rotator.Record] for a copy of all private keys in a form that somebody
// can open, with an alert about it.
func (r *Rotator) RecordTaken(ctx context.Context, entry AuditEntry) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	entry.At = r.now().UTC()
	return r.write(ctx, "", func(rec *Records) error {
		rec.Audit = append(rec.Audit, entry)
		rec.Events = append(rec.Events, r.newEvent(nil, nil, EventKeysTaken, SeverityWarning,
			fmt.Sprintf("%s took the private keys of all apps (%s, %s)", entry.By, entry.What, entry.Note),
			"if no administrator expected that, treat all keys as known to others: docs/recovery.md"))
		return nil
	})
}

// takenEvent alerts that the key pair of an app was given to somebody.
func (r *Rotator) takenEvent(app *App, rot *Rotation, c *Credential, by, what string) Event {
	which := "current"
	if rot != nil && c.ThumbprintSHA256 == rot.New.ThumbprintSHA256 {
		which = "next"
	}
	return r.newEvent(app, rot, EventKeysTaken, SeverityWarning,
		fmt.Sprintf("%s took the private key of %s (%s; certificate %s)", by, app.Name, what, c.ThumbprintSHA1),
		"if no administrator expected that, replace the key: rotate now "+app.Name+" --compromised "+which)
}

// BackupProof is what was found when a backup was read again.
type BackupProof struct {
	StoreID string
	At      time.Time
	// To are the recipients.
	To []string
	// Apps and Pairs in it.
	Apps, Pairs int
	// Sealed counts the pairs that were ever sealed in the store.
	Sealed uint64
	// Counts tells that its pairs count as backed up: it is sealed to the recovery
	// recipient, or the store has none.
	Counts bool
	// SHA256 of it, lower-case hex.
	SHA256 string
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
	pair = pair.Of(name)
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
	ctx, cancel := lasting(ctx)
	defer cancel()
	return e, r.change(ctx, name, func(rec *Records) error {
		if rec.App == nil {
			return fmt.Errorf("app %s: %w", name, ErrNotFound)
		}
		// Nobody knows where it goes.
		rec.App.eachConsumer(func(to *Consumer) {
			to.mayHold(c.ThumbprintSHA256)
			to.announce(c.ThumbprintSHA256)
		})
		rec.Audit = append(rec.Audit, AuditEntry{
			At: r.now().UTC(), By: by, What: "key pair exported", App: name, Thumbprint: c.ThumbprintSHA256, Note: which + ", encoding " + req.Encoding,
		})
		rec.Events = append(rec.Events, r.takenEvent(rec.App, nil, c, by, "key pair exported"))
		return nil
	})
}
