package verify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// add sends addKey with a proof; the probe gets the key ID that the answer names.
func (r *Run) add(ctx context.Context, signer probe, form proofForm, p *probe, entry map[string]any) (Answer, error) {
	signed, err := r.proof(signer, form)
	if err != nil {
		return Answer{}, err
	}
	name, _ := entry["displayName"].(string)
	if r.Own != nil {
		r.entry.Sent = append(r.entry.Sent, SentKey{Thumbprint: p.thumbprint(), Until: p.until})
	}
	a, err := r.write(ctx, "add the certificate "+name, Request{
		Method: http.MethodPost, Path: "/v1.0/applications/" + r.entry.ObjectID + "/addKey",
		Body: map[string]any{"keyCredential": entry, "passwordCredential": nil, "proof": signed},
	})
	var answer struct {
		KeyID string `json:"keyId"`
	}
	if ok(a) && json.Unmarshal(a.Body, &answer) == nil && answer.KeyID != "" {
		p.keyID = strings.ToLower(answer.KeyID)
		r.masks.add("K", p.keyID)
	}
	p.addedAt = time.Now()
	if noted := r.noteSent(ctx, a, p); noted != nil {
		return a, errors.Join(err, noted)
	}
	return a, err
}

// noteSent keeps what became of a certificate that was sent to an app that tries its
// own keys: the app is not deleted, so each must be found again.
func (r *Run) noteSent(ctx context.Context, a Answer, p *probe) error {
	if r.Own == nil {
		return nil
	}
	switch last := len(r.entry.Sent) - 1; {
	case p.keyID != "" && ok(a):
		r.entry.Sent[last].KeyID = p.keyID
	case a.Status >= http.StatusBadRequest && a.Status < http.StatusInternalServerError:
		r.entry.Sent = r.entry.Sent[:last]
	}
	return r.Journal.Note(ctx, r.entry)
}

// addPlain adds a fresh certificate in the usual way.
func (r *Run) addPlain(ctx context.Context, signer probe, name string) (probe, Answer, error) {
	p, err := r.shortProbe()
	if err != nil {
		return probe{}, Answer{}, err
	}
	a, err := r.add(ctx, signer, proofForm{}, &p, r.newEntry(p, name))
	return p, a, err
}

// remove sends removeKey.
func (r *Run) remove(ctx context.Context, signer probe, id string) (Answer, error) {
	signed, err := r.proof(signer, proofForm{})
	if err != nil {
		return Answer{}, err
	}
	a, err := r.write(ctx, "remove a certificate", Request{
		Method: http.MethodPost, Path: "/v1.0/applications/" + r.entry.ObjectID + "/removeKey",
		Body: map[string]any{"keyId": id, "proof": signed},
	})
	return a, err
}

// isBadProof reports whether the proof was refused, which passes where the key is new.
func isBadProof(a Answer) bool {
	code, _ := problem(a)
	return a.Status == http.StatusUnauthorized && code == "Authentication_MissingOrMalformed"
}

// addKeys tries addKey in its forms, each with a fresh certificate.
func (r *Run) addKeys(ctx context.Context) error {
	p, err := r.shortProbe()
	if err != nil {
		return err
	}
	// The first key may be too new to sign.
	late := false
	var a Answer
	for begun := time.Now(); ; {
		if a, err = r.add(ctx, r.first, proofForm{}, &p, r.newEntry(p, "rotate-verify plain")); err != nil {
			return err
		}
		if !isBadProof(a) && outcome(a) != Unknown || time.Since(begun) > 25*time.Minute {
			break
		}
		late = late || isBadProof(a)
		if err := sleep(ctx, 3*pace(time.Since(begun))); err != nil {
			return err
		}
	}
	if isBadProof(a) {
		r.fact("proof_usual", Refused, a)
		if p, a, err = r.anotherProof(ctx, a); err != nil {
			return err
		}
	} else if ok(a) {
		r.fact("proof_usual", Accepted, Answer{})
	}
	r.fact("add_key", outcome(a), a)
	if !ok(a) {
		return end("addKey in its usual form was refused: %s", r.said(a))
	}
	r.second = p
	r.fact("add_key_answer", map[bool]string{true: "key_id", false: "no_key_id"}[p.keyID != ""], Answer{})
	if late && !r.first.addedAt.IsZero() {
		r.took("proof_accepted_after_patch", r.first.addedAt, Answer{})
	}
	for _, try := range []func(context.Context) error{r.addKeyIDs, r.addTwice, r.addProofs, r.addDates} {
		r.odd = false
		if err := try(ctx); err != nil {
			return err
		}
	}
	return nil
}

// anotherProof looks for a form of proof that is accepted where the usual one is not,
// and makes it that of the run.
func (r *Run) anotherProof(ctx context.Context, refused Answer) (probe, Answer, error) {
	for _, form := range r.proofForms() {
		p, err := r.shortProbe()
		if err != nil {
			return p, refused, err
		}
		a, err := r.add(ctx, r.first, form, &p, r.newEntry(p, "rotate-verify plain"))
		if err != nil {
			return p, a, err
		}
		if ok(a) {
			r.form = form
			return p, a, nil
		}
	}
	return probe{}, refused, nil
}

// tryAdd adds a fresh certificate in an odd way; change may be nil.
func (r *Run) tryAdd(ctx context.Context, form proofForm, until time.Time, change func(map[string]any)) (probe, Answer, error) {
	p, err := r.newProbe(until)
	if err != nil || r.odd {
		return p, Answer{}, err
	}
	entry := r.newEntry(p, "rotate-verify")
	if change != nil {
		change(entry)
	}
	a, err := r.add(ctx, r.first, form, &p, entry)
	r.odd = r.odd || a.Status >= http.StatusInternalServerError
	return p, a, err
}

func (r *Run) addKeyIDs(ctx context.Context) error {
	until := time.Now().Add(keyLife - time.Minute)
	_, a, err := r.tryAdd(ctx, proofForm{}, until, func(e map[string]any) { e["keyId"] = nil })
	if err != nil {
		return err
	}
	r.fact("add_key_id_null", outcome(a), a)
	chosen := newID()
	p, a, err := r.tryAdd(ctx, proofForm{}, until, func(e map[string]any) { e["keyId"] = chosen })
	if err != nil {
		return err
	}
	value := outcome(a)
	if ok(a) {
		value = map[bool]string{true: "kept", false: "replaced"}[p.keyID == chosen]
	}
	r.fact("add_key_id_chosen", value, a)
	_, a, err = r.tryAdd(ctx, proofForm{}, until, func(e map[string]any) {
		e["customKeyIdentifier"] = base64.StdEncoding.EncodeToString([]byte("rotate-verify-custom"))
	})
	if err != nil {
		return err
	}
	r.fact("add_custom_key_identifier", outcome(a), a)
	return nil
}

func (r *Run) addTwice(ctx context.Context) error {
	same := r.second
	a, err := r.add(ctx, r.first, proofForm{}, &same, r.newEntry(same, "rotate-verify plain"))
	if err != nil {
		return err
	}
	r.fact("add_same_certificate", outcome(a), a)
	return nil
}

func (r *Run) addProofs(ctx context.Context) error {
	for _, form := range r.proofForms() {
		_, a, err := r.tryAdd(ctx, form, time.Now().Add(keyLife-time.Minute), nil)
		if err != nil {
			return err
		}
		r.fact(form.name, outcome(a), a)
	}
	return nil
}

func (r *Run) addDates(ctx context.Context) error {
	until := time.Now().Add(keyLife - 2*time.Minute).UTC().Truncate(time.Second)
	at := func(name string, t time.Time) func(map[string]any) {
		return func(e map[string]any) { e[name] = t.UTC().Format(time.RFC3339) }
	}
	for _, try := range []struct {
		name   string
		change func(map[string]any)
	}{
		{"end_after_certificate", at("endDateTime", until.Add(time.Second))},
		{"end_equal", at("endDateTime", until)},
		{"end_before_certificate", at("endDateTime", until.Add(-time.Second))},
		{"end_in_60_seconds", at("endDateTime", time.Now().Add(time.Minute))},
		{"start_in_10_minutes", at("startDateTime", time.Now().Add(10*time.Minute))},
	} {
		_, a, err := r.tryAdd(ctx, proofForm{}, until, try.change)
		if err != nil {
			return err
		}
		r.fact(try.name, outcome(a), a)
	}
	return nil
}

// proofLag measures how long a fresh key may not sign.
func (r *Run) proofLag(ctx context.Context) error {
	victim, a, err := r.addPlain(ctx, r.first, "rotate-verify victim")
	if err != nil || victim.keyID == "" {
		r.fact("proof_accepted_after", Unknown, a)
		return err
	}
	fresh, a, err := r.addPlain(ctx, r.first, "rotate-verify signer")
	if err != nil || fresh.keyID == "" {
		r.fact("proof_accepted_after", Unknown, a)
		return err
	}
	for range 28 {
		if a, err = r.remove(ctx, fresh, victim.keyID); err != nil {
			return err
		}
		if !isBadProof(a) {
			break
		}
		// Each try is a write, and there are few: 28 of them reach 25 minutes.
		pause := 75 * time.Second
		if since := time.Since(fresh.addedAt); since < time.Minute {
			pause = 15 * time.Second
		} else if since < 3*time.Minute {
			pause = 30 * time.Second
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
	if isBadProof(a) {
		r.fact("proof_accepted_after", Refused, a)
		return nil
	}
	r.took("proof_accepted_after", fresh.addedAt, a)
	r.second = fresh
	return nil
}

// removals tries removeKey in its forms and watches a removal spread.
func (r *Run) removals(ctx context.Context) error {
	a, err := r.remove(ctx, r.first, newID())
	if err != nil {
		return err
	}
	r.fact("remove_unknown", statusOf(a), a)
	if err := r.removeItself(ctx); err != nil {
		return err
	}
	if err := r.watchRemoval(ctx); err != nil {
		return err
	}
	return r.pairs(ctx)
}

// statusOf is the status in words: what is not allowed, or not answered, says nothing.
func statusOf(a Answer) string {
	if said := outcome(a); said == Forbidden || said == Unknown {
		return said
	}
	return fmt.Sprint(a.Status)
}

// removeItself has a key sign its own removal. It is one that may sign: the proof
// lag was measured with it.
func (r *Run) removeItself(ctx context.Context) error {
	if r.second.keyID == "" {
		return nil
	}
	a, err := r.remove(ctx, r.second, r.second.keyID)
	if err != nil {
		return err
	}
	r.fact("remove_itself", outcome(a), a)
	return nil
}

// watchRemoval removes a key that signs in, and looks when the list, the token
// service and Graph know.
func (r *Run) watchRemoval(ctx context.Context) error {
	p, _, err := r.addPlain(ctx, r.first, "rotate-verify removed")
	if err != nil || p.keyID == "" {
		return err
	}
	token, err := r.awaitSteady(ctx, p)
	if err != nil {
		return err
	}
	a, err := r.remove(ctx, r.first, p.keyID)
	if err != nil {
		return err
	}
	begun := time.Now()
	again, err := r.remove(ctx, r.first, p.keyID)
	if err != nil {
		return err
	}
	r.fact("remove_twice", statusOf(again), again)
	if !ok(a) && !ok(again) {
		return nil
	}
	if token != "" {
		a, err := r.Tenant.Graph(ctx, Request{Method: http.MethodGet, Path: "/v1.0/applications/" + r.entry.ObjectID, Token: token})
		if a, err = r.came(ctx, a, err); err != nil {
			return err
		}
		value := Unknown
		switch {
		case a.Status == http.StatusUnauthorized:
			value = "dead"
		case ok(a), a.Status == http.StatusForbidden:
			value = "alive"
		}
		r.fact("token_after_removal", value, a)
	}
	return r.awaitRemoved(ctx, p, begun, token != "")
}

// awaitSteady waits until five lists in a row show a key and five sign-ins in a row are
// accepted: before that, what does not know of it says nothing about its removal. It
// returns a token; empty: there was none.
func (r *Run) awaitSteady(ctx context.Context, p probe) (token string, err error) {
	listed, accepted := 0, 0
	for range 40 {
		if listed < steady {
			list, readable, err := r.list(ctx)
			switch {
			case err != nil:
				return "", err
			case !readable:
				listed = steady
			case has(list, p.keyID):
				listed++
			default:
				listed = 0
			}
		}
		if accepted < steady {
			a, err := r.token(ctx, p, tokenForm{}, "")
			if err != nil {
				return "", err
			}
			if got := accessToken(a.Body); got != "" {
				token, accepted = got, accepted+1
			} else {
				accepted = 0
			}
		}
		if listed >= steady && accepted >= steady {
			return token, nil
		}
		if err := sleep(ctx, pace(time.Since(p.addedAt))); err != nil {
			return "", err
		}
	}
	return token, nil
}

// steady is how often in a row is enough.
const steady = 5

// awaitRemoved looks until five lists in a row do not show the key and five sign-ins in
// a row with it are refused.
func (r *Run) awaitRemoved(ctx context.Context, p probe, begun time.Time, signsIn bool) error {
	unseen, reappeared, gone := 0, 0, time.Time{}
	refused, since, last := 0, time.Time{}, Answer{}
	if !signsIn {
		refused = steady
	}
	readable := true
	for time.Since(begun) < 15*time.Minute && (readable && unseen < steady || refused < steady) {
		if readable && unseen < steady {
			list, can, err := r.list(ctx)
			if err != nil {
				return err
			}
			switch readable = can; {
			case !can:
				r.fact("removal_listed_after", Forbidden, Answer{})
			case has(list, p.keyID):
				if unseen > 0 {
					reappeared++
				}
				unseen = 0
			default:
				if unseen++; unseen == 1 {
					gone = time.Now()
				}
			}
		}
		if refused < steady {
			a, err := r.token(ctx, p, tokenForm{}, "")
			if err != nil {
				return err
			}
			switch {
			case ok(a):
				refused = 0
			case refused == 0:
				refused, since, last = 1, time.Now(), a
			default:
				refused++
			}
		}
		if err := sleep(ctx, 2*pace(time.Since(begun))); err != nil {
			return err
		}
	}
	if signsIn && refused >= steady {
		r.fact("removal_refused_after", seconds(since.Sub(begun)), last)
	}
	if unseen >= steady {
		r.fact("removal_listed_after", seconds(gone.Sub(begun)), Answer{})
		r.fact("removal_reappeared", fmt.Sprint(reappeared), Answer{})
	}
	return nil
}

// pairsWanted is how often a key is added and removed, pairsReserve what is left of
// the writes for the steps behind it.
const (
	pairsWanted  = 20
	pairsReserve = 16
	keysReserve  = 7
)

// pairs adds and removes keys, and counts how often removeKey says that there is
// nothing where the last list showed something.
func (r *Run) pairs(ctx context.Context) error {
	denied, done, last := 0, 0, Answer{}
	for range pairsWanted {
		if r.writes+2+pairsReserve > maxWrites || r.keys+1+keysReserve > maxKeys {
			break
		}
		p, a, err := r.addPlain(ctx, r.first, "rotate-verify pair")
		if err != nil {
			return err
		}
		if outcome(a) == Forbidden {
			break
		}
		if p.keyID == "" {
			continue
		}
		shown := false
		for range 6 {
			list, readable, err := r.list(ctx)
			if err != nil {
				return err
			}
			if shown = has(list, p.keyID); shown || !readable {
				break
			}
			if err := sleep(ctx, 5*time.Second); err != nil {
				return err
			}
		}
		if a, err = r.remove(ctx, r.first, p.keyID); err != nil {
			return err
		}
		if _, message := problem(a); shown && strings.Contains(message, "No credentials found") {
			denied, last = denied+1, a
		}
		if shown {
			done++
		}
	}
	if done == 0 {
		r.fact("remove_denied_though_listed", Unknown, Answer{})
		return nil
	}
	r.fact("remove_denied_though_listed", fmt.Sprintf("%d", denied), last)
	r.fact("remove_pairs", fmt.Sprint(done), Answer{})
	return nil
}

// expired lets a certificate end, and sends it back.
func (r *Run) expired(ctx context.Context) error {
	p, err := r.newProbe(time.Now().Add(3 * time.Minute))
	if err != nil {
		return err
	}
	a, err := r.add(ctx, r.first, proofForm{}, &p, r.newEntry(p, "rotate-verify ends"))
	if err != nil {
		return err
	}
	r.fact("add_ends_in_3_minutes", outcome(a), a)
	if p.keyID == "" {
		return nil
	}
	if err := sleep(ctx, time.Until(p.until)+15*time.Second); err != nil {
		return err
	}
	if a, err = r.token(ctx, p, tokenForm{}, ""); err != nil {
		return err
	}
	code, message := problem(a)
	value := "other"
	switch {
	case ok(a):
		value = Accepted
	case code == "AADSTS700027" && strings.Contains(message, "expired"):
		value = "700027_expired"
	case code == "AADSTS700027":
		value = "700027"
	}
	r.fact("expired_sign_in", value, a)
	fresh, err := r.shortProbe()
	if err != nil {
		return err
	}
	if a, err = r.add(ctx, p, proofForm{}, &fresh, r.newEntry(fresh, "rotate-verify")); err != nil {
		return err
	}
	r.fact("expired_signs_add_key", outcome(a), a)
	if err := r.resendExpired(ctx, p); err != nil {
		return err
	}
	return r.race(ctx)
}

// resendExpired replaces the list with an entry in it that has ended: as it came,
// with its key and without its key ID, and without it.
func (r *Run) resendExpired(ctx context.Context, p probe) error {
	for _, form := range []string{"expired_resent", "expired_resent_with_key", "expired_left_out"} {
		list, err := r.awaitListed(ctx, 1)
		if err != nil {
			return err
		}
		if !has(list, p.keyID) {
			r.fact(form, Unknown, Answer{})
			continue
		}
		var entries []map[string]any
		for _, e := range list {
			sent, isIt := resent(e), e.KeyID == p.keyID
			switch {
			case form == "expired_resent" || !e.hasEnded():
			case !isIt || form == "expired_left_out":
				continue // another one would answer for it
			default:
				delete(sent, "keyId")
				sent["key"] = base64.StdEncoding.EncodeToString(p.der)
			}
			entries = append(entries, sent)
		}
		a, err := r.patchKeys(ctx, "send the list with a certificate that has ended", entries)
		if err != nil {
			return err
		}
		r.fact(form, outcome(a), a)
		if err := sleep(ctx, 20*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// race sends two lists at once, each with another new certificate.
func (r *Run) race(ctx context.Context) error {
	list, readable, err := r.list(ctx)
	if err != nil || !readable {
		return err
	}
	var both [2]Answer
	var failed [2]error
	var requests [2]Request
	names := [2]string{"rotate-verify race 1", "rotate-verify race 2"}
	for i, name := range names {
		p, err := r.shortProbe()
		if err != nil {
			return err
		}
		entries := []map[string]any{r.newEntry(p, name)}
		for _, e := range list {
			if !e.hasEnded() {
				entries = append(entries, resent(e))
			}
		}
		requests[i] = Request{Method: http.MethodPatch, Path: "/v1.0/applications/" + r.entry.ObjectID, Body: map[string]any{"keyCredentials": entries}}
		if err := r.begin(ctx, "send two lists at once"); err != nil {
			return err
		}
	}
	var work sync.WaitGroup
	for i := range requests {
		work.Go(func() { both[i], failed[i] = r.Tenant.Graph(ctx, requests[i]) })
	}
	work.Wait()
	for i := range both {
		if both[i], err = r.came(ctx, both[i], failed[i]); err != nil {
			return err
		}
	}
	for _, a := range both {
		if a.Status == http.StatusConflict {
			r.fact("two_lists_at_once", "409", a)
			return nil
		}
	}
	if !ok(both[0]) || !ok(both[1]) {
		r.fact("two_lists_at_once", Unknown, both[0])
		return nil
	}
	if err := sleep(ctx, 30*time.Second); err != nil {
		return err
	}
	list, _, err = r.list(ctx)
	if err != nil {
		return err
	}
	found := 0
	for _, e := range list {
		if slices.Contains(names[:], e.Name) {
			found++
		}
	}
	r.fact("two_lists_at_once", map[bool]string{true: "merged", false: "one_lost"}[found == 2], Answer{})
	return nil
}

// policies reads the policies, and adds a certificate of ten years, which is removed
// at once.
func (r *Run) policies(ctx context.Context) error {
	for _, q := range []struct{ name, path string }{
		{"default_policy", "/v1.0/policies/defaultAppManagementPolicy"},
		{"app_policies", "/v1.0/applications/" + r.entry.ObjectID + "/appManagementPolicies"},
	} {
		a, err := r.read(ctx, q.path)
		if err != nil {
			return err
		}
		r.fact(q.name, policyValue(a), a)
	}
	p, err := r.newProbe(time.Now().AddDate(10, 0, 0))
	if err != nil {
		return err
	}
	a, err := r.add(ctx, r.first, proofForm{}, &p, r.newEntry(p, "rotate-verify ten years"))
	if err != nil {
		return err
	}
	r.fact("ten_years", outcome(a), a)
	if namesCA(a) {
		r.fact("self_signed", Refused, a)
	} else {
		r.fact("self_signed", Accepted, Answer{}) // the first certificate was
	}
	if p.keyID == "" {
		return nil
	}
	_, err = r.remove(ctx, r.first, p.keyID)
	return err
}

// policyValue tells whether a policy limits certificates.
func policyValue(a Answer) string {
	switch {
	case a.Status == http.StatusForbidden:
		return Forbidden
	case !ok(a):
		return Unknown
	case strings.Contains(string(a.Body), "trustedCertificateAuthority"):
		return "trusted_ca"
	case strings.Contains(string(a.Body), "asymmetricKeyLifetime"):
		return "lifetime"
	}
	return "no_limit"
}

// signInLog waits until the log shows the sign-ins of step 4, and looks what it says
// about them. The app is deleted already: the log outlives it.
func (r *Run) signInLog(ctx context.Context) {
	r.step = 10
	r.tell("step 10: %s", stepNames()[10])
	limited, cancel := context.WithTimeout(ctx, max(r.Wait, time.Minute))
	defer cancel()
	r.troubles = 0
	filter := func(more string) string {
		text := "signInEventTypes/any(t:t eq 'servicePrincipal') and appId eq '" + r.entry.ClientID + "'" + more
		return "/beta/auditLogs/signIns?$top=50&$filter=" + url.PathEscape(text)
	}
	first, last := r.entry.SignIns[0], r.entry.SignIns[len(r.entry.SignIns)-1]
	// The newest page would show what came after them.
	window := " and createdDateTime ge " + first.At.Add(-time.Minute).Format(time.RFC3339) + " and createdDateTime le " + last.At.Add(time.Minute).Format(time.RFC3339)
	for {
		a, err := r.read(limited, filter(window))
		if err != nil {
			r.fact("log_shows_after", Unknown, a)
			return
		}
		if outcome(a) == Forbidden || outcome(a) == Refused {
			r.fact("log", outcome(a), a)
			return
		}
		if list := logged(a); len(list) > 0 {
			r.fact("log", Accepted, Answer{})
			r.took("log_shows_after", first.At, Answer{})
			r.judgeLog(list)
			a, err := r.read(limited, filter(" and servicePrincipalCredentialKeyId eq '"+first.KeyID+"'"))
			if err == nil {
				value := outcome(a)
				if ok(a) && len(logged(a)) == 0 {
					value = "empty"
				}
				r.fact("log_filter_by_key_id", value, a)
			}
			return
		}
		if r.Wait <= 0 || sleep(limited, time.Minute) != nil {
			r.fact("log_shows_after", Unknown, Answer{})
			return
		}
	}
}

// loggedSignIn is one element of the log.
type loggedSignIn struct {
	Correlation string `json:"correlationId"`
	KeyID       string `json:"servicePrincipalCredentialKeyId"`
	Thumbprint  string `json:"servicePrincipalCredentialThumbprint"`
	Token       string `json:"uniqueTokenIdentifier"`
	Status      struct {
		Code int `json:"errorCode"`
	} `json:"status"`
}

func logged(a Answer) []loggedSignIn {
	var page struct {
		Value []loggedSignIn `json:"value"`
	}
	if !ok(a) || json.Unmarshal(a.Body, &page) != nil {
		return nil
	}
	return slices.DeleteFunc(page.Value, func(s loggedSignIn) bool { return s.Status.Code != 0 })
}

// judgeLog compares what the log shows with what was sent.
func (r *Run) judgeLog(list []loggedSignIn) {
	matched := func(match func(l loggedSignIn, s SignIn) bool) bool {
		return slices.ContainsFunc(list, func(l loggedSignIn) bool {
			return slices.ContainsFunc(r.entry.SignIns, func(s SignIn) bool { return match(l, s) })
		})
	}
	word := func(name string, right bool, filled func(loggedSignIn) bool, good string) {
		switch {
		case right:
			r.fact(name, good, Answer{})
		case slices.ContainsFunc(list, filled):
			r.fact(name, "other", Answer{})
		default:
			r.fact(name, "empty", Answer{})
		}
	}
	word("log_key_id", matched(func(l loggedSignIn, s SignIn) bool { return s.KeyID != "" && strings.EqualFold(l.KeyID, s.KeyID) }),
		func(l loggedSignIn) bool { return l.KeyID != "" }, "filled")
	word("log_thumbprint", matched(func(l loggedSignIn, s SignIn) bool { return strings.EqualFold(l.Thumbprint, s.Thumbprint) }),
		func(l loggedSignIn) bool { return l.Thumbprint != "" }, "filled")
	word("log_correlation_id", matched(func(l loggedSignIn, s SignIn) bool { return strings.EqualFold(l.Correlation, s.Correlation) }),
		func(l loggedSignIn) bool { return l.Correlation != "" }, "ours")
	word("log_token_id", matched(func(l loggedSignIn, s SignIn) bool { return s.Token != "" && l.Token == s.Token }),
		func(l loggedSignIn) bool { return l.Token != "" }, "same")
}
