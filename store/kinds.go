package store

import (
	"sync"

	"github.com/seed-f0abd057/rotate/rotator"
)

// kinds are the numbers of due entries of those kinds that were asked for, kept with each
// commit: so that nobody goes along the index to know them.
type kinds struct {
	mu sync.Mutex
	n  map[rotator.WakeKind]*kindCount // guarded by mu
}

// kindCount is how many there are, counted in a transaction: what was committed by one
// before it is in it.
type kindCount struct {
	n  int
	tx uint64
}

// count returns false if they were never counted.
func (k *kinds) count(kind rotator.WakeKind) (int, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c, ok := k.n[kind]; ok {
		return c.n, true
	}
	return 0, false
}

// begin sets what was counted in a writing transaction.
func (k *kinds) begin(kind rotator.WakeKind, n int, tx uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.n == nil {
		k.n = map[rotator.WakeKind]*kindCount{}
	}
	k.n[kind] = &kindCount{n, tx}
}

// add takes over what a transaction changed that was committed.
func (k *kinds) add(changes map[rotator.WakeKind]int, tx uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for kind, n := range changes {
		if c, ok := k.n[kind]; ok && tx >= c.tx {
			c.n += n
		}
	}
}

// forget has all counted again: whether a commit that failed was made is not known.
func (k *kinds) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.n)
}
