package emulator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/seed-f0abd057/rotate/emulator"
)

func TestPropagation(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t)
		p, next := fresh(t, 0), fresh(t, 1)
		app := addApp(t, tenant, emulator.Application{}, p)
		tenant.Configure(func(t *emulator.Tenant) { t.Propagation = 30 * time.Second })
		c := newClient(t, tenant)
		// answers asks each of the three replicas.
		answers := func(p pair) string {
			t.Helper()
			got := ""
			for range 3 {
				switch a := c.assertionToken(app.ClientID, p.assertion(t, tenant, app.ClientID)); {
				case a.status == 200:
					got += "+"
				case a.number() == 700027 && strings.Contains(a.text("error_description"), "The key was not found."):
					got += "-"
				default:
					t.Errorf("unexpected %s", a.raw)
				}
			}
			return got
		}
		if got := answers(p); got != "+++" {
			t.Errorf("a new app is known to %s, want +++", got)
		}
		id, err := tenant.AddKeyCredential(app.ClientID, emulator.KeyCredential{Certificate: next.cert.Raw})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"---", "+--", "++-", "+++"} {
			if got := answers(next); got != want {
				t.Errorf("added, after %v: %s, want %s", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), got, want)
			}
			time.Sleep(10 * time.Second)
		}
		// A proof counts at once, and so does a removal for proofs.
		if err := tenant.RemoveKeyCredential(app.ClientID, id); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"+++", "-++", "--+", "---"} {
			if got := answers(next); got != want {
				t.Errorf("removed: %s, want %s", got, want)
			}
			time.Sleep(10 * time.Second)
		}
		as := c.as(app)
		body := map[string]any{"keyCredential": next.entry(), "proof": p.proof(t, app.ObjectID)}
		as.want(200, "POST", "applications/"+app.ObjectID+"/addKey", body)
		body["proof"] = next.proof(t, app.ObjectID)
		as.want(200, "POST", "applications/"+app.ObjectID+"/addKey", body)
	})
}

func TestReadLag(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t)
		app := addApp(t, tenant, emulator.Application{Name: "old"})
		admin := addAdmin(t, tenant, "Application.ReadWrite.All")
		tenant.Configure(func(t *emulator.Tenant) { t.ReadLag = 10 * time.Second })
		c := newClient(t, tenant).as(admin)
		path := "applications/" + app.ObjectID
		names := func() []string {
			t.Helper()
			var got []string
			for range 3 {
				got = append(got, c.want(200, "GET", path, nil).text("displayName"))
			}
			slices.Sort(got)
			return got
		}
		time.Sleep(time.Minute)
		c.want(204, "PATCH", path, map[string]any{"displayName": "new"})
		for _, want := range [][]string{{"new", "old", "old"}, {"new", "new", "old"}, {"new", "new", "new"}} {
			if diff := cmp.Diff(want, names()); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			time.Sleep(5 * time.Second)
		}

		made := c.want(201, "POST", "applications", map[string]any{"displayName": "made"})
		statuses := map[int]int{}
		for range 3 {
			statuses[c.call("POST", "servicePrincipals", map[string]any{"appId": made.text("appId")}).status]++
			statuses[c.call("GET", "applications/"+made.text("id"), nil).status]++
		}
		if statuses[400] == 0 || statuses[404] == 0 || statuses[200] == 0 {
			t.Errorf("a fresh app: %v, want some 400 and 404 and 200", statuses)
		}
		c.want(204, "DELETE", path, nil)
		seen := 0
		for range 3 {
			if c.call("GET", path, nil).status == 200 {
				seen++
			}
			// What is gone cannot be written.
			c.want(404, "PATCH", path, map[string]any{"displayName": "x"})
		}
		if seen == 0 || seen == 3 {
			t.Errorf("a deleted app is seen by %d of 3 replicas", seen)
		}
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t)
		admin := addAdmin(t, tenant, "Application.ReadWrite.All")
		app := addApp(t, tenant, emulator.Application{Name: "old"})
		c := newClient(t, tenant).as(admin)
		tenant.Configure(func(t *emulator.Tenant) { t.Latency = 10 * time.Second })
		start := time.Now()
		// Many at once take no longer than one: nothing is locked while it waits.
		done := make(chan answer)
		for range 50 {
			go func() { done <- c.call("GET", "organization", nil) }()
		}
		for range 50 {
			<-done
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("50 requests took %v, want 10s", took)
		}
		name := func() string {
			a, err := tenant.Application(app.ClientID)
			if err != nil {
				t.Fatal(err)
			}
			return a.Name
		}
		for _, tt := range []struct {
			patience time.Duration
			want     string
		}{{4 * time.Second, "old"}, {6 * time.Second, "new"}} {
			ctx, cancel := context.WithTimeout(t.Context(), tt.patience)
			_, err := c.try(ctx, "PATCH", "/v1.0/applications/"+app.ObjectID, "application/json", []byte(`{"displayName":"new"}`))
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || name() != tt.want {
				t.Errorf("client gives up after %v: %v and name %q, want a deadline and %q", tt.patience, err, name(), tt.want)
			}
		}
	})
}

func TestClockSkew(t *testing.T) {
	rsaKeys()
	synctest.Test(t, func(t *testing.T) {
		tenant := newTenant(t)
		p := fresh(t, 0)
		app := addApp(t, tenant, emulator.Application{}, p)
		c := newClient(t, tenant)
		for _, skew := range []time.Duration{11 * time.Minute, -11 * time.Minute} {
			tenant.Configure(func(t *emulator.Tenant) { t.ClockSkew = skew })
			a := c.assertionToken(app.ClientID, p.assertion(t, tenant, app.ClientID))
			if a.number() != 700024 {
				t.Errorf("skew %v: got %s, want 700024", skew, a.raw)
			}
			date, err := http.ParseTime(a.header.Get("Date"))
			if off := time.Until(date) - skew; err != nil || off > time.Minute || off < -time.Minute {
				t.Errorf("skew %v: Date is %q", skew, a.header.Get("Date"))
			}
		}
		tenant.Configure(func(t *emulator.Tenant) { t.ClockSkew = 2 * 365 * 24 * time.Hour })
		future := sign(t, jwt.SigningMethodPS256, map[string]any{"x5t#S256": p.x5tS256()}, with(assertionClaims(tenant, app.ClientID), map[string]any{
			"nbf": nil, "iat": nil, "exp": time.Now().Add(2*365*24*time.Hour + time.Minute).Unix(),
		}), p.key)
		if a := c.assertionToken(app.ClientID, future); a.number() != 700027 || !strings.Contains(a.text("error_description"), "expired") {
			t.Errorf("two years on: %s, want 700027 expired", a.raw)
		}
	})
}

func TestDice(t *testing.T) {
	run := func(configure func(*emulator.Tenant)) (map[int]int, int, []emulator.Entry) {
		tenant := newTenant(t)
		tenant.Seed = 1
		app := addApp(t, tenant, emulator.Application{}, fresh(t, 0))
		c := newClient(t, tenant).as(addAdmin(t, tenant, "Application.ReadWrite.All"))
		tenant.ForgetRequests()
		tenant.Configure(configure)
		statuses, lost := map[int]int{}, 0
		for i := range 200 {
			a, err := c.try(t.Context(), "PATCH", "/v1.0/applications/"+app.ObjectID, "application/json", fmt.Appendf(nil, `{"displayName":"n%d"}`, i))
			switch {
			case err != nil:
				if !errors.Is(err, emulator.ErrLost) {
					t.Fatal(err)
				}
				lost++
			case a.status == 429 && a.header.Get("Retry-After") != "0.25":
				t.Errorf("Retry-After is %q, want 0.25", a.header.Get("Retry-After"))
			case a.status == 409 && a.code() != "Directory_ConcurrencyViolation":
				t.Errorf("409: %s", a.raw)
			}
			now, _ := tenant.Application(app.ClientID)
			done := now.Name == fmt.Sprintf("n%d", i)
			if want := err != nil || a.status == 204 || a.status == 504; done != want {
				t.Errorf("status %d, error %v: done is %v, want %v", a.status, err, done, want)
			}
			if err == nil {
				statuses[a.status]++
			}
		}
		return statuses, lost, tenant.Requests()
	}
	configure := func(t *emulator.Tenant) {
		t.ThrottlePercent, t.FailPercent, t.ConflictPercent, t.LoseAnswersPercent = 20, 20, 20, 20
		t.RetryAfter = 250 * time.Millisecond
	}
	statuses, lost, log := run(configure)
	for _, status := range []int{204, 409, 429, 500, 502, 503, 504} {
		if statuses[status] == 0 {
			t.Errorf("no %d among %v", status, statuses)
		}
	}
	if lost == 0 {
		t.Error("no answer was lost")
	}
	if inLog := len(slices.DeleteFunc(slices.Clone(log), func(e emulator.Entry) bool { return !e.Lost })); inLog != lost || len(log) != 200 {
		t.Errorf("%d lost of %d in the log, want %d of 200", inLog, len(log), lost)
	}
	again, lostAgain, _ := run(configure)
	if diff := cmp.Diff(statuses, again); diff != "" || lost != lostAgain {
		t.Errorf("the same seed gave another run (-first +second):\n%s", diff)
	}
	if none, lost, _ := run(func(*emulator.Tenant) {}); none[204] != 200 || lost != 0 {
		t.Errorf("zero value: %v and %d lost, want 200 of 204", none, lost)
	}
	all, _, _ := run(func(t *emulator.Tenant) { t.ThrottlePercent, t.RetryAfter = 100, 250*time.Millisecond })
	if all[429] != 200 {
		t.Errorf("100 %%: %v", all)
	}
}

func TestIntercept(t *testing.T) {
	tenant := newTenant(t)
	app := addApp(t, tenant, emulator.Application{Name: "old"}, fresh(t, 0))
	admin := addAdmin(t, tenant, "Application.ReadWrite.All")
	c := newClient(t, tenant).as(admin)
	path := "/v1.0/applications/" + app.ObjectID
	for _, tt := range []struct {
		name   string
		fault  *emulator.Fault
		status int // 0: lost
		code   string
		done   bool
	}{
		{"nothing", nil, 204, "", true},
		{"zero value", &emulator.Fault{}, 204, "", true},
		{"refusal", &emulator.Fault{Status: 403}, 403, "Authorization_RequestDenied", false},
		{"own words", &emulator.Fault{Status: 400, Code: "Custom", Message: "text"}, 400, "Custom", false},
		{"done, then refused", &emulator.Fault{Status: 500, Done: true}, 500, "Service_InternalServerError", true},
		{"lost", &emulator.Fault{LoseAnswer: true}, 0, "", true},
	} {
		name := uuid.NewString()
		var seen []emulator.Request
		tenant.Configure(func(t *emulator.Tenant) {
			t.Intercept = func(r emulator.Request) *emulator.Fault {
				seen = append(seen, r)
				return tt.fault
			}
		})
		a, err := c.try(t.Context(), "PATCH", path, "application/json", fmt.Appendf(nil, `{"displayName":%q}`, name))
		if (err != nil) != (tt.status == 0) || a.status != tt.status || a.code() != tt.code {
			t.Errorf("%s: got %d %s %v, want %d %s", tt.name, a.status, a.raw, err, tt.status, tt.code)
		}
		if got, _ := tenant.Application(app.ClientID); (got.Name == name) != tt.done {
			t.Errorf("%s: done is %v, want %v", tt.name, got.Name == name, tt.done)
		}
		if len(seen) != 1 || seen[0].ClientID != admin.ClientID || seen[0].Path != path || seen[0].IsToken() {
			t.Errorf("%s: intercepted %v", tt.name, seen)
		}
	}
	tenant.Configure(func(t *emulator.Tenant) {
		t.Intercept = func(r emulator.Request) *emulator.Fault {
			if r.IsToken() && r.ClientID == app.ClientID {
				return &emulator.Fault{AADSTS: 700027, RetryAfter: time.Minute}
			}
			return nil
		}
	})
	if a := c.secretToken(app); a.status != 401 || a.text("error") != "invalid_client" || a.number() != 700027 || a.header.Get("Retry-After") != "60" {
		t.Errorf("AADSTS: %d %s", a.status, a.raw)
	}
	tenant.Configure(func(t *emulator.Tenant) {
		t.Intercept = func(emulator.Request) *emulator.Fault { return &emulator.Fault{Status: 429} }
	})
	if a := c.secretToken(app); a.status != 429 || a.number() != 90055 {
		t.Errorf("429 at the login host: %d %s", a.status, a.raw)
	}
}

func TestRequestLog(t *testing.T) {
	var logged []emulator.Entry
	tenant := newTenant(t)
	tenant.Log = func(e emulator.Entry) { logged = append(logged, e) }
	p := fresh(t, 0)
	app := addApp(t, tenant, emulator.Application{}, p)
	c := newClient(t, tenant).as(app)
	c.want(403, "PATCH", "applications/"+app.ObjectID+"", map[string]any{"keyCredentials": []any{}, "displayName": "x"})
	c.want(403, "GET", "applications?$select=id", nil)
	type line struct {
		Method, Path, Query string
		Properties          []string
		Status              int
		ClientID            string
	}
	var got []line
	for _, e := range logged {
		if e.Time.IsZero() {
			t.Error("entry without a time")
		}
		got = append(got, line{e.Method, e.Path, e.Query, e.Properties, e.Status, e.ClientID})
	}
	want := []line{
		{"POST", "/" + tenant.TenantID() + "/oauth2/v2.0/token", "", nil, 200, app.ClientID},
		{"PATCH", "/v1.0/applications/" + app.ObjectID, "", []string{"displayName", "keyCredentials"}, 403, app.ClientID},
		{"GET", "/v1.0/applications", "$select=id", nil, 403, app.ClientID},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(logged, tenant.Requests()); diff != "" {
		t.Errorf("Requests (-logged +kept):\n%s", diff)
	}
	tenant.ForgetRequests()
	if n := len(tenant.Requests()); n != 0 {
		t.Errorf("%d entries after ForgetRequests", n)
	}
}
