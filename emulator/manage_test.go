package emulator_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

func TestSomebodyElse(t *testing.T) {
	var tenant emulator.Tenant
	p := fresh(t, 0)
	owner := addAdmin(t, &tenant)
	want := emulator.Application{
		Name: "contoso-sync", ClientID: uuid.NewString(), ObjectID: uuid.NewString(), ServicePrincipalID: uuid.NewString(),
		Created:     time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		Permissions: []string{"Mail.Read"}, Owners: []string{owner.ClientID},
		KeyCredentials: []emulator.KeyCredential{{
			KeyID: uuid.NewString(), DisplayName: "x", Certificate: p.cert.Raw,
			Start: p.cert.NotBefore, End: p.cert.NotAfter, CustomKeyIdentifier: p.sha1Hex(),
		}},
	}
	app, err := tenant.AddApplication(want)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got, err := tenant.Application(app.ClientID)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", what, diff)
		}
	}
	want.Declared = want.Permissions
	check("added", nil)

	secret, err := tenant.AddSecret(app.ClientID, emulator.Secret{DisplayName: "s"})
	want.Secrets = []emulator.Secret{secret}
	check("secret added", err)
	if fmt.Sprintf("%v %+v %#v", secret, secret, secret) != strings.Repeat("client secret "+secret.KeyID+" ", 2)+"client secret "+secret.KeyID ||
		strings.Contains(slog.AnyValue(secret).Resolve().String(), secret.Text) {
		t.Errorf("the secret shows its text: %v", secret)
	}
	want.Secrets = nil
	err = tenant.RemoveSecret(app.ClientID, secret.KeyID)
	got, _ := tenant.Application(app.ClientID)
	if err != nil || len(got.Secrets) != 0 {
		t.Fatalf("secret removed: %v", err)
	}

	key := want.KeyCredentials[0]
	if err := tenant.RemoveKeyCredential(app.ClientID, strings.ToUpper(key.KeyID)); err != nil {
		t.Fatal(err)
	}
	if n := len(tenant.KeyCredentials(app.ClientID)); n != 0 {
		t.Errorf("%d key credentials after the removal", n)
	}
	want.Secrets = []emulator.Secret{}
	_, err = tenant.AddKeyCredential(app.ClientID, key)
	check("put back", err)
	want.Permissions = []string{"Mail.Read", "User.Read.All"}
	check("granted", errors.Join(tenant.Grant(app.ClientID, "User.Read.All"), tenant.Grant(app.ClientID, "User.Read.All")))
	want.Permissions = want.Permissions[1:]
	check("withdrawn", tenant.Withdraw(app.ClientID, "Mail.Read"))
	want.Disabled = true
	check("disabled", tenant.SetDisabled(app.ClientID, true))
	want.Owners = []string{app.ClientID}
	check("owners", tenant.SetOwners(app.ClientID, app.ClientID))
	if list := tenant.Applications(); len(list) != 2 || list[1].ClientID != app.ClientID {
		t.Errorf("applications: %v", list)
	}

	nobody := uuid.NewString()
	_, addErr := tenant.AddKeyCredential(nobody, key)
	_, readErr := tenant.Application(nobody)
	for what, err := range map[string]error{
		"add": addErr, "read": readErr, "remove": tenant.RemoveKeyCredential(nobody, key.KeyID), "grant": tenant.Grant(nobody, "Mail.Read"),
		"block": tenant.BlockSignIn(nobody, true), "delete": tenant.DeleteApplication(nobody), "owners": tenant.SetOwners(app.ClientID, nobody),
	} {
		if !errors.Is(err, emulator.ErrNotFound) {
			t.Errorf("%s of nobody: got %v, want ErrNotFound", what, err)
		}
	}
	_, twice := tenant.AddKeyCredential(app.ClientID, key)
	_, broken := tenant.AddKeyCredential(app.ClientID, emulator.KeyCredential{Certificate: []byte("x")})
	for what, err := range map[string]error{
		"key twice": twice, "no certificate": broken, "unknown permission": tenant.Grant(app.ClientID, "Mail.Reed"),
		"key that is not there": tenant.RemoveKeyCredential(app.ClientID, nobody), "secret that is not there": tenant.RemoveSecret(app.ClientID, nobody),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	for what, a := range map[string]emulator.Application{
		"client id taken": {ClientID: app.ClientID}, "object id taken": {ObjectID: app.ObjectID}, "no GUID": {ClientID: "x"},
		"unknown owner": {Owners: []string{nobody}}, "unknown permission": {Permissions: []string{"x"}},
		"no certificate": {KeyCredentials: []emulator.KeyCredential{{Certificate: []byte("x")}}},
	} {
		if _, err := tenant.AddApplication(a); err == nil {
			t.Errorf("add with %s: no error", what)
		}
	}
	if n := len(tenant.Applications()); n != 2 {
		t.Errorf("%d apps after refused additions, want 2", n)
	}
}

func TestSeedAppsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tenant emulator.Tenant
		seeds, err := tenant.SeedApps(1, emulator.PermissionsNone, 48*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		want := time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC)
		if got := seeds.Apps[0].KeyCredentials[0].End; !got.Equal(want) {
			t.Errorf("the certificate ends at %v, want %v", got, want)
		}
	})
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Permissions: []string{"Application.ReadWrite.All"}}, fresh(t, 0))
	c := newClient(t, tenant).as(app)
	done := make(chan error)
	for i := range 8 {
		go func() {
			for range 20 {
				resp, err := c.trip.RoundTrip(request(t, c.token, "/v1.0/applications/"+app.ObjectID))
				if err != nil {
					done <- err
					return
				}
				_ = resp.Body.Close()
				tenant.Configure(func(t *emulator.Tenant) { t.Seed = uint64(i) })
				_ = tenant.Requests()
				_ = tenant.Applications()
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := len(tenant.Requests()); n != 161 {
		t.Errorf("%d requests in the log, want 161", n)
	}
}
