package graph_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// keys are RSA keys made once: making one takes a tenth of a second.
var keys = sync.OnceValue(func() []*rsa.PrivateKey {
	made := make([]*rsa.PrivateKey, 3)
	for i := range made {
		var err error
		if made[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return made
})

// newPair makes a key pair with key n that is valid from a minute ago.
func newPair(t *testing.T, n int, validity time.Duration) rotator.KeyPair {
	t.Helper()
	return pairBetween(t, n, time.Now().Add(-time.Minute), time.Now().Add(validity))
}

func pairBetween(t *testing.T, n int, from, until time.Time) rotator.KeyPair {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "contoso"},
		NotBefore: from.UTC().Truncate(time.Second), NotAfter: until.UTC().Truncate(time.Second),
	}
	key := keys()[n]
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return rotator.KeyPair{Key: key, Certificate: der}
}

// world is a tenant with an app, an identity that owns it, and a client.
type world struct {
	tenant *emulator.Tenant
	client *graph.Client
	app    emulator.Application
	admin  emulator.Application
	// pair is the app's own, registered under keyID.
	pair  rotator.KeyPair
	keyID rotator.KeyID
	// log is what the client logged.
	log *bytes.Buffer
}

const adminSecret = "S3cret~of.the-identity"

// newWorld makes one. change may alter tenant and configuration; it may be nil.
func newWorld(t *testing.T, change func(*emulator.Tenant, *graph.Config)) *world {
	t.Helper()
	w := &world{tenant: &emulator.Tenant{}, pair: newPair(t, 0, 20*24*time.Hour), log: &bytes.Buffer{}}
	w.tenant.Unknown = func(r emulator.Request) { t.Errorf("unknown request %s %s", r.Method, r.Path) }
	config := graph.Config{
		Tenants: []graph.Tenant{{
			Name: "contoso", ID: w.tenant.TenantID(),
			Cloud: graph.Cloud{Login: "https://entra.test:8443", Graph: "https://entra.test:8443", Transport: w.tenant.Transport()},
			Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
				ClientID: "aaaaaaaa-0000-0000-0000-000000000001", Secret: func() (string, error) { return adminSecret, nil },
			}},
		}},
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(w.tenant, &config)
	}
	var err error
	if w.admin, err = w.tenant.AddApplication(emulator.Application{
		Name: "admin", ClientID: "aaaaaaaa-0000-0000-0000-000000000001",
		Permissions: []string{"Application.ReadWrite.OwnedBy"}, Secrets: []emulator.Secret{{Text: adminSecret}},
	}); err != nil {
		t.Fatal(err)
	}
	if w.app, err = w.tenant.AddApplication(emulator.Application{
		Name: "Contoso Sync", Owners: []string{w.admin.ClientID}, Permissions: []string{"User.Read.All"},
		KeyCredentials: []emulator.KeyCredential{{DisplayName: "first", Certificate: w.pair.Certificate}},
		Secrets:        []emulator.Secret{{DisplayName: "foreign"}},
	}); err != nil {
		t.Fatal(err)
	}
	w.keyID = rotator.KeyID(w.app.KeyCredentials[0].KeyID)
	if w.client, err = graph.New(config); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) registration() rotator.Registration {
	return rotator.Registration{
		App: "contoso-sync", Tenant: "contoso",
		ObjectID: rotator.ObjectID(w.app.ObjectID), ClientID: rotator.ClientID(w.app.ClientID),
	}
}

func (w *world) managed() rotator.Access { return rotator.Access{Registration: w.registration()} }

func (w *world) self() rotator.Access {
	return rotator.Access{Registration: w.registration(), As: w.pair}
}

// newKey is a certificate to add, for pair.
func newKey(t *testing.T, pair rotator.KeyPair) rotator.NewKey {
	t.Helper()
	c, err := x509.ParseCertificate(pair.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return rotator.NewKey{
		KeyID: rotator.KeyID(uuid.NewString()), DisplayName: "contoso-sync (rotate 0a1b2c3d/4e5f)",
		Certificate: pair.Certificate, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
	}
}

// failure returns the failure in err, which must be one.
func failure(t *testing.T, err error) *rotator.Failure {
	t.Helper()
	f, ok := errors.AsType[*rotator.Failure](err)
	if !ok {
		t.Fatalf("error is %T %v, want a *rotator.Failure", err, err)
	}
	return f
}

func TestRotationInBothModes(t *testing.T) {
	for name, as := range map[string]func(*world) rotator.Access{"self": (*world).self, "managed": (*world).managed} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			next := newPair(t, 1, 365*24*time.Hour)
			add := newKey(t, next)
			id, err := w.client.AddKey(t.Context(), as(w), w.pair, add)
			if err != nil || id != add.KeyID {
				t.Fatalf("AddKey = %q, %v, want %q", id, err, add.KeyID)
			}
			answer, err := w.client.SignIn(t.Context(), w.registration(), next, []string{"/users?$top=1"})
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Since(answer.At).Abs(); d > 2*time.Second {
				t.Errorf("At = %v, want about now", answer.At)
			}
			if len(answer.Roles) != 1 || answer.Roles[0] != "User.Read.All" {
				t.Errorf("Roles = %q, want User.Read.All", answer.Roles)
			}
			if len(answer.Probes) != 1 || answer.Probes[0].Err != nil {
				t.Errorf("Probes = %v, want one that worked", answer.Probes)
			}
			use := as(w)
			if !use.As.IsZero() {
				use.As = next
			}
			if err := w.client.RemoveKey(t.Context(), use, next, w.keyID); err != nil {
				t.Fatal(err)
			}
			left := w.tenant.KeyCredentials(w.app.ClientID)
			if len(left) != 1 || left[0].KeyID != string(add.KeyID) || !bytes.Equal(left[0].Certificate, next.Certificate) {
				t.Errorf("%d entries are left, first %v; want the new one", len(left), left[0].KeyID)
			}
			if f := failure(t, w.client.RemoveKey(t.Context(), use, next, w.keyID)); f.Reason != rotator.ReasonNoSuchKey {
				t.Errorf("second removal: %v %q, want %v", f.Reason, f.Message, rotator.ReasonNoSuchKey)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	w := newWorld(t, nil)
	hosts, err := w.client.Hosts("contoso")
	if err != nil || hosts.Login != "https://entra.test:8443" || hosts.Graph != "https://entra.test:8443" {
		t.Errorf("Hosts = %v, %v", hosts, err)
	}
	if _, err := w.client.Hosts("other"); !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Hosts of an unknown tenant: %v, want ErrNotFound", err)
	}
	_, err = w.client.Keys(context.Background(), rotator.Access{Registration: rotator.Registration{App: "a", Tenant: "other"}}, false)
	if f := failure(t, err); f.Class != rotator.ClassFix || !errors.Is(err, rotator.ErrNotFound) {
		t.Errorf("Keys with an unknown tenant: %v %v", f.Class, err)
	}
}
