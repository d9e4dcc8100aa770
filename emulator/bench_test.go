package emulator_test

import (
	"net/http"
	"testing"

	"github.com/seed-f0abd057/rotate/emulator"
)

func request(tb testing.TB, token, path string) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// BenchmarkToken is what one cold token costs, the client's signature included.
func BenchmarkToken(b *testing.B) {
	tenant := newTenant(b)
	p := fresh(b, 0)
	app := addApp(b, tenant, emulator.Application{}, p)
	c := newClient(b, tenant)
	for b.Loop() {
		c.assertionToken(app.ClientID, p.assertion(b, tenant, app.ClientID))
	}
}

// BenchmarkRead is what one read of an app costs.
func BenchmarkRead(b *testing.B) {
	tenant := newTenant(b)
	app := addApp(b, tenant, emulator.Application{Permissions: []string{"Application.Read.All"}}, fresh(b, 0))
	c := newClient(b, tenant).as(app)
	for b.Loop() {
		resp, err := c.trip.RoundTrip(request(b, c.token, "/v1.0/applications/"+app.ObjectID))
		if err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status)
		}
	}
}
