// Package monitor tells other programs how the rotator is doing: Prometheus metrics
// on a listener and in a file for node_exporter, answers to health probes, and traces
// by OTLP over HTTP.
//
// Start from [Metrics], which keeps the numbers, and [Tracer]. Both are a
// [rotator.Watcher]. The package decides nothing and alerts nobody; the rules in
// docs/monitoring do, in Prometheus. No label and no attribute holds a secret: they
// are local names, words of the program, and IDs of rotations.
package monitor

import (
	"context"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Watchers tells all of them.
type Watchers []rotator.Watcher

// StepEnded implements [rotator.Watcher].
func (w Watchers) StepEnded(ctx context.Context, step rotator.StepReport) {
	for _, one := range w {
		one.StepEnded(ctx, step)
	}
}
