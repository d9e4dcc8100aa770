package graph_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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

// browserCode answers for the sign-in page: it takes the code that the browser brought
// back, once. All else goes to the tenant.
type browserCode struct {
	next  http.RoundTripper
	token func() string
	form  url.Values
}

func (b *browserCode) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") {
		return b.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	if form.Get("grant_type") != "authorization_code" {
		r.Body = io.NopCloser(bytes.NewReader(body))
		return b.next.RoundTrip(r)
	}
	b.form = form
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"token_type":"Bearer","expires_in":3600,"ext_expires_in":3600,"scope":"` + entraURL + `/.default","access_token":"` + b.token() + `"}`)),
	}, nil
}

// TestAdminByBrowser opens the sign-in page of this tenant in the person's browser,
// takes the code that comes back to the loopback address, with the proof of possession
// that belongs to it, and refuses a code that it did not ask for.
func TestAdminByBrowser(t *testing.T) {
	b := &browserCode{}
	w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
		b.next = c.Tenants[0].Cloud.Transport
		c.Tenants[0].Cloud.Transport = b
	})
	token, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminIdentity, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.token = func() string { return string(token) }
	for name, tampered := range map[string]bool{"signed in": false, "another state": true} {
		t.Run(name, func(t *testing.T) {
			// The browser tells where it was sent through a pipe, which nobody has to poll.
			opened := filepath.Join(t.TempDir(), "opened")
			if err := unix.Mkfifo(opened, 0o600); err != nil {
				t.Fatal(err)
			}
			program(t, "xdg-open", `printf '%s' "$1" >"`+opened+`"`)
			page := make(chan string, 1)
			go func() {
				data, err := os.ReadFile(opened)
				if err != nil {
					page <- err.Error()
					return
				}
				page <- string(data)
				at, err := url.Parse(string(data))
				if err != nil {
					return
				}
				q := at.Query()
				state := q.Get("state")
				if tampered {
					state = "somebody-else"
				}
				// The page has the browser post it (response_mode=form_post).
				back, err := http.PostForm(q.Get("redirect_uri"), url.Values{"code": {"the-code"}, "state": {state}})
				if err == nil {
					back.Body.Close()
				}
			}()
			b.form = nil
			got, err := w.client.AdminToken(t.Context(), "contoso", graph.AdminBrowser, nil)
			at, parseErr := url.Parse(<-page)
			if parseErr != nil {
				t.Fatal(parseErr)
			}
			q := at.Query()
			if !strings.HasPrefix(at.Path, "/"+w.tenant.TenantID()+"/") || q.Get("code_challenge_method") != "S256" || q.Get("response_mode") != "form_post" || !strings.HasPrefix(q.Get("redirect_uri"), "http://localhost:") {
				t.Errorf("the browser was sent to %s", at)
			}
			if tampered {
				if err == nil || b.form != nil {
					t.Errorf("a code that nobody asked for was taken: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			digest := sha256.Sum256([]byte(b.form.Get("code_verifier")))
			if b.form.Get("code") != "the-code" || base64.RawURLEncoding.EncodeToString(digest[:]) != q.Get("code_challenge") {
				t.Error("the code was not redeemed with its proof")
			}
			w.works(t, got)
		})
	}
}
