package store_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// populate gives a store a few of everything, and free pages.
func populate(tb testing.TB, s *store.Store, apps int) {
	tb.Helper()
	for i := range apps {
		name := fmt.Sprintf("app-%d", i)
		for n := range 3 {
			err := s.Change(tb.Context(), name, func(r *rotator.Records) error {
				r.App = newApp(name)
				r.App.Owner = fmt.Sprint("owner ", n)
				id := fmt.Sprintf("%s-%d", name, n)
				r.Rotation = &rotator.Rotation{ID: id, App: name, Phase: rotator.PhaseRetired, StartedAt: time.Unix(int64(1000*i+n), 0).UTC()}
				r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: name, At: time.Unix(int64(i+n), 0)}}
				r.Seal = []rotator.KeyPair{pairs()[(i+n)%3]}
				r.State.FixStreak = append(r.State.FixStreak, name)
				r.Audit = []rotator.AuditEntry{{What: "changed", App: name, Note: fmt.Sprint(n)}}
				r.Events = []rotator.Event{{ID: id, Kind: rotator.EventRotated, App: name}}
				return nil
			})
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// contents is everything that can be asked of a store.
type contents struct {
	ID        string
	Count     int
	Apps      []rotator.App
	Rotations []rotator.Rotation
	Due       []rotator.Wake
	State     rotator.State
	Events    []rotator.QueuedEvent
	Audit     []rotator.AuditEntry
	Pairs     []bool
}

func readAll(ctx context.Context, s *store.Store) (contents, error) {
	c := contents{ID: s.ID()}
	var errs [8]error
	c.Count, errs[0] = s.CountApps(ctx)
	c.Apps, errs[1] = s.Apps(ctx, "", 0)
	c.Rotations, errs[2] = s.Rotations(ctx, "", 0)
	c.Due, errs[3] = s.Due(ctx, rotator.WakeStart, time.Now(), 0)
	c.State, errs[4] = s.State(ctx)
	c.Events, errs[5] = s.EventsAfter(ctx, 0, 0)
	for entry, err := range s.Audit(ctx, "", time.Time{}) {
		c.Audit, errs[6] = append(c.Audit, entry), err
	}
	for _, pair := range pairs()[:1] {
		found, err := s.KeyPair(ctx, pair.Thumbprint())
		c.Pairs, errs[7] = append(c.Pairs, err == nil && found.Key.Equal(pair.Key)), errors.Join(errs[7], err)
	}
	return c, errors.Join(errs[:]...)
}

// survives opens a damaged file and reports whether it was refused. What is
// not refused must be right, and the file must stay as it is.
func survives(t *testing.T, p place, what, data string, want contents) (refused bool) {
	t.Helper()
	write(t, p.Path, data)
	s, err := store.Open(t.Context(), p.Options)
	if err == nil {
		var got contents
		_, moved := s.Moved() // tells of transactions that the file has lost
		if got, err = readAll(t.Context(), s); err == nil && !cmp.Equal(got, want) && !strings.Contains(moved, "earlier copy") {
			t.Errorf("%s: it was read as if nothing had happened:\n%s", what, cmp.Diff(want, got))
		}
		if cerr := s.Check(t.Context()); err == nil && cerr != nil {
			t.Errorf("%s: Open accepted what Check refuses: %v", what, cerr)
		}
		s.Close()
	}
	if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) && !errors.Is(err, store.ErrWrongIdentity) {
		t.Errorf("%s: %v, want ErrCorrupt", what, err)
	}
	if read(t, p.Path) != data {
		t.Errorf("%s: the file was changed", what)
	}
	return err != nil
}

func TestFlippedBytes(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	populate(t, s, 6)
	want, err := readAll(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	sound := read(t, p.Path)
	if survives(t, p, "nothing", sound, want) {
		t.Fatal("the sound file is refused")
	}
	// On each page a few bytes of the header, of the directory behind it, and of
	// the rest; FuzzDamage looks further.
	r := rand.New(rand.NewPCG(1, 2))
	offsets := map[int]bool{}
	for page := 0; page < min(len(sound), 64*os.Getpagesize()); page += os.Getpagesize() {
		offsets[page+r.IntN(16)] = true
		offsets[page+16+r.IntN(240)] = true
		offsets[page+r.IntN(os.Getpagesize())] = true
	}
	for i := 16; i < 80; i += 5 {
		offsets[i], offsets[os.Getpagesize()+i] = true, true
	}
	refused := 0
	for _, at := range slices.Sorted(maps.Keys(offsets)) {
		damaged := []byte(sound)
		damaged[at] ^= 1 << r.IntN(8)
		if survives(t, p, fmt.Sprintf("byte %d flipped", at), string(damaged), want) {
			refused++
		}
	}
	if refused < len(offsets)/10 {
		t.Errorf("%d of %d flipped bytes were noticed: does the test reach the data?", refused, len(offsets))
	}
}

// FuzzDamage overwrites a few bytes anywhere.
func FuzzDamage(f *testing.F) {
	p := newPlace(f)
	s := p.open(f)
	populate(f, s, 6)
	want, err := readAll(f.Context(), s)
	if err != nil {
		f.Fatal(err)
	}
	s.Close()
	sound := read(f, p.Path)
	f.Add(uint32(8192), []byte{0xff})
	f.Add(uint32(4096+24), []byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, at uint32, with []byte) {
		damaged := []byte(sound)
		copy(damaged[int(at)%len(damaged):], with)
		own := place{p.Options}
		own.Path = filepath.Join(t.TempDir(), "rotate.db")
		survives(t, own, fmt.Sprintf("%d bytes at %d", len(with), at), string(damaged), want)
	})
}

func TestTruncated(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	populate(t, s, 6)
	want, err := readAll(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	sound := read(t, p.Path)
	for _, size := range []int{0, 1, 17, 80, 4095, 4096, 4097, 8191, 8192, 12288, 16384, 20000, 40960, 65536, 100_001} {
		if size > len(sound) {
			t.Fatalf("the file has %d bytes only", len(sound))
		}
		if !survives(t, p, fmt.Sprintf("cut to %d bytes", size), sound[:size], want) {
			t.Errorf("cut to %d of %d bytes: not refused", size, len(sound))
		}
	}
	for name, data := range map[string]string{
		"text":                "store: {path: rotate.db}\n",
		"zeros":               string(make([]byte, 65536)),
		"pages swapped":       sound[:5*4096] + sound[6*4096:7*4096] + sound[5*4096:6*4096] + sound[7*4096:],
		"a piece of zeros":    sound[:8*4096] + string(make([]byte, 8*4096)) + sound[16*4096:],
		"one page missing":    sound[:9*4096] + sound[10*4096:],
		"older second half":   sound[:len(sound)/2],
		"first half repeated": sound[:6*4096] + sound[:6*4096] + sound[12*4096:],
	} {
		survives(t, p, name, data, want)
	}
}

// TestPagesPutBack mixes two states of one file, as a disk does that lost some
// writes.
func TestPagesPutBack(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	populate(t, s, 6)
	older := read(t, p.Path)
	for i := range 3 {
		err := s.Change(t.Context(), "app-3", func(r *rotator.Records) error {
			r.App.Owner = fmt.Sprint("the last ", i)
			r.Wakes = nil
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want, err := readAll(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	newer := read(t, p.Path)
	size, refused := os.Getpagesize(), 0
	for at := 0; at+size <= len(older); at += size {
		if older[at:at+size] == newer[at:at+size] {
			continue
		}
		mixed := newer[:at] + older[at:at+size] + newer[at+size:]
		if survives(t, p, fmt.Sprintf("page %d put back", at/size), mixed, want) {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no page that was put back was noticed")
	}
}

// TestDamageWhileOpen cuts the file off under an open store: a memory fault.
func TestDamageWhileOpen(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	populate(t, s, 6)
	if err := os.Truncate(p.Path, 8192); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t.Context(), s); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("reading: %v, want ErrCorrupt", err)
	}
	err := s.Change(t.Context(), "app-1", func(*rotator.Records) error { return nil })
	if !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("Change: %v, want ErrCorrupt", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestBranches judges a file without its leaves, as Open does when reading all
// of it would take too long.
func TestBranches(t *testing.T) {
	p := newLargePlace(t, 2000)
	all := 0
	s := p.open(t)
	for _, records := range everything(t, s) {
		all += len(records)
	}
	s.Close()
	if read, err := store.CheckBranches(t.Context(), p.Path); err != nil || read == 0 || read > all/10 {
		t.Errorf("%d of %d records read, %v; want a few and no error", read, all, err)
	}
	sound := read(t, p.Path)
	size, branches := os.Getpagesize(), 0
	for page := 2 * size; page+size <= len(sound); page += size {
		if sound[page+8] != 1 || sound[page+10] == 0 || binary.NativeEndian.Uint64([]byte(sound[page:])) != uint64(page/size) {
			continue // not a branch
		}
		branches++
		// The first child becomes the branch itself: bbolt would never come back.
		damaged := sound[:page+24] + sound[page:page+8] + sound[page+32:]
		write(t, p.Path, damaged)
		_, err := store.CheckBranches(t.Context(), p.Path)
		if err == nil {
			continue // a free page
		}
		if !strings.Contains(err.Error(), "used twice") {
			t.Errorf("page %d: %v, want a page used twice", page/size, err)
		}
		if _, err := store.Open(t.Context(), p.Options); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("page %d: Open: %v, want ErrCorrupt", page/size, err)
		}
		return
	}
	t.Errorf("none of %d branches that lead to themselves was noticed", branches)
}
