package notify

import (
	"context"
	"log/slog"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Log sends events to the log, at the level of their severity.
type Log struct {
	Logger *slog.Logger
}

// Send writes one line per event. It never fails.
func (l Log) Send(ctx context.Context, m Message) (string, error) {
	for _, e := range m.Events {
		l.write(ctx, e)
	}
	return "written to the log", nil
}

func (l Log) write(ctx context.Context, e rotator.Event) {
	level := slog.LevelInfo
	switch e.Severity {
	case rotator.SeverityInfo:
	case rotator.SeverityWarning:
		level = slog.LevelWarn
	case rotator.SeverityCritical:
		level = slog.LevelError
	}
	attributes := []any{"kind", e.Kind, "app", e.App, "what", e.Summary, "event_id", e.ID}
	if e.Rotation != "" {
		attributes = append(attributes, "rotation_id", e.Rotation)
	}
	if e.Next != "" {
		attributes = append(attributes, "next", e.Next)
	}
	l.Logger.Log(ctx, level, "alert", attributes...)
}
