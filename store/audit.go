package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// auditLine is one line of the trail as it is stored.
type auditLine struct {
	// Before is the SHA-256 of the line before, lower-case hex; empty in the
	// first one.
	Before string             `json:"before"`
	Entry  rotator.AuditEntry `json:"entry"`
}

// auditHead is the end of the trail.
type auditHead struct {
	Number uint64 `json:"number"`
	// SHA256 of the last line, lower-case hex; empty if there is none.
	SHA256 string `json:"sha256"`
}

func (t *txn) auditHead() (auditHead, error) {
	key := []byte(metaAudit)
	head, ok, err := getJSON[auditHead](t, bucketMeta, key)
	if err == nil && !ok {
		err = t.badRecord(bucketMeta, key, errors.New("the record is missing"))
	}
	return head, err
}

func (t *txn) writeAudit(entry rotator.AuditEntry) error {
	head, err := t.auditHead()
	if err != nil {
		return err
	}
	key := numberKey(head.Number + 1)
	if err := putJSON(t, bucketAudit, key, auditLine{Before: head.SHA256, Entry: entry}); err != nil {
		return err
	}
	line, _, err := t.get(bucketAudit, key)
	if err != nil {
		return err
	}
	t.audited = auditHead{head.Number + 1, hashOf(line)}
	return putJSON(t, bucketMeta, []byte(metaAudit), t.audited)
}

func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// auditBatch is how many lines [Store.Audit] reads in one transaction: none is
// held open while the caller works.
const auditBatch = 256

// Audit yields the entries of the audit trail that are not older than since,
// in the order they were written; of one app or, with an empty name, of all. It
// ends with the first error.
func (s *Store) Audit(ctx context.Context, app string, since time.Time) iter.Seq2[rotator.AuditEntry, error] {
	return func(yield func(rotator.AuditEntry, error) bool) {
		for line, err := range s.AuditLines(ctx, app, since) {
			if !yield(line.AuditEntry, err) {
				return
			}
		}
	}
}

// AuditLines is [Store.Audit] with each entry's place in the hash chain.
func (s *Store) AuditLines(ctx context.Context, app string, since time.Time) iter.Seq2[rotator.AuditLine, error] {
	return func(yield func(rotator.AuditLine, error) bool) {
		for next, last := uint64(1), false; !last; {
			var lines []rotator.AuditLine
			err := s.view(ctx, func(t *txn) error {
				read := 0
				last = true
				return t.each(bucketAudit, nil, numberKey(next), func(key, payload []byte) (bool, error) {
					line, err := decodeJSON[auditLine](t, bucketAudit, key, payload)
					number := binary.BigEndian.Uint64(key)
					if (app == "" || line.Entry.App == app) && !line.Entry.At.Before(since) {
						lines = append(lines, rotator.AuditLine{Number: number, SHA256: hashOf(payload), AuditEntry: line.Entry})
					}
					next = number + 1
					read++
					last = read < auditBatch
					return last, err
				})
			})
			if err != nil {
				yield(rotator.AuditLine{}, err)
				return
			}
			for _, line := range lines {
				if !yield(line, nil) {
					return
				}
			}
		}
	}
}

// ProveAudit is [Store.VerifyAudit] that also looks for the line with a hash
// that was noted elsewhere, such as in the journal: if there is none, lines were
// cut off and others written in their place. An empty hash is not looked for.
// report, unless it is nil, is told how far it is.
func (s *Store) ProveAudit(ctx context.Context, expect string, report func(what string, done, total uint64)) (rotator.AuditProof, error) {
	found := &trail{expect: expect}
	p := &progress{report: report}
	more, err := true, error(nil)
	for more && err == nil {
		err = s.view(ctx, func(t *txn) (err error) {
			more, err = t.follow(ctx, found, p)
			return err
		})
	}
	return rotator.AuditProof{Lines: found.number, SHA256: found.before, Expected: found.expected}, err
}

// VerifyAudit follows the hash chain through the whole trail and returns the
// number of its lines, those included that are written meanwhile. It returns
// [ErrCorrupt], naming the first line that does not fit, if one was changed, removed
// or added.
func (s *Store) VerifyAudit(ctx context.Context) (int, error) {
	proof, err := s.ProveAudit(ctx, "", nil)
	return int(proof.Lines), err //nolint:gosec // a number of lines
}

// trail is how far the hash chain was followed.
type trail struct {
	number uint64 // of the last line
	before string // its hash
	// expect is a hash to look for, expected the line that has it; 0: none so far.
	expect   string
	expected uint64
}

// follow goes on along the hash chain for a batch of lines, so that no transaction is
// open for long: lines are only ever added. It returns false at the end of the trail.
func (t *txn) follow(ctx context.Context, f *trail, p *progress) (more bool, err error) {
	head, err := t.auditHead()
	if err != nil {
		return false, err
	}
	if f.number == 0 {
		p.begin("follow the audit trail", head.Number)
	}
	read := 0
	err = t.each(bucketAudit, nil, numberKey(f.number+1), func(key, payload []byte) (bool, error) {
		line, err := decodeJSON[auditLine](t, bucketAudit, key, payload)
		if err != nil {
			return false, err
		}
		f.number++
		if binary.BigEndian.Uint64(key) != f.number || line.Before != f.before {
			return false, t.corrupt(fmt.Sprintf("audit line %d does not follow the one before", f.number))
		}
		if f.before = hashOf(payload); f.before == f.expect {
			f.expected = f.number
		}
		p.add()
		read++
		return read < auditBatch, ctx.Err()
	})
	if err != nil || read == auditBatch {
		return true, err
	}
	if head.Number != f.number || head.SHA256 != f.before {
		return false, t.corrupt(fmt.Sprintf("the audit trail ends at line %d, not at line %d as written", f.number, head.Number))
	}
	return false, nil
}
