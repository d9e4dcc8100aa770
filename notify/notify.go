// Package notify brings events from the store's outbox to people.
//
// Start with [Worker]: for each [Channel] it takes the events that the channel
// wants, in order, makes messages of those that belong together, and hands them
// to the channel's [Sender]. Channels do not wait for each other. A message is
// sent at least once: after a crash it may come again, under the same ID and only
// where the answer was lost. [Log] is the one channel that is always there.
//
// The package decides when and to whom; what happened, and how often it is told,
// is the business of package rotator.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Outbox holds events until every channel is done with them. All methods are
// safe for concurrent use; what they changed is durable when they return nil.
type Outbox interface {
	// SetChannels names all channels. A new one begins with the oldest event that
	// waits; the states of those left out are returned, with what waited for them
	// in Events.
	SetChannels(ctx context.Context, names []string) ([]rotator.ChannelState, error)
	// Channel returns one channel's state.
	Channel(ctx context.Context, name string) (rotator.ChannelState, error)
	// EventsAfter returns up to limit events with a larger number, oldest first.
	EventsAfter(ctx context.Context, number uint64, limit int) ([]rotator.QueuedEvent, error)
	// SaveChannel records a channel's state and adds events, in one transaction.
	SaveChannel(ctx context.Context, state rotator.ChannelState, events ...rotator.Event) error
}

// Channel is one way to people.
type Channel struct {
	// Name is unique.
	Name   string
	Sender Sender
	Filter Filter
	// Fallback is the name of the channel that takes over what this one refuses
	// for good or does not take for half an hour; empty: none.
	Fallback string
	// ByOwner tells that messages about apps whose owner is a mail address go to
	// that address instead of the channel's own recipients.
	ByOwner bool
	// AtOnce tells that events are sent one by one, without waiting for more.
	AtOnce bool
}

// Filter chooses events. What is empty lets everything pass; an event must pass
// each. Events about the whole daemon pass Tenants, Apps and Tags.
type Filter struct {
	Kinds []rotator.EventKind
	// Severity is the least that passes.
	Severity rotator.Severity
	Tenants  []string
	Apps     []string
	// Tags of which an app has at least one.
	Tags []string
}

// Wants reports whether the event passes.
func (f Filter) Wants(e rotator.Event) bool {
	if len(f.Kinds) > 0 && !slices.Contains(f.Kinds, e.Kind) {
		return false
	}
	if rank(e.Severity) < rank(f.Severity) {
		return false
	}
	if e.App == "" {
		return len(f.Tenants) == 0 || e.Tenant == "" || slices.Contains(f.Tenants, e.Tenant)
	}
	return (len(f.Tenants) == 0 || slices.Contains(f.Tenants, e.Tenant)) &&
		(len(f.Apps) == 0 || slices.Contains(f.Apps, e.App)) &&
		(len(f.Tags) == 0 || slices.ContainsFunc(f.Tags, func(tag string) bool { return slices.Contains(e.Tags, tag) }))
}

// rank orders severities; the empty one is the least.
func rank(s rotator.Severity) int {
	return slices.Index([]rotator.Severity{rotator.SeverityInfo, rotator.SeverityWarning, rotator.SeverityCritical}, s)
}

// wants reports whether the channel is told of the event. It is never told of its
// own failure.
func (c *Channel) wants(e rotator.Event) bool {
	return (e.Channel == "" || e.Channel != c.Name) && c.Filter.Wants(e)
}

// split makes the messages of one group of events: one, or one for each owner.
func (c *Channel) split(events []rotator.Event, at time.Time) []Message {
	var order []string
	groups := map[string][]rotator.Event{}
	for _, e := range events {
		to := ""
		if c.ByOwner {
			to = strings.Join(addresses(e.Owner), ", ")
		}
		if _, ok := groups[to]; !ok {
			order = append(order, to)
		}
		groups[to] = append(groups[to], e)
	}
	messages := make([]Message, len(order))
	for i, to := range order {
		messages[i] = Message{ID: idOfMessage(c.Name, to, groups[to]), At: at, Events: groups[to], To: addresses(to)}
	}
	return messages
}

// addresses returns the mail addresses of an owner; none if it is something else.
func addresses(owner string) []string {
	list, err := mail.ParseAddressList(owner)
	if err != nil {
		return nil
	}
	var all []string
	for _, a := range list {
		all = append(all, a.Address)
	}
	return all
}

// idOfMessage is the same for the same events on the same way.
func idOfMessage(channel, to string, events []rotator.Event) string {
	h := sha256.New()
	for _, part := range []string{channel, to} {
		_, _ = h.Write(append([]byte(part), 0)) // a hash never fails
	}
	for _, e := range events {
		_, _ = h.Write(append([]byte(e.ID), 0))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// How long a group waits for more, after its last event and after its first. The
// more it holds the longer it waits: a single event is told soon, an outage that
// makes a thousand apps fail is told once.
const (
	quietEach, quietLeast, quietMost     = 10 * time.Second, time.Minute, 2 * time.Minute
	groupMost                            = 15 * time.Minute
	criticalQuietEach, criticalQuietMost = 2 * time.Second, 30 * time.Second
	criticalGroupMost                    = 2 * time.Minute
)

// readyAt is when a group of events, at least one, is sent. now bounds it: after
// a clock that was set back no event waits longer than a new one.
func readyAt(events []rotator.Event, now time.Time) time.Time {
	each, least, most := quietEach, quietLeast, quietMost
	latest, last := now.Add(groupMost), time.Time{}
	for _, e := range events {
		limit := groupMost
		if e.Severity == rotator.SeverityCritical {
			each, least, most, limit = criticalQuietEach, 0, criticalQuietMost, criticalGroupMost
		}
		if at := e.At.Add(limit); at.Before(latest) {
			latest = at
		}
		if e.At.After(last) {
			last = e.At
		}
	}
	ready := last.Add(min(max(least, each*time.Duration(min(len(events), 100))), most))
	if ready.After(latest) {
		return latest
	}
	return ready
}
