// Package page is the web page of the daemon: what is going to expire, at a glance,
// for people who would rather look than type. It only reads.
//
// Start at [Server]. The overview stands in overview.go and is drawn from a survey of
// all apps (survey.go, timeline.go); one app in app.go and rotation.go; what somebody
// else must do in handoff.go. Documents are made by the functions of html.go, which
// know elements and text and no markup, so that nothing stored can become HTML.
//
// Everything that comes in passes guard.go. A listener that others than this host can
// reach must have TLS and a way to know people: client certificates (tls.go) or a login
// at the tenant (login.go).
package page

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Source is what the page reads; [rotator.Rotator] has it.
type Source interface {
	// Survey calls see with each app, and returns the status without apps.
	Survey(ctx context.Context, see func(*rotator.AppStatus)) (rotator.Status, error)
	// Status of the named apps.
	Status(ctx context.Context, names ...string) (rotator.Status, error)
	// History of one app, newest first.
	History(ctx context.Context, app string, limit int) ([]rotator.Rotation, error)
	// HandOff is what waits to be handed to a person; [rotator.ErrRefused] if
	// nothing does.
	HandOff(ctx context.Context, name string) (rotator.HandOff, error)
	// Changed is closed when any record changes.
	Changed() <-chan struct{}
}

// Server answers browsers. Source must be set.
type Server struct {
	Source Source
	// Names are the hosts under which the page may be asked for, besides those
	// of this host's loopback.
	Names []string
	// Access decides who may look; the zero value lets everybody.
	Access Access
	// TenantIDs by the tenants' names.
	TenantIDs map[string]string
	// Steps tell how to hand a pair to a consumer of which nothing is known. They
	// may hold what [rotator.HandOffText] may.
	Steps []string
	// Report makes the proof of a year, a document of its own; nil: there is none.
	Report func(ctx context.Context, year int) (string, error)
	// Warnings stand on the overview, in plain words.
	Warnings []string
	// Logger may be nil.
	Logger *slog.Logger
}

// Bounds of one visit.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	stopTimeout   = 5 * time.Second
	maxHeader     = 16 << 10
	maxVisitors   = 256
	maxStreams    = 64
)

//go:embed assets
var assets embed.FS

// Serve answers on l until ctx is done, and returns nil then. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	log := s.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	h := s.newSite(ctx, log)
	server := &http.Server{
		Handler:           h.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		TLSConfig:         s.Access.TLS,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	h.surveyor.work.Go(func() { h.surveyor.keepWarm(ctx) })
	l = &sharing{Listener: netutil.LimitListener(l, maxVisitors)}
	ended := make(chan error, 1)
	go func() {
		if s.Access.TLS != nil {
			ended <- server.ServeTLS(l, "", "")
			return
		}
		ended <- server.Serve(l)
	}()
	select {
	case err := <-ended:
		stop()
		h.surveyor.work.Wait()
		return fmt.Errorf("page: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	h.surveyor.work.Wait()
	if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	return err
}

// site is a server at work.
type site struct {
	*Server
	log *slog.Logger
	// stop ends the streams.
	stop     <-chan struct{}
	surveyor *surveyor
	limiter  limiter
	streams  chan struct{}
	login    *login
	// reporting is held while a report is made: it reads everything.
	reporting sync.Mutex
}

func (s *Server) newSite(ctx context.Context, log *slog.Logger) *site {
	return &site{
		Server: s, log: log, stop: ctx.Done(),
		surveyor: &surveyor{source: s.Source},
		streams:  make(chan struct{}, maxStreams),
		login:    newLogin(s.Access.Login),
	}
}

// handler is the whole page, guarded.
func (s *site) handler() http.Handler {
	inside := http.NewServeMux()
	inside.HandleFunc("GET /{$}", s.page(s.overview))
	inside.HandleFunc("GET /apps/{name}", s.page(s.app))
	inside.HandleFunc("GET /apps/{name}/handoff", s.page(s.handoff))
	inside.HandleFunc("GET /inventory.csv", s.inventory)
	if s.Report != nil {
		inside.HandleFunc("GET /report/{year}", s.report)
	}
	inside.HandleFunc("GET /events", s.events)
	inside.HandleFunc("GET /apps/{name}/events", s.events)
	inside.HandleFunc("/", s.page(func(*http.Request) (string, error) { return "", rotator.ErrNotFound }))

	outside := http.NewServeMux()
	for file, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "page.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		outside.HandleFunc("GET /"+file, asset(file, kind))
	}
	if s.login != nil {
		outside.HandleFunc("GET "+loginPath, s.begin)
		outside.HandleFunc("GET "+callbackPath, s.callback)
	}
	outside.Handle("/", s.known(inside))
	return s.guard(outside)
}

func asset(file, kind string) http.HandlerFunc {
	data, err := assets.ReadFile("assets/" + file)
	if err != nil {
		panic(err) // a bug: the file is embedded
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "max-age=300")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

// page answers with a document.
func (s *site) page(draw func(*http.Request) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := draw(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, body) // the visitor has gone
	}
}
