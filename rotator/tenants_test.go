package rotator_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

// TestTenants runs a whole rotation, in both modes, against a tenant that does what a
// report of "rotate tenant verify" says: the tenant of who sent it.
func TestTenants(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("testdata", "tenants", "*.json"))
	if err != nil || len(paths) < 3 {
		t.Fatalf("%d reports, %v; want at least the three that were made here", len(paths), err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var report verify.Report
		if err := json.Unmarshal(content, &report); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		facts, found := map[string]string{}, map[string]rotator.VerifiedFact{}
		for _, f := range report.Facts {
			facts[f.Name] = f.Value
			found[f.Name] = rotator.VerifiedFact{Value: f.Value}
		}
		for _, learned := range []bool{false, true} {
			for _, mode := range []rotator.Mode{rotator.ModeSelf, rotator.ModeManaged} {
				name := strings.TrimSuffix(filepath.Base(path), ".json") + " " + string(mode) + map[bool]string{true: " learned"}[learned]
				rotateIn(t, name, mode, func(w *world, r *rotator.Rotator) {
					if err := w.tenant.UseFacts(facts); err != nil {
						w.t.Fatal(err)
					}
					if learned {
						for name := range found {
							found[name] = rotator.VerifiedFact{Value: found[name].Value, At: time.Now().UTC()}
						}
						if err := r.Learn(w.t.Context(), "contoso", "", found); err != nil {
							w.t.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// rotateIn runs one rotation in a tenant that was set up, and checks the promises.
func rotateIn(t *testing.T, name string, mode rotator.Mode, set func(*world, *rotator.Rotator)) {
	t.Helper()
	keys()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, options{mode: mode})
			r, closeStore := w.rotator()
			set(w, r)
			stop := run(t, r)
			await(t, r, "app-1", 48*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			closeStore()
			w.checkTenant()
		})
	})
}

// TestLearned shows what a verified fact changes: a wait gets longer, never shorter,
// and a fact that an ordinary answer contradicts is dropped and alerted.
func TestLearned(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged})
		r, closeStore := w.rotator()
		defer closeStore()
		now := time.Now().UTC()
		err := r.Learn(t.Context(), "contoso", "", map[string]rotator.VerifiedFact{
			"sign_in_after": {Value: "7s", At: now}, "custom_key_identifier": {Value: "base64", At: now}, "proof_accepted_after": {Value: "600s", At: now},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.tenant.Propagation = 3 * time.Minute
		stop := run(t, r)
		await(t, r, "app-1", 6*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		facts, err := r.Facts(t.Context(), "contoso")
		if err != nil {
			t.Fatal(err)
		}
		if len(facts.Verified) != 1 || facts.Verified["proof_accepted_after"].Value != "600s" {
			t.Errorf("verified facts are %v, want those gone that the rotation contradicted", facts.Verified)
		}
		if events := told(t, r, rotator.EventTenantFactChanged); len(events) != 2 || events[0].Tenant != "contoso" {
			t.Errorf("%d events, want 2: %+v", len(events), events)
		}
	})
}

// TestOldFacts shows which facts are not used any more.
func TestOldFacts(t *testing.T) {
	now := time.Now()
	for name, one := range map[string]struct {
		version string
		at      time.Time
		old     bool
	}{
		"fresh": {"1", now.Add(-179 * 24 * time.Hour), false}, "old": {"1", now.Add(-181 * 24 * time.Hour), true}, "other version": {"2", now, true},
	} {
		f := rotator.TenantFacts{Verified: map[string]rotator.VerifiedFact{"x": {}}, VerifiedAt: one.at, Version: one.version}
		if got := f.Old("1", now); (got != "") != one.old {
			t.Errorf("%s: %q", name, got)
		}
	}
}
