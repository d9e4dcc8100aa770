package rotator

import (
	"errors"
	"fmt"
	"time"
)

// Errors that a caller can branch on.
var (
	// ErrNotFound says that no such app, rotation or key pair is stored.
	ErrNotFound = errors.New("not found")
	// ErrNoTenant says that the configuration in force has no such tenant: nothing is
	// known about what is in it, so it is never [ErrNotFound].
	ErrNoTenant = errors.New("the tenant is not in the configuration")
	// ErrExists says that the name or the registration is tracked already.
	ErrExists = errors.New("is tracked already")
	// ErrRotating says that a rotation of the app is open.
	ErrRotating = errors.New("a rotation is open")
	// ErrCannotTell says that a delivery has no way to look at its target.
	ErrCannotTell = errors.New("the target cannot be looked at")
	// ErrMismatch says that key and certificate of a file do not belong together.
	ErrMismatch = errors.New("key and certificate do not belong together")
	// ErrWrongPassword says that a password does not open a file.
	ErrWrongPassword = errors.New("the password does not open the file")
	// ErrUsage says that the request itself is wrong; nothing was done.
	ErrUsage = errors.New("wrong usage")
	// ErrRefused says that the request is understood and not allowed now.
	ErrRefused = errors.New("refused")
)

type problem struct {
	kind    error
	message string
}

func (p *problem) Error() string { return p.message }
func (p *problem) Unwrap() error { return p.kind }

func usagef(format string, args ...any) error {
	return &problem{ErrUsage, fmt.Sprintf(format, args...)}
}

func refusedf(format string, args ...any) error {
	return &problem{ErrRefused, fmt.Sprintf(format, args...)}
}

// Class of a failure; it decides everything that follows.
type Class string

const (
	// ClassWait passes by itself: propagation, 409, 429, 5xx.
	ClassWait Class = "wait"
	// ClassRetry is a network that did not answer.
	ClassRetry Class = "retry"
	// ClassFix needs a person: permission, policy, configuration. It is still
	// tried again, at the slowest rate.
	ClassFix Class = "fix"
	// ClassClock means that this host's clock and Entra's differ.
	ClassClock Class = "clock"
	// ClassGone means that the app registration was deleted.
	ClassGone Class = "gone"
)

// Reason says more exactly what went wrong. The engine branches on some.
type Reason string

const (
	// ReasonNotRegistered means: the token service does not know the certificate
	// (AADSTS700027, "The key was not found").
	ReasonNotRegistered Reason = "not_registered"
	// ReasonExpired means: Entra calls the certificate expired or not yet valid.
	ReasonExpired Reason = "expired"
	// ReasonBlocked means: Conditional Access refused the sign-in (AADSTS53003). The
	// credential itself was accepted.
	ReasonBlocked Reason = "blocked"
	// ReasonDisabled means: the app is disabled (AADSTS7000112).
	ReasonDisabled Reason = "disabled"
	// ReasonBadSignature means: the private key is not that of the certificate
	// (AADSTS700027 with another text).
	ReasonBadSignature Reason = "bad_signature"
	// ReasonNoTenant means: no such tenant in this cloud (AADSTS90002).
	ReasonNoTenant Reason = "no_tenant"
	// ReasonForbidden means: 403, a permission or an owner is missing.
	ReasonForbidden Reason = "forbidden"
	// ReasonPolicy means: the tenant's app management policy refuses the certificate.
	ReasonPolicy Reason = "policy"
	// ReasonTargetChanged means: a target holds something else than what was delivered.
	ReasonTargetChanged Reason = "target_changed"
	// ReasonTooShort means: the lifetime that the tenant allows holds no rotation.
	ReasonTooShort Reason = "lifetime_too_short"
	// ReasonAppNotFound means: no such app registration (404) or no such client in
	// the tenant (AADSTS700016).
	ReasonAppNotFound Reason = "app_not_found"
	// ReasonNoSuchKey means: removeKey found no entry with the KeyID.
	ReasonNoSuchKey Reason = "no_such_key"
	// ReasonKeyIDRefused means: a PATCH was refused because its new entry carries a
	// KeyID of ours.
	ReasonKeyIDRefused Reason = "key_id_refused"
	// ReasonEndDate means: Entra refused the end date of the certificate.
	ReasonEndDate Reason = "end_date"
	// ReasonBadProof means: the proof of possession was refused (401).
	ReasonBadProof Reason = "bad_proof"
	// ReasonThrottled means: 429.
	ReasonThrottled Reason = "throttled"
	// ReasonConflict means: 409, somebody else changes the app right now.
	ReasonConflict Reason = "conflict"
	// ReasonUnavailable means: 5xx.
	ReasonUnavailable Reason = "unavailable"
	// ReasonNetwork means: no answer.
	ReasonNetwork Reason = "network"
	// ReasonStaleRead means: a read did not show what an earlier one showed.
	ReasonStaleRead Reason = "stale_read"
	// ReasonExists means: what was to be made is there already.
	ReasonExists Reason = "exists"
	// ReasonUnsupported means: the cloud does not know the request.
	ReasonUnsupported Reason = "unsupported"
	// ReasonBlueprint means: it is an agent identity blueprint, not an app registration.
	ReasonBlueprint Reason = "agent_identity_blueprint"
	// ReasonOther means: anything else.
	ReasonOther Reason = "other"
)

// Failure is why a step could not do its work: what failed in plain words,
// why, and what to do next. It never holds a secret.
type Failure struct {
	Class  Class
	Reason Reason
	// Message says what was being done, to which app, and why it failed.
	Message string
	// Next says what a person should do; empty: nothing, it passes by itself.
	Next string
	// RetryAfter is what the server asked for; zero: nothing.
	RetryAfter time.Duration
	// Ambiguous tells that the request may have been carried out.
	Ambiguous bool
	// Transient tells that such a refusal was seen to pass within minutes: it is
	// tried a few times before Class and Next count.
	Transient bool
	// LongestLifetime is what a policy allows; zero: unknown.
	LongestLifetime time.Duration
	// ServerTime is the Date of the refusing answer; zero: no answer.
	ServerTime time.Time
	// Err is the cause, for logs and errors.As; may be nil.
	Err error
}

func (f *Failure) Error() string { return f.Message }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failureOf finds the failure in an error. Any other error is class retry,
// with its own text: a step that cannot say what is wrong is tried again.
func failureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		if err.Error() == f.Message {
			return f
		}
		wrapped := *f
		wrapped.Message = err.Error()
		return &wrapped
	}
	return &Failure{Class: ClassRetry, Reason: ReasonOther, Message: err.Error(), Err: err}
}

func reasonOf(err error) Reason {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Reason
	}
	return ""
}

func fix(reason Reason, next, format string, args ...any) *Failure {
	return &Failure{Class: ClassFix, Reason: reason, Message: fmt.Sprintf(format, args...), Next: next}
}

// Trouble is a failure as the store keeps it.
type Trouble struct {
	Class   Class     `json:"class"`
	Reason  Reason    `json:"reason,omitempty"`
	Message string    `json:"message"`
	Next    string    `json:"next,omitempty"`
	At      time.Time `json:"at"`
	// Attempts in a row that failed, this one included.
	Attempts int       `json:"attempts"`
	RetryAt  time.Time `json:"retry_at,omitzero"`
}

// manyAttempts in a row of a failure that should pass by itself are a person's
// matter too: by the backoff that is after about 48 minutes.
const manyAttempts = 6

// needsPerson reports whether somebody should look. A nil trouble needs nobody.
func (t *Trouble) needsPerson() bool {
	if t == nil {
		return false
	}
	return t.Class == ClassFix || t.Class == ClassGone || t.Class == ClassClock || t.Attempts >= manyAttempts
}
