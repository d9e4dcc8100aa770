package control_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
)

// follow reads a rotation to its end, or to what it waits for.
func follow(t *testing.T, c *control.Client, id string, until func(control.Rotation) bool) control.Rotation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var last control.Rotation
	for r, err := range c.Follow(ctx, id) {
		if err != nil {
			t.Fatalf("Follow after %+v: %v", last, err)
		}
		last = r
		if until != nil && until(r) {
			break
		}
	}
	return last
}

// Both ways to the server: a real socket, and the same process.
func TestWholeRotation(t *testing.T) {
	ways := map[string]func(t *testing.T, w *world) *control.Client{
		"memory": func(t *testing.T, w *world) *control.Client { t.Helper(); return w.memory(t) },
		"socket": func(t *testing.T, w *world) *control.Client {
			t.Helper()
			path := socketPath(t)
			w.serve(t, path)
			return dial(t, path)
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0)
			c := way(t, w)
			added, err := c.Add(t.Context(), w.spec())
			if err != nil {
				t.Fatal(err)
			}
			if len(added.Roles) == 0 || added.App.Mode != "self" || added.App.Current == nil {
				t.Errorf("added: %+v, want roles, self mode and a certificate", added)
			}
			started, err := c.Start(t.Context(), "app-1", control.StartRequest{})
			if err != nil {
				t.Fatal(err)
			}
			r := follow(t, c, started.ID, nil)
			if r.Phase != "retired" || r.Open || r.EndedAt == nil {
				t.Errorf("the rotation ended as %+v, want retired", r)
			}
			status, err := c.Status(t.Context(), "app-1")
			if err != nil {
				t.Fatal(err)
			}
			app := status.Apps[0]
			if got := *app.ThumbprintSHA256; got != r.New.ThumbprintSHA256 || app.Next != nil || *app.Phase != "retired" || app.Open {
				t.Errorf("status %+v, want the new certificate in service", app)
			}
			history, err := c.History(t.Context(), "app-1", 0)
			if err != nil || len(history) != 1 {
				t.Errorf("History = %d rotations, %v, want 1", len(history), err)
			}
			one, err := c.Rotation(t.Context(), r.ID)
			if diff := cmp.Diff(r, one); err != nil || diff != "" {
				t.Errorf("Rotation: %v (-followed +read):\n%s", err, diff)
			}
			w.noSecrets(t, c)
		})
	}
}

// noSecrets asks for everything and looks for the pair's password and key.
func (w *world) noSecrets(t *testing.T, c *control.Client) {
	t.Helper()
	ctx := t.Context()
	var all bytes.Buffer
	keep := func(v any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
		if err := json.NewEncoder(&all).Encode(v); err != nil {
			t.Error(err)
		}
		fmt.Fprintf(&all, "%+v %#v\n", v, v)
	}
	status, err := c.Status(ctx)
	keep(status, err)
	apps, err := c.Apps(ctx)
	keep(apps, err)
	history, err := c.History(ctx, "", 0)
	keep(history, err)
	var plan []control.PlanItem
	err = c.Plan(ctx, 0, func(item control.PlanItem) error { plan = append(plan, item); return nil })
	keep(plan, err)
	checks, err := c.Test(ctx, "app-1")
	keep(checks, err)
	report, err := c.Check(ctx)
	keep(report, err)
	_, err = c.Add(ctx, w.spec())
	keep(fmt.Sprint(err), nil)
	seed := w.seeds.Apps[0]
	for name, secret := range map[string]string{
		"password": seed.Password, "PEM": "PRIVATE KEY",
		"PFX": base64.StdEncoding.EncodeToString(seed.PFX)[:60],
	} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("the answers hold the %s", name)
		}
	}
	spec := w.spec()
	for _, text := range []string{fmt.Sprintf("%v", spec), fmt.Sprintf("%+v", spec), fmt.Sprintf("%#v", spec), spec.LogValue().String()} {
		if text != "app app-1" {
			t.Errorf("a spec prints as %q", text)
		}
	}
}

func TestRoutes(t *testing.T) {
	w := newWorld(t, time.Hour)
	c := w.memory(t)
	ctx := t.Context()
	if _, err := c.Add(ctx, w.spec()); err != nil {
		t.Fatal(err)
	}

	app, err := c.App(ctx, "app-1")
	if err != nil || app.PolicyInForce.Overlap.String() != "1h" || app.Policy.Overlap != nil {
		t.Errorf("App = %+v, %v, want an overlap of 1h in force and none of its own", app, err)
	}
	apps, err := c.Apps(ctx)
	if err != nil || len(apps) != 1 {
		t.Errorf("Apps = %v, %v, want one", apps, err)
	}
	owner, overlap := "ops", control.Duration(2*time.Hour)
	edited, err := c.Edit(ctx, "app-1", control.Edit{Owner: &owner, Policy: &control.Policy{Overlap: &overlap, Key: "rsa-3072"}})
	if err != nil || edited.App.Owner != "ops" || edited.App.Policy.Key != "rsa-3072" || len(edited.Changes) == 0 {
		t.Errorf("Edit = %+v, %v", edited, err)
	}
	if _, err := c.Edit(ctx, "app-1", control.Edit{Policy: &control.Policy{Key: "ed25519"}}); !errors.Is(err, rotator.ErrUsage) {
		t.Errorf("Edit with another key = %v, want ErrUsage", err)
	}
	until := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	if err := c.Pause(ctx, "", until); err != nil {
		t.Error(err)
	}
	status, err := c.Status(ctx)
	if err != nil || status.PausedUntil == nil || !status.PausedUntil.Equal(until) {
		t.Errorf("Status = %+v, %v, want paused until %v", status, err, until)
	}
	if done, err := c.Resume(ctx, "", false); err != nil || len(done) == 0 {
		t.Errorf("Resume = %v, %v", done, err)
	}
	differences, err := c.Apply(ctx, control.ApplyRequest{Apps: []control.AppSpec{w.spec()}, DryRun: true})
	if err != nil || len(differences) != 1 || differences[0].Action != "change" {
		t.Errorf("Apply = %+v, %v, want one change", differences, err)
	}
	if err := c.RebindTenant(ctx, "contoso"); err != nil {
		t.Error(err)
	}
	if err := c.RebindTenant(ctx, "fabrikam"); !errors.Is(err, rotator.ErrNoTenant) {
		t.Errorf("RebindTenant of an unknown tenant = %v, want ErrNoTenant", err)
	}

	started, err := c.StartDue(ctx)
	if err != nil || len(started.Rotations) != 1 || len(started.Errors) != 0 {
		t.Fatalf("StartDue = %+v, %v, want one rotation", started, err)
	}
	r := follow(t, c, started.Rotations[0].ID, func(r control.Rotation) bool { return r.WaitingFor != nil && *r.WaitingFor == "overlap" })
	if r.Phase != "confirmed" || r.RetiresAt == nil {
		t.Errorf("waiting for the overlap: %+v, want confirmed", r)
	}
	if _, err := c.Confirm(ctx, "app-1", control.ConfirmRequest{Code: "00000000"}); !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("Confirm with a wrong code = %v, want ErrRefused", err)
	}
	if _, err := c.Remove(ctx, "app-1", false, false); !errors.Is(err, rotator.ErrRotating) && !errors.Is(err, rotator.ErrRefused) {
		t.Errorf("Remove while rotating = %v, want a refusal", err)
	}
	back, err := c.RollBack(ctx, "app-1")
	if err != nil || back.Back != "person" {
		t.Fatalf("RollBack = %+v, %v", back, err)
	}
	// The consumer may have read the new one, so that it stays for the overlap, too.
	r = follow(t, c, back.ID, func(r control.Rotation) bool { return r.WaitingFor != nil && *r.WaitingFor == "overlap" })
	if r.Phase != "rolling_back" {
		t.Errorf("waiting for the overlap: %+v, want rolling_back", r)
	}
	none := control.Duration(0)
	if _, err := c.Edit(ctx, "app-1", control.Edit{Policy: &control.Policy{Overlap: &none, Key: "rsa-3072"}}); err != nil {
		t.Error(err)
	}
	if r := follow(t, c, back.ID, nil); r.Phase != "rolled_back" {
		t.Errorf("rolled back: %+v", r)
	}
	removed, err := c.Remove(ctx, "app-1", true, false)
	if err != nil || removed.KeysKept {
		t.Errorf("Remove = %+v, %v, want the keys gone", removed, err)
	}
	for name, err := range map[string]error{
		"App":    func() error { _, err := c.App(ctx, "app-1"); return err }(),
		"Start":  func() error { _, err := c.Start(ctx, "app-1", control.StartRequest{}); return err }(),
		"Test":   func() error { _, err := c.Test(ctx, "app-1"); return err }(),
		"Follow": func() error { _, err := c.Rotation(ctx, "nosuch"); return err }(),
	} {
		if !errors.Is(err, rotator.ErrNotFound) {
			t.Errorf("%s of an app that is gone = %v, want ErrNotFound", name, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, 0)
	path := socketPath(t)
	w.serve(t, path)
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		code, message            string
	}{
		{"unknown field", "POST", "/v1/apps", `{"name":"a","nam":"b"}`, 400, "usage", `unknown field "nam"`},
		{"not JSON", "POST", "/v1/apps", `name: a`, 400, "usage", "invalid character"},
		{"wrong type", "POST", "/v1/apps", `{"name":7}`, 400, "usage", "cannot unmarshal number"},
		{"two values", "POST", "/v1/apps", `{"name":"a"} {}`, 400, "usage", "more than one"},
		{"no body", "POST", "/v1/apps", ``, 400, "usage", "without a body"},
		{"bad duration", "PATCH", "/v1/apps/a", `{"policy":{"overlap":"soon"}}`, 400, "usage", `"soon" is not a duration`},
		{"too large", "POST", "/v1/pause", `{"app":"` + strings.Repeat("x", 65<<10) + `"}`, 413, "too_large", "too large"},
		{"bad flag", "DELETE", "/v1/apps/a?purge=maybe", ``, 400, "usage", `purge="maybe"`},
		{"bad limit", "GET", "/v1/history?limit=-1", ``, 400, "usage", `limit "-1"`},
		{"unknown app", "GET", "/v1/apps/nosuch", ``, 404, "not_found", "nosuch"},
		{"unknown rotation", "GET", "/v1/rotations/nosuch/events", ``, 404, "not_found", "nosuch"},
		{"unknown route", "GET", "/v2/status", ``, 404, "unknown_route", "same version"},
		{"unknown method", "PUT", "/v1/status", ``, 404, "unknown_route", "same version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, "http://rotate"+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			var answer struct{ Error control.Error }
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			if response.StatusCode != test.status || answer.Error.Code != test.code || !strings.Contains(answer.Error.Message, test.message) {
				t.Errorf("%s %s = %d %s, want %d %s %q", test.method, test.path, response.StatusCode, body, test.status, test.code, test.message)
			}
		})
	}
}

// A daemon that stops ends the streams and says so.
func TestStoppedDaemonEndsStream(t *testing.T) {
	w := newWorld(t, time.Hour)
	path := socketPath(t)
	stop := w.serve(t, path)
	c := dial(t, path)
	if _, err := c.Add(t.Context(), w.spec()); err != nil {
		t.Fatal(err)
	}
	started, err := c.Start(t.Context(), "app-1", control.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got error
	for r, err := range c.Follow(t.Context(), started.ID) {
		if err != nil {
			got = err
			break
		}
		if r.WaitingFor != nil && *r.WaitingFor == "overlap" {
			go stop()
		}
	}
	if !errors.Is(got, control.ErrEnded) {
		t.Errorf("the stream ended with %v, want ErrEnded", got)
	}
	stop() // the stream ends before the socket does
	if _, err := c.Status(t.Context()); !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("Status of a stopped daemon = %v, want ErrNoDaemon", err)
	}
}

// Who leaves a stream gets the context's error, in memory too.
func TestFollowCancelled(t *testing.T) {
	w := newWorld(t, time.Hour)
	c := w.memory(t)
	if _, err := c.Add(t.Context(), w.spec()); err != nil {
		t.Fatal(err)
	}
	started, err := c.Start(t.Context(), "app-1", control.StartRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got error
	for r, err := range c.Follow(ctx, started.ID) {
		got = err
		if r.WaitingFor != nil && *r.WaitingFor == "overlap" {
			cancel()
		}
	}
	if !errors.Is(got, context.Canceled) {
		t.Errorf("Follow = %v, want context.Canceled", got)
	}
}

// What was done is never called cancelled because its answer, which has no body, was
// complete before anybody looked.
func TestAnswersInMemoryAtOnce(t *testing.T) {
	w := newWorld(t, 0)
	w.server.Reload = func(context.Context, string) ([]string, error) { return nil, nil }
	c := w.memory(t)
	for i := range 20_000 {
		if _, err := c.Reload(t.Context()); err != nil {
			t.Fatalf("call %d: %v", i+1, err)
		}
	}
}

func TestServerWarningsAreInTheStatus(t *testing.T) {
	w := newWorld(t, 0)
	w.server.Warnings = []string{"look here"}
	status, err := w.memory(t).Status(t.Context())
	if err != nil || len(status.Warnings) != 1 || status.Warnings[0] != "look here" {
		t.Errorf("Status = %+v, %v, want the warning", status, err)
	}
}
