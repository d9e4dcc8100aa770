package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// inventory lists the tenant: what was found, and the pauses that were told.
func inventory(ctx context.Context, c *graph.Client) (found []rotator.Registered, pages int, pauses []time.Duration, err error) {
	err = c.Registered(ctx, "contoso", func(p rotator.InventoryPage) error {
		if p.Waiting > 0 {
			pauses = append(pauses, p.Waiting)
			return nil
		}
		pages++
		found = append(found, p.Found...)
		return nil
	})
	return found, pages, pauses, err
}

func TestRegistered(t *testing.T) {
	w := newWorld(t, nil)
	saml := newPair(t, 1, 90*24*time.Hour)
	signing, err := w.tenant.AddSigningCertificate(w.app.ClientID, emulator.KeyCredential{DisplayName: "CN=SSO", Certificate: saml.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	found, pages, _, err := inventory(t.Context(), w.client)
	if err != nil {
		t.Fatal(err)
	}
	if pages != 2 {
		t.Errorf("%d pages, want 2: apps and service principals", pages)
	}
	var apps, principals []rotator.Registered
	for _, r := range found {
		if r.Kind == rotator.RegisteredApp {
			apps = append(apps, r)
		} else {
			principals = append(principals, r)
		}
	}
	if len(apps) != 2 || len(principals) != 1 {
		t.Fatalf("%d apps and %d service principals, want 2 and 1: those without credentials are left out", len(apps), len(principals))
	}
	app := apps[1]
	if app.DisplayName != "Contoso Sync" || string(app.ClientID) != w.app.ClientID || string(app.ObjectID) != w.app.ObjectID {
		t.Errorf("app = %+v", app)
	}
	if diff := cmp.Diff([]string{"admin"}, app.Owners); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	if len(app.Credentials) != 2 || app.Credentials[0].Kind != rotator.FoundCertificate || app.Credentials[1].Kind != rotator.FoundSecret {
		t.Fatalf("credentials = %+v", app.Credentials)
	}
	c := app.Credentials[0]
	if c.KeyID != w.keyID || c.Thumbprint != "" || c.ThumbprintSHA1 != rotator.ThumbprintSHA1(w.pair.Certificate) || c.NotAfter.IsZero() {
		t.Errorf("certificate = %+v", c)
	}
	if got := principals[0].Credentials; len(got) != 1 || got[0].Kind != rotator.FoundSAML || string(got[0].KeyID) != signing || got[0].ThumbprintSHA1 != rotator.ThumbprintSHA1(saml.Certificate) {
		t.Errorf("SAML: %+v, want one entry of the three", got)
	}
}

// TestRegisteredManyPages also deletes an app while it is listed.
func TestRegisteredManyPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		for i := range 2500 {
			if _, err := w.tenant.AddApplication(emulator.Application{Name: fmt.Sprint("app ", i), ClientID: guid(i)}); err != nil {
				t.Fatal(err)
			}
		}
		deleted := false
		seen := map[rotator.ClientID]int{}
		pages := 0
		err := w.client.Registered(t.Context(), "contoso", func(p rotator.InventoryPage) error {
			pages++
			for _, r := range p.Found {
				seen[r.ClientID]++
			}
			if !deleted {
				deleted = true
				return errors.Join(w.tenant.DeleteApplication(guid(2400)), w.tenant.DeleteApplication(guid(3)))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// 2,502 apps on 3 pages, as many service principals on 3 more.
		if pages != 6 || len(seen) != 2501 {
			t.Errorf("%d apps on %d pages, want 2501 on 6", len(seen), pages)
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("app %s was listed %d times", id, n)
			}
		}
	})
}

func guid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// TestRegisteredThrottled: a pause that Graph asks for is kept to and told.
func TestRegisteredThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(tenant *emulator.Tenant, _ *graph.Config) { tenant.KeyReadsPerMinute = 1 })
		begun := time.Now()
		found, _, pauses, err := inventory(t.Context(), w.client)
		if err != nil || len(found) != 2 {
			t.Fatalf("found %d, err %v; want 2 apps", len(found), err)
		}
		if len(pauses) == 0 || time.Since(begun) < 50*time.Second {
			t.Errorf("it took %v with pauses %v; one list a minute was allowed", time.Since(begun), pauses)
		}
	})
}

func TestRegisteredManyCredentials(t *testing.T) {
	w := newWorld(t, nil)
	for range 999 {
		if _, err := w.tenant.AddKeyCredential(w.app.ClientID, emulator.KeyCredential{Certificate: w.pair.Certificate}); err != nil {
			t.Fatal(err)
		}
	}
	found, _, _, err := inventory(t.Context(), w.client)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(found[1].Credentials); n != 1001 {
		t.Errorf("%d credentials, want 1,000 certificates and a secret", n)
	}
}

func TestRegisteredRefused(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.tenant.Withdraw(w.admin.ClientID, "Application.ReadWrite.OwnedBy"); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := inventory(t.Context(), w.client)
	f := failure(t, err)
	if f.Reason != rotator.ReasonForbidden || !strings.Contains(f.Next, "Application.Read.All") || !strings.HasPrefix(f.Message, "tenant contoso: list app registrations: ") {
		t.Errorf("failure = %+v", f)
	}
}

// TestRegisteredAstray: a link that leads elsewhere or in a circle ends it, and
// an answer that is no list is no empty tenant.
func TestRegisteredAstray(t *testing.T) {
	for name, body := range map[string]string{
		"another host": `{"value":[],"@odata.nextLink":"https://elsewhere.test/v1.0/applications"}`,
		"no list":      `{"@odata.context":"x"}`,
		"no JSON":      `<html>`,
		"broken off":   `{"value":[{"id":"x"}`,
		"wrong type":   `{"value":[{"keyCredentials":"none"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
					c.Tenants[0].Cloud.Transport = answering{c.Tenants[0].Cloud.Transport, body}
				})
				found, _, _, err := inventory(t.Context(), w.client)
				if err == nil {
					t.Errorf("no error; %d found", len(found))
				}
			})
		})
	}
}

// answering answers every list with one body.
type answering struct {
	http.RoundTripper
	body string
}

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/applications") {
		return a.RoundTripper.RoundTrip(r)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: r,
		Body: readCloser{bytes.NewReader([]byte(a.body))},
	}, nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// TestS8Pages: of what a hostile tenant sends, one object at a time is in memory, and what
// is kept of a page is bounded, whatever it is made of.
func TestS8Pages(t *testing.T) {
	many := func(one string, n int) string { return `{"value":[` + strings.Repeat(one+",", n) + one + `]}` }
	for name, test := range map[string]struct{ body, want string }{
		"one long name":           {`{"value":[{"displayName":"` + strings.Repeat("x", 1<<20) + `"}]}`, "one object is larger than 512 KiB"},
		"a long name of a field":  {`{"` + strings.Repeat("x", 1<<20) + `":1}`, "one object is larger than 512 KiB"},
		"a long field":            {`{"odd":"` + strings.Repeat("x", 1<<20) + `","value":[]}`, "one object is larger than 512 KiB"},
		"spaces":                  {`{"value":[` + strings.Repeat(" ", 1<<20) + `]}`, "one object is larger than 512 KiB"},
		"very many apps":          {many(`{}`, 1<<20), "one page holds more than 8 MiB"},
		"very many keys":          {many(`{"keyCredentials":[`+strings.Repeat("{},", 1000)+`{}]}`, 500), "one page holds more than 8 MiB"},
		"64 MiB of ordinary apps": {many(`{"id":"x","unknown":"`+strings.Repeat("x", 64<<10)+`"}`, 1024), "32 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
					c.Tenants[0].Cloud.Transport = answering{c.Tenants[0].Cloud.Transport, test.body}
				})
				runtime.GC()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				found, _, _, err := inventory(t.Context(), w.client)
				runtime.ReadMemStats(&after)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%d found, %.300v; want %q", len(found), err, test.want)
				}
				if took := (after.Sys - before.Sys) >> 20; after.Sys > before.Sys && took > 200 {
					t.Errorf("it took %d MiB from the system", took)
				}
			})
		})
	}
}
