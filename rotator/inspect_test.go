package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// inspector wires what an inspection needs.
func (w *world) inspector() (*rotator.Rotator, func()) {
	w.t.Helper()
	r, closeStore := w.rotator()
	client, ok := r.Entra.(*graph.Client)
	if !ok {
		w.t.Fatal("Entra is not the client")
	}
	r.Inventory, r.Rights, r.Tenants = client, client, []string{"contoso"}
	return r, closeStore
}

// told are the events since it was last called: kind, severity, stage and summary.
func (w *world) told(r *rotator.Rotator) []string {
	w.t.Helper()
	db, ok := r.Store.(*store.Store)
	if !ok {
		w.t.Fatalf("the store is a %T", r.Store)
	}
	queued, err := db.EventsAfter(w.t.Context(), w.heard, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var lines []string
	for _, q := range queued {
		w.heard = q.Number
		lines = append(lines, fmt.Sprintf("%s %s %s %s", q.Event.Kind, q.Event.Severity, q.Event.Stage, q.Event.Summary))
	}
	return lines
}

func (w *world) wantTold(r *rotator.Rotator, want ...string) {
	w.t.Helper()
	got := w.told(r)
	ok := len(got) == len(want)
	for i := range want {
		ok = ok && i < len(got) && strings.Contains(got[i], want[i])
	}
	if !ok {
		w.t.Errorf("told:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func inspect(t *testing.T, r *rotator.Rotator) {
	t.Helper()
	if err := r.Inspect(t.Context()); err != nil {
		t.Fatalf("inspect: %v", err)
	}
}

func TestInspectForeign(t *testing.T) {
	for name, o := range map[string]options{
		"managed":           {mode: rotator.ModeManaged},
		"self":              {},
		"self, by itself":   {left: 400 * 24 * time.Hour},
		"self, cannot read": {permissions: []string{}, left: 401 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o.left = max(o.left, 100*24*time.Hour)
				w := newWorld(t, o)
				r, closeStore := w.inspector()
				defer closeStore()
				blind := o.left > 400*24*time.Hour
				if o.left >= 400*24*time.Hour { // the identity may not list
					if err := w.tenant.Withdraw(w.admin.ClientID, "Application.ReadWrite.OwnedBy"); err != nil {
						t.Fatal(err)
					}
				}
				inspect(t, r) // what was there before is the app's business
				w.wantTold(r)
				one := w.apps[0]
				id, err := w.tenant.AddKeyCredential(one.clientID, emulator.KeyCredential{
					DisplayName: "evil\x1b[2J\nname", Certificate: certificate(t, keys()[2], "evil", time.Now().Add(-time.Hour), time.Now().Add(300*24*time.Hour)),
				})
				if err != nil {
					t.Fatal(err)
				}
				inspect(t, r)
				if blind {
					w.wantTold(r)
					return
				}
				w.wantTold(r, `foreign_credential warning  app app-1: a credential that rotate did not make appeared on it: certificate `+id+` ("evil\x1b[2J\nname")`)
				inspect(t, r)
				w.wantTold(r) // once
				if err := w.tenant.RemoveKeyCredential(one.clientID, id); err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				inspect(t, r)
				if since := time.Since(begun); since < 2*time.Minute {
					t.Errorf("absent was settled after %s, want five readings over two minutes", since)
				}
				w.wantTold(r, "foreign_credential info  app app-1: a credential that rotate did not make are gone from it: certificate "+id)
				inspect(t, r)
				w.wantTold(r)
				s, err := w.tenant.AddSecret(one.clientID, emulator.Secret{DisplayName: "quick", End: time.Now().Add(40 * 24 * time.Hour)})
				if err != nil {
					t.Fatal(err)
				}
				inspect(t, r)
				got := w.told(r)
				if len(got) == 0 || !strings.Contains(got[0], "secret "+s.KeyID) {
					t.Errorf("told %q, want the secret", got)
				}
			})
		})
	}
}

func TestInspectMissing(t *testing.T) {
	for name, o := range map[string]options{
		"managed":                   {mode: rotator.ModeManaged, left: 100 * 24 * time.Hour},
		"self":                      {left: 100 * 24 * time.Hour},
		"self, the tenant is blind": {left: 101 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, o)
				w.outage.Store(true)
				r, closeStore := w.inspector()
				defer closeStore()
				if o.left > 100*24*time.Hour {
					if err := w.tenant.Withdraw(w.admin.ClientID, "Application.ReadWrite.OwnedBy"); err != nil {
						t.Fatal(err)
					}
				}
				one := w.apps[0]
				var ours emulator.KeyCredential
				for _, k := range w.tenant.KeyCredentials(one.clientID) {
					if k.KeyID == one.keyID {
						ours = k
					}
				}
				inspect(t, r)
				if err := w.tenant.RemoveKeyCredential(one.clientID, one.keyID); err != nil {
					t.Fatal(err)
				}
				inspect(t, r)
				w.wantTold(r, "certificate_missing critical  app app-1: the certificate ")
				inspect(t, r)
				w.wantTold(r)
				s, err := r.Status(t.Context())
				if err != nil || !s.Apps[0].Attention || !strings.Contains(s.Apps[0].App.Hold, "rotate now app-1 --force") {
					t.Errorf("attention %v, hold %q, err %v", s.Apps[0].Attention, s.Apps[0].App.Hold, err)
				}
				if _, err := w.tenant.AddKeyCredential(one.clientID, ours); err != nil {
					t.Fatal(err)
				}
				// A self-reading app keeps its old token for an hour.
				time.Sleep(2 * time.Hour)
				inspect(t, r)
				w.wantTold(r, "recovered info  app app-1: its certificate is on the app in Entra again")
				if s, err := r.Status(t.Context()); err != nil || s.Apps[0].Attention || s.Apps[0].App.Hold != "" {
					t.Errorf("attention %v, hold %q, err %v; want none", s.Apps[0].Attention, s.Apps[0].App.Hold, err)
				}
			})
		})
	}
}

// TestInspectLag: a replica that lags is not taken for a missing certificate.
func TestInspectLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged, left: 100 * 24 * time.Hour})
		r, closeStore := w.inspector()
		defer closeStore()
		inspect(t, r)
		w.tenant.ReadLag = time.Minute
		ours := w.tenant.KeyCredentials(w.apps[0].clientID)[1]
		w.outage.Store(true)
		if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, ours.KeyID); err != nil {
			t.Fatal(err)
		}
		if _, err := w.tenant.AddKeyCredential(w.apps[0].clientID, ours); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			inspect(t, r)
		}
		w.wantTold(r)
	})
}

func TestInspectDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged, apps: 2, left: 100 * 24 * time.Hour})
		w.outage.Store(true)
		r, closeStore := w.inspector()
		defer closeStore()
		inspect(t, r)
		if err := w.tenant.DeleteApplication(w.apps[1].clientID); err != nil {
			t.Fatal(err)
		}
		inspect(t, r)
		w.wantTold(r, "certificate_missing critical  app app-2: the app registration is gone from Entra")
		inspect(t, r)
		w.wantTold(r)
	})
}

// TestInspectRotation: what a rotation adds and removes is no surprise.
func TestInspectRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged})
		r, closeStore := w.inspector()
		inspect(t, r)
		stop := run(t, r)
		for _, phase := range []rotator.Phase{rotator.PhaseUploaded, rotator.PhaseDelivered, rotator.PhaseConfirmed, rotator.PhaseRetired} {
			await(t, r, "app-1", 48*time.Hour, string(phase), func(s rotator.AppStatus) bool {
				return s.Rotation != nil && !s.Rotation.PhaseAt[phase].IsZero()
			})
			inspect(t, r)
		}
		stop()
		for _, line := range w.told(r) {
			if strings.HasPrefix(line, "foreign_credential") || strings.HasPrefix(line, "certificate_missing") {
				t.Errorf("told: %s", line)
			}
		}
		closeStore()
		w.checkTenant()
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged, left: 300 * 24 * time.Hour})
		r, closeStore := w.inspector()
		defer closeStore()
		for i, days := range []int{-1, 5, 20, 45, 90} {
			_, err := w.tenant.AddApplication(emulator.Application{
				Name: fmt.Sprintf("other %d", i), Secrets: []emulator.Secret{{Start: time.Now().Add(-90 * 24 * time.Hour), End: time.Now().Add(time.Duration(days) * 24 * time.Hour)}},
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Watch(t.Context(), "fabrikam", true, "test"); !errors.Is(err, rotator.ErrUsage) {
			t.Errorf("watch of an unknown tenant: %v", err)
		}
		if err := r.Watch(t.Context(), "contoso", true, "test"); err != nil {
			t.Fatal(err)
		}
		inspect(t, r)
		w.wantTold(r, `expiring critical 7d tenant contoso: 3 credentials of apps that are not rotated end: secret `)
		inspect(t, r)
		w.wantTold(r)
		time.Sleep(3 * 24 * time.Hour) // the first has 2 days left, no other passed a stage
		inspect(t, r)
		w.wantTold(r, `expiring critical 3d tenant contoso: 1 credential of apps that are not rotated end: `)
		time.Sleep(3 * 24 * time.Hour)
		inspect(t, r)
		w.wantTold(r, "expiring critical expired tenant contoso: 2 credentials") // and the one with 14 days
		if err := r.Watch(t.Context(), "contoso", false, "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * 24 * time.Hour)
		inspect(t, r)
		w.wantTold(r)
	})
}

// TestForeignEnds: a foreign credential of a tracked app is told of at its stages.
func TestForeignEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{mode: rotator.ModeManaged, left: 300 * 24 * time.Hour})
		r, closeStore := w.inspector()
		defer closeStore()
		if _, err := w.tenant.AddSecret(w.apps[0].clientID, emulator.Secret{DisplayName: "the vendor's", End: time.Now().Add(31 * 24 * time.Hour)}); err != nil {
			t.Fatal(err)
		}
		inspect(t, r)
		w.wantTold(r, `expiring warning 45d app app-1: the secret `)
		time.Sleep(48 * time.Hour)
		inspect(t, r)
		w.wantTold(r, `expiring warning 30d app app-1: the secret `)
		inspect(t, r)
		w.wantTold(r)
	})
}

// TestInspectCrash dies at each write of an inspection and goes on: everything is
// told, nothing twice.
func TestInspectCrash(t *testing.T) {
	for at := 1; ; at++ {
		reached := false
		for _, after := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, options{mode: rotator.ModeManaged, apps: 2, left: 300 * 24 * time.Hour})
				w.outage.Store(true)
				r, closeStore := w.inspector()
				if _, err := w.tenant.AddSecret(w.apps[0].clientID, emulator.Secret{End: time.Now().Add(30*24*time.Hour + time.Minute)}); err != nil {
					t.Fatal(err)
				}
				inspect(t, r)
				w.told(r)
				time.Sleep(time.Hour)
				if _, err := w.tenant.AddSecret(w.apps[0].clientID, emulator.Secret{}); err != nil {
					t.Fatal(err)
				}
				if err := w.tenant.RemoveKeyCredential(w.apps[1].clientID, w.apps[1].keyID); err != nil {
					t.Fatal(err)
				}
				c := &crashingStore{Store: r.Store, at: at, after: after}
				db := r.Store
				r.Store = c
				err := r.Inspect(t.Context())
				reached = reached || c.n >= at
				if c.n >= at && err == nil {
					t.Error("the crash was not noticed")
				}
				r.Store = db
				closeStore()
				r, closeStore = w.inspector()
				defer closeStore()
				inspect(t, r)
				kinds := map[string]int{}
				for _, line := range w.told(r) {
					kinds[strings.Fields(line)[0]]++
				}
				want := map[string]int{"foreign_credential": 1, "certificate_missing": 1, "expiring": 1}
				if diff := cmp.Diff(want, kinds); diff != "" {
					t.Errorf("crash at write %d (after: %v), told (-want +got):\n%s", at, after, diff)
				}
			})
		}
		if !reached {
			if at < 4 {
				t.Errorf("only %d writes", at-1)
			}
			return
		}
	}
}

// crashingStore fails at one write and at all after it.
type crashingStore struct {
	rotator.Store
	n, at int
	after bool
}

func (c *crashingStore) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	c.n++
	if c.n < c.at {
		return c.Store.Change(ctx, app, change)
	}
	if c.n == c.at && c.after {
		if err := c.Store.Change(ctx, app, change); err != nil {
			return err
		}
	}
	return errCrash
}
