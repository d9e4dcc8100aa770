package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Times that bound one connection.
const (
	headerTimeout = 10 * time.Second
	// requestTimeout bounds a request that asks Entra; streams have none.
	requestTimeout = 5 * time.Minute
	idleTimeout    = 2 * time.Minute
	// stopTimeout is how long a stopping daemon lets requests finish.
	stopTimeout = 10 * time.Second
)

// Server answers the API for one rotator.
type Server struct {
	Rotator *rotator.Rotator
	// Vault is the store behind the rotator; nil: no backups, no audit trail.
	Vault Vault
	// Logger may be nil.
	Logger *slog.Logger
	// Warnings are shown with every status, in plain words.
	Warnings []string
	// Notifier sends test messages; nil: there is no channel.
	Notifier Notifier
	// Outbox tells how the channels do; nil: nobody knows.
	Outbox Outbox
	// Verifier tries tenants; nil: nobody can.
	Verifier Verifier
	// Access is who is served; [Server.Reconfigure] changes it.
	Access Access
	// Reload reads the configuration again; nil: there is no daemon that could.
	// An error means that the one before stays in force; restart names settings that
	// differ and need a restart, while all others are in force.
	Reload func(ctx context.Context, by string) (restart []string, err error)

	refused refusals
	backups backups
	costly  oneByOne
	mu      sync.Mutex
	live    *live // guarded by mu; nil: Access and Warnings
	// backupFailure is why the last scheduled one failed; guarded by mu.
	backupFailure string
}

// Serve answers on l until ctx is done; then it ends the streams, lets other
// requests finish for a few seconds, and returns nil. It closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	log := s.log()
	if l, ok := l.(*net.UnixListener); ok {
		lasting := &lasting{path: l.Addr().String(), share: s.shareFile, l: l}
		return s.serve(ctx, &crowd{Listener: lasting, uidOf: uidOfConn}, log, func(ctx context.Context) { s.keep(ctx, lasting) })
	}
	return s.serve(ctx, l, log, nil)
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

// serve is Serve; keep looks after the listener meanwhile.
func (s *Server) serve(ctx context.Context, l net.Listener, log *slog.Logger, keep func(context.Context)) error {
	server := &http.Server{
		Handler:           s.handler(ctx),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return withPeer(ctx, peerOfConn(c).named()) },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	if err := s.share(l); err != nil {
		return errors.Join(err, l.Close())
	}
	var keeping sync.WaitGroup
	defer keeping.Wait()
	kept, enough := context.WithCancel(ctx)
	defer enough()
	if keep != nil {
		keeping.Go(func() { keep(kept) })
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("control socket: %w", err)
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	return errors.Join(err, listenEnd(<-ended))
}

// listenEnd leaves out that the server was closed: that was meant.
func listenEnd(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// A call is one request with what every handler needs.
type call struct {
	*http.Request
	by   string
	body io.Reader
}

// A route is one request that the API knows, and what it needs.
type route struct {
	needs   need
	pattern string
	// limit of the body in bytes.
	limit  int64
	answer func(call) (int, any, error)
}

// routes is who may do what: see [Access].
func (s *Server) routes() []route {
	return []route{
		{toRead, "GET /v1/apps/{name}", maxBodyBytes, s.app},
		{toRead, "GET /v1/apps/{name}/handoff", maxBodyBytes, s.handOff},
		{toChange, "GET /v1/apps/{name}/signins", maxBodyBytes, s.signIns},
		{toRead, "GET /v1/rotations/{id}", maxBodyBytes, s.rotation},
		{toRead, "GET /v1/report", maxBodyBytes, s.reportInTurn},
		{toRead, "GET /v1/alerts", maxBodyBytes, s.alerts},
		{toRead, "GET /v1/history", maxBodyBytes, s.history},
		{toChange, "POST /v1/apps", maxAddBytes, s.add},
		{toChange, "PATCH /v1/apps/{name}", maxBodyBytes, s.edit},
		{toChange, "DELETE /v1/apps/{name}", maxBodyBytes, s.remove},
		{toChange, "POST /v1/apps/{name}/test", maxBodyBytes, s.test},
		{toChange, "POST /v1/apps/{name}/rotations", maxBodyBytes, s.start},
		{toChange, "POST /v1/apps/{name}/confirm", maxBodyBytes, s.confirm},
		{toTake, "POST /v1/apps/{name}/handoff/package", maxBodyBytes, s.handOver},
		{toChange, "POST /v1/apps/{name}/registration", maxBodyBytes, s.create},
		{toChange, "POST /v1/apps/{name}/registration/delete", maxBodyBytes, s.deleteCreated},
		{toChange, "POST /v1/apps/{name}/rollback", maxBodyBytes, s.rollBack},
		{toChange, "POST /v1/rotations/due", maxBodyBytes, s.startDue},
		{toChange, "POST /v1/apply", maxApplyBytes, s.apply},
		{toChange, "POST /v1/check", maxBodyBytes, s.check},
		{toChange, "POST /v1/pause", maxBodyBytes, s.pause},
		{toChange, "POST /v1/ack", maxBodyBytes, s.ack},
		{toChange, "POST /v1/snooze", maxBodyBytes, s.snooze},
		{toChange, "POST /v1/notify/test", maxBodyBytes, s.testChannels},
		{toChange, "POST /v1/resume", maxBodyBytes, s.resume},
		{toChange, "POST /v1/reload", maxBodyBytes, s.reload},
		{toRead, "GET /v1/tenants/{name}/facts", maxBodyBytes, s.facts},
		{toChange, "POST /v1/tenants/{name}/rebind", maxBodyBytes, s.rebind},
		{toChange, "POST /v1/tenants/{name}/watch", maxBodyBytes, s.watch},
		{toTake, "POST /v1/apps/{name}/export", maxBodyBytes, s.export},
		{toBackUp, "POST /v1/backup/done", maxBodyBytes, s.backupDone},
	}
}

// A stream is a route that writes its answer itself, for as long as it takes.
type stream struct {
	needs   need
	pattern string
	answer  func(stop context.Context, w http.ResponseWriter, r *http.Request)
}

// streams are those of [Server.routes] that stream.
func (s *Server) streams() []stream {
	return []stream{
		{toRead, "GET /v1/rotations/{id}/events", s.events},
		{toChange, "GET /v1/discover", s.discover},
		{toRead, "GET /v1/status", s.status},
		{toRead, "GET /v1/apps", s.apps},
		{toRead, "GET /v1/plan", s.plan},
		{toRead, "GET /v1/store/check", s.inTurn(long(s.checkStore))},
		{toRead, "GET /v1/audit/proof", s.inTurn(long(s.proveAudit))},
		{toRead, "GET /v1/audit", func(_ context.Context, w http.ResponseWriter, r *http.Request) { s.audit(w, r) }},
		{toChange, "POST /v1/tenants/{name}/verify", s.verifyTenant},
		{toBackUp, "POST /v1/backup", func(_ context.Context, w http.ResponseWriter, r *http.Request) { s.backup(w, r) }},
	}
}

// inTurn has readers wait for each other where an answer costs much: many of them side by
// side would take the processor from rotations.
func (s *Server) inTurn(answer func(context.Context, http.ResponseWriter, *http.Request)) func(context.Context, http.ResponseWriter, *http.Request) {
	return func(stop context.Context, w http.ResponseWriter, r *http.Request) {
		leave, err := s.costly.enter(r.Context()) //nolint:contextcheck // the answer ends with its reader
		if err != nil {
			writeError(w, err)
			return
		}
		defer leave()
		answer(stop, w, r)
	}
}

// reportInTurn is the same for the report of a year.
func (s *Server) reportInTurn(c call) (int, any, error) {
	leave, err := s.costly.enter(c.Context())
	if err != nil {
		return 0, nil, err
	}
	defer leave()
	return s.report(c)
}

// oneByOne lets one in at a time. The zero value is free.
type oneByOne struct {
	once sync.Once
	free chan struct{}
}

// enter waits for its turn; leave ends it.
func (o *oneByOne) enter(ctx context.Context) (leave func(), err error) {
	o.once.Do(func() { o.free = make(chan struct{}, 1) })
	select {
	case o.free <- struct{}{}:
		return func() { <-o.free }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// handler returns the API; streams end when stop is done.
func (s *Server) handler(stop context.Context) http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) {
			if s.admits(r.needs, w, req) {
				serve(r, w, req)
			}
		})
	}
	for _, r := range s.streams() {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, req *http.Request) {
			if s.admits(r.needs, w, req) {
				r.answer(stop, w, req)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if err := s.access().may(peerOf(r.Context()), os.Geteuid(), toRead); err != nil {
			writeError(w, err)
			return
		}
		writeError(w, fmt.Errorf("%s %s: %w: the command and the daemon are not the same version", r.Method, r.URL.Path, ErrUnknownRoute))
	})
	return mux
}

// admits tells whether the peer may ask the request; if not, it has answered.
func (s *Server) admits(needs need, w http.ResponseWriter, r *http.Request) bool {
	err := s.access().may(peerOf(r.Context()), os.Geteuid(), needs)
	if err != nil {
		writeError(w, s.refuse(r, err))
	}
	return err == nil
}

// serve answers one request that does not stream.
func serve(route route, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(requestTimeout)) // not in memory
	status, value, err := route.answer(call{r.WithContext(ctx), peerOf(ctx).by, http.MaxBytesReader(w, r.Body, route.limit)})
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, status, value)
}

func (s *Server) add(c call) (int, any, error) {
	var wire AppSpec
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	spec, err := wire.spec()
	if err != nil {
		return 0, nil, err
	}
	added, err := s.Rotator.Add(c.Context(), spec, c.by)
	return http.StatusCreated, Added{appOf(added.App, nil), added.SignedIn, list(added.Roles), list(added.Found), list(added.Warnings)}, err
}

func (s *Server) app(c call) (int, any, error) {
	status, err := s.Rotator.Status(c.Context(), c.PathValue("name"))
	if err != nil {
		return 0, nil, err
	}
	if len(status.Apps) != 1 {
		return 0, nil, fmt.Errorf("app %s: %w", c.PathValue("name"), rotator.ErrNotFound)
	}
	return http.StatusOK, appOf(status.Apps[0].App, &status.Apps[0].Policy), nil
}

func (s *Server) edit(c call) (int, any, error) {
	var wire Edit
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	edit, err := wire.edit()
	if err != nil {
		return 0, nil, err
	}
	app, changes, err := s.Rotator.Edit(c.Context(), c.PathValue("name"), edit, c.by)
	return http.StatusOK, Edited{appOf(app, nil), list(changes)}, err
}

func (s *Server) remove(c call) (int, any, error) {
	purge, err := c.flag("purge")
	if err != nil {
		return 0, nil, err
	}
	abandon, err := c.flag("abandon")
	if err != nil {
		return 0, nil, err
	}
	removed, err := s.Rotator.Remove(c.Context(), c.PathValue("name"), rotator.RemoveRequest{Purge: purge, Abandon: abandon}, c.by)
	wire := Removed{Left: []Credential{}, KeysKept: removed.KeysKept}
	for _, left := range removed.Left {
		wire.Left = append(wire.Left, *credentialOf(&left))
	}
	return http.StatusOK, wire, err
}

func (s *Server) test(c call) (int, any, error) {
	checks, err := s.Rotator.Test(c.Context(), c.PathValue("name"))
	wire := Tested{Checks: make([]TestCheck, len(checks))}
	for i, check := range checks {
		wire.Checks[i] = TestCheck(check)
	}
	return http.StatusOK, wire, err
}

func (s *Server) start(c call) (int, any, error) {
	var wire StartRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	rotation, err := s.Rotator.Start(c.Context(), c.PathValue("name"), wire.request(), c.by)
	return http.StatusAccepted, rotationOf(rotation), err
}

func (s *Server) startDue(c call) (int, any, error) {
	rotations, err := s.Rotator.StartDue(c.Context(), c.by)
	if len(rotations) == 0 && err != nil {
		return 0, nil, err
	}
	return http.StatusAccepted, Started{rotationsOf(rotations), errorsOf(err)}, nil
}

func (s *Server) confirm(c call) (int, any, error) {
	var wire ConfirmRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	rotation, err := s.Rotator.Confirm(c.Context(), c.PathValue("name"), wire.Code, wire.Note, c.by)
	return http.StatusOK, rotationOf(rotation), err
}

func (s *Server) rollBack(c call) (int, any, error) {
	rotation, err := s.Rotator.RollBack(c.Context(), c.PathValue("name"), c.by)
	return http.StatusOK, rotationOf(rotation), err
}

func (s *Server) rotation(c call) (int, any, error) {
	rotation, err := s.Rotator.Rotation(c.Context(), c.PathValue("id"))
	return http.StatusOK, rotationOf(rotation), err
}

func (s *Server) apply(c call) (int, any, error) {
	var wire ApplyRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	specs := make([]rotator.AppSpec, len(wire.Apps))
	for i, app := range wire.Apps {
		spec, err := app.spec()
		if err != nil {
			return 0, nil, fmt.Errorf("app %s: %w", app.Name, err)
		}
		specs[i] = spec
	}
	differences, err := s.Rotator.Apply(c.Context(), specs, wire.DryRun, c.by)
	applied := Applied{Differences: make([]Difference, len(differences))}
	for i, d := range differences {
		applied.Differences[i] = Difference{d.App, d.Action, list(d.Fields), list(d.Warnings), errorOf(d.Err)}
	}
	return http.StatusOK, applied, err
}

func (s *Server) check(c call) (int, any, error) {
	report, err := s.Rotator.Check(c.Context(), c.by)
	return http.StatusOK, checkReportOf(report), err
}

func (s *Server) history(c call) (int, any, error) {
	var limit int
	if text := c.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, nil, fmt.Errorf("limit %q is not a number: %w", text, rotator.ErrUsage)
		}
		limit = n
	}
	rotations, err := s.Rotator.History(c.Context(), c.URL.Query().Get("app"), limit)
	return http.StatusOK, History{rotationsOf(rotations)}, err
}

func (s *Server) pause(c call) (int, any, error) {
	var wire PauseRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	return http.StatusNoContent, nil, s.Rotator.Pause(c.Context(), wire.App, wire.Until, c.by)
}

func (s *Server) resume(c call) (int, any, error) {
	var wire ResumeRequest
	if err := c.decode(&wire); err != nil {
		return 0, nil, err
	}
	done, err := s.Rotator.Resume(c.Context(), wire.App, wire.HoldDiffering, c.by)
	return http.StatusOK, Resumed{list(done)}, err
}

func (s *Server) rebind(c call) (int, any, error) {
	return http.StatusNoContent, nil, s.Rotator.RebindTenant(c.Context(), c.PathValue("name"), c.by)
}

// events streams one rotation, one JSON object a line. A failure after the first
// line is a line {"error": …}.
func (s *Server) events(stop context.Context, w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(stop, cancel)()
	encoder := json.NewEncoder(w)
	control := http.NewResponseController(w)
	begun := false
	follow := s.Rotator.Follow
	if r.URL.Query().Has("removals") {
		follow = s.Rotator.FollowRemovals
	}
	for rotation, err := range follow(ctx, r.PathValue("id")) { //nolint:contextcheck // the request's context; stop only ends it
		switch {
		case err != nil && !begun:
			writeError(w, err)
			return
		case err != nil:
			_ = encoder.Encode(struct { // nobody is left to tell
				Error *Error `json:"error"`
			}{errorOf(err)})
			return
		case !begun:
			w.Header().Set("Content-Type", "application/jsonl")
			begun = true
		}
		if encoder.Encode(rotationOf(rotation)) != nil || control.Flush() != nil {
			return // the reader has gone
		}
	}
}

// decode reads the body strictly: one JSON object, no unknown fields.
func (c call) decode(into any) error {
	decoder := json.NewDecoder(c.body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil && decoder.More() {
		err = errors.New("more than one JSON value")
	}
	switch {
	case err == nil:
		return nil
	case isTooLarge(err):
		return ErrTooLarge
	case errors.Is(err, io.EOF):
		return fmt.Errorf("request without a body: %w", rotator.ErrUsage)
	}
	return fmt.Errorf("request: %s: %w", strings.TrimPrefix(err.Error(), "json: "), rotator.ErrUsage)
}

func isTooLarge(err error) bool {
	_, ok := errors.AsType[*http.MaxBytesError](err)
	return ok
}

// flag reads ?name, ?name=true or ?name=false.
func (c call) flag(name string) (bool, error) {
	query := c.URL.Query()
	if !query.Has(name) {
		return false, nil
	}
	text := query.Get(name)
	if text == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s=%q is neither true nor false: %w", name, text, rotator.ErrUsage)
	}
	return on, nil
}

func writeError(w http.ResponseWriter, err error) {
	wire := errorOf(err)
	writeJSON(w, wire.status(), struct {
		Error *Error `json:"error"`
	}{wire})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	if value == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the reader has gone
}
