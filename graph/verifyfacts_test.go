package graph_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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

// TestVerifyEachSwitch turns one switch of the emulator after the other. The report has
// the facts that belong to it, all others are as in a tenant as known, and an emulator
// that is set from the report has the switch turned again.
func TestVerifyEachSwitch(t *testing.T) {
	keys()
	run := func(t *testing.T, set func(*emulator.Tenant)) (*world, verify.Report) {
		t.Helper()
		w, run, j := newVerification(t, set)
		run.Wait = 2 * time.Hour
		report, err := run.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if left := w.leftBehind(t); len(left) > 0 || !j.cleared {
			t.Errorf("left behind %v, journal cleared: %v", left, j.cleared)
		}
		checkMasked(t, w, report)
		return w, report
	}
	var known map[string]string
	synctest.Test(t, func(t *testing.T) {
		_, report := run(t, nil)
		known = factsOf(report)
	})
	for name, one := range switches() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, report := run(t, one.set)
				if one.ended != "" != (report.Ended != "") || !strings.Contains(report.Ended, one.ended) {
					t.Fatalf("ended with %q, want %q", report.Ended, one.ended)
				}
				got := factsOf(report)
				for fact, want := range one.want {
					if least, isLag := strings.CutPrefix(want, "≥"); isLag {
						if seconds(t, report, fact) < must1(strconv.Atoi(least))(t) {
							t.Errorf("%s = %q, want %s seconds or more", fact, got[fact], least)
						}
					} else if want == "+" {
						if n := must1(strconv.Atoi(got[fact]))(t); n < 1 {
							t.Errorf("%s = %d, want more than none", fact, n)
						}
					} else if got[fact] != want {
						t.Errorf("%s = %q, want %q", fact, got[fact], want)
					}
					if known[fact] == got[fact] {
						t.Errorf("%s = %q, as without the switch", fact, got[fact])
					}
				}
				for fact, value := range got {
					if _, isMeant := one.want[fact]; !isMeant && value != known[fact] && !isNumber(value) {
						t.Errorf("%s = %q, want %q as without the switch", fact, value, known[fact])
					}
				}
				for fact := range known {
					if _, found := got[fact]; !found && one.ended == "" && (name != "no licence" || !strings.HasPrefix(fact, "log_")) {
						t.Errorf("%s is not in the report", fact)
					}
				}
				again := &emulator.Tenant{}
				if err := again.UseFacts(got); err != nil {
					t.Error(err)
				}
				want, now := w.tenant.Facts, again.Facts
				if (now.LifetimeRefusal != "") != (got["ten_years"] == "refused") {
					t.Errorf("an emulator set from the report refuses long lifetimes with %q", now.LifetimeRefusal)
				}
				now.LifetimeRefusal = want.LifetimeRefusal
				if want.ProofLag > 0 && now.ProofLag >= want.ProofLag {
					now.ProofLag = want.ProofLag
				}
				if want.DenyRemovals > 0 && now.DenyRemovals > 0 {
					now.DenyRemovals = want.DenyRemovals
				}
				now.ProofLag = max(now.ProofLag, want.ProofLag)
				if want != now || again.RefuseEnded != w.tenant.RefuseEnded || again.OwnCorrelationIDs != w.tenant.OwnCorrelationIDs ||
					again.NoPremium != w.tenant.NoPremium || again.SignInDelay < w.tenant.SignInDelay {
					t.Errorf("an emulator set from the report is %+v, want %+v", now, want)
				}
			})
		})
	}
}

// must1 fails the test for an error.
func must1[T any](value T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// aSwitch is one of the emulator's, and what a verification finds when it is turned.
type aSwitch struct {
	set  func(*emulator.Tenant)
	want map[string]string
	// ended is how the run ends early; empty: it does not.
	ended string
}

func switches() map[string]aSwitch {
	facts := func(set func(*emulator.Open), want map[string]string) aSwitch {
		return aSwitch{func(t *emulator.Tenant) { set(&t.Facts) }, want, ""}
	}
	type m = map[string]string
	return map[string]aSwitch{
		"self removal":   facts(func(f *emulator.Open) { f.SelfRemoval = true }, m{"remove_itself": "accepted"}),
		"proof x5t#S256": facts(func(f *emulator.Open) { f.ProofS256 = true }, m{"proof_x5t_s256": "accepted"}),
		"proof PS256":    facts(func(f *emulator.Open) { f.ProofPS256 = true }, m{"proof_ps256": "accepted"}),
		"proof long":     facts(func(f *emulator.Open) { f.ProofLong = true }, m{"proof_60_minutes": "accepted"}),
		"proof Graph":    facts(func(f *emulator.Open) { f.ProofGraph = true }, m{"proof_audience_graph": "accepted"}),
		"proof lag": facts(func(f *emulator.Open) { f.ProofLag = 10 * time.Minute }, m{
			"proof_accepted_after": "≥600", "proof_accepted_after_patch": "≥600",
		}),
		"no usual proof": facts(func(f *emulator.Open) { f.NoProofUsual = true }, m{
			"proof_usual": "refused", "proof_issuer_client_id": "refused",
		}),
		"no proof by x5t":        facts(func(f *emulator.Open) { f.NoProofX5T = true }, m{"proof_x5t": "refused"}),
		"no proof by kid":        facts(func(f *emulator.Open) { f.NoProofKid = true }, m{"proof_kid": "refused"}),
		"If-Match":               facts(func(f *emulator.Open) { f.IfMatch = true }, m{"if_match": "412"}),
		"refuse twice":           facts(func(f *emulator.Open) { f.RefuseTwice = true }, m{"add_same_certificate": "refused"}),
		"refuse custom ID":       facts(func(f *emulator.Open) { f.RefuseCustomID = true }, m{"add_custom_key_identifier": "refused"}),
		"refuse late start":      facts(func(f *emulator.Open) { f.RefuseLateStart = true }, m{"start_in_10_minutes": "refused"}),
		"token ends with key":    facts(func(f *emulator.Open) { f.TokenEndsWithKey = true }, m{"token_after_removal": "dead"}),
		"base64":                 facts(func(f *emulator.Open) { f.Base64CustomID = true }, m{"custom_key_identifier": "base64"}),
		"log without key ID":     facts(func(f *emulator.Open) { f.NoLogKeyID = true }, m{"log_key_id": "empty", "log_filter_by_key_id": "empty"}),
		"log without thumbprint": facts(func(f *emulator.Open) { f.NoLogThumbprint = true }, m{"log_thumbprint": "empty"}),
		"log without filter":     facts(func(f *emulator.Open) { f.NoLogFilter = true }, m{"log_filter_by_key_id": "refused"}),
		"lifetime":               facts(func(f *emulator.Open) { f.LifetimeRefusal = "Request_BadRequest Too long for us." }, m{"ten_years": "refused"}),
		"deny removals":          facts(func(f *emulator.Open) { f.DenyRemovals = 4 }, m{"remove_denied_though_listed": "+"}),
		"own authority": {
			func(t *emulator.Tenant) { t.Facts.OwnCA = true }, m{"self_signed": "refused"}, "the first certificate was refused: 400 CredentialNotAllowedAsPerAppPolicy",
		},
		"expired entries":     {func(t *emulator.Tenant) { t.RefuseEnded = true }, m{"expired_resent": "refused", "expired_resent_with_key": "refused"}, ""},
		"own correlation IDs": {func(t *emulator.Tenant) { t.OwnCorrelationIDs = true }, m{"log_correlation_id": "other"}, ""},
		"no licence":          {func(t *emulator.Tenant) { t.NoPremium = true }, m{"log": "forbidden"}, ""},
		"late log":            {func(t *emulator.Tenant) { t.SignInDelay = 50 * time.Minute }, m{"log_shows_after": "≥3000"}, ""},
		"unknown is 404":      {func(t *emulator.Tenant) { t.RemoveUnknownStatus = 404 }, m{"remove_unknown": "404", "remove_twice": "404"}, ""},
		"propagation": {func(t *emulator.Tenant) { t.Propagation = 3 * time.Minute }, m{
			"sign_in_after": "≥60", "sign_in_refusal": "AADSTS700016", "removal_refused_after": "≥120",
		}, ""},
		"lagging reads": {func(t *emulator.Tenant) { t.ReadLag = 40 * time.Second }, m{
			"visible_by_id_steady": "≥40", "removal_listed_after": "≥20",
		}, ""},
		"clock": {func(t *emulator.Tenant) { t.ClockSkew = 90 * time.Second }, m{"clock_difference": "90s", "end_in_60_seconds": "refused"}, ""},
		"lifetime policy": {func(t *emulator.Tenant) { t.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 90 * 24 * time.Hour}) }, m{
			"default_policy": "lifetime", "ten_years": "refused",
		}, ""},
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
