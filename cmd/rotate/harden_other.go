//go:build !linux

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// canServe is false: rights by group, hooks and access lists are Linux's.
const canServe = false

// harden keeps keys out of core files. Only Linux keeps them away from debuggers of
// the same user too, which is one more reason why the service is refused here.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	return nil
}
