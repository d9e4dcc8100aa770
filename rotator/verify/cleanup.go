package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// cleanUpWithin bounds a clean-up; what is left then is cleaned up by the next one.
const cleanUpWithin = 8 * time.Minute

// ErrNotOurs says that what has the app's ID or name is not what the run made.
var ErrNotOurs = errors.New("it is not the app that the verification made")

// cleanUp removes what the run made, also when its context has ended.
func (r *Run) cleanUp(ctx context.Context) error {
	r.tell("step 11: %s", stepNames()[11])
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWithin)
	defer cancel()
	r.entry.What = "clean up"
	if err := r.Journal.Note(lasting, r.entry); err != nil {
		return fmt.Errorf("note the clean-up: %w", err)
	}
	var left string
	var err error
	if r.Own != nil {
		err = r.removeOwn(lasting)
	} else {
		left, err = CleanUp(lasting, r.Tenant, r.entry)
	}
	if err != nil {
		return fmt.Errorf("clean up: %s", r.masks.mask(err.Error()))
	}
	r.report.Left = left
	if r.Own == nil && r.entry.ObjectID != "" {
		r.fact("cleaned_up", map[bool]string{true: "purged", false: "deleted"}[left == ""], Answer{})
	}
	r.entry.Deleted, r.entry.LogUntil = true, time.Now().UTC().Add(r.Wait)
	return r.Journal.Note(lasting, r.entry)
}

// removeOwn takes the keys off that were added to an app that signs its own proofs.
func (r *Run) removeOwn(ctx context.Context) error {
	ids := slices.Clone(r.entry.Keys)
	for round := range 5 {
		for _, id := range ids {
			signed, err := r.proof(r.first, proofForm{})
			if err != nil {
				return err
			}
			r.troubles = 0
			token, err := r.bearer(ctx)
			if err != nil {
				return err
			}
			a, err := r.Tenant.Graph(ctx, Request{
				Method: http.MethodPost, Path: "/v1.0/applications/" + r.entry.ObjectID + "/removeKey", Token: token,
				Body: map[string]any{"keyId": id, "proof": signed},
			})
			_, message := problem(a)
			// "No credentials found" proves nothing the first time.
			if err == nil && (ok(a) || round > 0 && strings.Contains(message, "No credentials found")) {
				r.entry.Keys = slices.DeleteFunc(r.entry.Keys, func(known string) bool { return known == id })
			}
		}
		if ids = slices.Clone(r.entry.Keys); len(ids) == 0 {
			return nil
		}
		if err := sleep(ctx, 15*time.Second); err != nil {
			return err
		}
	}
	return fmt.Errorf("%d certificates could not be removed from the app; each expires within %s", len(ids), keyLife)
}

// application is what a clean-up looks at before it deletes.
type application struct {
	ID         string    `json:"id"`
	AppID      string    `json:"appId"`
	UniqueName string    `json:"uniqueName"`
	CreatedBy  string    `json:"createdByAppId"`
	Created    time.Time `json:"createdDateTime"`
	Tags       []string  `json:"tags"`
}

// isMade reports why an app is not the one of the journal; nil: it is. A name alone
// is never enough.
func (e Entry) isMade(app application) error {
	switch {
	case !slices.Contains(app.Tags, Tag):
		return fmt.Errorf("%w: it has no tag %s", ErrNotOurs, Tag)
	case app.UniqueName != e.UniqueName:
		return fmt.Errorf("%w: it has another unique name", ErrNotOurs)
	case e.ObjectID != "" && !strings.EqualFold(app.ID, e.ObjectID), e.ClientID != "" && !strings.EqualFold(app.AppID, e.ClientID):
		return fmt.Errorf("%w: it has other IDs", ErrNotOurs)
	case e.CreatedBy != "" && !strings.EqualFold(app.CreatedBy, e.CreatedBy):
		return fmt.Errorf("%w: another app created it", ErrNotOurs)
	case app.Created.Before(e.Begun.Add(-10*time.Minute)) || app.Created.After(e.Begun.Add(2*time.Hour)):
		return fmt.Errorf("%w: it was created at another time", ErrNotOurs)
	}
	return nil
}

// CleanUp deletes the throw-away app of a journal, after it has checked that it is
// the one, and purges it where that is allowed. left says what stays and until when;
// empty: nothing. It may be called again and again.
func CleanUp(ctx context.Context, tenant Tenant, e Entry) (left string, err error) {
	if e.App != "" || e.UniqueName == "" {
		return "", nil
	}
	app, found, err := find(ctx, tenant, e)
	if err != nil {
		return "", err
	}
	if !found {
		if e.ObjectID == "" {
			return "", nil
		}
		return purge(ctx, tenant, e.ObjectID)
	}
	if err := e.isMade(app); err != nil {
		return "", err
	}
	path := "/v1.0/applications/" + app.ID
	a, err := insist(ctx, tenant, http.MethodDelete, path)
	if err != nil {
		return "", err
	}
	if !ok(a) && a.Status != http.StatusNotFound {
		return "", fmt.Errorf("delete the app: %s", plain(a))
	}
	if left, err = purge(ctx, tenant, app.ID); err != nil {
		return "", err
	}
	for shown, reads := 0, 0; reads < 5; {
		a, err := insist(ctx, tenant, http.MethodGet, path)
		switch {
		case err != nil:
			return "", err
		case a.Status == http.StatusNotFound:
			reads++
		default:
			if reads = 0; shown >= 30 {
				return "", fmt.Errorf("the app was deleted and is still shown: %s", plain(a))
			}
			shown++
		}
		if err := sleep(ctx, 5*time.Second); err != nil {
			return "", err
		}
	}
	return left, nil
}

// find reads the app; five readings over two minutes that do not show it mean that it
// is not there.
func find(ctx context.Context, tenant Tenant, e Entry) (app application, found bool, err error) {
	path := "/v1.0/applications(uniqueName='" + e.UniqueName + "')"
	if e.ObjectID != "" {
		path = "/v1.0/applications/" + e.ObjectID
	}
	for n := range 5 {
		if n > 0 {
			if err := sleep(ctx, 30*time.Second); err != nil {
				return app, false, err
			}
		}
		a, err := insist(ctx, tenant, http.MethodGet, path)
		switch {
		case err != nil:
			return app, false, err
		case a.Status == http.StatusNotFound:
			continue
		case !ok(a) || json.Unmarshal(a.Body, &app) != nil || app.ID == "":
			return app, false, fmt.Errorf("look for the app: %s", plain(a))
		}
		return app, true, nil
	}
	return app, false, nil
}

// purge removes a deleted app for good, where that is allowed.
func purge(ctx context.Context, tenant Tenant, id string) (left string, err error) {
	var a Answer
	for n := range 3 {
		if n > 0 {
			if err := sleep(ctx, 10*time.Second); err != nil {
				return "", err
			}
		}
		if a, err = insist(ctx, tenant, http.MethodDelete, "/v1.0/directory/deletedItems/"+id); err != nil {
			return "", err
		}
		if ok(a) {
			return "", nil
		}
		if a.Status != http.StatusNotFound {
			break
		}
	}
	if a.Status == http.StatusNotFound {
		return "", nil // purged before
	}
	return fmt.Sprintf("the deleted app stays under \"Deleted applications\" until %s; it has no permission and no valid certificate after %s",
		time.Now().AddDate(0, 0, 30).UTC().Format(time.DateOnly), time.Now().Add(keyLife).UTC().Format("2006-01-02 15:04 UTC")), nil
}

// insist sends a request that may be repeated until it is answered with something
// else than "not now", up to six times.
func insist(ctx context.Context, tenant Tenant, method, path string) (Answer, error) {
	var a Answer
	var err error
	for n := range 6 {
		if a, err = tenant.Graph(ctx, Request{Method: method, Path: path}); ctx.Err() != nil {
			return a, ctx.Err()
		}
		if err == nil && a.Status != http.StatusTooManyRequests && (a.Status < http.StatusInternalServerError || a.Status == http.StatusNotImplemented) {
			return a, nil
		}
		if err := sleep(ctx, max(retryAfter(a.Header), time.Duration(n+1)*3*time.Second)); err != nil {
			return a, err
		}
	}
	return a, err
}

// plain is an answer in one line, not masked.
func plain(a Answer) string {
	code, message := problem(a)
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", a.Status, code, message))
}

// CleanUp cleans up after another run by its journal. Own must be set for one that
// tried the keys of an app.
func (r *Run) CleanUp(ctx context.Context, e Entry) (left string, err error) {
	r.masks, r.entry = newMasks(r.Tenant.About()), e
	if e.App == "" {
		return CleanUp(ctx, r.Tenant, e)
	}
	if r.Own == nil {
		return "", fmt.Errorf("app %s is not there any more to remove %d certificates; each expires within %s", e.App, len(e.Keys), keyLife)
	}
	r.first = probe{key: r.Own.Key, der: r.Own.Certificate}
	return "", r.removeOwn(ctx)
}
