package rotator

import (
	"context"
	"fmt"
	"iter"
	"slices"
)

// Follow yields the rotation as it is now and after each change of its record,
// until it ended or ctx is done. Intermediate records may be left out.
func (r *Rotator) Follow(ctx context.Context, id string) iter.Seq2[Rotation, error] {
	return r.follow(ctx, id, func(rot *Rotation) bool { return rot.Phase.IsEnd() })
}

// FollowRemovals is Follow until the removals that the rotation sent are confirmed,
// too. Those that cannot be confirmed from here are not waited for.
func (r *Rotator) FollowRemovals(ctx context.Context, id string) iter.Seq2[Rotation, error] {
	return r.follow(ctx, id, func(rot *Rotation) bool {
		open := func(c Credential) bool { return !c.RemovalFrom.IsZero() }
		return rot.Phase.IsEnd() && !slices.ContainsFunc(rot.Unconfirmed(r.now()), open)
	})
}

func (r *Rotator) follow(ctx context.Context, id string, isOver func(rot *Rotation) bool) iter.Seq2[Rotation, error] {
	return func(yield func(Rotation, error) bool) {
		seen := -1
		for {
			next := r.nextChange()
			rot, err := r.Store.Rotation(ctx, id)
			if err != nil {
				yield(Rotation{}, err)
				return
			}
			if rot.Seq != seen {
				seen = rot.Seq
				if !yield(rot, nil) || isOver(&rot) {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-next:
			}
		}
	}
}

// Rotation returns one journal record; [ErrNotFound] if there is none.
func (r *Rotator) Rotation(ctx context.Context, id string) (Rotation, error) {
	return r.Store.Rotation(ctx, id)
}

// History returns the newest rotations first, of one app or of all; limit 0
// means all.
func (r *Rotator) History(ctx context.Context, app string, limit int) ([]Rotation, error) {
	if app != "" {
		if _, err := r.Store.App(ctx, app); err != nil {
			return nil, fmt.Errorf("app %s: %w", app, err)
		}
	}
	return r.Store.Rotations(ctx, app, limit)
}

// Changed returns a channel that is closed when a record of an app or a rotation
// changes. Take it before reading what it is about.
func (r *Rotator) Changed() <-chan struct{} { return r.nextChange() }
