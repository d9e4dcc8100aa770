package rotator

import (
	"context"
	"sync/atomic"
)

// claim is the right to work on one app. Whoever waits for it is let in at the
// next step.
type claim struct {
	slot   chan struct{}
	wanted atomic.Int32
	users  int // guarded by Rotator.mu
}

// isWanted reports whether somebody waits for the claim.
func (c *claim) isWanted() bool { return c.wanted.Load() > 0 }

// claim waits until nobody works on the app, or ctx is done. The returned
// function gives the claim back and wakes the loop, which passed the app over
// while it was claimed.
func (r *Rotator) claim(ctx context.Context, app string) (release func(), err error) {
	c := r.use(app)
	c.wanted.Add(1)
	defer c.wanted.Add(-1)
	select {
	case c.slot <- struct{}{}:
		return func() { <-c.slot; r.leave(app, c); r.wake() }, nil
	case <-ctx.Done():
		r.leave(app, c)
		return nil, ctx.Err()
	}
}

// tryClaim takes the claim only if nobody has it.
func (r *Rotator) tryClaim(app string) (*claim, func(), bool) {
	c := r.use(app)
	select {
	case c.slot <- struct{}{}:
		return c, func() { <-c.slot; r.leave(app, c) }, true
	default:
		r.leave(app, c)
		return nil, nil, false
	}
}

func (r *Rotator) use(app string) *claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.claims[app]
	if c == nil {
		if r.claims == nil {
			r.claims = map[string]*claim{}
		}
		c = &claim{slot: make(chan struct{}, 1)}
		r.claims[app] = c
	}
	c.users++
	return c
}

func (r *Rotator) leave(app string, c *claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.users--; c.users == 0 {
		delete(r.claims, app)
	}
}

// announce tells everybody who follows a rotation that a record changed.
func (r *Rotator) announce() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// change returns a channel that is closed at the next announcement.
func (r *Rotator) nextChange() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.changed
}

// wake makes the loop look at the due index again.
func (r *Rotator) wake() {
	select {
	case r.pokes() <- struct{}{}:
	default:
	}
}

func (r *Rotator) pokes() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.poke == nil {
		r.poke = make(chan struct{}, 1)
	}
	return r.poke
}
