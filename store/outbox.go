package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/seed-f0abd057/rotate/rotator"
)

// NextEvents returns up to limit events that are not done, oldest first. A
// limit of 0 means all.
func (s *Store) NextEvents(ctx context.Context, limit int) ([]rotator.Event, error) {
	var events []rotator.Event
	err := s.view(ctx, func(t *txn) error {
		return t.each(bucketOutbox, nil, nil, func(key, payload []byte) (bool, error) {
			event, err := decodeJSON[rotator.Event](t, bucketOutbox, key, payload)
			events = append(events, event)
			return len(events) != limit, err
		})
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// EventDone removes an event from the outbox. Doing it twice is harmless.
func (s *Store) EventDone(ctx context.Context, id string) error {
	return s.update(ctx, func(t *txn) error {
		number, ok, err := t.get(bucketQueued, []byte(id))
		if err != nil || !ok {
			return err
		}
		return errors.Join(t.delete(bucketOutbox, number), t.delete(bucketQueued, []byte(id)))
	})
}

// writeEvent adds an event unless one with its ID is waiting. An event without
// ID gets one: the store's and its number.
func (t *txn) writeEvent(event rotator.Event) error {
	last, ok, err := t.get(bucketMeta, []byte(metaOutbox))
	if err != nil {
		return err
	}
	if !ok || len(last) != 8 {
		return t.badRecord(bucketMeta, []byte(metaOutbox), errors.New("the record is missing"))
	}
	next := binary.BigEndian.Uint64(last) + 1
	if event.ID == "" {
		event.ID = fmt.Sprintf("%s-%d", t.schema.ID, next)
	}
	if !isKeyPart(event.ID) {
		return fmt.Errorf("store: event ID %q cannot be stored", event.ID)
	}
	if _, waiting, err := t.get(bucketQueued, []byte(event.ID)); err != nil || waiting {
		return err
	}
	return errors.Join(
		t.put(bucketMeta, []byte(metaOutbox), numberKey(next)),
		t.put(bucketQueued, []byte(event.ID), numberKey(next)),
		putJSON(t, bucketOutbox, numberKey(next), event),
	)
}
