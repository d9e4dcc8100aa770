package rotator_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestConnection goes through what can be wrong between a consumer and Entra: each
// case has its own sentence and its own next step.
func TestConnection(t *testing.T) {
	keys()
	cases := []struct {
		name string
		// change makes it wrong.
		change func(*connecting)
		// check, result, fact and next are those of one line; the others are not
		// looked at.
		check, result, fact, next string
	}{
		{"all is well", func(*connecting) {}, "token", "ok", "a fresh sign-in works; the token carries 4 permissions", ""},
		{"listed", func(*connecting) {}, "registered", "ok", "listed on the app, among 2 certificates and 1 secret", ""},
		{"permission seen", func(*connecting) {}, "permission Mail.Read", "ok", "declared, consented, in the token", ""},
		{"tenant", func(*connecting) {}, "tenant", "ok", "tenant and client ID are right", ""},
		{"nothing beyond", func(*connecting) {}, "least privilege", "ok", "nothing is granted beyond", ""},
		{"probe", func(*connecting) {}, "probe /users?$top=1", "ok", "answered", ""},
		{"clock", func(*connecting) {}, "clock", "ok", "agrees with Entra's", ""},
		{"policy unknown", func(*connecting) {}, "tenant policy", "warning", "may not be read", "Policy.Read.All"},
		{"days", func(*connecting) {}, "days left", "warning", "20; renewal is due since", "in time"},
		{"permission missing", func(s *connecting) {
			s.spec.Permissions, s.spec.Declared = []string{"Directory.Read.All", "User.Read.All", "MailboxSettings.Read"}, []string{"Directory.Read.All", "User.Read.All", "MailboxSettings.Read"}
		}, "permission Mail.Read", "failed", "the permission is missing: the registration does not declare it", "add it as an Application permission (not Delegated)"},
		{"consent missing", func(s *connecting) {
			s.spec.Permissions, s.spec.Declared = []string{"Directory.Read.All", "User.Read.All", "MailboxSettings.Read"}, vendor()
		}, "permission Mail.Read", "failed", "is declared, but admin consent is missing", "Grant admin consent"},
		{"not declared", func(s *connecting) {
			s.spec.Permissions, s.spec.Declared = vendor(), []string{"Directory.Read.All", "User.Read.All", "MailboxSettings.Read"}
		}, "permission Mail.Read", "warning", "in the token, but the registration does not declare it", "takes it away"},
		{
			"may not be read", func(s *connecting) { s.spec.Permissions = []string{"Mail.Read"}; s.c.App.Probe = nil },
			"permission User.Read.All", "failed", "is not in the token: it is not declared, or admin consent is missing", "Grant admin consent",
		},
		{
			"beyond", func(s *connecting) { s.spec.Permissions = append(vendor(), "Mail.Send") },
			"least privilege", "warning", "granted beyond what is asked for: Mail.Send", "remove",
		},
		{
			"expired", func(s *connecting) { s.c.File = s.pfx(s.w.t, keys()[0], -time.Hour, true) },
			"dates", "failed", "the certificate expired on", "make a new certificate",
		},
		{
			"expired at Entra", func(s *connecting) { s.c.File = s.pfx(s.w.t, keys()[0], -time.Hour, true) },
			"token", "failed", "Entra calls the certificate expired", "make a new certificate",
		},
		{
			"wrong password", func(s *connecting) { s.c.Password = "another" },
			"file", "failed", "the PFX does not open", "password",
		},
		{
			"B9: EC key", func(s *connecting) { s.c.File, s.c.Password = ellipticPEM(s.w.t), "" },
			"file", "failed", "the private key is not an RSA key", "make the certificate again with an RSA key",
		},
		{
			"B9: no key", func(s *connecting) {
				s.c.File, s.c.Password = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.der}), ""
			},
			"file", "failed", "there is no private key in this file", "export the certificate together with its private key",
		},
		{
			"key of another certificate", func(s *connecting) { s.c.File, s.c.Password = mismatched(s.w.t, s.der), "" },
			"key", "failed", "the private key does not belong to the certificate", "export the PFX again",
		},
		{
			"never uploaded", func(s *connecting) { s.c.File = s.pfx(s.w.t, keys()[0], time.Hour, false) },
			"token", "failed", "it was never uploaded, was removed, or this is the PFX of another app", "upload the .cer file",
		},
		{"PFX does not match", func(s *connecting) {
			s.c.File = s.pfx(s.w.t, keys()[0], time.Hour, false)
			s.c.App.Mode = rotator.ModeManaged
		}, "registered", "failed", "the PFX does not match: the app lists 2 certificates, and this one", "upload the .cer file"},
		{"no certificate at all", func(s *connecting) {
			s.spec.KeyCredentials, s.c.App.Mode = nil, rotator.ModeManaged
		}, "registered", "failed", "the certificate was never uploaded: the app has none", "upload the .cer file"},
		{"wrong key", func(s *connecting) {
			s.w.tenant.Intercept = loginFault(700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The provided signature value did not match the expected signature value.]")
		}, "token", "failed", "the private key does not belong to the certificate that Entra holds", "use the PFX"},
		{
			"wrong client ID", func(s *connecting) { s.c.App.ClientID = "99999999-9999-9999-9999-999999999999" },
			"tenant", "failed", "knows no app with the client ID 99999999-9999-9999-9999-999999999999: the wrong tenant", "Overview page",
		},
		{
			"no such tenant", func(s *connecting) { s.w.tenant.Intercept = loginFault(90002, "Tenant not found.") },
			"token", "failed", "the tenant ID of \"contoso\" does not exist in this cloud", "tenants[].id",
		},
		{
			"disabled", func(s *connecting) { s.spec.Disabled = true },
			"token", "failed", "the app is disabled in Entra", "enable it",
		},
		{
			"blocked", func(s *connecting) { s.blocked = true },
			"token", "failed", "Conditional Access blocks the sign-in from this host", "allow this host's address",
		},
		{"clock off", func(s *connecting) {
			s.w.tenant.Configure(func(e *emulator.Tenant) { e.ClockSkew = 7 * time.Minute })
		}, "clock", "failed", "this host's clock is 7m0s off", "timedatectl"},
		{
			"probe refused", func(s *connecting) { s.c.App.Probe = []string{"/policies/defaultAppManagementPolicy"} },
			"probe /policies/defaultAppManagementPolicy", "failed", "403", "permission that the probe needs",
		},
		{"policy shortens", func(s *connecting) {
			s.c.App.Mode = rotator.ModeManaged
			s.w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 90 * 24 * time.Hour})
		}, "tenant policy", "warning", "allows certificates for 90d; the next one lives that long, not 365d", "set validity to 90d"},
		{"policy refuses", func(s *connecting) {
			s.c.App.Mode = rotator.ModeManaged
			s.w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 30 * 24 * time.Hour})
		}, "tenant policy", "failed", "allows certificates for 30d only", "lower renew_before"},
		{"policy allows", func(s *connecting) { s.c.App.Mode = rotator.ModeManaged }, "tenant policy", "ok", "accepts a certificate for 365d", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newConnecting(t)
				c.change(s)
				s.make(t)
				r, closeStore := s.w.rotator()
				defer closeStore()
				checks := rotator.TestConnection(t.Context(), r.Entra, encoder{}, s.c)
				found := false
				for _, got := range checks {
					if got.Name != c.check {
						continue
					}
					found = true
					if got.Result != c.result || !strings.Contains(got.Fact, c.fact) || !strings.Contains(got.Next, c.next) {
						t.Errorf("%s: %s: %q, next %q; want %s: %q, next %q", got.Name, got.Result, got.Fact, got.Next, c.result, c.fact, c.next)
					}
				}
				if !found {
					t.Errorf("no line %q among %+v", c.check, checks)
				}
			})
		})
	}
}

// TestKeepsConnectionTest finds the result of a test with the app afterwards.
func TestKeepsConnectionTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		r, closeStore := w.rotator()
		defer closeStore()
		w.adopt(r, "tested", options{left: 20 * 24 * time.Hour})
		checks, err := r.Test(t.Context(), "tested")
		if err != nil {
			t.Fatal(err)
		}
		app, err := r.Store.App(t.Context(), "tested")
		if err != nil {
			t.Fatal(err)
		}
		if app.Tested == nil || app.Tested.At.IsZero() || !slices.Equal(app.Tested.Checks, checks) {
			t.Errorf("kept is %+v, want %+v", app.Tested, checks)
		}
	})
}

// connecting is a connection to be tested, and what it is made of.
type connecting struct {
	w    *world
	app  *tracked
	c    rotator.Connection
	der  []byte
	spec emulator.Application
	// blocked by Conditional Access.
	blocked bool
}

// newConnecting makes a connection at which nothing is wrong but that its
// certificate ends soon.
func newConnecting(t *testing.T) *connecting {
	t.Helper()
	w := newWorld(t, options{})
	now := time.Now()
	s := &connecting{w: w, app: &tracked{clientID: "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", objectID: "aaaaaaaa-bbbb-cccc-dddd-ffffffffffff"}}
	s.der = certificate(t, keys()[0], "tested", now.Add(-time.Hour), now.Add(20*24*time.Hour))
	foreign := certificate(t, keys()[1], "somebody else", now.Add(-time.Hour), now.Add(1000*24*time.Hour))
	s.spec = emulator.Application{
		Name: "tested", ClientID: s.app.clientID, ObjectID: s.app.objectID, Permissions: vendor(),
		KeyCredentials: []emulator.KeyCredential{{Certificate: s.der}, {Certificate: foreign}},
		Secrets:        []emulator.Secret{{DisplayName: "somebody else's"}}, Owners: []string{w.admin.ClientID},
	}
	s.c = rotator.Connection{
		App: rotator.App{
			Name: "tested", Tenant: "contoso", ClientID: rotator.ClientID(s.app.clientID), ObjectID: rotator.ObjectID(s.app.objectID),
			Mode: rotator.ModeSelf, Permissions: vendor(), Probe: []string{"/users?$top=1"},
		},
		Password: password, Policy: rotator.DefaultPolicy(), Untracked: true,
	}
	var err error
	if s.c.File, err = (encoder{}).Encode("modern", keys()[0], s.der, nil, password, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// make puts the app into the tenant.
func (s *connecting) make(t *testing.T) {
	t.Helper()
	if _, err := s.w.tenant.AddApplication(s.spec); err != nil {
		t.Fatal(err)
	}
	if s.blocked {
		if err := s.w.tenant.BlockSignIn(s.app.clientID, true); err != nil {
			t.Fatal(err)
		}
	}
}

// pfx makes a file with another certificate, which may be on the app as well.
func (s *connecting) pfx(t *testing.T, key *rsa.PrivateKey, left time.Duration, uploaded bool) []byte {
	t.Helper()
	der := certificate(t, key, "another", time.Now().Add(-48*time.Hour), time.Now().Add(left))
	if uploaded {
		s.spec.KeyCredentials = append(s.spec.KeyCredentials, emulator.KeyCredential{Certificate: der})
	}
	file, err := encoder{}.Encode("modern", key, der, nil, password, "")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// mismatched is a PEM file whose key is not that of its certificate.
func mismatched(t *testing.T, der []byte) []byte {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(keys()[1])
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}

// loginFault refuses every token with one number.
func loginFault(number int, text string) func(emulator.Request) *emulator.Fault {
	return func(r emulator.Request) *emulator.Fault {
		if !r.IsToken() {
			return nil
		}
		return &emulator.Fault{AADSTS: number, Message: text}
	}
}

// ellipticPEM is a key that Entra does not take, with no certificate at all.
func ellipticPEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
