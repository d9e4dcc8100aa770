//go:build !linux

package main

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// harden keeps keys out of core files. Only Linux keeps them away from debuggers of
// the same user too, which is a reason why the service is refused here (canServe).
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core files: %w", err)
	}
	return nil
}

// canServe reports why this system cannot run the service.
func canServe() error {
	return withHint(
		&unusable{fmt.Errorf("the service needs Linux, and this is %s: rights by group, hooks and access lists are not there", runtime.GOOS)},
		"here you can try \"rotate demo\", \"rotate emulator\" and the commands without a daemon")
}
