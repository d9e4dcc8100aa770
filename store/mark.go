package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errReadOnlyFS is what opening for writing returns on such a file system.
const errReadOnlyFS = syscall.EROFS

// lockRetry is how often a held lock is tried again.
const lockRetry = 25 * time.Millisecond

// lock takes the lock that bbolt uses too (flock, exclusive) on the open file.
// bbolt would wait without a context, and would not say who holds it.
func lock(ctx context.Context, file *os.File, path string, timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock store %s: %w", path, err)
		case !time.Now().Before(deadline):
			return holderOf(path)
		}
		timer.Reset(lockRetry)
	}
}

// holderOf describes the process that holds the store, as the mark names it.
func holderOf(path string) *LockedError {
	locked := &LockedError{Path: path}
	text, err := os.ReadFile(path + markSuffix) //nolint:gosec // beside the store
	if err != nil {
		return locked
	}
	noted, err := parseMark(text)
	if err != nil {
		return locked
	}
	// A process that is gone is not the one: the mark is a moment late.
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", noted.pid))
	if err != nil && syscall.Kill(noted.pid, 0) != nil {
		return locked
	}
	locked.PID, locked.Command = noted.pid, strings.TrimSpace(string(command))
	return locked
}

const markSuffix = ".mark"

// mark is the file beside the database. It is written after each commit and
// not synced: after a power cut it may be behind, never ahead.
type mark struct {
	mu    sync.Mutex
	file  *os.File
	noted noted
}

// noted is what a mark says. Its text has one length, so that it is replaced
// by one write.
type noted struct {
	id   string // of the store
	txid uint64 // highest that was committed here
	pid  int    // of the process that opened the store last
}

const markFormat = "store %8s transaction %020d process %010d\n"

func parseMark(text []byte) (noted, error) {
	var n noted
	if _, err := fmt.Sscanf(string(text), "store %s transaction %d process %d\n", &n.id, &n.txid, &n.pid); err != nil {
		return noted{}, fmt.Errorf("mark: %w", err)
	}
	return n, nil
}

// openMark opens the mark of the store and puts our process into it. What
// another store left there is dropped.
func openMark(path, id string) (*mark, error) {
	file, err := os.OpenFile(path+markSuffix, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the store
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	m := &mark{file: file}
	text := make([]byte, len(fmt.Sprintf(markFormat, id, 0, 0)))
	n, _ := file.ReadAt(text, 0) // what cannot be read says nothing
	if found, err := parseMark(text[:n]); err == nil && found.id == id {
		m.noted = found
	}
	m.noted.id, m.noted.pid = id, os.Getpid()
	if err := m.write(); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: write the mark beside it: %w", path, err), file.Close())
	}
	return m, nil
}

func (m *mark) write() error {
	_, err := m.file.WriteAt(fmt.Appendf(nil, markFormat, m.noted.id, m.noted.txid, m.noted.pid), 0)
	return err
}

// txid is the highest transaction that the mark knows of; zero: none.
func (m *mark) txid() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.noted.txid
}

// note records a commit; of two that come out of order the later one stays.
func (m *mark) note(txid uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if txid <= m.noted.txid {
		return nil
	}
	m.noted.txid = txid
	return m.write()
}

// reset makes txid the highest even if it is lower.
func (m *mark) reset(txid uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noted.txid = txid
	return m.write()
}

func (m *mark) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
