package graph_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

// journal is one in memory. It can fail at one of its writes, as a process that is
// killed there.
type journal struct {
	entry   *verify.Entry
	notes   int
	killAt  int
	cleared bool
}

var errKilled = errors.New("killed")

func (j *journal) Note(_ context.Context, e verify.Entry) error {
	if j.killAt > 0 && j.notes >= j.killAt {
		return errKilled
	}
	j.notes++
	e.Keys = slices.Clone(e.Keys)
	j.entry = &e
	return nil
}

func (j *journal) Clear(context.Context) error {
	if j.killAt > 0 && j.notes >= j.killAt {
		return errKilled
	}
	j.entry, j.cleared = nil, true
	return nil
}

// newVerification makes a tenant with an identity, and a run that it asks for.
func newVerification(tb testing.TB, change func(*emulator.Tenant)) (*world, *verify.Run, *journal) {
	tb.Helper()
	w := newWorld(tb, func(t *emulator.Tenant, _ *graph.Config) {
		t.Unknown, t.KeyReadsPerMinute, t.SigningKey = nil, -1, keys()[2]
		if change != nil {
			change(t)
		}
	})
	for _, p := range []string{"Policy.Read.All", "AuditLog.Read.All"} {
		if err := w.tenant.Grant(w.admin.ClientID, p); err != nil {
			tb.Fatal(err)
		}
	}
	raw, err := w.client.Raw("contoso", "")
	if err != nil {
		tb.Fatal(err)
	}
	j := &journal{}
	n := 0
	return w, &verify.Run{
		Tenant: raw, Journal: j, Mark: "0a1b2c3d", Version: "1.0.0-test", Scope: "https://outlook.office365.com/.default",
		GenerateKey: func() (*rsa.PrivateKey, error) { n++; return keys()[n%2], nil },
	}, j
}

// apps of the tenant that a verification made.
func (w *world) throwaways() []string {
	var names []string
	for _, a := range w.tenant.Applications() {
		if strings.HasPrefix(a.Name, "rotate-verify-") {
			names = append(names, a.Name)
		}
	}
	return names
}

// TestVerifyForbidden asks a tenant that answers every step with 403.
func TestVerifyForbidden(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w, run, j := newVerification(t, nil)
		w.sent.fail(func(q emulator.Request) *emulator.Fault {
			if q.IsToken() || q.Method == http.MethodGet && !strings.HasPrefix(q.Path, "/v1.0/") {
				return nil
			}
			return &emulator.Fault{Status: http.StatusForbidden}
		})
		report, err := run.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(report.Ended, "not allowed to create") || report.Value("create") != verify.Forbidden || !j.cleared {
			t.Errorf("ended %q, create %q, cleared %v", report.Ended, report.Value("create"), j.cleared)
		}
		if left := w.throwaways(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		for n := range 10 {
			// Everything is allowed up to a step, and nothing after it but to clean up.
			w, run, j := newVerification(t, nil)
			allowed := n * 9
			w.sent.fail(func(q emulator.Request) *emulator.Fault {
				if q.Method == http.MethodGet || q.IsToken() || q.Method == http.MethodDelete {
					return nil
				}
				if allowed--; allowed >= 0 {
					return nil
				}
				return &emulator.Fault{Status: http.StatusForbidden}
			})
			report, err := run.Do(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if left := w.throwaways(); len(left) > 0 || !j.cleared {
				t.Errorf("403 after %d writes: left behind %v, cleared %v, %s", n*9, left, j.cleared, report.Ended)
			}
		}
	})
}

// TestVerifyKilled kills a run at each of its notes, which come before each write, and
// after each write; then the journal is enough to leave nothing behind.
func TestVerifyKilled(t *testing.T) {
	keys()
	for at := 1; ; at++ {
		ended, pairs := false, false
		synctest.Test(t, func(t *testing.T) {
			w, run, j := newVerification(t, nil)
			j.killAt = at
			other, err := w.tenant.AddApplication(emulator.Application{Name: verify.AppName("0a1b2c3d", time.Now())})
			if err != nil {
				t.Fatal(err)
			}
			_, err = run.Do(t.Context())
			if ended = err == nil; err != nil && !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			if j.entry != nil {
				if _, err := verify.CleanUp(t.Context(), run.Tenant, *j.entry); err != nil {
					t.Errorf("killed at note %d: %v", at, err)
				}
			}
			pairs = j.entry != nil && strings.HasSuffix(j.entry.What, "pair")
			left := w.throwaways()
			if len(left) != 1 {
				t.Errorf("killed at note %d (%+v): left behind %v", at, j.entry, left)
			}
			if _, err := w.tenant.Application(other.ClientID); err != nil {
				t.Errorf("killed at note %d: an app of the same name was deleted", at)
			}
		})
		if ended {
			if at < 50 {
				t.Errorf("a run makes %d notes, want at least one before each of its writes", at)
			}
			return
		}
		if pairs {
			at += 6 // twenty times the same
		}
	}
}

// TestVerifyDeletesOnlyItsOwn has the app changed so that it is no longer what the
// journal says.
func TestVerifyDeletesOnlyItsOwn(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w, run, j := newVerification(t, nil)
		j.killAt = 6
		_, _ = run.Do(t.Context())
		good := *j.entry
		for name, change := range map[string]func(*verify.Entry){
			"another unique name": func(e *verify.Entry) { e.UniqueName += "x" },
			"another client ID":   func(e *verify.Entry) { e.ClientID = adminID },
			"another creator":     func(e *verify.Entry) { e.CreatedBy = w.app.ClientID },
			"another time":        func(e *verify.Entry) { e.Begun = e.Begun.Add(-24 * time.Hour) },
			"an app of others":    func(e *verify.Entry) { e.ObjectID, e.ClientID, e.CreatedBy = w.app.ObjectID, w.app.ClientID, "" },
		} {
			e := good
			change(&e)
			if _, err := verify.CleanUp(t.Context(), run.Tenant, e); !errors.Is(err, verify.ErrNotOurs) {
				t.Errorf("%s: %v, want that it is not ours", name, err)
			}
		}
		if len(w.throwaways()) != 1 {
			t.Error("it was deleted")
		}
		if _, err := verify.CleanUp(t.Context(), run.Tenant, good); err != nil || len(w.throwaways()) != 0 {
			t.Errorf("the right one stays: %v", err)
		}
	})
}

// TestVerify runs all steps against a tenant as it is known.
func TestVerify(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w, run, j := newVerification(t, nil)
		report, err := run.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if report.Ended != "" || !j.cleared {
			t.Errorf("ended early: %q; journal cleared: %v", report.Ended, j.cleared)
		}
		for _, f := range report.Facts {
			if f.Verdict == verify.Fails {
				t.Errorf("%s: %s: this version cannot cope with it: %s", f.Name, f.Value, f.Answer)
			}
		}
		if left := w.throwaways(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if report.Writes > 110 || report.Keys > 50 || report.Tokens > 200 {
			t.Errorf("%d writes, %d keys, %d tokens: above the ceilings", report.Writes, report.Keys, report.Tokens)
		}
		var text strings.Builder
		if err := report.Markdown(&text, "https://issues.example"); err != nil {
			t.Fatal(err)
		}
		if os.Getenv("SHOW") != "" {
			t.Log(text.String())
		}
		if n := strings.Count(text.String(), "\n"); n > 150 {
			t.Errorf("the report has %d lines, want 150 at most", n)
		}
		for _, q := range w.tenant.Requests() {
			if q.Method != http.MethodGet && strings.Contains(q.Path, w.app.ObjectID) {
				t.Errorf("%s %s: another app was touched", q.Method, q.Path)
			}
		}
		if time.Duration(report.Took)*time.Second > time.Hour {
			t.Errorf("it took %d s", report.Took)
		}
	})
}
