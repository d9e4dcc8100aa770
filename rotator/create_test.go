package rotator_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// administrator is an app that may do what an administrator may.
func administrator(t *testing.T, w *world, permissions ...string) emulator.Application {
	t.Helper()
	if permissions == nil {
		permissions = []string{"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"}
	}
	made, err := w.tenant.AddApplication(emulator.Application{
		Name: "administrator", Permissions: permissions, Secrets: []emulator.Secret{{Text: "the administrator's secret"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// signedIn is the token of an administrator.
func signedIn(t *testing.T, w *world, admin emulator.Application) rotator.Token {
	t.Helper()
	client, err := graph.New(graph.Config{Tenants: []graph.Tenant{{
		Name: "contoso", ID: tenantID,
		Cloud: graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", Transport: w.tenant.Transport()},
		Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
			ClientID: rotator.ClientID(admin.ClientID), Secret: func() (string, error) { return "the administrator's secret", nil },
		}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	token, err := client.AdminToken(t.Context(), "contoso", graph.AdminIdentity, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func creation(mode rotator.Mode, token rotator.Token) rotator.CreateRequest {
	spec := rotator.AppSpec{Name: "new-app", Tenant: "contoso", Mode: mode, Permissions: vendor(), Probe: []string{"/users?$top=1"}}
	handOff(&spec)
	return rotator.CreateRequest{Spec: spec, DisplayName: "CloudM Continuity", Admin: token}
}

// named are the apps of a display name that the tenant has.
func named(w *world, name string) []emulator.Application {
	var list []emulator.Application
	for _, a := range w.tenant.Applications() {
		if a.Name == name {
			list = append(list, a)
		}
	}
	return list
}

// checkCreated: there is one such app, with one service principal, one certificate
// that is ours and opens from the files, the four permissions, and nothing else.
func checkCreated(t *testing.T, w *world, out rotator.Created) {
	t.Helper()
	apps := named(w, "CloudM Continuity")
	if len(apps) != 1 {
		t.Fatalf("the tenant has %d such apps, want 1", len(apps))
	}
	a := apps[0]
	if a.ServicePrincipalID == "" || len(a.KeyCredentials) != 1 || len(a.Secrets) != 0 {
		t.Errorf("service principal %q, %d certificates, %d secrets; want one certificate", a.ServicePrincipalID, len(a.KeyCredentials), len(a.Secrets))
	}
	want := slices.Sorted(slices.Values(vendor()))
	if !slices.Equal(a.Permissions, want) || !slices.Equal(a.Declared, want) {
		t.Errorf("consented %v, declared %v, want %v", a.Permissions, a.Declared, want)
	}
	pair, err := encoder{}.Decode(out.PFX, out.Password)
	if err != nil || !slices.Equal(pair.Certificate, a.KeyCredentials[0].Certificate) || !slices.Equal(out.Certificate, pair.Certificate) {
		t.Errorf("the PFX holds %s (%v), the app another certificate", pair.Thumbprint(), err)
	}
	if c := out.App.Current; c == nil || string(c.KeyID) != a.KeyCredentials[0].KeyID || string(out.App.ClientID) != a.ClientID || string(out.App.ObjectID) != a.ObjectID {
		t.Errorf("tracked as %+v with %+v, want client ID %s", out.App, c, a.ClientID)
	}
}

// TestCreate makes an app from nothing, with replicas that lag, and rotates it with
// no permission but its own.
func TestCreate(t *testing.T) {
	keys()
	for _, mode := range []rotator.Mode{rotator.ModeSelf, rotator.ModeManaged} {
		for _, lag := range []time.Duration{0, 20 * time.Second} {
			t.Run(fmt.Sprintf("%s/lag=%s", mode, lag), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, options{})
					w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag, e.Propagation = lag, lag })
					admin := administrator(t, w)
					time.Sleep(time.Minute) // it is known everywhere
					r, closeStore := w.rotator()
					defer closeStore()
					out, err := r.Create(t.Context(), creation(mode, signedIn(t, w, admin)), "ann")
					if err != nil {
						t.Fatalf("create: %v\nsteps %v", err, out.Steps)
					}
					checkCreated(t, w, out)
					for _, c := range out.Checks {
						if c.Result == rotator.CheckFailed {
							t.Errorf("connection test: %+v", c)
						}
					}
					owners := []string{admin.ClientID}
					if mode == rotator.ModeManaged {
						owners = append(owners, w.admin.ClientID)
					}
					if got := named(w, "CloudM Continuity")[0].Owners; !slices.Equal(got, owners) || len(out.Owners) != len(owners) {
						t.Errorf("owners %v, told %v, want %v", got, out.Owners, owners)
					}
					// A year later the host has what it needs, without an administrator.
					if _, err := r.Start(t.Context(), "new-app", rotator.StartRequest{}, "a person"); err != nil {
						t.Fatal(err)
					}
					stop := run(t, r)
					await(t, r, "new-app", time.Hour, "waiting for a person", waitsForPerson)
					w.person(r, "new-app")
					await(t, r, "new-app", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
					stop()
					if got := len(named(w, "CloudM Continuity")[0].KeyCredentials); got != 1 {
						t.Errorf("%d certificates after the rotation, want 1", got)
					}
				})
			})
		}
	}
}

type crashRegistrar struct {
	rotator.Registrar
	c *crasher
}

func (g crashRegistrar) Upsert(ctx context.Context, as rotator.Access, n rotator.NewRegistration) error {
	return g.c.do("upsert", func() error { return g.Registrar.Upsert(ctx, as, n) })
}

func (g crashRegistrar) Register(ctx context.Context, as rotator.Access, n rotator.NewRegistration) error {
	return g.c.do("register", func() error { return g.Registrar.Register(ctx, as, n) })
}

func (g crashRegistrar) CreatePrincipal(ctx context.Context, as rotator.Access) error {
	return g.c.do("principal", func() error { return g.Registrar.CreatePrincipal(ctx, as) })
}

func (g crashRegistrar) Assign(ctx context.Context, as rotator.Access, principal, resource, role string) error {
	return g.c.do("assign", func() error { return g.Registrar.Assign(ctx, as, principal, resource, role) })
}

func (g crashRegistrar) AddOwner(ctx context.Context, as rotator.Access, owner string) error {
	return g.c.do("owner", func() error { return g.Registrar.AddOwner(ctx, as, owner) })
}

func (g crashRegistrar) Unregister(ctx context.Context, as rotator.Access) error {
	return g.c.do("unregister", func() error { return g.Registrar.Unregister(ctx, as) })
}

// TestCreateCrashTable kills the creation of an app, and its deletion, before and
// after each effect, and asks again: nothing is made twice, and nothing is left.
func TestCreateCrashTable(t *testing.T) {
	keys()
	for _, lag := range []time.Duration{0, 10 * time.Second} {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("lag=%s/without_upsert=%v", lag, plain), func(t *testing.T) {
				t.Parallel()
				crashLines(t, 2*time.Second, func(at int, after bool) bool { return createCrashAt(t, lag, plain, at, after) })
			})
		}
	}
}

func createCrashAt(t *testing.T, lag time.Duration, plain bool, at int, after bool) (reached bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag, e.Propagation = lag, lag })
		admin := administrator(t, w)
		time.Sleep(time.Minute)
		if plain {
			w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
				if q.Method == http.MethodPatch && strings.Contains(q.Path, "uniqueName") {
					return &emulator.Fault{Status: http.StatusNotImplemented, Code: "notSupported", Message: "Not supported."}
				}
				return nil
			}
		}
		token := signedIn(t, w, admin)
		c := &crasher{at: at, after: after, dead: make(chan struct{})}
		ready := func(int) (*rsa.PrivateKey, error) { return keys()[2], nil }
		w.wrap = func(r *rotator.Rotator) {
			r.GenerateKey = ready
			r.Store = crashStore{r.Store, c}
			r.Entra = crashEntra{r.Entra, c}
			r.Registrar = crashRegistrar{r.Registrar, c}
		}
		r, closeStore := w.rotator()
		_, err := r.Create(t.Context(), creation(rotator.ModeManaged, token), "ann")
		deleting := err == nil
		if deleting {
			_, err = r.Delete(t.Context(), "new-app", token, "ann")
		}
		if err != nil && !errors.Is(err, errCrash) {
			select {
			case <-c.dead:
			default:
				t.Errorf("first run: %v", err)
			}
		}
		closeStore()
		reached = c.reached()
		w.wrap = func(r *rotator.Rotator) { r.GenerateKey = ready }
		r, closeStore = w.rotator()
		defer closeStore()
		time.Sleep(time.Minute) // what was deleted is gone everywhere
		out, err := r.Create(t.Context(), creation(rotator.ModeManaged, token), "ann")
		if errors.Is(err, rotator.ErrRefused) && deleting {
			// Deleted in Entra, and the process died before it knew.
			if _, err := r.Delete(t.Context(), "new-app", token, "ann"); err != nil {
				t.Errorf("delete again: %v", err)
			}
			out, err = r.Create(t.Context(), creation(rotator.ModeManaged, token), "ann")
		}
		if err != nil {
			t.Errorf("second run: %v\nsteps %v", err, out.Steps)
		} else {
			checkCreated(t, w, out)
		}
		if steps, err := r.Delete(t.Context(), "new-app", token, "ann"); err != nil || len(named(w, "CloudM Continuity")) != 0 {
			t.Errorf("delete: %v %v, %d apps left", steps, err, len(named(w, "CloudM Continuity")))
		}
		if t.Failed() {
			t.Errorf("died at effect %d (%s), after=%v", at, c.what, after)
		}
	})
	return reached
}

// TestDeleteLooks: a registration is called deleted when five reads over two minutes do
// not show it, whatever the answer to the request was; it is sent again while it is
// shown, and nothing is forgotten here before it is gone.
func TestDeleteLooks(t *testing.T) {
	for name, ignored := range map[string]int32{"lag": 0, "once without effect": 1, "never with effect": 1000} {
		bubble(t, name, options{mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
			t := w.t
			admin := administrator(t, w)
			token := signedIn(t, w, admin)
			if _, err := r.Create(t.Context(), creation(rotator.ModeManaged, token), "ann"); err != nil {
				t.Fatal(err)
			}
			var n atomic.Int32
			w.refuse(func(q emulator.Request) *emulator.Fault {
				if q.Method == http.MethodDelete && n.Add(1) <= ignored {
					return &emulator.Fault{Status: http.StatusNoContent}
				}
				return nil
			})
			w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag = 20 * time.Second })
			begun := time.Now()
			steps, err := r.Delete(t.Context(), "new-app", token, "ann")
			took := time.Since(begun)
			left := len(named(w, "CloudM Continuity"))
			if ignored > 1 {
				f, ok := errors.AsType[*rotator.Failure](err)
				if !ok || f.Class != rotator.ClassWait || !strings.Contains(f.Message, "reads still show the registration") || left != 1 {
					t.Errorf("%v, %d left; want it to say that it is still there", err, left)
				}
				if _, err := r.Store.App(t.Context(), "new-app"); err != nil {
					t.Errorf("it was forgotten: %v", err)
				}
				return
			}
			if err != nil || left != 0 || took < 2*time.Minute || !strings.Contains(strings.Join(steps, "\n"), "5 reads over 2m0s do not show it any more") {
				t.Errorf("%v after %s, %d left: %q", err, took, left, steps)
			}
			if _, err := r.Store.App(t.Context(), "new-app"); !errors.Is(err, rotator.ErrNotFound) {
				t.Errorf("it is still tracked: %v", err)
			}
		})
	}
}

// TestCreateFaults: what keeps an app from being created has one clear message, and
// leaves nothing behind that a second run would stumble over.
func TestCreateFaults(t *testing.T) {
	keys()
	cases := []struct {
		name string
		// permissions of the administrator; nil: all that are needed.
		permissions []string
		wrong       func(w *world, req *rotator.CreateRequest)
		want, next  string
		apps        int // that the tenant has afterwards
	}{
		{"no role at all", []string{"Application.Read.All"}, nil, "make the registration: 403", `"Application Administrator", "Cloud Application Administrator" or "Global Administrator" is missing`, 0},
		{"no role to read", []string{"User.Read.All"}, nil, "read the permissions of Microsoft Graph: 403", "Application Administrator", 0},
		{"consent refused", []string{"Application.ReadWrite.All"}, nil, "grant admin consent: 403", `"Privileged Role Administrator" or "Global Administrator"`, 1},
		{
			"name taken", nil, func(w *world, _ *rotator.CreateRequest) { another(w.t, w) },
			`the tenant has an app named "CloudM Continuity" already, client ID`, "to adopt it: rotate app add new-app --tenant contoso --client-id", 1,
		},
		{
			"two of one name", nil, func(w *world, _ *rotator.CreateRequest) {
				another(w.t, w)
				another(w.t, w)
			},
			`the tenant has 2 apps named "CloudM Continuity", client IDs`, "find out which is meant", 2,
		},
		{"unknown permission", nil, func(_ *world, req *rotator.CreateRequest) {
			req.Spec.Permissions = append(req.Spec.Permissions, "Mail.Reed")
		}, `Microsoft Graph has no application permission "Mail.Reed" in the cloud of tenant contoso; nothing was made`, "", 0},
		{"bad probe", nil, func(_ *world, req *rotator.CreateRequest) {
			req.Spec.Probe = []string{"https://evil.example/"}
		}, "is not a Graph path", "", 0},
		{"tracked already", nil, func(_ *world, req *rotator.CreateRequest) { req.Spec.Name = "app-1" }, "is tracked already", "", 0},
		{"service principal not replicated", nil, func(w *world, _ *rotator.CreateRequest) {
			w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
				if q.Method == http.MethodPost && strings.HasSuffix(q.Path, "/servicePrincipals") {
					return &emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: "The appId 'x' of the service principal does not reference a valid application object."}
				}
				return nil
			}
		}, "Entra does not show the service principal everywhere yet, after 4m", "run the same command again: it goes on", 1},
		{"policy refuses", nil, func(w *world, _ *rotator.CreateRequest) {
			w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 30 * 24 * time.Hour})
		}, "add certificate: ", "validity", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, options{})
				admin := administrator(t, w, c.permissions...)
				req := creation(rotator.ModeSelf, signedIn(t, w, admin))
				if c.wrong != nil {
					c.wrong(w, &req)
				}
				r, closeStore := w.rotator()
				defer closeStore()
				out, err := r.Create(t.Context(), req, "ann")
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want %q\nsteps %v", err, c.want, out.Steps)
				}
				var f *rotator.Failure
				if c.next != "" && (!errors.As(err, &f) || !strings.Contains(f.Next, c.next)) {
					t.Errorf("next step of %+v, want %q", err, c.next)
				}
				if got := len(named(w, "CloudM Continuity")); got != c.apps {
					t.Errorf("%d such apps in the tenant, want %d", got, c.apps)
				}
			})
		})
	}
}

// another is an app of the same name that somebody else made.
func another(t *testing.T, w *world) {
	t.Helper()
	if _, err := w.tenant.AddApplication(emulator.Application{Name: "CloudM Continuity"}); err != nil {
		t.Fatal(err)
	}
}

// TestCreateConsentElsewhere: without the right to consent the URL is told, and the
// same request goes on once somebody consented.
func TestCreateConsentElsewhere(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		admin := administrator(t, w, "Application.ReadWrite.OwnedBy")
		req := creation(rotator.ModeSelf, signedIn(t, w, admin))
		req.NoConsent = true
		r, closeStore := w.rotator()
		defer closeStore()
		out, err := r.Create(t.Context(), req, "ann")
		if err != nil {
			t.Fatal(err)
		}
		a := named(w, "CloudM Continuity")[0]
		if want := "https://login.microsoftonline.com/" + tenantID + "/adminconsent?client_id=" + a.ClientID; out.ConsentURL != want || out.PFX != nil {
			t.Errorf("consent at %q, PFX given %v; want %q and none", out.ConsentURL, out.PFX != nil, want)
		}
		for _, p := range vendor() {
			if err := w.tenant.Grant(a.ClientID, p); err != nil {
				t.Fatal(err)
			}
		}
		if out, err = r.Create(t.Context(), req, "ann"); err != nil || out.ConsentURL != "" {
			t.Fatalf("after the consent: %v, still at %q", err, out.ConsentURL)
		}
		checkCreated(t, w, out)
	})
}

// TestDeleteOnlyOurs: what was adopted is not deleted, nor what somebody else signs in
// with.
func TestDeleteOnlyOurs(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		admin := administrator(t, w)
		token := signedIn(t, w, admin)
		r, closeStore := w.rotator()
		defer closeStore()
		if _, err := r.Delete(t.Context(), "app-1", token, "ann"); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "rotate did not create it") {
			t.Errorf("delete an adopted app: %v", err)
		}
		if _, err := r.Delete(t.Context(), "nothing", token, "ann"); !errors.Is(err, rotator.ErrNotFound) {
			t.Errorf("delete what is not there: %v", err)
		}
		if _, err := r.Create(t.Context(), creation(rotator.ModeSelf, token), "ann"); err != nil {
			t.Fatal(err)
		}
		id := named(w, "CloudM Continuity")[0].ClientID
		secret, err := w.tenant.AddSecret(id, emulator.Secret{DisplayName: "somebody else's"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Delete(t.Context(), "new-app", token, "ann"); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "1 client secret") {
			t.Errorf("delete an app that somebody else uses: %v", err)
		}
		if err := w.tenant.RemoveSecret(id, secret.KeyID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Delete(t.Context(), "new-app", token, "ann"); err != nil || len(named(w, "CloudM Continuity")) != 0 {
			t.Errorf("delete: %v, %d left", err, len(named(w, "CloudM Continuity")))
		}
		if len(named(w, "app-1")) != 1 {
			t.Error("another app is gone")
		}
	})
}
