package rotator

import "time"

// RemovalTimes are how long the checks of [isRemoved] take.
type RemovalTimes struct {
	// Reads is the time over which five reads must not list the certificate.
	Reads time.Duration
	// SignIns is the time over which three sign-ins with it must be refused.
	SignIns time.Duration
	// Young replaces SignIns for a certificate that was uploaded, or may have been,
	// within this time before its removal: it may still be spreading. Zero: the
	// app's [ProvePolicy.Within].
	Young time.Duration
}

// DefaultRemovalTimes are those of Microsoft's clouds.
func DefaultRemovalTimes() RemovalTimes {
	return RemovalTimes{Reads: absentOver, SignIns: 10 * time.Minute}
}

// refusals is how many sign-ins in a row must be refused.
const refusals = 3

// verdict is what is known of a removal.
type verdict string

const (
	// verdictRemoved: reads do not list it, and sign-ins with it are refused.
	verdictRemoved verdict = "removed"
	// verdictExpired: it has expired by Entra's time, on the app or not.
	verdictExpired verdict = "expired"
	// verdictPresent: the newest read or sign-in shows that it is there.
	verdictPresent verdict = "present"
	// verdictNotYet: nothing shows it, and not for long enough.
	verdictNotYet verdict = "not yet"
	// verdictUnknowable: neither the list can be read nor a sign-in be tried.
	verdictUnknowable verdict = "cannot be known"
)

// removalSeen is what reads and sign-ins showed of a removal. All times but those
// that say otherwise are Entra's.
type removalSeen struct {
	// Readable tells that the list can be read, Held that its private key is held.
	Readable, Held bool
	// Listed and Accepted tell that the newest read, the newest sign-in showed it.
	Listed, Accepted bool
	// Absent counts reads in a row that did not list it, Refused sign-ins in a row
	// that were refused as not registered.
	Absent, Refused Absence
	// AddedAt is the last request that may have added it, by this host's clock; zero:
	// long ago. SentAt is when its removal was first sent, by the same clock.
	AddedAt, SentAt time.Time
	NotAfter        time.Time
	// At is the time of the newest answer; zero: there was none.
	At time.Time
}

// isRemoved decides whether a certificate has left the app. It is the only judge:
// an answer to removeKey, one refused sign-in and a refusal of addKey prove nothing,
// for reads, writes and tokens meet different replicas.
//
// It keeps two promises: nothing is called removed that gets a token, and no key is
// deleted whose certificate may be accepted.
func isRemoved(s *removalSeen, times RemovalTimes) verdict {
	switch {
	case !s.At.IsZero() && !s.NotAfter.IsZero() && !s.At.Before(s.NotAfter):
		return verdictExpired
	case s.Readable && s.Listed, s.Held && s.Accepted:
		return verdictPresent
	case !s.Readable && !s.Held:
		return verdictUnknowable
	case s.Readable && !s.Absent.lasts(absentReads, times.Reads):
		return verdictNotYet
	case s.Held && !s.Refused.lasts(refusals, s.refusedOver(times)):
		return verdictNotYet
	case s.Held && s.Refused.Since.Before(s.refusedFrom(times)):
		return verdictNotYet
	}
	return verdictRemoved
}

// lasts reports whether there were so many in a row over such a time.
func (a Absence) lasts(n int, over time.Duration) bool {
	return a.Reads >= n && a.Last.Sub(a.Since) >= over
}

// isYoung reports whether the certificate may still have been spreading when its
// removal was sent.
func (s *removalSeen) isYoung(times RemovalTimes) bool {
	return !s.AddedAt.IsZero() && s.SentAt.Sub(s.AddedAt) < times.Young
}

// refusedOver is the time over which sign-ins must be refused.
func (s *removalSeen) refusedOver(times RemovalTimes) time.Duration {
	if s.isYoung(times) {
		return max(times.SignIns, times.Young)
	}
	return times.SignIns
}

// refusedFrom is when the first refusal that counts can be; zero: any time.
func (s *removalSeen) refusedFrom(times RemovalTimes) time.Time {
	if s.isYoung(times) {
		return s.AddedAt.Add(times.Young)
	}
	return time.Time{}
}

// again counts one more answer that did not show it, at Entra's time. Answers closer
// together than every count once. A clock that went back starts anew.
func (a Absence) again(at time.Time, every time.Duration) Absence {
	switch {
	case at.IsZero():
		return a // without a time it counts for nothing
	case a.Reads == 0 || at.Before(a.Last):
		return Absence{Reads: 1, Since: at, Last: at}
	case at.Sub(a.Last) >= every:
		a.Reads++
		a.Last = at
	}
	return a
}

// readEvery is the time between two reads. Where sign-ins take longer than reads
// need, the reads are spread over the same time: nothing is known any sooner.
func (s *removalSeen) readEvery(times RemovalTimes) time.Duration {
	over := times.Reads
	if s.Held {
		over = max(over, times.SignIns)
	}
	return over / (absentReads - 1)
}

// signInEvery is the time between two sign-ins.
func (s *removalSeen) signInEvery(times RemovalTimes) time.Duration {
	return s.refusedOver(times) / (refusals - 1)
}

// pauseOf is the pause between two answers that should be that far apart: Entra's
// times are whole seconds, so that a little more is needed.
func pauseOf(every time.Duration) time.Duration { return every + min(every, inexact) }

// inexact is what the whole seconds of Entra's times may lack.
const inexact = time.Second

// earliest is when the removal can be confirmed if nothing shows the certificate
// from the first check on, at first; zero: never.
func (s *removalSeen) earliest(times RemovalTimes, first time.Time) time.Time {
	var at time.Time
	if s.Readable {
		at = first.Add((absentReads - 1) * pauseOf(s.readEvery(times)))
	}
	if s.Held {
		begin := first
		if from := s.refusedFrom(times); from.After(begin) {
			begin = from
		}
		if end := begin.Add((refusals - 1) * pauseOf(s.signInEvery(times))); end.After(at) {
			at = end
		}
	}
	return at
}
