package graph_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestSignIns reads the log over several pages, by credential and by time, and finds
// its own sign-ins in it by both IDs.
func TestSignIns(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.tenant.Grant(w.admin.ClientID, "AuditLog.Read.All"); err != nil {
		t.Fatal(err)
	}
	app := w.registration()
	app.CorrelationID = "bbbbbbbb-0000-4000-8000-000000000002"
	mine, err := w.client.SignIn(t.Context(), app, w.pair, nil)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for range 3 {
		if _, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil); err != nil {
			t.Fatal(err)
		}
	}
	// The app's own work takes the same name as its cold sign-ins.
	as := rotator.Access{Registration: app, As: newPair(t, 1, time.Hour)}
	if _, err := w.client.AddKey(t.Context(), w.self(), w.pair, newKey(t, as.As)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Keys(t.Context(), as, false); err == nil || failure(t, err).Reason != rotator.ReasonForbidden {
		t.Fatalf("the app reads itself without a permission: %v", err)
	}

	all, err := w.client.SignIns(t.Context(), w.managed(), rotator.SignInQuery{Most: 100})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 5 {
		t.Fatalf("%d sign-ins, want 5: %+v", len(all), all)
	}
	if newest := all[0]; newest.CorrelationID != app.CorrelationID || newest.KeyID == w.keyID || newest.ThumbprintSHA1 != rotator.ThumbprintSHA1(as.As.Certificate) {
		t.Errorf("the app's own request: %+v", newest)
	}
	oldest := all[4]
	if oldest.CorrelationID != app.CorrelationID || mine.RequestID == "" || oldest.ID != mine.RequestID || oldest.KeyID != w.keyID || oldest.ErrorCode != 0 {
		t.Errorf("the first sign-in: %+v, want ID %s", oldest, mine.RequestID)
	}
	if all[1].CorrelationID == app.CorrelationID {
		t.Error("a sign-in without a correlation ID has that of another")
	}
	byKey, err := w.client.SignIns(t.Context(), w.managed(), rotator.SignInQuery{KeyID: w.keyID, Since: begun.Add(-time.Minute), Most: 100})
	if err != nil || len(byKey) != 4 {
		t.Errorf("by key: %d, %v, want 4", len(byKey), err)
	}
	if future, err := w.client.SignIns(t.Context(), w.managed(), rotator.SignInQuery{Since: begun.Add(time.Hour), Most: 100}); err != nil || len(future) != 0 {
		t.Errorf("of the future: %d, %v", len(future), err)
	}
	// Pages are followed as far as they are wanted.
	for _, most := range []int{1, 2} {
		got, err := w.client.SignIns(t.Context(), w.managed(), rotator.SignInQuery{KeyID: w.keyID, Most: most})
		if err != nil || len(got) != most || got[0] != byKey[0] {
			t.Errorf("the newest %d: %+v, %v", most, got, err)
		}
	}
}

// TestSignInsRefused: what keeps the log from being read is a matter for a person,
// unless it passes.
func TestSignInsRefused(t *testing.T) {
	w := newWorld(t, nil)
	ask := func() *rotator.Failure {
		t.Helper()
		_, err := w.client.SignIns(t.Context(), w.managed(), rotator.SignInQuery{Most: 1})
		return failure(t, err)
	}
	if f := ask(); f.Reason != rotator.ReasonForbidden || !strings.Contains(f.Next, "AuditLog.Read.All") {
		t.Errorf("without the permission: %v, next %q", f, f.Next)
	}
	if err := w.tenant.Grant(w.admin.ClientID, "AuditLog.Read.All"); err != nil {
		t.Fatal(err)
	}
	w.client.ForgetIdentity("contoso")
	w.tenant.Configure(func(e *emulator.Tenant) { e.NoPremium = true })
	if f := ask(); f.Class != rotator.ClassFix || !strings.Contains(f.Message, "NonPremiumTenant") || !strings.Contains(f.Next, "licence") || strings.Contains(f.Next, "AuditLog") {
		t.Errorf("without a licence: %v", f)
	}
	for status, class := range map[int]rotator.Class{
		http.StatusNotFound: rotator.ClassFix, http.StatusBadRequest: rotator.ClassFix,
		http.StatusTooManyRequests: rotator.ClassWait, http.StatusServiceUnavailable: rotator.ClassWait,
	} {
		w.sent.fail(func(q emulator.Request) *emulator.Fault {
			if strings.HasPrefix(q.Path, "/beta/") {
				return &emulator.Fault{Status: status, RetryAfter: time.Hour}
			}
			return nil
		})
		if f := ask(); f.Class != class {
			t.Errorf("%d: class %s, want %s", status, f.Class, class)
		}
	}
	for _, wrong := range []rotator.KeyID{"x' or appId eq 'y", "a b"} {
		if _, err := w.client.SignIns(t.Context(), w.managed(), rotator.SignInQuery{KeyID: wrong}); err == nil {
			t.Errorf("key ID %q was accepted", fmt.Sprint(wrong))
		}
	}
}
