package page

import (
	"context"
	"log/slog"
	"net/http"
)

// Handler is a server without a listener.
func Handler(ctx context.Context, s *Server) http.Handler {
	return s.newSite(ctx, slog.New(slog.DiscardHandler)).handler()
}
