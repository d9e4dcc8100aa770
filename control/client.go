package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// Client asks a daemon, or a [Server] in the same process. It has one method per
// route and is safe for concurrent use. Refusals are [*Error]; [ErrEnded] says that
// the daemon stopped before it answered, and may or may not have done what was asked.
type Client struct {
	http *http.Client
}

// Dial returns a client of the daemon that listens at path. It returns
// [ErrNoDaemon] if nobody listens, and [fs.ErrPermission] if the socket or its
// folder is closed to this user.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := dial(ctx, path)
	if err != nil {
		return nil, err
	}
	_ = conn.Close() // nothing was written
	return NewClient(&http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
		DisableKeepAlives: true,
	}), nil
}

// NewClient returns a client over any transport, such as [Server.Transport].
func NewClient(transport http.RoundTripper) *Client {
	return &Client{http: &http.Client{Transport: transport}}
}

// Status of some apps, or of all if none is named.
func (c *Client) Status(ctx context.Context, names ...string) (Status, error) {
	var status Status
	return status, c.do(ctx, http.MethodGet, "/v1/status?"+url.Values{"app": names}.Encode(), nil, &status)
}

// App returns one tracked app.
func (c *Client) App(ctx context.Context, name string) (App, error) {
	var app App
	return app, c.do(ctx, http.MethodGet, appPath(name, ""), nil, &app)
}

// Add tracks an app.
func (c *Client) Add(ctx context.Context, spec AppSpec) (Added, error) {
	var added Added
	return added, c.do(ctx, http.MethodPost, "/v1/apps", spec, &added)
}

// Edit changes a tracked app.
func (c *Client) Edit(ctx context.Context, name string, edit Edit) (Edited, error) {
	var edited Edited
	return edited, c.do(ctx, http.MethodPatch, appPath(name, ""), edit, &edited)
}

// Remove stops tracking an app.
func (c *Client) Remove(ctx context.Context, name string, purge, abandon bool) (Removed, error) {
	var removed Removed
	query := url.Values{"purge": {strconv.FormatBool(purge)}, "abandon": {strconv.FormatBool(abandon)}}
	return removed, c.do(ctx, http.MethodDelete, appPath(name, "")+"?"+query.Encode(), nil, &removed)
}

// Test looks whether an app can do its work.
func (c *Client) Test(ctx context.Context, name string) ([]TestCheck, error) {
	var tested Tested
	err := c.do(ctx, http.MethodPost, appPath(name, "/test"), nil, &tested)
	return tested.Checks, err
}

// Start begins a rotation, or carries on the one that is open.
func (c *Client) Start(ctx context.Context, name string, request StartRequest) (Rotation, error) {
	var rotation Rotation
	return rotation, c.do(ctx, http.MethodPost, appPath(name, "/rotations"), request, &rotation)
}

// StartDue begins all rotations that are due and carries on all that are open.
func (c *Client) StartDue(ctx context.Context) (Started, error) {
	var started Started
	return started, c.do(ctx, http.MethodPost, "/v1/rotations/due", nil, &started)
}

// Confirm says that the consumer uses the new pair.
func (c *Client) Confirm(ctx context.Context, name string, request ConfirmRequest) (Rotation, error) {
	var rotation Rotation
	return rotation, c.do(ctx, http.MethodPost, appPath(name, "/confirm"), request, &rotation)
}

// RollBack takes the new pair back.
func (c *Client) RollBack(ctx context.Context, name string) (Rotation, error) {
	var rotation Rotation
	return rotation, c.do(ctx, http.MethodPost, appPath(name, "/rollback"), nil, &rotation)
}

// Rotation returns one rotation.
func (c *Client) Rotation(ctx context.Context, id string) (Rotation, error) {
	var rotation Rotation
	return rotation, c.do(ctx, http.MethodGet, "/v1/rotations/"+url.PathEscape(id), nil, &rotation)
}

// Apply adds or updates many apps; a dry run only tells the differences.
func (c *Client) Apply(ctx context.Context, request ApplyRequest) ([]Difference, error) {
	var applied Applied
	err := c.do(ctx, http.MethodPost, "/v1/apply", request, &applied)
	return applied.Differences, err
}

// Check runs a check.
func (c *Client) Check(ctx context.Context) (CheckReport, error) {
	var report CheckReport
	return report, c.do(ctx, http.MethodPost, "/v1/check", nil, &report)
}

// History returns rotations, newest first: of one app or, with an empty name, of
// all. A limit of 0 means all.
func (c *Client) History(ctx context.Context, app string, limit int) ([]Rotation, error) {
	var history History
	query := url.Values{"app": {app}, "limit": {strconv.Itoa(limit)}}
	err := c.do(ctx, http.MethodGet, "/v1/history?"+query.Encode(), nil, &history)
	return history.Rotations, err
}

// Pause stops one app or, with an empty name, all.
func (c *Client) Pause(ctx context.Context, app string, until time.Time) error {
	return c.do(ctx, http.MethodPost, "/v1/pause", PauseRequest{app, until}, nil)
}

// Resume ends the pause of one app or, with an empty name, of all. Of a restored
// store holdDiffering lets those go on that agree with Entra.
func (c *Client) Resume(ctx context.Context, app string, holdDiffering bool) ([]string, error) {
	var resumed Resumed
	err := c.do(ctx, http.MethodPost, "/v1/resume", ResumeRequest{app, holdDiffering}, &resumed)
	return resumed.Done, err
}

// Reload has the daemon read its configuration again. An error means that the one
// before stays in force.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	var answer Reloaded
	err := c.do(ctx, http.MethodPost, "/v1/reload", nil, &answer)
	return answer, err
}

// RebindTenant accepts the tenant's present login and Graph hosts.
func (c *Client) RebindTenant(ctx context.Context, tenant string) error {
	return c.do(ctx, http.MethodPost, "/v1/tenants/"+url.PathEscape(tenant)+"/rebind", nil, nil)
}

// Follow yields the rotation as it is now and after each change. It ends when
// the rotation ended; with [ErrEnded] if the daemon stops before, and with the
// context's error if ctx is done.
func (c *Client) Follow(ctx context.Context, id string) iter.Seq2[Rotation, error] {
	return c.follow(ctx, id, "")
}

// FollowRemovals is Follow until the rotation's removals are confirmed, too.
func (c *Client) FollowRemovals(ctx context.Context, id string) iter.Seq2[Rotation, error] {
	return c.follow(ctx, id, "?removals")
}

func (c *Client) follow(ctx context.Context, id, query string) iter.Seq2[Rotation, error] {
	return func(yield func(Rotation, error) bool) {
		response, err := c.send(ctx, http.MethodGet, "/v1/rotations/"+url.PathEscape(id)+"/events"+query, nil)
		if err != nil {
			yield(Rotation{}, err)
			return
		}
		defer func() { _ = response.Body.Close() }() // it was read as far as it is needed
		open := true
		for decoder := json.NewDecoder(response.Body); ; {
			var line struct {
				Rotation
				Error *Error `json:"error"`
			}
			err := decoder.Decode(&line)
			switch {
			case ctx.Err() != nil:
				yield(Rotation{}, ctx.Err())
				return
			case err != nil && !open:
				return
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				yield(Rotation{}, ErrEnded)
				return
			case err != nil:
				yield(Rotation{}, fmt.Errorf("follow rotation %s: %w", id, err))
				return
			case line.Error != nil:
				yield(Rotation{}, line.Error)
				return
			}
			open = line.Open || query != "" && line.AwaitsRemovals()
			if !yield(line.Rotation, nil) {
				return
			}
		}
	}
}

// do sends one request and reads its answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	response, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	if out == nil || response.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: read answer: %w", method, path, cutOff(err))
	}
	return nil
}

// send returns an answer of 2xx; anything else becomes an error.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://rotate"+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("%s %s: %w", method, path, cutOff(err))
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }() // it was read
	var refusal struct {
		Error *Error `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxErrorBytes)).Decode(&refusal); err != nil || refusal.Error == nil {
		return nil, fmt.Errorf("%s %s: the answer is %s without a reason", method, path, response.Status)
	}
	return nil, refusal.Error
}

// cutOff says what it means when a connection ends before the answer does.
func cutOff(err error) error {
	for _, one := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, one) {
			return fmt.Errorf("%w before it answered", ErrEnded)
		}
	}
	return err
}

func appPath(name, rest string) string { return "/v1/apps/" + url.PathEscape(name) + rest }
