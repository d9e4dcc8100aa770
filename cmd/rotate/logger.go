package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/seed-f0abd057/rotate/config"
)

// newLogger writes log lines to w. Under a service manager the journal has the
// time already.
//
// The returned level can be changed while it logs.
func newLogger(w io.Writer, c config.Log, journal bool) (*slog.Logger, *slog.LevelVar) {
	level := &slog.LevelVar{}
	setLevel(level, c.Level)
	options := &slog.HandlerOptions{Level: level}
	var out *journalWriter
	if journal {
		options.ReplaceAttr = func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return attr
		}
		out = &journalWriter{w: w}
		w = &out.line
	}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	if c.Format == "json" {
		handler = slog.NewJSONHandler(w, options)
	}
	if journal {
		handler = &journalHandler{handler, out}
	}
	return slog.New(handler), level
}

func setLevel(level *slog.LevelVar, text string) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(text)); err != nil {
		l = slog.LevelInfo
	}
	level.Set(l)
}

// journalHandler puts the priority of each line in front of it, as the journal
// reads it from a service's stderr (sd-daemon(3)).
type journalHandler struct {
	slog.Handler
	out *journalWriter
}

// journalWriter holds one line at a time.
type journalWriter struct {
	mu   sync.Mutex
	w    io.Writer
	line bytes.Buffer // guarded by mu
}

// Handle writes one line.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.line.Reset()
	h.out.line.WriteString(priority(r.Level))
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.w.Write(h.out.line.Bytes())
	return err
}

// WithAttrs keeps the priority.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{h.Handler.WithAttrs(attrs), h.out}
}

// WithGroup keeps the priority.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.Handler.WithGroup(name), h.out}
}

// priority is a level as syslog(3) counts: err, warning, info, debug.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}
