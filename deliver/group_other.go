//go:build !linux

package deliver

import "syscall"

// canKillGroups: without Linux' waitid and the signal at a parent's death, a program
// could outlive its time limit with the key in its hands.
const canKillGroups = false

// ownGroup and awaitEnd are not reached: nothing is run here.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func awaitEnd(int) {}
