package control_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// slow is a store whose long work lasts until it is let go.
type slow struct {
	control.Vault
	// work is done in the place of all of it.
	work func(ctx context.Context, report func(what string, done, total uint64)) error
}

func (slow) ID() string { return "01234567" }

func (s slow) Findings(ctx context.Context, report func(string, uint64, uint64)) (faults, notes []string, err error) {
	return []string{"a fault"}, nil, s.work(ctx, report)
}

func (s slow) ProveAudit(ctx context.Context, _ string, report func(string, uint64, uint64)) (rotator.AuditProof, error) {
	return rotator.AuditProof{Lines: 7}, s.work(ctx, report)
}

func (slow) Recovery() string { return "" }

func (s slow) Backup(ctx context.Context, _ []string, report func(string, uint64, uint64)) (io.ReadCloser, rotator.BackupProof, error) {
	return io.NopCloser(strings.NewReader("sealed\nbytes")), rotator.BackupProof{}, s.work(ctx, report)
}

func (slow) AuditLines(context.Context, string, time.Time) iter.Seq2[rotator.AuditLine, error] {
	return func(func(rotator.AuditLine, error) bool) {}
}

// longWork is what the API does that grows with the store.
func longWork(c *control.Client) map[string]func(ctx context.Context, report func(control.Progress)) error {
	return map[string]func(context.Context, func(control.Progress)) error{
		"store check": func(ctx context.Context, report func(control.Progress)) error {
			found, err := c.CheckStore(ctx, report)
			if err == nil && (found.StoreID != "01234567" || !cmp.Equal(found.Findings, []string{"a fault"})) {
				return errors.New("the result is another one")
			}
			return err
		},
		"audit verify": func(ctx context.Context, report func(control.Progress)) error {
			proof, err := c.ProveAudit(ctx, "", report)
			if err == nil && proof.Lines != 7 {
				return errors.New("the result is another one")
			}
			return err
		},
		"backup": func(ctx context.Context, report func(control.Progress)) error {
			r, _, err := c.Backup(ctx, control.BackupRequest{}, report)
			if err != nil {
				return err
			}
			data, err := io.ReadAll(r)
			if string(data) != "sealed\nbytes" {
				return errors.New("the bytes are others: " + string(data))
			}
			return errors.Join(err, r.Close())
		},
	}
}

// TestC6LongWorkHasNoLimit has long work say how far it is, and finds no deadline in
// what it runs under.
func TestC6LongWorkHasNoLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	w.server.Vault = slow{work: func(ctx context.Context, report func(string, uint64, uint64)) error {
		if deadline, ok := ctx.Deadline(); ok {
			t.Errorf("it must be done by %s", deadline)
		}
		report("read", 1, 2)
		report("read", 2, 2)
		return nil
	}}
	for name, work := range longWork(w.memory(t)) {
		var said []control.Progress
		if err := work(t.Context(), func(p control.Progress) { said = append(said, p) }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := []control.Progress{{What: "read", Done: 1, Total: 2}, {What: "read", Done: 2, Total: 2}}; !cmp.Equal(said, want) {
			t.Errorf("%s said %v, want %v", name, said, want)
		}
	}
}

// TestC6LongWorkCanBeInterrupted stops waiting, and the work ends.
func TestC6LongWorkCanBeInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	ended := make(chan error, 1)
	w.server.Vault = slow{work: func(ctx context.Context, report func(string, uint64, uint64)) error {
		report("read", 1, 2)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}
	for name, work := range longWork(w.memory(t)) {
		ctx, cancel := context.WithCancel(t.Context())
		if err := work(ctx, func(control.Progress) { cancel() }); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want that it was cancelled", name, err)
		}
		if err := <-ended; err == nil {
			t.Errorf("%s went on", name)
		}
	}
}

// TestC6LongWorkFails tells the cause, before and after it said how far it was.
func TestC6LongWorkFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	for _, says := range []bool{false, true} {
		w.server.Vault = slow{work: func(_ context.Context, report func(string, uint64, uint64)) error {
			if says {
				report("read", 1, 2)
			}
			return errors.New("the disk is full")
		}}
		for name, work := range longWork(w.memory(t)) {
			if err := work(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "the disk is full") {
				t.Errorf("%s: %v, want the cause", name, err)
			}
		}
	}
}
