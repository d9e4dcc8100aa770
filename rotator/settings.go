package rotator

import (
	"context"
	"fmt"
	"time"
)

// Settings are what can change while [Rotator.Run] works.
type Settings struct {
	Entra           Entra
	Deliverer       Deliverer
	Defaults        PolicyOverride
	MaxStartsPerDay int
	Workers         int
	Schedule        Schedule
	// Expected is that of [Rotator].
	Expected Schedule
	// Inventory and Tenants are those of [Rotator].
	Inventory Inventory
	Tenants   []string
	// Registrar, Rights and Identities are those of [Rotator], too.
	Registrar  Registrar
	Rights     Rights
	Identities Identities
	// RemovalTimes is that of [Rotator].
	RemovalTimes map[string]RemovalTimes
	// Observed is that of [Rotator].
	Observed Observed
}

// Reconfigure puts other settings in force without stopping a rotation: a step
// under way ends with what it began with, the next one finds the new settings.
// The due index follows the new policy, and a check runs at once. If it cannot be
// written, the settings before stay in force.
func (r *Rotator) Reconfigure(ctx context.Context, s Settings) error {
	before := r.settings()
	r.live.Store(&s)
	if _, err := r.refreshWakes(ctx); err != nil { // the check goes on with it
		r.live.Store(before)
		return fmt.Errorf("bring the due index up to the new policy: %w", err)
	}
	r.recheck.Store(true)
	r.wake()
	return nil
}

// settings in force.
func (r *Rotator) settings() *Settings {
	if s := r.live.Load(); s != nil {
		return s
	}
	return &Settings{
		Entra: r.Entra, Deliverer: r.Deliverer, Defaults: r.Defaults,
		MaxStartsPerDay: r.MaxStartsPerDay, Workers: r.Workers, Schedule: r.Schedule, Expected: r.Expected,
		Inventory: r.Inventory, Tenants: r.Tenants,
		Registrar: r.Registrar, Rights: r.Rights, Identities: r.Identities, RemovalTimes: r.RemovalTimes, Observed: r.Observed,
	}
}

// workers is how many apps are worked on side by side.
func (s *Settings) workers() int {
	if s.Workers < 1 {
		return 4
	}
	return s.Workers
}

// loopLag is how much longer than a nap one round of the loop may take: a check
// of very many apps on a slow disk.
const loopLag = 2 * time.Minute

// Alive reports why the loop of [Rotator.Run] does no work any more, or why the
// store cannot be read. It returns nil while both do, and blocks no longer than
// ctx: a watchdog fed by it bites when either hangs.
func (r *Rotator) Alive(ctx context.Context) error {
	beat := time.Unix(0, r.beat.Load())
	if since := r.now().Sub(beat); r.beat.Load() != 0 && since > loopNap+loopLag {
		return fmt.Errorf("the loop has done nothing for %s", since.Round(time.Second))
	}
	read := make(chan error, 1)
	go func() {
		_, err := r.Store.State(ctx)
		read <- err
	}()
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the store does not answer: %w", ctx.Err())
	}
}

// Summary is the state of everything in a few numbers.
type Summary struct {
	// LastCheck is zero before the first one; LastCheckError is why it failed.
	LastCheck      time.Time
	LastCheckError string
	Counts
	// Stopped is that of [State].
	Stopped string
}

// Summary counts, by the due index; it reads no app and no rotation.
func (r *Rotator) Summary(ctx context.Context) (Summary, error) {
	state, err := r.state(ctx)
	if err != nil {
		return Summary{}, err
	}
	s := Summary{LastCheck: state.LastCheck, LastCheckError: state.LastCheckError, Stopped: state.Stopped}
	s.Counts, err = r.counts(ctx, &state, r.now())
	return s, err
}
