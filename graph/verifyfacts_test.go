package graph_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

var update = flag.Bool("update", false, "write the reports of testdata/tenants again")

// strict is a tenant that refuses whatever is open, and lags.
func strict(t *emulator.Tenant) {
	t.Propagation, t.ReadLag, t.SignInDelay, t.RemoveUnknownStatus = 90*time.Second, 20*time.Second, 40*time.Minute, 404
	t.OwnCorrelationIDs, t.RefuseEnded = true, true
	t.Facts = emulator.Open{
		ProofLag: 20 * time.Minute, IfMatch: true, RefuseTwice: true, RefuseCustomID: true, RefuseLateStart: true,
		TokenEndsWithKey: true, Base64CustomID: true, NoLogKeyID: true, DenyRemovals: 4,
	}
}

// lenient is one that accepts whatever is open.
func lenient(t *emulator.Tenant) {
	t.Facts = emulator.Open{SelfRemoval: true, ProofS256: true, ProofPS256: true, ProofLong: true, ProofGraph: true}
}

// tenants are those of testdata/tenants, and what a verification must find in them.
func tenants() map[string]struct {
	set  func(*emulator.Tenant)
	want map[string]string
} {
	return map[string]struct {
		set  func(*emulator.Tenant)
		want map[string]string
	}{
		"known": {func(*emulator.Tenant) {}, map[string]string{
			"remove_itself": "refused", "proof_x5t_s256": "refused", "proof_ps256": "refused", "proof_60_minutes": "refused",
			"proof_audience_graph": "refused", "if_match": "ignored", "expired_resent": "accepted", "add_same_certificate": "accepted",
			"add_custom_key_identifier": "accepted", "start_in_10_minutes": "accepted", "self_signed": "accepted", "token_after_removal": "alive",
			"custom_key_identifier": "hex", "log_key_id": "filled", "log_correlation_id": "ours", "remove_denied_though_listed": "0",
			"remove_unknown": "400", "log": "accepted",
		}},
		"strictest": {strict, map[string]string{
			"remove_itself": "refused", "proof_ps256": "refused", "if_match": "412", "expired_resent": "refused", "add_same_certificate": "refused",
			"add_custom_key_identifier": "refused", "start_in_10_minutes": "refused", "token_after_removal": "dead",
			"custom_key_identifier": "base64", "log_key_id": "empty", "log_correlation_id": "other", "remove_unknown": "404",
		}},
		"most-lenient": {lenient, map[string]string{
			"remove_itself": "accepted", "proof_x5t_s256": "accepted", "proof_ps256": "accepted", "proof_60_minutes": "accepted",
			"proof_audience_graph": "accepted",
		}},
	}
}

// TestVerifySwitches runs a verification against the emulator with every switch both
// ways. The reports are those of testdata/tenants, and an emulator that is set from
// one gives the same facts again.
func TestVerifySwitches(t *testing.T) {
	keys()
	for name, one := range tenants() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, run, _ := newVerification(t, one.set)
				run.Wait = 2 * time.Hour
				report, err := run.Do(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if report.Ended != "" {
					t.Fatalf("ended early: %s", report.Ended)
				}
				for fact, want := range one.want {
					if got := report.Value(fact); got != want {
						t.Errorf("%s = %q, want %q", fact, got, want)
					}
				}
				if left := w.throwaways(); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
				if report.Writes > 110 || report.Keys > 50 || report.Tokens > 200 {
					t.Errorf("%d writes, %d keys, %d tokens: above the ceilings", report.Writes, report.Keys, report.Tokens)
				}
				if name == "strictest" && (seconds(t, report, "proof_accepted_after") < 20*60 || report.Value("remove_denied_though_listed") == "0") {
					t.Errorf("proof after %s, removals denied %s", report.Value("proof_accepted_after"), report.Value("remove_denied_though_listed"))
				}
				checkMasked(t, w, report)
				path := filepath.Join("..", "rotator", "testdata", "tenants", name+".json")
				if *update {
					writeReport(t, path, report)
				}
				checkReport(t, path, report)
				again := &emulator.Tenant{}
				facts := map[string]string{}
				for _, f := range report.Facts {
					facts[f.Name] = f.Value
				}
				if err := again.UseFacts(facts); err != nil {
					t.Error(err)
				}
				want, got := w.tenant.Facts, again.Facts
				want.ProofLag, got.ProofLag, want.DenyRemovals, got.DenyRemovals = 0, 0, 0, 0
				if got != want {
					t.Errorf("an emulator set from the report is %+v, want %+v", got, want)
				}
			})
		})
	}
}

func seconds(t *testing.T, report verify.Report, name string) int {
	t.Helper()
	d, err := time.ParseDuration(report.Value(name))
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return int(d.Seconds())
}

func writeReport(t *testing.T, path string, report verify.Report) {
	t.Helper()
	content, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, append(content, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checkReport compares which facts are known and all that is no length of time.
func checkReport(t *testing.T, path string, report verify.Report) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var kept verify.Report
	if err := json.Unmarshal(content, &kept); err != nil {
		t.Fatal(err)
	}
	number := regexp.MustCompile(`^\d+s?$`)
	for _, f := range kept.Facts {
		if got := report.Value(f.Name); got != f.Value && !number.MatchString(f.Value) {
			t.Errorf("%s: %s = %q, found %q (-update writes it again)", path, f.Name, f.Value, got)
		}
	}
	if len(kept.Facts) != len(report.Facts) {
		t.Errorf("%s has %d facts, found %d (-update writes it again)", path, len(kept.Facts), len(report.Facts))
	}
}

// checkMasked looks for what names anything of the tenant in all that a report is
// given away as.
func checkMasked(t *testing.T, w *world, report verify.Report) {
	t.Helper()
	content, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.Markdown(&text, "https://issues.example"); err != nil {
		t.Fatal(err)
	}
	all := text.String() + string(content)
	for what, secret := range map[string]string{
		"tenant": w.tenant.TenantID(), "identity": adminID, "domain": "contoso", "host": "entra.test", "token": "eyJ", "app name": "rotate-verify-0a1b",
	} {
		if strings.Contains(strings.ToLower(all), strings.ToLower(secret)) {
			t.Errorf("the report has the %s %q", what, secret)
		}
	}
	for _, pattern := range []string{`[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}`, `[0-9a-fA-F]{32,}`, `[A-Za-z0-9+/]{60,}`} {
		if found := regexp.MustCompile(pattern).FindString(all); found != "" {
			t.Errorf("the report has %q", found)
		}
	}
	if len(report.Requests) == 0 || report.Requests[0].ID == "" {
		t.Error("the request IDs for support are missing")
	}
}
