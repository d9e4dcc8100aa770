package graph_test

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
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
	e.Sent = slices.Clone(e.Sent)
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
	return newVerificationVia(tb, change, nil)
}

// via is a way to whatever tenant a function names.
type via func() *emulator.Tenant

func (v via) RoundTrip(q *http.Request) (*http.Response, error) {
	return v().Transport().RoundTrip(q)
}

// newVerificationVia lets the run's requests go to a tenant that may change; nil: to the
// one of the world.
func newVerificationVia(tb testing.TB, change func(*emulator.Tenant), to via) (*world, *verify.Run, *journal) {
	tb.Helper()
	w := newWorld(tb, func(t *emulator.Tenant, c *graph.Config) {
		t.Unknown, t.KeyReadsPerMinute, t.SigningKey = nil, -1, keys()[2]
		if change != nil {
			change(t)
		}
		if to != nil {
			c.Tenants[0].Cloud.Transport = to
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

// stepped calls back when a run begins a step.
func stepped(run *verify.Run, begins func(step int)) {
	run.Progress = func(text string) {
		var step int
		if n, _ := fmt.Sscanf(text, "step %d:", &step); n == 1 {
			begins(step)
		}
	}
}

// leftBehind reads from the tenant itself, also what was deleted and can be restored,
// what a run left of its apps and their service principals.
func (w *world) leftBehind(t *testing.T) []string {
	t.Helper()
	w.tenant.Configure(func(tenant *emulator.Tenant) { tenant.Intercept, tenant.ReadLag = nil, 0 })
	raw, err := w.client.Raw("contoso", "")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, path := range []string{
		"applications", "servicePrincipals", "directory/deletedItems/microsoft.graph.application", "directory/deletedItems/microsoft.graph.servicePrincipal",
	} {
		a, err := raw.Graph(t.Context(), verify.Request{Method: http.MethodGet, Path: "/v1.0/" + path})
		var list struct {
			Value []struct {
				ID   string `json:"id"`
				Name string `json:"displayName"`
			} `json:"value"`
		}
		if err == nil {
			err = json.Unmarshal(a.Body, &list)
		}
		if err != nil || a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s, %v", path, a.Status, a.Body, err)
		}
		for _, o := range list.Value {
			if strings.HasPrefix(o.Name, "rotate-verify-") {
				left = append(left, path+" "+o.ID)
			}
		}
	}
	return left
}

// facts of a report by name.
func factsOf(report verify.Report) map[string]string {
	facts := map[string]string{}
	for _, f := range report.Facts {
		facts[f.Name] = f.Value
	}
	return facts
}

// isNumber reports whether a value is a number or a length of time, which differs from one
// run to the next.
func isNumber(value string) bool { return regexp.MustCompile(`^\d+s?$`).MatchString(value) }

// TestVerifyForbidden has the tenant answer one step after the other with 403. What the
// step would have shown is "not allowed" or unknown in the report, never something
// else; all other facts are as ever, and nothing is left behind.
func TestVerifyForbidden(t *testing.T) {
	keys()
	var known verify.Report
	synctest.Test(t, func(t *testing.T) {
		_, run, _ := newVerification(t, nil)
		var err error
		if known, err = run.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	ends := map[int]string{
		1: "not allowed to create an app: 403", 2: "the service principal was not created within", 3: "may not be changed: 403",
		4: "got no token within", 5: "addKey in its usual form was refused: 403",
	}
	for denied := range 11 {
		t.Run(fmt.Sprint("step ", denied), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, run, j := newVerification(t, nil)
				var now atomic.Int64
				stepped(run, func(step int) { now.Store(int64(step)) })
				w.sent.fail(func(q emulator.Request) *emulator.Fault {
					isOwn := q.IsToken() && q.ClientID == adminID
					if now.Load() != int64(denied) || isOwn || strings.HasSuffix(q.Path, ".well-known/openid-configuration") && denied > 0 {
						return nil
					}
					return &emulator.Fault{Status: http.StatusForbidden}
				})
				report, err := run.Do(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if want := ends[denied]; want == "" && report.Ended != "" || !strings.Contains(report.Ended, want) {
					t.Errorf("ended with %q, want %q", report.Ended, want)
				}
				want := factsOf(known)
				for _, f := range report.Facts {
					switch {
					case f.Verdict == verify.Fails:
						t.Errorf("%s = %s: this version cannot cope with it, because it was not allowed", f.Name, f.Value)
					case f.Step == denied && f.Value != want[f.Name] && f.Value != verify.Forbidden && f.Value != verify.Unknown && f.Name != "service_principal_refusal":
						t.Errorf("%s = %q in a step that was not allowed, want forbidden, unknown or what is known: %q", f.Name, f.Value, want[f.Name])
					case f.Step != denied && f.Value != want[f.Name] && !isNumber(f.Value) && f.Value != verify.Unknown:
						t.Errorf("%s = %q, want %q as without the refusal", f.Name, f.Value, want[f.Name])
					}
				}
				if left := w.leftBehind(t); len(left) > 0 || !j.cleared {
					t.Errorf("left behind %v, journal cleared: %v", left, j.cleared)
				}
			})
		})
	}
	t.Run("clean up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, run, j := newVerification(t, nil)
			stepped(run, func(step int) {
				if step == 1 {
					w.sent.fail(func(q emulator.Request) *emulator.Fault {
						if q.Method == http.MethodDelete || strings.HasSuffix(q.Path, "/servicePrincipals") {
							return &emulator.Fault{Status: http.StatusForbidden}
						}
						return nil
					})
				}
			})
			if _, err := run.Do(t.Context()); err == nil || !strings.Contains(err.Error(), "delete the app: 403") || j.cleared {
				t.Errorf("the clean-up was refused: %v, journal cleared: %v; want the refusal, and the journal kept", err, j.cleared)
			}
			w.sent.fail(nil)
			if _, err := verify.CleanUp(t.Context(), run.Tenant, j, *j.entry); err != nil {
				t.Fatal(err)
			}
			if left := w.leftBehind(t); len(left) > 0 {
				t.Errorf("left behind %v", left)
			}
		})
	})
}

// TestVerifyTroubles has the tenant answer "not now" in each step: once is waited for,
// twice in a row end the run, which cleans up.
func TestVerifyTroubles(t *testing.T) {
	keys()
	for times, status := range map[int]int{1: http.StatusServiceUnavailable, 2: http.StatusTooManyRequests} {
		for step := range 10 {
			t.Run(fmt.Sprint(status, " in step ", step), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w, run, j := newVerification(t, nil)
					var left atomic.Int64
					stepped(run, func(at int) {
						if at == step {
							left.Store(int64(times))
						}
					})
					w.sent.fail(func(q emulator.Request) *emulator.Fault {
						isOwn := q.IsToken() && q.ClientID == adminID || step > 0 && strings.HasSuffix(q.Path, ".well-known/openid-configuration")
						if isOwn || left.Add(-1) < 0 {
							return nil
						}
						return &emulator.Fault{Status: status, RetryAfter: 3 * time.Second}
					})
					report, err := run.Do(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					want := fmt.Sprintf("two answers in a row were %d", status)
					if times == 2 && !strings.Contains(report.Ended, want) || times == 1 && report.Ended != "" {
						t.Errorf("ended with %q, want %q after two in a row and nothing after one", report.Ended, want)
					}
					for _, f := range report.Facts {
						if f.Verdict == verify.Fails {
							t.Errorf("%s = %s (%s) after an answer %d", f.Name, f.Value, f.Answer, status)
						}
					}
					if left := w.leftBehind(t); len(left) > 0 || !j.cleared {
						t.Errorf("left behind %v, journal cleared: %v", left, j.cleared)
					}
				})
			})
		}
	}
}

// writes stands between a run and its tenant. It sees each write before and after it
// was done.
type writes struct {
	verify.Tenant
	seen func(q verify.Request, done bool) error
}

func (w writes) Graph(ctx context.Context, q verify.Request) (verify.Answer, error) {
	if q.Method == http.MethodGet {
		return w.Tenant.Graph(ctx, q)
	}
	if err := w.seen(q, false); err != nil {
		return verify.Answer{}, err
	}
	a, err := w.Tenant.Graph(ctx, q)
	return a, errors.Join(err, w.seen(q, true))
}

// TestVerifyKilled kills a run at each of its writes, before it was sent and when it was
// done and its answer lost, and kills the clean-up that follows at each of its own. What
// the process leaves is its journal and the tenant as they are then: the next start has
// to leave nothing behind, neither an app nor what can be restored.
func TestVerifyKilled(t *testing.T) {
	for name, change := range map[string]func(*emulator.Tenant){"known": nil, "lagging": func(tenant *emulator.Tenant) {
		tenant.ReadLag, tenant.Propagation = 25*time.Second, time.Minute
	}} {
		t.Run(name, func(t *testing.T) {
			keys()
			synctest.Test(t, func(t *testing.T) { killVerification(t, change) })
		})
	}
}

// death is what is left of a process.
type death struct {
	where  string
	tenant *emulator.Tenant
	entry  *verify.Entry
}

func killVerification(t *testing.T, change func(*emulator.Tenant)) {
	t.Helper()
	var via *emulator.Tenant
	w, run, j := newVerificationVia(t, change, func() *emulator.Tenant { return via })
	via = w.tenant
	other, err := w.tenant.AddApplication(emulator.Application{Name: verify.AppName("0a1b2c3d", time.Now())})
	if err != nil {
		t.Fatal(err)
	}
	var deaths []death
	n := 0
	note := func(q verify.Request, done bool) error {
		if !done {
			n++
		}
		d := death{fmt.Sprintf("write %d (%s %s) done: %v", n, q.Method, q.Path, done), via.Clone(), nil}
		if j.entry != nil {
			kept := *j.entry
			d.entry = &kept
		}
		deaths = append(deaths, d)
		return nil
	}
	raw := run.Tenant
	run.Tenant = writes{raw, note}
	if _, err := run.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := len(deaths)
	if first < 160 {
		t.Errorf("a run has %d moments to die in, want two for each of its 80 writes and more", first)
	}
	// Those that come after the first are deaths of clean-ups.
	for i := 0; i < len(deaths); i++ {
		d := deaths[i]
		via = d.tenant
		if d.entry == nil {
			t.Fatalf("killed at %s: it has no journal", d.where)
		}
		again := &journal{entry: d.entry}
		tenant := raw
		if i < first && i%8 == 0 || strings.Contains(d.where, "DELETE") && i < first {
			tenant = writes{raw, func(q verify.Request, done bool) error {
				kept := *again.entry
				deaths = append(deaths, death{d.where + ", then a clean-up at " + q.Path + fmt.Sprint(done), via.Clone(), &kept})
				return nil
			}}
		}
		if _, err := verify.CleanUp(t.Context(), tenant, again, *d.entry); err != nil {
			t.Errorf("killed at %s: %v", d.where, err)
		}
		fork := &world{tenant: via, client: w.client}
		if left := fork.leftBehind(t); len(left) != 2 {
			t.Errorf("killed at %s: left behind %v, journal %+v", d.where, left, d.entry)
		}
		if _, err := via.Application(other.ClientID); err != nil {
			t.Errorf("killed at %s: an app of the same name was deleted", d.where)
		}
	}
	via = w.tenant
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
			if _, err := verify.CleanUp(t.Context(), run.Tenant, &journal{}, e); !errors.Is(err, verify.ErrNotOurs) {
				t.Errorf("%s: %v, want that it is not ours", name, err)
			}
		}
		if len(w.throwaways()) != 1 {
			t.Error("it was deleted")
		}
		if _, err := verify.CleanUp(t.Context(), run.Tenant, &journal{}, good); err != nil || len(w.throwaways()) != 0 {
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

// TestVerifyAsAdministrator runs a verification as an application administrator who
// signed in with a device code: the tenant's identity has no right at all.
func TestVerifyAsAdministrator(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w, run, j := newVerification(t, func(tenant *emulator.Tenant) {
			tenant.Users = []emulator.User{{Name: "admin@contoso.example", Roles: []string{emulator.ApplicationAdministrator}}}
		})
		for _, p := range []string{"Application.ReadWrite.OwnedBy", "Policy.Read.All", "AuditLog.Read.All"} {
			if err := w.tenant.Withdraw(w.admin.ClientID, p); err != nil {
				t.Fatal(err)
			}
		}
		token, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminDevice, func(text string) {
			code := regexp.MustCompile(`code ([A-Z0-9-]+)`).FindStringSubmatch(text)
			if code == nil {
				t.Fatalf("no code in %q", text)
			}
			q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, entraURL+"/common/oauth2/deviceauth?login_hint=admin%40contoso.example&otc="+code[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := w.tenant.Transport().RoundTrip(q)
			if err != nil || a.StatusCode != http.StatusOK {
				t.Fatalf("the code was not taken: %v", err)
			}
			a.Body.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		if run.Tenant, err = w.client.Raw("contoso", token); err != nil {
			t.Fatal(err)
		}
		report, err := run.Do(t.Context())
		if err != nil || report.Ended != "" || !j.cleared {
			t.Fatalf("%v, ended with %q, journal cleared: %v", err, report.Ended, j.cleared)
		}
		if report.Worst() == verify.Fails || report.Value("cleaned_up") != "purged" {
			t.Errorf("worst is %s, cleaned up: %s", report.Worst(), report.Value("cleaned_up"))
		}
		if err := w.tenant.Grant(w.admin.ClientID, "Application.ReadWrite.OwnedBy"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // until the identity's token without the right has ended
		if left := w.leftBehind(t); len(left) > 0 {
			t.Errorf("left behind %v", left)
		}
	})
}

// TestVerifyTime has every answer take so long that a run does not end within an hour:
// it ends there, and cleans up.
func TestVerifyTime(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w, run, j := newVerification(t, nil)
		w.sent.fail(func(emulator.Request) *emulator.Fault { return &emulator.Fault{Delay: 25 * time.Second} })
		report, err := run.Do(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(report.Ended, "the longest a run may take") || !j.cleared {
			t.Errorf("ended with %q, journal cleared: %v", report.Ended, j.cleared)
		}
		if left := w.leftBehind(t); len(left) > 0 {
			t.Errorf("left behind %v", left)
		}
	})
}
