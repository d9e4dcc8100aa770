package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Worker brings the events of an outbox to channels.
type Worker struct {
	Outbox   Outbox
	Channels []Channel
	// Every is how often the outbox is looked at. Zero: 2 s.
	Every time.Duration
	// Timeout of one attempt to send. Zero: 2 min.
	Timeout time.Duration
	// Logger is told what could not be sent. Nil: nobody is.
	Logger *slog.Logger

	mu sync.Mutex
	// slots admit one message at a time to a channel.
	slots map[string]chan struct{}
	// direct are when events were sent past the outbox, by kind and app.
	direct map[string]time.Time
	// eager are channels that took a test message: they need not wait.
	eager map[string]bool
	// divertAt is when a channel's fallback may be tried again.
	divertAt map[string]time.Time
}

// maxGroup is how many events one message may tell of: a storm of a thousand
// apps fits in. It also bounds what a channel holds in memory.
const maxGroup = 2000

const (
	// fallbackAfter is how long a channel may fail before its fallback takes over
	// and the others are told.
	fallbackAfter = 30 * time.Minute
	// refusedRetry is how long to wait after a refusal for good: a person must
	// mend the channel, and the daemon's restart tries at once.
	refusedRetry = time.Hour
	// giveUpAfter is how long a channel without fallback may refuse a message for
	// good before the next one gets its turn.
	giveUpAfter = 24 * time.Hour
	// retellRefused is how long a recipient that is refused is told of once.
	retellRefused = 7 * 24 * time.Hour
	// longestRetryAfter bounds what a server may ask for.
	longestRetryAfter = time.Hour
	// directEvery is how often the same is told past the outbox.
	directEvery = 6 * time.Hour
)

// backoff returns the pause after the nth failure in a row: 10 s, 30 s, 1, 2, 5,
// 10, 15 minutes. spread is in [-1, 1) and makes ±20 %.
func backoff(attempts int, spread float64) time.Duration {
	steps := [...]time.Duration{
		10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute,
		5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
	}
	pause := steps[min(max(attempts, 1), len(steps))-1]
	return pause + time.Duration(float64(pause)*spread/5)
}

// Run sends events until ctx is done, then returns nil. What is not sent stays in
// the outbox.
func (w *Worker) Run(ctx context.Context) error {
	for {
		err := w.prepare(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // stopped before it began
		}
		w.log().ErrorContext(ctx, "alerts wait: the outbox cannot be used", "err", err)
		rest(ctx, time.Minute)
	}
	var work sync.WaitGroup
	for i := range w.Channels {
		work.Go(func() { w.serve(ctx, &w.Channels[i]) })
	}
	work.Wait()
	return nil
}

// rest waits, or until ctx is done.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Flush sends what waits, without waiting for more or for the time of the next
// try, and returns what could not be sent.
func (w *Worker) Flush(ctx context.Context) error {
	if err := w.prepare(ctx); err != nil {
		return err
	}
	failed := make([]error, len(w.Channels))
	// The second turn tells on those that work what the first found out about the
	// others.
	for range 2 {
		var work sync.WaitGroup
		for i := range w.Channels {
			if failed[i] == nil {
				work.Go(func() { failed[i] = w.flush(ctx, &w.Channels[i]) })
			}
		}
		work.Wait()
	}
	return errors.Join(failed...)
}

// flush sends what waits for one channel. A message that is given up on the way is
// a failure: it did not arrive.
func (w *Worker) flush(ctx context.Context, c *Channel) error {
	before, err := w.Outbox.Channel(ctx, c.Name)
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	if err := w.drain(ctx, c, true); err != nil {
		return err
	}
	after, err := w.Outbox.Channel(ctx, c.Name)
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	if lost := after.GivenUp - before.GivenUp; lost > 0 {
		return fmt.Errorf("channel %s: %d events given up, it refused them for a day: %s", c.Name, lost, after.LastError)
	}
	return nil
}

// prepare names the channels to the outbox. At a start every channel is tried at
// once, for a person may have mended it, unless its server asked for time.
func (w *Worker) prepare(ctx context.Context) error {
	names := make([]string, len(w.Channels))
	for i, c := range w.Channels {
		names[i] = c.Name
	}
	removed, err := w.Outbox.SetChannels(ctx, names)
	if err != nil {
		return fmt.Errorf("prepare the outbox: %w", err)
	}
	for _, state := range removed {
		w.log().WarnContext(ctx, "a channel was removed from the configuration; what waited for it alone is dropped",
			"channel", state.Name, "events", state.Events)
	}
	for _, name := range names {
		state, err := w.Outbox.Channel(ctx, name)
		if err != nil {
			return fmt.Errorf("prepare the outbox: %w", err)
		}
		if state.Permanent && !state.RetryAt.IsZero() {
			state.RetryAt = time.Time{}
			if err := w.Outbox.SaveChannel(ctx, state); err != nil {
				return fmt.Errorf("prepare the outbox: %w", err)
			}
		}
	}
	return nil
}

func (w *Worker) log() *slog.Logger {
	if w.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return w.Logger
}

// serve brings events to one channel until ctx is done.
func (w *Worker) serve(ctx context.Context, c *Channel) {
	every := w.Every
	if every <= 0 {
		every = 2 * time.Second
	}
	told := ""
	for ctx.Err() == nil {
		err := w.drain(ctx, c, false)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err == nil:
			told = ""
		case err.Error() != told:
			told = err.Error()
			w.log().ErrorContext(ctx, "events wait in the outbox", "channel", c.Name, "err", err)
		}
		rest(ctx, every)
	}
}

// drain sends what is ready, or with now everything. The error is that of the last attempt; the state keeps it too.
func (w *Worker) drain(ctx context.Context, c *Channel, now bool) error {
	for {
		state, err := w.Outbox.Channel(ctx, c.Name)
		if err != nil {
			return fmt.Errorf("read the outbox: %w", err)
		}
		if w.isEager(c.Name) {
			state.RetryAt = time.Time{}
		}
		if !now && isWaiting(state, time.Now()) && !w.mayDivert(c, &state) {
			return errors.New(state.LastError)
		}
		more, err := w.next(ctx, c, &state, now)
		if err != nil || !more {
			return err
		}
	}
}

// isWaiting reports whether the next try's time has not come. A clock that was
// set back does not prolong it beyond what is ever asked.
func isWaiting(state rotator.ChannelState, now time.Time) bool {
	wait := state.RetryAt.Sub(now)
	return wait > 0 && wait <= 2*longestRetryAfter
}

// next sends one group of events. It returns false if none is ready.
func (w *Worker) next(ctx context.Context, c *Channel, state *rotator.ChannelState, now bool) (bool, error) {
	queued, err := w.Outbox.EventsAfter(ctx, state.Done, maxGroup)
	if err != nil {
		return false, fmt.Errorf("read the outbox: %w", err)
	}
	underWay := state.Through > state.Done
	if underWay {
		queued = slices.DeleteFunc(queued, func(q rotator.QueuedEvent) bool { return q.Number > state.Through })
	}
	if len(queued) == 0 {
		return false, nil
	}
	var events []rotator.Event
	for _, q := range queued {
		if c.wants(q.Event) {
			events = append(events, q.Event)
		}
	}
	last := queued[len(queued)-1].Number
	switch {
	case len(events) == 0:
		state.Done, state.Through, state.Sent = last, 0, nil
		return true, w.save(ctx, *state)
	case underWay || c.AtOnce:
	case !now && len(queued) < maxGroup && time.Now().Before(readyAt(events, time.Now())):
		return false, nil
	}
	if !underWay && !c.AtOnce {
		// What is recorded before it is sent is the same after a crash.
		state.Through, state.Sent = last, nil
		if err := w.save(ctx, *state); err != nil {
			return false, err
		}
	}
	return true, w.send(ctx, c, state, events, last)
}

// send sends the messages of one group, each recorded as soon as it was taken.
func (w *Worker) send(ctx context.Context, c *Channel, state *rotator.ChannelState, events []rotator.Event, last uint64) error {
	messages := c.split(events, events[len(events)-1].At)
	for i, m := range messages {
		if slices.Contains(state.Sent, m.ID) {
			continue
		}
		told, err := w.bring(ctx, c, state, m)
		if err != nil {
			return err
		}
		state.RefusedSince = time.Time{}
		if state.Sent = append(state.Sent, m.ID); i == len(messages)-1 {
			state.Done, state.Through, state.Sent = last, 0, nil
		}
		if err := w.save(ctx, *state, told...); err != nil {
			return err
		}
	}
	if state.Done == last {
		return nil
	}
	state.Done, state.Through, state.Sent = last, 0, nil // all parts had been sent before
	return w.save(ctx, *state)
}

// bring brings one message to the channel, or to its fallback. It returns nil and
// what is to be told about it when the message is done with.
func (w *Worker) bring(ctx context.Context, c *Channel, state *rotator.ChannelState, m Message) ([]rotator.Event, error) {
	if isWaiting(*state, time.Now()) && w.mayDivert(c, state) {
		if err := w.divert(ctx, c, state, m); err != nil {
			return nil, err
		}
		return tellFailing(c, state, state.LastError), nil
	}
	answer, err := w.attempt(ctx, c, m)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	refused := refusedOf(err)
	if err != nil && len(refused) == 0 {
		return nil, w.failed(ctx, c, state, m, err)
	}
	told := recovered(c, state)
	if len(refused) > 0 {
		w.log().WarnContext(ctx, "some recipients were refused", "channel", c.Name, "recipients", refused, "err", err)
		if now := time.Now().UTC(); tellRefused(state, refused, now) {
			told = append(told, channelEvent(c.Name, rotator.EventChannelFailing, rotator.SeverityWarning, now,
				fmt.Sprintf("the channel %s delivered to some only: %v", c.Name, err), "correct these addresses"))
		}
		state.LastError = err.Error()
	}
	state.LastSentAt, state.LastAnswer = time.Now().UTC(), answer
	state.Messages++
	state.Events += uint64(len(m.Events))
	return told, nil
}

// tellRefused reports whether one of the refused recipients was not told of within
// a week, and notes that it is now. Without it two channels with an address of this
// kind each would tell of each other without end.
func tellRefused(state *rotator.ChannelState, refused []string, now time.Time) bool {
	told := map[string]time.Time{}
	for recipient, at := range state.RefusedTold {
		if now.Sub(at) < retellRefused {
			told[recipient] = at
		}
	}
	tell := false
	for _, recipient := range refused {
		if _, known := told[recipient]; !known {
			told[recipient], tell = now, true
		}
	}
	state.RefusedTold = told
	return tell
}

// attempt sends one message once, within the time for it.
func (w *Worker) attempt(ctx context.Context, c *Channel, m Message) (string, error) {
	slot := w.slot(c.Name)
	select {
	case slot <- struct{}{}:
		defer func() { <-slot }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	timeout := w.Timeout
	if timeout <= 0 {
		timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return c.Sender.Send(ctx, m)
}

func (w *Worker) slot(channel string) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slots == nil {
		w.slots = map[string]chan struct{}{}
	}
	if w.slots[channel] == nil {
		w.slots[channel] = make(chan struct{}, 1)
	}
	return w.slots[channel]
}

// refusedOf returns the recipients that were refused while others got the message.
func refusedOf(err error) []string {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.Refused
	}
	return nil
}

// recovered notes that the channel took a message, and tells it where its failure
// was told.
func recovered(c *Channel, state *rotator.ChannelState) []rotator.Event {
	var told []rotator.Event
	if !state.ToldAt.IsZero() {
		told = append(told, channelEvent(c.Name, rotator.EventRecovered, rotator.SeverityInfo, time.Now().UTC(),
			fmt.Sprintf("the channel %s takes messages again; it had failed since %s", c.Name, state.FailingSince.Format(time.RFC3339)), ""))
	}
	state.FailingSince, state.Attempts, state.Permanent = time.Time{}, 0, false
	state.RetryAt, state.ToldAt, state.LastError = time.Time{}, time.Time{}, ""
	return told
}

// tellFailing tells the other channels, once, that this one fails: at once if that is
// for good, else after half an hour.
func tellFailing(c *Channel, state *rotator.ChannelState, why string) []rotator.Event {
	now := time.Now().UTC()
	if !state.ToldAt.IsZero() || !state.Permanent && now.Sub(state.FailingSince) < fallbackAfter {
		return nil
	}
	state.ToldAt = now
	return []rotator.Event{channelEvent(c.Name, rotator.EventChannelFailing, rotator.SeverityWarning, now,
		fmt.Sprintf("the channel %s has not taken messages since %s: %s", c.Name, state.FailingSince.Format(time.RFC3339), why),
		"mend it, then: rotate notify test "+c.Name)}
}

// failed notes that an attempt failed. It returns nil if the message is done with
// all the same: its fallback took it, or it was refused for too long.
func (w *Worker) failed(ctx context.Context, c *Channel, state *rotator.ChannelState, m Message, err error) error {
	now := time.Now().UTC()
	failure := fmt.Errorf("send %s about %s: %w", m.Events[0].Kind, about(m), err)
	if state.FailingSince.IsZero() {
		state.FailingSince = now
	}
	state.Attempts++
	state.LastError, state.Permanent = failure.Error(), !Temporary(err)
	pause := backoff(state.Attempts, 2*rand.Float64()-1) //nolint:gosec // spreads retries, keeps no secret
	if state.Permanent {
		pause = refusedRetry
		if state.RefusedSince.IsZero() {
			state.RefusedSince = now
		}
	}
	if asked := RetryAfter(err); asked > 0 {
		pause = max(pause, min(asked, longestRetryAfter))
	}
	state.RetryAt = now.Add(pause)
	told := tellFailing(c, state, err.Error())
	if err := w.save(ctx, *state, told...); err != nil {
		return errors.Join(failure, err)
	}
	switch {
	case w.mayDivert(c, state):
		if err := w.divert(ctx, c, state, m); err != nil {
			return errors.Join(failure, err)
		}
		return nil
	case state.Permanent && now.Sub(state.RefusedSince) >= giveUpAfter:
		state.GivenUp += uint64(len(m.Events))
		w.log().ErrorContext(ctx, "message given up: the channel refused it for a day", "channel", c.Name, "message_id", m.ID, "events", len(m.Events), "err", err)
		return nil
	}
	return failure
}

// mayDivert reports whether the channel's fallback may take a message now.
func (w *Worker) mayDivert(c *Channel, state *rotator.ChannelState) bool {
	if w.channel(c.Fallback) == nil || state.FailingSince.IsZero() {
		return false
	}
	if !state.Permanent && time.Since(state.FailingSince) < fallbackAfter {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return !time.Now().Before(w.divertAt[c.Name])
}

// divert sends a message through the channel's fallback.
func (w *Worker) divert(ctx context.Context, c *Channel, state *rotator.ChannelState, m Message) error {
	other := w.channel(c.Fallback)
	m.To = nil // they are this channel's
	_, err := w.attempt(ctx, other, m)
	if err == nil || len(refusedOf(err)) > 0 {
		state.Diverted += uint64(len(m.Events))
		return nil
	}
	w.mu.Lock()
	if w.divertAt == nil {
		w.divertAt = map[string]time.Time{}
	}
	w.divertAt[c.Name] = time.Now().Add(max(backoff(state.Attempts, 0), min(RetryAfter(err), longestRetryAfter)))
	w.mu.Unlock()
	return fmt.Errorf("%s is failing, and so is its fallback %s: %w", c.Name, other.Name, err)
}

func (w *Worker) channel(name string) *Channel {
	for i := range w.Channels {
		if name != "" && w.Channels[i].Name == name {
			return &w.Channels[i]
		}
	}
	return nil
}

// about names what a message is about, shortly.
func about(m Message) string {
	if len(m.Events) > 1 {
		return fmt.Sprintf("%d events", len(m.Events))
	}
	if m.Events[0].App == "" {
		return "the daemon"
	}
	return m.Events[0].App
}

func channelEvent(channel string, kind rotator.EventKind, severity rotator.Severity, now time.Time, summary, next string) rotator.Event {
	return rotator.Event{
		ID: fmt.Sprintf("%s-%s-%d", kind, channel, now.UnixNano()), Kind: kind, Severity: severity, At: now,
		Channel: channel, Summary: summary, Next: next,
	}
}

// saveTimeout bounds recording what was sent, which outlives a stop.
const saveTimeout = 15 * time.Second

// save records a channel's state even if ctx is done: what was sent must not be
// sent again.
func (w *Worker) save(ctx context.Context, state rotator.ChannelState, events ...rotator.Event) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := w.Outbox.SaveChannel(ctx, state, events...); err != nil {
		return fmt.Errorf("record what was sent: %w", err)
	}
	return nil
}

// Direct sends events at once on every channel that wants them, past the outbox
// and best effort: for the time when the store cannot be written. The same kind
// about the same app goes once in six hours. It blocks until all have answered.
func (w *Worker) Direct(ctx context.Context, events ...rotator.Event) {
	events = w.fresh(events)
	var work sync.WaitGroup
	for i := range w.Channels {
		c := &w.Channels[i]
		wanted := slices.DeleteFunc(slices.Clone(events), func(e rotator.Event) bool { return !c.wants(e) })
		if len(wanted) == 0 {
			continue
		}
		work.Go(func() {
			for _, m := range c.split(wanted, time.Now().UTC()) {
				_, err := w.attempt(ctx, c, m)
				if err == nil || len(refusedOf(err)) > 0 {
					w.sentDirectly(m.Events)
				} else if ctx.Err() == nil {
					w.log().ErrorContext(ctx, "event not sent past the outbox", "channel", c.Name, "err", err)
				}
			}
		})
	}
	work.Wait()
}

// fresh leaves out what was sent directly a short while ago.
func (w *Worker) fresh(events []rotator.Event) []rotator.Event {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.direct == nil || len(w.direct) > maxGroup {
		w.direct = map[string]time.Time{}
	}
	var out []rotator.Event
	for _, e := range events {
		if last, ok := w.direct[directKey(e)]; !ok || now.Sub(last) >= directEvery {
			out = append(out, e)
		}
	}
	return out
}

// sentDirectly notes what a channel took: where all are down, the next time tries
// again.
func (w *Worker) sentDirectly(events []rotator.Event) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		w.direct[directKey(e)] = now
	}
}

func directKey(e rotator.Event) string { return string(e.Kind) + "\x00" + e.App }

// Test sends a test message on one channel, or with an empty name on all, and
// returns what each server said. A channel that takes it is tried again with what
// waits. [rotator.ErrNotFound] if there is no such channel.
func (w *Worker) Test(ctx context.Context, name, by string) ([]rotator.ChannelTest, error) {
	now := time.Now().UTC()
	var chosen []*Channel
	for i := range w.Channels {
		if name == "" || w.Channels[i].Name == name {
			chosen = append(chosen, &w.Channels[i])
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("channel %s: %w", name, rotator.ErrNotFound)
	}
	results := make([]rotator.ChannelTest, len(chosen))
	var work sync.WaitGroup
	for i, c := range chosen {
		work.Go(func() {
			e := channelEvent("", rotator.EventTest, rotator.SeverityInfo, now, "this is a test of the channel "+c.Name+", asked for by "+by, "nothing is to be done")
			answer, err := w.attempt(ctx, c, Message{ID: idOfMessage(c.Name, "", []rotator.Event{e}), At: now, Events: []rotator.Event{e}})
			if err == nil {
				w.mu.Lock()
				if w.eager == nil {
					w.eager = map[string]bool{}
				}
				w.eager[c.Name] = true
				w.mu.Unlock()
			}
			results[i] = rotator.ChannelTest{Channel: c.Name, Answer: answer, Err: err}
		})
	}
	work.Wait()
	return results, nil
}

// isEager reports, once, whether the channel took a test message.
func (w *Worker) isEager(channel string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	eager := w.eager[channel]
	delete(w.eager, channel)
	return eager
}
