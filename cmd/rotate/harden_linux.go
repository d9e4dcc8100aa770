package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// canServe says that this system can run the service.
const canServe = true

// harden keeps keys out of core files and away from debuggers of the same user.
// The program calls it first of all, and again where it opens the store, whatever made it
// another user meanwhile.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid dumping: %w", err)
	}
	return nil
}
