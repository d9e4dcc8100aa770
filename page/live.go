package page

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// liveEvery is how often a stream tells of changes at most.
	liveEvery = 250 * time.Millisecond
	// aliveEvery is how often it tells so without a change.
	aliveEvery = 30 * time.Second
	// streamTime ends a stream; the browser comes back by itself.
	streamTime = 30 * time.Minute
)

// events tells by server-sent events that something changed; the script then loads
// what it shows again. It carries no data, so that there is one way to draw things.
func (s *site) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "30")
		s.fail(w, r, &refusal{http.StatusServiceUnavailable, "Too many pages are open.", "This one is shown as it was; load it again."})
		return
	}
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	_ = control.SetReadDeadline(time.Time{}) // not in memory
	send := func() bool {
		_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // not in memory
		_, err := fmt.Fprintf(w, "event: changed\ndata: %d\n\n", time.Now().UnixMilli())
		return err == nil && control.Flush() == nil
	}
	end := time.NewTimer(streamTime)
	defer end.Stop()
	for {
		changed, renewed := s.Source.Changed(), s.surveyor.renewal()
		if !send() { // also the first time: something may have changed since the page was made
			return
		}
		alive := time.NewTimer(aliveEvery)
		select {
		case <-alive.C: // dates go by without a change
		case <-renewed: // of what may be on the screen there is something newer
		case <-changed:
			alive.Reset(liveEvery) // what changes in a row is told once
			select {
			case <-alive.C:
			case <-r.Context().Done():
			case <-s.stop:
			}
		case <-end.C:
			return
		case <-r.Context().Done():
		case <-s.stop:
		}
		alive.Stop()
		select {
		case <-r.Context().Done():
			return
		case <-s.stop:
			return
		default:
		}
	}
}
