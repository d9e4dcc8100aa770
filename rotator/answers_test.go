package rotator_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestTenantAnswers has Entra refuse in each way that it is known to: the
// rotation says what is wrong and what to do, and goes on once it is mended.
func TestTenantAnswers(t *testing.T) {
	graphFault := func(suffix string, f emulator.Fault) func(w *world) func() {
		return func(w *world) func() {
			w.tenant.Configure(func(e *emulator.Tenant) {
				e.Intercept = func(q emulator.Request) *emulator.Fault {
					w.watch(q)
					if strings.HasSuffix(q.Path, suffix) && q.Method != http.MethodGet {
						return &f
					}
					return nil
				}
			})
			return func() { w.tenant.Configure(func(e *emulator.Tenant) { e.Intercept = w.watch }) }
		}
	}
	for name, test := range map[string]struct {
		o      options
		breaks func(w *world) (mend func())
		class  rotator.Class
		reason rotator.Reason
		says   []string
	}{
		"401 with a bad proof": {
			breaks: graphFault("/addKey", emulator.Fault{Status: 401, Code: "Authentication_MissingOrMalformed", Message: "Access Token missing or malformed."}),
			class:  rotator.ClassWait, reason: rotator.ReasonBadProof, says: []string{"app app-1", "add certificate", "401"},
		},
		"403": {
			o: options{mode: rotator.ModeManaged},
			breaks: func(w *world) func() {
				_ = w.tenant.SetOwners(w.apps[0].clientID)
				return func() { _ = w.tenant.SetOwners(w.apps[0].clientID, w.admin.ClientID) }
			},
			class: rotator.ClassFix, reason: rotator.ReasonForbidden, says: []string{"app app-1", "403", "Authorization_RequestDenied"},
		},
		"409": {
			breaks: graphFault("/addKey", emulator.Fault{Status: 409, Code: "Directory_ConcurrencyViolation", Message: "Error due to concurrent requests"}),
			class:  rotator.ClassWait, reason: rotator.ReasonConflict, says: []string{"409"},
		},
		"429": {
			breaks: graphFault("/addKey", emulator.Fault{Status: 429, RetryAfter: 90 * time.Second}),
			class:  rotator.ClassWait, reason: rotator.ReasonThrottled, says: []string{"429"},
		},
		"503": {
			breaks: graphFault("/addKey", emulator.Fault{Status: 503}),
			class:  rotator.ClassWait, reason: rotator.ReasonUnavailable, says: []string{"503"},
		},
		"app disabled": {
			breaks: func(w *world) func() {
				_ = w.tenant.SetDisabled(w.apps[0].clientID, true)
				return func() { _ = w.tenant.SetDisabled(w.apps[0].clientID, false) }
			},
			class: rotator.ClassFix, reason: rotator.ReasonDisabled, says: []string{"disabled"},
		},
	} {
		o := test.o
		o.defaults = fast()
		o.defaults.UploadLimit = &rotator.UploadLimit{PerHour: 50, PerDay: 500}
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			mend := test.breaks(w)
			stop := run(t, r)
			s := await(t, r, "app-1", 2*time.Hour, "in trouble", func(s rotator.AppStatus) bool { return s.Trouble != nil })
			if s.Trouble.Class != test.class || s.Trouble.Reason != test.reason {
				t.Errorf("trouble is %s/%s, want %s/%s", s.Trouble.Class, s.Trouble.Reason, test.class, test.reason)
			}
			for _, word := range test.says {
				if !strings.Contains(s.Trouble.Message, word) {
					t.Errorf("message %q does not say %q", s.Trouble.Message, word)
				}
			}
			if test.class == rotator.ClassFix && (s.Trouble.Next == "" || !s.Attention) {
				t.Errorf("a person must act and is not told how: next %q, attention %v", s.Trouble.Next, s.Attention)
			}
			if s.Trouble.RetryAt.IsZero() {
				t.Error("no next try")
			}
			mend()
			await(t, r, "app-1", 40*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestAppDeleted has the app registration deleted in mid-rotation.
func TestAppDeleted(t *testing.T) {
	for _, mode := range []rotator.Mode{rotator.ModeSelf, rotator.ModeManaged} {
		bubble(t, string(mode), options{mode: mode}, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			await(t, r, "app-1", time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
			w.outage.Store(true)
			if err := w.tenant.DeleteApplication(w.apps[0].clientID); err != nil {
				t.Fatal(err)
			}
			// It was accepted a moment ago, so that is believed after some tries only.
			s := await(t, r, "app-1", 5*time.Hour, "refused", func(s rotator.AppStatus) bool { return s.Trouble != nil })
			if s.Trouble.Class != rotator.ClassWait {
				t.Errorf("class is %s (%s), want wait at first", s.Trouble.Class, s.Trouble.Message)
			}
			s = await(t, r, "app-1", 2*time.Hour, "gone", func(s rotator.AppStatus) bool {
				return s.Trouble != nil && s.Trouble.Class == rotator.ClassGone
			})
			if s.Trouble.Next == "" || !s.Attention {
				t.Errorf("next %q, attention %v: a person must act", s.Trouble.Next, s.Attention)
			}
			stop()
		})
	}
}

// TestPolicyRefusesLifetime has the tenant limit how long certificates live.
func TestPolicyRefusesLifetime(t *testing.T) {
	limit := 90 * 24 * time.Hour
	bubble(t, "readable: the plan keeps to it", options{mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
		t := w.t
		w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: limit})
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		if life := s.App.Current.NotAfter.Sub(s.App.Current.NotBefore); life > limit || life < limit-time.Hour {
			t.Errorf("the new certificate lives %s, the policy allows %s", life, limit)
		}
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "unreadable: the message says it", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		id := w.tenant.SetDefaultPolicy(&emulator.Policy{MaxLifetime: limit})
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "refused", func(s rotator.AppStatus) bool { return s.App.Trouble != nil })
		if s.Trouble.Reason != rotator.ReasonPolicy || !strings.Contains(s.Trouble.Message, id) {
			t.Errorf("trouble %s %q does not name the policy %s", s.Trouble.Reason, s.Trouble.Message, id)
		}
		if s.Open {
			t.Error("a rotation whose certificate will never be accepted is still open")
		}
		shorter := rotator.PolicyOverride{Validity: new(80 * 24 * time.Hour)}
		if _, _, err := r.Edit(t.Context(), "app-1", rotator.Edit{Policy: &shorter}, "a person"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 20*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestSlowPropagation has the token service learn of keys after ten minutes.
func TestSlowPropagation(t *testing.T) {
	for name, o := range map[string]options{"self": {}, "unreadable": {permissions: []string{}}, "managed": {mode: rotator.ModeManaged}} {
		o.defaults = fast()
		o.defaults.Prove = &rotator.ProvePolicy{Successes: 3, Spacing: time.Minute, Within: time.Hour}
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			w.tenant.Configure(func(e *emulator.Tenant) { e.Propagation = 10 * time.Minute })
			stop := run(t, r)
			s := await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			if proven := s.Rotation.PhaseAt[rotator.PhaseProven].Sub(s.Rotation.PhaseAt[rotator.PhaseUploaded]); proven < 5*time.Minute {
				t.Errorf("proven %s after the upload: before all replicas can know it", proven)
			}
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestConditionalAccess lets the app sign in from elsewhere only: the rotation
// goes on, its consumer confirms.
func TestConditionalAccess(t *testing.T) {
	o := options{mode: rotator.ModeManaged}
	bubble(t, "managed, blocked from the start", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		_ = w.tenant.BlockSignIn(w.apps[0].clientID, true)
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "waiting for a person", func(s rotator.AppStatus) bool { return s.WaitingFor == rotator.WaitingPerson })
		if !s.Rotation.Proof.Unprovable || !strings.Contains(strings.Join(s.Warnings, " "), "cannot be proven from this host") {
			t.Errorf("warnings %q", s.Warnings)
		}
		if _, err := r.Confirm(t.Context(), "app-1", s.Rotation.New.ThumbprintSHA1[:8], "", "a person"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestWithdrawnPermission takes a permission from the app before and during its
// rotation: what both certificates lack is a warning.
func TestWithdrawnPermission(t *testing.T) {
	o := options{spec: func(s *rotator.AppSpec) {
		s.Permissions = vendor()
		s.Probe = []string{"/users?$top=1"}
	}}
	bubble(t, "role and probe", o, func(w *world, r *rotator.Rotator) {
		t := w.t
		for _, p := range []string{"User.Read.All", "Directory.Read.All"} {
			if err := w.tenant.Withdraw(w.apps[0].clientID, p); err != nil {
				t.Fatal(err)
			}
		}
		stop := run(t, r)
		s := await(t, r, "app-1", 5*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		warned := strings.Join(s.Rotation.Warnings, "\n")
		if !strings.Contains(warned, "User.Read.All") || !strings.Contains(warned, "probe /users?$top=1") {
			t.Errorf("warnings %q name neither role nor probe", warned)
		}
		stop()
		w.checkTenantWith(r)
	})
}

// TestClock sets the two clocks apart, sets one back, and suspends the daemon.
func TestClock(t *testing.T) {
	for name, skew := range some(t, 1, map[string]time.Duration{
		"entra is behind": -10 * time.Minute, "entra is ahead": 10 * time.Minute,
		"so little that sign-ins still work": 7 * time.Minute,
	}) {
		o := options{defaults: fast()}
		o.defaults.Overlap = new(2 * time.Hour)
		bubble(t, name, o, func(w *world, r *rotator.Rotator) {
			t := w.t
			stop := run(t, r)
			await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
			w.tenant.Configure(func(e *emulator.Tenant) { e.ClockSkew = skew })
			s := await(t, r, "app-1", 12*time.Hour, "stopped by the clock", func(s rotator.AppStatus) bool { return s.Trouble != nil })
			if s.Trouble.Class != rotator.ClassClock || !strings.Contains(s.Trouble.Message+s.Trouble.Next, "this host's clock") {
				t.Errorf("trouble is %s %q, next %q", s.Trouble.Class, s.Trouble.Message, s.Trouble.Next)
			}
			time.Sleep(48 * time.Hour)
			if !w.lists(w.apps[0].keyID) {
				t.Error("retired although the clocks disagree")
			}
			w.tenant.Configure(func(e *emulator.Tenant) { e.ClockSkew = 0 })
			await(t, r, "app-1", 12*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			w.checkTenantWith(r)
		})
	}
	bubble(t, "suspended for a day", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		stop := run(t, r)
		await(t, r, "app-1", 5*time.Hour, "confirmed", phaseIs(rotator.PhaseConfirmed))
		stop()
		time.Sleep(24 * time.Hour)
		stop = run(t, r)
		await(t, r, "app-1", time.Minute, "retired at once", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
}

// TestCompromise replaces a pair that a person gave up.
func TestCompromise(t *testing.T) {
	slow := fast()
	slow.Overlap, slow.ReloadWithin = new(48*time.Hour), new(time.Hour)
	type line struct {
		which  string
		cut    bool
		during rotator.Phase // "" : no rotation is open
	}
	for name, test := range some(t, 3, map[string]line{
		"current":                         {"current", false, ""},
		"current, cut now":                {"current", true, ""},
		"current while delivered":         {"current", false, rotator.PhaseDelivered},
		"current while confirmed":         {"current", false, rotator.PhaseConfirmed},
		"next while delivered":            {"next", false, rotator.PhaseDelivered},
		"next while delivered, cut now":   {"next", true, rotator.PhaseDelivered},
		"next while confirmed (in place)": {"next", false, rotator.PhaseConfirmed},
	}) {
		bubble(t, name, options{defaults: slow}, func(w *world, r *rotator.Rotator) {
			t := w.t
			var stop func()
			r.MaxStartsPerDay = 1000
			if test.during != "" {
				stop = run(t, r)
				await(t, r, "app-1", 20*time.Hour, string(test.during), phaseIs(test.during))
			} else {
				stop = run(t, &rotator.Rotator{Store: r.Store, Entra: r.Entra, Deliverer: r.Deliverer, Encoder: r.Encoder, Defaults: r.Defaults})
				stop()
			}
			w.outage.Store(test.cut)
			s, err := r.Status(t.Context(), "app-1")
			if err != nil {
				t.Fatal(err)
			}
			given := s.Apps[0].App.Current.KeyID
			if test.which == "next" {
				given = s.Apps[0].Rotation.New.KeyID
			}
			rot, err := r.Start(t.Context(), "app-1", rotator.StartRequest{Compromised: test.which, CutNow: test.cut, Force: true}, "a person")
			if err != nil {
				t.Fatal(err)
			}
			if test.during == "" {
				stop = run(t, r)
			}
			s2 := await(t, r, "app-1", 20*time.Hour, "confirmed", func(s rotator.AppStatus) bool {
				return s.Rotation.ID == rot.ID && (s.Phase == rotator.PhaseConfirmed || s.Phase == rotator.PhaseRetired)
			})
			time.Sleep(time.Minute)
			if w.lists(string(given)) {
				t.Errorf("the given-up certificate %s is still on the app once the fresh one is confirmed (%s)", given, s2.Phase)
			}
			await(t, r, "app-1", 100*time.Hour, "retired", func(s rotator.AppStatus) bool {
				return s.Rotation.ID == rot.ID && s.Phase == rotator.PhaseRetired
			})
			w.outage.Store(false)
			stop()
			w.checkTenantWith(r)
		})
	}
}

// TestBrakes holds unasked starts back: a pause, a day's limit, three failures
// in a row.
func TestBrakes(t *testing.T) {
	bubble(t, "pause ends by itself before the last safe date", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		if err := r.Pause(t.Context(), "", time.Now().Add(365*24*time.Hour), "a person"); err != nil {
			t.Fatal(err)
		}
		stop := run(t, r)
		for range 15 {
			time.Sleep(24 * time.Hour)
		}
		if n := uploads(w); n != 0 {
			t.Errorf("%d uploads while paused", n)
		}
		await(t, r, "app-1", 6*24*time.Hour, "retired in time", phaseIs(rotator.PhaseRetired))
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "a day's limit", options{apps: 6}, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.MaxStartsPerDay = 2
		stop := run(t, r)
		time.Sleep(20 * time.Hour)
		if n := uploads(w); n != 2 {
			t.Errorf("%d rotations on the first day, want 2", n)
		}
		for _, one := range w.apps {
			await(t, r, one.name, 6*24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		}
		stop()
		w.checkTenantWith(r)
	})
	bubble(t, "three failures in a row", options{apps: 6, mode: rotator.ModeManaged}, func(w *world, r *rotator.Rotator) {
		t := w.t
		r.Workers = 1
		r.MaxStartsPerDay = 100
		var mended atomic.Bool
		w.tenant.Configure(func(e *emulator.Tenant) {
			e.Intercept = func(q emulator.Request) *emulator.Fault {
				if q.IsToken() && !mended.Load() && q.ClientID != w.admin.ClientID {
					return &emulator.Fault{AADSTS: 7000112}
				}
				return nil
			}
		})
		stop := run(t, r)
		for begun := time.Now(); time.Since(begun) < 3*time.Hour; time.Sleep(time.Minute) {
			if s, err := r.Status(t.Context()); err != nil || s.Stopped != "" {
				break
			}
		}
		s, err := r.Status(t.Context())
		if err != nil || s.Stopped == "" {
			t.Fatalf("nothing stopped after three failures: %v", err)
		}
		started := uploads(w)
		time.Sleep(24 * time.Hour)
		if n := uploads(w); n != started {
			t.Errorf("%d more rotations started although the brake holds", n-started)
		}
		mended.Store(true)
		if _, err := r.Resume(t.Context(), "", false, "a person"); err != nil {
			t.Fatal(err)
		}
		for _, one := range w.apps {
			await(t, r, one.name, 6*24*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		}
		stop()
		w.checkTenantWith(r)
	})
}
