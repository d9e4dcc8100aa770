package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// newLargePlace makes a store with n apps, each with a certificate, a history
// of one rotation, and nothing due before 2030.
func newLargePlace(tb testing.TB, n int) place {
	tb.Helper()
	p := newPlace(tb)
	p.NoSync = true
	s := p.open(tb)
	current := credential(tb, pairs()[0])
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("app-%06d", i)
	}
	i := 0
	for batch := range slices.Chunk(names, 1000) {
		err := s.ChangeAll(tb.Context(), batch, func(name string, r *rotator.Records) error {
			i++
			r.App = newApp(name)
			r.App.Current = &current
			r.Rotation = &rotator.Rotation{ID: fmt.Sprintf("%08x", i), App: name, Phase: rotator.PhaseRetired, StartedAt: time.Unix(int64(i), 0)}
			r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: name, At: time.Date(2030, 1, 1, 0, 0, i, 0, time.UTC)}}
			r.Audit = []rotator.AuditEntry{{What: "app added", App: name}}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	s.Close()
	p.NoSync = false
	return p
}

// large runs a benchmark with stores of several sizes.
func large(b *testing.B, run func(b *testing.B, p place)) {
	b.Helper()
	for _, n := range []int{1_000, 10_000, 100_000} {
		p := newLargePlace(b, n)
		b.Run(fmt.Sprintf("apps=%d", n), func(b *testing.B) { run(b, p) })
	}
}

// BenchmarkDue asks what is due when nothing is.
func BenchmarkDue(b *testing.B) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	large(b, func(b *testing.B, p place) {
		b.Helper()
		s := p.open(b)
		for b.Loop() {
			if wakes, err := s.Due(b.Context(), rotator.WakeStart, now, 100); err != nil || len(wakes) != 0 {
				b.Fatal(wakes, err)
			}
		}
	})
}

// BenchmarkOpen opens a store and reads what is due.
func BenchmarkOpen(b *testing.B) {
	large(b, func(b *testing.B, p place) {
		b.Helper()
		for b.Loop() {
			s, err := store.Open(b.Context(), p.Options)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := s.Due(b.Context(), rotator.WakeStart, time.Now(), 100); err != nil {
				b.Fatal(err)
			}
			s.Close()
		}
	})
}

// BenchmarkChange makes a change of one app, durable.
func BenchmarkChange(b *testing.B) {
	large(b, func(b *testing.B, p place) {
		b.Helper()
		s, n := p.open(b), 0
		for b.Loop() {
			n++
			err := s.Change(b.Context(), "app-000500", func(r *rotator.Records) error {
				r.App.Owner = fmt.Sprint(n)
				r.Audit = []rotator.AuditEntry{{What: "changed"}}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkCheck reads everything, of 1,000 apps.
func BenchmarkCheck(b *testing.B) {
	s := newLargePlace(b, 1000).open(b)
	for b.Loop() {
		if err := s.Check(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
