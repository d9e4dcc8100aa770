package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// patience is how long a command stays for something that goes on by itself; a
// longer wait is the daemon's.
const patience = 10 * time.Minute

// longest is a wait that does not end by itself.
const longest = time.Duration(math.MaxInt64)

// outcome is where a rotation stood when the command left it.
type outcome struct {
	// app by name, for a rotation that did not even start.
	app      string
	rotation control.Rotation
	// code is the exit code of this one.
	code int
	// why it was left, for people; empty: it ended.
	why string
	// err is what failed; nil: nothing.
	err error
}

// follower watches rotations until each ended or must wait.
type follower struct {
	conn *connection
	view view
	// wait tells to stay for the overlap, the reload and the confirmed removal too.
	wait bool
}

// follow watches all of them side by side; the outcomes are in the same order.
func (f *follower) follow(ctx context.Context, rotations []control.Rotation) []outcome {
	outcomes := make([]outcome, len(rotations))
	var all sync.WaitGroup
	for i, r := range rotations {
		f.view.update(r)
		all.Go(func() { outcomes[i] = f.one(ctx, r) })
	}
	all.Wait()
	f.view.end()
	return outcomes
}

// one watches one rotation. The trouble that r has is that of an earlier try: r is as it
// was when the work was asked for.
func (f *follower) one(ctx context.Context, r control.Rotation) outcome {
	last, earlier := r, r.Trouble
	follow := f.conn.Follow
	if f.wait {
		follow = f.conn.FollowRemovals
	}
	for now, err := range follow(ctx, r.ID) {
		switch {
		case errors.Is(err, context.Canceled):
			return f.detached(last)
		case errors.Is(err, control.ErrEnded):
			return outcome{app: r.App, rotation: last, code: exitWaiting, why: "the daemon stopped", err: fmt.Errorf("app %s: rotation %s: %w", r.App, r.ID, err)}
		case err != nil:
			return outcome{app: r.App, rotation: last, code: exitFailed, err: err}
		}
		last = now
		f.view.update(now)
		if o, left := f.judge(now, earlier, time.Now()); left {
			return o
		}
	}
	o, _ := f.judge(last, earlier, time.Now())
	return o
}

// detached is what becomes of a rotation when the command is interrupted.
func (f *follower) detached(r control.Rotation) outcome {
	why := "detached; the daemon goes on with it: rotate status " + r.App
	if f.conn.local {
		why = "stopped; it goes on with: rotate now " + r.App
	}
	return outcome{app: r.App, rotation: r, code: exitWaiting, why: why}
}

// judge tells whether a command leaves the rotation as it is now, and how. earlier is
// what an earlier try failed with.
func (f *follower) judge(r control.Rotation, earlier *control.Trouble, now time.Time) (outcome, bool) {
	o := outcome{app: r.App, rotation: r, code: exitWaiting}
	switch {
	case r.Phase == string(rotator.PhaseRolledBack) && r.Back != "person":
		o.code, o.err = exitFailed, fmt.Errorf("app %s: rotation %s was rolled back: %s", r.App, r.ID, r.Outcome)
		return o, true
	case !r.Open:
		o.code = exitDone
		return o, !f.wait || !r.AwaitsRemovals()
	case r.Trouble != nil && (earlier == nil || !r.Trouble.At.Equal(earlier.At)):
		return f.judgeTrouble(o, now)
	case r.WaitingFor == nil, *r.WaitingFor == rotator.WaitingRetry:
		return o, false // at work, or about to try again
	}
	left := longest
	if r.WaitingUntil != nil {
		left = r.WaitingUntil.Sub(now)
	}
	switch *r.WaitingFor {
	case rotator.WaitingDelivery:
		o.why = "no delivery: its consumer would never get the new key; rotate app edit " + r.App + " --deliver-file PATH"
		return o, true
	case rotator.WaitingPerson:
		o.why = "waiting for a person: " + r.NextStep
		return o, true
	case rotator.WaitingPause:
		o.why = fmt.Sprintf("paused; \"rotate resume %s\" or \"rotate resume --all\" ends it", r.App)
		return o, true
	case rotator.WaitingWindow:
		o.why = "held until its window opens" + f.parked()
		return o, true
	case rotator.WaitingOverlap:
		if f.wait && (!f.conn.local || left <= patience) || !hasOverlap(r) {
			return o, false
		}
		o.why = "the new certificate is in service, and the old one goes after the overlap" + f.parked()
		if r.Phase == string(rotator.PhaseRollingBack) {
			o.why = "the previous certificate is in service again, and the new one goes after the overlap" + f.parked()
		}
		return o, true
	case rotator.WaitingEvidence:
		o.why = "the consumer still uses the old certificate (rotate app signins " + r.App + "), so it stays" + f.parked()
		return o, true
	case rotator.WaitingReload, rotator.WaitingCommand:
		if left <= patience || f.wait && !f.conn.local {
			return o, false
		}
	default:
		if left <= patience {
			return o, false
		}
	}
	o.why = "it has to wait" + f.parked()
	return o, true
}

// hasOverlap tells that the old certificate is meant to stay for a while.
func hasOverlap(r control.Rotation) bool {
	return r.RetiresAt == nil || r.RetiresAt.After(r.PhaseAt[string(rotator.PhaseConfirmed)].Add(time.Second))
}

func (f *follower) judgeTrouble(o outcome, now time.Time) (outcome, bool) {
	trouble := o.rotation.Trouble
	class := rotator.Class(trouble.Class)
	passes := class == rotator.ClassWait || class == rotator.ClassRetry
	if passes && trouble.RetryAt != nil && trouble.RetryAt.Sub(now) <= patience {
		return o, false
	}
	o.err = &control.Error{Code: "failure", Message: trouble.Message, Next: trouble.Next, Class: trouble.Class, Reason: trouble.Reason}
	if !passes {
		o.code = exitFailed
		return o, true
	}
	if trouble.RetryAt != nil {
		o.why = fmt.Sprintf("the next try is %s%s", relative(trouble.RetryAt, now), f.parked())
	}
	return o, true
}

// parked says who goes on with a rotation that waits.
func (f *follower) parked() string {
	if f.conn.local {
		return "; no daemon is running, so it is parked here: start \"rotate daemon\", or type this again later"
	}
	return "; the daemon goes on with it"
}

// newView shows rotations as the terminal can.
func (a *app) newView(format outputFormat) view {
	t := newTerminal(a.stdout, a.getenv)
	switch {
	case format.isJSON():
		return silence{}
	case t.live:
		return newLive(t, "", nil)
	}
	return newLines(t)
}

// conclude prints why rotations were left and returns the error of the command.
func (a *app) conclude(outcomes []outcome, quiet bool) error {
	code := exitDone
	var failed []error
	for _, o := range outcomes {
		code = worse(code, o.code)
		if o.err != nil {
			failed = append(failed, o.err)
		}
		if o.why != "" && !quiet {
			fmt.Fprintf(a.stdout, "%s: %s\n", o.app, o.why)
		}
	}
	if code == exitDone && len(failed) == 0 {
		return nil
	}
	return &ended{code, joined(failed)}
}

// joined is errors.Join that leaves a single error as it is.
func joined(all []error) error {
	if len(all) == 1 {
		return all[0]
	}
	return errors.Join(all...)
}

// result is one app's line of "now -o json".
type result struct {
	App        string              `json:"app"`
	RotationID *string             `json:"rotation_id"`
	Phase      *string             `json:"phase"`
	Mode       *string             `json:"mode"`
	Old        *control.Credential `json:"old"`
	New        *control.Credential `json:"new"`
	WaitingFor *string             `json:"waiting_for"`
	RetiresAt  *time.Time          `json:"retires_at"`
	Error      *string             `json:"error"`
}

func resultOf(o outcome) result {
	out := result{App: o.app}
	if r := o.rotation; r.ID != "" {
		out.RotationID, out.Phase, out.Mode = &r.ID, &r.Phase, &r.Mode
		out.Old, out.New, out.WaitingFor, out.RetiresAt = r.Old, r.New, r.WaitingFor, r.RetiresAt
	}
	if o.err != nil {
		message := o.err.Error()
		out.Error = &message
	}
	return out
}
