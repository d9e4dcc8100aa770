package notify_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

func benchEvent(i int) rotator.Event {
	return rotator.Event{
		ID: fmt.Sprintf("event-%06d", i), Kind: rotator.EventRotationFailed, Severity: rotator.SeverityWarning,
		App: fmt.Sprintf("app-%06d", i), Tenant: "contoso", Rotation: "k7m2q4x6za", At: time.Now().UTC(),
		Summary: "app contoso-sync: add certificate: graph: 403 Authorization_RequestDenied: Insufficient privileges to complete the operation.",
		Next:    "make the tenant's identity an owner of the app, or use \"rotate app edit contoso-sync --mode self\"",
	}
}

// benchOutbox opens a store that syncs, with one channel.
func benchOutbox(b *testing.B) *store.Store {
	b.Helper()
	dir := b.TempDir()
	path, identity := filepath.Join(dir, "db", "rotate.db"), filepath.Join(dir, "key", "store.key")
	if _, err := store.Init(b.Context(), store.InitOptions{Path: path, IdentityFile: identity}); err != nil {
		b.Fatal(err)
	}
	db, err := store.Open(b.Context(), store.Options{Path: path, IdentityFile: identity})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	if _, err := db.SetChannels(b.Context(), []string{"a"}); err != nil {
		b.Fatal(err)
	}
	return db
}

// BenchmarkOutboxIn puts events into the outbox, one in a transaction that syncs, and
// in turn with it as many bytes into a bucket of bare bbolt. ratio is the second's
// time to the first's.
func BenchmarkOutboxIn(b *testing.B) {
	db := benchOutbox(b)
	bare, err := bbolt.Open(filepath.Join(b.TempDir(), "bare.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	bucket := []byte("events")
	if err := bare.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }); err != nil {
		b.Fatal(err)
	}
	const round = 100
	var ours, theirs time.Duration
	n := 0
	for b.Loop() {
		begun := time.Now()
		for i := range round {
			err := db.Change(b.Context(), "", func(rec *rotator.Records) error {
				rec.Events = append(rec.Events, benchEvent(n+i))
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		ours += time.Since(begun)
		begun = time.Now()
		for i := range round {
			value, err := json.Marshal(benchEvent(n + i))
			if err != nil {
				b.Fatal(err)
			}
			err = bare.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket(bucket).Put(binary.BigEndian.AppendUint64(nil, uint64(n+i)), value)
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		theirs += time.Since(begun)
		n += round
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(n)/theirs.Seconds(), "bare-puts/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
}

// counter takes messages and notes the most memory that was held meanwhile.
type counter struct {
	events int
	most   int64
}

func (c *counter) Send(_ context.Context, m notify.Message) (string, error) {
	c.events += len(m.Events)
	c.most = max(c.most, heap())
	return "taken", nil
}

// heap is what the process holds, without what can be collected.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkOutboxOut drains 10,000 events to a server that takes every message at
// once. MiB-more is the most that the process
// held more than before while it sent.
func BenchmarkOutboxOut(b *testing.B) {
	const events = 10_000
	db := benchOutbox(b)
	var draining time.Duration
	var grown int64
	n := 0
	for b.Loop() {
		b.StopTimer()
		err := db.Change(b.Context(), "", func(rec *rotator.Records) error {
			for i := range events {
				rec.Events = append(rec.Events, benchEvent(n+i))
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		count := &counter{}
		before := heap()
		b.StartTimer()
		begun := time.Now()
		w := notify.Worker{Outbox: db, Channels: []notify.Channel{{Name: "a", Sender: count}}}
		if err := w.Flush(b.Context()); err != nil {
			b.Fatal(err)
		}
		draining += time.Since(begun)
		if count.events != events {
			b.Fatalf("%d events sent, want %d", count.events, events)
		}
		grown = max(grown, count.most-before)
		n += events
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)/draining.Seconds(), "events/s")
	b.ReportMetric(float64(grown)/(1<<20), "MiB-more")
}
