package monitor

import (
	"cmp"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-f0abd057/rotate/rotator"
)

// collector turns facts into series at the time of a scrape.
type collector struct{ m *Metrics }

// Describe sends nothing: which series there are depends on the apps.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	s := sums{open: map[rotator.Phase]float64{}, waiting: map[string]float64{}, failing: map[rotator.Class]float64{}}
	for _, f := range c.m.apps {
		s.add(f)
	}
	s.collect(ch)
	c.m.whole.collect(ch)
	c.m.whole.collectCheck(ch)
	perApp := c.m.PerApp && len(c.m.apps) <= cmp.Or(c.m.PerAppLimit, DefaultPerAppLimit)
	gauge(ch, describe("rotate_app_series", "1 if each app has series of its own; 0: metrics.per_app is off, or there are more apps than metrics.per_app_limit."), flag(perApp))
	if !perApp {
		return
	}
	d := newAppDescs()
	for name, f := range c.m.apps {
		d.collect(ch, name, f, c.m.whole.at)
	}
	for key, n := range c.m.appFailures {
		ch <- prometheus.MustNewConstMetric(d.failures, prometheus.CounterValue, n, key.app, key.tenant, string(key.class))
	}
}

// seconds since 1970, as Prometheus wants instants.
func seconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// sums are over all apps.
type sums struct {
	apps, without float64
	earliest      time.Time
	open          map[rotator.Phase]float64
	waiting       map[string]float64
	failing       map[rotator.Class]float64
}

func (s *sums) add(f facts) {
	s.apps++
	if f.notAfter.IsZero() {
		s.without++
	} else if s.earliest.IsZero() || f.notAfter.Before(s.earliest) {
		s.earliest = f.notAfter
	}
	if f.phase != "" {
		s.open[f.phase]++
		if f.waiting != "" {
			s.waiting[f.waiting]++
		}
	}
	if f.class != "" {
		s.failing[f.class]++
	}
}

func (s *sums) collect(ch chan<- prometheus.Metric) {
	gauge(ch, describe("rotate_apps", "Tracked apps."), s.apps)
	gauge(ch, describe("rotate_apps_without_certificate", "Tracked apps that have no certificate yet."), s.without)
	if !s.earliest.IsZero() {
		gauge(ch, describe("rotate_earliest_expiry_timestamp_seconds", "When the first of all certificates in service ends."), seconds(s.earliest))
	}
	open := describe("rotate_rotations_open", "Rotations that have not ended, by the phase they have reached.", "phase")
	for _, phase := range openPhases() {
		gauge(ch, open, s.open[phase], string(phase))
	}
	failing := describe("rotate_apps_failing", "Apps whose last attempt failed, by class: wait, retry, fix, clock, gone.", "class")
	for _, class := range classes() {
		gauge(ch, failing, s.failing[class], string(class))
	}
	waiting := describe("rotate_rotations_waiting", "Open rotations by what they wait for.", "reason")
	s.waiting[rotator.WaitingPerson] += 0 // always there, for it is alerted on
	for reason, n := range s.waiting {
		gauge(ch, waiting, n, reason)
	}
}

func (w *whole) collect(ch chan<- prometheus.Metric) {
	gauge(ch, describe("rotate_outbox_events", "Events that wait to be brought to people."), float64(w.events))
	age := 0.0
	if w.events > 0 && !w.oldest.IsZero() {
		age = max(w.at.Sub(w.oldest).Seconds(), 0)
	}
	gauge(ch, describe("rotate_outbox_oldest_age_seconds", "How long the oldest of them has waited; 0 if none waits."), age)
	gauge(ch, describe("rotate_ready", "1 if the last check worked and the store can be written, as /readyz says."), flag(w.ready))
	gauge(ch, describe("rotate_stopped", "1 if nothing starts unasked until a person says resume."), flag(w.state.Stopped != ""))
	gauge(ch, describe("rotate_read_only", "1 if the store is a copy and nothing is written to Entra."), flag(w.state.ReadOnly))
	gauge(ch, describe("rotate_paused", "1 if a person paused all apps."), flag(w.at.Before(w.state.PausedUntil)))
}

// collectCheck tells when checks were and should be; what never was is left out.
func (w *whole) collectCheck(ch chan<- prometheus.Metric) {
	for _, one := range []struct {
		name, help string
		at         time.Time
	}{
		{"rotate_last_check_timestamp_seconds", "When the last check ended, whether it worked or not.", w.state.LastCheck},
		{"rotate_last_good_check_timestamp_seconds", "When the last check ended that worked.", w.state.LastGoodCheck},
		{"rotate_next_check_timestamp_seconds", "When the next check is due, by the schedule.", w.nextDue},
	} {
		if !one.at.IsZero() {
			gauge(ch, describe(one.name, one.help), seconds(one.at))
		}
	}
}

func flag(set bool) float64 {
	if set {
		return 1
	}
	return 0
}

// appDescs are the series of single apps.
type appDescs struct{ expiry, rotated, phase, failures *prometheus.Desc }

func newAppDescs() appDescs {
	return appDescs{
		expiry:   describe("rotate_app_certificate_expiry_timestamp_seconds", "When the certificate in service ends.", "app", "tenant"),
		rotated:  describe("rotate_app_last_success_timestamp_seconds", "When the newest rotation ended that succeeded.", "app", "tenant"),
		phase:    describe("rotate_app_phase_seconds", "How long the open rotation has been in its phase; absent if none is open.", "app", "tenant", "phase"),
		failures: describe("rotate_app_failures_total", "Steps of the app's rotations that failed since the daemon started, by class.", "app", "tenant", "class"),
	}
}

func (d appDescs) collect(ch chan<- prometheus.Metric, name string, f facts, now time.Time) {
	if !f.notAfter.IsZero() {
		gauge(ch, d.expiry, seconds(f.notAfter), name, f.tenant)
	}
	if !f.rotated.IsZero() {
		gauge(ch, d.rotated, seconds(f.rotated), name, f.tenant)
	}
	if f.phase != "" {
		gauge(ch, d.phase, max(now.Sub(f.since).Seconds(), 0), name, f.tenant, string(f.phase))
	}
}
