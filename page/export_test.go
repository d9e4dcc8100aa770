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

// Site is the whole page without a listener; warm keeps its survey so until its
// context is done.
func Site(ctx context.Context, s *Server) (handler http.Handler, warm func(context.Context)) {
	site := s.newSite(ctx, slog.New(slog.DiscardHandler))
	return site.handler(), site.surveyor.keepWarm
}
