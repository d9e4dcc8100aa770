//go:build !linux

package notify

import "syscall"

// canKillGroups: without Linux' waitid and the signal at a parent's death, a program
// could outlive its time limit.
const canKillGroups = false

// ownGroup and awaitEnd are not reached: nothing is run here.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func awaitEnd(int) {}
