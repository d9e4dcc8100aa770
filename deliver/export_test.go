package deliver

import (
	"context"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Tail returns what is kept of the output of a hook that got the pair.
func Tail(pair rotator.KeyPair, content []byte, printed string) string {
	o := &output{secrets: newSecrets(pair, content)}
	_, _ = o.Write([]byte(printed))
	return o.tail()
}

// Claim claims folders.
func (d *Deliverer) Claim(ctx context.Context, folders ...string) (func(), error) {
	return d.claim(ctx, folders...)
}
