package monitor

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Store is what the metrics read; package store has it.
type Store interface {
	App(ctx context.Context, name string) (rotator.App, error)
	Apps(ctx context.Context, after string, limit int) ([]rotator.App, error)
	Rotation(ctx context.Context, id string) (rotator.Rotation, error)
	Rotations(ctx context.Context, app string, limit int) ([]rotator.Rotation, error)
	State(ctx context.Context) (rotator.State, error)
	// EventsWaiting returns the number of events in the outbox and when the oldest
	// was made. It is cheap.
	EventsWaiting(ctx context.Context) (int, time.Time, error)
	// Probe writes without changing anything.
	Probe(ctx context.Context) error
}

// Metrics keeps the numbers about a rotator. It is made by [New] and safe for
// concurrent use.
type Metrics struct {
	Options

	registry, process *prometheus.Registry
	requests          *prometheus.CounterVec
	failures          *prometheus.CounterVec
	steps             *prometheus.CounterVec

	// reading is held, by putting something in, while the store is read; filled
	// tells that all apps were read.
	reading chan struct{}
	filled  bool
	probe   probe

	mu          sync.Mutex
	apps        map[string]facts       // by name, guarded by mu
	dirty       map[string]bool        // apps that were changed since, guarded by mu
	appFailures map[appFailure]float64 // guarded by mu
	whole       whole                  // guarded by mu
}

// Options of [Metrics].
type Options struct {
	Store Store
	// Schedule of the checks, to tell when one is overdue; nil: none ever is.
	Schedule rotator.Schedule
	// PerApp tells that each app has series of its own. Without it only sums are
	// told, however many apps there are.
	PerApp bool
	// PerAppLimit is how many apps have series of their own at most; of more only sums
	// are told, and that. 0: [DefaultPerAppLimit].
	PerAppLimit int
	// Version of the program, and the commit it was built from.
	Version, Revision string
}

// DefaultPerAppLimit is more apps than a scrape can bring within its time.
const DefaultPerAppLimit = 10_000

// appFailure names one series.
type appFailure struct {
	app, tenant string
	class       rotator.Class
}

// whole is what holds for the whole store, as it was read for a scrape.
type whole struct {
	at      time.Time
	state   rotator.State
	events  int
	oldest  time.Time
	ready   bool
	nextDue time.Time // the next check
}

// classes are all of them, so that their series are there from the start.
func classes() []rotator.Class {
	return []rotator.Class{rotator.ClassWait, rotator.ClassRetry, rotator.ClassFix, rotator.ClassClock, rotator.ClassGone}
}

// openPhases are those of a rotation that has not ended.
func openPhases() []rotator.Phase {
	return []rotator.Phase{
		rotator.PhasePlanned, rotator.PhaseUploaded, rotator.PhaseProven, rotator.PhaseDelivered,
		rotator.PhaseConfirmed, rotator.PhaseRollingBack,
	}
}

// New makes metrics. Nothing is read yet.
func New(o Options) *Metrics {
	m := &Metrics{
		Options:  o,
		registry: prometheus.NewRegistry(),
		process:  prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rotate_requests_total",
			Help: "Requests to Entra by service (login, graph) and HTTP status; code 0 had no answer.",
		}, []string{"service", "code"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rotate_step_failures_total",
			Help: "Steps of rotations that failed, by class: wait, retry, fix, clock, gone.",
		}, []string{"class"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rotate_steps_total",
			Help: "Attempts at steps of rotations, by step.",
		}, []string{"step"}),
		reading:     make(chan struct{}, 1),
		apps:        map[string]facts{},
		dirty:       map[string]bool{},
		appFailures: map[appFailure]float64{},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "rotate_build_info",
		Help:        "1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": o.Version, "revision": o.Revision, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, class := range classes() {
		m.failures.WithLabelValues(string(class))
	}
	m.registry.MustRegister(build, m.requests, m.failures, m.steps, collector{m})
	// Not in the file: node_exporter has series of these names about itself.
	m.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Request counts a request to Entra. path has no host; a status of 0 means that
// there was no answer. It is made for graph.Config.Observe.
func (m *Metrics) Request(_, path string, status int) {
	service := "login"
	if strings.HasPrefix(path, "/v1.0/") {
		service = "graph"
	}
	m.requests.WithLabelValues(service, strconv.Itoa(status)).Inc()
}

// StepEnded implements [rotator.Watcher].
func (m *Metrics) StepEnded(_ context.Context, step rotator.StepReport) {
	m.steps.WithLabelValues(step.Step).Inc()
	if step.Failure == nil {
		return
	}
	m.failures.WithLabelValues(string(step.Failure.Class)).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appFailures[appFailure{step.App, step.Tenant, step.Failure.Class}]++
}

// update reads what a scrape shows.
func (m *Metrics) update(ctx context.Context) error {
	if err := m.refresh(ctx); err != nil {
		return err
	}
	w := whole{at: time.Now()}
	var err error
	if w.state, err = m.Store.State(ctx); err != nil {
		return err
	}
	if w.events, w.oldest, err = m.Store.EventsWaiting(ctx); err != nil {
		return err
	}
	w.ready = len(m.Unready(ctx)) == 0
	w.nextDue = m.nextCheck(w.state.LastCheck)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.whole = w
	return nil
}
