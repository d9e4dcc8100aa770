package control

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// HandOffText tells a person how to bring a key pair to a consumer.
type HandOffText struct {
	// Consumer is the name of the program or service.
	Consumer string `json:"consumer,omitempty"`
	// Steps in order; {app}, {file}, {code}, {client_id} and {tenant_id} stand for
	// those of the app.
	Steps []string `json:"steps,omitempty"`
}

// HandOff is what waits to be brought to a consumer by a person, without secrets.
type HandOff struct {
	App        string `json:"app"`
	Tenant     string `json:"tenant"`
	ClientID   string `json:"client_id"`
	RotationID string `json:"rotation_id"`
	// Phase is delivered, confirmed or rolling_back.
	Phase       string      `json:"phase"`
	Text        HandOffText `json:"text"`
	Permissions []string    `json:"permissions"`
	Owner       string      `json:"owner,omitempty"`
	Certificate *Credential `json:"certificate"`
	// Old is the certificate in use; null: there is none.
	Old *Credential `json:"old"`
	// Encoding of the file where nothing else is asked for.
	Encoding string `json:"encoding"`
	// ConfirmCode is what a person types to confirm.
	ConfirmCode string `json:"confirm_code"`
	// Deadline is the last date on which the old certificate still leaves the
	// overlap; null: nothing is in danger.
	Deadline  *time.Time `json:"deadline"`
	FetchedAt *time.Time `json:"fetched_at"`
	FetchedBy string     `json:"fetched_by,omitempty"`
	// Confirmed tells that the consumer uses it already.
	Confirmed bool `json:"confirmed"`
}

func handOffOf(h rotator.HandOff) HandOff {
	c := credentialOf(&h.Credential)
	wire := HandOff{
		App: h.App.Name, Tenant: h.App.Tenant, ClientID: string(h.App.ClientID), RotationID: h.Rotation.ID, Phase: string(h.Rotation.Phase),
		Text: HandOffText(h.App.HandOff), Permissions: list(h.App.Permissions), Owner: h.App.Owner,
		Certificate: c, Old: credentialOf(h.Rotation.Old), Encoding: h.Encoding,
		Deadline: instant(h.Deadline), Confirmed: h.Confirmed,
	}
	if c != nil {
		wire.ConfirmCode = c.ThumbprintSHA1[:min(confirmCodeDigits, len(c.ThumbprintSHA1))]
	}
	if h.Fetched != nil {
		wire.FetchedAt, wire.FetchedBy = instant(h.Fetched.At), h.Fetched.By
	}
	return wire
}

// HandOverRequest asks for the pair itself.
type HandOverRequest struct {
	// Encoding is modern, legacy-des or pem; empty: the policy's.
	Encoding string `json:"encoding,omitempty"`
	// Again shows the password once more.
	Again bool `json:"again,omitempty"`
}

// HandedOver is the one answer that carries a private key and its password: it
// prints as the app's name.
type HandedOver struct {
	HandOff HandOff `json:"handoff"`
	PFX     []byte  `json:"pfx"`
	// CER is the certificate, DER.
	CER []byte `json:"cer"`
	// Password is empty if it was shown before and again was not said.
	Password string `json:"password,omitempty"`
}

// String names the app and shows nothing else.
func (h HandedOver) String() string { return "hand-off of app " + h.HandOff.App }

// GoString is [HandedOver.String].
func (h HandedOver) GoString() string { return h.String() }

// LogValue is [HandedOver.String].
func (h HandedOver) LogValue() slog.Value { return slog.StringValue(h.String()) }

// HandOff tells what waits to be handed to a person.
func (c *Client) HandOff(ctx context.Context, name string) (HandOff, error) {
	var wire HandOff
	return wire, c.do(ctx, http.MethodGet, appPath(name, "/handoff"), nil, &wire)
}

// HandOver fetches the pair itself.
func (c *Client) HandOver(ctx context.Context, name string, request HandOverRequest) (HandedOver, error) {
	var wire HandedOver
	return wire, c.do(ctx, http.MethodPost, appPath(name, "/handoff/package"), request, &wire)
}

func (s *Server) handOff(c call) (int, any, error) {
	h, err := s.Rotator.HandOff(c.Context(), c.PathValue("name"))
	return http.StatusOK, handOffOf(h), err
}

func (s *Server) handOver(c call) (int, any, error) {
	var wire HandOverRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	h, err := s.Rotator.HandOver(c.Context(), c.PathValue("name"), rotator.HandOverRequest(wire), c.by)
	return http.StatusOK, HandedOver{HandOff: handOffOf(h.HandOff), PFX: h.PFX, CER: h.Certificate, Password: h.Password}, err
}
