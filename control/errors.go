package control

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

var (
	// ErrForbidden says that the daemon does not serve this user.
	ErrForbidden = errors.New("not allowed for this user")
	// ErrNoDaemon says that nobody listens on the socket.
	ErrNoDaemon = errors.New("no daemon answers")
	// ErrRunning says that another daemon listens on the socket.
	ErrRunning = errors.New("another daemon is running")
	// ErrEnded says that the daemon stopped before it had answered, or before the
	// rotation that is followed ended.
	ErrEnded = errors.New("the daemon stopped")
	// ErrTooLarge says that a request has more bytes than any real one.
	ErrTooLarge = errors.New("the request is too large")
	// ErrUnknownRoute says that client and daemon are not the same version.
	ErrUnknownRoute = errors.New("this daemon does not know the request")
)

// Codes of errors on the wire.
const (
	codeFailure  = "failure"
	codeInternal = "internal"
)

// A kind is one line of the table code, status, sentinel.
type kind struct {
	code     string
	status   int
	sentinel error
}

// kinds lists every error that a client can tell apart.
func kinds() []kind {
	return []kind{
		{"not_found", http.StatusNotFound, rotator.ErrNotFound},
		{"no_tenant", http.StatusNotFound, rotator.ErrNoTenant},
		{"exists", http.StatusConflict, rotator.ErrExists},
		{"rotating", http.StatusConflict, rotator.ErrRotating},
		{"usage", http.StatusBadRequest, rotator.ErrUsage},
		{"refused", http.StatusUnprocessableEntity, rotator.ErrRefused},
		{"cannot_tell", http.StatusUnprocessableEntity, rotator.ErrCannotTell},
		{"forbidden", http.StatusForbidden, ErrForbidden},
		{"too_large", http.StatusRequestEntityTooLarge, ErrTooLarge},
		{"unknown_route", http.StatusNotFound, ErrUnknownRoute},
	}
}

// Error is a refusal on the wire. On the client's side [errors.Is] finds the
// sentinel of its code, and [errors.As] the [rotator.Failure] of code failure.
type Error struct {
	// Code is not_found, no_tenant, exists, rotating, usage, refused, cannot_tell,
	// forbidden, too_large, unknown_route, failure or internal.
	Code    string `json:"code"`
	Message string `json:"message"`
	// Next says what to do.
	Next string `json:"next,omitempty"`
	// Class and Reason of code failure.
	Class  string `json:"class,omitempty"`
	Reason string `json:"reason,omitempty"`
	// RetryAfter that Entra asked for.
	RetryAfter Duration `json:"retry_after,omitzero"`
	// LongestLifetime that a policy allows.
	LongestLifetime Duration `json:"longest_lifetime,omitzero"`
}

// Error is the message alone; [Error.Next] stands beside it.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what the code stands for: a sentinel, a [*rotator.Failure], or
// nil.
func (e *Error) Unwrap() error {
	if e.Code == codeFailure {
		return &rotator.Failure{
			Class: rotator.Class(e.Class), Reason: rotator.Reason(e.Reason), Message: e.Message, Next: e.Next,
			RetryAfter: time.Duration(e.RetryAfter), LongestLifetime: time.Duration(e.LongestLifetime),
		}
	}
	for _, k := range kinds() {
		if k.code == e.Code {
			return k.sentinel
		}
	}
	return nil
}

// status of the HTTP answer.
func (e *Error) status() int {
	if e.Code == codeFailure {
		return http.StatusBadGateway
	}
	for _, k := range kinds() {
		if k.code == e.Code {
			return k.status
		}
	}
	return http.StatusInternalServerError
}

// errorOf turns an error into its wire form; nil for nil.
func errorOf(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		wire := *e
		wire.Message = err.Error()
		return &wire
	}
	wire := &Error{Code: codeInternal, Message: err.Error()}
	failure, failed := errors.AsType[*rotator.Failure](err)
	if failed {
		wire.Next = failure.Next
	}
	for _, k := range kinds() {
		if errors.Is(err, k.sentinel) {
			wire.Code = k.code
			return wire
		}
	}
	if failed {
		wire.Code = codeFailure
		wire.Class = string(cmp.Or(failure.Class, rotator.ClassRetry))
		wire.Reason = string(failure.Reason)
		wire.RetryAfter = Duration(failure.RetryAfter)
		wire.LongestLifetime = Duration(failure.LongestLifetime)
	}
	return wire
}

// errorsOf splits a joined error.
func errorsOf(err error) []Error {
	if err == nil {
		return []Error{}
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		wire := []Error{}
		for _, e := range joined.Unwrap() {
			wire = append(wire, errorsOf(e)...)
		}
		return wire
	}
	return []Error{*errorOf(err)}
}
