package main

import (
	"errors"
	"fmt"
	"syscall"
)

// leave makes the process the owner; the way back stays open.
func (c *caller) leave() error {
	if err := syscall.Setresgid(c.gid, c.gid, c.was); err != nil {
		return fmt.Errorf("become user %d: set group: %w", c.uid, err)
	}
	if err := syscall.Setresuid(c.uid, c.uid, 0); err != nil {
		return fmt.Errorf("become user %d: %w", c.uid, err)
	}
	return nil
}

// do runs something as the caller.
func (c *caller) do(act func() error) error {
	if !c.isOther {
		return act()
	}
	if err := syscall.Setresuid(-1, 0, -1); err != nil {
		return fmt.Errorf("become the caller again: %w", err)
	}
	if err := syscall.Setresgid(-1, c.was, -1); err != nil {
		return fmt.Errorf("become the caller again: set group: %w", err)
	}
	return errors.Join(act(), c.leave())
}
