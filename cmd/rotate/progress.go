package main

import (
	"fmt"
	"time"

	"github.com/seed-f0abd057/rotate/control"
)

// sayEvery is how often progress is a line of its own where lines cannot be drawn again.
const sayEvery = 30 * time.Second

// progress shows on stderr how far long work is: on a terminal in one line that is drawn
// again, elsewhere a line now and then.
type progress struct {
	t *terminal
	// shown tells that there is a line to be wiped.
	shown bool
	next  time.Time
}

func (a *app) progress() *progress {
	return &progress{t: newTerminal(a.stderr, a.getenv), next: time.Now().Add(sayEvery)}
}

// show is called with how far it is.
func (p *progress) show(at control.Progress) { p.at(at.What, at.Done, at.Total) }

func (p *progress) at(what string, done, total uint64) {
	text := what
	if total > 0 {
		text += fmt.Sprintf(": %d of %d", min(done, total), total)
	}
	switch {
	case p.t.live:
		fmt.Fprint(p.t.w, "\r"+p.t.move("[2K")+text)
		p.shown = true
	case !time.Now().Before(p.next):
		p.next = time.Now().Add(sayEvery)
		fmt.Fprintln(p.t.w, "rotate: "+text)
	}
}

// end wipes the line.
func (p *progress) end() {
	if p.shown {
		fmt.Fprint(p.t.w, "\r"+p.t.move("[2K"))
		p.shown = false
	}
}
