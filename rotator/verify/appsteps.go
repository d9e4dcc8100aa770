package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// clock compares the clocks and reads what the login host says about itself.
func (r *Run) clock(ctx context.Context) error {
	about := r.Tenant.About()
	a, err := r.Tenant.Login(ctx, "/"+about.TenantID+"/v2.0/.well-known/openid-configuration")
	if a, err = r.came(ctx, a, err); err != nil {
		return err
	}
	if date, err := http.ParseTime(a.Header.Get("Date")); err == nil {
		r.fact("clock_difference", seconds(date.Sub(a.At.Truncate(time.Second)).Abs()), Answer{})
	}
	switch {
	case a.Issuer == "":
		r.fact("tls_signed_by", Unknown, Answer{})
	case strings.Contains(a.Issuer, "Microsoft") || strings.Contains(a.Issuer, "DigiCert"):
		r.fact("tls_signed_by", "microsoft", Answer{})
	default:
		r.fact("tls_signed_by", "other", Answer{})
	}
	var config struct {
		Issuer string `json:"issuer"`
		Region string `json:"tenant_region_scope"`
	}
	r.fact("issuer", Unknown, a)
	if ok(a) && json.Unmarshal(a.Body, &config) == nil {
		issuer := regexp.MustCompile(`^` + regexp.QuoteMeta(about.Login) + `/([0-9a-fA-F-]{36})/v2\.0$`).FindStringSubmatch(config.Issuer)
		value := "other"
		if issuer != nil {
			value = "login_host"
			r.masks.add("T", issuer[1])
		}
		r.fact("issuer", value, Answer{})
		if regexp.MustCompile(`^[A-Z]{2,4}$`).MatchString(config.Region) {
			r.report.Region = config.Region
		}
	}
	a, err = r.Tenant.Login(ctx, "/common/discovery/instance?api-version=1.1&authorization_endpoint="+
		url.QueryEscape(about.Login+"/"+about.TenantID+"/oauth2/v2.0/authorize"))
	if a, err = r.came(ctx, a, err); err != nil {
		return err
	}
	r.fact("instance_discovery", outcome(a), a)
	r.fact("login_host_alias", aliasOf(a, about.Login), Answer{})
	return nil
}

// aliasOf says whether instance discovery lists the login host among its aliases.
func aliasOf(a Answer, login string) string {
	var discovery struct {
		Metadata []struct {
			Aliases []string `json:"aliases"`
		} `json:"metadata"`
	}
	if !ok(a) || json.Unmarshal(a.Body, &discovery) != nil || len(discovery.Metadata) == 0 {
		return Unknown
	}
	host := strings.TrimPrefix(login, "https://")
	for _, m := range discovery.Metadata {
		if slices.Contains(m.Aliases, host) {
			return "listed"
		}
	}
	return "not_listed"
}

// create makes the throw-away app, twice, and watches it appear.
func (r *Run) create(ctx context.Context) error {
	name := r.entry.UniqueName
	upsert := func() (Answer, error) {
		return r.write(ctx, "create the app "+name, Request{
			Method: http.MethodPatch, Path: "/v1.0/applications(uniqueName='" + name + "')",
			Header: map[string]string{"Prefer": "create-if-missing"},
			Body:   map[string]any{"displayName": name, "signInAudience": "AzureADMyOrg", "tags": []string{Tag}},
		})
	}
	a, err := upsert()
	if err == nil && outcome(a) == Unknown {
		a, err = upsert() // which makes no second one
	}
	if err != nil {
		return err
	}
	r.fact("create", outcome(a), a)
	if a.Status == http.StatusForbidden {
		r.entry.UniqueName = "" // nothing was made, so nothing is looked for
		return end("who runs this is not allowed to create an app: %s", r.said(a))
	}
	if outcome(a) == Refused {
		a, err = r.write(ctx, "create the app "+name, Request{
			Method: http.MethodPost, Path: "/v1.0/applications",
			Body: map[string]any{"displayName": name, "uniqueName": name, "signInAudience": "AzureADMyOrg", "tags": []string{Tag}},
		})
		if err != nil {
			return err
		}
		if said := outcome(a); said == Refused || said == Forbidden {
			r.entry.UniqueName = "" // the same
			return end("the app was not created: %s", r.said(a))
		}
	}
	r.shape(a)
	if err := r.identify(ctx, a); err != nil {
		return err
	}
	begun := time.Now()
	again, err := upsert()
	if err != nil {
		return err
	}
	value := outcome(again)
	if ok(again) {
		value = fmt.Sprint(again.Status)
	}
	r.fact("create_again", value, again)
	return r.appear(ctx, begun)
}

// shape notes which properties and headers came with the new app.
func (r *Run) shape(a Answer) {
	var app map[string]any
	if !ok(a) || json.Unmarshal(a.Body, &app) != nil {
		return
	}
	var missing []string
	for _, name := range []string{"id", "appId", "displayName", "uniqueName", "createdByAppId", "createdDateTime", "tags", "signInAudience", "keyCredentials"} {
		if app[name] == nil {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		r.note("create_properties", "all", "")
	} else {
		r.note("create_properties", "some", "missing: "+strings.Join(missing, ", "))
	}
	names := make([]string, 0, len(a.Header))
	for name := range a.Header {
		names = append(names, strings.ToLower(name))
	}
	slices.Sort(names)
	r.note("create_headers", map[bool]string{true: "request_id", false: "no_request_id"}[requestID(a.Header) != ""],
		r.masks.mask(strings.Join(names, ", ")))
}

// identify reads the IDs of the app from the answer or, where that was lost, by its
// unique name.
func (r *Run) identify(ctx context.Context, a Answer) error {
	var app struct {
		ID        string `json:"id"`
		AppID     string `json:"appId"`
		CreatedBy string `json:"createdByAppId"`
	}
	for range 12 {
		if ok(a) && json.Unmarshal(a.Body, &app) == nil && app.ID != "" && app.AppID != "" {
			r.entry.ObjectID, r.entry.ClientID, r.entry.CreatedBy = strings.ToLower(app.ID), strings.ToLower(app.AppID), strings.ToLower(app.CreatedBy)
			r.masks.add("O", r.entry.ObjectID)
			r.masks.add("C", r.entry.ClientID)
			r.entry.What = "the app was created"
			return r.Journal.Note(ctx, r.entry)
		}
		if err := sleep(ctx, 5*time.Second); err != nil {
			return err
		}
		var err error
		if a, err = r.read(ctx, "/v1.0/applications(uniqueName='"+r.entry.UniqueName+"')"); err != nil {
			return err
		}
	}
	return end("the app was not created: %s", r.said(a))
}

// views of the app: how it is asked for.
func (r *Run) views() map[string]string {
	return map[string]string{
		"visible_by_id":     "/v1.0/applications/" + r.entry.ObjectID,
		"visible_by_app_id": "/v1.0/applications(appId='" + r.entry.ClientID + "')",
		"visible_by_filter": "/v1.0/applications?$filter=" + url.PathEscape("appId eq '"+r.entry.ClientID+"'"),
	}
}

// appear reads the app in three ways until each has shown it five times in a row.
func (r *Run) appear(ctx context.Context, begun time.Time) error {
	views := r.views()
	runs, missed, seen := map[string]int{}, 0, map[string]bool{}
	for time.Since(begun) < 15*time.Minute {
		left := 0
		for _, name := range []string{"visible_by_id", "visible_by_app_id", "visible_by_filter"} {
			if runs[name] >= 5 {
				continue
			}
			left++
			a, err := r.read(ctx, views[name])
			if err != nil {
				return err
			}
			shown := ok(a) && strings.Contains(string(a.Body), r.entry.ObjectID)
			switch {
			case !shown && outcome(a) == Forbidden:
				runs[name] = 5
				r.fact(name, Forbidden, a)
			case !shown:
				if seen[name] {
					missed++
				}
				runs[name] = 0
			case !seen[name]:
				seen[name], runs[name] = true, 1
				r.took(name, begun, Answer{})
			default:
				if runs[name]++; runs[name] == 5 {
					r.took(name+"_steady", begun, Answer{})
				}
			}
		}
		if left == 0 {
			break
		}
		if err := sleep(ctx, pace(time.Since(begun))); err != nil {
			return err
		}
	}
	r.fact("visible_misses_after_hit", fmt.Sprint(missed), Answer{})
	r.entry.Seen = runs["visible_by_id"] >= 5 && seen["visible_by_id"]
	return nil
}

// pace is how long to wait between two looks at something that takes its time.
func pace(since time.Duration) time.Duration {
	switch {
	case since < time.Minute:
		return 5 * time.Second
	case since < 5*time.Minute:
		return 15 * time.Second
	}
	return time.Minute
}

// principal makes the service principal.
func (r *Run) principal(ctx context.Context) error {
	begun, last := time.Now(), Answer{}
	for range 8 {
		a, err := r.write(ctx, "create the service principal", Request{
			Method: http.MethodPost, Path: "/v1.0/servicePrincipals", Body: map[string]any{"appId": r.entry.ClientID},
		})
		if err != nil {
			return err
		}
		if code, message := problem(a); ok(a) || strings.Contains(code+message, "already") || strings.Contains(code, "MultipleObjects") {
			r.took("service_principal_after", begun, Answer{})
			var principal struct {
				ID string `json:"id"`
			}
			if ok(a) && json.Unmarshal(a.Body, &principal) == nil {
				r.entry.PrincipalID = strings.ToLower(principal.ID)
			}
			return nil
		}
		last = a
		r.fact("service_principal_refusal", fmt.Sprint(a.Status), a)
		if err := sleep(ctx, 2*pace(time.Since(begun))); err != nil {
			return err
		}
	}
	return end("the service principal was not created within %s: %s", time.Since(begun).Round(time.Second), r.said(last))
}

// listed is an entry of keyCredentials as it came.
type listed struct {
	raw    map[string]any
	KeyID  string
	Name   string
	Start  string
	End    string
	Custom string
	Key    string
}

// keysIn reads the entries of an answer about one app, or of the first of a list.
func keysIn(a Answer) ([]listed, bool) {
	var one struct {
		Keys  []map[string]any `json:"keyCredentials"`
		Value []struct {
			Keys []map[string]any `json:"keyCredentials"`
		} `json:"value"`
	}
	if !ok(a) || json.Unmarshal(a.Body, &one) != nil {
		return nil, false
	}
	if len(one.Value) > 0 {
		one.Keys = one.Value[0].Keys
	}
	list := make([]listed, 0, len(one.Keys))
	for _, e := range one.Keys {
		text := func(name string) string { s, _ := e[name].(string); return s }
		list = append(list, listed{
			raw: e, KeyID: strings.ToLower(text("keyId")), Name: text("displayName"), Start: text("startDateTime"), End: text("endDateTime"),
			Custom: text("customKeyIdentifier"), Key: text("key"),
		})
	}
	return list, true
}

// hasEnded reports whether the entry's end has come.
func (e listed) hasEnded() bool {
	at, err := time.Parse(time.RFC3339, e.End)
	return err == nil && !at.After(time.Now())
}

func has(list []listed, id string) bool {
	return slices.ContainsFunc(list, func(e listed) bool { return e.KeyID == id })
}

// list reads the app's keys; false if they cannot be read.
func (r *Run) list(ctx context.Context) ([]listed, bool, error) {
	a, err := r.read(ctx, "/v1.0/applications/"+r.entry.ObjectID)
	if err != nil {
		return nil, false, err
	}
	list, readable := keysIn(a)
	return list, readable, nil
}

// awaitListed reads until the list shows as many entries.
func (r *Run) awaitListed(ctx context.Context, n int) ([]listed, error) {
	for begun := time.Now(); ; {
		list, readable, err := r.list(ctx)
		if err != nil || readable && len(list) >= n || time.Since(begun) > 10*time.Minute {
			return list, err
		}
		if err := sleep(ctx, pace(time.Since(begun))); err != nil {
			return nil, err
		}
	}
}

// patchKeys replaces the list.
func (r *Run) patchKeys(ctx context.Context, what string, entries []map[string]any) (Answer, error) {
	return r.write(ctx, what, Request{
		Method: http.MethodPatch, Path: "/v1.0/applications/" + r.entry.ObjectID, Body: map[string]any{"keyCredentials": entries},
	})
}

// resent is an entry as a careful program sends it back: as it came, without key.
func resent(e listed) map[string]any {
	sent := map[string]any{}
	for name, value := range e.raw {
		if name != "key" {
			sent[name] = value
		}
	}
	return sent
}

// firstKey adds the first certificate by PATCH, and a second one without an end.
func (r *Run) firstKey(ctx context.Context) error {
	p, err := r.shortProbe()
	if err != nil {
		return err
	}
	id, long := newID(), "rotate-verify "+strings.Repeat("x", 86)
	entry := r.newEntry(p, long)
	entry["keyId"] = id
	a, err := r.patchKeys(ctx, "add the first certificate", []map[string]any{entry})
	if err != nil {
		return err
	}
	names, sentID := "kept", true
	for range 6 {
		code, message := problem(a)
		switch {
		case ok(a):
		case a.Status == http.StatusForbidden:
			return end("the app may not be changed: %s", r.said(a))
		case strings.Contains(message, "KeyId") && sentID:
			r.fact("patch_key_id", Refused, a)
			delete(entry, "keyId")
			sentID = false
		case strings.Contains(strings.ToLower(code+message), "displayname") && names == "kept":
			r.fact("display_name_100", Refused, a)
			entry["displayName"], names = "rotate-verify first", Refused
		case namesCA(a):
			r.fact("self_signed", Refused, a)
			return end("the first certificate was refused: %s", r.said(a))
		default:
			r.fact("first_certificate", outcome(a), a)
			if err := sleep(ctx, 10*time.Second); err != nil {
				return err
			}
		}
		if ok(a) {
			break
		}
		if a, err = r.patchKeys(ctx, "add the first certificate", []map[string]any{entry}); err != nil {
			return err
		}
	}
	if !ok(a) {
		return end("the first certificate was refused: %s", r.said(a))
	}
	r.fact("first_certificate", Accepted, Answer{})
	begun := time.Now()
	list, err := r.awaitListed(ctx, 1)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return end("the list did not show the first certificate within ten minutes")
	}
	r.took("listed_after", begun, Answer{})
	e := list[0]
	p.keyID, p.addedAt = e.KeyID, begun
	r.first = p
	r.masks.add("K", e.KeyID)
	if sentID {
		r.fact("patch_key_id", map[bool]string{true: "kept", false: "replaced"}[e.KeyID == id], Answer{})
	}
	if names == "kept" && e.Name != long {
		names = "cut"
	}
	if names != Refused {
		r.fact("display_name_100", names, Answer{})
	}
	dates := "whole_seconds"
	if strings.Contains(e.End+e.Start, ".") {
		dates = "fractions"
	}
	r.fact("dates", dates, Answer{})
	r.fact("custom_key_identifier", formOf(e.Custom), Answer{})
	if err := r.keyShown(ctx); err != nil {
		return err
	}
	return r.noEnd(ctx, e)
}

// namesCA reports a refusal of certificates that no authority signed.
func namesCA(a Answer) bool {
	code, message := problem(a)
	text := strings.ToLower(code + message)
	return strings.Contains(text, "certificateauthority") || strings.Contains(text, "trusted")
}

// formOf names the form of customKeyIdentifier.
func formOf(text string) string {
	switch {
	case text == "":
		return "null"
	case regexp.MustCompile(`^[0-9A-F]{40}$`).MatchString(text):
		return "hex"
	case regexp.MustCompile(`^[0-9A-Za-z+/]{27}=$`).MatchString(text):
		return "base64"
	}
	return "other"
}

// keyShown looks where the certificate itself comes back.
func (r *Run) keyShown(ctx context.Context) error {
	filter := "$filter=" + url.PathEscape("appId eq '"+r.entry.ClientID+"'")
	for _, q := range []struct{ name, path string }{
		{"key_in_get", "/v1.0/applications/" + r.entry.ObjectID},
		{"key_in_select", "/v1.0/applications/" + r.entry.ObjectID + "?$select=id,keyCredentials"},
		{"key_in_list", "/v1.0/applications?" + filter + "&$select=id,keyCredentials"},
	} {
		a, list, err := r.readKeys(ctx, q.path)
		if err != nil {
			return err
		}
		if len(list) > 0 {
			r.fact(q.name, map[bool]string{true: "present", false: "null"}[list[0].Key != ""], Answer{})
		} else {
			r.fact(q.name, Unknown, a)
		}
	}
	return nil
}

// readKeys reads a path until it shows a key, or cannot be read.
func (r *Run) readKeys(ctx context.Context, path string) (a Answer, list []listed, err error) {
	for range 12 {
		if a, err = r.read(ctx, path); err != nil {
			return a, nil, err
		}
		list, readable := keysIn(a)
		if len(list) > 0 || !readable && outcome(a) == Forbidden {
			return a, list, nil
		}
		if err := sleep(ctx, 5*time.Second); err != nil {
			return a, nil, err
		}
	}
	return a, nil, nil
}

// noEnd adds a certificate without endDateTime, and sends a precondition that does
// not hold.
func (r *Run) noEnd(ctx context.Context, first listed) error {
	p, err := r.shortProbe()
	if err != nil {
		return err
	}
	entry := r.newEntry(p, "rotate-verify second")
	delete(entry, "endDateTime")
	a, err := r.patchKeys(ctx, "add a certificate without an end", []map[string]any{resent(first), entry})
	if err != nil {
		return err
	}
	value := outcome(a)
	if ok(a) {
		list, err := r.awaitListed(ctx, 2)
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.KeyID == first.KeyID {
				continue
			}
			value = "other"
			if at, err := time.Parse(time.RFC3339, e.End); err == nil && at.Equal(p.until) {
				value = "not_after"
			}
		}
	}
	r.fact("end_left_out", value, a)
	a, err = r.write(ctx, "change nothing, with a precondition that does not hold", Request{
		Method: http.MethodPatch, Path: "/v1.0/applications/" + r.entry.ObjectID, Header: map[string]string{"If-Match": `W/"x"`},
		Body: map[string]any{"displayName": r.entry.UniqueName},
	})
	if err != nil {
		return err
	}
	value = outcome(a)
	switch {
	case a.Status == http.StatusPreconditionFailed:
		value = "412"
	case ok(a):
		value = "ignored"
	}
	r.fact("if_match", value, a)
	return nil
}

// signIns signs in with the first certificate until it works, then thirty times.
func (r *Run) signIns(ctx context.Context) error {
	graph := r.Tenant.About().Graph + "/.default"
	other := r.Scope
	if other == "" {
		other = "https://management.core.windows.net/.default"
	}
	scopes := []struct{ name, scope string }{{"sign_in_after", graph}, {"sign_in_other_after", other}}
	works, last := map[string]bool{}, Answer{}
	for _, s := range scopes {
		if s.scope == other && !works[graph] {
			break
		}
		for range 45 {
			a, err := r.signIn(ctx, r.first, s.scope)
			if err != nil {
				return err
			}
			if ok(a) {
				works[s.scope] = true
				r.took(s.name, r.first.addedAt, Answer{})
				break
			}
			code, _ := problem(a)
			if s.scope == other && (code == "AADSTS500011" || code == "AADSTS500014" || code == "AADSTS501051") {
				r.fact(s.name, Refused, a)
				break
			}
			r.fact(s.name, Unknown, a)
			if last = a; code != "" && outcome(a) == Refused {
				r.fact("sign_in_refusal", code, a)
			}
			if err := sleep(ctx, pace(time.Since(r.first.addedAt))); err != nil {
				return err
			}
		}
	}
	if !works[graph] {
		return end("the first certificate got no token within %s: %s", time.Since(r.first.addedAt).Round(time.Minute), r.said(last))
	}
	misses, last := 0, Answer{}
	for n := range 30 {
		scope := scopes[n%2].scope
		if !works[scope] {
			scope = graph
		}
		a, err := r.signIn(ctx, r.first, scope)
		if err != nil {
			return err
		}
		if !ok(a) {
			misses, last = misses+1, a
		}
		if err := sleep(ctx, 10*time.Second); err != nil {
			return err
		}
	}
	r.fact("sign_in_misses_of_30", fmt.Sprint(misses), last)
	for _, f := range []struct {
		name string
		form tokenForm
	}{
		{"assertion_rs256_x5t", tokenForm{}},
		{"assertion_ps256_x5t_s256", tokenForm{pss: true, s256: true}},
		{"assertion_audience_v2", tokenForm{audience: "/v2.0"}},
	} {
		a, err := r.token(ctx, r.first, f.form, "")
		if err != nil {
			return err
		}
		r.fact(f.name, outcome(a), a)
	}
	return nil
}

// signIn is one that the log will be asked for.
func (r *Run) signIn(ctx context.Context, p probe, scope string) (Answer, error) {
	correlation := newID()
	a, err := r.token(ctx, p, tokenForm{scope: scope}, correlation)
	if err == nil && ok(a) && len(r.entry.SignIns) < 10 {
		r.entry.SignIns = append(r.entry.SignIns, SignIn{
			At: time.Now().UTC(), Correlation: correlation, Token: tokenID(accessToken(a.Body)), KeyID: p.keyID, Thumbprint: p.thumbprint(),
		})
	}
	return a, err
}
