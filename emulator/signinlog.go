package emulator

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signInsPattern is the log of sign-ins. Only beta knows the credential of a
// service principal's sign-in.
//
// https://learn.microsoft.com/graph/api/resources/signin?view=graph-rest-beta
const signInsPattern = "beta/auditLogs/signIns"

// maxSignIns is the default and the largest page of the log.
//
// https://learn.microsoft.com/graph/api/signin-list?view=graph-rest-beta
const maxSignIns = 1000

// signInsKept is how long a premium tenant keeps its log.
//
// https://learn.microsoft.com/entra/identity/monitoring-health/reference-reports-data-retention
const signInsKept = 30 * 24 * time.Hour

// readSignIns is who may read the log.
//
// https://learn.microsoft.com/graph/api/signin-list?view=graph-rest-beta
func readSignIns() []string { return []string{"AuditLog.Read.All"} }

// A loggedSignIn is one token request that was answered, or refused by what it
// signed with.
type loggedSignIn struct {
	at                   time.Time
	id, correlationID    string
	clientID, name, spID string
	// keyID and thumbprint are empty for one that was refused.
	keyID, thumbprint string
	resource          string
	address           string
	code              int // AADSTS; 0: it got a token
}

// noteSignIn adds a token request to the log of sign-ins. t.mu is held.
func (t *Tenant) noteSignIn(c *call, who client, form url.Values, refusal *loginError) {
	s := loggedSignIn{
		at: t.now(), id: c.id, correlationID: c.clientID,
		clientID: who.app.clientID, name: who.app.name(), spID: who.sp.id, resource: "Microsoft Graph", address: "203.0.113.10",
	}
	if t.OwnCorrelationIDs {
		s.correlationID = newID()
	}
	if refusal != nil {
		s.code = refusal.number
	} else {
		s.keyID, s.thumbprint = signedWith(form, who.app, who.sp)
		if t.Facts.NoLogKeyID {
			s.keyID = ""
		}
		if t.Facts.NoLogThumbprint {
			s.thumbprint = ""
		}
	}
	t.signIns = append(t.signIns, s)
	if len(t.signIns) > keptEntries {
		t.signIns = slices.Delete(t.signIns, 0, len(t.signIns)-keptEntries)
	}
}

// signedWith returns the credential that a token request was accepted for.
func signedWith(form url.Values, objects ...*object) (keyID, thumbprint string) {
	if secret := form.Get("client_secret"); secret != "" {
		for _, o := range objects {
			for _, s := range o.secrets {
				if s.matches(secret) {
					return s.KeyID, ""
				}
			}
		}
		return "", ""
	}
	var claims jwt.MapClaims
	token, _, err := jwt.NewParser().ParseUnverified(form.Get("client_assertion"), &claims)
	if err != nil {
		return "", ""
	}
	k, _ := signerOf(token.Header, objects)
	if k == nil {
		return "", ""
	}
	return k.KeyID, strings.ToUpper(hex.EncodeToString(k.sha1[:]))
}

// signInQuery is what a request for the log asks for; zero times do not bound.
type signInQuery struct {
	// principals tells that sign-ins of service principals are asked for. Without
	// it the log answers with those of users only.
	principals      bool
	clientID, keyID string
	since, until    time.Time
	top, skip       int
}

// parseSignInQuery reads the parameters of a request for the log.
//
// https://learn.microsoft.com/graph/api/signin-list?view=graph-rest-beta
func parseSignInQuery(parameters url.Values) (signInQuery, string, *graphError) {
	q := signInQuery{top: maxSignIns}
	for name, values := range parameters {
		switch value := values[0]; name {
		case "$top":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxSignIns {
				return q, "", badQuery(fmt.Sprintf("Invalid page size specified: '%s'. Must be between 1 and %d inclusive.", value, maxSignIns))
			}
			q.top = n
		case "$skiptoken":
			b, err := base64.RawURLEncoding.DecodeString(value)
			n, convErr := strconv.Atoi(string(b))
			if err != nil || convErr != nil || n < 0 {
				return q, "", badQuery("Skip token is invalid.")
			}
			q.skip = n
		case "$filter":
			for clause := range strings.SplitSeq(value, " and ") {
				if !q.add(strings.TrimSpace(clause)) {
					return q, "", badQuery(fmt.Sprintf("Invalid filter clause: '%s'.", clause))
				}
			}
		default:
			return q, name, nil
		}
	}
	return q, "", nil
}

// add reads one comparison of a filter.
func (q *signInQuery) add(clause string) bool {
	if m := regexp.MustCompile(`^signInEventTypes/any\((\w+):\s*(\w+) eq '(\w+)'\)$`).FindStringSubmatch(clause); m != nil {
		q.principals = m[3] == "servicePrincipal"
		return m[1] == m[2]
	}
	parts := strings.SplitN(clause, " ", 3)
	if len(parts) != 3 {
		return false
	}
	name, operator, value := parts[0], parts[1], parts[2]
	if name == "createdDateTime" {
		at, err := time.Parse(time.RFC3339, value) // a date, not a text: without quotes
		switch {
		case err != nil:
			return false
		case operator == "ge":
			q.since = at
		case operator == "le":
			q.until = at
		default:
			return false
		}
		return true
	}
	inner, quoted := strings.CutPrefix(value, "'")
	inner, closed := strings.CutSuffix(inner, "'")
	if !quoted || !closed || operator != "eq" || strings.Contains(inner, "'") {
		return false
	}
	switch name {
	case "appId":
		q.clientID = inner
	case "servicePrincipalCredentialKeyId":
		q.keyID = inner
	default:
		return false
	}
	return true
}

// listSignIns answers with the newest first, without those that the log has not
// taken in yet. A tenant without a premium licence is refused.
//
// https://learn.microsoft.com/graph/api/signin-list?view=graph-rest-beta
func (t *Tenant) listSignIns(c *call) (*response, *graphError) {
	if t.NoPremium {
		return nil, &graphError{
			status: http.StatusForbidden, code: "Authentication_RequestFromNonPremiumTenantOrB2CTenant",
			message: "Neither tenant is B2C or tenant doesn't have premium license",
		}
	}
	q, now := c.signIns, t.now()
	if t.Facts.NoLogFilter && q.keyID != "" {
		return nil, badQuery("Filter by 'servicePrincipalCredentialKeyId' is not supported.")
	}
	var values []any
	met, next := 0, ""
	for _, s := range slices.Backward(t.signIns) {
		switch {
		case !q.principals, s.at.After(now.Add(-t.SignInDelay)), now.Sub(s.at) > signInsKept,
			q.clientID != "" && !strings.EqualFold(q.clientID, s.clientID),
			q.keyID != "" && !strings.EqualFold(q.keyID, s.keyID),
			!q.since.IsZero() && s.at.Before(q.since), !q.until.IsZero() && s.at.After(q.until):
			continue
		}
		if met++; met <= q.skip {
			continue
		}
		if len(values) == q.top {
			v := maps.Clone(c.Query)
			v.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(q.skip+q.top))))
			next = "https://" + c.Host + c.Path + "?" + v.Encode()
			break
		}
		values = append(values, s.json())
	}
	if values == nil {
		values = []any{}
	}
	body := map[string]any{"@odata.context": "https://" + c.Host + "/beta/$metadata#auditLogs/signIns", "value": values}
	if next != "" {
		body["@odata.nextLink"] = next
	}
	return jsonResponse(http.StatusOK, body), nil
}

func (s *loggedSignIn) json() map[string]any {
	status := map[string]any{"errorCode": s.code, "failureReason": nil, "additionalDetails": nil}
	if s.code != 0 {
		status["failureReason"] = "The client could not be authenticated."
	}
	optional := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	return map[string]any{
		"id": s.id, "createdDateTime": s.at.UTC().Format("2006-01-02T15:04:05Z"), "correlationId": s.correlationID,
		"appId": s.clientID, "appDisplayName": s.name, "servicePrincipalId": s.spID, "servicePrincipalName": s.name,
		"servicePrincipalCredentialKeyId": optional(s.keyID), "servicePrincipalCredentialThumbprint": optional(s.thumbprint),
		"signInEventTypes": []any{"servicePrincipal"}, "ipAddress": s.address, "resourceDisplayName": s.resource, "status": status,
	}
}
