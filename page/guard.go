package page

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-f0abd057/rotate/rotator"
)

// policyOfContent lets a browser load what this page serves, and nothing else:
// no script or style in the document, no frame around it.
const policyOfContent = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// guard is passed by every request.
func (s *site) guard(next http.Handler) http.Handler {
	policy := policyOfContent
	if l := s.Access.Login; l != nil {
		// A filter that is sent after the session has ended leads to the login host.
		if u, err := url.Parse(l.Issuer); err == nil {
			policy = strings.Replace(policy, "form-action 'self'", "form-action 'self' "+u.Scheme+"://"+u.Host, 1)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		switch {
		case !s.isNamed(r.Host):
			s.fail(w, r, &refusal{
				http.StatusMisdirectedRequest, "This page is not known under that name.",
				"Open it under one of the names in page.names of the configuration.",
			})
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			s.fail(w, r, &refusal{http.StatusMethodNotAllowed, "This page only reads.", "Changes are made with the rotate command."})
		case !s.limiter.allows(r.RemoteAddr, time.Now()):
			h.Set("Retry-After", "1")
			s.fail(w, r, &refusal{http.StatusTooManyRequests, "Too many requests.", "Wait a moment and load the page again."})
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// isNamed reports whether the host of a request is one of this page. A browser
// that was led here by a name of somebody else (DNS rebinding) is refused.
func (s *site) isNamed(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if slices.ContainsFunc(s.Names, func(n string) bool { return strings.EqualFold(n, host) }) {
		return true
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// refusal is an answer that is not a page of the site.
type refusal struct {
	status     int
	what, next string
}

func (e *refusal) Error() string { return e.what }

// fail says what went wrong, in the form of the page.
func (s *site) fail(w http.ResponseWriter, r *http.Request, err error) {
	f, ok := errors.AsType[*refusal](err)
	switch {
	case ok:
	case errors.Is(err, rotator.ErrNotFound):
		f = &refusal{http.StatusNotFound, "There is no such page.", "An app that is no longer tracked has none either."}
	case errors.Is(err, context.Canceled):
		return // nobody is left to tell
	default:
		s.log.ErrorContext(r.Context(), "page", "path", r.URL.Path, "err", err)
		f = &refusal{http.StatusInternalServerError, "The page can not be shown.", "The reason is in the daemon's log."}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(f.status)
	_, _ = fmt.Fprint(w, document(f.what, s.frame(nil, el("h1", text(f.what)), el("p", class("lead"), text(f.next))))) // the visitor has gone
}

// known lets in whom the access rule knows.
func (s *site) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if names := s.Access.ClientNames; len(names) > 0 && !isClient(r.TLS, names) {
			s.fail(w, r, &refusal{
				http.StatusForbidden, "Your certificate may not see this page.",
				"Its name must be in page.clients.names of the configuration.",
			})
			return
		}
		if s.login == nil || s.login.knows(r, time.Now()) {
			next.ServeHTTP(w, r)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/events") || r.Header.Get("Sec-Fetch-Mode") == "cors" {
			s.fail(w, r, &refusal{http.StatusUnauthorized, "You are not signed in.", "Load the page again to sign in."})
			return
		}
		http.Redirect(w, r, loginPath+"?to="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
	})
}

// Requests that one address may send: so many at once, then so many a second.
const (
	burst     = 120
	perSecond = 20
	// maxAddresses bounds what is remembered; beyond it all is forgotten.
	maxAddresses = 4096
)

// limiter counts requests by address. Its zero value is ready.
type limiter struct {
	mu     sync.Mutex
	byHost map[string]*rate.Limiter // guarded by mu
}

func (l *limiter) allows(address string, now time.Time) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.byHost[host]
	if one == nil {
		if l.byHost == nil || len(l.byHost) >= maxAddresses {
			l.byHost = map[string]*rate.Limiter{}
		}
		one = rate.NewLimiter(perSecond, burst)
		l.byHost[host] = one
	}
	return one.AllowN(now, 1)
}
