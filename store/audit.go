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
func (s *Store) ProveAudit(ctx context.Context, expect string) (rotator.AuditProof, error) {
	var proof rotator.AuditProof
	err := s.view(ctx, func(t *txn) error {
		number, err := t.verifyAudit(ctx, func(number uint64, hash string) {
			proof.SHA256 = hash
			if hash == expect {
				proof.Expected = number
			}
		})
		proof.Lines = number
		return err
	})
	return proof, err
}

// VerifyAudit follows the hash chain through the whole trail and returns the
// number of its lines. It returns [ErrCorrupt], naming the first line that
// does not fit, if one was changed, removed or added.
func (s *Store) VerifyAudit(ctx context.Context) (int, error) {
	var number uint64
	err := s.view(ctx, func(t *txn) error {
		var err error
		number, err = t.verifyAudit(ctx, func(uint64, string) {})
		return err
	})
	return int(number), err
}

// verifyAudit calls seen for each line that follows the one before.
func (t *txn) verifyAudit(ctx context.Context, seen func(number uint64, hash string)) (uint64, error) {
	var number uint64
	before := ""
	err := t.each(bucketAudit, nil, nil, func(key, payload []byte) (bool, error) {
		line, err := decodeJSON[auditLine](t, bucketAudit, key, payload)
		if err != nil {
			return false, err
		}
		number++
		if binary.BigEndian.Uint64(key) != number || line.Before != before {
			return false, t.corrupt(fmt.Sprintf("audit line %d does not follow the one before", number))
		}
		before = hashOf(payload)
		seen(number, before)
		return true, ctx.Err()
	})
	if err != nil {
		return number, err
	}
	head, err := t.auditHead()
	if err != nil {
		return number, err
	}
	if head.Number != number || head.SHA256 != before {
		return number, t.corrupt(fmt.Sprintf("the audit trail ends at line %d, not at line %d as written", number, head.Number))
	}
	return number, nil
}
