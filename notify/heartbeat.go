package notify

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Heartbeat tells a web server that the daemon does its work: it asks a URL after
// each good check, and the same with /fail behind it after a bad one, as
// healthchecks.io and others expect. Silence is what such a server reports.
type Heartbeat struct {
	Web Web
	// Logger is told what could not be sent. Nil: nobody is.
	Logger *slog.Logger

	mu sync.Mutex
	// last is what is to be told; nil: nothing new.
	last *beat
	poke chan struct{}
}

// beat is the result of one check.
type beat struct {
	Good bool      `json:"good"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// heartbeatPauses are those before each try.
func heartbeatPauses() []time.Duration {
	return []time.Duration{0, 2 * time.Second, 10 * time.Second, 30 * time.Second}
}

// Beat tells of a check; it does not block. Only the newest one is sent.
func (h *Heartbeat) Beat(good bool, text string) {
	h.mu.Lock()
	h.last = &beat{good, text, time.Now().UTC()}
	h.mu.Unlock()
	select {
	case h.pokes() <- struct{}{}:
	default:
	}
}

func (h *Heartbeat) pokes() chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.poke == nil {
		h.poke = make(chan struct{}, 1)
	}
	return h.poke
}

// Run sends what [Heartbeat.Beat] was told until ctx is done, then returns nil.
func (h *Heartbeat) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.pokes():
		}
		if err := h.Flush(ctx); err != nil && ctx.Err() == nil && h.Logger != nil {
			h.Logger.ErrorContext(ctx, "heartbeat not sent", "err", err)
		}
	}
}

// Flush sends what [Heartbeat.Beat] was told last, at most four times within a
// minute; a check that ends meanwhile takes its place.
func (h *Heartbeat) Flush(ctx context.Context) error {
	var err error
	for _, pause := range heartbeatPauses() {
		if pause > 0 {
			rest(ctx, pause)
		}
		h.mu.Lock()
		last := h.last
		h.mu.Unlock()
		if last == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if err = h.send(ctx, last); err == nil {
			h.mu.Lock()
			if h.last == last {
				h.last = nil
			}
			h.mu.Unlock()
			return nil
		}
	}
	return err
}

func (h *Heartbeat) send(ctx context.Context, b *beat) error {
	web := h.Web
	if !b.Good {
		web.URL = func() (string, error) {
			address, err := h.Web.URL()
			path, query, found := strings.Cut(address, "?")
			path = strings.TrimSuffix(path, "/") + "/fail"
			if found {
				path += "?" + query
			}
			return path, err
		}
	}
	body, err := json.Marshal(b)
	if err != nil {
		return err
	}
	_, err = web.post(ctx, &scrubber{}, body, http.Header{})
	return err
}
