package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
)

// consumer is the program that signs in with the app's key pair: it reads its
// file each time, as a program does that is told of no change.
type consumer struct {
	entra *graph.Client
	app   rotator.Registration
	path  string
	// first is the certificate that its file holds at the start.
	first rotator.Thumbprint

	mu       sync.Mutex
	signIns  map[rotator.Thumbprint]int // guarded by mu
	refusals []string                   // guarded by mu
}

// consumeEvery is how often it signs in.
const consumeEvery = 400 * time.Millisecond

func (c *consumer) run(ctx context.Context) error {
	ticker := time.NewTicker(consumeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		pair, err := openPair(ctx, c.path, c.path+".password")
		if err == nil {
			_, err = c.entra.SignIn(ctx, c.app, pair, nil)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// On a host with much other work it may come a moment late, with a file that
			// was replaced meanwhile.
			if now, readErr := openPair(ctx, c.path, c.path+".password"); readErr == nil && now.Thumbprint() != pair.Thumbprint() {
				continue
			}
		}
		c.count(pair.Thumbprint(), err)
	}
}

func (c *consumer) count(t rotator.Thumbprint, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.refusals = append(c.refusals, err.Error())
		return
	}
	if c.signIns == nil {
		c.signIns = map[rotator.Thumbprint]int{}
	}
	c.signIns[t]++
}

// consumerLine tells how the consumer is doing.
func (d *demo) consumerLine() []string {
	c := d.consumer
	c.mu.Lock()
	defer c.mu.Unlock()
	old, all := c.signIns[c.first], 0
	for _, n := range c.signIns {
		all += n
	}
	refused := d.t.paint(green, "0 refused")
	if n := len(c.refusals); n > 0 {
		refused = d.t.paint(red, fmt.Sprintf("%d refused", n))
	}
	return []string{"", fmt.Sprintf("%s  signed in %s: %d with the old file, %d with the new one, %s",
		d.t.paint(bold, "consumer"), count(all, "time", "times"), old, all-old, refused)}
}

// openPair opens a PFX with the password in a file.
func openPair(ctx context.Context, path, passwordFile string) (rotator.KeyPair, error) {
	data, err := readFile(path, pfx.MaxBytes)
	if err != nil {
		return rotator.KeyPair{}, err
	}
	password, err := readPassword(passwordFile)
	if err != nil {
		return rotator.KeyPair{}, err
	}
	return encoder{}.decode(ctx, data, password)
}

// inspect looks at the result from outside, with nothing of the store: what the
// consumer got, what Entra accepts, what the app holds.
func (d *demo) inspect(ctx context.Context) error {
	d.chapter("the result, seen from outside", "")
	delivered, err := openPair(ctx, d.consumer.path, d.consumer.path+".password")
	if err != nil {
		return fmt.Errorf("open the delivered PFX: %w", err)
	}
	adopted, err := openPair(ctx, d.seed.PFXFile, d.seed.PasswordFile)
	if err != nil {
		return err
	}
	fresh, err := rotator.CredentialOf(delivered.Certificate)
	if err != nil {
		return err
	}
	d.result(true, "the consumer's PFX opens with the same password", fmt.Sprintf("%s, valid until %s",
		shortThumbprint(fresh.ThumbprintSHA1), fresh.NotAfter.Format(time.DateOnly)))

	token, err := d.entra.SignIn(ctx, d.registration(), delivered, nil)
	if err != nil {
		return fmt.Errorf("sign in with the delivered PFX: %w", err)
	}
	d.result(true, "it gets a token", "with "+strings.Join(token.Roles, ", "))

	refusal, err := d.refused(ctx, adopted)
	if err != nil {
		return err
	}
	d.result(true, "the old certificate is refused", refusal)

	d.consumer.mu.Lock()
	before, after := d.consumer.signIns[adopted.Thumbprint()], d.consumer.signIns[delivered.Thumbprint()]
	refusals := d.consumer.refusals
	d.consumer.mu.Unlock()
	d.result(len(refusals) == 0, fmt.Sprintf("the consumer was never locked out: %d sign-ins", before+after),
		fmt.Sprintf("%d with the old file, %d with the new one, %d refused", before, after, len(refusals)))
	if len(refusals) > 0 {
		return fmt.Errorf("the consumer was refused: %s", strings.Join(refusals, "; "))
	}
	return d.compare(ctx, adopted.Thumbprint(), fresh)
}

// How often the old certificate must be refused in a row: replicas of the token
// service answer in turn, and learn of the removal one after the other.
const (
	refusalsInARow = 3
	refusalEvery   = 500 * time.Millisecond
)

// refused waits until the token service refuses a pair everywhere, and returns
// why.
func (d *demo) refused(ctx context.Context, pair rotator.KeyPair) (string, error) {
	ticker := time.NewTicker(refusalEvery)
	defer ticker.Stop()
	for row := 0; ; {
		_, err := d.entra.SignIn(ctx, d.registration(), pair, nil)
		if err == nil {
			row = 0
		} else if row++; row == refusalsInARow {
			if refusal, ok := errors.AsType[*graph.Error](err); ok {
				return refusal.Code, nil
			}
			return err.Error(), nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the old certificate is still accepted: %w", ctx.Err())
		case <-ticker.C:
		}
	}
}

// compare shows the app's credentials before and after.
func (d *demo) compare(ctx context.Context, old rotator.Thumbprint, fresh rotator.Credential) error {
	after, err := d.list(ctx)
	if err != nil {
		return err
	}
	present := map[rotator.Thumbprint]rotator.Entry{}
	for _, e := range after.Entries {
		present[e.Thumbprint] = e
	}
	untouched := after.Secrets == d.before.Secrets
	var rows table
	rows.row(d.t.heads("  ON THE APP", "KEY ID", "UNTIL", "BEFORE", "AFTER")...)
	row := func(name string, e rotator.Entry, before, now string) {
		rows.row("  "+name, string(e.KeyID), e.NotAfter.Format(time.DateOnly), before, now)
	}
	for _, e := range d.before.Entries {
		same, there := present[e.Thumbprint]
		switch e.Thumbprint {
		case old:
			untouched = untouched && !there
			row(cmp.Or(e.DisplayName, "the old certificate"), e, "yes", d.t.paint(yellow, "removed"))
		default:
			untouched = untouched && there && same == e
			row(cmp.Or(e.DisplayName, "a certificate without a name"), e, "yes", d.t.paint(green, "untouched"))
		}
	}
	e, there := present[fresh.ThumbprintSHA256]
	row(e.DisplayName, e, "–", d.t.paint(green, "added"))
	rows.row("  somebody else's client secret", "", "", fmt.Sprint(d.before.Secrets), d.t.paint(green, fmt.Sprint(after.Secrets)))
	d.result(untouched && there, "nothing foreign was touched", "")
	fmt.Fprintln(d.t.w)
	rows.write(d.t.w)
	if !untouched || !there {
		return errors.New("the app's credentials are not what they should be")
	}
	return nil
}

// result prints one finding.
func (d *demo) result(good bool, what, detail string) {
	mark := d.t.paint(green, "✔")
	if !good {
		mark = d.t.paint(red, "✖")
	}
	if detail != "" {
		detail = d.t.paint(dim, "  "+detail)
	}
	fmt.Fprintf(d.t.w, "  %s %s%s\n", mark, what, detail)
}

// finish shows the status again and says what was seen.
func (d *demo) finish(ctx context.Context) error {
	fmt.Fprintln(d.t.w)
	if err := d.command(ctx, "status"); err != nil {
		return err
	}
	fmt.Fprintf(d.t.w, "\n%s\n", d.t.paint(green, fmt.Sprintf(
		"From %s left to %s, in %s. The consumer noticed nothing.", whole(demoLeft), whole(365*day), whole(time.Since(d.begun)))))
	return nil
}
