package rotator_test

import (
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// bubble runs one test with a world whose clock flies.
func bubble(t *testing.T, name string, o options, f func(w *world, r *rotator.Rotator)) {
	t.Helper()
	keys()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, o)
			r, closeStore := w.rotator()
			f(w, r)
			closeStore()
			if t.Failed() {
				t.Logf("log:\n%s", w.logs.tail())
			}
		})
	})
}

// some picks n lines of a table by chance, others each time; with the tag e2e it picks
// all. What fails names its line.
func some[C any](t *testing.T, n int, table map[string]C) map[string]C {
	t.Helper()
	if everyLine {
		return table
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	names := slices.Sorted(maps.Keys(table))
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	picked := map[string]C{}
	for _, name := range names[:n] {
		picked[name] = table[name]
	}
	return picked
}

// newKeyID is the KeyID of the certificate that the open rotation uploaded.
func (w *world) newKeyID(r *rotator.Rotator) string {
	s, err := r.Status(w.t.Context(), "app-1")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(s.Apps[0].Rotation.New.KeyID)
}

// TestNewCertificateIsDeleted has somebody remove the new certificate in each
// phase. Before anybody got it the rotation ends; later it is reported and the
// old certificate stays. Nothing is uploaded again until a person says so.
func TestNewCertificateIsDeleted(t *testing.T) {
	slow := fast()
	slow.Prove = &rotator.ProvePolicy{Successes: 2, Spacing: 10 * time.Minute, Within: 40 * time.Minute}
	slow.ReloadWithin = new(3 * time.Hour)
	slow.Overlap = new(6 * time.Hour)
	modes := map[string]options{"managed": {mode: rotator.ModeManaged}, "self": {}, "unreadable": {permissions: []string{}}}
	for _, phase := range []rotator.Phase{rotator.PhaseUploaded, rotator.PhaseDelivered, rotator.PhaseConfirmed} {
		for mode, o := range some(t, 1, modes) {
			o.defaults = slow
			name := mode + " " + string(phase)
			bubble(t, name, o, func(w *world, r *rotator.Rotator) {
				t := w.t
				stop := run(t, r)
				await(t, r, "app-1", 20*time.Hour, string(phase), phaseIs(phase))
				if err := w.tenant.RemoveKeyCredential(w.apps[0].clientID, w.newKeyID(r)); err != nil {
					t.Fatal(err)
				}
				if phase != rotator.PhaseUploaded {
					w.outage.Store(true) // whoever removed it locked the consumer out, not we
				}
				if phase == rotator.PhaseUploaded {
					s := await(t, r, "app-1", 40*time.Hour, "rolled back", phaseIs(rotator.PhaseRolledBack))
					if s.Rotation.Back == nil || s.Rotation.Back.Reason != "vanished" {
						t.Errorf("ended as %+v, want reason vanished", s.Rotation.Back)
					}
					time.Sleep(48 * time.Hour)
					if n := uploads(w); n != 1 {
						t.Errorf("%d uploads, want 1: what vanished comes back only by a person", n)
					}
					if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person"); err == nil {
						t.Error("a start without force was not refused")
					}
					if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "a person"); err != nil {
						t.Errorf("forced start: %v", err)
					}
					await(t, r, "app-1", 40*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
					stop()
					w.checkTenantWith(r)
					return
				}
				s := await(t, r, "app-1", 40*time.Hour, "reported missing", func(s rotator.AppStatus) bool { return !s.Rotation.Missing.IsZero() })
				if !s.Attention || s.Trouble == nil || !strings.Contains(s.Trouble.Message, "gone from Entra") {
					t.Errorf("status is %+v, trouble %+v", s.Attention, s.Trouble)
				}
				time.Sleep(72 * time.Hour)
				if !w.lists(w.apps[0].keyID) {
					t.Error("the old certificate was retired although the new one is gone")
				}
				if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Force: true}, "a person"); err != nil {
					t.Fatalf("forced: %v", err)
				}
				await(t, r, "app-1", 40*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				stop()
				w.checkTenantWith(r)
			})
		}
	}
}

// lists reports whether the app still carries the entry.
func (w *world) lists(keyID string) bool {
	for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
		if k.KeyID == keyID {
			return true
		}
	}
	return false
}

// checkTenantWith closes the rotator's store and checks the promises.
func (w *world) checkTenantWith(r *rotator.Rotator) {
	w.t.Helper()
	if err := w.close(r); err != nil {
		w.t.Error(err)
	}
	w.checkTenant()
}

// close closes the rotator's store, which may be closed twice.
func (w *world) close(r *rotator.Rotator) error {
	w.t.Helper()
	c, ok := r.Store.(interface{ Close() error })
	if !ok {
		w.t.Fatalf("%T cannot be closed", r.Store)
	}
	return c.Close()
}

// TestOldFileIsPutBack has somebody put the old PFX back after the delivery.
// Nothing is retired, a person is told, and the new file comes back when the
// person says so.
func TestOldFileIsPutBack(t *testing.T) {
	slow := fast()
	slow.ReloadWithin, slow.Overlap = new(3*time.Hour), new(6*time.Hour)
	for _, phase := range []rotator.Phase{rotator.PhaseDelivered, rotator.PhaseConfirmed} {
		bubble(t, string(phase), options{defaults: slow}, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			await(t, r, "app-1", 20*time.Hour, string(phase), phaseIs(phase))
			if err := os.WriteFile(w.apps[0].target, w.apps[0].pfx, 0o600); err != nil {
				t.Fatal(err)
			}
			s := await(t, r, "app-1", 20*time.Hour, "noticed", func(s rotator.AppStatus) bool { return s.Trouble != nil })
			if !strings.Contains(s.Trouble.Message, "the old certificate again") || !strings.Contains(s.Trouble.Message, w.apps[0].target) {
				t.Errorf("message %q does not name what happened and where", s.Trouble.Message)
			}
			time.Sleep(72 * time.Hour)
			if !w.lists(w.apps[0].keyID) {
				t.Fatal("the old certificate was retired although the consumer holds it")
			}
			if _, err := r.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person"); err != nil {
				t.Fatal(err)
			}
			await(t, r, "app-1", 40*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestHostileTenant rotates 30 apps, in the plain run 6, against throttling, lost answers, failures,
// slow propagation and lagging reads.
func TestHostileTenant(t *testing.T) {
	apps := 30
	if !everyLine {
		apps = 6
	}
	generous := fast()
	generous.UploadLimit = &rotator.UploadLimit{PerHour: 1000, PerDay: 1000}
	for name, defaults := range map[string]rotator.PolicyOverride{"limit raised": generous, "default limit": fast()} {
		bubble(t, name, options{apps: apps, mode: rotator.ModeSelf, defaults: defaults}, func(w *world, r *rotator.Rotator) {
			t := w.t
			r.MaxStartsPerDay = 100
			w.tenant.Configure(func(e *emulator.Tenant) {
				e.ThrottlePercent, e.LoseAnswersPercent, e.FailPercent = 20, 10, 10
				e.Propagation, e.ReadLag, e.Seed = 5*time.Second, 2*time.Second, 7
			})
			w.tenant.Intercept = func(q emulator.Request) *emulator.Fault { w.watch(q); return nil }
			stop := run(t, r)
			for _, one := range w.apps {
				await(t, r, one.name, 200*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			}
			stop()
			perHour := 2
			if name == "limit raised" {
				perHour = 1000
			}
			for _, one := range w.apps {
				w.checkUploadRate(one, perHour)
			}
			w.tenant.Configure(func(e *emulator.Tenant) { e.ThrottlePercent, e.LoseAnswersPercent, e.FailPercent = 0, 0, 0 })
			w.checkTenantWith(r)
		})
	}
}

// checkUploadRate fails if any hour of the request log saw more uploads of the
// app than the limit.
func (w *world) checkUploadRate(one *tracked, perHour int) {
	w.t.Helper()
	var times []time.Time
	for _, e := range w.tenant.Requests() {
		if strings.Contains(e.Path, one.objectID) && (e.Method == http.MethodPatch || strings.HasSuffix(e.Path, "/addKey")) {
			times = append(times, e.Time)
		}
	}
	if len(times) == 0 {
		w.t.Errorf("%s: no upload in the request log", one.name)
	}
	for i, from := range times {
		n := 0
		for _, at := range times[i:] {
			if at.Sub(from) < time.Hour {
				n++
			}
		}
		if n > perHour {
			w.t.Errorf("%s: %d uploads within an hour from %s, at most %d are allowed", one.name, n, from, perHour)
		}
	}
}

// TestPatchKeepsWhatWasSeen adds a foreign certificate while the first
// certificate of a managed app is uploaded by PATCH, the only way then. Every
// entry that any read of ours showed survives.
func TestPatchKeepsWhatWasSeen(t *testing.T) {
	for name, o := range map[string]options{
		"first certificate": {mode: rotator.ModeManaged, noKey: true},
		"all expired":       {mode: rotator.ModeManaged, left: -24 * time.Hour},
	} {
		for _, lag := range []time.Duration{0, 30 * time.Second} {
			bubble(t, name+" lag "+lag.String(), o, func(w *world, r *rotator.Rotator) {
				t := w.t
				w.tenant.Configure(func(e *emulator.Tenant) { e.ReadLag = lag })
				time.Sleep(time.Minute)
				der := certificate(t, keys()[2], "a second stranger", time.Now().Add(-time.Hour), time.Now().Add(1000*time.Hour))
				var added atomic.Bool
				var seen atomic.Bool
				w.tenant.Intercept = func(q emulator.Request) *emulator.Fault {
					if q.Method == http.MethodGet && strings.HasPrefix(q.Path, "/v1.0/applications") && added.CompareAndSwap(false, true) {
						// Just before our first read.
						if _, err := w.tenant.AddKeyCredential(w.apps[0].clientID, emulator.KeyCredential{Certificate: der}); err != nil {
							t.Error(err)
						}
						seen.Store(lag == 0)
					}
					return nil
				}
				stop := run(t, r)
				await(t, r, "app-1", 40*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
				stop()
				patches := 0
				for _, e := range w.tenant.Requests() {
					if e.Method == http.MethodPatch {
						patches++
					}
				}
				if patches == 0 {
					t.Error("no PATCH in the log: the test did not test what it should")
				}
				survived := false
				for _, k := range w.tenant.KeyCredentials(w.apps[0].clientID) {
					survived = survived || string(k.Certificate) == string(der)
				}
				if !survived {
					t.Errorf("the stranger's certificate is gone (an up-to-date read showed it: %v)", seen.Load())
				}
			})
		}
	}
}

// TestSecondWriter starts a second daemon on a copy of the store, and a store
// restored from before the last rotation. Both stop and say so.
func TestSecondWriter(t *testing.T) {
	for name, o := range map[string]options{"managed": {mode: rotator.ModeManaged}, "self": {}, "unreadable": {permissions: []string{}}} {
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			old, err := os.ReadFile(w.path())
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, r)
			await(t, r, "app-1", 40*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
			stop()
			if err := w.close(r); err != nil {
				t.Fatal(err)
			}
			before := len(w.tenant.Requests())
			// The file that was restored lies in another inode, as any copy does.
			if err := os.Rename(w.path(), w.path()+".newer"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(w.path(), old, 0o600); err != nil {
				t.Fatal(err)
			}
			copied, closeCopy := w.rotator()
			stop = run(t, copied)
			time.Sleep(5 * time.Hour)
			s, err := copied.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !s.ReadOnly || !strings.Contains(s.Stopped, "copy or was restored") || !s.Apps[0].Attention {
				t.Errorf("status: read only %v, stopped %q", s.ReadOnly, s.Stopped)
			}
			if _, err := copied.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person"); err == nil {
				t.Error("a rotation started on a copy of the store")
			}
			w.noWritesSince(before)
			// A person who insists is told what differs, where that can be seen.
			seen, err := copied.Resume(t.Context(), "", false, "a person")
			if name != "unreadable" && err == nil {
				t.Errorf("resume did not notice the certificate of the newer store: %v", seen)
			}
			// Unreadable: the consumer's file still speaks of it.
			if _, err := copied.Start(t.Context(), "app-1", rotator.StartRequest{}, "a person"); err != nil && name == "unreadable" {
				t.Errorf("start: %v", err)
			}
			if name == "unreadable" {
				one := await(t, copied, "app-1", time.Hour, "stopped", func(s rotator.AppStatus) bool { return s.Trouble != nil })
				if !strings.Contains(one.Trouble.Message, "does not know") {
					t.Errorf("trouble is %q", one.Trouble.Message)
				}
			}
			stop()
			closeCopy()
			w.noWritesSince(before)
		})
	}
}

// noWritesSince fails if anything was changed in the tenant after the nth
// request.
func (w *world) noWritesSince(n int) {
	w.t.Helper()
	for _, e := range w.tenant.Requests()[n:] {
		if strings.HasPrefix(e.Path, "/v1.0/") && e.Method != http.MethodGet {
			w.t.Errorf("a store that must not write sent %s %s", e.Method, e.Path)
		}
	}
}

// TestNeverConfirmed leaves a person's rotation unconfirmed for a year: nothing
// is retired while the old certificate is valid, then the rotation closes and
// the next one starts in time.
func TestNeverConfirmed(t *testing.T) {
	o := options{spec: func(s *rotator.AppSpec) { s.Confirm.Rule = rotator.ConfirmPerson }}
	bubble(t, "year", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.Schedule = every(12 * time.Hour)
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "waiting for a person", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPerson })
		first := s.Rotation.ID
		if s.Deadline.IsZero() || !s.Attention {
			t.Errorf("deadline %s, attention %v: a person is not told", s.Deadline, s.Attention)
		}
		time.Sleep(19 * 24 * time.Hour)
		if !w.lists(w.apps[0].keyID) {
			t.Fatal("a certificate that is still valid was retired without confirmation")
		}
		for range 4 {
			time.Sleep(24 * time.Hour)
		}
		s = await(t, r, "app-1", 48*time.Hour, "closed", phaseIs(rotator.PhaseRetired))
		if s.Rotation.ID != first || s.Rotation.Confirmation != "never" {
			t.Errorf("rotation %s ended with confirmation %q, want never", s.Rotation.ID, s.Rotation.Confirmation)
		}
		for range 330 {
			time.Sleep(24 * time.Hour)
		}
		s = await(t, r, "app-1", 48*time.Hour, "rotating again", func(s rotator.AppStatus) bool { return s.Rotation.ID != first })
		if left := time.Until(s.NotAfter); left < 10*24*time.Hour {
			t.Errorf("the next rotation started %s before the end, too late", left)
		}
		code := strings.ToLower(s.Rotation.New.ThumbprintSHA1[:8])
		s = await(t, r, "app-1", 5*time.Hour, "waiting for a person", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPerson })
		if _, err := r.Confirm(t.Context(), "app-1", s.App.Current.ThumbprintSHA1[:8], "", "a person"); err == nil || !strings.Contains(err.Error(), "still has the other file") {
			t.Errorf("the code of the old pair: %v, want a refusal that names it", err)
		}
		if _, err := r.Confirm(t.Context(), "app-1", code, "seen green", "a person"); err != nil {
			t.Errorf("confirm: %v", err)
		}
		await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}
