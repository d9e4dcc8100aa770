package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Admin is an administrator's token on its way to the daemon, in the request that it
// is for: it prints as nothing.
type Admin string

// String shows nothing.
func (Admin) String() string { return "[token]" }

// GoString shows nothing.
func (Admin) GoString() string { return "[token]" }

// LogValue keeps it out of logs.
func (Admin) LogValue() slog.Value { return slog.StringValue("[token]") }

// CreateRequest asks for an app registration.
type CreateRequest struct {
	Spec AppSpec `json:"spec"`
	// DisplayName in Entra; empty: the local name.
	DisplayName string `json:"display_name,omitempty"`
	Admin       Admin  `json:"admin,omitempty"`
	NoConsent   bool   `json:"no_consent,omitempty"`
	// DryRun only lists the requests to Entra.
	DryRun bool `json:"dry_run,omitempty"`
}

// String names the app and shows nothing else.
func (r CreateRequest) String() string { return "create app " + r.Spec.Name }

// GoString is [CreateRequest.String].
func (r CreateRequest) GoString() string { return r.String() }

// LogValue is [CreateRequest.String].
func (r CreateRequest) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Owner of a registration.
type Owner struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Kind is user, servicePrincipal or another of Graph's types.
	Kind string `json:"kind"`
}

// Created is the answer. It carries a private key and its password: it prints as the
// app's name.
type Created struct {
	App *App `json:"app"`
	// Calls are the requests of a dry run.
	Calls []string `json:"calls"`
	// Steps say what was done or found.
	Steps  []string    `json:"steps"`
	Owners []Owner     `json:"owners"`
	Checks []TestCheck `json:"checks"`
	// ConsentURL is set while somebody must consent; the same request goes on then.
	ConsentURL string `json:"consent_url,omitempty"`
	PFX        []byte `json:"pfx,omitempty"`
	CER        []byte `json:"cer,omitempty"`
	Password   string `json:"password,omitempty"`
}

// String shows no secret.
func (c Created) String() string {
	if c.App == nil {
		return "created app"
	}
	return "created app " + c.App.Name
}

// GoString is [Created.String].
func (c Created) GoString() string { return c.String() }

// LogValue is [Created.String].
func (c Created) LogValue() slog.Value { return slog.StringValue(c.String()) }

// DeleteRequest undoes a creation.
type DeleteRequest struct {
	Admin Admin `json:"admin"`
}

// Deleted says what was undone.
type Deleted struct {
	Steps []string `json:"steps"`
}

// Create makes an app registration, or goes on with one that was begun.
func (c *Client) Create(ctx context.Context, request CreateRequest) (Created, error) {
	var created Created
	return created, c.do(ctx, http.MethodPost, appPath(request.Spec.Name, "/registration"), request, &created)
}

// Delete undoes what Create made.
func (c *Client) Delete(ctx context.Context, name string, request DeleteRequest) (Deleted, error) {
	var deleted Deleted
	return deleted, c.do(ctx, http.MethodPost, appPath(name, "/registration/delete"), request, &deleted)
}

func (s *Server) create(c call) (int, any, error) {
	var wire CreateRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	wire.Spec.Name = c.PathValue("name")
	spec, err := wire.Spec.spec()
	if err != nil {
		return 0, nil, err
	}
	request := rotator.CreateRequest{Spec: spec, DisplayName: wire.DisplayName, Admin: rotator.Token(wire.Admin), NoConsent: wire.NoConsent}
	if wire.DryRun {
		calls, err := s.Rotator.CreateCalls(c.Context(), request)
		return http.StatusOK, Created{Calls: list(calls), Steps: []string{}, Owners: []Owner{}, Checks: []TestCheck{}}, err
	}
	made, err := s.Rotator.Create(c.Context(), request, c.by)
	answer := Created{
		Calls: []string{}, Steps: list(made.Steps), Owners: []Owner{}, Checks: []TestCheck{},
		ConsentURL: made.ConsentURL, PFX: made.PFX, CER: made.Certificate, Password: made.Password,
	}
	for _, o := range made.Owners {
		answer.Owners = append(answer.Owners, Owner(o))
	}
	for _, check := range made.Checks {
		answer.Checks = append(answer.Checks, TestCheck(check))
	}
	if made.App.Name != "" {
		app := appOf(made.App, nil)
		answer.App = &app
	}
	return http.StatusOK, answer, err
}

func (s *Server) deleteCreated(c call) (int, any, error) {
	var wire DeleteRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	steps, err := s.Rotator.Delete(c.Context(), c.PathValue("name"), rotator.Token(wire.Admin), c.by)
	return http.StatusOK, Deleted{Steps: list(steps)}, err
}

// MarshalJSON writes the token into its request; see [Admin] for everything else.
func (a Admin) MarshalJSON() ([]byte, error) { return json.Marshal(string(a)) }
