package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// everything reads all records of a store, as they lie in it.
func everything(tb testing.TB, s *store.Store) map[string]map[string]string {
	tb.Helper()
	all := map[string]map[string]string{}
	for _, bucket := range store.Buckets() {
		records, err := s.Records(tb.Context(), bucket)
		if err != nil {
			tb.Fatal(err)
		}
		all[bucket] = records
	}
	return all
}

func TestChangeThatFailsChangesNothing(t *testing.T) {
	s := newStore(t)
	populate(t, s, 2)
	before := everything(t, s)
	spoil := func(r *rotator.Records) {
		r.App.Owner, r.State.Stopped, r.Wakes = "changed", "changed", nil
		r.Seal, r.Forget = pairs()[2:], []rotator.Thumbprint{pairs()[1].Thumbprint()}
		r.Audit, r.Events = []rotator.AuditEntry{{What: "changed"}}, []rotator.Event{{ID: "changed"}}
		tenantOf(t, r, "contoso").Inspection.WatchAll = true
	}
	errOwn := errors.New("own")
	err := s.Change(t.Context(), "app-1", func(r *rotator.Records) error {
		spoil(r)
		return errOwn
	})
	if err != errOwn { //nolint:errorlint // it has to come back as it is
		t.Errorf("Change = %v, want the very error", err)
	}
	func() {
		defer func() {
			if got := recover(); got != "own" {
				t.Errorf("recovered %v, want the panic of change", got)
			}
		}()
		_ = s.Change(t.Context(), "app-1", func(r *rotator.Records) error {
			spoil(r)
			panic("own")
		})
	}()
	for name, bad := range map[string]func(*rotator.Records){
		"name of another app": func(r *rotator.Records) { r.App.Name = "app-0" },
		"rotation of another app": func(r *rotator.Records) {
			r.Rotation = &rotator.Rotation{ID: "x", App: "app-0", Phase: rotator.PhasePlanned}
		},
		"rotation stolen": func(r *rotator.Records) {
			r.Rotation = &rotator.Rotation{ID: "app-0-1", App: "app-1", Phase: rotator.PhasePlanned}
		},
		"rotation without ID":        func(r *rotator.Records) { r.Rotation = &rotator.Rotation{App: "app-1", Phase: rotator.PhasePlanned} },
		"unknown phase":              func(r *rotator.Records) { r.Closed = &rotator.Rotation{ID: "x", App: "app-1", Phase: "molten"} },
		"no phase":                   func(r *rotator.Records) { r.Rotation = &rotator.Rotation{ID: "x", App: "app-1"} },
		"open rotation is not there": func(r *rotator.Records) { r.App.Rotation = "x" },
		"due entry of another app":   func(r *rotator.Records) { r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: "app-0"}} },
		"due entry of no kind":       func(r *rotator.Records) { r.Wakes = []rotator.Wake{{App: "app-1"}} },
		"rotation ID that is no text": func(r *rotator.Records) {
			r.Rotation = &rotator.Rotation{ID: "\xa61", App: "app-1", Phase: rotator.PhasePlanned}
		},
		"tenant with a zero byte":    func(r *rotator.Records) { r.App.Tenant = "a\x00b" },
		"thumbprint that is no text": func(r *rotator.Records) { r.App.Previous = &rotator.Credential{ThumbprintSHA256: "\xa6"} },
		"new pair that is no text": func(r *rotator.Records) {
			r.Rotation = &rotator.Rotation{ID: "x", App: "app-1", Phase: rotator.PhasePlanned, New: rotator.Credential{ThumbprintSHA256: "\xa6"}}
		},
		"event ID that is no text":     func(r *rotator.Records) { r.Events = []rotator.Event{{ID: "\xa6"}} },
		"a time that JSON cannot hold": func(r *rotator.Records) { r.App.AddedAt = time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC) },
		"an empty pair":                func(r *rotator.Records) { r.Seal = []rotator.KeyPair{{}} },
		"client ID of another app":     func(r *rotator.Records) { r.App.ClientID = "C-app-0" },
	} {
		err := s.Change(t.Context(), "app-1", func(r *rotator.Records) error {
			spoil(r)
			bad(r)
			return nil
		})
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if name == "client ID of another app" && (!errors.Is(err, rotator.ErrExists) || !strings.Contains(err.Error(), `"app-0"`)) {
			t.Errorf("%s: %v, want ErrExists and the app's name", name, err)
		}
	}
	if err := s.Change(t.Context(), "", func(r *rotator.Records) error { r.App = newApp("app-9"); return nil }); err == nil {
		t.Error("an app in a change that names none: no error")
	}
	if err := s.Change(t.Context(), "a\x00b", func(*rotator.Records) error { return nil }); !errors.Is(err, rotator.ErrUsage) {
		t.Errorf("a name with a zero byte: %v", err)
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Errorf("something was changed (-before +after):\n%s", diff)
	}
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.App.Owner = "it still works" })
}

// tenantOf gives the record of a tenant within a change.
func tenantOf(tb testing.TB, r *rotator.Records, name string) *rotator.TenantState {
	tb.Helper()
	tenant, err := r.Tenant(name)
	if err != nil {
		tb.Fatal(err)
	}
	return tenant
}

// What is known of thousands of tenants must not be read and written with every
// step of every rotation.
func TestTenantsAreKeptApart(t *testing.T) {
	s := newStore(t)
	before := everything(t, s)
	const many = 300
	mustChange(t, s, "", func(r *rotator.Records) {
		for i := range many {
			tenant := tenantOf(t, r, fmt.Sprintf("tenant-%03d", i))
			tenant.Hosts.Login = fmt.Sprintf("https://login-%d.example", i)
			if again := tenantOf(t, r, fmt.Sprintf("tenant-%03d", i)); again != tenant {
				t.Fatal("the same tenant, asked for twice, is another record: one of two changes would be lost")
			}
		}
		tenantOf(t, r, "only looked at")
	})
	after := everything(t, s)
	if state := after["meta"]["state"]; state != before["meta"]["state"] {
		t.Errorf("the state holds what is known of tenants: %q", state)
	}
	mustChange(t, s, "", func(r *rotator.Records) { tenantOf(t, r, "tenant-007").Inspection.Error = "new" })
	tenants, err := s.Tenants(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		name, want := fmt.Sprintf("tenant-%03d", i), rotator.TenantState{Hosts: rotator.Hosts{Login: fmt.Sprintf("https://login-%d.example", i)}}
		if i == 7 {
			want.Inspection.Error = "new"
		}
		if tenants[name] != want {
			t.Errorf("%s: %+v, want %+v", name, tenants[name], want)
		}
	}
	if got, err := s.Tenant(t.Context(), "never used"); err != nil || got != (rotator.TenantState{}) {
		t.Errorf("a tenant that was never used: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "a\x00b", "\xa6"} {
		err := s.Change(t.Context(), "", func(r *rotator.Records) error {
			_, err := r.Tenant(bad)
			return err
		})
		if err == nil {
			t.Errorf("tenant %q: no error", bad)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestChangeAllIsOneTransaction(t *testing.T) {
	s := newStore(t)
	add := func(name string, r *rotator.Records) error {
		if r.App != nil {
			return rotator.ErrExists
		}
		r.App = newApp(name)
		r.State.FixStreak = append(r.State.FixStreak, name)
		return nil
	}
	if err := s.ChangeAll(t.Context(), []string{"a", "b", "a"}, add); !errors.Is(err, rotator.ErrExists) {
		t.Errorf("ChangeAll with a name twice: %v", err)
	}
	equal(t, "CountApps after it failed", 0)(s.CountApps(t.Context()))
	if err := s.ChangeAll(t.Context(), []string{"a", "b"}, add); err != nil {
		t.Fatal(err)
	}
	equal(t, "CountApps", 2)(s.CountApps(t.Context()))
	equal(t, "State", rotator.State{FixStreak: []string{"a", "b"}})(s.State(t.Context()))
	mustBeSound(t, s)
}

func TestRecordsAreCopies(t *testing.T) {
	s := newStore(t)
	app := newApp("app-1")
	app.Tags = []string{"before"}
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.App = app })
	app.Tags[0] = "after"
	got, err := s.App(t.Context(), "app-1")
	if err != nil || got.Tags[0] != "before" {
		t.Errorf("Tags = %v, %v", got.Tags, err)
	}
}

func TestAppIsMovedAndRemoved(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	wakes := []rotator.Wake{{Kind: rotator.WakeStart, App: "app-1", At: time.Unix(1, 0).UTC()}}
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.App, r.Wakes = newApp("app-1"), wakes })
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.App.ClientID = "other" })
	if _, err := s.AppByClientID(ctx, "contoso", "c-app-1"); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("the former client ID: %v, want ErrNotFound", err)
	}
	mustChange(t, s, "app-2", func(r *rotator.Records) { r.App = newApp("app-2"); r.App.ClientID = "c-app-1" })
	pair := pairs()[0]
	mustChange(t, s, "app-1", func(r *rotator.Records) {
		c := credential(t, pair)
		r.App.Current, r.Seal = &c, []rotator.KeyPair{pair}
	})
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.App = nil })
	equal(t, "Due", []rotator.Wake(nil))(s.Due(ctx, rotator.WakeStart, time.Unix(9, 0), 0))
	if _, err := s.AppByClientID(ctx, "contoso", "other"); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("the client ID of the removed app: %v, want ErrNotFound", err)
	}
	equal(t, "HasKeyPair", true)(s.HasKeyPair(ctx, pair.Thumbprint()))
	mustChange(t, s, "app-1", func(r *rotator.Records) { r.Forget = []rotator.Thumbprint{pair.Thumbprint()} })
	equal(t, "HasKeyPair after Forget", false)(s.HasKeyPair(ctx, pair.Thumbprint()))
	equal(t, "Certificate after Forget", pair.Certificate)(s.Certificate(ctx, pair.Thumbprint()))
}

func TestForgetKeepsWhatIsUsed(t *testing.T) {
	pair := pairs()[0]
	c := credential(t, pair)
	for name, use := range map[string]func(*rotator.Records){
		"current of another app":  func(r *rotator.Records) { r.App.Current = &c },
		"previous of another app": func(r *rotator.Records) { r.App.Previous = &c },
		"former of another app":   func(r *rotator.Records) { r.App.Former = []rotator.Credential{{ThumbprintSHA256: "ab"}, c} },
		"orphan of another app":   func(r *rotator.Records) { r.App.Orphans = []rotator.Orphan{{Credential: c}} },
		"old of a rotation":       func(r *rotator.Records) { r.Rotation.Old = &c },
		"new of a rotation":       func(r *rotator.Records) { r.Rotation.New = c },
		"extra of a rotation":     func(r *rotator.Records) { r.Rotation.Extra = []rotator.Credential{c} },
	} {
		t.Run(name, func(t *testing.T) {
			s, ctx := newStore(t), t.Context()
			forget := func(r *rotator.Records) {
				r.App.Current, r.Forget = nil, []rotator.Thumbprint{pair.Thumbprint(), "ab", ""}
			}
			mustChange(t, s, "app-1", func(r *rotator.Records) {
				r.App, r.Seal = newApp("app-1"), []rotator.KeyPair{pair}
				r.App.Current = &c
			})
			mustChange(t, s, "app-2", func(r *rotator.Records) {
				r.App, r.Rotation = newApp("app-2"), &rotator.Rotation{ID: "r1", App: "app-2", Phase: rotator.PhaseUploaded}
				r.App.Rotation = "r1"
				use(r)
			})
			mustChange(t, s, "app-1", forget)
			equal(t, "held while used", true)(s.HasKeyPair(ctx, pair.Thumbprint()))
			mustChange(t, s, "app-2", func(r *rotator.Records) {
				r.App = newApp("app-2")
				r.Rotation.Phase = rotator.PhaseRolledBack
			})
			mustChange(t, s, "app-1", forget)
			equal(t, "held when no longer used", false)(s.HasKeyPair(ctx, pair.Thumbprint()))
		})
	}
}

func TestSealWinsOverForget(t *testing.T) {
	s := newStore(t)
	pair := pairs()[0]
	for range 2 {
		mustChange(t, s, "app-1", func(r *rotator.Records) {
			r.Seal, r.Forget = []rotator.KeyPair{pair}, []rotator.Thumbprint{pair.Thumbprint()}
		})
		equal(t, "HasKeyPair", true)(s.HasKeyPair(t.Context(), pair.Thumbprint()))
	}
}

func TestDueIsOrdered(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	at := func(i int64) time.Time { return time.Unix(i, 500).UTC() }
	set := func(app string, kind rotator.WakeKind, times ...int64) {
		mustChange(t, s, app, func(r *rotator.Records) {
			if r.App == nil {
				r.App = newApp(app)
			}
			r.Wakes = nil
			for _, i := range times {
				r.Wakes = append(r.Wakes, rotator.Wake{Kind: kind, App: app, At: at(i)})
			}
		})
	}
	set("b", rotator.WakeStart, 300)
	set("a", rotator.WakeStart, 300, -5)
	set("c", rotator.WakeStart, 1<<35)
	set("d", rotator.WakeForget, 1)
	mustChange(t, s, "e", func(r *rotator.Records) {
		r.App, r.Wakes = newApp("e"), []rotator.Wake{{Kind: rotator.WakeStart, App: "e"}} // the zero time
	})
	due := func(until time.Time, limit int) []string {
		wakes, err := s.Due(ctx, rotator.WakeStart, until, limit)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range wakes {
			got = append(got, fmt.Sprintf("%s %d", w.App, w.At.Unix()))
		}
		return got
	}
	zero := fmt.Sprintf("e %d", time.Time{}.Unix())
	for _, test := range []struct {
		until time.Time
		limit int
		want  []string
	}{
		{at(300), 0, []string{zero, "a -5", "a 300", "b 300"}},
		{at(300).Add(-1), 0, []string{zero, "a -5"}},
		{at(300), 3, []string{zero, "a -5", "a 300"}},
		{at(1 << 36), 0, []string{zero, "a -5", "a 300", "b 300", fmt.Sprint("c ", 1<<35)}},
		{at(-1 << 36), 0, nil},
	} {
		if got := due(test.until, test.limit); !slices.Equal(got, test.want) {
			t.Errorf("Due(%v, %d) = %v, want %v", test.until, test.limit, got, test.want)
		}
	}
	set("a", rotator.WakeStart, 400)
	set("e", rotator.WakeStart)
	if got, want := due(at(500), 0), []string{"b 300", "a 400"}; !slices.Equal(got, want) {
		t.Errorf("after replacing: %v, want %v", got, want)
	}
	next, ok, err := s.NextDue(ctx, rotator.WakeStart)
	if want := (rotator.Wake{Kind: rotator.WakeStart, App: "b", At: at(300)}); next != want || !ok || err != nil {
		t.Errorf("NextDue = %v, %v, %v, want %v", next, ok, err, want)
	}
	if _, ok, err := s.NextDue(ctx, rotator.WakeOpen); ok || err != nil {
		t.Errorf("NextDue of another kind = %v, %v", ok, err)
	}
	mustChange(t, s, "a", func(r *rotator.Records) { r.App.Owner = "wakes left alone" })
	if got, want := due(at(500), 0), []string{"b 300", "a 400"}; !slices.Equal(got, want) {
		t.Errorf("after a change that left them alone: %v, want %v", got, want)
	}
}

func TestRotationsNewestFirst(t *testing.T) {
	s, ctx := newStore(t), t.Context()
	start := func(app, id string, at int64) {
		mustChange(t, s, app, func(r *rotator.Records) {
			if r.App == nil {
				r.App = newApp(app)
			}
			r.Rotation = &rotator.Rotation{ID: id, App: app, Phase: rotator.PhaseRetired, StartedAt: time.Unix(at, 0).UTC()}
		})
	}
	start("a", "r1", 100)
	start("b", "r2", 150)
	start("a", "r3", 50)
	start("a", "r4", 200)
	start("a", "r1", 300) // the clock was wrong
	ids := func(app string, limit int) string {
		rotations, err := s.Rotations(ctx, app, limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, r := range rotations {
			ids = append(ids, r.ID)
		}
		return strings.Join(ids, " ")
	}
	for _, test := range []struct {
		app   string
		limit int
		want  string
	}{
		{"a", 0, "r1 r4 r3"}, {"a", 2, "r1 r4"}, {"b", 0, "r2"}, {"c", 0, ""}, {"", 0, "r1 r4 r2 r3"}, {"", 1, "r1"},
	} {
		if got := ids(test.app, test.limit); got != test.want {
			t.Errorf("Rotations(%q, %d) = %s, want %s", test.app, test.limit, got, test.want)
		}
	}
}

func TestHistoryHasALimit(t *testing.T) {
	p := newPlace(t)
	p.NoSync = true
	s := p.open(t)
	for i := range 230 {
		err := s.Change(t.Context(), "a", func(r *rotator.Records) error {
			r.App = newApp("a")
			r.Rotation = &rotator.Rotation{ID: fmt.Sprint(i), App: "a", Phase: rotator.PhaseRetired, StartedAt: time.Unix(int64(i), 0)}
			if i == 10 {
				r.Rotation.Phase = rotator.PhaseUploaded
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rotations, err := s.Rotations(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(rotations); n != 201 || rotations[n-1].ID != "10" || rotations[n-2].ID != "30" {
		t.Errorf("%d rotations stay, the oldest %s and %s; want 200 and the open one", n, rotations[n-1].ID, rotations[n-2].ID)
	}
	mustBeSound(t, s)
}

func TestOutbox(t *testing.T) {
	p := newPlace(t)
	s, ctx := p.open(t), t.Context()
	add := func(ids ...string) {
		mustChange(t, s, "", func(r *rotator.Records) {
			for _, id := range ids {
				r.Events = append(r.Events, rotator.Event{ID: id, Summary: "event " + id})
			}
		})
	}
	ids := func(after uint64, limit int) string {
		events, err := s.EventsAfter(ctx, after, limit)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, e := range events {
			ids = append(ids, fmt.Sprintf("%d:%s", e.Number, e.Event.ID))
		}
		return strings.Join(ids, " ")
	}
	done := func(channel string, number uint64) {
		state, err := s.Channel(ctx, channel)
		if err != nil {
			t.Fatal(err)
		}
		state.Done = number
		if err := s.SaveChannel(ctx, state); err != nil {
			t.Fatal(err)
		}
	}
	set := func(names ...string) []rotator.ChannelState {
		removed, err := s.SetChannels(ctx, names)
		if err != nil {
			t.Fatal(err)
		}
		return removed
	}
	add("z", "b", "c")
	add("b", "a")
	if got := ids(0, 0); got != "1:z 2:b 3:c 4:a" {
		t.Errorf("events %s, want z b c a: in order, each once", got)
	}
	set("log", "mail")
	done("log", 4)
	done("mail", 2)
	if got := ids(0, 0); got != "3:c 4:a" {
		t.Errorf("events %s, want what mail still needs", got)
	}
	s.Close()
	s = p.open(t)
	if got := ids(3, 2); got != "4:a" {
		t.Errorf("events after 3: %s, want a", got)
	}
	// b was sent, so that it may come again; a waits.
	add("", "b", "a")
	if got, want := ids(0, 0), "3:c 4:a 5:"+s.ID()+"-5 6:b"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	// What waited for a channel that is gone is dropped, but for one that came
	// at the same time.
	removed := set("log", "chat")
	if len(removed) != 1 || removed[0].Name != "mail" || removed[0].Events != 4 {
		t.Errorf("removed %+v, want mail with 4 events", removed)
	}
	if state, err := s.Channel(ctx, "chat"); err != nil || state.Done != 2 {
		t.Errorf("a new channel begins after %d (%v), want 2: the oldest that waits", state.Done, err)
	}
	if err := s.SaveChannel(ctx, rotator.ChannelState{Name: "mail", Done: 6}); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("saving a channel that is gone: %v, want not found", err)
	}
	set("log")
	if got := ids(0, 0); !strings.HasPrefix(got, "5:") {
		t.Errorf("events %s, want what the log still needs", got)
	}
	if states, err := s.Channels(ctx); err != nil || len(states) != 1 || states[0].Name != "log" {
		t.Errorf("channels %+v (%v), want the log only", states, err)
	}
	mustBeSound(t, s)
}

func TestAudit(t *testing.T) {
	p := newPlace(t)
	p.NoSync = true
	s, ctx := p.open(t), t.Context()
	for i := range 600 {
		err := s.Change(ctx, "", func(r *rotator.Records) error {
			r.Audit = []rotator.AuditEntry{{At: time.Unix(int64(i), 0), What: fmt.Sprint(i), App: []string{"a", "b"}[i%2]}}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			mustBeSound(t, s)
		}
	}
	count := func(app string, since int64) (n int) {
		last := -1
		for entry, err := range s.Audit(ctx, app, time.Unix(since, 0)) {
			if err != nil {
				t.Fatal(err)
			}
			if at := int(entry.At.Unix()); at <= last {
				t.Errorf("entry %d comes after %d", at, last)
			} else {
				last = at
			}
			n++
		}
		return n
	}
	if all, ofA, late := count("", 0), count("a", 0), count("b", 500); all != 600 || ofA != 300 || late != 50 {
		t.Errorf("%d entries, %d of a, %d late ones of b; want 600, 300, 50", all, ofA, late)
	}
	for range s.Audit(ctx, "", time.Time{}) {
		break // stopping early is allowed
	}
	equal(t, "VerifyAudit", 600)(s.VerifyAudit(ctx))

	// Somebody who can write checksums changes the trail.
	key, end := "\x00\x00\x00\x00\x00\x00\x01\x00", "\x00\x00\x00\x00\x00\x00\x02\x58"
	for _, test := range []struct {
		name, key, from, to, want string
	}{
		{"a line changed", key, `"what":"255"`, `"what":"999"`, "line 257"},
		{"a line removed", key, "", "", "line 256"},
		{"the last line changed", end, `"what":"599"`, `"what":"999"`, "line 600"},
		{"the last line removed", end, "", "", "line 599"},
	} {
		line, err := s.Get(ctx, "audit", test.key)
		if err != nil {
			t.Fatal(err)
		}
		if test.from == "" {
			err = s.Delete(ctx, "audit", test.key)
		} else {
			err = s.Put(ctx, "audit", test.key, []byte(strings.Replace(string(line), test.from, test.to, 1)))
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.VerifyAudit(ctx); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want ErrCorrupt at %s", test.name, err, test.want)
		}
		if err := s.Put(ctx, "audit", test.key, line); err != nil {
			t.Fatal(err)
		}
	}
	mustBeSound(t, s)
}

func TestWorksInABubble(t *testing.T) {
	p := newPlace(t)
	synctest.Test(t, func(t *testing.T) {
		s := p.open(t)
		time.Sleep(24 * time.Hour)
		mustChange(t, s, "app-1", func(r *rotator.Records) { r.App = newApp("app-1"); r.App.AddedAt = time.Now() })
		if _, err := store.Open(t.Context(), p.Options); err == nil {
			t.Error("opened twice")
		}
		s.Close()
	})
}
