//go:build !linux

package main_test

import "syscall"

// diesWithUs is Linux's; elsewhere a test that is killed may leave programs running.
func diesWithUs() *syscall.SysProcAttr { return nil }
