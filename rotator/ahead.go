package rotator

import (
	"context"
	"crypto/rsa"
	"runtime"
	"sync"
)

// ahead makes keys for apps that wait for a worker. Making an RSA key is most of
// what a rotation costs this host; the rest is waiting, for Entra and for the
// disk, which this fills. The keys are in memory only, and dropped when no app
// waits any more: what a plan does not seal is never used.
type ahead struct {
	mu sync.Mutex
	// bits is the size that was asked for last; 0: none yet.
	bits int
	keys []*rsa.PrivateKey
	// want is how many keys to have ready, makers how many goroutines make them.
	want, makers int
}

// take returns a ready key; nil if there is none of that size.
func (a *ahead) take(bits int) *rsa.PrivateKey {
	a.mu.Lock()
	defer a.mu.Unlock()
	if bits != a.bits {
		a.bits, a.keys = bits, nil
	}
	if len(a.keys) == 0 {
		return nil
	}
	last := len(a.keys) - 1
	key := a.keys[last]
	a.keys[last], a.keys = nil, a.keys[:last]
	return key
}

// prepare has up to want keys made in the background, by goroutines of work, one
// a processor at most; 0 drops those that are ready.
func (a *ahead) prepare(ctx context.Context, work *sync.WaitGroup, want int, generate func(bits int) (*rsa.PrivateKey, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.want = want
	if want == 0 {
		a.keys = nil
	}
	if a.bits == 0 {
		return
	}
	for a.makers < runtime.NumCPU() && len(a.keys)+a.makers < want {
		a.makers++
		work.Go(func() {
			for bits, ok := a.next(ctx); ok; bits, ok = a.next(ctx) {
				key, err := generate(bits)
				a.add(bits, key, err)
			}
		})
	}
}

// next tells a maker the size of the next key to make; false: enough are ready
// or in the making by others, and this maker ends.
func (a *ahead) next(ctx context.Context) (bits int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil || len(a.keys)+a.makers > a.want {
		a.makers--
		return 0, false
	}
	return a.bits, true
}

// add keeps a key that is still wanted. One that could not be made is not
// reported here: the plan that needs it makes its own and says why.
func (a *ahead) add(bits int, key *rsa.PrivateKey, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil:
		a.want = 0
	case bits == a.bits && len(a.keys) < a.want:
		a.keys = append(a.keys, key)
	}
}
