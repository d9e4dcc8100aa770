package monitor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// writeEvery is how often the file is written anew.
const writeEvery = time.Minute

// WriteFile writes all metrics but those of the process to a file that node_exporter's
// textfile collector reads. It appears whole: a temporary file beside it is renamed.
func (m *Metrics) WriteFile(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if err := m.update(ctx); err != nil {
		return fmt.Errorf("metrics file %s: %w", path, err)
	}
	if err := prometheus.WriteToTextfile(path, m.registry); err != nil {
		return fmt.Errorf("metrics file %s: %w", path, err)
	}
	return nil
}

// RunFile writes the file once a minute until ctx is done. A failure is logged when it
// begins and when it has ended; it stops nothing.
func (m *Metrics) RunFile(ctx context.Context, path string, log *slog.Logger) error {
	failing := ""
	for {
		err := m.WriteFile(ctx, path)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // stopped, not failed
		case err != nil && err.Error() != failing:
			log.ErrorContext(ctx, "metrics file not written", "err", err)
			failing = err.Error()
		case err == nil && failing != "":
			log.InfoContext(ctx, "metrics file written again", "path", path)
			failing = ""
		}
		timer := time.NewTimer(writeEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}
