package rotator_test

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestP13ObjectIDOfAnother has a person give one app the object ID of another: it
// is refused where it is typed, and by each reading should it be in the records.
func TestP13ObjectIDOfAnother(t *testing.T) {
	for _, mode := range []rotator.Mode{rotator.ModeManaged, rotator.ModeSelf} {
		bubble(t, string(mode), options{apps: 2, mode: mode}, func(w *world, r *rotator.Rotator) {
			t := w.t
			if err := r.Pause(t.Context(), "app-2", time.Now().Add(10*24*time.Hour), "p"); err != nil {
				t.Fatal(err) // it would change its own list
			}
			before := w.notOurs(w.apps[1].clientID, nil)
			other := rotator.ObjectID(w.apps[1].objectID)
			_, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{ObjectID: &other}, "p")
			if !errors.Is(err, rotator.ErrUsage) || !strings.Contains(err.Error(), "another app registration") {
				t.Errorf("edit: %v, want a refusal that says whose it is", err)
			}
			// A store of an earlier version may hold it.
			err = r.Store.Change(t.Context(), "app-1", func(rec *rotator.Records) error {
				rec.App.ObjectID = other
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
				t.Fatal(err)
			}
			stop := run(t, r)
			s := await(t, r, "app-1", time.Hour, "failing", func(s rotator.AppStatus) bool { return s.Trouble != nil })
			if !strings.Contains(s.Trouble.Message, "another app registration") || !strings.Contains(s.Trouble.Next, "--object-id") {
				t.Errorf("trouble %q, next %q", s.Trouble.Message, s.Trouble.Next)
			}
			stop()
			if after := w.notOurs(w.apps[1].clientID, nil); !slices.Equal(before, after) {
				t.Errorf("the other app carried %d credentials and carries %d", len(before), len(after))
			}
			// What is advised works.
			own := rotator.ObjectID(w.apps[0].objectID)
			if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{ObjectID: &own}, "p"); err != nil {
				t.Fatal(err)
			}
			stop = run(t, r)
			await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
		})
	}
}

// TestP16PauseHoldsRollBack pauses all while a roll back is under way: nothing is
// delivered and nothing removed before the pause ends.
func TestP16PauseHoldsRollBack(t *testing.T) {
	bubble(t, "roll back", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err != nil {
			t.Fatal(err)
		}
		if err := r.Pause(t.Context(), "", time.Now().Add(5*24*time.Hour), "p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		if !w.lists(string(s.Rotation.New.KeyID)) {
			t.Error("a certificate was removed while all was paused")
		}
		if _, err := r.Resume(t.Context(), "", false, "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		stop()
		w.checkTenantWith(r)
	})
}

// TestP21ScheduleOfReload changes the schedule by a reload: what counts as a late
// check follows the schedule in force.
func TestP21ScheduleOfReload(t *testing.T) {
	bubble(t, "reload", options{left: 300 * 24 * time.Hour}, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.Schedule, r.Expected = every(time.Minute), every(time.Minute)
		stop := run(t, r)
		time.Sleep(5 * time.Minute)
		err := r.Reconfigure(t.Context(), rotator.Settings{
			Entra: r.Entra, Deliverer: r.Deliverer, Defaults: r.Defaults, Registrar: r.Registrar,
			Schedule: every(24 * time.Hour), Expected: every(24 * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Hour)
		s, err := r.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Problems) > 0 {
			t.Errorf("problems %v although the schedule in force asks for a check a day", s.Problems)
		}
		stop()
	})
}

// TestP7PolicyShorterThanOverlap has the tenant allow certificates for less time
// than the overlap: none expires in its own overlap, and each gets its successor.
// Where not even a rotation fits, none starts, and that is critical at once.
func TestP7PolicyShorterThanOverlap(t *testing.T) {
	slow := rotator.PolicyOverride{Prove: &rotator.ProvePolicy{Successes: 3, Spacing: 30 * time.Second, Within: 6 * time.Hour}}
	modes := map[string]rotator.Mode{"managed": rotator.ModeManaged, "self": rotator.ModeSelf}
	for name, mode := range some(t, 1, modes) {
		bubble(t, "10 days, "+name, options{mode: mode, defaults: slow}, func(w *world, r *rotator.Rotator) {
			t := w.t
			w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 10 * 24 * time.Hour})
			if mode == rotator.ModeSelf {
				// A refusal of an earlier rotation, or a person, told the limit.
				err := r.Store.Change(t.Context(), "app-1", func(rec *rotator.Records) error {
					rec.App.LifetimeLimit = 10 * 24 * time.Hour
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			stop := run(t, r)
			for range 30 {
				time.Sleep(24 * time.Hour)
				if why := w.lockedOut(w.apps[0]); why != "" {
					t.Fatal(why)
				}
				app, err := r.Store.App(t.Context(), "app-1")
				if err != nil {
					t.Fatal(err)
				}
				if app.Current.NotAfter.Before(time.Now()) {
					t.Fatalf("the certificate in service expired on %s", app.Current.NotAfter)
				}
			}
			rotations, err := r.Store.Rotations(t.Context(), "app-1", 0)
			if err != nil || len(rotations) < 3 {
				t.Errorf("%d rotations in 30 days (%v), want one in each half lifetime", len(rotations), err)
			}
			stop()
		})
	}
	bubble(t, "a day", options{mode: rotator.ModeManaged, defaults: slow}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: 24 * time.Hour})
		stop := run(t, r)
		time.Sleep(2 * time.Hour)
		app, err := r.Store.App(t.Context(), "app-1")
		if err != nil {
			t.Fatal(err)
		}
		if app.LastRotation != "" || app.Trouble == nil || app.Trouble.Reason != rotator.ReasonTooShort {
			t.Errorf("rotation %q, trouble %+v; want none planned, and why", app.LastRotation, app.Trouble)
		}
		events := told(t, r, rotator.EventRotationFailed)
		if len(events) != 1 || events[0].Severity != rotator.SeverityCritical {
			t.Errorf("%d events, want one that is critical", len(events))
		}
		stop()
	})
}

// TestP5OldFilePutBack has somebody put the old file back in the overlap. The consumer
// may have read it, so its time to read and the overlap begin anew once the file is
// right again: when a person delivers it, as advised, and when somebody else puts the
// new file back between two looks at it.
func TestP5OldFilePutBack(t *testing.T) {
	for name, byHand := range map[string]bool{"delivered again as advised": false, "put back by others": true} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			await(t, r, "app-1", 5*time.Hour, "in its overlap", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingOverlap })
			written, err := os.ReadFile(w.apps[0].target)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.putBack(); err != nil {
				t.Fatal(err)
			}
			s := await(t, r, "app-1", 5*time.Hour, "stopped", func(s rotator.AppStatus) bool { return s.Trouble != nil })
			if s.Trouble.Reason != rotator.ReasonTargetChanged || !strings.Contains(s.Trouble.Next, "rotate now app-1") {
				t.Errorf("trouble %q, next %q", s.Trouble.Message, s.Trouble.Next)
			}
			if byHand {
				if err := os.WriteFile(w.apps[0].target, written, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			right := time.Now()
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
				t.Fatal(err)
			}
			s = await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			if waited := s.Rotation.PhaseAt[rotator.PhaseRetired].Sub(right); waited < time.Hour {
				t.Errorf("the old certificate was removed %s after the file was right again; want the reload time and the overlap", waited)
			}
			stop()
			w.checkTenantWith(r)
		})
	}
	bubble(t, "compromised, no overlap", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.defaults.ReloadWithin = new(20 * time.Minute)
		r.Defaults = w.defaults
		stop := run(t, r)
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current"}, "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", time.Hour, "waiting for the reload", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingReload })
		if err := w.putBack(); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "stopped", func(s rotator.AppStatus) bool { return s.Trouble != nil })
		if why := w.lockedOut(w.apps[0]); why != "" {
			t.Error(why)
		}
		again := time.Now()
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if waited := s.Rotation.PhaseAt[rotator.PhaseRetired].Sub(again); waited < 20*time.Minute {
			t.Errorf("the given-up certificate was removed %s after the delivery, before the consumer had its time to read", waited)
		}
		stop()
	})
}

// TestP10RollBackChanged has somebody change the target while a roll back waits for its
// consumer: what is advised delivers the previous file again.
func TestP10RollBackChanged(t *testing.T) {
	bubble(t, "changed", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		newer, err := os.ReadFile(w.apps[0].target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.RollBack(t.Context(), "app-1", "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", time.Hour, "handed back", func(s rotator.AppStatus) bool { return s.Rotation.Back != nil && !s.Rotation.Back.Delivered.IsZero() })
		if err := os.WriteFile(w.apps[0].target, newer, 0o600); err != nil {
			t.Fatal(err)
		}
		s := await(t, r, "app-1", 5*time.Hour, "stopped", func(s rotator.AppStatus) bool { return s.Trouble != nil || s.Phase.IsEnd() })
		if s.Trouble == nil || !strings.Contains(s.Trouble.Message, "the new certificate again") || !strings.Contains(s.Trouble.Next, "the previous certificate again: rotate now app-1") {
			t.Fatalf("phase %s, trouble %+v", s.Phase, s.Trouble)
		}
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "p"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
		if why := w.lockedOut(w.apps[0]); why != "" {
			t.Error(why)
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestP24AdoptedAsItIs adopts a PEM file without a password, whose consumer gets PFX
// files from then on: a password is made. And it adopts a certificate that has expired:
// nothing is said of a sign-in that was not made.
func TestP24AdoptedAsItIs(t *testing.T) {
	bubble(t, "PEM without a password", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		spec := w.register(vendor(), 20*24*time.Hour)
		key, err := x509.MarshalPKCS8PrivateKey(keys()[1])
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(w.dir, "new.pfx")
		spec.PFX, spec.Password, spec.NoConsumer = pemOf(w.tenant, string(spec.ClientID), key), "", false
		spec.Deliveries = []rotator.Delivery{{Kind: rotator.DeliverFile, Path: target, PasswordPath: target + ".password"}}
		added, err := r.Add(t.Context(), spec, "p")
		if err != nil || !added.SignedIn {
			t.Fatalf("add: signed in %v, %v", added.SignedIn, err)
		}
		stop := run(t, r)
		await(t, r, "new", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		password, err := os.ReadFile(target + ".password")
		if err != nil || len(password) == 0 {
			t.Fatalf("password file: %d bytes, %v", len(password), err)
		}
		file, err := os.ReadFile(target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (encoder{}).Decode(file, string(password)); err != nil {
			t.Errorf("the delivered file: %v", err)
		}
		if _, err := (encoder{}).Decode(file, ""); err == nil {
			t.Error("the delivered file opens without a password")
		}
	})
	bubble(t, "expired", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		spec := w.register(vendor(), -time.Hour)
		spec.Mode = rotator.ModeManaged
		added, err := r.Add(t.Context(), spec, "p")
		if err != nil || added.SignedIn || len(added.Roles) > 0 {
			t.Errorf("signed in %v with roles %v, %v; want no sign-in", added.SignedIn, added.Roles, err)
		}
	})
}

// TestP2TypedAtAdd has a person type the KeyID of somebody else's certificate when the
// app, which may not read itself, is added: an ordinary rotation touches neither that one
// nor, as it cannot know its entry, the old one, and says so.
func TestP2TypedAtAdd(t *testing.T) {
	bubble(t, "of somebody else", options{permissions: []string{}, typed: true}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if len(s.App.Orphans) != 1 || s.App.Orphans[0].ThumbprintSHA256 != w.apps[0].first || !s.Attention {
			t.Errorf("orphans %v, attention %t; want the old certificate left to a person", s.App.Orphans, s.Attention)
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestP4OnePairOnTwoApps adopts the same certificate for two apps, in files with two
// passwords: each consumer goes on opening its files with the password it knows.
func TestP4OnePairOnTwoApps(t *testing.T) {
	bubble(t, "two passwords", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		const other = "the password of the second"
		pair, err := encoder{}.Decode(w.apps[0].pfx, password)
		if err != nil {
			t.Fatal(err)
		}
		file, err := encoder{}.Encode("modern", pair.Key, pair.Certificate, nil, other, "")
		if err != nil {
			t.Fatal(err)
		}
		made, err := w.tenant.AddApplication(emulator.Application{
			Name: "second", Permissions: vendor(), Created: time.Now().Add(-time.Hour),
			KeyCredentials: []emulator.KeyCredential{{Certificate: pair.Certificate, DisplayName: "the same"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(w.dir, "second.pfx")
		spec := rotator.AppSpec{
			Name: "second", Tenant: "contoso", ClientID: rotator.ClientID(made.ClientID), ObjectID: rotator.ObjectID(made.ObjectID),
			PFX: file, Password: other, Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: target}},
		}
		if _, err := r.Add(t.Context(), spec, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		for _, app := range []struct{ name, target, password string }{{"app-1", w.apps[0].target, password}, {"second", target, other}} {
			s := await(t, r, app.name, 24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			delivered, err := os.ReadFile(app.target)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := (encoder{}).Decode(delivered, app.password); err != nil || p.Thumbprint() != s.App.Current.ThumbprintSHA256 {
				t.Errorf("%s: %v; its consumer cannot open the new file with the password it knows", app.name, err)
			}
		}
		stop()
	})
}

// TestCompromisedOrphan gives a pair up whose entry rotate cannot know: as long as it may
// be accepted a critical alert says so, whatever ended meanwhile.
func TestCompromisedOrphan(t *testing.T) {
	bubble(t, "unreadable", options{permissions: []string{}, typed: true}, func(w *world, r *rotator.Rotator) {
		t := w.t
		if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: "current"}, "p"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		open := func() bool {
			app, err := r.Store.App(t.Context(), "app-1")
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(app.Alerts, func(a rotator.Alert) bool {
				return a.Kind == rotator.EventRemovalUnconfirmed && a.Severity == rotator.SeverityCritical
			})
		}
		s := await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		time.Sleep(9 * 24 * time.Hour)
		if !open() {
			t.Error("the given up certificate is on the app, and no critical alert is open")
		}
		orphan := string(s.App.Orphans[0].ThumbprintSHA256)
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{ForgetOrphan: orphan}, "p"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if open() {
			t.Error("the alert is open although a person removed it")
		}
		stop()
	})
}
