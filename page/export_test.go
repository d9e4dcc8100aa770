package page

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
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

// CheckParty says whether a token was made for this page.
func CheckParty(audiences []string, party, clientID string) error {
	return checkParty(audiences, party, clientID)
}

// Attempts makes place for logins by askers, one after the other, and returns who is
// left with how many.
func Attempts(from []string, now time.Time) map[string]int {
	all := map[string]attempt{}
	for i, f := range from {
		room(all, func(a attempt) (string, time.Time) { return a.from, a.ends }, now, maxAttemptsEach)
		all[fmt.Sprint(i)] = attempt{from: asker(f), ends: now.Add(attemptTime + time.Duration(i))}
	}
	left := map[string]int{}
	for _, a := range all {
		left[a.from]++
	}
	return left
}

// Share bounds a listener as the page does.
func Share(l net.Listener) net.Listener { return &sharing{Listener: l} }

// MaxVisitorsEach is the share of one asker.
const MaxVisitorsEach = maxVisitorsEach
