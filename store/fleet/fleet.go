// Package fleet fills a store with many apps, for measurements and tests: with the
// records that the program itself leaves after a year in service, 19 to 20 KB an app.
// Start with [Fleet.Fill]. Nothing else of the program uses it.
package fleet

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// Fleet is what a store is filled with.
type Fleet struct {
	// Apps is how many; [Name] gives their names.
	Apps int
	// Tenants that they are spread over, [Tenant] gives their names; 0: one.
	Tenants int
	// Open is how many of the apps, the first ones, have a rotation that waits in its
	// overlap.
	Open int
	// Failing is how many of the last apps could not start their rotation and need a
	// person.
	Failing int
	// Delivery is the file that each app is delivered to, with %s for its name; empty:
	// one below /srv.
	Delivery string
}

// Name of an app, from 0 on. They are in the order of their numbers.
func Name(app int) string { return fmt.Sprintf("app-%07d", app) }

// Tenant is the name of a tenant, from 0 on.
func Tenant(n int) string { return fmt.Sprintf("tenant-%05d", n) }

// batch is how many apps are written in one transaction: they come few at a time, and
// so do the pages of the file.
const batch = 8

// Fill adds the apps to a store, which should not sync, and calls progress, if it is
// not nil, after each transaction. Nothing is due for a month.
func (f Fleet) Fill(ctx context.Context, s *store.Store, progress func(done int)) error {
	m, err := newMaker(f)
	if err != nil {
		return err
	}
	done := 0
	for names := range slices.Chunk(slices.Collect(f.names()), batch) {
		if err := s.ChangeAll(ctx, names, m.make); err != nil {
			return err
		}
		if done += len(names); progress != nil {
			progress(done)
		}
	}
	return nil
}

func (f Fleet) names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range f.Apps {
			if !yield(Name(i)) {
				return
			}
		}
	}
}

// A maker makes one app after the other.
type maker struct {
	Fleet
	key *rsa.PrivateKey
	now time.Time
	der []byte
	// serial is where the low half of the serial number lies in der: each app has
	// another certificate, as far as the store knows.
	serial int
	// file is as long as a PFX, and as random.
	file []byte
	next int
}

func newMaker(f Fleet) (*maker, error) {
	m := &maker{Fleet: f, now: time.Now().UTC().Truncate(time.Second), file: make([]byte, 2600)}
	_, _ = rand.Read(m.file) // never fails
	var err error
	if m.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(1), 126), Subject: pkix.Name{CommonName: "backup-of-mail"},
		NotBefore: m.now.Add(-24 * time.Hour), NotAfter: m.now.Add(365 * 24 * time.Hour), SignatureAlgorithm: x509.SHA256WithRSA,
	}
	if m.der, err = x509.CreateCertificate(rand.Reader, template, template, &m.key.PublicKey, m.key); err != nil {
		return nil, err
	}
	raw := template.SerialNumber.Bytes()
	if m.serial = strings.Index(string(m.der), string(raw)); m.serial < 0 {
		return nil, errors.New("the certificate has no serial number")
	}
	m.serial += len(raw) / 2
	return m, nil
}

// certificate is the next one, with its dates.
func (m *maker) certificate(number int, notBefore time.Time) (rotator.Credential, []byte, error) {
	der := slices.Clone(m.der)
	binary.BigEndian.PutUint64(der[m.serial:], uint64(number)) //nolint:gosec // never negative
	c, err := rotator.CredentialOf(der)
	c.KeyID = rotator.KeyID(guid(1, number))
	c.NotBefore, c.NotAfter = notBefore, notBefore.Add(365*24*time.Hour)
	return c, der, err
}

func guid(kind, number int) string {
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", kind, number)
}

// make is the change that tracks one app, as it is after its first rotation.
func (m *maker) make(name string, r *rotator.Records) error {
	i := m.next
	m.next++
	at := m.now.Add(-20 * 24 * time.Hour).Add(time.Duration(i) * time.Second)
	if m.Apps > 0 { // spread over ten months, so that none is due for a month
		at = m.now.Add(-time.Duration(int64(280*24*time.Hour) / int64(m.Apps) * int64(i)))
	}
	current, der, err := m.certificate(2*i+1, at)
	if err != nil {
		return err
	}
	old, _, err := m.certificate(2*i, at.Add(-300*24*time.Hour))
	if err != nil {
		return err
	}
	old.Adopted, old.AddedAt, current.AddedAt = true, at.Add(-300*24*time.Hour), at
	id := fmt.Sprintf("r%09x", i)
	r.App = m.app(i, name, id, current)
	r.Rotation = m.rotation(i, r.App, old)
	r.Seal = []rotator.KeyPair{{Key: m.key, Certificate: der, Password: "0123456789abcdef", Encoded: map[string][]byte{"modern": m.file}}}
	whats := []string{
		"rotation planned", "certificate upload begun", "rotation uploaded", "rotation delivered",
		"rotation confirmed", "certificate removal sent", "rotation retired",
	}
	start := rotator.Wake{Kind: rotator.WakeStart, App: name, At: current.NotAfter.Add(-45 * 24 * time.Hour)}
	switch {
	case i < m.Open:
		whats = whats[:5]
		r.Wakes = []rotator.Wake{
			{Kind: rotator.WakeOpen, App: name, At: r.Rotation.StartedAt},
			{Kind: rotator.WakeContinue, App: name, At: r.Rotation.WakeAt},
			{Kind: rotator.WakeAlert, App: name, At: start.At},
		}
	case i >= m.Apps-m.Failing:
		r.App.Trouble = &rotator.Trouble{
			Class: rotator.ClassFix, Reason: rotator.ReasonForbidden, At: m.now, Attempts: 7, RetryAt: m.now.Add(40 * 24 * time.Hour),
			Message: "add certificate: graph: 403 Authorization_RequestDenied: Insufficient privileges to complete the operation.",
			Next:    "make the identity of the tenant an owner of the app",
		}
		fallthrough
	default:
		r.Wakes = []rotator.Wake{start, {Kind: rotator.WakeAlert, App: name, At: start.At}}
	}
	for _, what := range whats {
		r.Audit = append(r.Audit, rotator.AuditEntry{
			At: at, By: "schedule", What: what, App: name, Rotation: id,
			Thumbprint: current.ThumbprintSHA256, OldThumbprint: old.ThumbprintSHA256,
		})
	}
	return nil
}

func (m *maker) app(i int, name, rotation string, current rotator.Credential) *rotator.App {
	path := m.Delivery
	if path == "" {
		path = "/srv/%s/consumer.pfx"
	}
	return &rotator.App{
		Name: name, Tenant: Tenant(i % max(m.Tenants, 1)), Mode: rotator.ModeSelf, DisplayName: "Backup of " + name,
		ClientID: rotator.ClientID(guid(2, i)), ObjectID: rotator.ObjectID(guid(3, i)),
		Current: &current, LastRotation: rotation, AddedAt: current.AddedAt, AddedBy: "root, sudo by admin",
		Permissions:   []string{"Mail.Read", "User.Read.All", "Directory.Read.All", "MailboxSettings.Read"},
		Deliveries:    []rotator.Delivery{{Kind: rotator.DeliverFile, Path: strings.ReplaceAll(path, "%s", name)}},
		CorrelationID: guid(4, i), Owner: "backup team",
	}
}

func (m *maker) rotation(i int, app *rotator.App, old rotator.Credential) *rotator.Rotation {
	began := app.Current.AddedAt
	if i < m.Open {
		began = m.now.Add(-3 * 24 * time.Hour)
	}
	confirmed := began.Add(25 * time.Hour)
	r := &rotator.Rotation{
		ID: app.LastRotation, App: app.Name, ClientID: app.ClientID, Mode: app.Mode, By: "schedule", Phase: rotator.PhaseRetired,
		Old: &old, New: *app.Current, DisplayName: app.DisplayName + " (rotate 00000000/" + app.LastRotation + ")", StartedAt: began,
		PhaseAt: map[rotator.Phase]time.Time{
			rotator.PhasePlanned: began, rotator.PhaseUploaded: began, rotator.PhaseProven: began.Add(time.Minute),
			rotator.PhaseDelivered: began.Add(time.Hour), rotator.PhaseConfirmed: confirmed,
		},
		Upload: rotator.Upload{Way: "addKey", Sends: 1, Seen: []rotator.KeyID{old.KeyID, app.Current.KeyID}},
		Proof:  rotator.Proof{Successes: 3},
		Deliveries: []rotator.DeliveryResult{{
			Name: "file " + app.Deliveries[0].Path, Thumbprint: app.Current.ThumbprintSHA256, At: began.Add(time.Hour),
		}},
		Reach: began.Add(time.Hour), Confirmation: "automatic", ConfirmedBy: "automatic",
		RetiresAt: confirmed.Add(14 * 24 * time.Hour), LookedAt: confirmed, Seq: 24,
	}
	if i < m.Open {
		app.Rotation, r.Phase = r.ID, rotator.PhaseConfirmed
		app.Previous = &old
		r.WaitingFor, r.WakeAt, r.LookedAt = rotator.WaitingOverlap, r.RetiresAt, m.now
		return r
	}
	r.PhaseAt[rotator.PhaseRetired], r.EndedAt = r.RetiresAt, r.RetiresAt
	r.Outcome = "the certificate was replaced; the new one is valid until " + app.Current.NotAfter.Format(time.DateOnly)
	removed := old
	removed.RemovalSentAt, removed.RemovedAt = r.EndedAt, r.EndedAt.Add(10*time.Minute)
	app.Removals = []rotator.Removal{{
		Credential: removed, Rotation: r.ID, By: "schedule", KeyIDs: []rotator.KeyID{old.KeyID}, Begun: r.EndedAt, Sends: 1,
		LastSentAt: r.EndedAt, Sent: []time.Time{r.EndedAt}, At: removed.RemovedAt, EndedAt: removed.RemovedAt, End: rotator.RemovalRemoved,
	}}
	return r
}
