//go:build e2e

package main_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"
)

// consumer is a program that signs in again and again with the file it finds. It
// sees whether the first promise holds at every moment: what it holds is accepted.
type consumer struct {
	app *adopted
	// raw is the file that was opened last, and pair what it held.
	raw  string
	pair keyPair

	mu       sync.Mutex
	tokens   int
	failures []string
}

// between is the time between two sign-ins.
const between = 200 * time.Millisecond

// watchConsumers lets a consumer of each app sign in until the returned function
// is called, which reports what they met.
func watchConsumers(t *testing.T, apps []*adopted) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	consumers := make([]*consumer, len(apps))
	for i, a := range apps {
		c := &consumer{app: a}
		consumers[i] = c
		running.Go(func() { c.run(ctx) })
	}
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		for _, c := range consumers {
			t.Logf("the consumer of %s signed in %d times with %d key pairs", c.app.name, c.tokens, len(c.app.pairs()))
			if c.tokens == 0 {
				t.Errorf("the consumer of %s never signed in", c.app.name)
			}
			for _, failure := range c.failures {
				t.Errorf("the consumer of %s: %s", c.app.name, failure)
			}
		}
	})
	t.Cleanup(stop)
	return stop
}

func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.signIn(ctx)
		c.mu.Lock()
		switch {
		case err == nil:
			c.tokens++
		case ctx.Err() == nil && len(c.failures) < 5:
			c.failures = append(c.failures, time.Now().UTC().Format(time.RFC3339Nano)+": "+err.Error())
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(between):
		}
	}
}

// signIn reads the file and signs in. If that is refused although the file is
// still the same, the consumer is locked out; else it came a moment late.
func (c *consumer) signIn(ctx context.Context) error {
	if c.app.off != nil {
		c.app.off.RLock()
		defer c.app.off.RUnlock()
	}
	for {
		before, err := c.read()
		if err != nil {
			return err
		}
		err = c.app.tenant.signIn(ctx, c.app.seed.ClientID, c.pair)
		if err == nil {
			return nil
		}
		refused, isRefusal := errors.AsType[*refusal](err)
		if !isRefusal {
			return nil // no answer says nothing
		}
		if after, err := c.read(); err != nil || after == before {
			return errors.Join(fmt.Errorf("locked out: the pair %s it holds is refused: %w", c.pair.thumbprint(), refused), err)
		}
	}
}

// read opens the consumer's files; before the first delivery they may be the
// seeded ones.
func (c *consumer) read() (raw string, err error) {
	path, passwordPath := c.app.path, c.app.path+".password"
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		path, passwordPath = c.app.seed.PFXFile, c.app.seed.PasswordFile
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	if string(data) == c.raw {
		return c.raw, nil
	}
	password, err := os.ReadFile(passwordPath)
	if err != nil {
		return "", err
	}
	p, err := openPFX(data, string(password))
	if err != nil {
		return "", fmt.Errorf("%s does not open: %w", path, err)
	}
	c.raw, c.pair = string(data), p
	c.app.hold(p)
	return c.raw, nil
}
