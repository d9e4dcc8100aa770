package graph

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	khttp "github.com/microsoft/kiota-http-go"

	"github.com/seed-f0abd057/rotate/rotator"
)

const (
	// maxRepeats is how often a read or a request for a token is repeated.
	maxRepeats = 2
	// maxWait bounds one wait between them. A server that asks for more is
	// asked again by the caller, later.
	maxWait = 10 * time.Second
	// firstWait is the wait when the server did not say; it doubles.
	firstWait = 500 * time.Millisecond
)

// repeat calls once until it works, has failed for good, was repeated often
// enough, or the deadline is too near. This is the one place that decides
// about repeating; the last failure is returned. once tells whether it may be
// called again.
func repeat(ctx context.Context, once func() (again bool, failure *rotator.Failure)) error {
	wait := firstWait
	for n := 0; ; n++ {
		again, failure := once()
		if failure == nil {
			return nil
		}
		if !again || n == maxRepeats || !passes(failure) || ctx.Err() != nil {
			return failure
		}
		pause := jitter(wait)
		if failure.RetryAfter > 0 {
			pause = failure.RetryAfter + jitter(firstWait/5)
		}
		deadline, ok := ctx.Deadline()
		if pause > maxWait+firstWait || ok && time.Until(deadline) < pause {
			return failure
		}
		if untilDone(ctx, pause) != nil {
			return failure
		}
		wait *= 2
	}
}

// passes reports whether the same request may work a moment later.
func passes(f *rotator.Failure) bool {
	return f.Reason == rotator.ReasonThrottled || f.Reason == rotator.ReasonUnavailable || f.Reason == rotator.ReasonNetwork
}

// jitter returns between half of d and one and a half of it.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // spreads requests, protects nothing
}

// do runs one operation on Graph with the caller's token. ask is called with a
// fresh adapter for each try; its exchange is returned for what the models do
// not tell. For a write only the token is asked again, never the write.
func (c *Client) do(ctx context.Context, k call, ask func(context.Context, *khttp.NetHttpRequestAdapter) error) (*exchange, error) {
	t, err := c.tenant(k)
	if err != nil {
		return nil, err
	}
	token, err := c.credential(ctx, t, k)
	if err != nil {
		return nil, err
	}
	limited, cancel := c.deadline(ctx)
	defer cancel()
	var x *exchange
	err = repeat(limited, func() (bool, *rotator.Failure) {
		x = &exchange{next: t.graph}
		adapter, err := newAdapter(t, token, x)
		if err == nil {
			err = ask(limited, adapter)
		}
		failure := c.failure(k, token, x, err)
		c.noteFailure(k, failure)
		c.noteWrite(k, x)
		if failure != nil && spoils(failure, x) {
			c.forget(token)
		}
		return !k.write || !x.sent, failure
	})
	return x, err
}

// spoils reports whether a failure makes the credential useless: Entra refused
// it, or Graph its token. The next call starts from a new one.
func spoils(f *rotator.Failure, x *exchange) bool {
	return !passes(f) && (!x.sent || x.status == http.StatusUnauthorized)
}
