package rotator

import (
	"context"
	"time"
)

// transientTries is how often a refusal that is known to pass is tried before it
// counts: at once and after 1, 3 and 8 minutes.
const transientTries = 4

// settlesWithin is how long after an app was made, or last accepted, its token and
// its objects may still be denied now and then.
// https://github.com/AzureAD/microsoft-authentication-library-for-dotnet/issues/3706
// https://github.com/hashicorp/terraform-provider-azuread/issues/581
const settlesWithin = time.Hour

// passing returns the failure as it counts now and how many in a row of it there
// were. One that is known to pass is a wait for its first tries, without advice:
// what a person would change is not the cause then.
func (t *turn) passing(f *Failure, now time.Time) (*Failure, int) {
	old, attempts := t.rot.Trouble, 1
	if old != nil {
		attempts = old.Attempts + 1
	}
	tries := 0
	switch {
	case f.Transient:
		tries = transientTries
	case !f.comesAndGoes():
	case t.isYoung(now), old != nil && old.Reason == f.Reason && old.Class == ClassWait:
		tries = manyAttempts
	}
	if tries > 0 && old != nil && old.Reason != f.Reason {
		attempts = 1 // it has tries of its own
	}
	if attempts >= tries {
		return f, attempts
	}
	passes := *f
	passes.Class, passes.Next = ClassWait, ""
	return &passes, attempts
}

// isYoung reports whether the app was made, or accepted by Entra, a short while ago.
func (t *turn) isYoung(now time.Time) bool {
	seen := []time.Time{t.had.at, t.signedIn, t.looked, t.rot.LookedAt, t.rot.Proof.LastAt, t.r.acceptedAt(t.app.Name)}
	if made := t.app.Created; made != nil {
		seen = append(seen, made.At)
	}
	for _, at := range seen {
		if !at.IsZero() && now.Sub(at) < settlesWithin {
			return true
		}
	}
	return false
}

// isYoung reports whether the app was made or added here a short while ago; when it is
// added, it signs in.
func (a *App) isYoung(now time.Time) bool {
	return !a.AddedAt.IsZero() && now.Sub(a.AddedAt) < settlesWithin || a.Created != nil && now.Sub(a.Created.At) < settlesWithin
}

// askAgain asks for somebody who waits, up to four times within a quarter of a minute,
// while the answer is one that is known to pass. young tells that the app was made, or
// accepted, within the hour, or that nobody knows how long it has been there.
func askAgain(ctx context.Context, young bool, ask func() error) error {
	for try, wait := 1, time.Second; ; try, wait = try+1, 3*wait {
		err := ask()
		f := failureOf(err)
		passes := err != nil && (f.Transient || young && f.comesAndGoes())
		if !passes || try == transientTries || pause(ctx, wait) != nil {
			return err
		}
	}
}

// comesAndGoes reports whether a young app gets such answers now and then.
func (f *Failure) comesAndGoes() bool {
	return f.Reason == ReasonAppNotFound || f.Reason == ReasonForbidden
}
