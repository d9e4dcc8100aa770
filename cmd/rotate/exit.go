package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// Exit codes, the same for all commands.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitAttention = 3
	exitWaiting   = 4
)

const exitCodes = `Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  3  something needs attention (status --check, check)
  4  waiting for a person, or parked
With mixed results the first that applies of 2, 1, 3, 4.`

// ended is how a command ended without a plain error: with a code of its own,
// and what is still to be said.
type ended struct {
	code int
	// err may be nil: everything was said.
	err error
}

func (e *ended) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *ended) Unwrap() error { return e.err }

// usageError is a wrong command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// hinted is an error with the command or setting that helps.
type hinted struct {
	err   error
	hints []string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func withHint(err error, hints ...string) error { return &hinted{err, hints} }

// report writes an error for people and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	if end, ok := errors.AsType[*ended](err); ok {
		if end.err == nil {
			return code
		}
		err = end.err
	}
	var said []string
	for _, one := range split(err) {
		fmt.Fprintf(w, "rotate: %s\n", one)
		for _, hint := range hints(one) {
			if !slices.Contains(said, hint) {
				fmt.Fprintf(w, "rotate: hint: %s\n", hint)
				said = append(said, hint)
			}
		}
	}
	return code
}

// split takes joined errors apart.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && strings.Contains(err.Error(), "\n") {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, split(one)...)
		}
		return all
	}
	return []error{err}
}

func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if end, ok := errors.AsType[*ended](err); ok {
		return end.code
	}
	_, usage := errors.AsType[*usageError](err)
	_, form := errors.AsType[*config.Error](err)
	if usage || form || errors.Is(err, config.ErrEmpty) || errors.Is(err, config.ErrNoProfile) || isUnusable(err) || errors.Is(err, rotator.ErrUsage) || errors.Is(err, store.ErrNotInitialised) {
		return exitUsage
	}
	return exitFailed
}

// worse returns the code that a command ends with when its parts ended with two.
func worse(a, b int) int {
	order := []int{exitUsage, exitFailed, exitAttention, exitWaiting, exitDone}
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}

// hints chooses what helps by the kind of the error.
func hints(err error) []string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hints
	}
	if wire, ok := errors.AsType[*control.Error](err); ok && wire.Next != "" {
		return []string{wire.Next}
	}
	if failure, ok := errors.AsType[*rotator.Failure](err); ok {
		return failureHints(failure)
	}
	if usage, ok := errors.AsType[*usageError](err); ok && strings.HasPrefix(usage.message, "unknown command") {
		_, group, _ := strings.Cut(usage.message, " for ")
		return []string{`"` + strings.Trim(group, `"`) + ` --help" lists the commands`}
	}
	if locked, ok := errors.AsType[*store.LockedError](err); ok {
		return []string{fmt.Sprintf("wait until process %s has ended; if it is a daemon, use its configuration (-c), so that this command finds its socket", cmp.Or(pidText(locked.PID), "…"))}
	}
	switch {
	case errors.Is(err, store.ErrNotInitialised):
		return []string{`"rotate setup" asks what it needs and makes it; "rotate status" shows the first steps`}
	case errors.Is(err, store.ErrNoIdentity):
		return noIdentityHints()
	case errors.Is(err, store.ErrNoDatabase):
		return noDatabaseHints()
	case errors.Is(err, rotator.ErrNotFound):
		return []string{`"rotate app list" shows what is tracked`}
	case errors.Is(err, rotator.ErrRotating):
		return []string{`"rotate status" shows where it stands; "rotate rollback APP" takes it back`}
	case errors.Is(err, config.ErrNoProfile):
		return []string{`"rotate profile list" shows them; profiles of your own lie in the folder that the setting profiles names`}
	case errors.Is(err, control.ErrRunning):
		return []string{"one daemon serves a store; this configuration names the socket of one that runs"}
	case errors.Is(err, control.ErrEnded):
		return []string{`nothing is lost: what was begun goes on when the daemon starts again; "rotate status" shows whether it was`}
	case errors.Is(err, config.ErrEmpty), isConfigError(err):
		return []string{`"rotate config schema" prints every key that is allowed`}
	}
	return nil
}

// noIdentityHints helps where the database is there without its identity.
func noIdentityHints() []string {
	return []string{
		"is the folder of the identity file mounted, or does the service manager provide the file? the store opens with no other identity",
		`if it is lost: stop the daemon, then "rotate rekey --open-with recovery.key" with the recovery key, or with a copy of the identity; docs/recovery.md has the steps`,
	}
}

// noDatabaseHints helps where the identity is there without its database.
func noDatabaseHints() []string {
	return []string{
		`is the disk of the database mounted? if the database is lost: "rotate restore FILE" makes it again from a backup`,
		`only for a new store, which knows no app, with this identity: "rotate init --keep-identity"`,
	}
}

// failureHints helps where Entra refused and the failure itself says no more.
func failureHints(f *rotator.Failure) []string {
	if f.Next != "" {
		return []string{f.Next}
	}
	switch f.Reason { //nolint:exhaustive // the others say it themselves or pass
	case rotator.ReasonNotRegistered:
		return []string{"Entra does not list this certificate on the app: is it the file that the consumer signs in with today, and the client ID of the same app?"}
	case rotator.ReasonNetwork:
		return []string{`no answer: look at the network, the firewall, and "proxy" in the configuration`}
	}
	return nil
}

// unusable is a configuration that cannot be used, though its form is good.
type unusable struct{ error }

func (e *unusable) Unwrap() error { return e.error }

func isUnusable(err error) bool {
	_, ok := errors.AsType[*unusable](err)
	return ok
}

func isConfigError(err error) bool {
	_, ok := errors.AsType[*config.Error](err)
	return ok
}

func pidText(pid int) string {
	if pid == 0 {
		return ""
	}
	return fmt.Sprint(pid)
}
