package rotator_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestAYearLater goes the way of docs/cloudm-continuity.md from an empty tenant and
// stays for a year: the app is made, its file handed over, and 45 days before its end
// the daemon, asked by nobody, leads a person through the renewal. The consumer signs
// in every day of it, with the file that the person gave it last.
func TestAYearLater(t *testing.T) {
	keys()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, options{})
		admin := administrator(t, w)
		time.Sleep(time.Minute) // it is known everywhere
		r, closeStore := w.rotator()
		defer closeStore()
		out, err := r.Create(t.Context(), creation(rotator.ModeSelf, signedIn(t, w, admin)), "ann")
		if err != nil {
			t.Fatalf("create: %v\nsteps %v", err, out.Steps)
		}
		checkCreated(t, w, out)
		consumer := out.Certificate
		day := func() {
			t.Helper()
			time.Sleep(24 * time.Hour)
			if !slices.ContainsFunc(w.tenant.KeyCredentials(string(out.App.ClientID)), func(k emulator.KeyCredential) bool { return slices.Equal(k.Certificate, consumer) }) {
				t.Fatal("the consumer's certificate is no longer on the app")
			}
		}
		r.Schedule = every(12 * time.Hour)
		stop := run(t, r)
		began := time.Now()
		w.told(r)
		var s rotator.AppStatus
		for s = statusOfOne(t, r, "new-app"); s.Rotation == nil; s = statusOfOne(t, r, "new-app") {
			if day(); time.Since(began) > 330*24*time.Hour {
				t.Fatal("nothing began by itself")
			}
		}
		if after := time.Since(began); after < 318*24*time.Hour || s.Rotation.By != "schedule" {
			t.Errorf("renewed after %s by %s, want some 45 days before its end by the schedule", after, s.Rotation.By)
		}
		await(t, r, "new-app", 12*time.Hour, "waiting for a person", waitsForPerson)
		if told := strings.Join(w.told(r), "\n"); !strings.Contains(told, string(rotator.EventHandOffReady)) {
			t.Errorf("nobody was told that a pair waits:\n%s", told)
		}
		for range 20 { // the person takes their time
			day()
		}
		steps, err := r.HandOff(t.Context(), "new-app")
		if err != nil || steps.Rotation.ID != s.Rotation.ID {
			t.Fatalf("the steps: %+v, %v", steps, err)
		}
		given, err := r.HandOver(t.Context(), "new-app", rotator.HandOverRequest{}, "bob")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := encoder{}.Decode(given.PFX, given.Password)
		if err != nil || slices.Equal(pair.Certificate, consumer) {
			t.Fatalf("the file that was handed over: %v", err)
		}
		consumer = pair.Certificate
		if _, err := r.Confirm(t.Context(), "new-app", given.Credential.ThumbprintSHA1[:8], "test connection is green", "bob"); err != nil {
			t.Fatal(err)
		}
		await(t, r, "new-app", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
		day()
		if left := w.tenant.KeyCredentials(string(out.App.ClientID)); len(left) != 1 {
			t.Errorf("%d certificates on the app, want the new one", len(left))
		}
		if left := time.Until(statusOfOne(t, r, "new-app").NotAfter); left < 340*24*time.Hour {
			t.Errorf("the next end is in %s", left)
		}
		stop()
	})
}
