//go:build e2e

package main_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/page"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// company is a store with the apps of a made-up company, and the page that shows
// it. Nothing carries its rotations on, so that it stands still for pictures.
func company(t *testing.T) (address string, rot *rotator.Rotator) {
	t.Helper()
	dir := t.TempDir()
	o := store.Options{Path: filepath.Join(dir, "rotate.db"), IdentityFile: filepath.Join(dir, "keys", "store.key"), NoSync: true}
	if _, err := store.Init(t.Context(), store.InitOptions{Path: o.Path, IdentityFile: o.IdentityFile}); err != nil {
		t.Fatal(err)
	}
	db := must1(store.Open(t.Context(), o))(t)
	t.Cleanup(func() { _ = db.Close() })
	var tenants []graph.Tenant
	for i, name := range []string{"contoso", "fabrikam", "northwind"} {
		tenants = append(tenants, graph.Tenant{Name: name, ID: fmt.Sprintf("%d1111111-2222-3333-4444-555555555555", i+1), Cloud: graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com"}})
	}
	entra := must1(graph.New(graph.Config{Tenants: tenants}))(t)
	t.Cleanup(func() { _ = entra.Close() })
	rot = &rotator.Rotator{Store: db, Entra: entra}
	key := must1(rsa.GenerateKey(rand.Reader, 2048))(t)
	for i, a := range staff() {
		if err := db.Change(t.Context(), a.name, func(r *rotator.Records) error { return a.track(r, key, i) }); err != nil {
			t.Fatal(err)
		}
	}
	l := must1(net.Listen("tcp", "127.0.0.1:0"))(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	server := &page.Server{Source: rot, TenantIDs: map[string]string{"contoso": "11111111-2222-3333-4444-555555555555"}, Steps: []string{
		"Open the settings of the consumer where its certificate is kept.", "Upload {file} and give its password.", "Let the consumer test its connection.",
	}}
	go func() { ended <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String(), rot
}

// member is one app of the company.
type member struct {
	name, display, tenant string
	tags                  []string
	// left is how many days its certificate lives.
	left int
	// phase of its open rotation; empty: none.
	phase rotator.Phase
	state string
}

func staff() []member {
	return []member{
		{"cloudm-continuity", "CloudM Continuity backup", "contoso", []string{"backup", "vendor"}, 29, rotator.PhaseDelivered, "person"},
		{"hr-directory-sync", "HR directory sync", "fabrikam", []string{"sync"}, 21, rotator.PhasePlanned, "forbidden"},
		{"mail-archive", "Mail archive", "contoso", []string{"backup"}, 41, rotator.PhaseConfirmed, "overlap"},
		{"teams-migration", "Teams migration", "northwind", []string{"migration"}, 44, rotator.PhaseUploaded, "propagation"},
		{"payroll-export", "Payroll export", "contoso", []string{"sync"}, 58, "", ""},
		{"signature-manager", "Signature manager", "contoso", []string{"vendor"}, 83, "", ""},
		{"sharepoint-index", "SharePoint search index", "fabrikam", nil, 104, "", ""},
		{"device-inventory", "Device inventory", "contoso", []string{"sync"}, 131, "", ""},
		{"crm-calendar", "CRM calendar sync", "contoso", []string{"sync", "vendor"}, 156, "", ""},
		{"phone-provisioning", "Phone provisioning", "northwind", nil, 188, "", ""},
		{"visitor-lobby", "Visitor lobby", "fabrikam", nil, 214, "", ""},
		{"expense-scanner", "Expense scanner", "contoso", []string{"vendor"}, 239, "", ""},
		{"onedrive-backup", "OneDrive backup", "contoso", []string{"backup"}, 263, "", ""},
		{"room-displays", "Room displays", "northwind", nil, 291, "", ""},
		{"license-report", "License report", "contoso", nil, 318, "", ""},
		{"planner-bridge", "Planner bridge", "fabrikam", []string{"sync"}, 340, "", ""},
		{"arabic-letters", "مزامنة البريد", "northwind", nil, 352, "", ""},
		{"zero-touch", "<b>Zero</b> touch 🦀", "northwind", nil, 360, "", ""},
	}
}

// credential makes a certificate that begins and ends so many days from now.
func (m member) credential(key *rsa.PrivateKey, n int64, from, until int) (rotator.Credential, []byte, error) {
	now := time.Now().UTC().Truncate(time.Hour)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: m.name}, NotBefore: now.AddDate(0, 0, from), NotAfter: now.AddDate(0, 0, until),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return rotator.Credential{}, nil, err
	}
	c, err := rotator.CredentialOf(der)
	c.KeyID = rotator.KeyID(fmt.Sprintf("%08x-7a5e-4c1b-9b1e-2f60a7d1c%03d", 0x5eed0000+n, n%1000))
	return c, der, err
}

// track adds the app, with its rotations.
func (m member) track(r *rotator.Records, key *rsa.PrivateKey, i int) error {
	now := time.Now().UTC()
	n := int64(10 * (i + 1))
	current, der, err := m.credential(key, n, m.left-365, m.left)
	if err != nil {
		return err
	}
	r.Seal = []rotator.KeyPair{{Key: key, Certificate: der, Password: "0123456789abcdef"}}
	app := rotator.App{
		Name: m.name, DisplayName: m.display, Tenant: m.tenant, Tags: m.tags, Mode: rotator.ModeSelf, Owner: m.tenant + "-it@contoso.example",
		ClientID: rotator.ClientID(fmt.Sprintf("00000000-0000-0000-0002-%012d", i)), ObjectID: rotator.ObjectID(fmt.Sprintf("00000000-0000-0000-0003-%012d", i)),
		Current: &current, AddedAt: now.AddDate(-1, 0, 0), AddedBy: "root (sudo: alice)",
		Permissions: []string{"Mail.Read", "User.Read.All"}, Probe: []string{"/users?$top=1"},
		Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: "/srv/" + m.name + "/app.pfx"}, {Kind: rotator.DeliverExec, Hook: "reload"}},
		Listed: &rotator.Listed{Foreign: []rotator.Foreign{
			{Kind: rotator.FoundSecret, DisplayName: "migration script", KeyID: "77777777-7a5e-4c1b-9b1e-2f60a7d1c001", NotAfter: now.AddDate(0, 4, 0)},
		}},
		Tested: &rotator.Tested{At: now.Add(-50 * time.Hour), Checks: []rotator.TestCheck{
			{Name: "file", Result: rotator.CheckOK, Fact: "opens; its certificate is " + current.ThumbprintSHA1},
			{Name: "token", Result: rotator.CheckOK, Fact: "a fresh sign-in works; the token carries 2 permissions"},
			{Name: "permission Mail.Read", Result: rotator.CheckOK, Fact: "is in the token"},
			{Name: "registered", Result: rotator.CheckOK, Fact: "listed on the app, among 1 certificate and 1 secret"},
		}},
	}
	r.App = &app
	if m.phase == "" {
		return nil
	}
	if m.state == "person" {
		r.App.Confirm.Rule = rotator.ConfirmPerson
		r.App.Deliveries = []rotator.Delivery{{Kind: rotator.DeliverHandOff}}
		r.App.HandOff = rotator.HandOffText{Consumer: "CloudM Continuity", Steps: []string{
			"Sign in to CloudM and open Continuity, Settings, Microsoft 365.",
			"Upload {file} and give its password. The application ID stays {client_id}.",
			"Press \"Test connection\" and wait for all four checks.",
		}}
	}
	fresh, der, err := m.credential(key, n+1, 0, 365)
	if err != nil {
		return err
	}
	r.Seal = append(r.Seal, rotator.KeyPair{Key: key, Certificate: der, Password: "0123456789abcdef"})
	began := now.Add(-26 * time.Hour)
	rot := &rotator.Rotation{
		ID: fmt.Sprintf("k%08d", n), App: m.name, ClientID: r.App.ClientID, Mode: rotator.ModeSelf, By: "schedule", Phase: m.phase,
		Old: &current, New: fresh, DisplayName: m.name + " (rotate)", StartedAt: began, PhaseAt: map[rotator.Phase]time.Time{},
	}
	at := began
	for _, p := range []rotator.Phase{rotator.PhasePlanned, rotator.PhaseUploaded, rotator.PhaseProven, rotator.PhaseDelivered, rotator.PhaseConfirmed} {
		rot.PhaseAt[p] = at
		at = at.Add(2 * time.Minute)
		if p == m.phase {
			break
		}
	}
	rot.Proof = rotator.Proof{Successes: 3, Attempts: 5}
	switch m.state {
	case "person":
		rot.WaitingFor = rotator.WaitingPerson
		rot.Deliveries = []rotator.DeliveryResult{{Name: "handoff", Thumbprint: fresh.ThumbprintSHA256, At: at}}
	case "forbidden":
		rot.WakeAt = now.Add(5 * time.Hour)
		rot.Trouble = &rotator.Trouble{
			Class: rotator.ClassFix, Message: "Entra refuses to add the certificate: the app is managed by a policy that allows 180 days", At: now.Add(-time.Hour), Attempts: 3,
			RetryAt: rot.WakeAt, Next: "set validity to 180d or less: rotate app edit " + m.name + " --validity 180d",
		}
	case "overlap":
		rot.WaitingFor, rot.Confirmation = rotator.WaitingOverlap, rotator.ConfirmAutomatic
		rot.RetiresAt = now.Add(13 * 24 * time.Hour)
		rot.WakeAt = rot.RetiresAt
		for _, d := range r.App.Deliveries {
			rot.Deliveries = append(rot.Deliveries, rotator.DeliveryResult{Name: d.Name(), Thumbprint: fresh.ThumbprintSHA256, At: at})
		}
		r.App.Current, r.App.Previous = &fresh, &current
	case "propagation":
		rot.WaitingFor, rot.WakeAt = rotator.WaitingPropagation, now.Add(40*time.Second)
	}
	r.Rotation = rot
	r.App.Rotation, r.App.LastRotation = rot.ID, rot.ID
	return nil
}
