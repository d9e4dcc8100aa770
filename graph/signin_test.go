package graph_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestSignInIsCold: a token from memory would prove nothing.
func TestSignInIsCold(t *testing.T) {
	w := newWorld(t, nil)
	for range 2 {
		if _, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.sent.tokens(); n != 2 {
		t.Errorf("2 sign-ins made %d token requests, want 2", n)
	}
	if err := w.tenant.RemoveKeyCredential(w.app.ClientID, string(w.keyID)); err != nil {
		t.Fatal(err)
	}
	_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
	if f := failure(t, err); f.Reason != rotator.ReasonNotRegistered {
		t.Errorf("sign-in with a removed certificate: %v, want %v", f.Reason, rotator.ReasonNotRegistered)
	}
}

// TestOrdinaryCallsShareAToken in both modes, until the pair changes.
func TestOrdinaryCallsShareAToken(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.tenant.Grant(w.app.ClientID, "Application.Read.All"); err != nil {
		t.Fatal(err)
	}
	for _, as := range []rotator.Access{w.self(), w.managed()} {
		w.sent.fail(nil)
		for range 3 {
			if _, err := w.client.Keys(t.Context(), as, false); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.sent.tokens(); n != 1 {
			t.Errorf("3 reads made %d token requests, want 1", n)
		}
	}
	next := newPair(t, 1, time.Hour)
	if _, err := w.client.AddKey(t.Context(), w.self(), w.pair, newKey(t, next)); err != nil {
		t.Fatal(err)
	}
	w.sent.fail(nil)
	as := w.self()
	as.As = next
	if _, err := w.client.Keys(t.Context(), as, false); err != nil {
		t.Fatal(err)
	}
	if n := w.sent.tokens(); n != 1 {
		t.Errorf("a read with another pair made %d token requests, want 1", n)
	}
}

func TestSignInTellsRolesAndTime(t *testing.T) {
	w := newWorld(t, func(t *emulator.Tenant, _ *graph.Config) { t.ClockSkew = 3 * time.Minute })
	if err := w.tenant.Grant(w.app.ClientID, "Directory.Read.All"); err != nil {
		t.Fatal(err)
	}
	got, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ahead := time.Until(got.At); ahead < 2*time.Minute || ahead > 4*time.Minute {
		t.Errorf("At is %v ahead, want the tenant's 3 minutes", ahead)
	}
	if d := cmp.Diff([]string{"Directory.Read.All", "User.Read.All"}, got.Roles); d != "" {
		t.Errorf("roles (-want +got):\n%s", d)
	}
}

func TestProbesReportEachForItself(t *testing.T) {
	w := newWorld(t, nil)
	probes := []string{"/users?$top=1", "/organization", "/applications?$top=1"}
	got, err := w.client.SignIn(t.Context(), w.registration(), w.pair, probes)
	if err != nil || len(got.Probes) != len(probes) {
		t.Fatalf("SignIn = %v, %v, want %d probes", got, err, len(probes))
	}
	for i, p := range got.Probes {
		if p.Path != probes[i] {
			t.Errorf("probe %d is %q, want %q", i, p.Path, probes[i])
		}
	}
	if got.Probes[0].Err != nil {
		t.Errorf("/users: %v, want none", got.Probes[0].Err)
	}
	f := failure(t, got.Probes[2].Err)
	if f.Class != rotator.ClassFix || f.Reason != rotator.ReasonForbidden || !strings.Contains(f.Message, "probe /applications") {
		t.Errorf("/applications: %v %v %q, want fix, forbidden and the path", f.Class, f.Reason, f.Message)
	}
	if n := w.sent.tokens(); n != 1 {
		t.Errorf("%d token requests, want 1: probes use the token that was proven", n)
	}
}

// TestProbesStayBelowGraph: the token must not be sent elsewhere.
func TestProbesStayBelowGraph(t *testing.T) {
	w := newWorld(t, nil)
	probes := []string{"users", "", "//evil.test/users", "/../beta/users", "/..", "https://evil.test/", "/users#a", "/%zz", "@evil.test/", "/a/../../../x"}
	got, err := w.client.SignIn(t.Context(), w.registration(), w.pair, probes)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range got.Probes {
		if f := failure(t, p.Err); f.Class != rotator.ClassFix {
			t.Errorf("probe %q: %v, want fix", p.Path, p.Err)
		}
	}
	if i := slices.IndexFunc(w.sent.all, func(q emulator.Request) bool { return q.Header.Get("Authorization") != "" }); i >= 0 {
		t.Errorf("a token was sent to %s %s", w.sent.all[i].Host, w.sent.all[i].Path)
	}
}
