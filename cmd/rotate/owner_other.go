//go:build !linux

package main

import (
	"fmt"
	"runtime"
)

// leave refuses: no other system lets a process become another user and come back as
// Linux does.
func (c *caller) leave() error {
	return fmt.Errorf("become user %d: that needs Linux, and this is %s; run it as that user", c.uid, runtime.GOOS)
}

// do runs something as the caller.
func (c *caller) do(act func() error) error {
	if !c.isOther {
		return act()
	}
	return c.leave()
}
