package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/store"
)

// FuzzRecords stores records that a reader accepts and reads them back.
func FuzzRecords(f *testing.F) {
	s := newStore(f)
	for _, record := range []any{filled[rotator.App](f), filled[rotator.Rotation](f), filled[rotator.State](f), rotator.App{}, rotator.Rotation{}} {
		text, err := json.Marshal(record)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, text, text, int64(0), "r1")
	}
	f.Fuzz(func(t *testing.T, appJSON, rotationJSON, stateJSON []byte, nanoseconds int64, id string) {
		var (
			app      rotator.App
			rotation rotator.Rotation
			state    rotator.State
		)
		_ = json.Unmarshal(appJSON, &app)
		_ = json.Unmarshal(rotationJSON, &rotation)
		_ = json.Unmarshal(stateJSON, &state)
		app.Name, rotation.App, rotation.ID = "app-1", "app-1", id
		if app.Rotation != "" {
			app.Rotation = id
		}
		at := time.Unix(0, nanoseconds).UTC()
		wakes := []rotator.Wake{{Kind: rotator.WakeStart, App: "app-1", At: at}}
		before := everything(t, s)
		err := s.Change(t.Context(), "app-1", func(r *rotator.Records) error {
			r.App, r.Rotation, *r.State, r.Wakes = &app, &rotation, state, wakes
			return nil
		})
		if err != nil {
			if diff := cmp.Diff(before, everything(t, s)); diff != "" {
				t.Errorf("%v, and yet:\n%s", err, diff)
			}
			return
		}
		same(t, app)(s.App(t.Context(), "app-1"))
		same(t, app)(s.AppByClientID(t.Context(), app.Tenant, app.ClientID))
		same(t, rotation)(s.Rotation(t.Context(), id))
		same(t, state)(s.State(t.Context()))
		same(t, wakes)(s.Due(t.Context(), rotator.WakeStart, at, 0))
		mustBeSound(t, s)
	})
}

// same compares by JSON: an empty list that is left out is the same as none.
func same[T any](t *testing.T, want T) func(T, error) {
	t.Helper()
	return func(got T, err error) {
		t.Helper()
		a, err1 := json.Marshal(want)
		b, err2 := json.Marshal(got)
		if err := errors.Join(err, err1, err2); err != nil {
			t.Error(err)
		} else if string(a) != string(b) {
			t.Errorf("stored %s\nread   %s", a, b)
		}
	}
}

func TestDisagreement(t *testing.T) {
	for name, spoil := range map[string]func(context.Context, *store.Store) error{
		"client ID without app": func(ctx context.Context, s *store.Store) error {
			return s.Put(ctx, "clients", "contoso\x00c-9", []byte("app-9"))
		},
		"app without client ID": func(ctx context.Context, s *store.Store) error {
			return s.Delete(ctx, "clients", "contoso\x00c-app-1")
		},
		"due entry without app": func(ctx context.Context, s *store.Store) error {
			return s.Put(ctx, "due", "start\x00\x80\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00app-9", nil)
		},
		"app without due entry": func(ctx context.Context, s *store.Store) error {
			return s.Put(ctx, "wakes", "app-1", []byte(`[{"kind":"start","at":"2001-01-01T00:00:00Z","app":"app-1"}]`))
		},
		"due entries of no app": func(ctx context.Context, s *store.Store) error { return s.Put(ctx, "wakes", "app-9", []byte("[]")) },
		"history without rotation": func(ctx context.Context, s *store.Store) error {
			return s.Delete(ctx, "rotations", "app-1-1")
		},
		"history that is no key": func(ctx context.Context, s *store.Store) error { return s.Put(ctx, "history", "a", nil) },
		"use by nobody":          func(ctx context.Context, s *store.Store) error { return s.Put(ctx, "uses", "ab\x00app\x00app-1", nil) },
		"rotation under other ID": func(ctx context.Context, s *store.Store) error {
			return copyRecord(ctx, s, "rotations", "app-1-1", "r9")
		},
		"app under other name": func(ctx context.Context, s *store.Store) error { return copyRecord(ctx, s, "apps", "app-1", "app-9") },
		"event that is not queued": func(ctx context.Context, s *store.Store) error {
			return s.Delete(ctx, "queued", "app-1-1")
		},
		"event queued that is not there": func(ctx context.Context, s *store.Store) error {
			return s.Put(ctx, "queued", "x", []byte("12345678"))
		},
		"sum missing": func(ctx context.Context, s *store.Store) error { return s.Delete(ctx, "meta", "sum/apps") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			populate(t, s, 2)
			mustBeSound(t, s)
			if err := spoil(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(t.Context()); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("Check: %v, want ErrCorrupt", err)
			}
		})
	}
}

func copyRecord(ctx context.Context, s *store.Store, bucket, from, to string) error {
	payload, err := s.Get(ctx, bucket, from)
	if err != nil {
		return err
	}
	return s.Put(ctx, bucket, to, payload)
}
