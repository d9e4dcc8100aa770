package page_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/page"
	"github.com/seed-f0abd057/rotate/rotator"
)

// large is a store whose survey takes long.
type large struct{ *fixed }

const surveyTime = 4 * time.Second

func (l large) Survey(ctx context.Context, see func(*rotator.AppStatus)) (rotator.Status, error) {
	at := time.Now()
	time.Sleep(surveyTime)
	s, err := l.fixed.Survey(ctx, see)
	s.At = at
	return s, err
}

// TestFirstVisitIsCheap visits a large store after pauses: nobody waits for a survey but
// who comes before the first one, and who gets an older one is told so, by the stream too.
func TestFirstVisitIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := large{newFixed(safeApp("sync", 90*day))}
		ctx, cancel := context.WithCancel(t.Context())
		handler, warm := page.Site(ctx, &page.Server{Source: source})
		visit := func(what string, wait time.Duration, isOld bool) {
			t.Helper()
			began := time.Now()
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", nil))
			if took := time.Since(began); took != wait || w.Code != http.StatusOK {
				t.Errorf("%s: %d after %s, want 200 after %s", what, w.Code, took, wait)
			}
			if got := strings.Contains(w.Body.String(), "load the page again"); got != isOld {
				t.Errorf("%s: said to be old: %t, want %t", what, got, isOld)
			}
		}
		visit("the first", surveyTime, false)
		visit("the next", 0, false)
		time.Sleep(20 * time.Minute)

		// The stream tells as soon as there is something newer than what was shown.
		events := httptest.NewRecorder()
		following, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			handler.ServeHTTP(events, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/events", nil).WithContext(following))
		}()
		synctest.Wait()
		visit("after an idle time", 0, true)
		time.Sleep(surveyTime + time.Second)
		stop()
		<-done
		if n := strings.Count(events.Body.String(), "event: changed"); n != 2 {
			t.Errorf("the stream told %d times, want when it began and when there was something newer", n)
		}
		visit("when it was read", 0, false)

		time.Sleep(31 * time.Minute)
		visit("after too long", surveyTime, false)

		// What the daemon does by itself.
		warmed := make(chan struct{})
		go func() {
			defer close(warmed)
			warm(ctx)
		}()
		for range 3 {
			time.Sleep(5 * time.Hour)
			began := time.Now()
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", nil))
			if took := time.Since(began); took > 0 {
				t.Errorf("with a warm survey a visitor waits %s", took)
			}
			time.Sleep(surveyTime)
		}
		cancel()
		<-warmed
		time.Sleep(surveyTime)
	})
}
