package notify_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/notify"
)

// roundTrip answers requests in memory.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestHeartbeat asks the URL after a good check and /fail after a bad one, tries
// again, and forgets a check that a newer one has overtaken.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		fails := 0
		h := &notify.Heartbeat{Web: notify.Web{
			URL: func() (string, error) { return "https://hc.contoso.example/ping/s3cret?create=1", nil },
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				asked = append(asked, r.URL.RequestURI()+" "+string(body[:13]))
				if fails > 0 {
					fails--
					return nil, errors.New("connection refused")
				}
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
			}),
		}}
		want := func(what string, list ...string) {
			t.Helper()
			synctest.Wait() // the heartbeat's own goroutine has written what it asked
			if !slices.Equal(asked, list) {
				t.Errorf("%s: asked %q, want %q", what, asked, list)
			}
			asked = nil
		}
		const good, bad = `/ping/s3cret?create=1 {"good":true,`, `/ping/s3cret/fail?create=1 {"good":false`
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		time.Sleep(time.Minute)
		want("before the first check")
		h.Beat(true, "checked")
		time.Sleep(time.Minute)
		want("a good check", good)
		h.Beat(false, "the store cannot be written")
		time.Sleep(time.Minute)
		want("a bad check", bad)

		fails = 2
		h.Beat(true, "checked")
		time.Sleep(time.Minute)
		want("two refusals", good, good, good)

		fails = 1
		h.Beat(false, "bad")
		time.Sleep(time.Second)
		h.Beat(true, "good again")
		time.Sleep(time.Minute)
		want("overtaken", bad, good)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}

		fails = 100
		h.Beat(true, "checked")
		err := h.Flush(t.Context())
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("a server that is down: %v; want an error without the URL, which is a secret", err)
		}
		want("four tries", good, good, good, good)
	})
}
