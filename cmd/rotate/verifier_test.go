package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/rotator/verify"
	"github.com/seed-f0abd057/rotate/store"
)

// signingKeys are made once.
var signingKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	made := make([]*rsa.PrivateKey, 2)
	for i := range made {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		made[i] = key
	}
	return made
})

// verifyWorld is a tenant and a host, whose daemons are started and stopped.
type verifyWorld struct {
	t      *testing.T
	dir    string
	tenant *emulator.Tenant
	admin  emulator.Application
	log    *bytes.Buffer
	mu     sync.Mutex // guards log
}

const (
	verifyTenant = "11111111-2222-3333-4444-555555555555"
	verifySecret = "S3cret~of.the-identity"
)

func newVerifyWorld(t *testing.T, permissions ...string) *verifyWorld {
	t.Helper()
	w := &verifyWorld{t: t, dir: t.TempDir(), tenant: &emulator.Tenant{ID: verifyTenant, SigningKey: signingKeys()[0]}, log: &bytes.Buffer{}}
	var err error
	if w.admin, err = w.tenant.AddApplication(emulator.Application{
		Name: "admin", Permissions: permissions, Secrets: []emulator.Secret{{Text: verifySecret}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Init(t.Context(), store.InitOptions{Path: w.path(), IdentityFile: filepath.Join(w.dir, "store.key")}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *verifyWorld) path() string { return filepath.Join(w.dir, "rotate.db") }

// Write keeps a line of the log.
func (w *verifyWorld) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(line)
}

// verifyDaemon is the part of a daemon that verifies tenants.
type verifyDaemon struct {
	*verifier
	conn *connection
	stop func()
}

// start starts a daemon; stop is as SIGTERM.
func (w *verifyWorld) start() *verifyDaemon {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w, nil))
	db, err := store.Open(w.t.Context(), store.Options{Path: w.path(), IdentityFile: filepath.Join(w.dir, "store.key"), Logger: log, NoSync: true})
	if err != nil {
		w.t.Fatal(err)
	}
	entra, err := graph.New(graph.Config{Logger: log, Tenants: []graph.Tenant{{
		Name: "contoso", ID: verifyTenant,
		Cloud: graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", Transport: w.tenant.Transport()},
		Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
			ClientID: rotator.ClientID(w.admin.ClientID), Secret: func() (string, error) { return verifySecret, nil },
		}},
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	d := &verifyDaemon{verifier: &verifier{mark: db.ID(), version: "1.2.3", log: log, entra: &client{}, stopped: make(chan struct{})}}
	d.entra.Store(entra)
	d.rotator = &rotator.Rotator{
		Store: db, Entra: entra, Observed: entra, Encoder: encoder{}, Logger: log, Version: majorOf("1.2.3"), ParseSchedule: parseSchedule,
		Deliverer: &deliver.Deliverer{Encoder: encoder{}, Logger: log},
	}
	server := &control.Server{Rotator: d.rotator, Logger: log, Verifier: d.verifier}
	running, cancel := context.WithCancel(w.t.Context())
	transport := server.Transport(w.t.Context(), "a person")
	d.conn = &connection{Client: control.NewClient(transport)}
	var work sync.WaitGroup
	work.Go(func() { d.resume(running) })
	d.stop = sync.OnceFunc(func() {
		cancel()
		err := transport.Close()
		work.Wait()
		if err := errors.Join(err, entra.Close(), db.Close()); err != nil {
			w.t.Error(err)
		}
	})
	return d
}

// commandLine runs the command's own function and returns what it printed.
func (d *verifyDaemon) commandLine(ctx context.Context, request control.VerifyRequest, report string, heard func(string)) (out, told string, err error) {
	var stdout, stderr bytes.Buffer
	a := &app{environment: &environment{stdout: &stdout, stderr: &hearing{&stderr, heard}, getenv: func(string) string { return "" }}}
	files, err := newReportFiles(report)
	if err == nil {
		err = a.verify(ctx, d.conn, "contoso", request, files)
	}
	return stdout.String(), stderr.String(), err
}

// hearing calls back with each line.
type hearing struct {
	io.Writer
	heard func(string)
}

func (h *hearing) Write(line []byte) (int, error) {
	if h.heard != nil {
		h.heard(string(line))
	}
	return h.Writer.Write(line)
}

// raw lists what is in the tenant under a path, read with the rights of its identity.
func (w *verifyWorld) raw(path string) (names []string) {
	w.t.Helper()
	entra, err := graph.New(graph.Config{Tenants: []graph.Tenant{{
		Name: "contoso", ID: verifyTenant,
		Cloud: graph.Cloud{Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", Transport: w.tenant.Transport()},
		Identity: graph.Identity{ClientSecret: &graph.ClientSecret{
			ClientID: rotator.ClientID(w.admin.ClientID), Secret: func() (string, error) { return verifySecret, nil },
		}},
	}}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer entra.Close()
	raw, err := entra.Raw("contoso", "")
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := raw.Graph(w.t.Context(), verify.Request{Method: http.MethodGet, Path: "/v1.0/" + path})
	var list struct {
		Value []struct {
			Name string `json:"displayName"`
		} `json:"value"`
	}
	if err == nil {
		err = json.Unmarshal(a.Body, &list)
	}
	if err != nil || a.Status != http.StatusOK {
		w.t.Fatalf("%s: %d, %v", path, a.Status, err)
	}
	for _, o := range list.Value {
		names = append(names, o.Name)
	}
	return names
}

// checkClean fails if anything of a verification is in the tenant, the deleted objects
// among it.
func (w *verifyWorld) checkClean() {
	w.t.Helper()
	for _, path := range []string{
		"applications", "servicePrincipals", "directory/deletedItems/microsoft.graph.application", "directory/deletedItems/microsoft.graph.servicePrincipal",
	} {
		if i := slices.IndexFunc(w.raw(path), func(name string) bool { return strings.HasPrefix(name, "rotate-verify-") }); i >= 0 {
			w.t.Errorf("%s: an app of a verification is left", path)
		}
	}
}

// unfinished is when the run began that has not cleaned up; nil: there is none.
func (d *verifyDaemon) unfinished(t *testing.T) *time.Time {
	t.Helper()
	facts, err := d.conn.Facts(t.Context(), "contoso")
	if err != nil {
		t.Fatal(err)
	}
	return facts.Unfinished
}

func ownedBy() []string {
	return []string{"Application.ReadWrite.OwnedBy", "Policy.Read.All", "AuditLog.Read.All"}
}

// TestVerifyAsIdentity runs all of it with the tenant's identity: what is printed, the
// three files, the exit code, what is learned and what is left.
func TestVerifyAsIdentity(t *testing.T) {
	signingKeys()
	for name, one := range map[string]struct {
		set  func(*emulator.Tenant)
		code int
	}{
		"as assumed": {func(*emulator.Tenant) {}, exitDone},
		"differs":    {func(e *emulator.Tenant) { e.Facts.Base64CustomID = true }, exitAttention},
		"fails":      {func(e *emulator.Tenant) { e.Facts.OwnCA = true }, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newVerifyWorld(t, ownedBy()...)
				one.set(w.tenant)
				d := w.start()
				defer d.stop()
				path := filepath.Join(w.dir, "contoso.md")
				out, progress, err := d.commandLine(t.Context(), control.VerifyRequest{Wait: control.Duration(time.Hour), Scope: "https://outlook.office365.com/.default"}, path, nil)
				var stderr bytes.Buffer
				if code := report(&stderr, err); code != one.code {
					t.Errorf("exit code %d (%v), want %d", code, err, one.code)
				}
				w.checkClean()
				if d.unfinished(t) != nil {
					t.Error("the run has not ended")
				}
				if !strings.Contains(out, "attach it to "+issuesURL) || !strings.Contains(progress, "step 1: create the app") {
					t.Errorf("printed %q and %q", out, progress)
				}
				for file, mode := range map[string]os.FileMode{"contoso.md": 0o644, "contoso.json": 0o644, "contoso.requests.json": 0o600} {
					content, err := os.ReadFile(filepath.Join(w.dir, file))
					if err != nil {
						t.Fatal(err)
					}
					info, err := os.Stat(filepath.Join(w.dir, file))
					if err != nil || info.Mode().Perm()&^mode != 0 {
						t.Errorf("%s has mode %v, want %v: %v", file, info.Mode().Perm(), mode, err)
					}
					id := regexp.MustCompile(`[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}`).Find(content)
					if isOwn := file == "contoso.requests.json"; isOwn != (id != nil) {
						t.Errorf("%s has the ID %q", file, id)
					}
				}
				facts, err := d.conn.Facts(t.Context(), "contoso")
				if err != nil || one.code != exitFailed && len(facts.Verified) < 70 || facts.Old != "" {
					t.Errorf("%d facts were learned, old: %q, %v", len(facts.Verified), facts.Old, err)
				}
			})
		})
	}
}

// TestVerifyInterrupted has the person press Ctrl-C in some of the steps: the run cleans up and
// leaves nothing. In the wait for the sign-in log, the daemon goes on alone, also after
// it was started again.
func TestVerifyInterrupted(t *testing.T) {
	signingKeys()
	for _, step := range []int{1, 3, 6, 9} {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newVerifyWorld(t, ownedBy()...)
				d := w.start()
				defer d.stop()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				_, told, err := d.commandLine(ctx, control.VerifyRequest{}, "", func(line string) {
					if strings.HasPrefix(line, fmt.Sprintf("step %d:", step)) {
						time.AfterFunc(3*time.Second, cancel)
					}
				})
				if !errors.Is(err, context.Canceled) || !strings.Contains(told, "rotate cleans up now") {
					t.Errorf("ended with %v: %s", err, told)
				}
				time.Sleep(15 * time.Minute)
				synctest.Wait()
				w.checkClean()
				if d.unfinished(t) != nil {
					t.Error("the run has not ended")
				}
			})
		})
	}
	t.Run("waiting for the log", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newVerifyWorld(t, ownedBy()...)
			w.tenant.SignInDelay = 100 * time.Minute
			d := w.start()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, _, err := d.commandLine(ctx, control.VerifyRequest{Wait: control.Duration(2 * time.Hour)}, "", func(line string) {
				if strings.HasPrefix(line, "step 10:") {
					cancel()
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
			w.checkClean()
			time.Sleep(10 * time.Minute)
			d.stop()
			d = w.start()
			defer d.stop()
			if d.unfinished(t) == nil {
				t.Fatalf("the wait for the log is forgotten:\n%s", w.log)
			}
			time.Sleep(2 * time.Hour)
			facts, err := d.conn.Facts(t.Context(), "contoso")
			if err != nil || facts.Verified["log_key_id"].Value != "filled" || facts.Verified["log_shows_after"].Value == "" || facts.Unfinished != nil {
				t.Errorf("the log: %+v, unfinished %v, %v; want that the next daemon has read it", facts.Verified["log_shows_after"], facts.Unfinished, err)
			}
		})
	})
}

// death is what a killed daemon leaves: its store and the tenant as they are then.
type death struct {
	files  map[string][]byte
	tenant *emulator.Tenant
}

// dies takes it.
func (w *verifyWorld) dies() *death {
	d := &death{map[string][]byte{}, w.tenant.Clone()}
	files, err := os.ReadDir(w.dir)
	for _, f := range files {
		content, readErr := os.ReadFile(filepath.Join(w.dir, f.Name()))
		d.files[f.Name()], err = content, errors.Join(err, readErr)
	}
	if err != nil {
		w.t.Error(err)
	}
	return d
}

// after is the world after the death. The one that lived on is stopped.
func (w *verifyWorld) after(d *death) *verifyWorld {
	w.t.Helper()
	if d == nil {
		w.t.Fatal("it was not killed")
	}
	// In place: the store notices a copy.
	for name, content := range d.files {
		if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	d.tenant.Configure(func(e *emulator.Tenant) { e.Intercept, e.Log = nil, nil })
	return &verifyWorld{t: w.t, dir: w.dir, tenant: d.tenant, admin: w.admin, log: &bytes.Buffer{}}
}

// afterKill kills the daemon just before a write of a verification.
func (w *verifyWorld) afterKill(write int) *verifyWorld {
	w.t.Helper()
	d := w.start()
	var left *death
	n := 0
	w.tenant.Configure(func(e *emulator.Tenant) {
		e.Intercept = func(q emulator.Request) *emulator.Fault {
			if q.Method != http.MethodGet && !q.IsToken() {
				if n++; n == write {
					left = w.dies()
				}
			}
			return nil
		}
	})
	_, _, _ = d.commandLine(w.t.Context(), control.VerifyRequest{}, "", nil) // the one that lives on does not matter
	d.stop()
	return w.after(left)
}

// TestVerifyDaemonKilled kills the daemon, and starts it again: it cleans up by itself,
// or with --cleanup where its identity is not allowed to.
func TestVerifyDaemonKilled(t *testing.T) {
	signingKeys()
	for _, write := range []int{2, 4, 30} {
		t.Run(fmt.Sprint("write ", write), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newVerifyWorld(t, ownedBy()...).afterKill(write)
				if !slices.ContainsFunc(w.raw("applications"), func(name string) bool { return strings.HasPrefix(name, "rotate-verify-") }) {
					t.Fatal("the kill left no app")
				}
				d := w.start()
				defer d.stop()
				time.Sleep(20 * time.Minute)
				w.checkClean()
				if d.unfinished(t) != nil || !strings.Contains(w.log.String(), "a verification was stopped and is cleaned up") {
					t.Errorf("not cleaned up:\n%s", w.log)
				}
			})
		})
	}
	t.Run("by the administrator", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newVerifyWorld(t, ownedBy()...).afterKill(30)
			if err := w.tenant.Withdraw(w.admin.ClientID, "Application.ReadWrite.OwnedBy"); err != nil {
				t.Fatal(err)
			}
			d := w.start()
			defer d.stop()
			time.Sleep(2*tidyEvery + time.Minute) // between two tries
			if d.unfinished(t) == nil || strings.Count(w.log.String(), "could not be cleaned up") != 1 {
				t.Errorf("want one warning:\n%s", w.log)
			}
			if _, _, err := d.commandLine(t.Context(), control.VerifyRequest{}, "", nil); err == nil || !strings.Contains(err.Error(), "--cleanup") {
				t.Errorf("a second run begins: %v", err)
			}
			if err := w.tenant.Grant(w.admin.ClientID, "Application.ReadWrite.All"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Hour) // until the token without the right has ended
			out, _, err := d.commandLine(t.Context(), control.VerifyRequest{CleanUp: true}, "", nil)
			if err != nil || !strings.Contains(out, "nothing is left of a verification") {
				t.Errorf("--cleanup: %q, %v", out, err)
			}
			w.checkClean()
		})
	})
}

// own adds an app in self mode and has rotate track it.
func (w *verifyWorld) own(d *verifyDaemon, permissions []string, marked bool) emulator.Application {
	w.t.Helper()
	now, key := time.Now(), signingKeys()[1]
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "own"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(300 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		w.t.Fatal(err)
	}
	app, err := w.tenant.AddApplication(emulator.Application{
		Name: "own", Permissions: permissions, Created: now.Add(-time.Hour), KeyCredentials: []emulator.KeyCredential{{Certificate: der, DisplayName: "mine"}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	pfx, err := encoder{}.Encode("modern", key, der, nil, "password", "")
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = d.rotator.Add(w.t.Context(), rotator.AppSpec{
		Name: "own", Tenant: "contoso", ClientID: rotator.ClientID(app.ClientID), ObjectID: rotator.ObjectID(app.ObjectID), Mode: rotator.ModeSelf,
		PFX: pfx, Password: "password", KeyID: rotator.KeyID(app.KeyCredentials[0].KeyID), Verify: marked,
		Deliveries: []rotator.Delivery{{Kind: rotator.DeliverFile, Path: filepath.Join(w.dir, "own.pfx")}},
	}, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	return app
}

// TestVerifyOwnApp has an app try its own keys without any permission, or with that to
// read itself; with removals that have no effect at first; and killed in between. Its
// own certificate stays, and nothing else does.
func TestVerifyOwnApp(t *testing.T) {
	signingKeys()
	for name, one := range map[string]struct {
		permissions []string
		again       int
		lost        bool
		left        string
	}{
		"no permission":                {nil, 0, false, "is not allowed to read its list"},
		"reads itself":                 {[]string{"Application.Read.All"}, 0, false, ""},
		"reads itself, sent again":     {[]string{"Application.Read.All"}, 1, false, ""},
		"reads itself, an answer lost": {[]string{"Application.Read.All"}, 0, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newVerifyWorld(t)
				w.tenant.RemoveAgain = one.again
				d := w.start()
				defer d.stop()
				app := w.own(d, one.permissions, true)
				adds := 0
				w.tenant.Configure(func(e *emulator.Tenant) {
					e.Intercept = func(q emulator.Request) *emulator.Fault {
						if !strings.HasSuffix(q.Path, "/addKey") {
							return nil
						}
						if adds++; one.lost && adds == 7 {
							return &emulator.Fault{LoseAnswer: true}
						}
						return nil
					}
				})
				out, _, err := d.commandLine(t.Context(), control.VerifyRequest{App: "own"}, "", nil)
				var end *ended
				if err != nil && (!errors.As(err, &end) || end.code != exitAttention) {
					t.Fatal(err)
				}
				if !strings.Contains(out, "`add_key`") || strings.Contains(out, "`create`") || !strings.Contains(out, one.left) {
					t.Errorf("the report is %s", out)
				}
				if keys := w.tenant.KeyCredentials(app.ClientID); len(keys) != 1 || keys[0].DisplayName != "mine" {
					t.Errorf("%d keys are left, want its own", len(keys))
				}
				for _, e := range w.tenant.Requests() {
					if e.Method != http.MethodGet && strings.HasPrefix(e.Path, "/v1.0/") && !strings.HasSuffix(e.Path, "/addKey") && !strings.HasSuffix(e.Path, "/removeKey") {
						t.Errorf("%s %s was sent", e.Method, e.Path)
					}
				}
				if d.unfinished(t) != nil {
					t.Error("the run has not ended")
				}
			})
		})
	}
	t.Run("killed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newVerifyWorld(t)
			d := w.start()
			app := w.own(d, []string{"Application.Read.All"}, true)
			var died *death
			n := 0
			w.tenant.Configure(func(e *emulator.Tenant) {
				e.Log = func(e emulator.Entry) {
					if !strings.HasSuffix(e.Path, "/addKey") || e.Status != http.StatusOK {
						return
					}
					if n++; n == 9 { // it was done, and its answer is not known yet
						died = w.dies()
					}
				}
			})
			_, _, _ = d.commandLine(t.Context(), control.VerifyRequest{App: "own"}, "", nil) // the one that lives on does not matter
			d.stop()
			left := w.after(died)
			if keys := left.tenant.KeyCredentials(app.ClientID); len(keys) < 5 {
				t.Fatalf("%d keys when it was killed", len(keys))
			}
			d = left.start()
			defer d.stop()
			time.Sleep(20 * time.Minute)
			if keys := left.tenant.KeyCredentials(app.ClientID); len(keys) != 1 || keys[0].DisplayName != "mine" || d.unfinished(t) != nil {
				t.Errorf("%d keys are left, want its own:\n%s", len(keys), left.log)
			}
		})
	})
	t.Run("not marked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newVerifyWorld(t)
			d := w.start()
			defer d.stop()
			w.own(d, nil, false)
			if _, _, err := d.commandLine(t.Context(), control.VerifyRequest{App: "own"}, "", nil); err == nil || !strings.Contains(err.Error(), "app edit own --verify") {
				t.Errorf("it is tried: %v", err)
			}
		})
	})
}
