package emulator

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// Options say what [Serve] seeds, and where it listens and writes.
type Options struct {
	// Dir is the folder for ready.json and everything it names. It is made if it
	// is missing.
	Dir string
	// Listen is the address to listen on. If empty, a free port of 127.0.0.1.
	Listen string
	// PublicHosts makes the tenant answer for Microsoft's hosts of the global cloud by
	// their names ([PublicHosts]), for clients whose names lead here, and for no other.
	PublicHosts bool
	// Apps is how many apps are seeded. If zero, one.
	Apps int
	// Permissions is [PermissionsVendor] or [PermissionsNone]. If empty,
	// PermissionsVendor.
	Permissions string
	// SignInLog lets the admin read the log of sign-ins (AuditLog.Read.All).
	SignInLog bool
	// NotAfter is how long the seeded certificates still live. If zero,
	// [DefaultNotAfter].
	NotAfter time.Duration
	// LogFile gets one JSON line for each request, appended. If empty, there is no
	// such file.
	LogFile string
	// Logger is told of broken connections and files. If nil, nobody is.
	Logger *slog.Logger
}

// Ready says where a served tenant is and what it holds. It is the content of
// ready.json. Paths are absolute.
type Ready struct {
	Login string `json:"login"`
	Graph string `json:"graph"`
	// Listen is the address that both are served at.
	Listen   string     `json:"listen"`
	CAFile   string     `json:"ca_file"`
	TenantID string     `json:"tenant_id"`
	Admin    ReadyAdmin `json:"admin"`
	Apps     []ReadyApp `json:"apps"`
	// Administrator may register apps and consent: it stands for a person who signs
	// in with the roles for that.
	Administrator ReadyAdmin `json:"administrator"`
	// User is the user principal name of a Global Administrator, who signs in with a
	// browser or a device code, without a password.
	User string `json:"user"`
}

// ReadyAdmin is the app that may manage the others.
type ReadyAdmin struct {
	ClientID         string `json:"client_id"`
	ObjectID         string `json:"object_id"`
	ClientSecretFile string `json:"client_secret_file"`
}

// ReadyApp is one seeded app; KeyID is that of its own certificate.
type ReadyApp struct {
	Name         string `json:"name"`
	ClientID     string `json:"client_id"`
	ObjectID     string `json:"object_id"`
	KeyID        string `json:"key_id"`
	PFXFile      string `json:"pfx_file"`
	PasswordFile string `json:"password_file"`
}

// shutdownTime is how long requests under way may take when the server stops.
const shutdownTime = 3 * time.Second

// Serve seeds a tenant and serves it over HTTPS with a certificate authority of its
// own, until ctx is done; then it returns nil.
//
// Once it listens it writes Dir/ready.json, in one step, and calls ready, which may
// be nil. An old ready.json is removed first. Files are readable by their owner
// only. A Log that t has already gets each entry beside LogFile.
func Serve(ctx context.Context, t *Tenant, o Options, ready func(Ready)) (err error) {
	o, err = o.withDefaults()
	if err != nil {
		return err
	}
	readyFile := filepath.Join(o.Dir, "ready.json")
	if err := os.Remove(readyFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("emulator: %w", err)
	}
	if o.LogFile != "" {
		file, openErr := os.OpenFile(o.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if openErr != nil {
			return fmt.Errorf("emulator: request log: %w", openErr)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		t.logTo(file, o.Logger)
	}
	seeds, err := t.SeedApps(o.Apps, o.Permissions, o.NotAfter)
	if err != nil {
		return err
	}
	if o.SignInLog {
		if err := t.Grant(seeds.Admin.ClientID, "AuditLog.Read.All"); err != nil {
			return err
		}
	}
	r, err := writeSeeds(o.Dir, seeds)
	if err != nil {
		return err
	}
	if r.Administrator, err = t.seedAdministrator(o.Dir); err != nil {
		return err
	}
	var listenConfig net.ListenConfig
	listener, err := listenConfig.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("emulator: %w", err)
	}
	defer func() { _ = listener.Close() }() // the server has closed it, or nothing uses it
	authority, ca, err := newAuthority(listener.Addr())
	if err != nil {
		return err
	}
	r.CAFile = filepath.Join(o.Dir, "ca.pem")
	if err := writeFile(r.CAFile, ca); err != nil {
		return err
	}
	r.Listen = listener.Addr().String()
	r.Login = "https://" + r.Listen
	r.Graph = r.Login
	if o.PublicHosts {
		r.Login, r.Graph = "https://"+loginHosts()[0], "https://"+graphHost
		t.Configure(func(t *Tenant) { t.PublicHosts = true })
	}
	r.TenantID = t.TenantID()
	r.User = t.seedUser()
	document, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("emulator: encode ready.json: %w", err)
	}
	server := &http.Server{
		Handler:           t,
		ReadHeaderTimeout: 30 * time.Second,
		TLSConfig:         &tls.Config{GetCertificate: authority.certificate, MinVersion: tls.VersionTLS12},
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	if err := writeFile(readyFile, append(document, '\n')); err != nil {
		return errors.Join(err, server.Close(), notClosed(<-served))
	}
	if ready != nil {
		ready(r)
	}
	select {
	case err := <-served:
		return fmt.Errorf("emulator: serve: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		// Requests that wait on purpose need not be waited for.
		return errors.Join(server.Close(), notClosed(<-served))
	}
	return notClosed(<-served)
}

// notClosed drops the error that a server returns because it was closed.
func notClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("emulator: no folder to write to")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("emulator: %w", err)
	}
	o.Dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return o, fmt.Errorf("emulator: %w", err)
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Apps == 0 {
		o.Apps = 1
	}
	if o.Permissions == "" {
		o.Permissions = PermissionsVendor
	}
	if o.NotAfter == 0 {
		o.NotAfter = DefaultNotAfter
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// logTo writes each entry of the request log to w, one JSON line each.
func (t *Tenant) logTo(w io.Writer, logger *slog.Logger) {
	enc := json.NewEncoder(w)
	broken := false
	t.Configure(func(t *Tenant) {
		before := t.Log
		t.Log = func(e Entry) {
			if before != nil {
				before(e)
			}
			if err := enc.Encode(e); err != nil && !broken {
				broken = true
				logger.Error("request log not written", "err", err)
			}
		}
	})
}

// writeSeeds writes what people need of the seeds and says where it is.
func writeSeeds(dir string, s Seeds) (Ready, error) {
	r := Ready{Admin: ReadyAdmin{
		ClientID: s.Admin.ClientID, ObjectID: s.Admin.ObjectID,
		ClientSecretFile: filepath.Join(dir, "admin.secret"),
	}}
	if err := writeFile(r.Admin.ClientSecretFile, []byte(s.Admin.Secrets[0].Text)); err != nil {
		return r, err
	}
	for _, a := range s.Apps {
		app := ReadyApp{
			Name: a.Name, ClientID: a.ClientID, ObjectID: a.ObjectID, KeyID: a.KeyID,
			PFXFile: filepath.Join(dir, a.Name+".pfx"), PasswordFile: filepath.Join(dir, a.Name+".password"),
		}
		if err := errors.Join(writeFile(app.PFXFile, a.PFX), writeFile(app.PasswordFile, []byte(a.Password))); err != nil {
			return r, err
		}
		r.Apps = append(r.Apps, app)
	}
	return r, nil
}

// seedAdministrator adds an app with the permissions that an administrator's roles
// give, for programs that sign in without a person.
func (t *Tenant) seedAdministrator(dir string) (ReadyAdmin, error) {
	a, err := t.AddApplication(Application{
		Name: "administrator", Secrets: []Secret{{DisplayName: "administrator"}},
		Permissions: []string{"Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All"},
	})
	if err != nil {
		return ReadyAdmin{}, err
	}
	r := ReadyAdmin{ClientID: a.ClientID, ObjectID: a.ObjectID, ClientSecretFile: filepath.Join(dir, "administrator.secret")}
	return r, writeFile(r.ClientSecretFile, []byte(a.Secrets[0].Text))
}

// seedUser adds a user with all rights, if there is none, and returns the name of the
// first.
func (t *Tenant) seedUser() string {
	t.lock()
	defer t.mu.Unlock()
	if len(t.Users) == 0 {
		t.Users = []User{{Name: "administrator@" + t.Domain, Roles: []string{GlobalAdministrator}}}
	}
	return t.Users[0].Name
}

// writeFile writes a file in one step, readable by its owner only.
func writeFile(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("emulator: write %s: %w", path, err)
	}
	return nil
}
