package rotator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// This file holds the guards: pure functions of an app's ledger and of what was seen in
// this step, which alone decide what may be removed, delivered, gone back to and closed.
// They keep the promise "never locked out"; docs/design.md says it in words.

// sighting is what one step saw.
type sighting struct {
	// at is Entra's time; zero: unknown, and nothing that must wait may happen.
	at time.Time
	// accepted are the pairs that a fresh sign-in showed to be accepted.
	accepted []Thumbprint
	// readable tells that the list was read; listed are the certificates in it.
	readable bool
	listed   []Thumbprint
	// targets are what each consumer's place was seen to contain, by name. One that
	// could not be read is not there.
	targets map[string]Target
	// asked tells that the confirmation hook exited 0.
	asked bool
}

// stands reports whether Entra accepts a pair: seen by a fresh sign-in, and in the list
// where that can be read.
func (s *sighting) stands(t Thumbprint) bool {
	return slices.Contains(s.accepted, t) && (!s.readable || slices.Contains(s.listed, t))
}

// permit allows to remove one certificate. Only [ledger.canRemove] makes one.
type permit struct {
	of      Thumbprint
	because string
}

// Why a certificate may be removed.
const (
	removeExpired  = "it has expired"
	removeCut      = "it was given up, to be removed at once"
	removeUnheld   = "no byte of it left the store"
	removeReplaced = "every consumer uses the other one"
)

// refusal is why something may not be done now.
type refusal struct {
	why string
	// what it waits for, one of the Waiting… words, and until when; zero: nobody knows.
	what  string
	until time.Time
}

// text says why, for people.
func (r *refusal) text() string {
	if r == nil {
		return ""
	}
	return r.why
}

// mayRemove is [ledger.canRemove] without the permit: nothing is recorded for what would
// be refused.
func (l *ledger) mayRemove(e, o Thumbprint, s *sighting) *refusal {
	_, r := l.permits(e, o, s)
	return r
}

// permits is [ledger.canRemove], or, where e signs its own removal, [ledger.canRemoveItself].
func (l *ledger) permits(e, o Thumbprint, s *sighting) (permit, *refusal) {
	if e == o {
		return l.canRemoveItself(e, s)
	}
	return l.canRemove(e, o, s)
}

// canRemove decides whether the certificate e may be removed while o stays.
//
// It keeps "never locked out": nothing that a consumer may hold is removed before every
// consumer was confirmed to use o for the overlap, unless it has expired or a person
// gave it up and accepted the outage.
func (l *ledger) canRemove(e, o Thumbprint, s *sighting) (permit, *refusal) {
	goes := l.entry(e)
	if goes == nil || e == o {
		return permit{}, &refusal{why: "it is not known beside another one that stays"}
	}
	if r := l.canStay(o, s); r != nil {
		return permit{}, r
	}
	if goes.CutNow && goes.GivenUp && (l.entry(o).role != roleNext || l.proven) {
		return permit{e, removeCut}, nil
	}
	for name, target := range s.targets {
		if target.Thumbprint == e {
			return permit{}, &refusal{why: name + " contains it"}
		}
	}
	if s.at.After(goes.NotAfter) {
		return permit{e, removeExpired}, nil
	}
	if !l.isHeld(e) || goes.role == roleFormer && l.without(RuleMayHold) {
		return permit{e, removeUnheld}, nil
	}
	return l.isReplaced(e, o, s)
}

// canRemoveForeign is [ledger.canRemove] for a certificate that is not ours and that a
// person told to go: any consumer may hold it.
func (l *ledger) canRemoveForeign(c *Credential, o Thumbprint, s *sighting) (permit, *refusal) {
	if r := l.canStay(o, s); r != nil {
		return permit{}, r
	}
	if s.at.After(c.NotAfter) {
		return permit{c.ThumbprintSHA256, removeExpired}, nil
	}
	return l.isReplaced(c.ThumbprintSHA256, o, s)
}

// canRemoveItself is [ledger.canRemove] where no other certificate of ours is left that
// could stay: no consumer may hold e.
func (l *ledger) canRemoveItself(e Thumbprint, s *sighting) (permit, *refusal) {
	switch {
	case s.at.IsZero():
		return permit{}, &refusal{why: "Entra's time is not known"}
	case l.isHeld(e):
		return permit{}, &refusal{why: "a consumer may use it, and no other certificate is left"}
	}
	return permit{e, removeUnheld}, nil
}

// canStay decides whether o is a ground to stand on: nothing is removed beside one that
// was not accepted in this very step, or that goes itself.
func (l *ledger) canStay(o Thumbprint, s *sighting) *refusal {
	stays := l.entry(o)
	switch {
	case stays == nil:
		return &refusal{why: "the certificate that stays is not known"}
	case s.at.IsZero():
		return &refusal{why: "Entra's time is not known"}
	case !s.at.Before(stays.NotAfter):
		return &refusal{why: "the certificate that stays has expired"}
	case stays.isLeaving():
		return &refusal{why: "the removal of the certificate that stays was sent"}
	case !s.stands(o) && !l.without(RuleStays):
		return &refusal{why: "the certificate that stays was not accepted and listed just now"}
	}
	return nil
}

// isReplaced is the ordinary reason to remove: every consumer was confirmed to use o, and
// the overlap has passed since. For a pair that was given up the overlap is zero; the
// times to reload are not.
func (l *ledger) isReplaced(e, o Thumbprint, s *sighting) (permit, *refusal) {
	since, r := l.confirmedAt(o, s)
	if r != nil {
		return permit{}, r
	}
	overlap := l.policy.Overlap
	if goes := l.entry(e); goes != nil && goes.GivenUp {
		overlap = 0
	}
	if end := since.Add(overlap); s.at.Before(end) {
		return permit{}, &refusal{why: "the overlap has not passed", what: WaitingOverlap, until: end}
	}
	return permit{e, removeReplaced}, nil
}

// confirmedAt is since when every consumer uses o, as of this step: when the last of
// them became confirmed. Without a consumer it is long ago.
func (l *ledger) confirmedAt(o Thumbprint, s *sighting) (time.Time, *refusal) {
	var since time.Time
	if l.none {
		return since, nil
	}
	if len(l.consumers) == 0 {
		return since, &refusal{why: "its consumer is not known, and there is no way to it", what: WaitingDelivery}
	}
	for i := range l.consumers {
		at, r := l.confirmed(&l.consumers[i], o, s)
		if r != nil {
			return time.Time{}, r
		}
		if at.After(since) {
			since = at
		}
	}
	return since, nil
}

// confirmed is since when a consumer uses o, as of this step.
//
// A file must be the very one that was written, and a hook must have run for o; then the
// consumer has its time to read, under every rule: a person's word does not replace it.
// Where only a person knows, it is that person's word, given after anything else was
// announced or handed out.
func (l *ledger) confirmed(c *Consumer, o Thumbprint, s *sighting) (time.Time, *refusal) {
	no := func(what, format string, args ...any) (time.Time, *refusal) {
		return time.Time{}, &refusal{what: what, why: fmt.Sprintf(format, args...)}
	}
	if c.byWord() {
		switch {
		case c.Said != o && c.Delivery.Kind == "" && l.without(RuleBare):
			return time.Time{}, nil
		case c.Said != o:
			return no(WaitingPerson, "nobody confirmed that the consumer of %s uses it", c.Name)
		case c.SaidAt.IsZero():
			return no(WaitingRetry, "the confirmation for %s is not dated yet", c.Name)
		}
		return c.SaidAt, nil
	}
	if c.Delivery.Kind == DeliverFile {
		target, ok := s.targets[c.Name]
		if !ok || target.Thumbprint != o || target.File != c.File {
			return no(WaitingDelivery, "%s was not seen to be the very file that was written", c.Name)
		}
	}
	since := c.readBy(l.policy.ReloadWithin)
	switch {
	case c.Got != o || c.Restart:
		return no(WaitingDelivery, "it is not certain that %s brought it", c.Name)
	case s.at.Before(since):
		return time.Time{}, &refusal{what: WaitingReload, until: since, why: c.Name + " has time to be read"}
	case c.Delivery.Kind == DeliverExec && l.rule == ConfirmCommand && !s.asked:
		return no(WaitingCommand, "the command did not confirm it")
	}
	return since, nil
}

// readBy is until when the consumer has time to read what it got.
func (c *Consumer) readBy(within time.Duration) time.Time {
	if c.RestartAt.After(c.GotAt) {
		return c.RestartAt.Add(within)
	}
	return c.GotAt.Add(within)
}

// readBy is until when the last consumer has time to read what it got. It only says
// when to look again.
func (l *ledger) readBy() time.Time {
	var last time.Time
	for i := range l.consumers {
		if c := &l.consumers[i]; !c.byWord() && c.readBy(l.policy.ReloadWithin).After(last) {
			last = c.readBy(l.policy.ReloadWithin)
		}
	}
	return last
}

// removableFrom is when e can be removed at the earliest, by the records alone: nothing
// need be asked before.
func (l *ledger) removableFrom(e *entry) time.Time {
	if e.GivenUp && e.CutNow || !l.isHeld(e.ThumbprintSHA256) {
		return time.Time{}
	}
	from := l.readBy()
	if !e.GivenUp {
		for i := range l.consumers {
			if c := &l.consumers[i]; c.byWord() && c.SaidAt.After(from) {
				from = c.SaidAt
			}
		}
		from = from.Add(l.policy.Overlap)
	}
	if e.NotAfter.Before(from) {
		return e.NotAfter.Add(time.Second)
	}
	return from
}

// canDeliver decides whether a pair may be brought to consumers: Entra accepts it now,
// nobody gave it up, and nothing removes it.
func (l *ledger) canDeliver(e Thumbprint, s *sighting) *refusal {
	c := l.entry(e)
	switch {
	case c == nil:
		return &refusal{why: "it is not known"}
	case c.GivenUp:
		return &refusal{why: "it was given up as compromised"}
	case c.isLeaving():
		return &refusal{why: "its removal was sent"}
	case !s.stands(e):
		return &refusal{why: "it was not accepted and listed just now"}
	}
	return nil
}

// isWayBack decides whether the records allow to go back to a pair: some consumer may
// hold it, and it lives long enough, at Entra's time, to be delivered, confirmed and
// replaced. Entra must accept it, too.
func (l *ledger) isWayBack(e *entry, at time.Time) *refusal {
	need := l.policy.lead(l.rule) + 2*l.policy.Overlap
	switch left := e.NotAfter.Sub(at); {
	case e.GivenUp:
		return &refusal{why: "was given up as compromised"}
	case !e.RemovedAt.IsZero():
		return &refusal{why: "was removed from the app"}
	case e.isLeaving(), e.ThumbprintSHA256 == l.removing:
		return &refusal{why: "cannot be used: its removal was sent and may have been carried out"}
	case !l.isHeld(e.ThumbprintSHA256):
		return &refusal{why: "was never delivered"}
	case left < need || left <= 0:
		return &refusal{why: fmt.Sprintf("ends %s; delivering it, confirming it and the overlap take %s, so going back would only lead to its end",
			e.NotAfter.Format(time.RFC3339), days(need))}
	}
	return nil
}

// waysBack lists the pairs that the records allow to go back to from next, newest first,
// and says of each other one why not.
func (l *ledger) waysBack(next Thumbprint, at time.Time) (list []entry, why string) {
	var reasons []string
	for _, e := range slices.Backward(l.list) {
		if e.ThumbprintSHA256 == next {
			continue
		}
		if r := l.isWayBack(&e, at); r != nil {
			reasons = append(reasons, "the previous certificate "+e.ThumbprintSHA1+" "+r.why)
			continue
		}
		list = append(list, e)
	}
	return list, strings.Join(reasons, "; ")
}

// neverConfirmed decides whether a rotation that nobody confirmed is over: nothing but
// its own pair is still valid that a consumer may hold, so there is nothing left to
// protect.
func (l *ledger) neverConfirmed(next Thumbprint, at time.Time) bool {
	return !l.holdsOther(next, at)
}

// signers lists the pairs that may sign a proof, best first: those that are listed, then
// those that may be there, last those that were given up, which may sign though nothing
// else. One is out only when its absence is sure, and not by one refusal; with none left,
// and then only, the list has to be replaced.
func (l *ledger) signers(next Thumbprint, at time.Time, listing *Listing) []entry {
	rank := func(e *entry) int {
		listed := listing != nil && slices.ContainsFunc(listing.Entries, e.maySignAs)
		switch {
		case e.ThumbprintSHA256 == next || at.Before(e.NotBefore) || !at.Before(e.NotAfter) || !e.RemovedAt.IsZero() && !listed:
			return -1
		case e.GivenUp && l.without(RuleSignerGivenUp):
			return -1
		case e.GivenUp:
			return 4
		case listed:
			return 0
		case e.isLeaving():
			return 3
		case e.role == roleCurrent:
			return 1
		}
		return 2
	}
	var list []entry
	for _, e := range slices.Backward(l.list) {
		if rank(&e) >= 0 {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(rank(&a), rank(&b)) })
	return list
}
