package rotator

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// surveyBatch is how many apps are read at once.
const surveyBatch = 256

// Survey calls see with the status of each app, by name, and returns the status
// without apps. It holds a few apps at a time, however many are tracked; see must
// not keep what it is given.
func (r *Rotator) Survey(ctx context.Context, see func(*AppStatus)) (Status, error) {
	err := r.SurveyAfter(ctx, "", 0, func(a *AppStatus) error { see(a); return nil })
	if err != nil {
		return Status{}, err
	}
	now := r.now().UTC()
	state, err := r.state(ctx)
	if err != nil {
		return Status{}, err
	}
	return r.statusOf(ctx, &state, now)
}

// SurveyAfter calls see with the status of up to limit apps behind a name; a limit of 0
// means all. It ends with the first error of see.
func (r *Rotator) SurveyAfter(ctx context.Context, after string, limit int, see func(*AppStatus) error) error {
	now := r.now().UTC()
	state, err := r.state(ctx)
	if err != nil {
		return err
	}
	for left := limit; limit == 0 || left > 0; left -= surveyBatch {
		size := surveyBatch
		if limit > 0 {
			size = min(size, left)
		}
		apps, err := r.Store.Apps(ctx, after, size)
		if err != nil {
			return err
		}
		for i := range apps {
			one, err := r.appStatus(ctx, &apps[i], &state, now)
			if err == nil {
				err = see(&one)
			}
			if err != nil {
				return err
			}
		}
		if len(apps) < size {
			return nil
		}
		after = apps[len(apps)-1].Name
	}
	return nil
}

// Overview is the status of the whole store with up to limit apps: all of them if there
// are no more, else the first that a person should look at. It costs what it returns, and
// a look at the entries of the due index that are counted.
func (r *Rotator) Overview(ctx context.Context, limit int) (Status, error) {
	now := r.now().UTC()
	state, err := r.state(ctx)
	if err != nil {
		return Status{}, err
	}
	s, err := r.statusOf(ctx, &state, now)
	if err != nil {
		return Status{}, err
	}
	if s.Counts, err = r.counts(ctx, &state, now); err != nil {
		return Status{}, err
	}
	add := func(a *AppStatus) error { s.Apps = append(s.Apps, *a); return nil }
	if state.Defaults != r.defaultsDigest() && (limit == 0 || s.Counts.Apps > limit) {
		return r.overviewOfAll(ctx, s, &state, now, cmp.Or(limit, someNamesMost))
	}
	switch {
	case limit == 0:
		limit = someNamesMost
		fallthrough // their names are in the problems
	case s.Counts.Apps > limit && !state.ReadOnly:
		err = r.inNeed(ctx, &state, now, limit, add)
	default:
		err = r.SurveyAfter(ctx, "", limit, add)
	}
	if err != nil {
		return Status{}, err
	}
	s.Problems, err = r.problems(ctx, &s, &state, now)
	return s, err
}

// overviewOfAll is [Rotator.Overview] where the due index does not know yet who needs a
// person: it looks at all apps.
func (r *Rotator) overviewOfAll(ctx context.Context, s Status, state *State, now time.Time, limit int) (Status, error) {
	s.Counts = Counts{}
	err := r.SurveyAfter(ctx, "", 0, func(a *AppStatus) error {
		s.Counts.add(a, now)
		if a.Attention && len(s.Apps) < limit {
			s.Apps = append(s.Apps, *a)
		}
		return nil
	})
	if err != nil {
		return Status{}, err
	}
	s.Problems, err = r.problems(ctx, &s, state, now)
	return s, err
}

// inNeed calls see with up to limit apps that a person should look at.
func (r *Rotator) inNeed(ctx context.Context, state *State, now time.Time, limit int, see func(*AppStatus) error) error {
	wakes, err := r.Store.Due(ctx, WakeAttention, now, limit)
	if err != nil {
		return err
	}
	for _, w := range wakes {
		app, err := r.Store.App(ctx, w.App)
		if errors.Is(err, ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		one, err := r.appStatus(ctx, &app, state, now)
		if err == nil {
			err = see(&one)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// counts are those of the whole store, from the due index.
func (r *Rotator) counts(ctx context.Context, state *State, now time.Time) (Counts, error) {
	var c Counts
	var errs [4]error
	c.Apps, errs[0] = r.Store.CountApps(ctx)
	c.Open, errs[1] = r.Store.Count(ctx, WakeOpen)
	c.Due, errs[2] = r.Store.CountDue(ctx, WakeStart, now)
	c.Attention, errs[3] = r.Store.CountDue(ctx, WakeAttention, now)
	if state.ReadOnly {
		c.Attention = c.Apps // nothing is written for any
	}
	return c, errors.Join(errs[:]...)
}

// statusOf is what holds for the whole store.
func (r *Rotator) statusOf(ctx context.Context, state *State, now time.Time) (Status, error) {
	warnings, err := r.inspectionWarnings(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{
		At: now, PausedUntil: state.PausedUntil, Stopped: state.Stopped, ReadOnly: state.ReadOnly,
		LastCheck: state.LastCheck, LastCheckError: state.LastCheckError, LastGoodCheck: state.LastGoodCheck, Warnings: warnings,
	}
	r.mu.Lock()
	s.NextCheck = r.checkAt
	r.mu.Unlock()
	return s, nil
}
