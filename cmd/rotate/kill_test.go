//go:build e2e

package main_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leastKills is how often the daemon dies at least while a rotation is open.
const leastKills = 40

// TestKill kills the daemon again and again, at any moment of many rotations, and
// "rotate now" too, with the daemon and without it. Whatever it hits, everything
// ends as if nothing had happened, and no consumer notices.
//
// ROTATE_KILL_SEED repeats a run, as far as clocks allow; ROTATE_KILLS asks for
// more kills.
func TestKill(t *testing.T) {
	t.Parallel()
	seed := number(t, "ROTATE_KILL_SEED", uint64(time.Now().UnixNano()))
	kills := max(int(number(t, "ROTATE_KILLS", leastKills)), leastKills)
	t.Logf("to repeat: ROTATE_KILL_SEED=%d", seed)
	k := &killer{t: t, m: newMachine(t), dice: rand.New(rand.NewPCG(seed, 0)), phases: map[string]int{}}
	k.adopt()
	stop := watchConsumers(t, k.apps)

	begun := time.Now()
	for round := 0; k.kills < kills; round++ {
		if round == 10*kills {
			t.Fatalf("only %d kills of %d hit an open rotation", k.kills, kills)
		}
		k.round()
	}
	t.Logf("in %s %d kills of the daemon hit an open rotation, %d another moment, %d a command; open rotations were %s",
		time.Since(begun).Round(time.Second), k.kills, k.misses, k.commands, summary(k.phases))

	// Left alone, everything ends.
	k.m.startDaemon(t)
	eventually(t, patient, func() error { return k.m.atRest(t) })
	t.Logf("all ended %s after the first kill", time.Since(begun).Round(time.Second))
	rotations := k.checkHistory()
	checkWorld(t, k.m, k.apps...)

	// And goes on from there.
	k.m.must(t, 0, append([]string{"now", "--wait"}, k.names()...)...)
	checkWorld(t, k.m, k.apps...)
	if again := k.checkHistory(); again != rotations+len(k.apps) {
		t.Errorf("%d rotations after %d and one of each app", again, rotations)
	}
	stop()
	if code := k.m.daemon.stop(t); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	checkWorld(t, k.m, k.apps...)
	checkLeaks(t, k.m, "store", k.apps...)
}

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func summary(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[name], name))
	}
	return strings.Join(parts, ", ")
}

type killer struct {
	t    *testing.T
	m    *machine
	apps []*adopted
	dice *rand.Rand
	// kills hit an open rotation, misses none; commands are killed ones.
	kills, misses, commands int
	// phases counts where rotations were when the daemon died.
	phases map[string]int
	// last is the status that was seen last.
	last statusAnswer
}

// adopt makes three tenants: one whose apps may read their list, one whose apps may
// not, and one that assigns key IDs of its own besides; and tracks their apps, some
// in self mode and some managed, some with an overlap.
func (k *killer) adopt() {
	t, m := k.t, k.m
	t.Helper()
	readable := startTenant(t, "readable", "--apps", "4", "--latency", "30ms")
	blind := startTenant(t, "blind", "--apps", "4", "--permissions", "none", "--latency", "30ms")
	stubborn := startTenant(t, "stubborn", "--apps", "2", "--permissions", "none", "--latency", "30ms")
	m.folder(t, "store")
	// Where nobody can read the list, a request without an answer is settled after
	// prove.within; five minutes would only make this test longer.
	m.configure(t, "store", strings.Replace(issueDefaults, "within: 5m", "within: 40s", 1), readable, blind, stubborn)
	m.must(t, 0, "init", "--no-recovery")
	for _, s := range []*tenantServer{readable, blind, stubborn} {
		for i, seed := range s.ready.Apps {
			mode := "self"
			if s != stubborn && i%2 == 1 {
				mode = "managed"
			}
			a := newAdopted(t, m, s, s.name+"-"+seed.Name, mode, seed)
			a.blind = s != readable && mode == "self"
			a.orphans = s == stubborn
			if i < 2 {
				a.prefill(t)
			}
			k.apps = append(k.apps, a)
			m.must(t, 0, a.add()...)
		}
	}
	// The second half of each of the first two tenants has an overlap.
	var file strings.Builder
	file.WriteString("apps:\n")
	for _, a := range k.apps {
		if number := a.seed.Name; number != "app-3" && number != "app-4" {
			continue
		}
		fmt.Fprintf(&file, "- {name: %s, tenant: %s, client_id: %s, object_id: %s, key_id: %s, mode: %s, policy: {overlap: 3s, reload_within: 1s}, deliveries: [{kind: file, path: %s, password_path: %s}]}\n",
			a.name, a.tenant.name, a.seed.ClientID, a.seed.ObjectID, a.seed.KeyID, a.mode, a.path, a.path+".password")
	}
	if err := os.WriteFile(m.path("apps.yaml"), []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	m.must(t, 0, "apply", "-f", "apps.yaml")
	if again, _ := m.must(t, 0, "apply", "-f", "apps.yaml"); !strings.Contains(again, "4 apps are as declared") {
		t.Errorf("apply a second time: %s", again)
	}
}

func (k *killer) names() []string {
	var names []string
	for _, a := range k.apps {
		names = append(names, a.name)
	}
	return names
}

// round lets the daemon live for a while, asks for rotations, and kills it.
func (k *killer) round() {
	m := k.m
	m.daemon = m.start(k.t, "daemon")
	if k.dice.IntN(8) == 0 {
		k.sleep(0, 300*time.Millisecond) // while it starts
	} else {
		m.waitForDaemon(k.t)
		k.look()
		command := m.start(k.t, append([]string{"now"}, k.some(k.closed(), 4)...)...)
		k.sleep(20*time.Millisecond, 1200*time.Millisecond)
		if k.dice.IntN(2) == 0 {
			command.kill()
			k.commands++
			k.sleep(0, 300*time.Millisecond)
		}
		defer command.kill()
		k.look()
	}
	if m.daemon.hasEnded() {
		k.t.Fatalf("the daemon ended by itself: %s", m.daemon.stderr.String())
	}
	k.count()
	m.daemon.kill()
	if status, ok := m.daemon.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		k.t.Fatalf("the daemon ended before it was killed: %s: %s", m.daemon.cmd.ProcessState, m.daemon.stderr.String())
	}
	if k.dice.IntN(3) == 0 {
		// The service is down; somebody rotates by hand, and that dies too.
		command := m.start(k.t, append([]string{"now", "--wait"}, k.some(k.names(), 3)...)...)
		k.sleep(100*time.Millisecond, 2*time.Second)
		command.kill()
		k.commands++
	}
}

// look notes where the rotations are.
func (k *killer) look() {
	var now statusAnswer
	if err := k.m.ask(k.t.Context(), "/v1/status", &now); err != nil {
		k.t.Fatalf("status: %v", err)
	}
	k.last = now
}

// count notes the kill that comes now. A rotation that only waits for its time to
// pass is none that a kill can harm.
func (k *killer) count() {
	hit := false
	for _, a := range k.last.Apps {
		switch {
		case !a.Open || a.Phase == nil:
		case a.WaitingFor != nil && *a.WaitingFor == "answer":
			k.phases[*a.Phase+" (no answer yet)"]++
		default:
			k.phases[*a.Phase]++
			hit = true
		}
	}
	if hit {
		k.kills++
	} else {
		k.misses++
	}
}

// closed are the apps that have no open rotation.
func (k *killer) closed() []string {
	var names []string
	for _, a := range k.last.Apps {
		if !a.Open {
			names = append(names, a.Name)
		}
	}
	if len(names) == 0 {
		return k.names()
	}
	return names
}

// some chooses up to n of the names, at least one.
func (k *killer) some(names []string, n int) []string {
	names = slices.Clone(names)
	k.dice.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:min(len(names), 1+k.dice.IntN(n))]
}

func (k *killer) sleep(least, most time.Duration) {
	time.Sleep(least + time.Duration(k.dice.Int64N(int64(most-least))))
}

// checkHistory makes sure that every rotation went through, and counts them.
func (k *killer) checkHistory() int {
	k.t.Helper()
	stdout, _ := k.m.must(k.t, 0, "history", "-n", "0", "-o", "json")
	history := decodeJSON[struct {
		Rotations []struct {
			ID, App, Phase, Outcome string
			Open                    bool
		} `json:"rotations"`
	}](k.t, stdout)
	for _, r := range history.Rotations {
		if r.Open || r.Phase != "retired" {
			k.t.Errorf("app %s: rotation %s is %s: %s", r.App, r.ID, r.Phase, r.Outcome)
		}
	}
	k.t.Logf("%d rotations", len(history.Rotations))
	if len(history.Rotations) < 2*len(k.apps) {
		k.t.Errorf("%d rotations of %d apps: too few for a test", len(history.Rotations), len(k.apps))
	}
	return len(history.Rotations)
}
