package store

import (
	"errors"
	"fmt"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Errors of [Open] and of every method that a caller can branch on. Each comes
// wrapped in a message that names the file and the place in it.
var (
	// ErrCorrupt says that the file is not what was written: cut off, or bytes
	// of it changed. Nothing was written to it.
	ErrCorrupt = errors.New("the file is damaged and was left as it is; stop the service, keep a copy of the file, then restore the newest backup")
	// ErrWrongIdentity says that the identity cannot open what is sealed.
	ErrWrongIdentity = errors.New("the identity is not the one that this store was sealed for; use the identity file made with this store, or the recovery identity")
	// ErrWrongKey says that a backup was sealed to others.
	ErrWrongKey = errors.New("the key does not open this backup; use the key file of one of the recipients that it was sealed to")
	// ErrNewer says that a newer version of the program wrote the file.
	ErrNewer = errors.New("a newer version of the program wrote this; run that version")
	// ErrPermissions says that others could read a secret, or that we may not
	// use the file. The message holds the command that helps.
	ErrPermissions = errors.New("wrong permissions")
	// ErrNotInitialised says that there is no store yet.
	ErrNotInitialised = errors.New("there is no store yet")
	// ErrNoIdentity says that the database is there, and not the identity that
	// opens it.
	ErrNoIdentity = errors.New("the identity that opens the store is missing")
	// ErrNoDatabase says that the identity is there, and not the database.
	ErrNoDatabase = errors.New("the database is missing although its identity is there")
	// ErrExists says that [Init] found a file in its way. It never overwrites.
	ErrExists = errors.New("exists already and is never overwritten")
)

// usage is wrong usage in words of its own: it is a [rotator.ErrUsage] and
// does not say so.
type usage struct{ message string }

func usagef(format string, args ...any) error { return &usage{fmt.Sprintf(format, args...)} }

func (e *usage) Error() string { return e.message }
func (e *usage) Unwrap() error { return rotator.ErrUsage }

// LockedError says that another process holds the store.
type LockedError struct {
	Path string
	// PID of the holder; zero if it could not be found out.
	PID int
	// Command is the name of the holder's program; empty if unknown.
	Command string
}

// Error names the holder.
func (e *LockedError) Error() string {
	holder := "another process"
	switch {
	case e.PID != 0 && e.Command != "":
		holder = fmt.Sprintf("process %d (%s)", e.PID, e.Command)
	case e.PID != 0:
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("store %s is in use by %s", e.Path, holder)
}
