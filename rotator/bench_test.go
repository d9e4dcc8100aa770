package rotator_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// tenants of a benchmark. Graph lets 150 reads of certificates through a minute
// and tenant, and the client keeps to it: with few of them this would be a benchmark
// of that limit.
const tenants = 32

// host is a store and its tenants.
type host struct {
	store.Options
	tenants [tenants]*emulator.Tenant
	// admins are the tenants' identities.
	admins [tenants]emulator.Application
}

// newHost keeps its files in a folder of its own in dir; empty: where the system has
// temporary files.
func newHost(b *testing.B, dir string) host {
	b.Helper()
	dir, err := os.MkdirTemp(dir, "rotate-bench")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	h := host{Options: store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "store.key")}}
	if _, err := store.Init(b.Context(), store.InitOptions{Path: h.Path, IdentityFile: h.IdentityFile}); err != nil {
		b.Fatal(err)
	}
	// The tenant signs its tokens with a small key: what that takes is Entra's, not
	// this host's.
	signing, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		b.Fatal(err)
	}
	for i := range tenants {
		h.tenants[i] = &emulator.Tenant{SigningKey: signing}
		h.admins[i], err = h.tenants[i].AddApplication(emulator.Application{
			Name: "admin", Permissions: []string{"Application.ReadWrite.OwnedBy", "Policy.Read.All"},
			Secrets: []emulator.Secret{{Text: "the admin's secret"}},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return h
}

func tenantName(i int) string { return fmt.Sprintf("contoso-%d", i) }

func (h host) dir() string { return filepath.Dir(h.Path) }

// open opens the store and wires a rotator as the daemon does, with two workers.
func (h host) open(b *testing.B, defaults rotator.PolicyOverride) *rotator.Rotator {
	b.Helper()
	db, err := store.Open(b.Context(), h.Options)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	var config graph.Config
	for i, tenant := range h.tenants {
		config.Tenants = append(config.Tenants, graph.Tenant{
			Name: tenantName(i), ID: tenant.TenantID(),
			Cloud: graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", Transport: tenant.Transport()},
			Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
				ClientID: rotator.ClientID(h.admins[i].ClientID),
				Secret:   func() (string, error) { return "the admin's secret", nil },
			}},
		})
	}
	client, err := graph.New(config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	return &rotator.Rotator{
		Store: db, Entra: client, Encoder: encoder{}, Defaults: defaults, Workers: workers, MaxStartsPerDay: 1 << 30,
		Schedule:      every(time.Hour),
		Deliverer:     &deliver.Deliverer{Encoder: encoder{}, RuntimeDir: filepath.Join(h.dir(), "run"), Logger: slog.New(slog.DiscardHandler)},
		ParseSchedule: parseSchedule,
	}
}

// fill tracks n apps, each with a sealed pair, one rotation in its history and
// nothing to do for a month.
func (h host) fill(b *testing.B, n int) {
	b.Helper()
	h.NoSync = true
	db, err := store.Open(b.Context(), h.Options)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now().UTC()
	der := benchCertificate(b, now.Add(365*24*time.Hour))
	serial := serialOf(b, der)
	encoded, err := encoder{}.Encode("modern", keys()[0], der, nil, password, "")
	if err != nil {
		b.Fatal(err)
	}
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("app-%06d", i)
	}
	i := 0
	// Apps come few at a time. A bulk load would leave a long list of free pages,
	// which bbolt writes with every commit from then on.
	for batch := range slices.Chunk(names, 8) {
		err := db.ChangeAll(b.Context(), batch, func(name string, r *rotator.Records) error {
			i++
			binary.BigEndian.PutUint64(serial, uint64(i)) // another certificate, as far as the store knows
			current, err := rotator.CredentialOf(der)
			if err != nil {
				return err
			}
			current.KeyID = rotator.KeyID(fmt.Sprintf("00000000-0000-0000-0001-%012d", i))
			current.NotAfter = now.Add(80*24*time.Hour + time.Duration(i)*time.Minute)
			began := now.Add(-time.Duration(i) * time.Second)
			r.App = &rotator.App{
				Name: name, Tenant: tenantName(0), Mode: rotator.ModeSelf, DisplayName: "Backup of " + name,
				ClientID: rotator.ClientID(fmt.Sprintf("00000000-0000-0000-0002-%012d", i)),
				ObjectID: rotator.ObjectID(fmt.Sprintf("00000000-0000-0000-0003-%012d", i)),
				Current:  &current, LastRotation: fmt.Sprintf("r%09d", i), AddedAt: began, AddedBy: "bench",
				Permissions: vendor(), Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: "/var/lib/consumer/" + name + ".pfx"}},
			}
			r.Rotation = &rotator.Rotation{
				ID: r.App.LastRotation, App: name, Mode: rotator.ModeSelf, By: "schedule", Phase: rotator.PhaseRetired, New: current,
				StartedAt: began, EndedAt: now, PhaseAt: map[rotator.Phase]time.Time{rotator.PhasePlanned: began, rotator.PhaseRetired: now},
				Outcome: "the certificate was replaced",
			}
			r.Seal = []rotator.KeyPair{{Key: keys()[0], Certificate: slices.Clone(der), Password: password, Encoded: map[string][]byte{"modern": encoded}}}
			r.Wakes = []rotator.Wake{{Kind: rotator.WakeStart, App: name, At: current.NotAfter.Add(-45 * 24 * time.Hour)}}
			for _, what := range []string{"app added", "rotation planned", "certificate upload begun", "rotation uploaded", "rotation proven", "rotation delivered", "rotation confirmed", "certificate removed", "rotation retired"} {
				r.Audit = append(r.Audit, rotator.AuditEntry{At: now, By: "schedule", What: what, App: name, Rotation: r.App.LastRotation, Thumbprint: current.ThumbprintSHA256})
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	file, err := os.OpenFile(h.Path, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	// What was not synced must not be counted later.
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		b.Fatal(err)
	}
}

// serialOf is where the certificate has its serial number.
func serialOf(b *testing.B, der []byte) []byte {
	b.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	raw := c.SerialNumber.Bytes()
	for i := range der {
		if slices.Equal(der[i:i+len(raw)], raw) {
			return der[i+8 : i+16]
		}
	}
	b.Fatal("the certificate has no serial number")
	return nil
}

// benchCertificate is a self-signed certificate of the first key.
func benchCertificate(b *testing.B, notAfter time.Time) []byte {
	b.Helper()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(1), 126), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: notAfter, SignatureAlgorithm: x509.SHA256WithRSA,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &keys()[0].PublicKey, keys()[0])
	if err != nil {
		b.Fatal(err)
	}
	return der
}

// BenchmarkCheck is the check when nothing is due, which the schedule runs: with
// the commit of its result synced to the disk, and without, which shows what the
// check itself costs. It must not grow with the number of apps.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("apps=%d", n), func(b *testing.B) {
			h := newHost(b, "")
			h.fill(b, n)
			for _, noSync := range []bool{false, true} {
				b.Run(fmt.Sprintf("fsync=%v", !noSync), func(b *testing.B) {
					h.NoSync = noSync
					r := h.open(b, rotator.PolicyOverride{})
					for b.Loop() {
						report, err := r.Check(b.Context(), "bench")
						if err != nil || report.Apps != n || len(report.Started)+len(report.Held)+len(report.Attention)+len(report.Continued) > 0 {
							b.Fatalf("%+v, %v", report, err)
						}
					}
				})
			}
		})
	}
}

// adopt registers n apps in the tenant, each with a certificate that is about to
// end, and tracks them.
func (h host) adopt(b *testing.B, r *rotator.Rotator, o options, n int) {
	b.Helper()
	now := time.Now().UTC()
	der := benchCertificate(b, now.Add(20*24*time.Hour))
	encoded, err := encoder{}.Encode("modern", keys()[0], der, nil, password, "")
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		i %= tenants
		name := "app-" + strings.ToLower(rand.Text())
		made, err := h.tenants[i].AddApplication(emulator.Application{
			Name: name, Permissions: o.permissions, Owners: []string{h.admins[i].ClientID},
			KeyCredentials: []emulator.KeyCredential{{Certificate: der}},
		})
		if err != nil {
			b.Fatal(err)
		}
		target := filepath.Join(h.dir(), name+".pfx")
		if err := os.WriteFile(target, encoded, 0o600); err != nil {
			b.Fatal(err)
		}
		_, err = r.Add(b.Context(), rotator.AppSpec{
			Name: name, Tenant: tenantName(i), ClientID: rotator.ClientID(made.ClientID), ObjectID: rotator.ObjectID(made.ObjectID),
			KeyID: rotator.KeyID(made.KeyCredentials[0].KeyID), Mode: o.mode, PFX: encoded, Password: password,
			Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: target}},
		}, "bench")
		if err != nil {
			b.Fatal(err)
		}
	}
}

// workers of the benchmark, and goroutines of the key generation it is compared
// with.
const workers = 2

// BenchmarkRotations rotates apps side by side, with every wait at zero, against
// a tenant without a network. The store and the deliveries are as in service, each
// synced: with files in memory, where that does not wait either, and on the disk.
// Making RSA keys alone, in as many goroutines, is measured in turn with it: rounds
// of both take as long as the machine lets both. ratio is keys made in rotations to
// keys made alone.
func BenchmarkRotations(b *testing.B) {
	for _, files := range []struct{ are, dir string }{{"in memory", "/dev/shm"}, {"on disk", ""}} {
		for _, m := range []struct {
			name string
			options
		}{
			{"self", options{mode: rotator.ModeSelf, permissions: vendor()}},
			{"self, may not read", options{mode: rotator.ModeSelf}},
			{"managed", options{mode: rotator.ModeManaged, permissions: vendor()}},
		} {
			b.Run(m.name+"/files "+files.are, func(b *testing.B) { rotations(b, m.options, files.dir) })
		}
	}
}

func rotations(b *testing.B, o options, dir string) {
	b.Helper()
	const round = 100
	// As the daemon has it.
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2))
	h := newHost(b, dir)
	r := h.open(b, rotator.PolicyOverride{
		Prove:        &rotator.ProvePolicy{Successes: 1, Within: 10 * time.Minute},
		ReloadWithin: new(time.Duration), Overlap: new(time.Duration),
	})
	var rotating, making effort
	n := 0
	for b.Loop() {
		b.StopTimer()
		h.adopt(b, r, o, round)
		b.StartTimer()
		rotating.add(b, func() { rotateAll(b, r) })
		making.add(b, func() { makeKeys(b, round) })
		n += round
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)/rotating.clock.Seconds(), "rotations/s")
	b.ReportMetric(float64(n)/making.clock.Seconds(), "keys/s")
	b.ReportMetric(making.clock.Seconds()/rotating.clock.Seconds(), "ratio")
	b.ReportMetric(making.processor.Seconds()/rotating.processor.Seconds(), "processor-ratio")
}

// effort is what work took: by the clock, and of the processors, which others on
// the machine disturb less.
type effort struct{ clock, processor time.Duration }

func (e *effort) add(b *testing.B, work func()) {
	b.Helper()
	before, begun := processorTime(b), time.Now()
	work()
	e.clock += time.Since(begun)
	e.processor += processorTime(b) - before
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// rotateAll runs the rotator until nothing is due and nothing is open.
func rotateAll(b *testing.B, r *rotator.Rotator) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for idle := false; !idle; {
		time.Sleep(5 * time.Millisecond)
		due, err := r.Store.Due(ctx, rotator.WakeStart, time.Now(), 1)
		if err != nil {
			b.Fatal(err)
		}
		open, err := r.Store.Due(ctx, rotator.WakeOpen, time.Now(), 1)
		if err != nil {
			b.Fatal(err)
		}
		idle = len(due)+len(open) == 0
	}
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// makeKeys makes n RSA keys and nothing else.
func makeKeys(b *testing.B, n int) {
	b.Helper()
	var work errgroup.Group
	work.SetLimit(workers)
	for range n {
		work.Go(func() error {
			_, err := rsa.GenerateKey(rand.Reader, 2048)
			return err
		})
	}
	if err := work.Wait(); err != nil {
		b.Fatal(err)
	}
}
