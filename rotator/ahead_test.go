package rotator

import (
	"context"
	"crypto/rsa"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestAhead makes keys for apps that wait, of the size that was asked for, and
// keeps none when nobody waits.
func TestAhead(t *testing.T) {
	var made atomic.Int64
	generate := func(int) (*rsa.PrivateKey, error) {
		made.Add(1)
		return &rsa.PrivateKey{}, nil
	}
	var a ahead
	prepare := func(ctx context.Context, want int, generate func(int) (*rsa.PrivateKey, error)) {
		var work sync.WaitGroup
		a.prepare(ctx, &work, want, generate)
		work.Wait()
	}
	prepare(t.Context(), 2, generate)
	if n := made.Load(); n != 0 {
		t.Errorf("%d keys made before anybody asked for a size", n)
	}
	if a.take(2048) != nil {
		t.Error("there was a key before one was made")
	}
	prepare(t.Context(), 2, generate)
	prepare(t.Context(), 2, generate)
	if n := made.Load(); n != 2 || len(a.keys) != 2 {
		t.Errorf("%d keys made, %d ready, want 2", n, len(a.keys))
	}
	first, second := a.take(2048), a.take(2048)
	if first == nil || second == nil || first == second {
		t.Errorf("took %p and %p: every key is for one certificate", first, second)
	}
	if a.take(2048) != nil {
		t.Error("a third key out of two")
	}

	prepare(t.Context(), 2, generate)
	if a.take(3072) != nil {
		t.Error("a key of another size was given")
	}
	prepare(t.Context(), 1, generate)
	prepare(t.Context(), 0, generate)
	if len(a.keys) != 0 {
		t.Errorf("%d keys kept although no app waits", len(a.keys))
	}

	before := made.Load()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	prepare(stopped, 2, generate)
	if n := made.Load() - before; n != 0 || a.makers != 0 {
		t.Errorf("%d keys made after the stop, %d makers left", n, a.makers)
	}
	prepare(t.Context(), 2, func(int) (*rsa.PrivateKey, error) { return nil, errors.New("no randomness") })
	if len(a.keys) != 0 || a.makers != 0 {
		t.Errorf("%d keys of a source that fails, %d makers left", len(a.keys), a.makers)
	}
}
