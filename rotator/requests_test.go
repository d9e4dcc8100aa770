package rotator_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// asked is one request of a rotation, or a wait between two.
type asked struct {
	// step that sent it.
	step string
	// by is who signed in for it: app or admin; empty for what needs no token.
	by string
	// what is method and path. A wait is "wait" and how long.
	what string
	// why it is sent. One that a better program would not send begins with
	// "needless".
	why string
}

// steps by the phase that a rotation has while they run.
func steps() map[rotator.Phase]string {
	return map[rotator.Phase]string{
		"": "plan", rotator.PhasePlanned: "upload", rotator.PhaseUploaded: "prove", rotator.PhaseProven: "deliver",
		rotator.PhaseDelivered: "confirm", rotator.PhaseConfirmed: "retire",
	}
}

// Requests as they are shown.
const (
	askMetadata = "GET /TENANT/v2.0/.well-known/openid-configuration"
	askToken    = "POST /TENANT/oauth2/v2.0/token"
	askList     = "GET /v1.0/applications/ID"
	askKeys     = askList + "?$select=id,appId,displayName,keyCredentials,passwordCredentials"
	askAdd      = "POST /v1.0/applications/ID/addKey"
	askRemove   = "POST /v1.0/applications/ID/removeKey"
	askPolicies = "GET /v1.0/applications/ID/appManagementPolicies"
	askPolicy   = "GET /v1.0/policies/defaultAppManagementPolicy"
)

// Reasons that come again.
const (
	whyMetadata = "where tokens are to be had; kept for an hour"
	whyClock    = "is this host's clock right; asked once in ten minutes, for all apps of a tenant"
	whyKeys     = "the certificates themselves (150 a minute and tenant): is the key ID to remove that of ours"
	whyRefresh  = "the kept token has expired (1 h) during the wait"
)

// cold is one cold sign-in with a key pair of the app.
func cold(step, why string) []asked { return []asked{{step, "app", askToken, why}} }

// proof is what the step prove sends in every mode: three sign-ins with the new
// pair, half a minute apart, and one with the current pair to compare with.
func proof(unless string) []asked {
	wait := []asked{{"prove", "", "wait 30s", "prove.spacing"}}
	var all []asked
	for _, more := range [][]asked{
		cold("prove", "first cold sign-in with the new pair"), wait,
		cold("prove", "second"), wait,
		cold("prove", "third"),
		cold("prove", "the same with the current pair: what it can do, the new one must do"+unless),
	} {
		all = append(all, more...)
	}
	return all
}

// wantRequests are all requests of a rotation that meets no trouble, in order,
// with three proofs, one delivery, automatic confirmation and both waits.
func wantRequests(mode string) []asked {
	reload := asked{"confirm", "", "wait 1m1s", "reload_within"}
	overlap := asked{"retire", "", "wait 1h0m0s", "overlap"}
	var all []asked
	add := func(more ...asked) { all = append(all, more...) }
	const unless = "; not asked if the upload did so less than 10 s before"
	switch mode {
	case "self":
		add(
			asked{"plan", "", askMetadata, whyMetadata},
			asked{"plan", "app", askToken, whyClock},
			asked{"upload", "app", askToken, "token of the current pair, kept for this step"},
			asked{"upload", "app", askList, "is the certificate there already; what else is there"},
			asked{"upload", "app", askAdd, "adds the certificate"},
		)
		add(proof(unless)...)
		add(
			asked{"deliver", "app", askList, "is the new certificate still there, before anybody gets it"},
			reload,
			asked{"confirm", "app", askList, "is it still there, after the wait"},
		)
		add(cold("confirm", "does it still sign in (and pass the probes)")...)
		add(
			overlap,
			asked{"retire", "app", askToken, whyRefresh},
			asked{"retire", "app", askList, "is the new certificate still there, before the old one goes"},
			asked{"retire", "", askMetadata, whyMetadata},
		)
		add(cold("retire", "does it still sign in; Entra's clock says whether the overlap is over")...)
		add(
			asked{"retire", "app", askKeys, whyKeys},
			asked{"retire", "app", askRemove, "removes the old certificate"},
		)
	case "self, may not read":
		add(
			asked{"plan", "", askMetadata, whyMetadata},
			asked{"plan", "app", askToken, whyClock},
			asked{"upload", "app", askToken, "token of the current pair, kept for this step"},
			asked{"upload", "app", askList, "may the app read by now? Answered 403; not asked again in this rotation"},
			asked{"upload", "app", askAdd, "adds the certificate"},
		)
		add(proof(unless)...)
		add(cold("deliver", "is the new certificate still accepted, before anybody gets it")...)
		add(reload)
		add(cold("confirm", "is it still accepted, after the wait; Entra's clock, from which the overlap runs")...)
		add(overlap, asked{"retire", "", askMetadata, whyMetadata})
		add(cold("retire", "is the new certificate still accepted, before the old one goes; Entra's clock says whether the overlap is over")...)
		add(
			asked{"retire", "app", askRemove, "removes the old certificate"},
		)
	case "managed":
		add(
			asked{"plan", "", askMetadata, whyMetadata},
			asked{"plan", "admin", askToken, "token of the tenant's identity, kept"},
			asked{"plan", "admin", askList, whyClock},
			asked{"plan", "admin", askPolicies, "the longest lifetime that the app's own policy allows"},
			asked{"plan", "admin", askPolicy, "the tenant's, for what the app's own leaves open"},
			asked{"upload", "admin", askList, "is the certificate there already; what else is there"},
			asked{"upload", "admin", askAdd, "adds the certificate"},
		)
		add(proof("")...)
		add(
			asked{"deliver", "admin", askList, "is the new certificate still there, before anybody gets it"},
			reload,
			asked{"confirm", "admin", askList, "is it still there, after the wait"},
		)
		add(cold("confirm", "does it still sign in (and pass the probes)")...)
		add(
			overlap,
			asked{"retire", "admin", askToken, whyRefresh},
			asked{"retire", "admin", askList, "is the new certificate still there, before the old one goes"},
			asked{"retire", "", askMetadata, whyMetadata},
		)
		add(cold("retire", "does it still sign in; Entra's clock says whether the overlap is over")...)
		add(
			asked{"retire", "admin", askKeys, whyKeys},
			asked{"retire", "admin", askRemove, "removes the old certificate"},
		)
	}
	return all
}

// wantChecks are all requests after the removal was sent, until it is confirmed: one
// read for all removals of the app at each of five checks, the last with the
// certificates, and three sign-ins. Where the list may not be read, the sign-ins alone.
func wantChecks(mode string) []asked {
	by := "app"
	if mode == "managed" {
		by = "admin"
	}
	pause := func(text string) asked { return asked{what: "wait " + text} }
	list, keys, signIn := asked{by: by, what: askList}, asked{by: by, what: askKeys}, asked{by: "app", what: askToken}
	all := []asked{pause("30s"), {what: askMetadata}, {by: by, what: askToken}, list, signIn}
	if mode == "self, may not read" {
		return append(all, pause("5m1s"), list, signIn, pause("5m1s"), list, signIn)
	}
	return append(all, pause("2m31s"), list, pause("2m31s"), list, signIn, pause("2m31s"), list, pause("2m31s"), keys, signIn)
}

// TestRequestsPerRotation compares every request that a rotation sends, to the
// login host and to Graph, with a list in which each has its reason. One more
// must be thought about, and one less taken off the list.
func TestRequestsPerRotation(t *testing.T) {
	keys()
	for mode, o := range map[string]options{
		"self":               {},
		"self, may not read": {permissions: []string{}},
		"managed":            {mode: rotator.ModeManaged},
	} {
		o.defaults = fast()
		o.defaults.Prove = &rotator.ProvePolicy{Successes: 3, Spacing: 30 * time.Second, Within: 10 * time.Minute}
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, o)
				w.schedule = every(1000 * time.Hour) // no check looks at what waits
				r, closeStore := w.rotator()
				var got []asked
				var last time.Time
				w.tenant.Configure(func(tenant *emulator.Tenant) {
					tenant.Log = func(e emulator.Entry) {
						if pause := e.Time.Sub(last).Round(time.Second); !last.IsZero() && pause > 0 {
							got = append(got, asked{step: w.step(), what: "wait " + pause.String()})
						}
						got, last = append(got, w.asked(e)), e.Time
					}
				})
				stop := run(t, r)
				await(t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				stop()
				closeStore()
				sent := len(got)
				w.checkTenant()
				if diff := cmp.Diff(wantChecks(mode), got[sent:], cmp.AllowUnexported(asked{})); diff != "" {
					t.Errorf("checks of the removal (-want +got):\n%s", diff)
				}
				got = got[:sent]
				want := wantRequests(mode)
				for i := range want {
					want[i].why = ""
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(asked{})); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// step is the one that works on app-1 now: the phase that the log named last tells.
func (w *world) step() string {
	const reached = `msg="rotation reached phase"`
	_, line, _ := strings.Cut(w.logs.after(reached), " phase=")
	phase, _, _ := strings.Cut(line, " ")
	return steps()[rotator.Phase(phase)]
}

// asked describes a request without IDs.
func (w *world) asked(e emulator.Entry) asked {
	path := strings.NewReplacer(w.apps[0].objectID, "ID", tenantID, "TENANT").Replace(e.Path)
	if e.Query != "" {
		path += "?" + e.Query
	}
	by := ""
	switch e.ClientID {
	case w.apps[0].clientID:
		by = "app"
	case w.admin.ClientID:
		by = "admin"
	}
	return asked{step: w.step(), by: by, what: e.Method + " " + path}
}

// TestRequestsAreDocumented keeps the lists in docs/performance.md the same as
// those that [TestRequestsPerRotation] compares with.
func TestRequestsAreDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"self", "self, may not read", "managed"} {
		var table strings.Builder
		n, needless := 0, 0
		for _, a := range wantRequests(mode) {
			number := ""
			if !strings.HasPrefix(a.what, "wait ") {
				n++
				number = fmt.Sprint(n)
			}
			if strings.HasPrefix(a.why, "needless") {
				needless++
			}
			fmt.Fprintf(&table, "| %s | %s | %s | `%s` | %s |\n", number, a.step, a.by, a.what, a.why)
		}
		want := fmt.Sprintf("#### %s: %d requests, %d of them needless\n\n| | step | as | request | why |\n| --: | --- | --- | --- | --- |\n%s", mode, n, needless, table.String())
		if !strings.Contains(string(data), want) {
			t.Errorf("docs/performance.md does not hold:\n%s", want)
		}
	}
}

// TestComparesOnce: the sign-in with the current pair by which a quick rotation
// uploads is compared with, unless the new pair can do less than it showed: then
// the permission may have been taken away meanwhile, and the current pair is asked
// again.
func TestComparesOnce(t *testing.T) {
	for name, test := range map[string]struct {
		withdraw bool
		want     int
	}{
		"upload and proof":                       {false, 3},
		"a permission is withdrawn between them": {true, 4},
	} {
		bubble(t, name, options{defaults: withoutWaits()}, func(w *world, r *rotator.Rotator) {
			tokens := 0
			w.tenant.Configure(func(tenant *emulator.Tenant) {
				tenant.Log = func(e emulator.Entry) {
					if strings.HasSuffix(e.Path, "/token") && e.ClientID == w.apps[0].clientID {
						tokens++
					}
				}
				tenant.Intercept = func(q emulator.Request) *emulator.Fault {
					if test.withdraw && strings.HasSuffix(q.Path, "/addKey") {
						must(w.t, tenant.Withdraw(w.apps[0].clientID, "Mail.Read"))
					}
					return nil
				}
			})
			stop := run(w.t, r)
			s := await(w.t, r, "app-1", time.Minute, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			if s.Rotation != nil && s.Rotation.Trouble != nil || s.Trouble != nil {
				w.t.Errorf("trouble: %+v", s.Trouble)
			}
			if tokens != test.want {
				w.t.Errorf("%d sign-ins as the app, want %d", tokens, test.want)
			}
			w.checkTenantWith(r)
		})
	}
}
