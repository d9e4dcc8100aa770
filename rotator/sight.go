package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// This file gathers what a step saw, for the guards to judge.

// answered notes what a sign-in with one of the app's pairs showed.
func (t *turn) answered(pair Thumbprint, got SignIn, err error) {
	at := got.At
	if err != nil {
		at = failureOf(err).ServerTime
	}
	t.dated(at)
	if t.accepts == nil {
		t.accepts = map[Thumbprint]time.Time{}
	}
	switch reasonOf(err) { //nolint:exhaustive // the others say nothing about the certificate
	case ReasonNotRegistered, ReasonExpired:
		delete(t.accepts, pair)
	case ReasonBlocked: // Conditional Access comes after the credential was accepted
		t.accepts[pair] = t.now()
	default:
		if err == nil {
			t.accepts[pair] = t.now()
		}
	}
}

// dated notes Entra's time.
func (t *turn) dated(at time.Time) {
	if !at.IsZero() {
		t.at, t.local = at.UTC(), t.now()
	}
}

// entraNow is Entra's time, by this turn's newest answer; zero: it had none.
func (t *turn) entraNow() time.Time {
	if t.at.IsZero() {
		return time.Time{}
	}
	return t.at.Add(t.now().Sub(t.local)).UTC()
}

// bestTime is Entra's time where an answer gave it, else this host's.
func (t *turn) bestTime() time.Time { return cmp.Or(t.entraNow(), t.r.entraNow(t.app.Tenant).UTC()) }

// keys reads the app's list.
func (t *turn) keys(ctx context.Context, as KeyPair, withKeys bool) (Listing, error) {
	listing, err := t.r.settings().Entra.Keys(ctx, t.access(as), withKeys)
	if err == nil {
		t.listing = &listing
		t.dated(listing.At)
	}
	return listing, err
}

// sighting is what this turn saw lately.
func (t *turn) sighting() *sighting {
	s := &sighting{at: t.entraNow(), targets: t.places, asked: t.asked}
	for pair, at := range t.accepts {
		if t.isRecent(at) {
			s.accepted = append(s.accepted, pair)
		}
	}
	if t.listing == nil {
		return s
	}
	s.readable = true
	for _, e := range t.ledger().list {
		if slices.ContainsFunc(t.listing.Entries, func(l Entry) bool { return e.isListedAs(l) }) {
			s.listed = append(s.listed, e.ThumbprintSHA256)
		}
	}
	return s
}

// isListedAs reports whether an entry of a list carries the certificate.
func (c *Credential) isListedAs(e Entry) bool {
	switch {
	case e.Thumbprint != "":
		return e.Thumbprint == c.ThumbprintSHA256
	case c.KeyID != "":
		return e.KeyID == c.KeyID
	}
	return c.RequestedKeyID != "" && e.KeyID == c.RequestedKeyID
}

// holdsNow reads what every target contains.
func (t *turn) holdsNow(ctx context.Context) error {
	passwords, err := t.passwords(ctx)
	if err != nil {
		return err
	}
	t.places = map[string]Target{}
	for _, d := range t.app.Deliveries {
		target, err := t.r.settings().Deliverer.Holds(ctx, d, passwords)
		switch {
		case errors.Is(err, ErrCannotTell):
		case err != nil:
			return fmt.Errorf("app %s: look at delivery %s: %w", t.app.Name, d.Name(), err)
		default:
			t.places[d.Name()] = target
		}
	}
	return nil
}

// date gives what happened to consumers at a time that was not known the time of
// Entra's newest answer: later than it was, never earlier.
func (t *turn) date(ctx context.Context) error {
	at := t.entraNow()
	undated := func(c Consumer) bool { return c.Restart || c.Said != "" && c.SaidAt.IsZero() }
	if at.IsZero() || !slices.ContainsFunc(t.app.Consumers, undated) {
		return nil
	}
	return t.record(ctx, "", func(rec *Records) {
		rec.App.eachConsumer(func(c *Consumer) {
			if c.Restart {
				c.Restart, c.RestartAt = false, at
			}
			if c.Said != "" && c.SaidAt.IsZero() {
				c.SaidAt = at
			}
		})
	})
}
