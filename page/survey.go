package page

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// state groups apps: who needs a person stands first.
type state int

const (
	needsYou state = iota
	rotating
	safe
)

// word is the state in addresses and class names.
func (s state) word() string { return [...]string{"needs", "rotating", "safe"}[s] }

// title is the state for people.
func (s state) title() string { return [...]string{"Needs you", "Rotating", "Safe"}[s] }

// row is what the overview knows about one app. It is small: there may be
// thousands.
type row struct {
	name, displayName, tenant, owner string
	mode                             rotator.Mode
	tags                             []string
	state                            state
	// why it needs a person, or what it is doing.
	why   string
	phase rotator.Phase
	open  bool
	// replaced tells that the open rotation's new certificate is in service.
	replaced bool
	// certificate is the one in service, or the old one of an open rotation; next
	// the one being introduced, or that is expected.
	certificate, next life
	// due and lastSafe start are about the next rotation.
	due, lastSafe time.Time
	// both are accepted from overlap on, until retires.
	overlap, retires time.Time
	// notAfter is that of the certificate in service.
	notAfter   time.Time
	thumbprint string
	// text is what a search looks in, lower case.
	text string
}

// life of a certificate.
type life struct{ from, until time.Time }

func (l life) isZero() bool { return l.until.IsZero() }

// survey is all rows in their order, as they were at one instant.
type survey struct {
	rows   []row
	status rotator.Status
	// counts by state.
	counts        [3]int
	tenants, tags []string
	took          time.Duration
}

func rowOf(a *rotator.AppStatus, now time.Time) row {
	r := row{
		name: a.App.Name, displayName: a.App.DisplayName, tenant: a.App.Tenant, owner: a.App.Owner, mode: a.App.Mode,
		tags: a.App.Tags, state: safe, why: reason(a, now), phase: a.Phase, open: a.Open,
		due: a.DueAt, lastSafe: a.LastSafeStart, notAfter: a.NotAfter,
	}
	if c := a.App.Current; c != nil {
		r.certificate = life{c.NotBefore, c.NotAfter}
		r.thumbprint = c.ThumbprintSHA1
	}
	if c := a.App.Current; c != nil && a.App.Mode != rotator.ModeMonitor {
		// What a rotation needs between its start and the removal of the old one.
		needs := a.NotAfter.Sub(a.LastSafeStart)
		start := a.DueAt
		if start.Before(now) {
			start = now
		}
		r.next = life{start, start.Add(a.Policy.Validity)}
		r.retires = start.Add(needs)
		r.overlap = r.retires.Add(-a.Policy.Overlap)
	}
	if a.Open {
		rot := a.Rotation
		r.next = life{rot.New.NotBefore, rot.New.NotAfter}
		r.certificate = life{}
		if rot.Old != nil {
			r.certificate = life{rot.Old.NotBefore, rot.Old.NotAfter}
		}
		r.overlap, r.retires = time.Time{}, rot.RetiresAt
		if at, ok := rot.PhaseAt[rotator.PhaseConfirmed]; ok {
			r.overlap, r.replaced = at, true
		}
		if r.why == "" {
			r.why = brief(rot)
		}
	}
	switch {
	case a.Attention:
		r.state = needsYou
	case a.Open:
		r.state = rotating
	}
	r.text = strings.ToLower(strings.Join(append([]string{
		r.name, r.displayName, r.tenant, r.owner, string(a.App.ClientID), string(a.App.ObjectID), r.thumbprint,
	}, r.tags...), "\n"))
	return r
}

// surveyor keeps the last survey: with thousands of apps, reading them all takes
// longer than a visitor should wait. Surveys get no more than a tenth of one
// processor, and a small store is read afresh each time.
type surveyor struct {
	source Source
	mu     sync.Mutex
	last   *survey // guarded by mu; what it points to never changes
	making *making // guarded by mu; nil: nobody makes one
	// renewed is closed when a survey ends after visitors got an older one; guarded
	// by mu.
	renewed chan struct{}
	work    sync.WaitGroup
}

// making is a survey under way. Its result may be read when done is closed.
type making struct {
	done chan struct{}
	// isAwaited tells that visitors got an older one meanwhile; guarded by the
	// surveyor's mu.
	isAwaited bool
	survey    *survey
	err       error
}

const (
	// share is the part of the time that surveys may take: one in so many.
	share = 10
	// quick is a survey that is made for every visit.
	quick = 5 * time.Millisecond
	// slow is one for which visitors do not wait if there is one of the last
	// maxAge; after warmEvery it is made without a visitor.
	slow      = 50 * time.Millisecond
	warmEvery = 10 * time.Minute
	maxAge    = 3 * warmEvery
	// telling is the age of a survey from which on visitors are told so.
	telling = time.Minute
	// makeTimeout bounds one survey.
	makeTimeout = 30 * time.Second
)

// isFresh reports whether the survey can be shown without a look at the store.
func (s *survey) isFresh(now time.Time) bool {
	return s != nil && s.took > quick && now.Sub(s.status.At) < share*s.took
}

// survey returns the apps as they are, or as they were a moment ago.
func (s *surveyor) survey(ctx context.Context) (*survey, error) {
	s.mu.Lock()
	last := s.last
	if last.isFresh(time.Now()) {
		s.mu.Unlock()
		return last, nil
	}
	m := s.making
	if m == nil {
		m = &making{done: make(chan struct{})}
		s.making = m
		s.work.Go(func() { s.make(context.WithoutCancel(ctx), m) })
	}
	if last != nil && last.took > slow && time.Since(last.status.At) < maxAge {
		m.isAwaited = true
		s.mu.Unlock()
		return last, nil
	}
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-m.done:
		return m.survey, m.err
	}
}

func (s *surveyor) make(ctx context.Context, m *making) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	defer close(m.done)
	m.survey, m.err = s.look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.making = m.survey, nil
	if m.isAwaited && s.renewed != nil {
		close(s.renewed)
		s.renewed = nil
	}
}

// renewal is closed when there is a newer survey than visitors got.
func (s *surveyor) renewal() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.renewed == nil {
		s.renewed = make(chan struct{})
	}
	return s.renewed
}

// keepWarm makes a survey now and from time to time, so that the first visitor for
// hours need not wait for one. It returns when ctx is done.
func (s *surveyor) keepWarm(ctx context.Context) {
	for ctx.Err() == nil {
		_, _ = s.survey(ctx) // a visitor is told what is wrong
		nap := time.NewTimer(warmEvery)
		select {
		case <-ctx.Done():
		case <-nap.C:
		}
		nap.Stop()
	}
}

// look reads all apps.
func (s *surveyor) look(ctx context.Context) (*survey, error) {
	began := time.Now()
	result := &survey{}
	tenants, tags := map[string]bool{}, map[string]bool{}
	var err error
	result.status, err = s.source.Survey(ctx, func(a *rotator.AppStatus) {
		r := rowOf(a, began)
		result.rows = append(result.rows, r)
		result.counts[r.state]++
		tenants[r.tenant] = true
		for _, tag := range r.tags {
			tags[tag] = true
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(result.rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.state, b.state), a.soonest().Compare(b.soonest()), cmp.Compare(a.name, b.name))
	})
	result.tenants, result.tags = slices.Sorted(maps.Keys(tenants)), slices.Sorted(maps.Keys(tags))
	result.took = time.Since(began)
	return result, nil
}

// soonest is the date by which rows of one state are ordered.
func (r *row) soonest() time.Time {
	if r.state == safe {
		return r.due
	}
	return r.certificate.until
}
