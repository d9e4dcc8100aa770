package rotator_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestPreflight(t *testing.T) {
	managed := options{mode: rotator.ModeManaged, left: 300 * 24 * time.Hour}
	self := options{left: 300 * 24 * time.Hour}
	for name, c := range map[string]struct {
		o       options
		prepare func(t *testing.T, w *world)
		check   string // empty: nothing is wrong
		says    string
	}{
		"managed, all is well": {managed, func(*testing.T, *world) {}, "", ""},
		"self, all is well":    {self, func(*testing.T, *world) {}, "", ""},
		"self, may not read":   {options{left: 300 * 24 * time.Hour, permissions: []string{}}, func(*testing.T, *world) {}, "", ""},
		"permission withdrawn": {managed, func(t *testing.T, w *world) {
			t.Helper()
			must(t, w.tenant.Withdraw(w.admin.ClientID, "Application.ReadWrite.OwnedBy"))
			must(t, w.tenant.Grant(w.admin.ClientID, "Application.Read.All"))
			time.Sleep(2 * time.Hour) // the token ends
		}, "permission", "neither Application.ReadWrite.OwnedBy nor Application.ReadWrite.All"},
		"may not even read": {managed, func(t *testing.T, w *world) {
			t.Helper()
			must(t, w.tenant.Withdraw(w.admin.ClientID, "Application.ReadWrite.OwnedBy"))
			time.Sleep(2 * time.Hour)
		}, "permission", "may not read it"},
		"no longer an owner": {managed, func(t *testing.T, w *world) {
			t.Helper()
			must(t, w.tenant.SetOwners(w.apps[0].clientID))
		}, "ownership", "is not an owner of the app"},
		"policy of the app": {managed, func(t *testing.T, w *world) {
			t.Helper()
			_, err := w.tenant.SetPolicy(w.apps[0].clientID, &emulator.Policy{DisplayName: "strict", MaxLifetime: 180 * 24 * time.Hour})
			must(t, err)
		}, "policy", `"strict"`},
		"policy of the tenant": {managed, func(_ *testing.T, w *world) {
			w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 30 * 24 * time.Hour})
		}, "policy", "the next one lives that long, is renewed 15d before it expires"},
		"no room": {managed, func(t *testing.T, w *world) {
			t.Helper()
			der := w.tenant.KeyCredentials(w.apps[0].clientID)[0].Certificate
			for range 998 {
				_, err := w.tenant.AddKeyCredential(w.apps[0].clientID, emulator.KeyCredential{Certificate: der})
				must(t, err)
			}
		}, "room", "the app carries 1001 credentials"},
		"clock": {managed, func(_ *testing.T, w *world) { w.tenant.ClockSkew = 7 * time.Minute }, "clock", "this host's clock is more than 5m"},
		"deleted": {managed, func(t *testing.T, w *world) {
			t.Helper()
			w.outage.Store(true)
			must(t, w.tenant.DeleteApplication(w.apps[0].clientID))
		}, "gone", "is not in Entra"},
		"expired, self": {self, func(*testing.T, *world) { time.Sleep(301 * 24 * time.Hour) }, "expired", "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.o)
				r, closeStore := w.inspector()
				defer closeStore()
				w.told(r)
				c.prepare(t, w)
				problems, err := r.Preflight(t.Context(), "app-1")
				if err != nil {
					t.Fatal(err)
				}
				var checks []string
				for _, p := range problems {
					checks = append(checks, p.Check)
				}
				s, err := r.Status(t.Context(), "app-1")
				if err != nil {
					t.Fatal(err)
				}
				if c.check == "" {
					if len(checks) > 0 || s.Apps[0].Attention {
						t.Errorf("problems %+v, attention %v; want none", problems, s.Apps[0].Attention)
					}
					w.wantTold(r)
					return
				}
				if diff := cmp.Diff([]string{c.check}, checks); diff != "" {
					t.Fatalf("problems (-want +got):\n%s", diff)
				}
				if !strings.Contains(problems[0].Message, c.says) {
					t.Errorf("message %q, want %q in it", problems[0].Message, c.says)
				}
				if warnings := strings.Join(s.Apps[0].Warnings, "\n"); !strings.Contains(warnings, problems[0].Message) {
					t.Errorf("status warns %q, want %q in it", warnings, problems[0].Message)
				}
				w.wantTold(r, "renewal_at_risk "+string(problems[0].Severity)+"  app app-1: the next renewal: ")
				if _, err := r.Preflight(t.Context(), "app-1"); err != nil {
					t.Fatal(err)
				}
				w.wantTold(r) // once
			})
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestPreflightWeekly: it is made at registration, then by inspections once a
// week, and it says when what it found has passed.
func TestPreflightWeekly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged, left: 300 * 24 * time.Hour})
		r, closeStore := w.inspector()
		defer closeStore()
		app, err := r.Store.App(t.Context(), "app-1")
		if err != nil || app.Preflight == nil {
			t.Fatalf("preflight at registration: %+v, err %v", app.Preflight, err)
		}
		w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 30 * 24 * time.Hour})
		for day := range 7 {
			inspect(t, r)
			if got := w.told(r); len(got) > 0 {
				t.Errorf("day %d: told %q before a week was over", day, got)
			}
			time.Sleep(24 * time.Hour)
		}
		inspect(t, r)
		w.wantTold(r, "renewal_at_risk info  app app-1: the next renewal: the tenant's default app management policy allows certificates for 30")
		w.tenant.SetDefaultPolicy(nil)
		time.Sleep(7 * 24 * time.Hour)
		inspect(t, r)
		w.wantTold(r, "recovered info  app app-1: nothing stands in the way")
	})
}

// TestApplyLooksAhead changes an app by a file: what the tenant's policy would refuse
// at its next renewal is said at once, as when it is added.
func TestApplyLooksAhead(t *testing.T) {
	bubble(t, "", options{mode: rotator.ModeManaged, left: 300 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		t := w.t
		if _, err := w.tenant.SetPolicy(w.apps[0].clientID, &emulator.Policy{DisplayName: "strict", MaxLifetime: 180 * 24 * time.Hour}); err != nil {
			t.Fatal(err)
		}
		app, err := r.Store.App(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		spec := rotator.AppSpec{Name: app.Name, Tenant: app.Tenant, ClientID: app.ClientID, Mode: app.Mode, Deliveries: app.Deliveries, Owner: "security"}
		said := func(dryRun bool) bool {
			differences, err := r.Apply(t.Context(), []rotator.AppSpec{spec}, dryRun, "test")
			if err != nil || len(differences) != 1 || differences[0].Err != nil || differences[0].Action != "change" {
				t.Fatalf("apply: %+v, %v", differences, err)
			}
			return slices.ContainsFunc(differences[0].Warnings, func(s string) bool { return strings.Contains(s, `"strict"`) })
		}
		if said(true) {
			t.Error("a dry run asked Entra")
		}
		if !said(false) {
			t.Error("the policy is not named")
		}
	})
}
