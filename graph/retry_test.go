package graph_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestReadsAreRepeatedTwice(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault emulator.Fault
		// tries and the shortest and longest time they may take.
		tries    int
		min, max time.Duration
	}{
		{"throttled", emulator.Fault{Status: 429, RetryAfter: 4 * time.Second}, 3, 8 * time.Second, 9 * time.Second},
		{"throttled for long", emulator.Fault{Status: 429, RetryAfter: time.Minute}, 1, 0, time.Second},
		{"throttled beyond the deadline", emulator.Fault{Status: 429, RetryAfter: 10 * time.Second, Delay: 11 * time.Second}, 2, 30 * time.Second, 33 * time.Second},
		{"unavailable", emulator.Fault{Status: 503}, 3, 750 * time.Millisecond, 3 * time.Second},
		{"lost", emulator.Fault{LoseAnswer: true}, 3, 750 * time.Millisecond, 3 * time.Second},
		{"forbidden", emulator.Fault{Status: 403}, 1, 0, time.Second},
		{"conflict", emulator.Fault{Status: 409}, 1, 0, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				if _, err := w.client.Keys(t.Context(), w.managed(), false); err != nil {
					t.Fatal(err)
				}
				w.sent.fail(on(http.MethodGet, w.app.ObjectID, c.fault))
				begun := time.Now()
				_, err := w.client.Keys(t.Context(), w.managed(), false)
				took := time.Since(begun)
				f := failure(t, err)
				if n := len(w.sent.of(http.MethodGet, w.app.ObjectID)); n != c.tries || took < c.min || took > c.max {
					t.Errorf("%d tries in %v, want %d in %v to %v", n, took, c.tries, c.min, c.max)
				}
				if c.fault.RetryAfter > 10*time.Second && f.RetryAfter != c.fault.RetryAfter {
					t.Errorf("RetryAfter = %v, want the server's %v", f.RetryAfter, c.fault.RetryAfter)
				}
			})
		})
	}
}

func TestAReadThatWorksTheThirdTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		n := 0
		w.sent.fail(func(q emulator.Request) *emulator.Fault {
			if q.Method == http.MethodGet && strings.HasSuffix(q.Path, w.app.ObjectID) {
				if n++; n < 3 {
					return &emulator.Fault{Status: 503}
				}
			}
			return nil
		})
		if _, err := w.client.Keys(t.Context(), w.managed(), false); err != nil {
			t.Errorf("Keys = %v, want none", err)
		}
	})
}

// TestAWriteIsNotSpoiledByAThrottledToken: only the token is asked again.
func TestAWriteIsNotSpoiledByAThrottledToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		n := 0
		w.sent.fail(func(q emulator.Request) *emulator.Fault {
			if q.IsToken() {
				if n++; n < 3 {
					return &emulator.Fault{Status: 429, RetryAfter: time.Second}
				}
			}
			return nil
		})
		if _, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, newPair(t, 1, time.Hour))); err != nil {
			t.Errorf("AddKey = %v, want none", err)
		}
		if n := len(w.sent.of(http.MethodPost, "/addKey")); n != 1 {
			t.Errorf("addKey was sent %d times, want once", n)
		}
	})
}

// TestAThrottledTokenReturnsAtOnce: azcore would sleep a minute three times.
func TestAThrottledTokenReturnsAtOnce(t *testing.T) {
	for _, after := range []time.Duration{time.Minute, 59 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			w.sent.fail(onToken(emulator.Fault{Status: 429, RetryAfter: after}))
			begun := time.Now()
			_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
			f := failure(t, err)
			if took := time.Since(begun); took > time.Second {
				t.Errorf("SignIn took %v, want no waiting", took)
			}
			if f.Reason != rotator.ReasonThrottled || f.RetryAfter != after || f.Class != rotator.ClassWait {
				t.Errorf("%v %v RetryAfter %v, want wait, throttled, %v", f.Class, f.Reason, f.RetryAfter, after)
			}
			if n := w.sent.tokens(); n != 1 {
				t.Errorf("%d token requests, want 1", n)
			}
		})
	}
}

// TestWaitersForATokenHonourTheirContext: azidentity holds a mutex over its
// request. Without the slot in front of it this test never ends.
func TestWaitersForATokenHonourTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.sent.fail(onToken(emulator.Fault{Delay: 20 * time.Second}))
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := w.client.Keys(t.Context(), w.managed(), false); err != nil {
				t.Errorf("the first caller: %v", err)
			}
		})
		synctest.Wait()
		begun := time.Now()
		for range 5 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := w.client.Keys(ctx, w.managed(), false)
				if took := time.Since(begun); failure(t, err).Reason != rotator.ReasonNetwork || took > 2*time.Second {
					t.Errorf("a caller with a deadline of 1 s: %v after %v", err, took)
				}
			})
		}
		all.Wait()
		if n := w.sent.tokens(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}

// TestManyCallersOfAThrottledTenant all get their answer in the end.
func TestManyCallersOfAThrottledTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(t *emulator.Tenant, _ *graph.Config) {
			t.Latency = 300 * time.Millisecond
			t.ThrottlePercent = 10
		})
		w.tenant.Configure(func(t *emulator.Tenant) { t.Intercept = nil })
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range 50 {
					if _, err := w.client.Keys(t.Context(), w.managed(), false); err == nil {
						return
					}
				}
				t.Error("50 reads did not work")
			})
		}
		all.Wait()
	})
}

// TestEveryCallHasADeadline: a server that never answers.
func TestEveryCallHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) { c.Timeout = 7 * time.Second })
		w.sent.fail(func(emulator.Request) *emulator.Fault { return &emulator.Fault{Delay: time.Hour} })
		for name, call := range map[string]func() error{
			"SignIn": func() error {
				_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
				return err
			},
			"Keys": func() error { _, err := w.client.Keys(t.Context(), w.managed(), true); return err },
			"AddKey": func() error {
				_, err := w.client.AddKey(t.Context(), w.self(), w.pair, newKey(t, w.pair))
				return err
			},
			"PatchKeys": func() error {
				_, err := w.client.PatchKeys(t.Context(), w.managed(), nil, newKey(t, w.pair))
				return err
			},
			"RemoveKey":       func() error { return w.client.RemoveKey(t.Context(), w.managed(), w.pair, w.keyID) },
			"LongestLifetime": func() error { _, _, err := w.client.LongestLifetime(t.Context(), w.managed()); return err },
		} {
			begun := time.Now()
			f := failure(t, call())
			if took := time.Since(begun); took != 7*time.Second || f.Class != rotator.ClassRetry || f.Ambiguous {
				t.Errorf("%s: %v %q after %v, ambiguous %v; want retry after 7s", name, f.Class, f.Message, took, f.Ambiguous)
			}
		}
	})
}
