package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// A view shows rotations while they go on. update may be called by several
// goroutines; end draws the last state.
type view interface {
	update(r control.Rotation)
	end()
}

// silence shows nothing.
type silence struct{}

func (silence) update(control.Rotation) {}
func (silence) end()                    {}

// lines prints one line for each thing that happened.
type lines struct {
	t    *terminal
	mu   sync.Mutex
	seen map[string]control.Rotation // by rotation ID, guarded by mu
}

func newLines(t *terminal) *lines { return &lines{t: t, seen: map[string]control.Rotation{}} }

func (l *lines) end() {}

// skip leaves out what was reached before: a command that takes up a rotation shows what
// came of it, not what others have seen.
func (l *lines) skip(r control.Rotation, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := control.Rotation{Open: r.Open, Warnings: r.Warnings, PhaseAt: map[string]time.Time{}}
	for phase, at := range r.PhaseAt {
		if at.Before(since) {
			before.PhaseAt[phase] = at
		}
	}
	l.seen[r.ID] = before
}

func (l *lines) update(r control.Rotation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, known := l.seen[r.ID]
	l.seen[r.ID] = r
	if !known {
		fmt.Fprintf(l.t.w, "%s: rotation %s, %s mode\n", r.App, r.ID, r.Mode)
	}
	for _, p := range phasesOf(r) {
		if _, told := before.PhaseAt[string(p)]; told {
			continue
		}
		if _, reached := r.PhaseAt[string(p)]; reached {
			fmt.Fprintf(l.t.w, "%s: %s: %s%s\n", r.App, phaseWord(p), fact(p, r), tookText(" (%s)", p, r))
		}
	}
	if known && !before.Open && len(r.Unconfirmed) < len(before.Unconfirmed) {
		fmt.Fprintf(l.t.w, "%s: %s: %s\n", r.App, phaseWord(rotator.Phase(r.Phase)), fact(rotator.Phase(r.Phase), r))
	}
	if r.Trouble != nil && (before.Trouble == nil || before.Trouble.At != r.Trouble.At) {
		fmt.Fprintf(l.t.w, "%s: %s: %s\n", r.App, stepWord(nextPhase(r)), r.Trouble.Message)
	}
	if text := waiting(r, time.Now()); text != "" && !sameWait(before, r) {
		fmt.Fprintf(l.t.w, "%s: waiting: %s\n", r.App, text)
	}
	for _, warning := range r.Warnings {
		if !slices.Contains(before.Warnings, warning) {
			fmt.Fprintf(l.t.w, "%s: warning: %s\n", r.App, warning)
		}
	}
}

func sameWait(a, b control.Rotation) bool {
	if a.WaitingFor == nil || b.WaitingFor == nil || *a.WaitingFor != *b.WaitingFor || a.Phase != b.Phase {
		return false
	}
	if *b.WaitingFor != rotator.WaitingRetry || a.WaitingUntil == nil || b.WaitingUntil == nil {
		return true
	}
	return a.WaitingUntil.Equal(*b.WaitingUntil)
}

// frameEvery is how often live lines are drawn.
const frameEvery = 100 * time.Millisecond

// live draws rotations on a terminal, again and again in the same place.
type live struct {
	t      *terminal
	indent string
	// below is drawn under the rotations; nil: nothing.
	below func() []string
	mu    sync.Mutex
	order []string                    // rotation IDs, guarded by mu
	now   map[string]control.Rotation // by rotation ID, guarded by mu
	drawn int                         // lines on the screen, guarded by mu
	frame int                         // guarded by mu
	stop  chan struct{}
	done  sync.WaitGroup
}

func newLive(t *terminal, indent string, below func() []string) *live {
	l := &live{t: t, indent: indent, below: below, now: map[string]control.Rotation{}, stop: make(chan struct{})}
	l.done.Go(l.run)
	return l
}

func (l *live) run() {
	ticker := time.NewTicker(frameEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.draw(false)
		case <-l.stop:
			l.draw(true)
			return
		}
	}
}

func (l *live) update(r control.Rotation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.now[r.ID]; !known {
		l.order = append(l.order, r.ID)
	}
	l.now[r.ID] = r
}

func (l *live) end() {
	close(l.stop)
	l.done.Wait()
}

// draw writes all lines over those of the last time. What does not fit on the
// screen is left out until the end.
func (l *live) draw(last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frame++
	var text []string
	for i, id := range l.order {
		if len(l.order) == 1 {
			text = l.block(l.now[id])
			break
		}
		if i == 0 {
			text = append(text, "")
		}
		text = append(text, l.line(l.now[id]))
	}
	if l.below != nil {
		text = append(text, l.below()...)
	}
	columns, rows := l.t.size()
	if !last && len(text) > rows-1 {
		text = append(text[:rows-2], l.t.paint(dim, fmt.Sprintf("… and %d more", len(text)-rows+2)))
	}
	var out strings.Builder
	if l.drawn > 0 {
		out.WriteString(l.t.move(fmt.Sprintf("[%dA", l.drawn)))
	}
	for _, line := range text {
		if !last {
			line = cut(l.indent+line, columns-1)
		} else {
			line = l.indent + line
		}
		out.WriteString("\r" + l.t.move("[2K") + line + "\n")
	}
	out.WriteString(l.t.move("[J"))
	l.drawn = len(text)
	fmt.Fprint(l.t.w, out.String())
}

func (l *live) spinner() string {
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	return l.t.paint(cyan, string(frames[l.frame%len(frames)]))
}

// block shows one rotation, a line for each phase.
func (l *live) block(r control.Rotation) []string {
	now := time.Now()
	text := []string{
		l.t.paint(bold, r.App) + l.t.paint(dim, fmt.Sprintf("  rotation %s, %s mode", r.ID, r.Mode)),
	}
	current := nextPhase(r)
	for _, p := range phasesOf(r) {
		_, reached := r.PhaseAt[string(p)]
		name := fmt.Sprintf("%-12s", phaseWord(p))
		switch {
		case reached && p == rotator.PhaseRolledBack:
			text = append(text, "  "+l.t.paint(yellow, "↩ ")+name+fact(p, r))
		case reached:
			text = append(text, "  "+l.t.paint(green, "✔ ")+name+fact(p, r)+l.t.paint(dim, tookText("  %s", p, r)))
		case p != current || !r.Open:
			text = append(text, l.t.paint(dim, "  ○ "+name))
		default:
			text = append(text, l.present(r, fmt.Sprintf("%-12s", stepWord(p)), now))
		}
	}
	if r.Trouble != nil && r.Trouble.Next != "" {
		text = append(text, "    "+l.t.paint(yellow, "→ "+r.Trouble.Next))
	}
	for _, warning := range r.Warnings {
		text = append(text, "    "+l.t.paint(yellow, "! "+warning))
	}
	return text
}

// present is the line of the step that runs now.
func (l *live) present(r control.Rotation, name string, now time.Time) string {
	wait := waiting(r, now)
	switch {
	case r.Trouble != nil:
		return "  " + l.t.paint(red, "✖ ") + name + l.t.paint(red, r.Trouble.Message) + l.t.paint(dim, "  "+wait)
	case wait != "":
		return "  " + l.t.paint(yellow, "⏸ ") + name + l.t.paint(yellow, wait)
	}
	return "  " + l.spinner() + " " + name + l.t.paint(dim, "…")
}

// line shows one rotation of several.
func (l *live) line(r control.Rotation) string {
	var dots strings.Builder
	for _, p := range phasesOf(r) {
		_, reached := r.PhaseAt[string(p)]
		switch {
		case reached:
			dots.WriteString(l.t.paint(green, "●"))
		case p == nextPhase(r) && r.Trouble != nil:
			dots.WriteString(l.t.paint(red, "✖"))
		case p == nextPhase(r):
			dots.WriteString(l.t.paint(yellow, "◐"))
		default:
			dots.WriteString(l.t.paint(dim, "○"))
		}
	}
	text := phaseWord(rotator.Phase(r.Phase))
	switch {
	case r.Trouble != nil:
		text = l.t.paint(red, r.Trouble.Message)
	case waiting(r, time.Now()) != "":
		text += l.t.paint(yellow, ", "+waiting(r, time.Now()))
	case r.Open:
		text += " " + l.spinner()
	}
	return fmt.Sprintf("%s  %s  %s", dots.String(), l.t.paint(bold, fmt.Sprintf("%-20s", r.App)), text)
}
