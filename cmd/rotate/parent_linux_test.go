package main_test

import "syscall"

// diesWithUs has a program killed when the thread that starts it ends: a test that is
// killed leaves nothing running.
func diesWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
