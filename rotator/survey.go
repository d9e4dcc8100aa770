package rotator

import (
	"context"
	"time"
)

// surveyBatch is how many apps are read at once.
const surveyBatch = 256

// Survey calls see with the status of each app, by name, and returns the status
// without apps. It holds a few apps at a time, however many are tracked; see must
// not keep what it is given.
func (r *Rotator) Survey(ctx context.Context, see func(*AppStatus)) (Status, error) {
	now := time.Now().UTC()
	state, err := r.state(ctx)
	if err != nil {
		return Status{}, err
	}
	after := ""
	for {
		apps, err := r.Store.Apps(ctx, after, surveyBatch)
		if err != nil {
			return Status{}, err
		}
		for i := range apps {
			one, err := r.appStatus(ctx, &apps[i], &state, now)
			if err != nil {
				return Status{}, err
			}
			see(&one)
		}
		if len(apps) < surveyBatch {
			return r.statusOf(ctx, &state, now)
		}
		after = apps[len(apps)-1].Name
	}
}

// statusOf is what holds for the whole store.
func (r *Rotator) statusOf(ctx context.Context, state *State, now time.Time) (Status, error) {
	warnings, err := r.inspectionWarnings(ctx)
	if err != nil {
		return Status{}, err
	}
	s := Status{
		At: now, PausedUntil: state.PausedUntil, Stopped: state.Stopped, ReadOnly: state.ReadOnly,
		LastCheck: state.LastCheck, LastCheckError: state.LastCheckError, Warnings: warnings,
	}
	r.mu.Lock()
	s.NextCheck = r.checkAt
	r.mu.Unlock()
	return s, nil
}
