package notify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// answer is a sender that says what it is told to.
type answer struct {
	mu       sync.Mutex
	err      error
	messages []notify.Message
	tries    int
	hang     bool
}

func (a *answer) Send(ctx context.Context, m notify.Message) (string, error) {
	a.mu.Lock()
	a.tries++
	hang, err := a.hang, a.err
	a.mu.Unlock()
	if hang {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if err != nil {
		if failure, ok := errors.AsType[*notify.Error](err); !ok || len(failure.Refused) == 0 {
			return "", err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.messages = append(a.messages, m)
	return "taken", err
}

func (a *answer) set(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
}

func (a *answer) tried() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tries
}

// kinds lists what each message told, shortly.
func (a *answer) kinds() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []string
	for _, m := range a.messages {
		all = append(all, fmt.Sprintf("%d×%s", len(m.Events), m.Events[0].Kind))
	}
	return strings.Join(all, " ")
}

// put queues n events of a kind.
func put(t *testing.T, db *store.Store, n int, change func(i int, e *rotator.Event)) {
	t.Helper()
	err := db.Change(t.Context(), "", func(rec *rotator.Records) error {
		for i := range n {
			e := rotator.Event{Kind: rotator.EventRotationFailed, Severity: rotator.SeverityWarning, App: fmt.Sprintf("app-%d", i), At: time.Now()}
			if change != nil {
				change(i, &e)
			}
			rec.Events = append(rec.Events, e)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// working runs a worker in a bubble and stops it.
func working(t *testing.T, db *store.Store, do func(), channels ...notify.Channel) {
	t.Helper()
	w := notify.Worker{Outbox: db, Channels: channels}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	do()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStorm tells of a thousand apps in one message, although they fail over some
// minutes, and of their recovery in one more.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, a := outbox(t, 0), &answer{}
		working(t, db, func() {
			for i := range 100 {
				put(t, db, 10, func(j int, e *rotator.Event) { e.App = fmt.Sprintf("app-%d-%d", i, j) })
				time.Sleep(4 * time.Second)
			}
			time.Sleep(time.Hour)
			put(t, db, 1000, func(_ int, e *rotator.Event) { e.Kind, e.Severity = rotator.EventRecovered, rotator.SeverityInfo })
			time.Sleep(time.Hour)
		}, notify.Channel{Name: "a", Sender: a})
		if got := a.kinds(); got != "1000×rotation_failed 1000×recovered" {
			t.Errorf("messages: %s; want one of the storm and one of its end", got)
		}
	})
}

// TestChannelsApart has one channel hang for ever: the other gets everything soon.
func TestChannelsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, bad, good := outbox(t, 0), &answer{hang: true}, &answer{}
		working(t, db, func() {
			put(t, db, 1, nil)
			time.Sleep(70 * time.Second)
			synctest.Wait()
			if got := good.kinds(); got != "1×rotation_failed" {
				t.Errorf("the good channel got %q while the other hangs", got)
			}
		}, notify.Channel{Name: "bad", Sender: bad}, notify.Channel{Name: "good", Sender: good})
	})
}

// TestRefusedForGood tells the others at once, uses the fallback, and keeps order.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, bad, other := outbox(t, 0), &answer{err: &notify.Error{Permanent: true, Err: errors.New("404")}}, &answer{}
		working(t, db, func() {
			put(t, db, 2, nil)
			time.Sleep(5 * time.Minute)
			put(t, db, 1, func(_ int, e *rotator.Event) { e.Kind = rotator.EventExpiring })
			time.Sleep(5 * time.Minute)
			bad.set(nil)
			time.Sleep(2 * time.Hour)
			put(t, db, 1, func(_ int, e *rotator.Event) { e.Kind = rotator.EventRotated })
			time.Sleep(time.Hour)
		}, notify.Channel{Name: "bad", Sender: bad, Fallback: "other"},
			notify.Channel{Name: "other", Sender: other, Filter: notify.Filter{Kinds: []rotator.EventKind{rotator.EventChannelFailing, rotator.EventRecovered}}})
		if got := other.kinds(); got != "2×rotation_failed 1×channel_failing 1×expiring 1×recovered" {
			t.Errorf("the fallback got %q", got)
		}
		if got := bad.kinds(); got != "1×rotated" {
			t.Errorf("the mended channel got %q, want only what came after", got)
		}
	})
}

// TestRetryAfter waits as long as the server asks, and a test message ends the wait.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, a := outbox(t, 0), &answer{err: &notify.Error{RetryAfter: 40 * time.Minute, Err: errors.New("429")}}
		working(t, db, func() {
			put(t, db, 1, nil)
			time.Sleep(35 * time.Minute)
			if n := a.tried(); n != 1 {
				t.Errorf("%d tries within what the server asked for, want 1", n)
			}
			a.set(nil)
			time.Sleep(10 * time.Minute)
		}, notify.Channel{Name: "a", Sender: a})
		if got := a.kinds(); got != "1×rotation_failed" {
			t.Errorf("messages: %s", got)
		}
	})
}

// TestSomeRefused sends once although one of three recipients is refused, and
// tells of it.
func TestSomeRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, other := outbox(t, 0), &answer{}
		a := &answer{err: &notify.Error{Refused: []string{"c@contoso.example"}, Err: errors.New("550 for one")}}
		working(t, db, func() {
			put(t, db, 1, nil)
			time.Sleep(time.Hour)
		}, notify.Channel{Name: "a", Sender: a}, notify.Channel{Name: "b", Sender: other, Filter: notify.Filter{Kinds: []rotator.EventKind{rotator.EventChannelFailing}}})
		if a.kinds() != "1×rotation_failed" || other.kinds() != "1×channel_failing" {
			t.Errorf("sent %q, told %q", a.kinds(), other.kinds())
		}
	})
}

// TestRefusedApart has two channels that each refuse one recipient: each is told of
// once on the other, and not of every message that tells of the other's.
func TestRefusedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := outbox(t, 0)
		a := &answer{err: &notify.Error{Refused: []string{"a@contoso.example"}, Err: errors.New("550 for a")}}
		b := &answer{err: &notify.Error{Refused: []string{"b@contoso.example"}, Err: errors.New("550 for b")}}
		working(t, db, func() {
			put(t, db, 1, nil)
			time.Sleep(24 * time.Hour)
			a.set(&notify.Error{Refused: []string{"a@contoso.example", "new@contoso.example"}, Err: errors.New("550 for two")})
			put(t, db, 1, nil)
			time.Sleep(6 * time.Hour)
		}, notify.Channel{Name: "a", Sender: a}, notify.Channel{Name: "b", Sender: b})
		for name, want := range map[string]struct {
			channel *answer
			told    int
		}{"a": {a, 1}, "b": {b, 2}} {
			events := map[rotator.EventKind]int{}
			for _, m := range want.channel.messages {
				for _, e := range m.Events {
					events[e.Kind]++
				}
			}
			if events[rotator.EventRotationFailed] != 2 || events[rotator.EventChannelFailing] != want.told {
				t.Errorf("channel %s got %v, want both failures and each refused address of the other once", name, events)
			}
		}
	})
}

// TestGivenUp gives up what was refused for a day, and not what came later; a flush
// says so.
func TestGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, bad := outbox(t, 0), &answer{err: &notify.Error{Permanent: true, Err: errors.New("404")}}
		channel := notify.Channel{Name: "bad", Sender: bad}
		working(t, db, func() {
			put(t, db, 1, nil)
			time.Sleep(30 * time.Hour)
			put(t, db, 1, nil)
			time.Sleep(20 * time.Hour)
		}, channel)
		state, err := db.Channel(t.Context(), "bad")
		if err != nil {
			t.Fatal(err)
		}
		if state.GivenUp != 1 {
			t.Errorf("%d events given up, want the first: the second was refused for 20 h only", state.GivenUp)
		}
		time.Sleep(5 * time.Hour)
		put(t, db, 3, nil)
		w := notify.Worker{Outbox: db, Channels: []notify.Channel{channel}}
		if err := w.Flush(t.Context()); err == nil {
			t.Error("a flush that gave a message up says nothing")
		}
		if state, err = db.Channel(t.Context(), "bad"); err != nil || state.GivenUp != 2 {
			t.Errorf("%d events given up (%v), want 2: those that were just queued wait", state.GivenUp, err)
		}
		bad.set(nil)
		if err := w.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if got := bad.kinds(); got != "3×rotation_failed" {
			t.Errorf("after it was mended the channel got %q", got)
		}
	})
}

// TestDirect sends past the outbox: what no channel took is tried again the next
// time, what one took is not told again for hours.
func TestDirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := &answer{err: errors.New("down")}, &answer{err: errors.New("down")}
		w := notify.Worker{Channels: []notify.Channel{{Name: "a", Sender: a}, {Name: "b", Sender: b}}}
		full := rotator.Event{ID: "1", Kind: rotator.EventStoreFailing, Severity: rotator.SeverityCritical, At: time.Now()}
		w.Direct(t.Context(), full)
		b.set(nil)
		w.Direct(t.Context(), full)
		w.Direct(t.Context(), full)
		if a.tries != 2 || b.kinds() != "1×store_failing" {
			t.Errorf("%d tries on the channel that is down, want 2; the other got %q, want it once", a.tries, b.kinds())
		}
		time.Sleep(7 * time.Hour)
		w.Direct(t.Context(), full)
		if b.kinds() != "1×store_failing 1×store_failing" {
			t.Errorf("seven hours later: %q", b.kinds())
		}
	})
}

// TestOwners sends what apps' owners should get to them, and the rest to the
// channel's own.
func TestOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, a := outbox(t, 0), &answer{}
		working(t, db, func() {
			put(t, db, 4, func(i int, e *rotator.Event) {
				e.Owner = []string{"", "team@contoso.example", "the backup team", "Team <team@contoso.example>"}[i]
			})
			time.Sleep(time.Hour)
		}, notify.Channel{Name: "a", Sender: a, ByOwner: true})
		if len(a.messages) != 2 || len(a.messages[0].To) != 0 || len(a.messages[0].Events) != 2 ||
			!slices.Equal(a.messages[1].To, []string{"team@contoso.example"}) || len(a.messages[1].Events) != 2 {
			t.Errorf("messages %+v, want one to the channel's own and one to the team", a.messages)
		}
	})
}

// crasher dies before or after its at-th effect.
type crasher struct {
	n, at int
	after bool
	// saw are the effects so far.
	saw []string
}

var errCrash = errors.New("crash")

func (c *crasher) do(what string, effect func() error) error {
	c.saw = append(c.saw, what)
	if c.n++; c.n != c.at {
		if c.n > c.at && c.at > 0 {
			return errCrash // dead
		}
		return effect()
	}
	if c.after {
		if err := effect(); err != nil {
			return err
		}
	}
	return errCrash
}

// crashing is an outbox and a sender whose effects may be the last.
type crashing struct {
	notify.Outbox
	*crasher
	to notify.Sender
}

func (c crashing) SaveChannel(ctx context.Context, state rotator.ChannelState, events ...rotator.Event) error {
	return c.do("save", func() error { return c.Outbox.SaveChannel(ctx, state, events...) })
}

func (c crashing) SetChannels(ctx context.Context, names []string) (removed []rotator.ChannelState, err error) {
	err = c.do("set", func() error { removed, err = c.Outbox.SetChannels(ctx, names); return err })
	return removed, err
}

func (c crashing) Send(ctx context.Context, m notify.Message) (said string, err error) {
	err = c.do("send", func() error { said, err = c.to.Send(ctx, m); return err })
	return said, err
}

// TestCrashTable dies before and after every effect of sending, goes on, and looks
// that nothing is lost, that order holds, and that a message comes twice only where
// its answer was lost, as the same message.
func TestCrashTable(t *testing.T) {
	for at := 1; ; at++ {
		reached := false
		for _, after := range []bool{false, true} {
			db, a := outbox(t, 0), &answer{}
			put(t, db, 3, func(i int, e *rotator.Event) {
				if i == 1 {
					e.Owner = "team@contoso.example"
				}
			})
			c := &crasher{at: at, after: after}
			dying := crashing{db, c, a}
			first := notify.Worker{Outbox: dying, Channels: []notify.Channel{{Name: "a", Sender: dying, ByOwner: true}}}
			_ = first.Flush(t.Context())
			reached = reached || c.n >= at
			put(t, db, 1, func(_ int, e *rotator.Event) { e.App = "later" })
			second := notify.Worker{Outbox: db, Channels: []notify.Channel{{Name: "a", Sender: a, ByOwner: true}}}
			if err := second.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			seen := map[string]int{}
			var order []string
			for _, m := range a.messages {
				if seen[m.ID]++; seen[m.ID] == 1 {
					for _, e := range m.Events {
						order = append(order, e.App)
					}
				}
			}
			slices.Sort(order)
			if got := strings.Join(order, " "); got != "app-0 app-1 app-2 later" {
				t.Errorf("died at effect %d, after it: %v: events %s; each must come, under one ID", at, after, got)
			}
			// Its answer is lost if it was sent and that was not recorded.
			lost := false
			if at <= len(c.saw) {
				lost = c.saw[at-1] == "send" && after || c.saw[at-1] == "save" && !after && at > 1 && c.saw[at-2] == "send"
			}
			for id, n := range seen {
				if n > 2 || n == 2 && !lost {
					t.Errorf("died at effect %d, after it: %v: message %s came %d times", at, after, id, n)
				}
			}
		}
		if !reached {
			if at < 5 {
				t.Fatalf("only %d effects", at)
			}
			return
		}
	}
}

// TestDrain brings ten thousand events in order, a bounded number at a time.
func TestDrain(t *testing.T) {
	db, a := outbox(t, 0), &answer{}
	put(t, db, 10000, nil)
	w := notify.Worker{Outbox: db, Channels: []notify.Channel{{Name: "a", Sender: a}}}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range a.messages {
		if len(m.Events) > 2000 {
			t.Errorf("a message of %d events", len(m.Events))
		}
		for _, e := range m.Events {
			if e.App != fmt.Sprintf("app-%d", n) {
				t.Fatalf("event %d is about %s", n, e.App)
			}
			n++
		}
	}
	if left, err := db.EventsAfter(t.Context(), 0, 1); n != 10000 || err != nil || len(left) != 0 {
		t.Errorf("%d of 10000 sent, left %d (%v)", n, len(left), err)
	}
}

// TestRemovedChannel drops what waited for a channel that is gone and sends the rest.
func TestRemovedChannel(t *testing.T) {
	db, a := outbox(t, 0), &answer{}
	down := &answer{err: errors.New("down")}
	put(t, db, 2, nil)
	first := notify.Worker{Outbox: db, Channels: []notify.Channel{{Name: "gone", Sender: down}, {Name: "a", Sender: a}}}
	if err := first.Flush(t.Context()); err == nil {
		t.Fatal("a channel that is down took everything")
	}
	second := notify.Worker{Outbox: db, Channels: []notify.Channel{{Name: "a", Sender: a}}}
	if err := second.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, err := db.EventsAfter(t.Context(), 0, 0); err != nil || len(left) != 0 || a.kinds() != "2×rotation_failed" {
		t.Errorf("left %d (%v), sent %q", len(left), err, a.kinds())
	}
}
