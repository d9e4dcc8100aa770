package store

import (
	"context"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// EventsWaiting returns how many events the outbox holds and when the oldest was
// made; zero if there is none. It is cheap.
func (s *Store) EventsWaiting(ctx context.Context) (n int, oldest time.Time, err error) {
	err = s.view(ctx, func(t *txn) error {
		sum, err := t.readSum(bucketOutbox)
		if err != nil {
			return err
		}
		n = int(sum.records) //nolint:gosec // a number of records in a file
		return t.each(bucketOutbox, nil, nil, func(key, payload []byte) (bool, error) {
			event, err := decodeJSON[rotator.Event](t, bucketOutbox, key, payload)
			oldest = event.At
			return false, err
		})
	})
	return n, oldest, err
}

// Probe writes to the file without changing what it holds. An error means that
// nothing could be recorded now: a full disk, a file system that became read-only.
func (s *Store) Probe(ctx context.Context) error {
	return s.update(ctx, func(t *txn) error {
		t.changed = true
		return nil
	})
}
