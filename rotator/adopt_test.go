package rotator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// register adds one more app to the tenant, with a certificate that lives for
// left more, and returns a spec that adopts it.
func (w *world) register(permissions []string, left time.Duration) rotator.AppSpec {
	w.t.Helper()
	const name = "new"
	der := certificate(w.t, keys()[1], name, time.Now().Add(-24*time.Hour), time.Now().Add(left))
	made, err := w.tenant.AddApplication(emulator.Application{
		Name: name, Permissions: permissions, Owners: []string{w.admin.ClientID},
		KeyCredentials: []emulator.KeyCredential{{Certificate: der}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	file, err := encoder{}.Encode("modern", keys()[1], der, nil, password, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return rotator.AppSpec{
		Name: name, Tenant: "contoso", ClientID: rotator.ClientID(made.ClientID), PFX: file, Password: password,
		NoConsumer: true,
	}
}

// TestAddRefuses gives each kind of wrong input to app add. The message names
// the place and what to do; nothing is stored.
func TestAddRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.pfx")
	if err := os.Symlink("/etc/hostname", link); err != nil {
		t.Fatal(err)
	}
	to := func(path string) func(*rotator.AppSpec, *world) {
		return func(s *rotator.AppSpec, _ *world) {
			s.Deliveries = []rotator.Delivery{{Kind: rotator.DeliverFile, Path: path}}
		}
	}
	for name, test := range map[string]struct {
		change func(*rotator.AppSpec, *world)
		says   []string
	}{
		"wrong password": {func(s *rotator.AppSpec, _ *world) { s.Password = "another" }, []string{"app new", "password"}},
		"truncated":      {func(s *rotator.AppSpec, _ *world) { s.PFX = s.PFX[:len(s.PFX)/2] }, []string{"app new", "key file"}},
		"garbage":        {func(s *rotator.AppSpec, _ *world) { s.PFX = []byte("hello") }, []string{"app new", "key file"}},
		"an EC key": {func(s *rotator.AppSpec, _ *world) {
			s.PFX = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ecKey})
		}, []string{"app new", "RSA"}},
		"certificate alone": {func(s *rotator.AppSpec, w *world) { s.PFX = pemOf(w.tenant, string(s.ClientID), nil) }, []string{"app new", "key"}},
		"key of another certificate": {func(s *rotator.AppSpec, w *world) {
			key, _ := x509.MarshalPKCS8PrivateKey(keys()[2])
			s.PFX = pemOf(w.tenant, string(s.ClientID), key)
		}, []string{"app new", "belongs to its private key"}},
		"no file in self mode":         {func(s *rotator.AppSpec, _ *world) { s.PFX = nil }, []string{"--pfx"}},
		"a name twice":                 {func(s *rotator.AppSpec, _ *world) { s.Name = "app-1" }, []string{"app-1", "tracked already"}},
		"a client ID twice":            {func(s *rotator.AppSpec, w *world) { s.ClientID = rotator.ClientID(w.apps[0].clientID) }, []string{"tracked already", `"app-1"`}},
		"an unknown tenant":            {func(s *rotator.AppSpec, _ *world) { s.Tenant = "fabrikam" }, []string{`"fabrikam"`, "tenants"}},
		"a client ID that is no GUID":  {func(s *rotator.AppSpec, _ *world) { s.ClientID = "contoso" }, []string{"client ID", "GUID"}},
		"an object ID that is no GUID": {func(s *rotator.AppSpec, _ *world) { s.ObjectID = "1" }, []string{"object ID", "GUID"}},
		"a key ID that is no GUID":     {func(s *rotator.AppSpec, _ *world) { s.KeyID = "thumbprint" }, []string{"key ID", "GUID"}},
		"the service principal's ID": {func(s *rotator.AppSpec, _ *world) {
			s.ObjectID = "99999999-2222-3333-4444-555555555555"
		}, []string{"object ID is", "enterprise application"}},
		"a mode that is not": {func(s *rotator.AppSpec, _ *world) { s.Mode = "auto" }, []string{"self or managed"}},
		"a policy that cannot work": {func(s *rotator.AppSpec, _ *world) {
			s.Policy.Overlap = new(400 * 24 * time.Hour)
		}, []string{"renew_before: 45d cannot hold", "overlap 400d", "="}},
		"a rule that is not": {func(s *rotator.AppSpec, _ *world) { s.Confirm.Rule = "maybe" }, []string{"automatic, command or person"}},
		"a hook that is not": {func(s *rotator.AppSpec, _ *world) { s.Deliveries = []rotator.Delivery{{Kind: "exec", Hook: "reload"}} }, []string{"reload"}},
		"a probe elsewhere":  {func(s *rotator.AppSpec, _ *world) { s.Probe = []string{"https://example.org/"} }, []string{"probe", "Graph path"}},
		"a missing folder":   {to("/nowhere/app.pfx"), []string{"app new", "/nowhere"}},
		"a folder for all":   {to(filepath.Join(open, "app.pfx")), []string{open}},
		"a symbolic link":    {to(link), []string{link, "symbolic link"}},
		"a directory":        {to(t.TempDir()), []string{"is a folder"}},
		"the same place twice": {func(s *rotator.AppSpec, w *world) {
			d := rotator.Delivery{Kind: rotator.DeliverFile, Path: filepath.Join(w.dir, "x.pfx")}
			s.Deliveries = []rotator.Delivery{d, d}
		}, []string{"named twice"}},
	} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			spec := w.register(vendor(), 20*24*time.Hour)
			test.change(&spec, w)
			spec.NoConsumer = len(spec.Deliveries) == 0
			_, err := r.Add(t.Context(), spec, "test")
			if err == nil {
				t.Fatal("accepted")
			}
			for _, word := range test.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %q", err, word)
				}
			}
			if strings.Contains(err.Error(), password) {
				t.Errorf("the message shows the password: %v", err)
			}
			if n, _ := r.Store.CountApps(t.Context()); n != 1 {
				t.Errorf("%d apps are tracked, want the one from before", n)
			}
		})
	}
}

// pemOf writes the app's certificate, and a key if there is one, as PEM.
func pemOf(tenant *emulator.Tenant, clientID string, key []byte) []byte {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tenant.KeyCredentials(clientID)[0].Certificate})
	if key != nil {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	}
	return text
}

// TestAddExpired adopts a certificate that has ended: self mode cannot go on
// from there and says so, managed mode can.
func TestAddExpired(t *testing.T) {
	bubble(t, "self", options{}, func(w *world, r *rotator.Rotator) {
		spec := w.register(vendor(), -time.Hour)
		_, err := r.Add(w.t.Context(), spec, "test")
		if f, ok := errors.AsType[*rotator.Failure](err); !ok || f.Reason != rotator.ReasonExpired || !strings.Contains(f.Next, "managed") {
			w.t.Errorf("refused with %v, want the reason and the way out", err)
		}
	})
}

// TestAddUnreadable adopts an app that may not read itself: its object ID must be
// told, its key ID should be.
func TestAddUnreadable(t *testing.T) {
	bubble(t, "object and key ID", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		spec := w.register(nil, 20*24*time.Hour)
		if _, err := r.Add(t.Context(), spec, "test"); err == nil || !strings.Contains(err.Error(), "--object-id") {
			t.Fatalf("without object ID: %v, want a request for it", err)
		}
		app, err := w.tenant.Application(string(spec.ClientID))
		if err != nil {
			t.Fatal(err)
		}
		spec.ObjectID = rotator.ObjectID(app.ObjectID)
		added, err := r.Add(t.Context(), spec, "test")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(added.Warnings, "\n"), "--key-id") {
			t.Errorf("warnings %q do not ask for the key ID", added.Warnings)
		}
		stop := run(t, r)
		s := await(t, r, "new", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if len(s.App.Orphans) != 1 || !s.Attention {
			t.Fatalf("orphans %v, attention %v: want the adopted certificate, left to a person", s.App.Orphans, s.Attention)
		}
		if len(s.Rotation.LeftBehind) != 1 || !strings.Contains(s.Rotation.Outcome, "by hand") {
			t.Errorf("left behind %v, outcome %q: the rotation says that all is gone", s.Rotation.LeftBehind, s.Rotation.Outcome)
		}
		edit := rotator.Edit{ForgetOrphan: s.App.Orphans[0].ThumbprintSHA1}
		if app, _, err := r.Edit(t.Context(), "new", edit, "a person"); err != nil || len(app.Orphans) != 0 {
			t.Errorf("forget the orphan: %v, left %v", err, app.Orphans)
		}
		stop()
	})
}

// TestRemoveAndAddAgain stops tracking an app in mid-rotation and adopts it
// again: the earlier keys of ours are found, and the next rotation leaves one.
func TestRemoveAndAddAgain(t *testing.T) {
	bubble(t, "abandoned", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		if _, err := r.Remove(t.Context(), "app-1", rotator.RemoveRequest{}, "a person"); !errors.Is(err, rotator.ErrRotating) {
			t.Errorf("remove during a rotation: %v, want a refusal", err)
		}
		removed, err := r.Remove(t.Context(), "app-1", rotator.RemoveRequest{Abandon: true}, "a person")
		if err != nil {
			t.Fatal(err)
		}
		if len(removed.Left) != 2 || removed.Left[0].KeyID == "" || !removed.KeysKept {
			t.Errorf("left behind %+v, want both certificates with their KeyIDs, keys kept", removed.Left)
		}
		file, err := os.ReadFile(w.apps[0].target)
		if err != nil {
			t.Fatal(err)
		}
		added, err := r.Add(t.Context(), rotator.AppSpec{
			Name: "app-1", Tenant: "contoso", ClientID: rotator.ClientID(w.apps[0].clientID), PFX: file, Password: password,
			Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: w.apps[0].target}},
		}, "a person")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(added.Found, "\n"), "earlier certificate of ours") {
			t.Errorf("found %q: the earlier key is not recognised", added.Found)
		}
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "a person"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestApply declares apps; the second time nothing changes.
func TestApply(t *testing.T) {
	bubble(t, "twice", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		spec := w.register(vendor(), 20*24*time.Hour)
		spec.Tags = []string{"backup"}
		dry, err := r.Apply(t.Context(), []rotator.AppSpec{spec}, true, "test")
		if err != nil || dry[0].Action != "add" || dry[0].Err != nil {
			t.Fatalf("dry run: %+v, %v", dry, err)
		}
		if n, _ := r.Store.CountApps(t.Context()); n != 1 {
			t.Fatalf("a dry run tracked an app")
		}
		for i, want := range []string{"add", "none"} {
			done, err := r.Apply(t.Context(), []rotator.AppSpec{spec}, false, "test")
			if err != nil || done[0].Action != want || done[0].Err != nil {
				t.Fatalf("time %d: %+v, %v; want %s", i+1, done, err, want)
			}
		}
		spec.Tags = []string{"backup", "gold"}
		done, err := r.Apply(t.Context(), []rotator.AppSpec{spec}, false, "test")
		if err != nil || done[0].Action != "change" || !strings.Contains(strings.Join(done[0].Fields, ""), "gold") {
			t.Errorf("changed tags: %+v, %v", done, err)
		}
		if _, err := r.Apply(t.Context(), []rotator.AppSpec{spec, spec}, false, "test"); !errors.Is(err, rotator.ErrUsage) {
			t.Errorf("an app declared twice: %v", err)
		}
	})
}

// TestAnotherHost points a store at other hosts than it was first used with.
func TestAnotherHost(t *testing.T) {
	bubble(t, "refused until rebound", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.Entra = elsewhere{r.Entra}
		_, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person")
		if err == nil || !strings.Contains(err.Error(), "login.test.example") {
			t.Fatalf("start: %v, want a refusal that names both hosts", err)
		}
		if f, ok := errors.AsType[*rotator.Failure](err); !ok || !strings.Contains(f.Next, "rotate tenant rebind contoso") {
			t.Errorf("the way out is not named: %v", err)
		}
		if err := r.RebindTenant(t.Context(), "contoso", "a person"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person"); err != nil {
			t.Errorf("after rebind: %v", err)
		}
	})
}

// elsewhere is the same Entra under other names.
type elsewhere struct{ rotator.Entra }

func (elsewhere) Hosts(string) (rotator.Hosts, error) {
	return rotator.Hosts{Login: "https://login.test.example", Graph: "https://graph.test.example"}, nil
}
