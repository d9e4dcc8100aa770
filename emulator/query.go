package emulator

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-f0abd057/rotate/emulator/odata"
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
	count    bool // the number of objects is asked for, and may be
	filter   *odata.Filter
	search   *odata.Search
	order    []odata.Order
	expand   odata.Expansion // without a name: nothing
	unknown  string          // what the tenant does not know
}

// keys says whether keyCredentials was named in $select.
func (q query) keys() bool { return slices.Contains(q.selected, "keyCredentials") }

// parseQuery reads the parameters of a GET and counts the requests for
// keyCredentials.
func (t *Tenant) parseQuery(c *call) (query, *graphError) {
	q := query{top: defaultPageSize}
	if len(c.Query) > 0 && (c.Method != http.MethodGet || c.route.answer == "") {
		q.unknown = "the parameter " + slices.Sorted(maps.Keys(c.Query))[0]
		return q, nil
	}
	// $count needs the header and is ignored without it; the other advanced queries
	// need both.
	// https://learn.microsoft.com/graph/aad-advanced-queries
	eventual := strings.EqualFold(c.Header.Get("ConsistencyLevel"), "eventual")
	counts := c.Query.Get("$count") == "true" || strings.HasSuffix(c.route.pattern, countSegment)
	for _, name := range slices.Sorted(maps.Keys(c.Query)) {
		if len(c.Query[name]) > 1 {
			return q, badQuery("Query option '" + name + "' was specified more than once, but it must be specified at most once.")
		}
		if unknown, refusal := t.parseOption(c, &q, name, c.Query.Get(name), eventual && counts); unknown != "" || refusal != nil {
			q.unknown = unknown
			return q, refusal
		}
	}
	q.count = q.count && eventual
	if counts && strings.HasSuffix(c.route.pattern, countSegment) && !eventual {
		return q, badRequest("$count is not currently supported.")
	}
	if q.search != nil && !eventual {
		return q, unsupported("Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'")
	}
	if q.expand.Name != "" && eventual && c.route.list {
		q.unknown = "$expand in an advanced query" // "not currently supported", and no more is said
		return q, nil
	}
	if len(q.order) > 0 && q.filter != nil && !(eventual && counts) {
		return q, unsupported("Sorting not supported for current query.")
	}
	return q, t.countKeyReads(q)
}

// countKeyReads counts a request that names keyCredentials in $select.
func (t *Tenant) countKeyReads(q query) *graphError {
	limit := t.KeyReadsPerMinute
	if limit == 0 {
		limit = keyReadsPerMinute
	}
	if !q.keys() || limit < 0 {
		return nil
	}
	after := t.reads.take(t.clock(), limit)
	if after <= 0 {
		return nil
	}
	code, message := usualError(http.StatusTooManyRequests)
	return &graphError{status: http.StatusTooManyRequests, code: code, message: message, retryAfter: after}
}

// parseOption reads one parameter. unknown names what the tenant does not know.
func (t *Tenant) parseOption(c *call, q *query, name, value string, advanced bool) (unknown string, refusal *graphError) {
	switch {
	case name == "$select":
		for s := range strings.SplitSeq(value, ",") {
			q.selected = append(q.selected, strings.TrimSpace(s))
		}
		return t.checkSelect(c, c.route.answer, q.selected)
	case name == "$expand":
		return t.parseExpand(c, q, value)
	case name == "$count" && c.route.list:
		// Any other value is refused by every OData service.
		if value != "true" && value != "false" {
			return "", badQuery("Invalid value '" + value + "' for $count query option found. Valid values are 'true', and 'false'.")
		}
		q.count = value == "true"
		return "", nil
	case name == "$filter" && c.route.list:
		return t.parseFilter(c, q, value, advanced)
	case name == "$search" && c.route.list:
		return t.parseSearch(c, q, value)
	case name == "$orderby" && c.route.list:
		return t.parseOrder(c, q, value, advanced)
	case strings.HasSuffix(c.route.pattern, countSegment), !c.route.list:
	case name == "$top":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxPageSize {
			return "", badQuery(fmt.Sprintf("Invalid page size specified: '%s'. Must be between 1 and %d inclusive.", value, maxPageSize))
		}
		q.top = n
		return "", nil
	case name == "$skiptoken":
		b, err := base64.RawURLEncoding.DecodeString(value)
		n, convErr := strconv.Atoi(string(b))
		if err != nil || convErr != nil || n < 0 {
			return "", badQuery("Skip token is invalid.")
		}
		q.skip = n
		return "", nil
	}
	return "the parameter " + name, nil
}

// noProperty answers for a property that a type of the schema does not have. That is
// known where the schema has the whole type only.
func (t *Tenant) noProperty(c *call, e *odata.PropertyError, context string) (unknown string, refusal *graphError) {
	if c.isBeta() || !t.dir.schema.isWhole(e.Type) || strings.HasPrefix(e.Name, "extension") {
		return "the property " + e.Name + " of " + e.Type + " in " + context + "=" + c.Query.Get(context), nil
	}
	return "", badQuery("Parsing OData Select and Expand failed: " + e.Error())
}

// checkSelect says whether the properties of a $select are known.
func (t *Tenant) checkSelect(c *call, typ string, names []string) (unknown string, refusal *graphError) {
	for _, name := range names {
		p, ok := t.dir.schema.property(typ, name)
		if p.typ == "Edm.Stream" || p.typ == "graph.customSecurityAttributeValue" {
			return "'" + name + "' in $select", nil
		}
		if ok || typ == "directoryObject" && t.dir.schema.ofDirectory(name) {
			continue
		}
		if name == "" || strings.ContainsAny(name, "*/.") || t.dir.schema.relationship(typ, name) != "" {
			return "'" + name + "' in $select", nil
		}
		if unknown, refusal = t.noProperty(c, &odata.PropertyError{Type: typ, Name: name}, "$select"); unknown != "" || refusal != nil {
			return unknown, refusal
		}
	}
	return "", nil
}

// parseExpand reads $expand: the relationships that are in the routes, too.
func (t *Tenant) parseExpand(c *call, q *query, value string) (unknown string, refusal *graphError) {
	e, err := odata.ParseExpand(value)
	if err != nil {
		return t.explain(c, err, "$expand")
	}
	if t.related(c.route.answer, e.Name) == nil {
		return "the relationship " + e.Name + " of " + c.route.answer + " in $expand", nil
	}
	q.expand = e
	return t.checkSelect(c, t.related(c.route.answer, e.Name).typ, e.Selected)
}

func (t *Tenant) parseFilter(c *call, q *query, value string, advanced bool) (unknown string, refusal *graphError) {
	f, err := odata.ParseFilter(value)
	if err == nil {
		err = f.Check(t.dir.schema, c.route.answer)
	}
	if err != nil {
		return t.explain(c, err, "$filter")
	}
	for _, clause := range f.Clauses() {
		if unknown, refusal = judge(c.route.answer, clause, advanced); unknown != "" || refusal != nil {
			return unknown, refusal
		}
	}
	q.filter = f
	return "", nil
}

// parseSearch reads $search. Applications can be searched by more than their names,
// by rules that are not documented.
func (t *Tenant) parseSearch(c *call, q *query, value string) (unknown string, refusal *graphError) {
	s, err := odata.ParseSearch(value)
	if err != nil {
		return t.explain(c, err, "$search")
	}
	if typ := c.route.answer; typ != kindApplication && typ != kindServicePrincipal && typ != "user" {
		return "$search on " + typ, nil
	}
	for _, name := range s.Properties() {
		if name != "displayName" {
			return "the property " + name + " in $search", nil
		}
	}
	q.search = s
	return "", nil
}

func (t *Tenant) parseOrder(c *call, q *query, value string, advanced bool) (unknown string, refusal *graphError) {
	order, err := odata.ParseOrder(value)
	if err != nil {
		return t.explain(c, err, "$orderby")
	}
	for _, o := range order {
		if _, ok := t.dir.schema.PropertyType(c.route.answer, firstOf(o.Property)); !ok {
			if unknown, refusal = t.noProperty(c, &odata.PropertyError{Type: c.route.answer, Name: o.Property}, "$orderby"); unknown != "" || refusal != nil {
				return unknown, refusal
			}
		}
		documented, byDefault := sortable(c.route.answer, o.Property)
		if !documented {
			return "the property " + o.Property + " in $orderby", nil
		}
		if !byDefault && !advanced {
			return "", unsupported("Sorting not supported for current query.")
		}
	}
	q.order = order
	return "", nil
}

// explain turns an error of the query language into what is not known, or into what
// Graph answers.
func (t *Tenant) explain(c *call, err error, context string) (unknown string, refusal *graphError) {
	if e, ok := errors.AsType[*odata.UnknownError](err); ok {
		return "the " + e.What + " in " + context + "=" + c.Query.Get(context), nil
	}
	if e, ok := errors.AsType[*odata.PropertyError](err); ok {
		return t.noProperty(c, e, context)
	}
	if context == "$filter" {
		return "", badRequest("Invalid filter clause: " + err.Error())
	}
	return "", badRequest("Invalid " + context + " clause: " + err.Error())
}

func badQuery(message string) *graphError {
	return &graphError{status: http.StatusBadRequest, code: "BadRequest", message: message}
}

// project keeps the selected properties, what was expanded, and annotations.
func (q query) project(object map[string]any) map[string]any {
	if q.selected == nil {
		return object
	}
	out := map[string]any{}
	for _, name := range q.selected {
		out[name] = object[name]
	}
	for name, value := range object {
		if strings.Contains(name, "@odata.") || name == q.expand.Name {
			out[name] = value
		}
	}
	return out
}

// A row is one element of a list.
type row struct {
	property odata.Object
	render   func() map[string]any
}

// wanted says whether the query lets an element through.
func (q query) wanted(r row) bool {
	return (q.filter == nil || q.filter.Matches(r.property)) && (q.search == nil || q.search.Matches(r.property))
}

// rowsOf gives the elements of a list that was rendered.
func rowsOf(objects []map[string]any) iter.Seq2[int, row] {
	return func(yield func(int, row) bool) {
		for i, o := range objects {
			property := func(name string) any { return o[name] }
			if !yield(i+1, row{property, func() map[string]any { return o }}) {
				return
			}
		}
	}
}

// sorted puts the elements in order and numbers them anew.
func (q query) sorted(rows iter.Seq2[int, row]) iter.Seq2[int, row] {
	if len(q.order) == 0 {
		return rows
	}
	var list []row
	for _, r := range rows {
		list = append(list, r)
	}
	slices.SortStableFunc(list, func(a, b row) int {
		for _, o := range q.order {
			x, _ := a.property(o.Property).(string)
			y, _ := b.property(o.Property).(string)
			order := cmp.Compare(strings.ToLower(x), strings.ToLower(y))
			if o.Descending {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
	return func(yield func(int, row) bool) {
		for i, r := range list {
			if !yield(i+1, r) {
				return
			}
		}
	}
}

// nextLink returns the URL of the page that starts at a position.
func (c *call) nextLink(skip int) string {
	v := maps.Clone(c.Query)
	v.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(strconv.Itoa(skip))))
	return "https://" + c.Host + c.Path + "?" + v.Encode()
}

// page answers with one page of a list that was rendered.
func (c *call) page(set string, objects []map[string]any) *response {
	return c.pageOf(set, rowsOf(objects))
}

// pageOf answers with one page of a list, or with the number of its elements. Each
// has its position; those of a list that is not sorted stay when others are removed.
func (c *call) pageOf(set string, rows iter.Seq2[int, row]) *response {
	var values []any
	next, count, last := "", 0, 0
	counting := strings.HasSuffix(c.route.pattern, countSegment)
	for position, r := range c.query.sorted(rows) {
		if !c.query.wanted(r) {
			continue
		}
		count++
		switch {
		case counting, position <= c.query.skip:
		case len(values) < c.query.top:
			values = append(values, c.query.project(r.render()))
			last = position
		case next == "":
			next = c.nextLink(last)
		}
		if next != "" && !c.query.count {
			break
		}
	}
	if counting {
		a := &response{http.StatusOK, http.Header{"Content-Type": {"text/plain"}}, []byte(strconv.Itoa(count))}
		return a
	}
	if !c.query.count {
		count = -1
	}
	return c.brokenOff(c.collection(set, values, next, count))
}
