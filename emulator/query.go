package emulator

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Page sizes of applications and service principals.
//
// https://learn.microsoft.com/graph/api/application-list
const (
	defaultPageSize = 100
	maxPageSize     = 999
)

// keyReadsPerMinute is the documented limit of requests that name keyCredentials
// in $select.
//
// https://learn.microsoft.com/graph/api/application-list
const keyReadsPerMinute = 150

// A query is what the parameters of a URL ask for.
type query struct {
	selected []string // nil: everything
	top      int
	skip     int
	count    bool
	filter   filter
	owners   bool // $expand=owners
	// federated says the same of federatedIdentityCredentials: one relationship can be
	// expanded in a request.
	//
	// https://learn.microsoft.com/graph/query-parameters#expand
	federated bool
	unknown   string // a parameter that the tenant does not know
}

// A filter is one comparison; property is empty if there is none.
type filter struct{ property, value string }

// keys says whether the answer contains certificates.
func (q query) keys() bool { return slices.Contains(q.selected, "keyCredentials") }

// parseQuery reads the parameters of a GET and counts the requests for
// keyCredentials.
func (t *Tenant) parseQuery(c *call) (query, *graphError) {
	q := query{top: defaultPageSize}
	for name, values := range c.Query {
		value := values[0]
		if c.Method != http.MethodGet || c.route.answer == "" {
			q.unknown = name
			return q, nil
		}
		switch {
		case name == "$select":
			q.selected = strings.Split(value, ",")
			for i, s := range q.selected {
				q.selected[i] = strings.TrimSpace(s)
				if _, ok := t.dir.schema.property(c.route.answer, q.selected[i]); !ok {
					return q, badQuery(fmt.Sprintf("Parsing OData Select and Expand failed: Could not find a property named '%s' on type 'microsoft.graph.%s'.", s, c.route.answer))
				}
			}
		case !c.route.list:
			q.unknown = name
		case name == "$top":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxPageSize {
				return q, badQuery(fmt.Sprintf("Invalid page size specified: '%s'. Must be between 1 and %d inclusive.", value, maxPageSize))
			}
			q.top = n
		case name == "$skiptoken":
			b, err := base64.RawURLEncoding.DecodeString(value)
			n, convErr := strconv.Atoi(string(b))
			if err != nil || convErr != nil || n < 0 {
				return q, badQuery("Skip token is invalid.")
			}
			q.skip = n
		case name == "$count":
			// https://learn.microsoft.com/graph/aad-advanced-queries
			if value != "true" && value != "false" {
				return q, badQuery("Invalid value for $count.")
			}
			q.count = value == "true"
			if q.count && !strings.EqualFold(c.Header.Get("ConsistencyLevel"), "eventual") {
				return q, &graphError{status: http.StatusBadRequest, code: "Request_UnsupportedQuery", message: "$count is not currently supported without the header ConsistencyLevel: eventual."}
			}
		case name == "$expand":
			switch {
			case value == "owners" && (c.route.answer == kindApplication || c.route.answer == kindServicePrincipal):
				q.owners = true
			case value == "federatedIdentityCredentials" && c.route.answer == kindApplication:
				q.federated = true
			default:
				q.unknown = name + "=" + value
				return q, nil
			}
		case name == "$filter":
			f, ok := parseFilter(value)
			if !ok {
				return q, &graphError{status: http.StatusBadRequest, code: "Request_UnsupportedQuery", message: "Unsupported or invalid query filter clause specified for property '" + value + "'."}
			}
			q.filter = f
		default:
			q.unknown = name
		}
	}
	if q.keys() {
		limit := t.KeyReadsPerMinute
		if limit == 0 {
			limit = keyReadsPerMinute
		}
		if limit > 0 {
			if after := t.reads.take(t.clock(), limit); after > 0 {
				code, message := usualError(http.StatusTooManyRequests)
				return q, &graphError{status: http.StatusTooManyRequests, code: code, message: message, retryAfter: after}
			}
		}
	}
	return q, nil
}

// parseFilter reads "property eq 'value'" for the properties that can be filtered
// here.
func parseFilter(text string) (filter, bool) {
	property, value, ok := strings.Cut(text, " eq ")
	if !ok || !slices.Contains([]string{"appId", "id", "displayName"}, property) {
		return filter{}, false
	}
	inner, ok := strings.CutPrefix(strings.TrimSpace(value), "'")
	if !ok {
		return filter{}, false
	}
	inner, ok = strings.CutSuffix(inner, "'")
	if !ok || strings.Contains(strings.ReplaceAll(inner, "''", ""), "'") {
		return filter{}, false
	}
	return filter{property, strings.ReplaceAll(inner, "''", "'")}, true
}

func badQuery(message string) *graphError {
	return &graphError{status: http.StatusBadRequest, code: "BadRequest", message: message}
}

// matches says whether the filter lets an object through.
func (f filter) matches(o *object) bool {
	switch f.property {
	case "appId":
		return strings.EqualFold(o.clientID, f.value)
	case "id":
		return strings.EqualFold(o.id, f.value)
	case "displayName":
		return strings.EqualFold(o.name(), f.value)
	}
	return true
}

// project keeps the selected properties.
func (q query) project(object map[string]any) map[string]any {
	if q.selected == nil {
		return object
	}
	out := map[string]any{}
	for _, name := range q.selected {
		if value, ok := object[name]; ok {
			out[name] = value
		} else {
			out[name] = nil
		}
	}
	if q.owners {
		out["owners"] = object["owners"]
	}
	if q.federated {
		out["federatedIdentityCredentials"] = object["federatedIdentityCredentials"]
	}
	if kind, ok := object["@odata.type"]; ok {
		out["@odata.type"] = kind
	}
	return out
}

// nextLink returns the URL of the page that starts at a position.
func (c *call) nextLink(skip int) string {
	v := maps.Clone(c.Query)
	v.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(skip))))
	return "https://" + c.Host + c.Path + "?" + v.Encode()
}

// page answers with a list that fits on one page.
func (c *call) page(set string, objects []map[string]any) *response {
	count := -1
	if c.query.count {
		count = len(objects)
	}
	next := ""
	objects = objects[min(c.query.skip, len(objects)):]
	if len(objects) > c.query.top {
		objects, next = objects[:c.query.top], c.nextLink(c.query.skip+c.query.top)
	}
	values := make([]any, len(objects))
	for i, o := range objects {
		values[i] = c.query.project(o)
	}
	return c.collection(set, values, next, count)
}
