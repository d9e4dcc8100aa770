package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestJudge(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	waits := func(what string, left time.Duration) control.Rotation {
		until, retires := now.Add(left), now.Add(left)
		return control.Rotation{
			App: "a", ID: "r", Open: true, Phase: "confirmed", WaitingFor: &what, WaitingUntil: &until, RetiresAt: &retires,
			PhaseAt: map[string]time.Time{"confirmed": now.Add(-time.Hour)},
		}
	}
	fails := func(class rotator.Class, next time.Duration) control.Rotation {
		r := waits(rotator.WaitingRetry, next)
		r.Trouble = &control.Trouble{Class: string(class), Message: "app a: no", Next: "do it", At: now, RetryAt: r.WaitingUntil}
		return r
	}
	noOverlap := waits(rotator.WaitingOverlap, time.Second)
	noOverlap.RetiresAt = new(noOverlap.PhaseAt["confirmed"])
	stale := fails(rotator.ClassFix, time.Hour)
	stale.Trouble.At = now.Add(-time.Minute)
	staleLimit := stale
	staleLimit.WaitingFor = new(rotator.WaitingLimit)
	person := waits(rotator.WaitingPerson, time.Second)
	person.NextStep = "rotate handoff a --out DIR"
	forever := waits(rotator.WaitingReload, 0)
	forever.WaitingUntil = nil
	for _, test := range []struct {
		name        string
		r           control.Rotation
		local, wait bool
		left        bool
		code        int
		why         string
	}{
		{"at work", control.Rotation{Open: true, Phase: "planned"}, false, false, false, 0, ""},
		{"retired", control.Rotation{Phase: "retired"}, false, false, true, exitDone, ""},
		{"rolled back by a person", control.Rotation{Phase: "rolled_back", Back: "person"}, false, false, true, exitDone, ""},
		{"vanished", control.Rotation{Phase: "rolled_back", Back: "vanished"}, false, false, true, exitFailed, ""},

		{"overlap", waits(rotator.WaitingOverlap, 24*time.Hour), false, false, true, exitWaiting, "the daemon goes on"},
		{"short overlap", waits(rotator.WaitingOverlap, 5*time.Second), false, false, true, exitWaiting, "the daemon goes on"},
		{"no overlap at all", noOverlap, true, false, false, 0, ""},
		{"overlap, --wait", waits(rotator.WaitingOverlap, 24*time.Hour), false, true, false, 0, ""},
		{"overlap, --wait, no daemon", waits(rotator.WaitingOverlap, 24*time.Hour), true, true, true, exitWaiting, "parked"},
		{"short overlap, --wait, no daemon", waits(rotator.WaitingOverlap, 9*time.Minute), true, true, false, 0, ""},

		{"reload soon", waits(rotator.WaitingReload, 9*time.Minute), true, false, false, 0, ""},
		{"reload late", waits(rotator.WaitingReload, time.Hour), false, false, true, exitWaiting, "the daemon goes on"},
		{"reload late, --wait", waits(rotator.WaitingReload, time.Hour), false, true, false, 0, ""},
		{"reload late, --wait, no daemon", waits(rotator.WaitingReload, time.Hour), true, true, true, exitWaiting, "parked"},
		{"command late", waits(rotator.WaitingCommand, 11*time.Minute), false, false, true, exitWaiting, ""},
		{"wait without an end", forever, false, false, true, exitWaiting, ""},

		{"person", person, false, true, true, exitWaiting, "rotate handoff a --out DIR"},
		{"pause", waits(rotator.WaitingPause, time.Second), false, true, true, exitWaiting, "rotate resume a"},
		{"window", waits(rotator.WaitingWindow, time.Second), false, true, true, exitWaiting, "window"},

		{"propagation", waits(rotator.WaitingPropagation, time.Minute), true, false, false, 0, ""},
		{"upload limit", waits(rotator.WaitingLimit, time.Hour), true, false, true, exitWaiting, "parked"},

		{"passes soon", fails(rotator.ClassWait, time.Minute), true, false, false, 0, ""},
		{"network soon", fails(rotator.ClassRetry, 10*time.Minute), true, false, false, 0, ""},
		{"network late", fails(rotator.ClassRetry, time.Hour), true, false, true, exitWaiting, "next try is in 60 min"},
		{"fix", fails(rotator.ClassFix, time.Second), false, true, true, exitFailed, ""},
		{"clock", fails(rotator.ClassClock, time.Second), false, true, true, exitFailed, ""},
		{"gone", fails(rotator.ClassGone, time.Second), false, true, true, exitFailed, ""},
		{"failed before we asked", stale, false, false, false, 0, ""},
		{"failed before we asked, now the upload limit", staleLimit, true, false, true, exitWaiting, "parked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &follower{conn: &connection{local: test.local}, wait: test.wait}
			o, left := f.judge(test.r, stale.Trouble, now)
			if left != test.left {
				t.Fatalf("left it: %v, want %v (%+v)", left, test.left, o)
			}
			if !left {
				return
			}
			if o.code != test.code || !strings.Contains(o.why, test.why) {
				t.Errorf("code %d, why %q; want %d, %q", o.code, o.why, test.code, test.why)
			}
			if test.r.Trouble != nil && !test.r.Trouble.At.Before(now) {
				failure, ok := errors.AsType[*rotator.Failure](o.err)
				if !ok || failure.Next != "do it" || failure.Message != "app a: no" {
					t.Errorf("error %#v, want the failure with its next step", o.err)
				}
			}
		})
	}
}

func TestWorse(t *testing.T) {
	order := []int{exitUsage, exitFailed, exitAttention, exitWaiting, exitDone}
	for i, a := range order {
		for j, b := range order {
			if got, want := worse(a, b), order[min(i, j)]; got != want {
				t.Errorf("worse(%d, %d) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestAppIn(t *testing.T) {
	for message, want := range map[string]string{
		"app contoso-sync: nothing starts": "contoso-sync",
		"app a is tracked already":         "a",
		"disk full":                        "disk",
	} {
		if got := appIn(message); got != want {
			t.Errorf("appIn(%q) = %q, want %q", message, got, want)
		}
	}
}
