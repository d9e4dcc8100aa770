package rotator

import "time"

// QueuedEvent is an event in the outbox. Numbers grow by one.
type QueuedEvent struct {
	Number uint64
	Event  Event
}

// ChannelState is how far one channel has brought the events of the outbox. The
// events stay there until every channel is done with them.
type ChannelState struct {
	Name string `json:"name"`
	// Done is the number of the last event that the channel needs no more.
	Done uint64 `json:"done"`
	// Through is the number of the last event of the message under way, recorded
	// before it is first sent, so that a repeat is the same message. 0: none.
	Through uint64 `json:"through,omitempty"`
	// Sent are the IDs of the parts of that message that were sent.
	Sent []string `json:"sent,omitempty"`
	// FailingSince is when the first of the failed attempts in a row was made;
	// zero: the channel works.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Attempts     int       `json:"attempts,omitempty"`
	// LastError says in plain words why the last attempt failed.
	LastError string `json:"last_error,omitempty"`
	// Permanent tells that sending the same again cannot help.
	Permanent bool      `json:"permanent,omitempty"`
	RetryAt   time.Time `json:"retry_at,omitzero"`
	// RefusedSince is when the message under way was first refused for good; zero:
	// it was not.
	RefusedSince time.Time `json:"refused_since,omitzero"`
	// RefusedTold is when other channels were last told of a recipient that is
	// refused while others get the message.
	RefusedTold map[string]time.Time `json:"refused_told,omitempty"`
	// ToldAt is when other channels were told that this one fails; zero: not.
	ToldAt time.Time `json:"told_at,omitzero"`
	// LastSentAt is when it last took a message, LastAnswer what it said.
	LastSentAt time.Time `json:"last_sent_at,omitzero"`
	LastAnswer string    `json:"last_answer,omitempty"`
	// Messages and Events count what it took, GivenUp the events that were given
	// up after it refused them for a day.
	Messages uint64 `json:"messages,omitempty"`
	Events   uint64 `json:"events,omitempty"`
	GivenUp  uint64 `json:"given_up,omitempty"`
	// Diverted counts events that its fallback took.
	Diverted uint64 `json:"diverted,omitempty"`
}

// Waiting counts the events that the channel has not looked at, of an outbox
// whose last event has the number last.
func (s ChannelState) Waiting(last uint64) uint64 {
	if last < s.Done {
		return 0
	}
	return last - s.Done
}

// ChannelTest is what came of a test message on one channel.
type ChannelTest struct {
	Channel string
	// Answer is what the server said.
	Answer string
	Err    error
}
