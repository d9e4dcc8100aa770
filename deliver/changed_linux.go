package deliver

import (
	"fmt"
	"syscall"
)

// changedAt is when the file was last changed in any way, which nobody can set.
func changedAt(stat *syscall.Stat_t) string {
	return fmt.Sprintf("%d.%d", stat.Ctim.Sec, stat.Ctim.Nsec)
}
