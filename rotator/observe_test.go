package rotator_test

import (
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// watched registers one more app and returns a spec that only watches it, and one
// that adopts it with its file.
func (w *world) watched(left time.Duration) (alone, whole rotator.AppSpec) {
	whole = w.register(vendor(), left)
	app, err := w.tenant.Application(string(whole.ClientID))
	if err != nil {
		w.t.Fatal(err)
	}
	alone = whole
	alone.PFX, alone.Password = nil, ""
	alone.Certificate = app.KeyCredentials[0].Certificate
	return alone, whole
}

func statusOfOne(t *testing.T, r *rotator.Rotator, name string) rotator.AppStatus {
	t.Helper()
	s, err := r.Status(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return s.Apps[0]
}

// TestWatchedOnly follows an app of which only the certificate is known: its
// stages are told up to its end, nothing is sent to Entra that changes anything,
// and nothing rotates it, asked or not.
func TestWatchedOnly(t *testing.T) {
	bubble(t, "", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		spec, _ := w.watched(50 * 24 * time.Hour)
		added, err := r.Add(t.Context(), spec, "test")
		if err != nil {
			t.Fatal(err)
		}
		if added.App.Mode != rotator.ModeMonitor || added.App.Current == nil || added.App.Current.KeyID == "" || added.App.ObjectID == "" {
			t.Fatalf("added %+v; want mode monitor with key ID and object ID as Entra lists them", added.App)
		}
		if s := statusOfOne(t, r, "new"); s.Attention || s.Late || !s.DueAt.IsZero() || !s.LastSafeStart.IsZero() || !strings.Contains(strings.Join(s.Warnings, " "), "only watched") {
			t.Errorf("status %+v; want no dates of a rotation, and the word", s)
		}
		if _, err := r.Start(t.Context(), "new", rotator.StartRequest{Force: true}, "test"); !errors.Is(err, rotator.ErrRefused) || !strings.Contains(err.Error(), "--pfx") {
			t.Errorf("start: %v; want a refusal that says how", err)
		}
		var items []rotator.PlanItem
		err = r.Plan(t.Context(), func(item rotator.PlanItem) bool { items = append(items, item); return true })
		if err != nil || !slices.ContainsFunc(items, func(i rotator.PlanItem) bool {
			return i.App == "new" && strings.Contains(i.Action, "only watched") && i.At.IsZero() && i.LastSafeStart.IsZero()
		}) {
			t.Errorf("plan %+v, %v", items, err)
		}
		checks, err := r.Test(t.Context(), "new")
		if err != nil || len(checks) != 1 || !strings.Contains(checks[0].Fact, "only watched") {
			t.Errorf("test %+v, %v", checks, err)
		}
		before := len(w.tenant.Requests())
		w.told(r)
		for range 60 {
			time.Sleep(24 * time.Hour)
			if _, err := r.Check(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
		}
		var stages []string
		for _, line := range w.told(r) {
			if fields := strings.Fields(line); fields[0] == "expiring" && strings.Contains(line, "only watched") && !strings.Contains(line, "still, since") {
				stages = append(stages, fields[2])
			}
		}
		if want := []string{"45d", "30d", "14d", "7d", "3d", "1d", "expired"}; !slices.Equal(stages, want) {
			t.Errorf("told %v, want %v", stages, want)
		}
		if s := statusOfOne(t, r, "new"); !s.Attention || s.Rotation != nil {
			t.Errorf("status after its end: attention %v, rotation %v", s.Attention, s.Rotation)
		}
		w.noWritesSince(before)
	})
}

// TestWatchedBecomesRotated adds the file later, and a replaced certificate.
func TestWatchedBecomesRotated(t *testing.T) {
	bubble(t, "", options{}, func(w *world, r *rotator.Rotator) {
		t := w.t
		spec, whole := w.watched(50 * 24 * time.Hour)
		spec.Certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: spec.Certificate})
		spec.Owner = "backup team"
		if _, err := r.Add(t.Context(), spec, "test"); err != nil {
			t.Fatal(err)
		}
		managed := rotator.ModeManaged
		if _, _, err := r.Edit(t.Context(), "new", rotator.Edit{Mode: &managed}, "test"); !errors.Is(err, rotator.ErrUsage) || !strings.Contains(err.Error(), "rotate app add new") {
			t.Errorf("edit: %v; want how to have it rotated", err)
		}
		other := whole
		other.ClientID = "99999999-2222-3333-4444-555555555555"
		if _, err := r.Add(t.Context(), other, "test"); !errors.Is(err, rotator.ErrExists) {
			t.Errorf("another registration over it: %v", err)
		}
		added, err := r.Add(t.Context(), whole, "test")
		if err != nil {
			t.Fatal(err)
		}
		if added.App.Mode != rotator.ModeSelf || added.App.Owner != "backup team" {
			t.Errorf("mode %s, owner %q", added.App.Mode, added.App.Owner)
		}
		if s := statusOfOne(t, r, "new"); s.DueAt.IsZero() || s.LastSafeStart.IsZero() {
			t.Error("it has no date of a rotation")
		}
		if _, err := r.Add(t.Context(), spec, "test"); !errors.Is(err, rotator.ErrExists) {
			t.Errorf("watched over one that is rotated: %v", err)
		}
	})
}

// TestWatchedRefuses gives wrong input to an app that would only be watched.
func TestWatchedRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*rotator.AppSpec, *world)
		says   string
	}{
		"no certificate": {func(s *rotator.AppSpec, _ *world) { s.Certificate = []byte("hello") }, "certificate"},
		"empty PEM": {func(s *rotator.AppSpec, _ *world) {
			s.Certificate = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})
		}, "no certificate"},
		"a key with it": {func(s *rotator.AppSpec, _ *world) {
			s.Certificate = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
		}, "--pfx"},
		"two of them": {func(s *rotator.AppSpec, _ *world) {
			one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate})
			s.Certificate = append(one, one...)
		}, "several"},
		"a mode that rotates": {func(s *rotator.AppSpec, _ *world) { s.Mode = rotator.ModeManaged }, "monitor"},
		"no file at all":      {func(s *rotator.AppSpec, _ *world) { s.Certificate, s.Mode = nil, rotator.ModeMonitor }, "--from-certificate"},
		"a delivery": {func(s *rotator.AppSpec, w *world) {
			s.Deliveries = []rotator.Delivery{{Kind: rotator.DeliverFile, Path: w.dir + "/x.pfx"}}
		}, "deliver"},
		"one that is not on the app": {func(s *rotator.AppSpec, w *world) {
			s.Certificate = certificate(w.t, keys()[1], "other", time.Now(), time.Now().Add(time.Hour))
		}, "is not among"},
		"an app that is not there": {func(s *rotator.AppSpec, _ *world) { s.ClientID = "99999999-2222-3333-4444-555555555555" }, "99999999"},
	} {
		bubble(t, name, options{}, func(w *world, r *rotator.Rotator) {
			spec, _ := w.watched(20 * 24 * time.Hour)
			test.change(&spec, w)
			if _, err := r.Add(w.t.Context(), spec, "test"); err == nil || !strings.Contains(err.Error(), test.says) {
				w.t.Errorf("%v; want %q", err, test.says)
			}
		})
	}
}
