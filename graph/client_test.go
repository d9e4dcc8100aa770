package graph_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

func TestRotationInBothModes(t *testing.T) {
	for name, as := range map[string]func(*world) rotator.Access{"self": (*world).self, "managed": (*world).managed} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			next := newPair(t, 1, 365*24*time.Hour)
			add := newKey(t, next)
			id, err := w.client.AddKey(t.Context(), as(w), w.pair, add)
			if err != nil || id == "" || id == add.KeyID {
				t.Fatalf("AddKey = %q, %v, want a KeyID that the tenant chose", id, err)
			}
			begun := time.Now()
			answer, err := w.client.SignIn(t.Context(), w.registration(), next, []string{"/users?$top=1"})
			if err != nil {
				t.Fatal(err)
			}
			checkNow(t, "At", begun, answer.At)
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
			if len(left) != 1 || left[0].KeyID != string(id) || !bytes.Equal(left[0].Certificate, next.Certificate) {
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
	if err != nil || hosts.Login != entraURL || hosts.Graph != entraURL {
		t.Errorf("Hosts = %v, %v", hosts, err)
	}
	if _, err := w.client.Hosts("other"); !errors.Is(err, rotator.ErrNoTenant) {
		t.Errorf("Hosts of an unknown tenant: %v, want ErrNoTenant", err)
	}
	_, err = w.client.Keys(t.Context(), rotator.Access{Registration: rotator.Registration{App: "a", Tenant: "other"}}, false)
	if f := failure(t, err); f.Class != rotator.ClassFix || !errors.Is(err, rotator.ErrNoTenant) {
		t.Errorf("Keys with an unknown tenant: %v %v", f.Class, err)
	}
}
