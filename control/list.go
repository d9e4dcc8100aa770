package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Answers that grow with the number of apps are one JSON object, as all others are, but
// neither side ever has all of it: it is written and read element by element. What stops
// it in the middle stands behind the list, as "error".

// A listing writes an object with a list in it.
type listing struct {
	w io.Writer
	// rest is the object behind the list.
	rest  []byte
	begun bool
	any   bool
	// begin is called before the first byte.
	begin func()
	head  []byte
}

// newListing takes an object whose list of that name is empty.
func newListing(w http.ResponseWriter, object any, name string) (*listing, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	head, rest, ok := bytes.Cut(text, []byte(strconv.Quote(name)+":[]"))
	if !ok {
		return nil, fmt.Errorf("there is no empty list %q", name)
	}
	l := &listing{w: w, rest: rest, begin: func() { w.Header().Set("Content-Type", "application/json") }}
	l.head = append(append(head, strconv.Quote(name)...), ":["...)
	return l, nil
}

// add writes one element. An error means that the reader has gone.
func (l *listing) add(element any) error {
	text, err := json.Marshal(element)
	if err != nil {
		return err
	}
	if err := l.start(); err != nil {
		return err
	}
	if l.any {
		text = append([]byte{','}, text...)
	}
	l.any = true
	_, err = l.w.Write(text)
	return err
}

func (l *listing) start() error {
	if l.begun {
		return nil
	}
	l.begun = true
	l.begin()
	_, err := l.w.Write(l.head)
	return err
}

// end writes what stands behind the list; with an error nothing of it, but the error.
func (l *listing) end(w http.ResponseWriter, failed error) {
	switch {
	case failed != nil && !l.begun:
		writeError(w, failed)
		return
	case failed != nil:
		text, _ := json.Marshal(errorOf(failed)) // it is a struct of strings
		l.rest = append(append([]byte(`],"error":`), text...), '}')
	default:
		_ = l.start() // the reader has gone
		l.rest = append([]byte{']'}, l.rest...)
	}
	_, _ = l.w.Write(append(l.rest, '\n')) // the same
}

// page reads which part of a list is asked for: what is behind a name, up to a number.
func page(query url.Values) (after string, limit int, err error) {
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 0 {
			return "", 0, fmt.Errorf("limit %q is not a number: %w", text, rotator.ErrUsage)
		}
	}
	return query.Get("after"), limit, nil
}

// status answers about named apps, about what needs a person (?overview&limit=N), or about
// all, or those behind a name.
func (s *Server) status(_ context.Context, w http.ResponseWriter, r *http.Request) {
	query, ctx := r.URL.Query(), r.Context()
	after, limit, err := page(query)
	if err != nil {
		writeError(w, err)
		return
	}
	if names := query["app"]; len(names) > 0 {
		status, err := s.Rotator.Status(ctx, names...) //nolint:contextcheck // the answer ends with its reader
		s.writeStatus(w, r, status, err)
		return
	}
	if query.Has("overview") {
		status, err := s.Rotator.Overview(ctx, limit) //nolint:contextcheck // the answer ends with its reader
		s.writeStatus(w, r, status, err)
		return
	}
	whole, err := s.Rotator.Overview(ctx, 0) //nolint:contextcheck // the answer ends with its reader
	whole.Apps = nil
	wire, err := s.wireStatus(ctx, whole, err) //nolint:contextcheck // the answer ends with its reader
	if err != nil {
		writeError(w, err)
		return
	}
	l, err := newListing(w, wire, "apps")
	if err != nil {
		writeError(w, err)
		return
	}
	l.end(w, s.Rotator.SurveyAfter(ctx, after, limit, func(a *rotator.AppStatus) error { return l.add(appStatusOf(*a)) })) //nolint:contextcheck // the answer ends with its reader
}

func (s *Server) writeStatus(w http.ResponseWriter, r *http.Request, status rotator.Status, err error) {
	wire, err := s.wireStatus(r.Context(), status, err)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, wire)
}

func (s *Server) wireStatus(ctx context.Context, status rotator.Status, err error) (Status, error) {
	if err != nil {
		return Status{}, err
	}
	wire := statusOf(status)
	wire.Warnings = append(wire.Warnings, s.warnings()...)
	wire.Problems = append(wire.Problems, s.problems(ctx)...)
	return wire, s.addBackups(ctx, &wire)
}

func (s *Server) apps(_ context.Context, w http.ResponseWriter, r *http.Request) {
	after, limit, err := page(r.URL.Query())
	if err != nil {
		writeError(w, err)
		return
	}
	l, err := newListing(w, Apps{Apps: []App{}}, "apps")
	if err != nil {
		writeError(w, err)
		return
	}
	l.end(w, s.Rotator.SurveyAfter(r.Context(), after, limit, func(a *rotator.AppStatus) error { return l.add(appOf(a.App, &a.Policy)) })) //nolint:contextcheck // the answer ends with its reader
}

func (s *Server) plan(_ context.Context, w http.ResponseWriter, r *http.Request) {
	_, limit, err := page(r.URL.Query())
	if err != nil {
		writeError(w, err)
		return
	}
	l, err := newListing(w, Plan{Items: []PlanItem{}}, "items")
	if err != nil {
		writeError(w, err)
		return
	}
	n, gone := 0, error(nil)
	err = s.Rotator.Plan(r.Context(), func(p rotator.PlanItem) bool { //nolint:contextcheck // the answer ends with its reader
		gone = l.add(planItemOf(p))
		n++
		return gone == nil && n != limit
	})
	l.end(w, errors.Join(err, gone))
}

// readList reads an object with a list: each element goes to see, all else into rest. see
// is called with what stands before the list.
func readList[T any](r io.Reader, name string, rest any, see func(T) error) error {
	d := json.NewDecoder(r)
	if _, err := d.Token(); err != nil {
		return cutOff(err)
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return cutOff(err)
		}
		if key != any(name) {
			var value json.RawMessage
			if err := d.Decode(&value); err != nil {
				return cutOff(err)
			}
			fields[fmt.Sprint(key)] = value
			continue
		}
		if err := into(fields, rest); err != nil {
			return err
		}
		if _, err := d.Token(); err != nil {
			return cutOff(err)
		}
		for d.More() {
			var element T
			if err := d.Decode(&element); err != nil {
				return cutOff(err)
			}
			if err := see(element); err != nil {
				return err
			}
		}
		if _, err := d.Token(); err != nil {
			return cutOff(err)
		}
	}
	if _, err := d.Token(); err != nil {
		return cutOff(err)
	}
	if text, ok := fields["error"]; ok {
		failed := &Error{}
		if err := json.Unmarshal(text, failed); err != nil {
			return err
		}
		return failed
	}
	return into(fields, rest)
}

func into(fields map[string]json.RawMessage, rest any) error {
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, rest)
}

// Survey calls see with the status of each app by name, up to limit of those behind after;
// a limit of 0 means all. The status it returns has none; see gets what is known of it by
// then.
func (c *Client) Survey(ctx context.Context, after string, limit int, see func(Status, AppStatus) error) (Status, error) {
	var status Status
	err := c.list(ctx, "/v1/status", after, limit, func(r io.Reader) error {
		return readList(r, "apps", &status, func(a AppStatus) error { return see(status, a) })
	})
	status.Apps = []AppStatus{}
	return status, err
}

// Overview returns the status of the whole with up to limit apps: all if there are no
// more, else the first that a person should look at.
func (c *Client) Overview(ctx context.Context, limit int) (Status, error) {
	var status Status
	return status, c.do(ctx, http.MethodGet, "/v1/status?overview&limit="+strconv.Itoa(limit), nil, &status)
}

// EachApp calls see with each tracked app by name, up to limit of those behind after; a
// limit of 0 means all.
func (c *Client) EachApp(ctx context.Context, after string, limit int, see func(App) error) error {
	return c.list(ctx, "/v1/apps", after, limit, func(r io.Reader) error { return readList(r, "apps", &struct{}{}, see) })
}

// Apps returns all tracked apps.
func (c *Client) Apps(ctx context.Context) ([]App, error) {
	apps := []App{}
	err := c.EachApp(ctx, "", 0, func(a App) error { apps = append(apps, a); return nil })
	return apps, err
}

// Plan calls see with what the next check would do, soonest first, up to limit times; a
// limit of 0 means all.
func (c *Client) Plan(ctx context.Context, limit int, see func(PlanItem) error) error {
	return c.list(ctx, "/v1/plan", "", limit, func(r io.Reader) error { return readList(r, "items", &struct{}{}, see) })
}

func (c *Client) list(ctx context.Context, path, after string, limit int, read func(io.Reader) error) error {
	response, err := c.send(ctx, http.MethodGet, path+"?"+url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read as far as it is needed
	return read(response.Body)
}
