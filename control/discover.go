package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Found is one app registration or service principal of a tenant. Its texts are
// those of whoever made it.
type Found struct {
	Tenant string `json:"tenant"`
	// Kind is app, service_principal or agent_identity_blueprint, which is no app.
	Kind        string `json:"kind"`
	DisplayName string `json:"display_name"`
	ClientID    string `json:"client_id"`
	ObjectID    string `json:"object_id"`
	// App is the name under which it is tracked; null: it is not.
	App *string `json:"app"`
	// Owners by name, or by ID where the name may not be read; at most 20.
	Owners      []string          `json:"owners"`
	Credentials []FoundCredential `json:"credentials"`
	// FederatedUnknown is why federated credentials may be missing; null: all are
	// listed.
	FederatedUnknown *string `json:"federated_unknown"`
}

// FoundCredential is one credential of it.
type FoundCredential struct {
	// Kind is certificate, secret, saml or federated.
	Kind        string `json:"kind"`
	KeyID       string `json:"key_id"`
	DisplayName string `json:"display_name"`
	// NotBefore and NotAfter are null if Entra does not tell; federated ones have none.
	NotBefore *time.Time `json:"not_before"`
	NotAfter  *time.Time `json:"not_after"`
	// The thumbprints are those of certificates.
	ThumbprintSHA1   *string `json:"thumbprint_sha1"`
	ThumbprintSHA256 *string `json:"thumbprint_sha256"`
	// Issuer, Subject and Audiences are those of a federated one; null for others.
	// Whoever gets a token of the issuer for the subject signs in without a key.
	Issuer    *string  `json:"issuer"`
	Subject   *string  `json:"subject"`
	Audiences []string `json:"audiences"`
	// Ours tells that rotate made or adopted it; others are foreign.
	Ours bool `json:"ours"`
}

// DiscoverStep is one line of a discovery: something that was found, or how far
// it is.
type DiscoverStep struct {
	Found *Found `json:"found,omitempty"`
	// Tenant that is being read; Read objects of it so far.
	Tenant string `json:"tenant,omitempty"`
	Read   int    `json:"read,omitempty"`
	// Waiting is the pause that Graph asked for, in seconds.
	Waiting float64 `json:"waiting,omitempty"`
}

func discoverStepOf(s rotator.DiscoverStep) DiscoverStep {
	wire := DiscoverStep{Tenant: s.Tenant, Read: s.Read, Waiting: s.Waiting.Seconds()}
	if s.Found == nil {
		return wire
	}
	f := s.Found
	wire.Found = &Found{
		Tenant: f.Tenant, Kind: f.Kind, DisplayName: f.DisplayName, ClientID: string(f.ClientID), ObjectID: string(f.ObjectID),
		App: present(f.App), Owners: list(f.Owners), Credentials: make([]FoundCredential, len(f.Credentials)),
		FederatedUnknown: present(f.FederatedUnknown),
	}
	for i, c := range f.Credentials {
		wire.Found.Credentials[i] = FoundCredential{
			Kind: c.Kind, KeyID: string(c.KeyID), DisplayName: c.DisplayName,
			NotBefore: instant(c.NotBefore), NotAfter: instant(c.NotAfter),
			ThumbprintSHA1: present(c.ThumbprintSHA1), ThumbprintSHA256: present(string(c.Thumbprint)),
			Issuer: present(c.Issuer), Subject: present(c.Subject), Audiences: c.Audiences,
			Ours: slices.Contains(f.Ours, i),
		}
	}
	return wire
}

// WatchRequest says whether apps that are not tracked are alerted on.
type WatchRequest struct {
	All bool `json:"all"`
}

func (s *Server) watch(c call) (int, any, error) {
	var wire WatchRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.Rotator.Watch(c.Context(), c.PathValue("name"), wire.All, c.by)
}

// discoverEnd is the last line of a discovery: without it the stream broke off.
type discoverEnd struct {
	Error *Error `json:"error,omitempty"`
	End   bool   `json:"end"`
}

// discover streams what tenants hold, one JSON object a line; the last is
// {"end": true}, with an error if it could not be told whole. Nothing is kept: it
// goes as fast as the reader reads.
func (s *Server) discover(stop context.Context, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	query := r.URL.Query()
	var expiring time.Duration
	if text := query.Get("expiring"); text != "" {
		var err error
		if expiring, err = time.ParseDuration(text); err != nil || expiring < 0 {
			writeError(w, fmt.Errorf("expiring %q is not a length of time: %w", text, rotator.ErrUsage))
			return
		}
	}
	encoder := json.NewEncoder(w)
	control := http.NewResponseController(w)
	begun := false
	err := s.Rotator.Discover(ctx, rotator.DiscoverRequest{Tenant: query.Get("tenant"), Expiring: expiring}, func(step rotator.DiscoverStep) error { //nolint:contextcheck // the request's context; stop only ends it
		if !begun {
			w.Header().Set("Content-Type", "application/jsonl")
			begun = true
		}
		if err := encoder.Encode(discoverStepOf(step)); err != nil {
			return err
		}
		if step.Found != nil {
			return nil
		}
		return control.Flush()
	})
	switch {
	case err != nil && !begun:
		writeError(w, err)
	case ctx.Err() != nil: // the reader has gone, or the daemon stops
	default:
		end := discoverEnd{End: true}
		if err != nil {
			end.Error = errorOf(err)
		}
		_ = encoder.Encode(end) // nobody is left to tell
	}
}

// Watch says whether credentials of apps that are not tracked are alerted on.
func (c *Client) Watch(ctx context.Context, tenant string, all bool) error {
	return c.do(ctx, http.MethodPost, "/v1/tenants/"+url.PathEscape(tenant)+"/watch", WatchRequest{all}, nil)
}

// Discover yields what a tenant holds, or with an empty name all tenants;
// expiring leaves out what ends later than so far from now. A failure is the last
// that is yielded.
func (c *Client) Discover(ctx context.Context, tenant string, expiring time.Duration) iter.Seq2[DiscoverStep, error] {
	return func(yield func(DiscoverStep, error) bool) {
		query := url.Values{"tenant": {tenant}}
		if expiring > 0 {
			query.Set("expiring", expiring.String())
		}
		response, err := c.send(ctx, http.MethodGet, "/v1/discover?"+query.Encode(), nil)
		if err != nil {
			yield(DiscoverStep{}, err)
			return
		}
		defer func() { _ = response.Body.Close() }() // it was read as far as it is needed
		for decoder := json.NewDecoder(response.Body); ; {
			var line struct {
				DiscoverStep
				discoverEnd
			}
			err := decoder.Decode(&line)
			switch {
			case ctx.Err() != nil:
				yield(DiscoverStep{}, ctx.Err())
				return
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				yield(DiscoverStep{}, ErrEnded)
				return
			case err != nil:
				yield(DiscoverStep{}, fmt.Errorf("discover: %w", err))
				return
			case line.Error != nil:
				yield(DiscoverStep{}, line.Error)
				return
			case line.End:
				return
			}
			if !yield(line.DiscoverStep, nil) {
				return
			}
		}
	}
}
