package rotator

import (
	"crypto/rand"
	"encoding/hex"
	"io"
	"math/big"
	"strings"
	"time"
)

// This file holds the one clock and the one source of randomness of the domain.
// Everything else of the package asks these, so that host and tenant can disagree
// about the time, and a run can be repeated.

// now is the time by this host's clock.
func (r *Rotator) now() time.Time {
	return clockOf(r.Now)
}

// clockOf asks a clock; nil is the system's.
func clockOf(now func() time.Time) time.Time {
	if now != nil {
		return now()
	}
	return time.Now() //nolint:forbidigo // the one place that asks the system
}

// now is the time by this host's clock.
func (t *turn) now() time.Time { return t.r.now() }

// random is where all random bytes come from.
func (r *Rotator) random() io.Reader {
	if r.Random != nil {
		return r.Random
	}
	return rand.Reader //nolint:forbidigo // the one place that asks the system
}

// fill fills b with random bytes. The system's source never fails (since Go 1.24).
func (r *Rotator) fill(b []byte) { _, _ = io.ReadFull(r.random(), b) }

// spread is the random part of a backoff, in [-1, 1).
func (r *Rotator) spread() float64 {
	const steps = 1 << 20
	var raw [4]byte
	r.fill(raw[:])
	n := new(big.Int).SetBytes(raw[:]).Int64() % steps
	return 2*float64(n)/steps - 1
}

// newID returns 10 random lower-case letters and digits (base 32).
func (r *Rotator) newID() string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	var raw [10]byte
	r.fill(raw[:])
	for i := range raw {
		raw[i] = letters[raw[i]%32]
	}
	return string(raw[:])
}

// newGUID returns a random version 4 GUID.
func (r *Rotator) newGUID() KeyID {
	var raw [16]byte
	r.fill(raw[:])
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	h := hex.EncodeToString(raw[:])
	return KeyID(strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"))
}
