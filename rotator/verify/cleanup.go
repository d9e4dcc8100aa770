package verify

import (
	"context"
	"crypto/sha1" //nolint:gosec // thumbprints are SHA-1
	"encoding/base64"
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
	patient, within := ctx.Err() == nil, cleanUpWithin
	if patient {
		within += notYet
	}
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	r.entry.What = "clean up"
	if err := r.Journal.Note(lasting, r.entry); err != nil {
		return fmt.Errorf("note the clean-up: %w", err)
	}
	left, err := r.removeAll(lasting, patient)
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

// removeAll removes whatever the run made. Without patience it does not wait for an
// app that no read shows yet.
func (r *Run) removeAll(ctx context.Context, patient bool) (left string, err error) {
	if r.entry.App == "" {
		return cleanUp(ctx, r.Tenant, r.Journal, &r.entry, patient)
	}
	if len(r.entry.Sent) == 0 {
		return "", nil
	}
	if r.Own == nil {
		return "", fmt.Errorf("app %s is not tracked any more, so nothing signs the removal of %d certificates; the last expires at %s",
			r.entry.App, len(r.entry.Sent), r.lastEnds())
	}
	return r.removeOwn(ctx)
}

// lastEnds is when the last certificate expires that the app may have by the run.
func (r *Run) lastEnds() string {
	var last time.Time
	for _, k := range r.entry.Sent {
		if k.Until.After(last) {
			last = k.Until
		}
	}
	return last.UTC().Format("2006-01-02 15:04 UTC")
}

// Removals from an app that tries its own keys: as long as a list shows one, it is sent
// again; five readings over two minutes that show none mean that none is there.
const (
	ownRounds = 20
	ownPause  = 30 * time.Second
	ownReads  = 5
)

// removeOwn takes the certificates off that were added to an app that signs its own
// proofs. Where the app cannot read its list, nothing shows what became of them: then
// each removal is sent until it is answered, and left says until when they last.
func (r *Run) removeOwn(ctx context.Context) (left string, err error) {
	answered := map[string]bool{}
	for round, unseen := 0, 0; round < ownRounds; round++ {
		if round > 0 {
			if err := sleep(ctx, ownPause); err != nil {
				return "", err
			}
		}
		token, err := r.bearer(ctx)
		if err != nil {
			return "", err
		}
		ids, readable, err := r.ownListed(ctx, token)
		if err != nil {
			return "", err
		}
		if !readable {
			ids = r.ownKnown(answered)
		}
		for _, id := range ids {
			if err := r.removeOne(ctx, token, id, round, answered); err != nil {
				return "", err
			}
		}
		switch {
		case readable && len(ids) == 0:
			if unseen++; unseen >= ownReads {
				r.entry.Sent = nil
				return "", nil
			}
		case readable:
			unseen = 0
		case len(r.ownKnown(answered)) == 0:
			return fmt.Sprintf("the removal of %d certificates was sent, and the app is not allowed to read its list; the last of them expires at %s",
				len(r.entry.Sent), r.lastEnds()), nil
		}
	}
	return "", fmt.Errorf("%d certificates could not be removed from the app; the last expires at %s", len(r.entry.Sent), r.lastEnds())
}

// ownKnown lists the key IDs whose removal was not answered.
func (r *Run) ownKnown(answered map[string]bool) []string {
	var ids []string
	for _, k := range r.entry.Sent {
		if k.KeyID != "" && !answered[k.KeyID] {
			ids = append(ids, k.KeyID)
		}
	}
	return ids
}

// ownListed reads which entries of the app carry a certificate of the run.
func (r *Run) ownListed(ctx context.Context, token string) (ids []string, readable bool, err error) {
	a, err := insist(ctx, r.Tenant, Request{Method: http.MethodGet, Path: "/v1.0/applications/" + r.entry.ObjectID + "?$select=id,keyCredentials", Token: token})
	if err != nil {
		return nil, false, err
	}
	list, readable := keysIn(a)
	for _, e := range list {
		der, _ := base64.StdEncoding.DecodeString(e.Key)
		digest := sha1.Sum(der) //nolint:gosec // the journal has SHA-1
		if slices.ContainsFunc(r.entry.Sent, func(k SentKey) bool {
			return e.Key != "" && k.Thumbprint == fmt.Sprintf("%X", digest) || k.KeyID != "" && k.KeyID == e.KeyID
		}) {
			ids = append(ids, e.KeyID)
		}
	}
	return ids, readable, nil
}

// removeOne sends one removal. "No credentials found" proves nothing the first time.
func (r *Run) removeOne(ctx context.Context, token, id string, round int, answered map[string]bool) error {
	signed, err := r.proof(r.first, proofForm{})
	if err != nil {
		return err
	}
	a, err := r.Tenant.Graph(ctx, Request{
		Method: http.MethodPost, Path: "/v1.0/applications/" + r.entry.ObjectID + "/removeKey", Token: token,
		Body: map[string]any{"keyId": id, "proof": signed},
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, message := problem(a)
	answered[id] = err == nil && (ok(a) || round > 0 && strings.Contains(message, "No credentials found"))
	return nil
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

// notYet is how long after its creation no read may show an app, on a bad day.
const notYet = 30 * time.Minute

// CleanUp deletes the throw-away app of a journal, after it has checked that it is
// the one, and purges it where that is allowed. left says what stays and until when;
// empty: nothing. It may be called again and again.
func CleanUp(ctx context.Context, tenant Tenant, journal Journal, e Entry) (left string, err error) {
	return cleanUp(ctx, tenant, journal, &e, true)
}

// cleanUp is CleanUp. It keeps what it finds out in the entry and in the journal: who
// dies between two of its requests knows what to look for.
func cleanUp(ctx context.Context, tenant Tenant, journal Journal, e *Entry, patient bool) (left string, err error) {
	if e.App != "" || e.UniqueName == "" {
		return "", nil
	}
	app, found, err := find(ctx, tenant, *e)
	if err != nil {
		return "", err
	}
	for !found && !e.Seen && time.Since(e.Begun) < notYet {
		// On a bad day no read shows a new app for 20 minutes. It may be there.
		if !patient {
			return "", fmt.Errorf("no read shows the app %s yet, which takes up to %s; clean up again then", e.UniqueName, notYet)
		}
		if err := sleep(ctx, time.Minute); err != nil {
			return "", err
		}
		if app, found, err = find(ctx, tenant, *e); err != nil {
			return "", err
		}
	}
	if !found {
		if e.ObjectID == "" {
			return "", nil
		}
		return purge(ctx, tenant, *e)
	}
	if err := e.isMade(app); err != nil {
		return "", err
	}
	e.ObjectID, e.ClientID, e.CreatedBy = strings.ToLower(app.ID), strings.ToLower(app.AppID), strings.ToLower(app.CreatedBy)
	if err := e.findPrincipal(ctx, tenant); err != nil {
		return "", err
	}
	e.Seen = true
	if err := journal.Note(ctx, *e); err != nil {
		return "", fmt.Errorf("note the clean-up: %w", err)
	}
	path := "/v1.0/applications/" + app.ID
	a, err := insist(ctx, tenant, Request{Method: http.MethodDelete, Path: path})
	if err != nil {
		return "", err
	}
	if !ok(a) && a.Status != http.StatusNotFound {
		return "", fmt.Errorf("delete the app: %s", plain(a))
	}
	if left, err = purge(ctx, tenant, *e); err != nil {
		return "", err
	}
	for shown, reads := 0, 0; reads < 5; {
		a, err := insist(ctx, tenant, Request{Method: http.MethodGet, Path: path})
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

// findPrincipal looks for the app's service principal, which is deleted with it and has
// to be purged by its own ID.
func (e *Entry) findPrincipal(ctx context.Context, tenant Tenant) error {
	if e.PrincipalID != "" {
		return nil
	}
	a, err := insist(ctx, tenant, Request{Method: http.MethodGet, Path: "/v1.0/servicePrincipals(appId='" + e.ClientID + "')"})
	if err != nil {
		return err
	}
	var principal struct {
		ID string `json:"id"`
	}
	if ok(a) && json.Unmarshal(a.Body, &principal) == nil {
		e.PrincipalID = strings.ToLower(principal.ID)
	}
	return nil
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
		a, err := insist(ctx, tenant, Request{Method: http.MethodGet, Path: path})
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

// purge removes a deleted app and its service principal for good, where that is allowed.
func purge(ctx context.Context, tenant Tenant, e Entry) (left string, err error) {
	for _, id := range []string{e.PrincipalID, e.ObjectID} {
		if id == "" {
			continue
		}
		done, err := purgeOne(ctx, tenant, id)
		if err != nil {
			return "", err
		}
		if !done {
			left = fmt.Sprintf("the deleted app stays under \"Deleted applications\" until %s; it has no permission and no valid certificate after %s",
				time.Now().AddDate(0, 0, 30).UTC().Format(time.DateOnly), time.Now().Add(keyLife).UTC().Format("2006-01-02 15:04 UTC"))
		}
	}
	return left, nil
}

// purgeOne reports whether a deleted object is gone for good. Right after the deletion
// it may not be found yet, so that has to be said more than once.
func purgeOne(ctx context.Context, tenant Tenant, id string) (done bool, err error) {
	for n := range 6 {
		if n > 0 {
			if err := sleep(ctx, 10*time.Second); err != nil {
				return false, err
			}
		}
		a, err := insist(ctx, tenant, Request{Method: http.MethodDelete, Path: "/v1.0/directory/deletedItems/" + id})
		if err != nil {
			return false, err
		}
		if ok(a) {
			return true, nil
		}
		if a.Status != http.StatusNotFound {
			return false, nil
		}
	}
	return true, nil // purged before
}

// insist sends a request that may be repeated until it is answered with something
// else than "not now", up to six times.
func insist(ctx context.Context, tenant Tenant, q Request) (Answer, error) {
	var a Answer
	var err error
	for n := range 6 {
		if a, err = tenant.Graph(ctx, q); ctx.Err() != nil {
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
	if r.Own != nil {
		r.first = probe{key: r.Own.Key, der: r.Own.Certificate}
	}
	return r.removeAll(ctx, true)
}
