package rotator_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// TestTenantFacts rotates an app in a tenant that lags, and reads what was noted on
// the way: without a commit of its own, and without anything that names the tenant.
func TestTenantFacts(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged})
		w.tenant.Propagation, w.tenant.ReadLag = 90*time.Second, 20*time.Second
		r, closeStore := w.rotator()
		defer closeStore()
		stop := run(t, r)
		await(t, r, "app-1", 6*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		facts, err := r.Facts(t.Context(), "contoso")
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range []string{rotator.CountAnswerKeyID, rotator.CountAnswerKeyNull, rotator.CountCustomIDHex, rotator.CountRemoveDone} {
			if facts.Counts[what] == 0 {
				t.Errorf("%s was not counted: %v", what, facts.Counts)
			}
		}
		for _, what := range []string{rotator.SpanSignIn, rotator.SpanSkew} {
			if facts.Spans[what].Count == 0 {
				t.Errorf("%s was not measured: %v", what, facts.Spans)
			}
		}
		if s := facts.Spans[rotator.SpanSignIn]; s.Count != 1 || s.Max > 5*time.Minute {
			t.Errorf("a sign-in was accepted after %+v, want once and within 5 min of a propagation of 90 s", s)
		}
		if len(facts.Refusals) == 0 || facts.Refusals[0].Code != "AADSTS700027" {
			t.Errorf("refusals %+v, want the one of a key that has not spread", facts.Refusals)
		}
		if facts.Since.IsZero() || facts.At.Before(facts.Since) {
			t.Errorf("noted from %v to %v", facts.Since, facts.At)
		}
		stored, err := json.Marshal(facts)
		if err != nil {
			t.Fatal(err)
		}
		if len(stored) > 4096 {
			t.Errorf("one rotation in one tenant takes %d bytes: %s", len(stored), stored)
		}
		for _, id := range append([]string{tenantID, "contoso", "app-1", w.apps[0].clientID}, regexp.MustCompile(`[0-9a-fA-F]{16,}`).FindAllString(string(stored), -1)...) {
			if strings.Contains(string(stored), id) {
				t.Errorf("the facts hold %q: %s", id, stored)
			}
		}
		if _, err := r.Facts(t.Context(), "fabrikam"); err == nil {
			t.Error("a tenant that is not configured has facts")
		}
	})
}

// TestSpan compares the distribution with the lengths that went in.
func TestSpan(t *testing.T) {
	facts := rotator.TenantFacts{}
	for _, seconds := range []int{0, 3, 4, 5, 200} {
		facts.Took("x", time.Duration(seconds)*time.Second)
	}
	more := rotator.TenantFacts{}
	more.Took("x", 4*time.Second)
	more.Took("x", 900*time.Second)
	facts.Merge(&more)
	s := facts.Spans["x"]
	if s.Count != 7 || s.Min != 0 || s.Max != 900*time.Second || s.Median() != 4*time.Second {
		t.Errorf("%d lengths from %v to %v, median %v; want 7 from 0 to 15m0s, median 4s", s.Count, s.Min, s.Max, s.Median())
	}
	if n := more.Spans["x"].Count; n != 2 {
		t.Errorf("what was merged changed: %d", n)
	}
	for range 60 {
		facts.Refused("Code", "the text 12345678-1234-1234-1234-123456789012 of 'somebody'", time.Time{})
	}
	if len(facts.Refusals) != 1 || facts.Refusals[0].Count != 60 || facts.Refusals[0].Message != "the text … of '…'" {
		t.Errorf("refusals %+v", facts.Refusals)
	}
	for n := range 60 {
		facts.Refused("Code", strings.Repeat("y", n), time.Time{})
	}
	if len(facts.Refusals) != 50 {
		t.Errorf("%d kinds of refusals are kept, want 50", len(facts.Refusals))
	}
}

// TestMasked reads messages as Microsoft sends them.
func TestMasked(t *testing.T) {
	for in, want := range map[string]string{
		"Application with identifier '0c2e7d0a-0000-4000-8000-000000000001' was not found in the directory 'Contoso Ltd'.": "Application with identifier '…' was not found in the directory '…'.",
		"Neither tenant is B2C or tenant doesn't have premium license":                                                     "Neither tenant is B2C or tenant doesn't have premium license",
		"Thumbprint 3A6F0B8B1C0E4D5F9A7B2C3D4E5F60718293A4B5 of ann@contoso.example at 203.0.113.10":                       "Thumbprint … of … at …",
		"Current time: 2026-03-02T06:17:00Z, valid":                                                                        "Current time: …, valid",
	} {
		if got := rotator.Masked(in); got != want {
			t.Errorf("Masked(%q) = %q, want %q", in, got, want)
		}
	}
}
