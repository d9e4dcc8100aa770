package control

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/seed-f0abd057/rotate/rotator"
)

// live is what a server shows and allows since its last configuration.
type live struct {
	access   Access
	warnings []string
	// refused is why a newer configuration is not in force; empty: it is.
	refused string
}

// Reconfigure puts a new configuration in force. It is safe for concurrent use.
func (s *Server) Reconfigure(access Access, warnings []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = &live{access: access, warnings: warnings}
}

// RefuseConfiguration keeps what is in force; every status says why until
// [Server.Reconfigure].
func (s *Server) RefuseConfiguration(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.live = &live{access: s.Access, warnings: s.Warnings}
	}
	s.live.refused = why
}

func (s *Server) access() Access {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		return s.Access
	}
	return s.live.access
}

func (s *Server) warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.Warnings)
	if s.live != nil {
		all = slices.Clone(s.live.warnings)
		if s.live.refused != "" {
			all = append(all, s.live.refused)
		}
	}
	if s.backupFailure != "" {
		all = append(all, s.backupFailure)
	}
	return all
}

// NoteBackup says in every status why the last scheduled backup failed; empty: it did not.
func (s *Server) NoteBackup(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backupFailure = why
}

// share lets everybody connect where members of groups are served: the kernel
// tells who asks, and a refusal can name the group.
func (s *Server) share(l net.Listener) error {
	address, ok := l.Addr().(*net.UnixAddr)
	if !ok {
		return nil
	}
	return s.shareFile(address.Name)
}

func (s *Server) shareFile(path string) error {
	if !s.access().isShared() {
		return nil
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // the peer's credentials decide
		return fmt.Errorf("control socket: let groups in: %w", err)
	}
	return nil
}

// Reloaded is the answer to a reload.
type Reloaded struct {
	// RestartNeeded are settings that differ and are read at start only.
	RestartNeeded []string `json:"restart_needed"`
}

func (s *Server) reload(c call) (int, any, error) {
	if s.Reload == nil {
		return 0, nil, fmt.Errorf("no daemon is running, so there is nothing to reload: %w", rotator.ErrUsage)
	}
	restart, err := s.Reload(c.Context(), c.by)
	if len(restart) == 0 {
		return http.StatusNoContent, nil, err
	}
	return http.StatusOK, Reloaded{list(restart)}, err
}
