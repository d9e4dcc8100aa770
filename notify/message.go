package notify

import (
	"context"
	"errors"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Message is what one channel tells people at once: one or more events that
// belong together, oldest first.
type Message struct {
	// ID is stable: a message that is sent again has the same one.
	ID string
	// At is when it was put together, UTC.
	At time.Time
	// Events holds at least one.
	Events []rotator.Event
	// To are recipients that the apps name as their owners; empty: the channel's
	// own.
	To []string
}

// Sender brings messages to one place.
//
// Send sends one message, once, and does not keep it for later: nil means that
// the server took it. It ends when ctx does. answer is what the server said, for
// people and without secrets; it may be set beside an error. An error that is
// not an [*Error] counts as temporary. No error holds a secret, an address with
// a token in it included.
type Sender interface {
	Send(ctx context.Context, m Message) (answer string, err error)
}

// Error tells whether sending again can help.
type Error struct {
	// Op is what was done, such as "MAIL FROM" or "POST".
	Op string
	// Permanent tells that the same message will be refused again.
	Permanent bool
	// RetryAfter is how long the server asks to wait; zero: it did not say.
	RetryAfter time.Duration
	// Refused are recipients that were refused for good while others got the
	// message. It was sent, and must not be sent again.
	Refused []string
	Err     error
}

// Error says what was done and what came back.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether sending again can help: true for everything that is
// not a permanent [*Error].
func Temporary(err error) bool {
	failure, ok := errors.AsType[*Error](err)
	return !ok || !failure.Permanent
}

// RetryAfter returns how long the server asked to wait, else zero.
func RetryAfter(err error) time.Duration {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.RetryAfter
	}
	return 0
}
