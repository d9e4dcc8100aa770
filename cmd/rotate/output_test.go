package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/control"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 120 * time.Millisecond: "120 ms", 3200 * time.Millisecond: "3.2 s", 45 * time.Second: "45 s",
		5 * time.Minute: "5 min", 7 * time.Hour: "7 h", 36 * time.Hour: "36 h", 12*day + time.Hour: "12 d", 12*day - time.Hour: "12 d",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "now", 4 * time.Second: "in 4 s", -4 * time.Second: "4 s ago", 20 * day: "in 20 d", -3 * time.Hour: "3 h ago",
	} {
		at := now.Add(d)
		if got := relative(&at, now); got != want {
			t.Errorf("relative(%v) = %q, want %q", d, got, want)
		}
	}
	if got := relative(nil, now); got != "–" {
		t.Errorf("relative(nil) = %q, want –", got)
	}
}

func TestTableCountsWhatShows(t *testing.T) {
	colours := &terminal{colour: true}
	var rows table
	rows.row("APP", "ENDS")
	rows.row(colours.paint(bold, "ä"), colours.paint(red, "now"), "x")
	var out bytes.Buffer
	rows.write(&out)
	want := "APP  ENDS\nä    now   x\n"
	if got := plain(out.String()); got != want {
		t.Errorf("table:\n%q\nwant:\n%q", got, want)
	}
}

func TestCut(t *testing.T) {
	text := "a " + (&terminal{colour: true}).paint(green, "grün and long") + " end"
	for columns := 1; columns < 20; columns++ {
		got := cut(text, columns)
		if width(got) > columns || !utf8.ValidString(got) {
			t.Errorf("cut(%d) = %q has %d characters", columns, got, width(got))
		}
		if strings.Count(got, "\x1b[") == 1 {
			t.Errorf("cut(%d) = %q leaves a colour on", columns, got)
		}
	}
	if got := cut(text, 100); got != text {
		t.Errorf("cut of a short text = %q, want it whole", got)
	}
}

func TestParseUntil(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-12-27":           time.Date(2026, 12, 27, 0, 0, 0, 0, time.Local),
		"2026-12-27T08:00:00Z": time.Date(2026, 12, 27, 8, 0, 0, 0, time.UTC),
		"3d":                   now.Add(3 * day),
	} {
		if got, err := parseUntil("it", text, now); err != nil || !got.Equal(want) {
			t.Errorf("parseUntil(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "2026-13-01", "27.12.2026"} {
		if got, err := parseUntil("it", text, now); err == nil || exitCode(err) != exitUsage {
			t.Errorf("parseUntil(%q) = %v, %v, want wrong usage", text, got, err)
		}
	}
}

func TestQuote(t *testing.T) {
	for word, want := range map[string]string{
		"app-1": "app-1", "/srv/a b": "'/srv/a b'", "it's": `'it'\''s'`, "": "''", "/users?$top=1": "'/users?$top=1'",
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}

// screen plays what a terminal does with the output of live lines.
func screen(out string) []string {
	var lines []string
	at := 0
	for len(out) > 0 {
		switch {
		case strings.HasPrefix(out, "\x1b["):
			end := strings.IndexAny(out, "AKJm")
			if out[end] == 'A' {
				for _, r := range out[2:end] {
					at -= int(r - '0')
				}
			}
			if out[end] == 'J' {
				lines = lines[:at]
			}
			out = out[end+1:]
			continue
		case out[0] == '\r':
			out = out[1:]
			continue
		}
		line, rest, _ := strings.Cut(out, "\n")
		out = rest
		for len(lines) <= at {
			lines = append(lines, "")
		}
		lines[at] = line
		at++
	}
	return lines
}

func TestLiveDrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	l := &live{t: &terminal{w: &out}, now: map[string]control.Rotation{}}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	waiting := "overlap"
	r := control.Rotation{
		ID: "r1", App: "app-1", Mode: "self", Phase: "planned", Open: true, StartedAt: at,
		New:     &control.Credential{ThumbprintSHA1: "0123456789ABCDEF", NotAfter: at.Add(365 * day)},
		PhaseAt: map[string]time.Time{"planned": at},
	}
	l.update(r)
	l.draw(false)
	r.Phase, r.PhaseAt = "uploaded", map[string]time.Time{"planned": at, "uploaded": at.Add(1500 * time.Millisecond)}
	r.Way, r.WaitingFor = "addKey", &waiting
	r.Warnings = []string{"look here"}
	l.update(r)
	l.draw(true)
	want := []string{
		"app-1  rotation r1, self mode",
		"  ✔ planned     new certificate 01234567… until 2027-03-01, its key sealed in the store",
		"  ✔ uploaded    the app added it itself, signed with its current key (addKey)  1.5 s",
		"  ⏸ prove       overlap: both certificates are accepted",
		"  ○ delivered",
		"  ○ confirmed",
		"  ○ retired",
		"    ! look here",
	}
	got := screen(out.String())
	for i := range got {
		got[i] = strings.TrimRight(got[i], " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("screen (-want +got):\n%s", diff)
	}
}

func TestLiveOfMany(t *testing.T) {
	var out bytes.Buffer
	l := &live{t: &terminal{w: &out}, now: map[string]control.Rotation{}}
	for i := range 50 {
		id := string(rune('A' + i))
		l.update(control.Rotation{ID: id, App: "app-" + id, Phase: "retired", PhaseAt: map[string]time.Time{"planned": time.Now()}})
	}
	l.draw(false)
	if got := screen(out.String()); len(got) > 30 || !strings.Contains(got[len(got)-1], "more") {
		t.Errorf("50 apps draw %d lines on a screen of 30, ending in %q", len(got), got[len(got)-1])
	}
	l.draw(true)
	if got := screen(out.String()); len(got) < 50 {
		t.Errorf("at the end %d lines stand there, want all 50", len(got))
	}
}
