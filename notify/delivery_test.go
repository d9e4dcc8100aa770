package notify_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/notify"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestFilter lets each part of a filter keep an event out.
func TestFilter(t *testing.T) {
	e := event(rotator.EventExpiring, "sync", func(e *rotator.Event) { e.Tags = []string{"backup", "vendor"} })
	whole := event(rotator.EventStoreFailing, "", func(e *rotator.Event) { e.Tenant, e.Severity = "", rotator.SeverityCritical })
	ofTenant := event(rotator.EventExpiring, "")
	for name, tt := range map[string]struct {
		filter notify.Filter
		event  rotator.Event
		want   bool
	}{
		"nothing asked":                {notify.Filter{}, e, true},
		"its kind":                     {notify.Filter{Kinds: []rotator.EventKind{rotator.EventRotated, rotator.EventExpiring}}, e, true},
		"another kind":                 {notify.Filter{Kinds: []rotator.EventKind{rotator.EventRotated}}, e, false},
		"a lower severity":             {notify.Filter{Severity: rotator.SeverityInfo}, e, true},
		"its severity":                 {notify.Filter{Severity: rotator.SeverityWarning}, e, true},
		"a higher severity":            {notify.Filter{Severity: rotator.SeverityCritical}, e, false},
		"its tenant":                   {notify.Filter{Tenants: []string{"fabrikam", "contoso"}}, e, true},
		"another tenant":               {notify.Filter{Tenants: []string{"fabrikam"}}, e, false},
		"its name":                     {notify.Filter{Apps: []string{"mail", "sync"}}, e, true},
		"another name":                 {notify.Filter{Apps: []string{"mail"}}, e, false},
		"one of its tags":              {notify.Filter{Tags: []string{"tier-1", "vendor"}}, e, true},
		"another tag":                  {notify.Filter{Tags: []string{"tier-1"}}, e, false},
		"all of it":                    {notify.Filter{Kinds: []rotator.EventKind{e.Kind}, Severity: e.Severity, Tenants: []string{e.Tenant}, Apps: []string{e.App}, Tags: e.Tags}, e, true},
		"all but one":                  {notify.Filter{Kinds: []rotator.EventKind{e.Kind}, Tenants: []string{e.Tenant}, Apps: []string{"mail"}, Tags: e.Tags}, e, false},
		"about the daemon":             {notify.Filter{Tenants: []string{"fabrikam"}, Apps: []string{"mail"}, Tags: []string{"tier-1"}}, whole, true},
		"about the daemon, too little": {notify.Filter{Kinds: []rotator.EventKind{rotator.EventRotated}}, whole, false},
		"about a tenant":               {notify.Filter{Tenants: []string{"contoso"}, Apps: []string{"mail"}}, ofTenant, true},
		"about another tenant":         {notify.Filter{Tenants: []string{"fabrikam"}}, ofTenant, false},
	} {
		if got := tt.filter.Wants(tt.event); got != tt.want {
			t.Errorf("%s: wanted %t, want %t", name, got, tt.want)
		}
	}
}

// clocked notes when it is asked, and takes nothing.
type clocked struct {
	mu sync.Mutex
	at []time.Time
}

func (c *clocked) Send(context.Context, notify.Message) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = append(c.at, time.Now())
	return "", errors.New("connection refused")
}

// TestBackoff: pauses grow up to a quarter of an hour, and none is as long as another
// one's, so that many daemons do not come at once.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, a, b := outbox(t, 0), &clocked{}, &clocked{}
		working(t, db, func() {
			put(t, db, 1, nil)
			time.Sleep(3 * time.Hour)
		}, notify.Channel{Name: "a", Sender: a}, notify.Channel{Name: "b", Sender: b})
		steps := []time.Duration{10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 15 * time.Minute, 15 * time.Minute}
		same := 0
		for i, want := range steps {
			if len(a.at) < i+2 || len(b.at) < i+2 {
				t.Fatalf("%d and %d tries in three hours", len(a.at), len(b.at))
			}
			pause, other := a.at[i+1].Sub(a.at[i]), b.at[i+1].Sub(b.at[i])
			const look = 2 * time.Second // how often the outbox is looked at
			for _, p := range []time.Duration{pause, other} {
				if p < want*8/10 || p > want*12/10+look {
					t.Errorf("pause %d is %s, want %s ± 20 %%", i+1, p, want)
				}
			}
			if pause == other {
				same++
			}
		}
		if same > len(steps)/2 {
			t.Errorf("%d of %d pauses are the same on two channels", same, len(steps))
		}
	})
}

// TestFallbackTakesOver: a channel that only fails for now is left half an hour, then
// its fallback takes what waits; what the fallback took does not come twice.
func TestFallbackTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, down, other := outbox(t, 0), &answer{err: errors.New("connection refused")}, &answer{}
		working(t, db, func() {
			put(t, db, 1, nil)
			time.Sleep(25 * time.Minute)
			synctest.Wait()
			if got := other.kinds(); got != "" {
				t.Errorf("after 25 minutes the fallback got %q, want nothing yet", got)
			}
			time.Sleep(50 * time.Minute)
			synctest.Wait()
			if got := other.kinds(); got != "1×rotation_failed 1×channel_failing" && got != "1×channel_failing 1×rotation_failed" {
				t.Errorf("after 75 minutes the fallback got %q", got)
			}
			down.set(nil)
			time.Sleep(time.Hour)
			put(t, db, 1, func(_ int, e *rotator.Event) { e.Kind = rotator.EventRotated })
			time.Sleep(time.Hour)
		}, notify.Channel{Name: "down", Sender: down, Fallback: "other"},
			notify.Channel{Name: "other", Sender: other, Filter: notify.Filter{Kinds: []rotator.EventKind{rotator.EventChannelFailing}}})
		if got := down.kinds(); got != "1×rotated" {
			t.Errorf("the mended channel got %q, want only what its fallback did not take", got)
		}
	})
}
