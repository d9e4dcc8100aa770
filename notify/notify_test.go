package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// sender keeps what it was given, and fails while it is told to.
type sender struct {
	up   atomic.Bool
	mu   sync.Mutex
	sent []string
}

func (s *sender) Send(_ context.Context, m notify.Message) (string, error) {
	if !s.up.Load() {
		return "", errors.New("the channel is down")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range m.Events {
		s.sent = append(s.sent, e.ID)
	}
	return "", nil
}

func outbox(t *testing.T, events int) *store.Store {
	t.Helper()
	dir := t.TempDir()
	path, identity := filepath.Join(dir, "db", "rotate.db"), filepath.Join(dir, "key", "store.key")
	if _, err := store.Init(t.Context(), store.InitOptions{Path: path, IdentityFile: identity}); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Options{Path: path, IdentityFile: identity, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range events {
		err := db.Change(t.Context(), "", func(rec *rotator.Records) error {
			rec.Events = append(rec.Events, rotator.Event{ID: fmt.Sprintf("event-%03d", i), Kind: rotator.EventRotated, Severity: rotator.SeverityInfo, At: time.Now()})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// TestWorker sends everything once, in order, although the channel is down at
// first.
func TestWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := outbox(t, 150)
		var log bytes.Buffer
		s := &sender{}
		w := notify.Worker{Outbox: db, Channels: []notify.Channel{{Name: "a", Sender: s}}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "the channel is down"); n != 1 || len(s.sent) != 0 {
			t.Errorf("%d log lines about one lasting failure, want 1; %d events sent", n, len(s.sent))
		}
		s.up.Store(true)
		time.Sleep(3 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(s.sent) != 150 || s.sent[0] != "event-000" || s.sent[149] != "event-149" {
			t.Errorf("sent %d events, first and last %q: not all, or not in order", len(s.sent), s.sent[:1])
		}
		left, err := db.EventsAfter(t.Context(), 0, 1)
		if err != nil || len(left) != 0 {
			t.Errorf("the outbox still holds %v (%v)", left, err)
		}
	})
}

func TestLog(t *testing.T) {
	for severity, level := range map[rotator.Severity]string{
		rotator.SeverityInfo: "INFO", rotator.SeverityWarning: "WARN", rotator.SeverityCritical: "ERROR",
	} {
		var log bytes.Buffer
		l := notify.Log{Logger: slog.New(slog.NewTextHandler(&log, nil))}
		e := rotator.Event{ID: "1", Kind: rotator.EventCertificateMissing, Severity: severity, App: "contoso-sync", Summary: "it is gone", Next: "look"}
		if _, err := l.Send(t.Context(), notify.Message{ID: e.ID, Events: []rotator.Event{e}}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"level=" + level, "kind=certificate_missing", "app=contoso-sync", `what="it is gone"`, "next=look"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%q lacks %q", log.String(), want)
			}
		}
	}
}
