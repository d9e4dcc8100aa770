//go:build e2e

package main_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// momentsTime is the environment variable that says how long randomMoments goes on.
const momentsTime = "ROTATE_TEST_MOMENTS"

// randomMoments kills the service, cuts the power and starts the host again, at any
// moment, while rotations never stop.
//
// ROTATE_KILL_SEED repeats a run, as far as clocks allow.
func randomMoments(t *testing.T, h *serviceHost) {
	t.Helper()
	long := time.Minute
	if text := os.Getenv(momentsTime); text != "" {
		long = must1(time.ParseDuration(text))(t)
	}
	seed := number(t, "ROTATE_KILL_SEED", uint64(time.Now().UnixNano()))
	t.Logf("to repeat: ROTATE_KILL_SEED=%d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	var apps []*adopted
	h.sh(t, `sed -i 's|^ReadWritePaths=.*|ReadWritePaths=/srv|' /etc/systemd/system/rotate.service.d/test.conf
systemctl daemon-reload; systemctl restart rotate`)
	for i, seed := range h.tenant.ready.Apps[2:5] {
		a := h.adopt(t, fmt.Sprint("sync-", i+1), "self", seed, fmt.Sprint("/srv/sync-", i+1))
		h.prefill(t, a)
		h.m.must(t, 0, "app", "add", a.name, "--tenant", "contoso", "--client-id", a.seed.ClientID,
			"--pfx", "/root/"+a.name+"/app.pfx", "--password-file", "/root/"+a.name+"/app.pfx.password", "--deliver-file", "/srv/"+a.name+"/app.pfx")
		apps = append(apps, a)
	}
	stop := watchConsumers(t, apps) // h.app has one already
	apps = append(apps, h.app)
	names := []string{"now"}
	for _, a := range apps {
		names = append(names, a.name)
	}

	acts := map[string]func(){
		"SIGKILL": func() {
			pid := h.property(t, "MainPID")
			h.sh(t, "systemctl kill --signal=KILL rotate")
			h.awaitAnother(t, pid)
		},
		"power loss": func() { h.cutPower(t) },
		"reboot":     func() { h.reboot(t) },
		"restart":    func() { h.sh(t, "systemctl restart rotate") },
	}
	kinds := slices.Sorted(maps.Keys(acts))
	done, phases := map[string]int{}, map[string]int{}
	begun := time.Now()
	for round := 0; round < len(kinds) || time.Since(begun) < long; round++ {
		eventually(t, time.Minute, func() error {
			if state := h.property(t, "ActiveState"); state != "active" {
				return fmt.Errorf("the service is %s", state)
			}
			return nil
		})
		h.m.start(t, names...)
		time.Sleep(time.Duration(dice.Int64N(int64(6 * time.Second))))
		for _, phase := range h.phases(t) {
			phases[phase]++
		}
		kind := kinds[round%len(kinds)]
		if round >= len(kinds) && dice.IntN(3) > 0 {
			kind = []string{"SIGKILL", "power loss"}[dice.IntN(2)]
		}
		acts[kind]()
		done[kind]++
	}
	t.Logf("in %s: %s, when open rotations were %s", time.Since(begun).Round(time.Second), summary(done), summary(phases))
	if len(phases) < 2 {
		t.Errorf("open rotations were hit in the phases %v only", phases)
	}

	// Left alone, everything ends, and nothing was lost.
	eventually(t, 8*time.Minute, func() error { return h.m.atRest(t) })
	t.Logf("all ended %s after it began", time.Since(begun).Round(time.Second))
	stop()
	checkWorld(t, h.m, apps...)
	k := killer{t: t, m: h.m, apps: apps}
	k.checkHistory()
	h.m.must(t, 0, "audit", "verify")
	if out, _ := h.m.must(t, 0, "store", "check"); !strings.Contains(out, "is sound") {
		t.Errorf("store check: %s", out)
	}
}

// phases are those of open rotations.
func (h *serviceHost) phases(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var now statusAnswer
	h.setSocket()
	if err := h.m.ask(ctx, "/v1/status", &now); err != nil {
		t.Fatalf("status: %v", err)
	}
	var open []string
	for _, a := range now.Apps {
		if a.Open && a.Phase != nil {
			open = append(open, *a.Phase)
		}
	}
	return open
}
