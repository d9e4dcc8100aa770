package pfx

import (
	"bytes"
	"context"
	"crypto/hmac"
	"fmt"
	"hash"
)

const (
	// maxRounds is how many rounds a single key derivation of a file may ask for.
	// OpenSSL writes 2048, keytool 10000; with a number near 2³¹ a file of 3 KiB would
	// keep a processor busy for hours.
	maxRounds = 2_000_000
	// maxWork is how many rounds all derivations of a file may take together, those of
	// its encrypted parts too: about two seconds. OpenSSL with -iter 1000000 needs
	// three million.
	maxWork = 4_000_000
)

// work is what is left of [maxWork] for one file. Each derivation takes its rounds
// from it before it begins, so that also what was encrypted is counted.
type work struct{ left int }

// take asks for a derivation of so many rounds, done that many times.
func (w *work) take(rounds, times int) error {
	switch {
	case rounds < 1:
		return fmt.Errorf("%w (%d rounds of key derivation)", ErrFormat, rounds)
	case rounds > maxRounds:
		return fmt.Errorf("%w (%d rounds of key derivation, at most %d)", ErrUnsupported, rounds, maxRounds)
	case rounds*times > w.left:
		return fmt.Errorf("%w (more than %d rounds of key derivation in all)", ErrUnsupported, maxWork)
	}
	w.left -= rounds * times
	return nil
}

// glance is after how many rounds a derivation sees whether it was cancelled.
const glance = 1 << 12

// Purposes of a derived key, RFC 7292 B.3.
const (
	forKey = 1
	forIV  = 2
	forMAC = 3
)

// derive12 is the key derivation of PKCS#12, RFC 7292 B.2. The password is UCS-2 with
// two zero bytes at its end.
func (w *work) derive12(ctx context.Context, newHash func() hash.Hash, purpose byte, password, salt []byte, rounds, size int) ([]byte, error) {
	h := newHash()
	u, v := h.Size(), h.BlockSize()
	if err := w.take(rounds, (size+u-1)/u); err != nil {
		return nil, err
	}
	diversifier := bytes.Repeat([]byte{purpose}, v)
	input := append(fill(salt, v), fill(password, v)...)
	var out []byte
	for len(out) < size {
		h.Reset()
		h.Write(diversifier)
		h.Write(input)
		a := h.Sum(nil)
		for i := 1; i < rounds; i++ {
			if i%glance == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			h.Reset()
			h.Write(a)
			a = h.Sum(a[:0])
		}
		out = append(out, a...)
		b := fill(a, v)[:v]
		for block := input; len(block) > 0; block = block[v:] {
			carry := 1
			for i := v - 1; i >= 0; i-- {
				carry += int(block[i]) + int(b[i])
				block[i] = byte(carry & 0xff)
				carry >>= 8
			}
		}
	}
	return out[:size], nil
}

// fill repeats a pattern up to the next multiple of v bytes; nothing stays nothing.
func fill(pattern []byte, v int) []byte {
	if len(pattern) == 0 {
		return nil
	}
	size := v * ((len(pattern) + v - 1) / v)
	return bytes.Repeat(pattern, size/len(pattern)+1)[:size:size]
}

// deriveKey is PBKDF2, RFC 8018 5.2. The standard library's cannot be cancelled.
func (w *work) deriveKey(ctx context.Context, newHash func() hash.Hash, password, salt []byte, rounds, size int) ([]byte, error) {
	prf := hmac.New(newHash, password)
	if err := w.take(rounds, (size+prf.Size()-1)/prf.Size()); err != nil {
		return nil, err
	}
	var out []byte
	for block := byte(1); len(out) < size; block++ {
		prf.Reset()
		prf.Write(salt)
		prf.Write([]byte{0, 0, 0, block})
		u := prf.Sum(nil)
		t := bytes.Clone(u)
		for i := 1; i < rounds; i++ {
			if i%glance == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			prf.Reset()
			prf.Write(u)
			u = prf.Sum(u[:0])
			for k := range t {
				t[k] ^= u[k]
			}
		}
		out = append(out, t...)
	}
	return out[:size], nil
}
