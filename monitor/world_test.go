package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/monitor"
	"github.com/seed-f0abd057/rotate/rotator"
)

// world is a store in memory that counts how often it is asked.
type world struct {
	rotator.Store // only what is defined below is asked for

	mu        sync.Mutex
	apps      map[string]rotator.App
	rotations map[string][]rotator.Rotation // newest first, by app
	state     rotator.State
	events    int
	oldest    time.Time
	full      error // what Probe returns
	reads     int   // of apps
	probes    int
}

func newWorld() *world {
	return &world{apps: map[string]rotator.App{}, rotations: map[string][]rotator.Rotation{}}
}

// add tracks an app whose certificate ends at the instant.
func (w *world) add(name string, notAfter time.Time, rotations ...rotator.Rotation) {
	app := rotator.App{Name: name, Tenant: "contoso", Current: &rotator.Credential{NotAfter: notAfter}}
	if notAfter.IsZero() {
		app.Current = nil
	}
	for i := range rotations {
		rotations[i].App, rotations[i].ID = name, fmt.Sprintf("%s-%d", name, len(rotations)-i)
	}
	if len(rotations) > 0 {
		app.LastRotation = rotations[0].ID
		if !rotations[0].Phase.IsEnd() {
			app.Rotation = rotations[0].ID
		}
	}
	w.apps[name], w.rotations[name] = app, rotations
}

func (w *world) App(_ context.Context, name string) (rotator.App, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reads++
	app, ok := w.apps[name]
	if !ok {
		return app, rotator.ErrNotFound
	}
	return app, nil
}

func (w *world) Apps(_ context.Context, after string, limit int) ([]rotator.App, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []rotator.App
	for _, name := range slices.Sorted(maps.Keys(w.apps)) {
		if name > after && len(all) < limit {
			w.reads++
			all = append(all, w.apps[name])
		}
	}
	return all, nil
}

func (w *world) Rotation(_ context.Context, id string) (rotator.Rotation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.rotations {
		for _, r := range all {
			if r.ID == id {
				return r, nil
			}
		}
	}
	return rotator.Rotation{}, rotator.ErrNotFound
}

func (w *world) Rotations(_ context.Context, app string, limit int) ([]rotator.Rotation, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.rotations[app]
	return all[:min(limit, len(all))], nil
}

func (w *world) State(context.Context) (rotator.State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state, nil
}

func (w *world) EventsWaiting(context.Context) (int, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events, w.oldest, nil
}

func (w *world) Probe(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.probes++
	return w.full
}

// Change alters one app's records and its open rotation.
func (w *world) Change(_ context.Context, name string, change func(*rotator.Records) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	app, ok := w.apps[name]
	rec := &rotator.Records{State: &w.state}
	if ok {
		rec.App = &app
	}
	if err := change(rec); err != nil {
		return err
	}
	delete(w.apps, name)
	if rec.App != nil {
		w.apps[name] = *rec.App
	}
	return nil
}

// every is a schedule.
type every time.Duration

func (e every) Next(t time.Time) time.Time { return t.Add(time.Duration(e)) }

// ask sends a request to the metrics' own handler.
func ask(t *testing.T, m *monitor.Metrics, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+path, nil))
	return w.Code, w.Body.String()
}

var errFull = errors.New("no space left on device")
