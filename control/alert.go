package control

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Notifier sends test messages.
type Notifier interface {
	// Test sends one on a channel, or with an empty name on all.
	Test(ctx context.Context, channel, by string) ([]rotator.ChannelTest, error)
}

// Outbox tells how far channels are.
type Outbox interface {
	Channels(ctx context.Context) ([]rotator.ChannelState, error)
	LastEvent(ctx context.Context) (uint64, error)
}

// Alerts are what lasts and was told, who is not told for now, and how the
// channels do.
type Alerts struct {
	Open     []Alert   `json:"open"`
	Snoozed  []Snooze  `json:"snoozed"`
	Channels []Channel `json:"channels"`
}

// Alert is a condition that lasts.
type Alert struct {
	// Event is the ID of the event that told of it last.
	Event    string `json:"event"`
	Kind     string `json:"kind"`
	Severity string `json:"severity"`
	// App and Tenant are null for an alert about the whole store.
	App     *string `json:"app"`
	Tenant  *string `json:"tenant"`
	Owner   string  `json:"owner,omitempty"`
	Summary string  `json:"summary"`
	Next    *string `json:"next"`
	Stage   *string `json:"stage"`
	// NotAfter is the end of the app's certificate in service.
	NotAfter *time.Time `json:"not_after"`
	Since    time.Time  `json:"since"`
	// ToldAt is null while the app is snoozed and nothing was told.
	ToldAt  *time.Time `json:"told_at"`
	Repeats int        `json:"repeats"`
	// NextAt is when it is told again if it lasts.
	NextAt       *time.Time `json:"next_at"`
	AckedAt      *time.Time `json:"acked_at"`
	AckedBy      *string    `json:"acked_by"`
	SnoozedUntil *time.Time `json:"snoozed_until"`
}

// Snooze holds warnings about an app back.
type Snooze struct {
	App   string    `json:"app"`
	Until time.Time `json:"until"`
}

// Channel is how one channel does.
type Channel struct {
	Name string `json:"name"`
	// State is "ok", "waiting" (messages wait) or "failing".
	State        string     `json:"state"`
	FailingSince *time.Time `json:"failing_since"`
	// Permanent tells that sending the same again cannot help.
	Permanent  bool       `json:"permanent"`
	LastError  *string    `json:"last_error"`
	RetryAt    *time.Time `json:"retry_at"`
	LastSentAt *time.Time `json:"last_sent_at"`
	LastAnswer *string    `json:"last_answer"`
	// Messages and Events count what it took, Diverted the events that its
	// fallback took, GivenUp those that nobody took.
	Messages uint64 `json:"messages"`
	Events   uint64 `json:"events"`
	Diverted uint64 `json:"diverted"`
	GivenUp  uint64 `json:"given_up"`
	// Waiting counts the events that it has not looked at.
	Waiting uint64 `json:"waiting"`
}

// AckRequest says that somebody knows of an alert: of an app, or one by its
// event's ID or the beginning of it.
type AckRequest struct {
	What string `json:"what"`
}

// AckResult is the answer to it.
type AckResult struct {
	Acked []Acked `json:"acked"`
}

// Acked is one alert that is not told again before Until.
type Acked struct {
	App   *string   `json:"app"`
	Kind  string    `json:"kind"`
	Event string    `json:"event"`
	Until time.Time `json:"until"`
}

// TestRequest asks for a test message.
type TestRequest struct {
	// Channel; empty: all.
	Channel string `json:"channel,omitempty"`
}

// ChannelTests are the results.
type ChannelTests struct {
	Channels []ChannelTest `json:"channels"`
}

// ChannelTest is what came of one.
type ChannelTest struct {
	Channel string `json:"channel"`
	// Answer is what the server said.
	Answer *string `json:"answer"`
	// Error is null if the message was taken.
	Error *string `json:"error"`
}

func (s *Server) alerts(c call) (int, any, error) {
	open, snoozed, err := s.Rotator.Alerts(c.Context())
	if err != nil {
		return 0, nil, err
	}
	wire := Alerts{Open: make([]Alert, len(open)), Snoozed: []Snooze{}, Channels: []Channel{}}
	for i, a := range open {
		wire.Open[i] = Alert{
			Event: a.Event, Kind: string(a.Kind), Severity: string(a.Severity), App: present(a.App), Tenant: present(a.Tenant), Owner: a.Owner,
			Summary: a.Summary, Next: present(a.Next), Stage: present(a.Stage), NotAfter: instant(a.NotAfter), Since: a.Since, ToldAt: instant(a.ToldAt),
			Repeats: a.Repeats, NextAt: instant(a.NextAt), AckedAt: instant(a.AckedAt), AckedBy: present(a.AckedBy), SnoozedUntil: instant(a.SnoozedUntil),
		}
	}
	for _, name := range slices.Sorted(maps.Keys(snoozed)) {
		wire.Snoozed = append(wire.Snoozed, Snooze{name, snoozed[name].UTC()})
	}
	wire.Channels, err = s.channels(c.Context())
	return http.StatusOK, wire, err
}

func (s *Server) channels(ctx context.Context) ([]Channel, error) {
	channels := []Channel{}
	if s.Outbox == nil {
		return channels, nil
	}
	last, err := s.Outbox.LastEvent(ctx)
	if err != nil {
		return nil, err
	}
	states, err := s.Outbox.Channels(ctx)
	for _, state := range states {
		one := Channel{
			Name: state.Name, State: "ok", FailingSince: instant(state.FailingSince), Permanent: state.Permanent, LastError: present(state.LastError),
			RetryAt: instant(state.RetryAt), LastSentAt: instant(state.LastSentAt), LastAnswer: present(state.LastAnswer), Messages: state.Messages,
			Events: state.Events, Diverted: state.Diverted, GivenUp: state.GivenUp, Waiting: state.Waiting(last),
		}
		switch {
		case one.FailingSince != nil:
			one.State = "failing"
		case one.Waiting > 0:
			one.State = "waiting"
		}
		channels = append(channels, one)
	}
	return channels, err
}

// problems are those of channels, one line each.
func (s *Server) problems(ctx context.Context) []string {
	channels, err := s.channels(ctx)
	if err != nil {
		return []string{"the outbox cannot be read: " + err.Error()}
	}
	var all []string
	for _, c := range channels {
		if c.FailingSince != nil && c.LastError != nil {
			all = append(all, fmt.Sprintf("channel %s is failing since %s: %s", c.Name, c.FailingSince.Format(time.RFC3339), *c.LastError))
		}
	}
	return all
}

func (s *Server) ack(c call) (int, any, error) {
	var wire AckRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	acked, err := s.Rotator.Ack(c.Context(), wire.What, c.by)
	result := AckResult{Acked: make([]Acked, len(acked))}
	for i, a := range acked {
		result.Acked[i] = Acked{present(a.App), string(a.Kind), a.Event, a.Until.UTC()}
	}
	return http.StatusOK, result, err
}

func (s *Server) snooze(c call) (int, any, error) {
	var wire Snooze
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.Rotator.Snooze(c.Context(), wire.App, wire.Until, c.by)
}

func (s *Server) testChannels(c call) (int, any, error) {
	var wire TestRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	if s.Notifier == nil {
		return 0, nil, fmt.Errorf("no channel is configured: %w", rotator.ErrNotFound)
	}
	results, err := s.Notifier.Test(c.Context(), wire.Channel, c.by)
	tests := ChannelTests{Channels: make([]ChannelTest, len(results))}
	for i, r := range results {
		tests.Channels[i] = ChannelTest{Channel: r.Channel, Answer: present(r.Answer)}
		if r.Err != nil {
			tests.Channels[i].Error = present(r.Err.Error())
		}
	}
	return http.StatusOK, tests, err
}

// Alerts returns what is open, sent, failing and snoozed.
func (c *Client) Alerts(ctx context.Context) (Alerts, error) {
	var alerts Alerts
	return alerts, c.do(ctx, http.MethodGet, "/v1/alerts", nil, &alerts)
}

// Ack says that somebody knows of the alerts of an app, or of one event's.
func (c *Client) Ack(ctx context.Context, what string) (AckResult, error) {
	var result AckResult
	return result, c.do(ctx, http.MethodPost, "/v1/ack", AckRequest{what}, &result)
}

// Snooze holds warnings about an app back.
func (c *Client) Snooze(ctx context.Context, app string, until time.Time) error {
	return c.do(ctx, http.MethodPost, "/v1/snooze", Snooze{app, until}, nil)
}

// TestChannels sends a test message on one channel, or with an empty name on all.
func (c *Client) TestChannels(ctx context.Context, channel string) (ChannelTests, error) {
	var tests ChannelTests
	return tests, c.do(ctx, http.MethodPost, "/v1/notify/test", TestRequest{channel}, &tests)
}
