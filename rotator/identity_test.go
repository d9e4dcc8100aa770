package rotator_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// ownIdentity makes app-1 the identity of the tenant, as the daemon wires it, and
// app-2 an app that is changed through it.
func ownIdentity(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, options{apps: 2, permissions: []string{"Application.ReadWrite.OwnedBy"}})
	must(t, w.tenant.SetOwners(w.apps[1].clientID, w.apps[0].clientID))
	w.wrap = func(r *rotator.Rotator) {
		db := r.Store
		client, err := graph.New(graph.Config{Logger: r.Logger, Tenants: []graph.Tenant{{
			Name: "contoso", ID: tenantID,
			Cloud: graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", Transport: w.tenant.Transport()},
			Identity: graph.Identity{Certificate: &graph.Certificate{
				ClientID: rotator.ClientID(strings.ToUpper(w.apps[0].clientID)),
				Pair: func(ctx context.Context) (rotator.KeyPair, error) {
					return rotator.IdentityPair(ctx, db, "contoso", rotator.ClientID(w.apps[0].clientID))
				},
			}},
		}}})
		must(t, err)
		r.Entra, r.Identities = client, client
		r.GenerateKey = func(int) (*rsa.PrivateKey, error) { return keys()[2], nil }
	}
	return w
}

// reads asks for app-2 as the identity.
func (w *world) reads(r *rotator.Rotator) error {
	two := w.apps[1]
	_, err := r.Entra.Keys(w.t.Context(), rotator.Access{Registration: rotator.Registration{
		App: two.name, Tenant: "contoso", ClientID: rotator.ClientID(two.clientID), ObjectID: rotator.ObjectID(two.objectID),
	}}, false)
	return err
}

// TestOwnIdentity: the certificate by which the daemon itself signs in is replaced
// while it runs, forward and back; the identity works at every moment.
func TestOwnIdentity(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprintf("back=%v", back), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := ownIdentity(t)
				r, closeStore := w.rotator()
				must(t, w.reads(r))
				stop := run(t, r)
				goal := rotator.PhaseRetired
				if back {
					goal = rotator.PhaseRolledBack
				}
				await(t, r, "app-1", 48*time.Hour, string(goal), func(s rotator.AppStatus) bool {
					if err := w.reads(r); err != nil {
						t.Fatalf("in phase %s the identity does not work: %v", s.Phase, err)
					}
					if back && s.Phase == rotator.PhaseConfirmed {
						if _, err := r.RollBack(t.Context(), "app-1", "a person"); err != nil {
							t.Fatal(err)
						}
					}
					return s.Phase == goal
				})
				time.Sleep(2 * time.Hour) // old tokens end
				must(t, w.reads(r))
				stop()
				closeStore()
				w.checkTenant()
			})
		})
	}
}

// TestOwnIdentityCrash dies before and after each effect of that rotation; the
// process that follows can sign in as the identity at once, and brings it to its
// end.
func TestOwnIdentityCrash(t *testing.T) {
	crashLines(t, 4*time.Second, func(at int, after bool) (reached bool) {
		synctest.Test(t, func(t *testing.T) {
			w := ownIdentity(t)
			own := w.wrap
			c := &crasher{at: at, after: after, dead: make(chan struct{})}
			w.wrap = func(r *rotator.Rotator) {
				own(r)
				r.Store, r.Entra, r.Deliverer = crashStore{r.Store, c}, crashEntra{r.Entra, c}, crashDeliverer{r.Deliverer, c}
			}
			r, closeStore := w.rotator()
			stop := run(t, r)
			live(t, w, r, c, false, rotator.PhaseRetired)
			stop()
			closeStore()
			reached = c.reached()
			w.wrap = own
			r, closeStore = w.rotator()
			if err := w.reads(r); err != nil {
				t.Errorf("died at effect %d (%s), after=%v: the identity does not work: %v", at, c.what, after, err)
			}
			stop = run(t, r)
			await(t, r, "app-1", 48*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			must(t, w.reads(r))
			await(t, r, "app-2", 48*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			closeStore()
			w.checkTenant()
		})
		return reached
	})
}

// TestOwnIdentityHolds: while the identity cannot sign in anew, its old certificate
// stays.
func TestOwnIdentityHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ownIdentity(t)
		own, broken := w.wrap, true
		w.wrap = func(r *rotator.Rotator) {
			own(r)
			r.Identities = stubborn{r.Identities, &broken}
		}
		r, closeStore := w.rotator()
		stop := run(t, r)
		await(t, r, "app-1", 48*time.Hour, "held", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		if n := len(w.tenant.KeyCredentials(w.apps[0].clientID)); n != 3 {
			t.Errorf("%d certificates on the identity, want the foreign one, the old and the new", n)
		}
		broken = false
		await(t, r, "app-1", 48*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		closeStore()
		w.checkTenant()
	})
}

// TestOwnIdentityCut gives the identity's certificate up at once: before it is
// removed, which is right after the proof, the identity signs in with the new one.
func TestOwnIdentityCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ownIdentity(t)
		w.outage.Store(true)
		own := w.wrap
		var renewed []rotator.Thumbprint
		w.wrap = func(r *rotator.Rotator) {
			own(r)
			r.Identities = noting{r.Identities, r.Store, &renewed}
		}
		r, closeStore := w.rotator()
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current", CutNow: true}, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		await(t, r, "app-1", 48*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		await(t, r, "app-2", 48*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		must(t, w.reads(r))
		stop()
		closeStore()
		w.checkTenant()
		if len(renewed) == 0 || slices.Contains(renewed, w.apps[0].first) {
			t.Errorf("the identity signed in anew with %v, want the new pair, not %s", renewed, w.apps[0].first)
		}
	})
}

// noting notes with which pair the identity signs in anew.
type noting struct {
	rotator.Identities
	store   rotator.Store
	renewed *[]rotator.Thumbprint
}

func (n noting) RenewIdentity(ctx context.Context, app rotator.Registration) error {
	pair, err := rotator.IdentityPair(ctx, n.store, app.Tenant, app.ClientID)
	if err != nil {
		return err
	}
	*n.renewed = append(*n.renewed, pair.Thumbprint())
	return n.Identities.RenewIdentity(ctx, app)
}

type stubborn struct {
	rotator.Identities
	broken *bool
}

func (s stubborn) RenewIdentity(ctx context.Context, app rotator.Registration) error {
	if *s.broken {
		return errors.New("no")
	}
	return s.Identities.RenewIdentity(ctx, app)
}

func TestOwnIdentityIsSelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ownIdentity(t)
		r, closeStore := w.rotator()
		defer closeStore()
		managed := rotator.ModeManaged
		_, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Mode: &managed}, "test")
		if !errors.Is(err, rotator.ErrUsage) || !strings.Contains(err.Error(), "must roll its own key") {
			t.Errorf("managed mode for the identity itself: %v", err)
		}
		if _, _, err := r.Edit(t.Context(), "app-2", rotator.Edit{Mode: &managed}, "test"); err != nil {
			t.Errorf("managed mode for another app: %v", err)
		}
	})
}
