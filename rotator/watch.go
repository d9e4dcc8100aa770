package rotator

import (
	"context"
	"errors"
	"time"
)

// Watcher is told of every step of a rotation when it has ended, for metrics and
// traces. StepEnded must not block and is called by several goroutines. A rotation
// that nobody watches goes on in the same way.
type Watcher interface {
	StepEnded(ctx context.Context, step StepReport)
}

// StepReport is what became of one attempt at a step. Nothing in it is secret.
type StepReport struct {
	// App is the local name; Tenant is empty where the app could not be read.
	App    string
	Tenant string
	// Rotation is the ID; empty: none could be planned.
	Rotation string
	Mode     Mode
	// Step is a verb: plan, upload, prove, deliver, confirm, retire, roll_back.
	Step string
	// Phase is that of the rotation after the step; empty: there is none.
	Phase Phase
	// WaitingFor is one of the Waiting… words: the step did not lead to the next
	// phase yet, without a failure. Empty otherwise.
	WaitingFor string
	// Failure is nil if the step did not fail.
	Failure *Failure
	// RotationStartedAt is zero where there is no rotation.
	RotationStartedAt time.Time
	BeganAt, EndedAt  time.Time
}

// stepAfter names the step that leads on from a phase.
func stepAfter(p Phase) string {
	switch p {
	case PhasePlanned:
		return "upload"
	case PhaseUploaded:
		return "prove"
	case PhaseProven:
		return "deliver"
	case PhaseDelivered:
		return "confirm"
	case PhaseConfirmed:
		return "retire"
	case PhaseRollingBack:
		return "roll_back"
	case PhaseRetired, PhaseRolledBack:
	}
	return "none"
}

// next runs the step that comes next, unless something holds it back, and tells
// the watcher.
func (t *turn) next(ctx context.Context) (*wait, error) {
	began, step := t.now(), stepAfter(t.rot.Phase)
	w, err := t.gate(ctx)
	if err == nil && w == nil && !t.rot.Phase.IsEnd() {
		w, err = t.step(ctx)
	}
	if t.r.Watcher == nil || ctx.Err() != nil && err != nil {
		return w, err // a step that is stopped has not failed
	}
	report := t.report(step, began)
	if w != nil {
		report.WaitingFor = w.what
	}
	report.Failure = failureOf(err)
	t.r.Watcher.StepEnded(ctx, report)
	return w, err
}

func (t *turn) report(step string, began time.Time) StepReport {
	return StepReport{
		App: t.app.Name, Tenant: t.app.Tenant, Rotation: t.rot.ID, Mode: t.rot.Mode,
		Step: step, Phase: t.rot.Phase, RotationStartedAt: t.rot.StartedAt,
		BeganAt: began, EndedAt: t.now(),
	}
}

// planned tells the watcher of an attempt to plan a rotation. Starts that are
// refused, such as one that comes too early, are no failures.
func (r *Rotator) planned(ctx context.Context, app string, closed *turn, rot Rotation, began time.Time, err error) {
	if r.Watcher == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrRotating) || ctx.Err() != nil {
		return
	}
	report := StepReport{
		App: app, Rotation: rot.ID, Mode: rot.Mode, Step: "plan", Phase: rot.Phase,
		Failure: failureOf(err), RotationStartedAt: rot.StartedAt, BeganAt: began, EndedAt: r.now(),
	}
	if f := report.Failure; f != nil && errors.Is(err, ErrUsage) {
		wrong := *f
		wrong.Class = ClassFix
		report.Failure = &wrong
	}
	if known, readErr := r.Store.App(ctx, app); readErr == nil {
		report.Tenant = known.Tenant
	}
	r.Watcher.StepEnded(ctx, report)
	if err != nil || closed == nil {
		return
	}
	end := closed.report(stepAfter(closed.rot.Phase), began)
	end.Phase = PhaseRolledBack
	r.Watcher.StepEnded(ctx, end)
}
