package graph_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// program puts a program of that name first on the PATH. It is sh.
func program(t *testing.T, name, body string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// works asks Graph something as the administrator.
func (w *world) works(t *testing.T, token rotator.Token) {
	t.Helper()
	if _, err := w.client.Keys(t.Context(), rotator.Access{Registration: w.registration(), Admin: token}, false); err != nil {
		t.Errorf("the token is of no use: %v", err)
	}
	if strings.Contains(w.log.String(), string(token)) {
		t.Error("the token is in the log")
	}
	for _, shown := range []string{fmt.Sprint(token), fmt.Sprintf("%#v", token), fmt.Sprintf("%+v", struct{ T rotator.Token }{token})} {
		if strings.Contains(shown, string(token)) {
			t.Error("the token prints itself")
		}
	}
}

// TestAdminByIdentity takes the tenant's own identity.
func TestAdminByIdentity(t *testing.T) {
	w := newWorld(t, nil)
	token, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminIdentity, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.works(t, token)
	without := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) { c.Tenants[0].Identity = graph.Identity{} })
	if _, err := without.client.AdminToken(t.Context(), "contoso", graph.AdminIdentity, nil); err == nil || !strings.Contains(err.Error(), "has no identity") {
		t.Errorf("without an identity: %v", err)
	}
	if _, err := w.client.AdminToken(t.Context(), "contoso", "magic", nil); !errors.Is(err, rotator.ErrUsage) {
		t.Errorf("another way: %v", err)
	}
}

// TestAdminByAzureCLI takes the token from the program az, which is asked for this
// tenant; the token is in no argument and no environment.
func TestAdminByAzureCLI(t *testing.T) {
	w := newWorld(t, nil)
	token, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminIdentity, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	answer, seen := filepath.Join(dir, "answer"), filepath.Join(dir, "seen")
	if err := os.WriteFile(answer, []byte(`{"accessToken":"`+string(token)+`","expires_on":4102444800,"expiresOn":"2100-01-01 00:00:00.000000"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	program(t, "az", `{ echo "$@"; env; } >"`+seen+`"; cat "`+answer+`"`)
	got, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminAzureCLI, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got != token {
		t.Error("it is another token")
	}
	w.works(t, got)
	asked, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(asked), "account get-access-token") || !strings.Contains(string(asked), w.tenant.TenantID()) {
		t.Errorf("az was asked %.300s", asked)
	}
	if strings.Contains(string(asked), string(token)) {
		t.Error("the token is in arguments or environment of az")
	}

	program(t, "az", `echo "ERROR: Please run 'az login' to setup account." >&2; exit 1`)
	if _, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminAzureCLI, nil); err == nil || !strings.Contains(err.Error(), "az login") {
		t.Errorf("nobody is logged in: %v; want az's own words", err)
	}
}

// deviceCode answers for a code on another device, as a person types it there at the
// second look. All else goes to the tenant.
type deviceCode struct {
	next   http.RoundTripper
	token  func() string
	refuse bool
	looks  int
}

func (d *deviceCode) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, nil
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/devicecode"):
		return answer(http.StatusOK, `{"user_code":"ABCD-EFGH","device_code":"dev","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":1,"message":"To sign in, open https://microsoft.com/devicelogin and enter the code ABCD-EFGH."}`)
	case bytes.Contains(body, []byte("device_code")):
		d.looks++
		switch {
		case d.looks == 1:
			return answer(http.StatusBadRequest, `{"error":"authorization_pending","error_description":"AADSTS70016: pending"}`)
		case d.refuse:
			return answer(http.StatusBadRequest, `{"error":"authorization_declined","error_description":"AADSTS70018: the user declined"}`)
		}
		return answer(http.StatusOK, `{"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600,"scope":"`+entraURL+`/.default","access_token":"`+d.token()+`"}`)
	}
	return d.next.RoundTrip(r)
}

// TestAdminByDeviceCode shows a person what to type, waits until it was typed, and
// takes the token.
func TestAdminByDeviceCode(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused=%v", refuse), func(t *testing.T) {
			t.Parallel()
			d := &deviceCode{refuse: refuse}
			w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
				d.next = c.Tenants[0].Cloud.Transport
				c.Tenants[0].Cloud.Transport = d
			})
			token, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminIdentity, nil)
			if err != nil {
				t.Fatal(err)
			}
			d.token = func() string { return string(token) }
			said := ""
			got, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminDevice, func(text string) { said = text })
			if !strings.Contains(said, "ABCD-EFGH") || d.looks != 2 {
				t.Errorf("the person reads %q; %d looks", said, d.looks)
			}
			if refuse {
				if err == nil {
					t.Error("a person declined, and there is a token")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.works(t, got)
		})
	}
}
