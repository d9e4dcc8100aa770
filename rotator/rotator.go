// Package rotator is the domain: it decides when a certificate is replaced,
// carries the replacement through its phases, and survives being stopped at any
// instant.
//
//	planned ──upload──▶ uploaded ──prove──▶ proven ──deliver──▶ delivered
//	                                                                │ confirm
//	retired ◀──retire── (overlap) ◀───────────── confirmed ◀────────┘
//
//	by a person, before retire: rolling_back ──▶ rolled_back
//
// Start from [Rotator]. One loop ([Rotator.Run]) wakes apps by their dates; one
// function (turn.step) chooses the step that leads to the next phase; each step
// has a file of its own: upload.go, prove.go, deliver.go, confirm.go,
// retire.go, rollback.go. The rule of all of them is record, act, record: what
// is needed to recognise an effect later is durable before the effect, and
// every step looks for its own effect before it acts.
//
// The package asks for what it needs by the interfaces in needs.go and imports
// the standard library only. It knows nothing of Graph, files, YAML or HTTP.
package rotator

import (
	"context"
	"crypto/rsa"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Rotator tracks apps and rotates their certificates. Store, Entra, Deliverer,
// Encoder and ParseSchedule must be set before the first call. All methods are
// safe for concurrent use; by in their arguments is who asks, for the audit
// trail.
type Rotator struct {
	Store Store
	// Registrar makes registrations; nil: none can be made.
	Registrar Registrar
	Entra     Entra
	Deliverer Deliverer
	Encoder   Encoder
	// Defaults are the configuration's policy, over [DefaultPolicy].
	Defaults PolicyOverride
	// MaxStartsPerDay bounds unasked starts; 0: the larger of 10 and 5 % of the
	// apps.
	MaxStartsPerDay int
	// Inventory lists whole tenants; nil: nothing is discovered or inspected.
	Inventory Inventory
	// Identities are the tenants' own; nil: none of them is tracked.
	Identities Identities
	// Rights tells what an identity may do; nil: that is not looked at.
	Rights Rights
	// RemovalTimes are how long removals are checked, by tenant; others take
	// [DefaultRemovalTimes].
	RemovalTimes map[string]RemovalTimes
	// Observed gives what answers showed about tenants; nil: only what rotations see
	// is noted.
	Observed Observed
	// Version is the major version of the program: facts that another one verified are
	// shown and not used.
	Version string
	// Tenants are the names of those that are inspected.
	Tenants []string
	// InspectSchedule says when; nil: never.
	InspectSchedule Schedule
	// Schedule wakes the check; nil: nothing is started or carried on unasked,
	// as for a single command without a daemon.
	Schedule Schedule
	// ParseSchedule reads the cron expression of a window in an IANA zone.
	ParseSchedule func(cron, zone string) (Schedule, error)
	// Workers is how many apps are worked on side by side; 0: 4.
	Workers int
	// GenerateKey makes the private key of a new certificate; nil:
	// [rsa.GenerateKey].
	GenerateKey func(bits int) (*rsa.PrivateKey, error)
	// Now is this host's clock; nil: [time.Now]. Entra's is in its answers.
	Now func() time.Time
	// Random is where IDs, serial numbers and the spread of retries come from; nil:
	// the system's. Private keys are [Rotator.GenerateKey]'s.
	Random io.Reader
	// Simulated is nil but in a simulation.
	Simulated *Simulated
	// Watcher is told of each step; nil: nobody.
	Watcher Watcher
	// ExpiryStages are the times before its end at which a certificate that
	// nothing replaces is told of, longest first; nil: [DefaultExpiryStages].
	ExpiryStages []time.Duration
	// Expected is the schedule by which checks should happen, whoever makes them;
	// nil: no check is ever called late.
	Expected Schedule
	// Alarm is told of events that cannot be written, because the store cannot; it
	// must not block. Nil: only the log is.
	Alarm func(events ...Event)
	// Checked is told how each check ended, nil for well; it must not block.
	Checked func(report CheckReport, err error)
	// Logger may be nil.
	Logger *slog.Logger

	mu     sync.Mutex
	claims map[string]*claim
	asked  map[string]bool
	rests  map[string]rest
	shares shares
	// listings hold what who lists a tenant puts in.
	listings map[string]chan struct{}
	// clocks are what answers showed of the tenants' clocks.
	clocks map[string]clockReading
	// accepted is when apps signed in to show the clock.
	accepted map[string]time.Time
	changed  chan struct{}
	poke     chan struct{}
	checkAt  time.Time
	ahead    ahead
	// outages are tenants whose apps go on, outageOver when that last was so.
	outages    map[string]bool
	outageOver map[string]time.Time
	// broken is why the store could not be written, since brokenAt; empty: it
	// could.
	broken   string
	brokenAt time.Time

	// live replaces Entra, Deliverer, Defaults, MaxStartsPerDay, Workers and
	// Schedule once [Rotator.Reconfigure] was called.
	live atomic.Pointer[Settings]
	// renewing tells that the due index is not renewed to its end. Only the loop uses it.
	renewing bool
	// recheck asks the loop for a check at once.
	recheck atomic.Bool
	// beat is when the loop last began a round, in nanoseconds since 1970.
	beat atomic.Int64
}

// StartRequest asks for a rotation.
type StartRequest struct {
	// Force goes beyond the ceilings, and uploads a certificate again that
	// vanished.
	Force bool
	// Compromised is "", "current" or "next": the pair that must go.
	Compromised string
	// CutNow removes it as soon as the fresh pair is proven, accepting the
	// outage. Only with Compromised.
	CutNow bool
	// RetireKeys are entries on the app that rotate did not make and that are to be
	// removed once ours is confirmed.
	RetireKeys []KeyID
	// sweep tells that no single app was named.
	sweep bool
	// superseding tells that the open rotation would lead to its own certificate's end.
	superseding bool
}

// log never returns nil.
func (r *Rotator) log() *slog.Logger {
	if r.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Logger
}

// recordTimeout bounds a write to the store that must finish once begun. It is
// shorter than a service manager's stop timeout.
const recordTimeout = 15 * time.Second

// newKey returns a private key that was made ahead, or makes one.
func (r *Rotator) newKey(bits int) (*rsa.PrivateKey, error) {
	if key := r.ahead.take(bits); key != nil {
		return key, nil
	}
	return r.generateKey(bits)
}

func (r *Rotator) generateKey(bits int) (*rsa.PrivateKey, error) {
	if r.GenerateKey != nil {
		return r.GenerateKey(bits)
	}
	return rsa.GenerateKey(r.random(), bits)
}

// lasting returns a context for recording what has happened: it outlives the
// cancellation of ctx.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
}
