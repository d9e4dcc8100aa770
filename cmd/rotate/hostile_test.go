//go:build e2e

package main_test

import (
	"errors"
	"testing"
	"time"
)

// TestHostileBinary lets the real daemon rotate in a tenant that throttles, fails,
// loses answers and is behind, all at once. It does it alone; a person's only part
// is "rotate now", which skips the minutes between two tries.
func TestHostileBinary(t *testing.T) {
	t.Parallel()
	const propagation, readLag = 5 * time.Second, 2 * time.Second
	s := startTenant(t, "hostile", "--apps", "5", "--throttle", "20", "--lose-answers", "10", "--fail", "10",
		"--propagation", propagation.String(), "--read-lag", readLag.String())
	m := newMachine(t)
	m.folder(t, "store")
	// Six seconds of sign-ins and of overlap outlast the propagation: this is how an
	// operator fits the policy to the tenant, and no consumer may notice. An upload that
	// may not have been carried out is sent again after the 100 seconds, several times
	// within the test's patience.
	m.configure(t, "store", `
  overlap: 6s
  reload_within: 6s
  prove: {successes: 5, spacing: 1500ms, within: 100s}
  upload_limit: {per_hour: 100, per_day: 100}
`, s)
	m.must(t, 0, "init", "--no-recovery")
	var apps []*adopted
	var names []string
	for i, seed := range s.ready.Apps {
		a := newAdopted(t, m, s, seed.Name, []string{"self", "managed"}[i%2], seed)
		a.prefill(t)
		// Adoption signs in and reads; a person tries again.
		eventually(t, patient, func() error { return m.try(t, a.add()...) })
		apps, names = append(apps, a), append(names, a.name)
	}
	stop := watchConsumers(t, apps)
	m.startDaemon(t)
	begun := time.Now()
	eventually(t, 8*time.Minute, func() error {
		err := m.atRest(t)
		if err != nil && time.Since(begun) > 10*time.Second {
			begun = time.Now()
			nudge := m.start(t, "now", "--due")
			eventually(t, patient, func() error { // it has asked when it says something
				if nudge.stdout.String() == "" && !nudge.hasEnded() {
					return errors.New("rotate now --due says nothing")
				}
				return nil
			})
			nudge.kill()
		}
		return err
	})
	time.Sleep(propagation + readLag) // the last removals spread
	checkWorld(t, m, apps...)
	m.must(t, 0, "status", names[0])
	stop()
	if code := m.daemon.stop(t); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	checkLeaks(t, m, "store", apps...)

	met := map[string]int{}
	for _, e := range s.requests(t) {
		switch {
		case e.Lost:
			met["lost answers"]++
		case e.Status == 429:
			met["throttled"]++
		case e.Status >= 500:
			met["failed"]++
		}
	}
	t.Logf("%d requests: %s", len(s.requests(t)), summary(met))
	if len(met) != 3 {
		t.Errorf("the tenant was not hostile: %v", met)
	}
}
