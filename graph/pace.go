package graph

import (
	"sync"
	"time"
)

// Graph answers 150 requests a minute and tenant that ask for the certificates
// themselves. 30 at once and one each 500 ms stay within it in any minute.
// https://learn.microsoft.com/graph/api/application-get#optional-query-parameters
const (
	paceEvery = 500 * time.Millisecond
	paceBurst = 30
)

// pace spreads requests over time. The zero value is ready.
type pace struct {
	// mu guards full.
	mu sync.Mutex
	// full is when all requests that were let through are used up.
	full time.Time
}

// reserve takes a place and returns how long to wait for it. If that is longer
// than limit, no place is taken and ok is false.
func (p *pace) reserve(now time.Time, limit time.Duration) (wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := p.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(paceEvery)
	wait = max(0, full.Sub(now)-paceBurst*paceEvery)
	if wait > limit {
		return wait, false
	}
	p.full = full
	return wait, true
}
