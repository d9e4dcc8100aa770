package control

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/seed-f0abd057/rotate/rotator"
)

// ExportRequest asks for a key pair of an app.
type ExportRequest struct {
	// Previous asks for the pair that the current one replaced.
	Previous bool `json:"previous,omitempty"`
	// Encoding is modern, legacy-des or pem; empty: modern.
	Encoding string `json:"encoding,omitempty"`
}

// Exported carries a private key and its password: it prints as the app's name.
type Exported struct {
	App         string      `json:"app"`
	Certificate *Credential `json:"certificate"`
	Encoding    string      `json:"encoding"`
	Data        []byte      `json:"data"`
	Password    string      `json:"password,omitempty"`
}

// String names the app and shows nothing else.
func (e Exported) String() string { return "key pair of app " + e.App }

// GoString is [Exported.String].
func (e Exported) GoString() string { return e.String() }

// LogValue is [Exported.String].
func (e Exported) LogValue() slog.Value { return slog.StringValue(e.String()) }

// Export fetches a key pair of an app.
func (c *Client) Export(ctx context.Context, name string, request ExportRequest) (Exported, error) {
	var wire Exported
	return wire, c.do(ctx, http.MethodPost, appPath(name, "/export"), request, &wire)
}

func (s *Server) export(c call) (int, any, error) {
	if s.access().NoExport {
		return 0, nil, errNoExport()
	}
	var wire ExportRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	e, err := s.Rotator.Export(c.Context(), c.PathValue("name"), rotator.ExportRequest(wire), c.by)
	return http.StatusOK, Exported{e.App, credentialOf(&e.Credential), e.Encoding, e.Data, e.Password}, err
}
