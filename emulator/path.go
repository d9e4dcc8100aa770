package emulator

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// countSegment is the end of the pattern of a path that asks for a number.
const countSegment = "/$count"

// namespace is how actions and types may be qualified in paths.
const namespace = "microsoft.graph."

// A reference is how a path names an object.
type reference struct {
	id string
	// by is the property of an alternate key, as in applications(appId='…'): "appId",
	// "uniqueName" or "name"; empty for an id.
	by string
}

// splitPath cuts the path of a URL into segments, and those with a key in parentheses
// in two: the second is "(property=value". A slash within quotes is part of the key.
// It returns nil if the path is not well-formed.
//
// https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part2-url-conventions.html, 4.3
func splitPath(path string) []string {
	var segments []string
	for path != "" {
		end := strings.IndexAny(path, "/(")
		if end < 0 {
			return append(segments, path)
		}
		segments = append(segments, path[:end])
		if path[end] == '/' {
			if path = path[end+1:]; path == "" {
				return nil
			}
			continue
		}
		key, rest, ok := splitKey(path[end+1:])
		if !ok {
			return nil
		}
		segments = append(segments, key)
		switch {
		case rest == "":
			return segments
		case rest[0] != '/' || len(rest) == 1:
			return nil
		}
		path = rest[1:]
	}
	return segments
}

// splitKey reads a key up to its closing parenthesis: 'value' or property='value'. One
// without a value, as functions have, is no key.
func splitKey(text string) (segment, rest string, ok bool) {
	property, value, quoted := strings.Cut(text, "'")
	if !quoted || property != "" && !strings.HasSuffix(property, "=") {
		return "", "", false
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] != '\'':
			b.WriteByte(value[i])
		case i+1 < len(value) && value[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case i+1 < len(value) && value[i+1] == ')' && b.Len() > 0:
			return "(" + strings.TrimSuffix(property, "=") + "=" + b.String(), value[i+2:], true
		default:
			return "", "", false
		}
	}
	return "", "", false
}

// find returns the route of a request and the references in its path; nil if there is
// none. A path that has the form of a route, but cannot name an object of its kind, is
// refused as Graph does.
//
// Literal segments go before references, so that no name of a function is taken for
// that of an object.
func (d *directory) find(method, path string) (*route, []reference, *graphError) {
	below, beta := strings.CutPrefix(path, "/beta/")
	if !beta {
		below = strings.TrimPrefix(path, "/v1.0/")
	}
	segments := splitPath(below)
	if segments == nil {
		return nil, nil, nil
	}
	qualified := slices.Clone(segments)
	if name, ok := strings.CutPrefix(segments[len(segments)-1], namespace); ok {
		segments[len(segments)-1] = name
	}
	var best *route
	var params []reference
	var refusal *graphError
	for i := range d.routes {
		r := &d.routes[i]
		if r.method != method {
			continue
		}
		in := qualified
		if strings.Contains(r.body, ".") {
			in = segments // an action can be written with its namespace and without
		}
		pattern, only := strings.CutPrefix(r.pattern, "beta/")
		if only && !beta {
			continue
		}
		found, bad, ok := match(pattern, in)
		if !ok || best != nil && len(found) >= len(params) || !r.takes(found) {
			continue
		}
		best, params, refusal = r, found, nil
		if bad != "" {
			refusal = badRequest("Invalid object identifier '" + bad + "'.")
		}
	}
	return best, params, refusal
}

// takes says whether the route takes the alternate keys of the references. A unique
// name is one for reading and upsert only.
//
// https://learn.microsoft.com/graph/api/application-upsert
func (r *route) takes(params []reference) bool {
	unique := len(params) > 0 && params[0].by == "uniqueName"
	return !unique || r.pattern == "applications/*" && r.method != http.MethodDelete
}

// match compares a pattern with the segments of a path. bad is a reference that cannot
// be one.
func match(pattern string, segments []string) (params []reference, bad string, ok bool) {
	wanted := strings.Split(pattern, "/")
	if len(wanted) != len(segments) {
		return nil, "", false
	}
	for i, want := range wanted {
		if want != "*" {
			// The names of sets and relationships are taken in any case: Azure CLI sends
			// oAuth2PermissionGrants.
			if !strings.EqualFold(want, segments[i]) {
				return nil, "", false
			}
			continue
		}
		ref, fine, isRef := referenceOf(wanted[i-1], segments[i])
		if !isRef {
			return nil, "", false
		}
		if !fine {
			bad = ref.id
		}
		params = append(params, ref)
	}
	return params, bad, true
}

// referenceOf reads the reference to an object of a set. fine is false for an id that
// has not the form of one, isRef for a segment that may be something else: the name
// of a function, an action, a type or a property.
func referenceOf(set, segment string) (ref reference, fine, isRef bool) {
	if key, ok := strings.CutPrefix(segment, "("); ok {
		by, value, _ := strings.Cut(key, "=")
		keys := map[string][]string{
			"applications": {"", "appId", "uniqueName"}, "servicePrincipals": {"", "appId"}, federatedSet: {"", "name"},
		}[set]
		if keys == nil {
			keys = []string{""}
		}
		return reference{value, by}, by != "" || set != "applications" && set != "servicePrincipals" || isGUID(value), slices.Contains(keys, by)
	}
	if isGUID(segment) {
		return reference{id: segment}, true, true
	}
	switch set {
	case "users":
		return reference{id: segment}, true, strings.Contains(segment, "@")
	case federatedSet:
		// These have names, and the names may be any.
		return reference{id: segment}, true, !strings.HasPrefix(segment, "$")
	}
	// A property or function of Graph is a word; Graph's text for what is not an id is
	// from https://learn.microsoft.com/troubleshoot/entra (error of az ad sp).
	word := regexp.MustCompile(`^[$A-Za-z][$A-Za-z0-9_.]*$`).MatchString(segment)
	return reference{id: segment}, false, segment != "" && !word
}
