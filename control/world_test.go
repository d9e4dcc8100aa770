package control_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/config"
	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/pfx"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// encoder is package pfx as the domain knows it.
type encoder struct{}

func (encoder) Encode(encoding string, key *rsa.PrivateKey, certificate []byte, _ [][]byte, password, name string) ([]byte, error) {
	leaf, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, err
	}
	return pfx.EncodeNamed(pfx.Encoding(encoding), key, leaf, nil, password, name)
}

func (encoder) Decode(data []byte, password string) (rotator.KeyPair, error) {
	p, err := pfx.Decode(data, password)
	if err != nil {
		return rotator.KeyPair{}, err
	}
	return rotator.KeyPair{Key: p.Key, Certificate: p.Certificate.Raw, Password: password}, nil
}

func (encoder) NewPassword() (string, error) { return pfx.NewPassword() }

// world is a daemon without its socket, and the tenant it asks.
type world struct {
	server *control.Server
	tenant *emulator.Tenant
	seeds  emulator.Seeds
	// overlap of its policy.
	target string
}

// newWorld makes one with two apps in the tenant and nothing in the store. It
// carries rotations on until the test ends.
func newWorld(t *testing.T, overlap time.Duration) *world {
	t.Helper()
	tenant := &emulator.Tenant{}
	seeds, err := tenant.SeedApps(2, emulator.PermissionsVendor, 20*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	paths := store.InitOptions{Path: filepath.Join(dir, "data", "rotate.db"), IdentityFile: filepath.Join(dir, "keys", "store.key"), Recovery: recipientOf(t)}
	if _, err := store.Init(t.Context(), paths); err != nil {
		t.Fatal(err)
	}
	keys, err := store.Open(t.Context(), store.Options{Path: paths.Path, IdentityFile: paths.IdentityFile, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	zero := time.Duration(0)
	r := &rotator.Rotator{
		Store: keys, Entra: entra{tenant: tenant}, Encoder: encoder{},
		Deliverer: &deliver.Deliverer{Encoder: encoder{}, RuntimeDir: filepath.Join(dir, "run")},
		Defaults: rotator.PolicyOverride{
			Overlap: &overlap, ReloadWithin: &zero,
			Prove:       &rotator.ProvePolicy{Successes: 1, Within: time.Hour},
			UploadLimit: &rotator.UploadLimit{PerHour: 100, PerDay: 100},
		},
		ParseSchedule: func(cron, zone string) (rotator.Schedule, error) {
			return config.Window{Cron: cron, Zone: zone}.Schedule()
		},
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := keys.Close(); err != nil {
			t.Error(err)
		}
	})
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	return &world{server: &control.Server{Rotator: r}, tenant: tenant, seeds: seeds, target: filepath.Join(out, "app.pfx")}
}

// spec declares the first app of the tenant.
func (w *world) spec() control.AppSpec {
	app := w.seeds.Apps[0]
	return control.AppSpec{
		Name: "app-1", Tenant: "contoso", ClientID: app.ClientID, PFX: app.PFX, Password: app.Password,
		Deliveries: []control.Delivery{{Kind: "file", Path: w.target}},
	}
}

// memory returns a client in the same process.
func (w *world) memory(t *testing.T) *control.Client {
	t.Helper()
	transport := w.server.Transport(t.Context(), "somebody")
	t.Cleanup(func() {
		if err := transport.Close(); err != nil {
			t.Error(err)
		}
	})
	return control.NewClient(transport)
}

// socketPath returns a path that is short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "s")
}

// serve listens on a real socket; stop ends the server and waits for it.
func (w *world) serve(t *testing.T, path string) (stop func()) {
	t.Helper()
	l, err := control.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return w.serveOn(t, l)
}

func (w *world) serveOn(t *testing.T, l net.Listener) (stop func()) {
	t.Helper()
	w.server.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.server.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// dial connects to the socket.
func dial(t *testing.T, path string) *control.Client {
	t.Helper()
	c, err := control.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
