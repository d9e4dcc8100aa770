package rotator_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

var errCrash = errors.New("the process died here")

// crasher counts effects and dies at one of them, before it happens or after.
// Nothing works any more then, until the world is opened again.
type crasher struct {
	mu    sync.Mutex
	n, at int
	after bool
	what  string
	dead  chan struct{}
}

func (c *crasher) do(what string, effect func() error) error {
	c.mu.Lock()
	select {
	case <-c.dead:
		c.mu.Unlock()
		return errCrash
	default:
	}
	c.n++
	die := c.n == c.at
	if die {
		c.what = what
	}
	c.mu.Unlock()
	if !die {
		return effect()
	}
	if c.after {
		_ = effect() // whatever its answer was, nobody hears it
	}
	close(c.dead)
	return errCrash
}

func (c *crasher) reached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n >= c.at
}

type crashStore struct {
	rotator.Store
	c *crasher
}

func (s crashStore) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	return s.c.do("store", func() error { return s.Store.Change(ctx, app, change) })
}

type crashEntra struct {
	rotator.Entra
	c *crasher
}

func (e crashEntra) AddKey(ctx context.Context, as rotator.Access, proof rotator.KeyPair, add rotator.NewKey) (id rotator.KeyID, err error) {
	err = e.c.do("addKey", func() error { id, err = e.Entra.AddKey(ctx, as, proof, add); return err })
	return id, err
}

func (e crashEntra) PatchKeys(ctx context.Context, as rotator.Access, seen []rotator.KeyID, add rotator.NewKey) (id rotator.KeyID, err error) {
	err = e.c.do("patch", func() error { id, err = e.Entra.PatchKeys(ctx, as, seen, add); return err })
	return id, err
}

func (e crashEntra) RemoveKey(ctx context.Context, as rotator.Access, proof rotator.KeyPair, id rotator.KeyID) error {
	return e.c.do("removeKey", func() error { return e.Entra.RemoveKey(ctx, as, proof, id) })
}

type crashDeliverer struct {
	rotator.Deliverer
	c *crasher
}

func (d crashDeliverer) Deliver(ctx context.Context, to rotator.Delivery, p rotator.Package) error {
	return d.c.do("deliver", func() error { return d.Deliverer.Deliver(ctx, to, p) })
}

// TestCrashTable kills a rotation before and after each of its effects, opens
// the store again and lets it run to its end: forward and rolled back, in every
// mode, with and without lagging reads. The loop ends when a run no longer reaches
// the effect, so that new steps are covered without anybody remembering.
func TestCrashTable(t *testing.T) {
	keys()
	modes := []struct {
		name string
		o    options
	}{
		{"managed", options{mode: rotator.ModeManaged, evidence: true}},
		{"self", options{}},
		{"self without permissions", options{permissions: []string{}}},
		{"first certificate", options{mode: rotator.ModeManaged, noKey: true}},
		{"expired", options{mode: rotator.ModeManaged, left: -time.Hour}},
		{"hand-off", options{spec: handOff}},
	}
	for _, m := range modes {
		for _, lag := range []time.Duration{0, 2 * time.Second} {
			if testing.Short() && (lag > 0 || m.o.noKey || m.o.left < 0 || m.o.permissions != nil) {
				continue // the race detector looks at the code, not at every tenant
			}
			for _, back := range []bool{false, true} {
				if back && (m.o.noKey || m.o.left < 0) {
					continue // there is no pair to go back to
				}
				if testing.Short() && back != (m.name == "self" || m.o.spec != nil) {
					continue // one way in each mode
				}
				name := fmt.Sprintf("%s/lag=%s/back=%v", m.name, lag, back)
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					for at := 1; ; at++ {
						if !crashAt(t, m.o, lag, back, at, false) {
							break
						}
						crashAt(t, m.o, lag, back, at, true)
						if t.Failed() {
							t.Fatalf("stopped at effect %d", at)
						}
					}
				})
			}
		}
	}
}

// crashAt runs one line of the table. It reports whether the run reached the
// effect at which it was to die.
func crashAt(t *testing.T, o options, lag time.Duration, back bool, at int, after bool) (reached bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, o)
		w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag, e.Propagation = lag, lag })
		c := &crasher{at: at, after: after, dead: make(chan struct{})}
		ready := func(int) (*rsa.PrivateKey, error) { return keys()[2], nil } // the certificates differ all the same
		w.wrap = func(r *rotator.Rotator) {
			r.GenerateKey = ready
			r.Store = crashStore{r.Store, c}
			r.Entra = crashEntra{r.Entra, c}
			r.Deliverer = crashDeliverer{r.Deliverer, c}
		}
		goal := rotator.PhaseRetired
		if back {
			goal = rotator.PhaseRolledBack
		}
		r, closeStore := w.rotator()
		stop := run(t, r)
		live(t, w, r, c, back, goal)
		stop()
		closeStore()
		reached = c.reached()
		w.wrap = func(r *rotator.Rotator) { r.GenerateKey = ready }
		r, closeStore = w.rotator()
		stop = run(t, r)
		live(t, w, r, nil, back, goal)
		s := await(t, r, "app-1", 30*time.Hour, string(goal), phaseIs(goal))
		stop()
		if n := uploads(w); n > 2 {
			t.Errorf("%d certificates were uploaded in one rotation, at most 2 requests are allowed an hour", n)
		}
		orphans := len(s.App.Orphans)
		closeStore()
		if unreadable := o.permissions != nil; orphans > 0 && !unreadable {
			t.Errorf("%d orphans although the KeyID can be known", orphans)
		}
		w.checkTenant()
		if t.Failed() {
			t.Errorf("died at effect %d (%s), after=%v; log:\n%s", at, c.what, after, w.logs.tail())
		}
	})
	return reached
}

// live waits until the rotation has ended or the process died; on the way back
// a person asks for the rollback as soon as something was delivered. What waits for
// a person is carried to the consumer and confirmed.
func live(t *testing.T, w *world, r *rotator.Rotator, c *crasher, back bool, goal rotator.Phase) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 30*time.Hour; time.Sleep(5 * time.Second) {
		if c != nil {
			select {
			case <-c.dead:
				return
			default:
			}
		}
		s, err := r.Status(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		one := s.Apps[0]
		if one.Phase == goal {
			return
		}
		if one.WaitingFor == rotator.WaitingPerson {
			w.person(r, "app-1")
		}
		if back && (one.Phase == rotator.PhaseDelivered || one.Phase == rotator.PhaseConfirmed) {
			if _, err := r.RollBack(t.Context(), "app-1", "a person"); err != nil && !errors.Is(err, errCrash) {
				t.Fatalf("rollback: %v", err)
			}
		}
	}
}

// uploads counts requests that add a certificate.
func uploads(w *world) int {
	n := 0
	for _, e := range w.tenant.Requests() {
		if e.Method == http.MethodPatch || len(e.Path) > 7 && e.Path[len(e.Path)-7:] == "/addKey" {
			n++
		}
	}
	return n
}
