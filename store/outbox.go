package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/seed-f0abd057/rotate/rotator"
)

// metaChannels is the key of bucket meta under which the channels' states lie, by
// name. It is absent until the first worker has run.
const metaChannels = "channels"

// EventsAfter returns up to limit events with a larger number, oldest first. A
// limit of 0 means all.
func (s *Store) EventsAfter(ctx context.Context, number uint64, limit int) ([]rotator.QueuedEvent, error) {
	var events []rotator.QueuedEvent
	err := s.view(ctx, func(t *txn) error {
		return t.each(bucketOutbox, nil, numberKey(number+1), func(key, payload []byte) (bool, error) {
			event, err := decodeJSON[rotator.Event](t, bucketOutbox, key, payload)
			events = append(events, rotator.QueuedEvent{Number: binary.BigEndian.Uint64(key), Event: event})
			return len(events) != limit, err
		})
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// LastEvent returns the number of the newest event ever queued, 0 for none. It
// is cheap.
func (s *Store) LastEvent(ctx context.Context) (uint64, error) {
	var last uint64
	err := s.view(ctx, func(t *txn) (err error) {
		last, err = t.lastEvent()
		return err
	})
	return last, err
}

// Channels returns the states of all channels by name.
func (s *Store) Channels(ctx context.Context) ([]rotator.ChannelState, error) {
	var states []rotator.ChannelState
	err := s.view(ctx, func(t *txn) error {
		all, err := t.channels()
		for _, name := range slices.Sorted(maps.Keys(all)) {
			states = append(states, all[name])
		}
		return err
	})
	return states, err
}

// Channel returns one channel's state; [rotator.ErrNotFound] if [Store.SetChannels] did
// not name it.
func (s *Store) Channel(ctx context.Context, name string) (rotator.ChannelState, error) {
	var state rotator.ChannelState
	err := s.view(ctx, func(t *txn) error {
		all, err := t.channels()
		if err != nil {
			return err
		}
		found, ok := all[name]
		if !ok {
			return fmt.Errorf("channel %s: %w", name, rotator.ErrNotFound)
		}
		state = found
		return nil
	})
	return state, err
}

// SetChannels makes the outbox one for these channels and no others. A new one
// begins with the oldest event that still waits for any; what waited for one that
// is left out is dropped unless another needs it. It returns the states of those
// left out; their Events counts what waited.
func (s *Store) SetChannels(ctx context.Context, names []string) ([]rotator.ChannelState, error) {
	var removed []rotator.ChannelState
	err := s.update(ctx, func(t *txn) error {
		removed = nil
		all, err := t.channels()
		if err != nil {
			return err
		}
		last, err := t.lastEvent()
		if err != nil {
			return err
		}
		oldest := last + 1
		err = t.each(bucketOutbox, nil, nil, func(key, _ []byte) (bool, error) {
			oldest = binary.BigEndian.Uint64(key)
			return false, nil
		})
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !slices.Contains(names, name) {
				state := all[name]
				state.Events = state.Waiting(last)
				removed = append(removed, state)
				delete(all, name)
			}
		}
		for _, name := range names {
			if !isKeyPart(name) || name == "" {
				return fmt.Errorf("store: the channel %q cannot be stored", name)
			}
			if _, ok := all[name]; !ok {
				all[name] = rotator.ChannelState{Name: name, Done: oldest - 1}
			}
		}
		return t.writeChannels(all)
	})
	return removed, err
}

// SaveChannel records how far a channel is, adds events, and drops the events
// that no channel needs any more, in one transaction. A channel that was left out
// meanwhile stays out.
func (s *Store) SaveChannel(ctx context.Context, state rotator.ChannelState, events ...rotator.Event) error {
	return s.update(ctx, func(t *txn) error {
		all, err := t.channels()
		if err != nil {
			return err
		}
		if _, ok := all[state.Name]; !ok {
			return fmt.Errorf("channel %s: %w", state.Name, rotator.ErrNotFound)
		}
		all[state.Name] = state
		for _, event := range events {
			if err := t.writeEvent(event); err != nil {
				return err
			}
		}
		return t.writeChannels(all)
	})
}

func (t *txn) channels() (map[string]rotator.ChannelState, error) {
	all, _, err := getJSON[map[string]rotator.ChannelState](t, bucketMeta, []byte(metaChannels))
	if all == nil {
		all = map[string]rotator.ChannelState{}
	}
	return all, err
}

// writeChannels stores the states and drops what all are done with.
func (t *txn) writeChannels(all map[string]rotator.ChannelState) error {
	if err := putJSON(t, bucketMeta, []byte(metaChannels), all); err != nil {
		return err
	}
	if len(all) == 0 {
		return nil
	}
	done := ^uint64(0)
	for _, state := range all {
		done = min(done, state.Done)
	}
	type entry struct {
		key []byte
		id  string
	}
	var old []entry
	err := t.each(bucketOutbox, nil, nil, func(key, payload []byte) (bool, error) {
		if binary.BigEndian.Uint64(key) > done {
			return false, nil
		}
		event, err := decodeJSON[rotator.Event](t, bucketOutbox, key, payload)
		old = append(old, entry{slices.Clone(key), event.ID})
		return true, err
	})
	if err != nil {
		return err
	}
	for _, e := range old {
		if err := errors.Join(t.delete(bucketOutbox, e.key), t.delete(bucketQueued, []byte(e.id))); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) lastEvent() (uint64, error) {
	last, ok, err := t.get(bucketMeta, []byte(metaOutbox))
	if err != nil {
		return 0, err
	}
	if !ok || len(last) != 8 {
		return 0, t.badRecord(bucketMeta, []byte(metaOutbox), errors.New("the record is missing"))
	}
	return binary.BigEndian.Uint64(last), nil
}

// writeEvent adds an event unless one with its ID is waiting. An event without
// ID gets one: the store's and its number.
func (t *txn) writeEvent(event rotator.Event) error {
	last, err := t.lastEvent()
	if err != nil {
		return err
	}
	next := last + 1
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
