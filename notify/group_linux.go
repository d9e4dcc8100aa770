package notify

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// canKillGroups says that a program and all that it started can be killed for certain,
// also when this process dies.
const canKillGroups = true

// ownGroup starts a program as the leader of a process group of its own, which is
// killed when the thread that starts it ends.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// awaitEnd returns when the process has ended, and leaves it to be reaped.
func awaitEnd(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
