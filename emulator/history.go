package emulator

import (
	"slices"
	"time"
)

// A view is what one replica knows: the present, or the state of an earlier time.
type view struct {
	present bool
	asOf    time.Time // if not present
}

// A history is the states of one thing, oldest first. States are never changed in
// place, so they can be read without a lock once they were found.
type history[T any] struct {
	versions []version[T]
}

// A version is one state. value is nil if the thing does not exist in it.
type version[T any] struct {
	at    time.Time
	value *T
}

// see returns the state that a replica shows, nil if it knows of none.
func (h *history[T]) see(v view) *T {
	if h == nil {
		return nil
	}
	for _, state := range slices.Backward(h.versions) {
		if v.present || !state.at.After(v.asOf) {
			return state.value
		}
	}
	return nil
}

// put adds a state and drops those that were replaced before horizon.
func (h *history[T]) put(value *T, at, horizon time.Time) {
	keep := 0
	for i, v := range h.versions {
		if v.at.Before(horizon) {
			keep = i
		}
	}
	h.versions = append(h.versions[keep:], version[T]{at, value})
}

// A window counts events of one minute.
type window struct {
	start time.Time
	count int
}

// take counts one more event and returns how long to wait if there were too many.
func (w *window) take(now time.Time, limit int) time.Duration {
	if age := now.Sub(w.start); age >= time.Minute || age < 0 {
		*w = window{start: now}
	}
	if w.count >= limit {
		return w.start.Add(time.Minute).Sub(now)
	}
	w.count++
	return 0
}
