package emulator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// insufficientPrivileges is Graph's text for a missing permission or ownership.
//
// https://github.com/hashicorp/go-azure-sdk, odata/errors.go
const insufficientPrivileges = "Insufficient privileges to complete the operation."

// A call is one request on its way through the tenant.
type call struct {
	Request
	id       string // of the answer
	clientID string // client-request-id
	bodyErr  error  // why the body could not be read

	// Requests to Graph only.
	caller   *caller
	tokenErr *graphError
	route    *route
	params   []reference
	query    query
	signIns  signInQuery
	object   map[string]any // the body, checked against the schema
	binds    []string       // ids in owners@odata.bind
	view     view           // of the replica that answers
}

// A graphError is an error answer of Graph.
type graphError struct {
	status        int
	code, message string
	details       []map[string]any
	retryAfter    time.Duration
}

// A route is one request that Graph knows.
type route struct {
	method  string
	pattern string   // segments; * stands for a reference
	may     []string // permissions, any of which is needed; nil: serve decides
	body    string   // entity type of the body, or "bound type.action"; empty: none
	answer  string   // entity or complex type of the answer, or of its elements; empty: none
	list    bool     // the answer is a collection
	serve   func(*Tenant, *call) (*response, *graphError)
}

// refBody marks a body that is a reference: {"@odata.id": "…"}.
const refBody = "$ref"

// work does what a request asks for.
func (t *Tenant) work(c *call) *response {
	switch t.service(c.Request) {
	case serviceLogin:
		return t.login(c)
	case serviceManagement:
		return t.management(c)
	case servicePortal:
		return t.portal(c)
	case serviceUnknown:
		return t.unknown(c)
	case serviceGraph:
	}
	a, refusal := t.graph(c)
	if refusal != nil {
		return t.graphFailure(c, refusal)
	}
	if a == nil {
		return t.unknown(c)
	}
	return a
}

// graph answers a request for Graph, nil if it does not know it. It checks in the
// order of Graph: the token, the request, the permission, the object.
func (t *Tenant) graph(c *call) (*response, *graphError) {
	if c.tokenErr != nil {
		return nil, c.tokenErr
	}
	t.lock()
	defer t.mu.Unlock()
	var err *graphError
	if c.route, c.params, err = t.dir.find(c.Method, c.Path); c.route == nil || err != nil {
		return nil, err
	}
	if c.route.pattern == signInsPattern {
		c.signIns, c.query.unknown, err = parseSignInQuery(c.Query)
	} else {
		c.query, err = t.parseQuery(c)
	}
	if c.query.unknown != "" || err != nil {
		return nil, err
	}
	if err := t.parseBody(c); err != nil || c.query.unknown != "" {
		return nil, err
	}
	if err := t.checkTokenKey(c.caller); err != nil {
		return nil, err
	}
	if c.route.may != nil && !c.caller.has(c.route.may) {
		return nil, denied()
	}
	c.view = t.nextReplica(&t.read, t.ReadLag, 0)
	return c.route.serve(t, c)
}

// parseBody reads the body and checks it against the schema.
func (t *Tenant) parseBody(c *call) *graphError {
	if c.bodyErr != nil {
		return badRequest("Unable to read the request payload: " + c.bodyErr.Error() + ".")
	}
	if c.route.body == "" {
		if len(c.Body) > 0 {
			return badRequest("The request payload must be empty.")
		}
		return nil
	}
	if len(c.Body) == 0 && strings.Contains(c.route.body, ".") {
		return t.checkAction(c, map[string]any{}) // it may have no parameters
	}
	if !isType(c.Header, "application/json") {
		return &graphError{status: http.StatusBadRequest, code: "BadRequest", message: "Entity only allows writes with a JSON Content-Type header."}
	}
	object, err := decodeObject(c.Body)
	if err != nil {
		return &graphError{status: http.StatusBadRequest, code: "BadRequest", message: "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format."}
	}
	c.object = object
	switch {
	case c.route.body == refBody:
		return nil
	case c.route.body == sendMailBody:
		return t.checkAction(c, upperFirst(object))
	case strings.Contains(c.route.body, "."):
		return t.checkAction(c, object)
	}
	if _, isList := object["keyCredentials"].([]any); object["keyCredentials"] != nil && !isList {
		return wrongShape("keyCredentials")
	}
	binds, refusal := takeBinds(c.route.body, object)
	if refusal != nil {
		return refusal
	}
	c.binds = binds
	return t.refuse(c, t.dir.schema.checkObject(c.route.body, object, ""))
}

// refuse answers for a body that the schema refuses. A property that only the whole
// schema could tell to be wrong is not known.
func (t *Tenant) refuse(c *call, err error) *graphError {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*schemaError](err); ok && e.property != "" && (c.isBeta() || !t.dir.schema.isWhole(e.typ)) {
		c.query.unknown = "the property " + e.property + " of " + e.typ + " in a body"
		return nil
	}
	return badRequest(err.Error())
}

// checkAction checks the parameters of an action.
func (t *Tenant) checkAction(c *call, parameters map[string]any) *graphError {
	// A missing proof is 403, not 400.
	// https://github.com/microsoftgraph/msgraph-sdk-powershell/issues/779
	if strings.HasSuffix(c.route.body, "Key") && parameters["proof"] == nil {
		return denied()
	}
	return t.refuse(c, t.dir.schema.checkAction(c.route.body, parameters))
}

// target returns the object that the path names, as the replica knows it.
func (t *Tenant) target(c *call) (*object, *graphError) {
	kind := strings.TrimSuffix(strings.Split(c.route.pattern, "/")[0], "s")
	ref := c.params[0]
	var o *object
	switch ref.by {
	case "appId":
		o = t.dir.client(kind, ref.id, c.view)
	case "uniqueName":
		o = t.dir.unique(ref.id, c.view)
	default:
		o = t.dir.object(kind, ref.id, c.view)
	}
	if o == nil {
		return nil, notFound(ref.id)
	}
	return o, nil
}

// targetNow returns the present state of the object that the path names. It is not
// found if the replica that answers does not know it yet, or if it is gone.
func (t *Tenant) targetNow(c *call) (*object, *graphError) {
	o, err := t.target(c)
	if err != nil {
		return nil, err
	}
	if o = t.dir.object(o.kind, o.id, view{present: true}); o == nil {
		return nil, notFound(c.params[0].id)
	}
	return o, nil
}

// targetToWrite is targetNow for a caller who must be allowed to change it.
func (t *Tenant) targetToWrite(c *call) (*object, *graphError) {
	if !c.caller.has(createApplications()) {
		return nil, denied()
	}
	o, err := t.targetNow(c)
	if err != nil {
		return nil, err
	}
	if !c.caller.mayWrite(o) {
		return nil, denied()
	}
	return o, nil
}

// https://github.com/hashicorp/go-azure-sdk, odata/errors.go
func denied() *graphError {
	return &graphError{status: http.StatusForbidden, code: "Authorization_RequestDenied", message: insufficientPrivileges}
}

// https://github.com/hashicorp/go-azure-sdk, odata/errors.go
func notFound(id string) *graphError {
	return &graphError{
		status: http.StatusNotFound, code: "Request_ResourceNotFound",
		message: fmt.Sprintf("Resource '%s' does not exist or one of its queried reference-property objects are not present.", id),
	}
}

// graphFailure writes an error as Graph does.
//
// https://learn.microsoft.com/graph/errors
func (t *Tenant) graphFailure(c *call, e *graphError) *response {
	t.lock()
	now := t.now()
	t.mu.Unlock()
	inner := map[string]any{
		"date":              now.Format("2006-01-02T15:04:05"),
		"request-id":        c.id,
		"client-request-id": c.clientID,
	}
	if e.status == http.StatusTooManyRequests {
		inner["code"], inner["status"], inner["message"] = "429", "429", "Please retry after"
	}
	body := map[string]any{"code": e.code, "message": e.message, "innerError": inner}
	if e.details != nil {
		body["details"] = e.details
	}
	a := jsonResponse(e.status, map[string]any{"error": body})
	if e.retryAfter > 0 {
		a.header.Set("Retry-After", retryAfter(e.retryAfter))
	}
	if e.status == http.StatusUnauthorized {
		a.header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://`+c.Host+`/common/oauth2/authorize", client_id="`+graphAppID+`"`)
	}
	return a
}

// unknown answers a request that the tenant does not know: loudly.
func (t *Tenant) unknown(c *call) *response {
	t.lock()
	report := t.Unknown
	t.mu.Unlock()
	if report != nil {
		report(c.Request)
	}
	what := c.Method + " https://" + c.Host + c.Path
	if c.query.unknown != "" {
		what = c.query.unknown + " (" + what + ")"
	}
	return t.graphFailure(c, &graphError{
		status: http.StatusNotImplemented, code: "notSupported", message: "The emulator does not know " + what + ".",
	})
}

// isBeta says whether the request was for beta. What exists in v1.0 is served there
// too, in the same form.
func (c *call) isBeta() bool { return strings.HasPrefix(c.Path, "/beta/") }

func (c *call) version() string {
	if c.isBeta() {
		return "beta"
	}
	return "v1.0"
}

// context is the value of @odata.context.
func (c *call) context(of string) string {
	return "https://" + c.Host + "/" + c.version() + "/$metadata#" + of
}

// entity answers with one object of an entity set.
func (c *call) entity(status int, set string, object map[string]any) *response {
	object["@odata.context"] = c.context(set + "/$entity")
	a := jsonResponse(status, object)
	if id := text(object, "id"); status == http.StatusCreated && id != "" {
		a.header.Set("Location", "https://"+c.Host+"/"+c.version()+"/"+set+"/"+id)
	}
	return a
}

// collection answers with a list; nextLink and count are left out if empty and
// negative.
func (c *call) collection(set string, values []any, nextLink string, count int) *response {
	if values == nil {
		values = []any{}
	}
	body := map[string]any{"@odata.context": c.context(set), "value": values}
	if nextLink != "" {
		body["@odata.nextLink"] = nextLink
	}
	if count >= 0 {
		body["@odata.count"] = count
	}
	return jsonResponse(http.StatusOK, body)
}

// noContent is the answer of a write that returns nothing.
func noContent() *response {
	return &response{status: http.StatusNoContent, header: http.Header{}}
}

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }

func newID() string { return uuid.NewString() }
