package monitor_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/monitor"
	"github.com/seed-f0abd057/rotate/rotator"
)

// busy is a world with an app of each kind. It is told in a bubble, where the time
// stands still.
func busy() (*world, *monitor.Metrics) {
	now := time.Now().UTC()
	w := newWorld()
	w.add("quiet", now.Add(300*24*time.Hour), rotator.Rotation{Phase: rotator.PhaseRetired, EndedAt: now.Add(-24 * time.Hour)})
	w.add("moving", now.Add(20*24*time.Hour),
		rotator.Rotation{
			Phase: rotator.PhaseUploaded, PhaseAt: map[rotator.Phase]time.Time{rotator.PhaseUploaded: now.Add(-90 * time.Second)},
			WaitingFor: rotator.WaitingRetry, Trouble: &rotator.Trouble{Class: rotator.ClassFix},
		},
		rotator.Rotation{Phase: rotator.PhaseRolledBack, EndedAt: now.Add(-time.Hour)},
		rotator.Rotation{Phase: rotator.PhaseRetired, EndedAt: now.Add(-1000 * time.Hour)})
	w.add("new", time.Time{})
	w.state.LastCheck, w.state.LastGoodCheck = now.Add(-2*time.Minute), now.Add(-62*time.Minute)
	w.state.Stopped = "3 apps in a row failed"
	w.events, w.oldest = 3, now.Add(-10*time.Minute)
	m := monitor.New(monitor.Options{Store: w, Schedule: every(time.Hour), PerApp: true, Version: "1.2.3", Revision: "abc"})
	m.Request("POST", "/{id}/oauth2/v2.0/token", 200)
	m.Request("GET", "/v1.0/applications/{id}", 200)
	m.Request("GET", "/v1.0/applications/{id}", 429)
	m.Request("GET", "/v1.0/applications/{id}", 0)
	m.StepEnded(context.Background(), rotator.StepReport{
		App: "moving", Tenant: "contoso", Step: "prove", Failure: &rotator.Failure{Class: rotator.ClassFix, Message: "geheim"},
	})
	m.StepEnded(context.Background(), rotator.StepReport{App: "quiet", Tenant: "contoso", Step: "plan"})
	return w, m
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := busy()
		code, body := ask(t, m, "/metrics")
		if code != http.StatusOK {
			t.Fatalf("%d: %s", code, body)
		}
		unix := func(d time.Duration) string { return fmt.Sprintf("%g", float64(time.Now().Add(d).Unix())) }
		for _, want := range []string{
			`rotate_build_info{goversion="go`,
			`revision="abc",version="1.2.3"} 1`,
			`rotate_app_certificate_expiry_timestamp_seconds{app="quiet",tenant="contoso"} ` + unix(300*24*time.Hour),
			`rotate_app_certificate_expiry_timestamp_seconds{app="moving",tenant="contoso"} ` + unix(20*24*time.Hour),
			`rotate_app_last_success_timestamp_seconds{app="quiet",tenant="contoso"} ` + unix(-24*time.Hour),
			`rotate_app_last_success_timestamp_seconds{app="moving",tenant="contoso"} ` + unix(-1000*time.Hour),
			`rotate_app_phase_seconds{app="moving",phase="uploaded",tenant="contoso"} 90`,
			`rotate_app_failures_total{app="moving",class="fix",tenant="contoso"} 1`,
			`rotate_step_failures_total{class="fix"} 1`,
			`rotate_step_failures_total{class="gone"} 0`,
			`rotate_steps_total{step="plan"} 1`,
			`rotate_requests_total{code="200",service="login"} 1`,
			`rotate_requests_total{code="200",service="graph"} 1`,
			`rotate_requests_total{code="429",service="graph"} 1`,
			`rotate_requests_total{code="0",service="graph"} 1`,
			`rotate_apps 3`,
			`rotate_apps_without_certificate 1`,
			`rotate_apps_failing{class="fix"} 1`,
			`rotate_apps_failing{class="wait"} 0`,
			`rotate_earliest_expiry_timestamp_seconds ` + unix(20*24*time.Hour),
			`rotate_rotations_open{phase="uploaded"} 1`,
			`rotate_rotations_open{phase="confirmed"} 0`,
			`rotate_rotations_waiting{reason="retry"} 1`,
			`rotate_rotations_waiting{reason="person"} 0`,
			`rotate_last_check_timestamp_seconds ` + unix(-2*time.Minute),
			`rotate_last_good_check_timestamp_seconds ` + unix(-62*time.Minute),
			`rotate_next_check_timestamp_seconds ` + unix(58*time.Minute),
			`rotate_outbox_events 3`,
			`rotate_outbox_oldest_age_seconds 600`,
			`rotate_ready 1`,
			`rotate_stopped 1`,
			`rotate_read_only 0`,
			`rotate_paused 0`,
			`process_start_time_seconds `,
		} {
			if !strings.Contains(body, want) {
				t.Errorf("no %s", want)
			}
		}
		if strings.Contains(body, `rotate_app_phase_seconds{app="quiet"`) {
			t.Error("an app without an open rotation is in a phase")
		}
		if strings.Contains(body, "geheim") {
			t.Error("a message is in the metrics")
		}
		if t.Failed() {
			t.Log(body)
		}
	})
}

func TestSumsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m := busy()
		m.PerApp = false
		_, body := ask(t, m, "/metrics")
		if strings.Contains(body, `app="`) {
			t.Errorf("series of single apps:\n%s", body)
		}
		for _, want := range []string{"rotate_apps 3", `rotate_step_failures_total{class="fix"} 1`, "rotate_earliest_expiry_timestamp_seconds "} {
			if !strings.Contains(body, want) {
				t.Errorf("no %s", want)
			}
		}
	})
}

// TestScrapeReadsWhatChanged looks at what a scrape costs the store.
func TestScrapeReadsWhatChanged(t *testing.T) {
	w := newWorld()
	const apps = 1234
	for i := range apps {
		w.add(fmt.Sprintf("app-%04d", i), time.Now().Add(time.Hour))
	}
	m := monitor.New(monitor.Options{Store: w, PerApp: true})
	s := m.Follow(w)
	scrape := func() (int, string) {
		before := w.reads
		_, body := ask(t, m, "/metrics")
		return w.reads - before, body
	}
	if n, _ := scrape(); n != apps {
		t.Errorf("the first scrape read %d apps, want all %d", n, apps)
	}
	if n, _ := scrape(); n != 0 {
		t.Errorf("the second scrape read %d apps, want none", n)
	}
	changeErr := s.Change(t.Context(), "app-0007", func(rec *rotator.Records) error {
		rec.App.Current = nil
		return nil
	})
	goneErr := s.Change(t.Context(), "app-0008", func(rec *rotator.Records) error {
		rec.App = nil
		return nil
	})
	refused := errors.New("refused")
	if err := s.Change(t.Context(), "app-0009", func(*rotator.Records) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("the change returned %v", err)
	}
	if err := errors.Join(changeErr, goneErr); err != nil {
		t.Fatal(err)
	}
	n, body := scrape()
	if n != 3 {
		t.Errorf("after three changes a scrape read %d apps", n)
	}
	for app, want := range map[string]bool{"app-0006": true, "app-0007": false, "app-0008": false, "app-0009": true} {
		if strings.Contains(body, `rotate_app_certificate_expiry_timestamp_seconds{app="`+app+`"`) != want {
			t.Errorf("%s: expiry shown: %t, want %t", app, !want, want)
		}
	}
	if !strings.Contains(body, "\nrotate_apps 1233\n") {
		t.Error("rotate_apps does not count what is left")
	}
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, m := busy()
		w.state.LastCheck = time.Time{}
		expect := func(path string, want int, text string) {
			t.Helper()
			if code, body := ask(t, m, path); code != want || !strings.Contains(body, text) {
				t.Errorf("%s: %d %q, want %d %q", path, code, body, want, text)
			}
		}
		expect("/healthz", 200, "ok")
		expect("/readyz", 503, "no check has ended yet")
		w.state.LastCheck = time.Now()
		expect("/readyz", 200, "ok")
		w.state.LastCheckError = "store: read: broken"
		expect("/readyz", 503, "the last check failed: store: read: broken")
		w.state.LastCheckError = ""
		time.Sleep(time.Hour + 9*time.Minute)
		expect("/readyz", 200, "ok")
		time.Sleep(2 * time.Minute)
		expect("/readyz", 503, "is overdue")
		expect("/metrics", 200, "rotate_ready 0")
		w.state.LastCheck = time.Now()
		w.state.ReadOnly, w.state.Stopped = true, "the store is a copy"
		expect("/readyz", 503, "nothing is written: the store is a copy")
		w.state.ReadOnly = false
		w.full = errFull
		expect("/readyz", 200, "ok") // was tried a moment ago
		time.Sleep(30 * time.Second)
		expect("/readyz", 503, "the store cannot be written: no space left on device")
		expect("/healthz", 200, "ok")
		probes := w.probes
		for range 100 {
			expect("/readyz", 503, "no space")
		}
		if w.probes != probes {
			t.Errorf("100 probes wrote %d times", w.probes-probes)
		}
		w.full = nil
		time.Sleep(30 * time.Second)
		expect("/readyz", 200, "ok")
		expect("/nothing", 404, "")
	})
}

func TestTextfile(t *testing.T) {
	w := newWorld()
	w.add("app", time.Now().Add(time.Hour))
	w.state.LastCheck = time.Now()
	m := monitor.New(monitor.Options{Store: w, PerApp: true})
	folder := t.TempDir()
	path := filepath.Join(folder, "rotate.prom")
	if err := m.WriteFile(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), `rotate_app_certificate_expiry_timestamp_seconds{app="app"`) {
		t.Errorf("the app is not in the file:\n%s", data)
	}
	if regexp.MustCompile(`(?m)^(go|process)_`).Match(data) {
		t.Error("the file has series that node_exporter has about itself")
	}
	if err := m.WriteFile(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Errorf("left beside the file: %v", entries)
	}
	if err := m.WriteFile(t.Context(), filepath.Join(folder, "missing", "rotate.prom")); err == nil || !strings.Contains(err.Error(), "metrics file "+folder) {
		t.Errorf("a missing folder: %v", err)
	}
}

// TestC10SumsOnlyAboveLimit leaves the series of single apps out where there are more than
// allowed, and says so: the answer must not grow with the number of apps.
func TestC10SumsOnlyAboveLimit(t *testing.T) {
	t.Parallel()
	size := map[int]int{}
	for _, apps := range []int{3, 4, 400} {
		w := newWorld()
		for i := range apps {
			w.add(fmt.Sprintf("app-%06d", i), time.Now().Add(time.Hour))
		}
		m := monitor.New(monitor.Options{Store: w, PerApp: true, PerAppLimit: 3})
		path := filepath.Join(t.TempDir(), "rotate.prom")
		if err := m.WriteFile(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		size[apps] = len(data)
		text := string(data)
		want := apps <= 3
		if got := strings.Contains(text, `app="app-000000"`); got != want {
			t.Errorf("%d apps of at most 3: series of single apps: %v, want %v", apps, got, want)
		}
		if says := fmt.Sprintf("\nrotate_app_series %d\n", map[bool]int{true: 1}[want]); !strings.Contains(text, says) {
			t.Errorf("%d apps: no line %q", apps, says)
		}
		if !strings.Contains(text, fmt.Sprintf("\nrotate_apps %d\n", apps)) {
			t.Errorf("%d apps are not counted", apps)
		}
	}
	if size[400] > size[4]+10 {
		t.Errorf("the answer has %d bytes with 4 apps, %d with 400", size[4], size[400])
	}
	if monitor.DefaultPerAppLimit != 10_000 {
		t.Errorf("the limit is %d apps where nobody sets it", monitor.DefaultPerAppLimit)
	}
}

// BenchmarkScrape asks for the metrics of a full store in which little changes.
func BenchmarkScrape(b *testing.B) {
	for _, perApp := range []bool{true, false} {
		b.Run(fmt.Sprintf("per_app=%t", perApp), func(b *testing.B) {
			w := newWorld()
			for i := range 100_000 {
				w.add(fmt.Sprintf("app-%06d", i), time.Now().Add(time.Hour))
			}
			m := monitor.New(monitor.Options{Store: w, PerApp: perApp, PerAppLimit: 1_000_000})
			path := filepath.Join(b.TempDir(), "rotate.prom")
			if err := m.WriteFile(b.Context(), path); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := m.WriteFile(b.Context(), path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
