package rotator

import (
	"context"
)

// RecordAct writes a line to the audit trail about something that changes no app:
// a request that was refused, a configuration that was read again. result is empty
// if it was done, else why not.
func (r *Rotator) RecordAct(ctx context.Context, by, what, note, result string) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	return r.write(ctx, "", func(rec *Records) error {
		rec.Audit = append(rec.Audit, AuditEntry{At: r.now().UTC(), By: by, What: what, Note: note, Result: result})
		return nil
	})
}
