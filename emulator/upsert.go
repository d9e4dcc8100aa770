package emulator

import (
	"net/http"
	"net/url"
	"strings"
)

// unique returns the application with a unique name, as a replica knows it; nil if
// there is none.
func (d *directory) unique(name string, v view) *object {
	for _, o := range d.list(kindApplication, v) {
		if text(o.props, "uniqueName") == name {
			return o
		}
	}
	return nil
}

// uniqueKey is the name in applications(uniqueName='…'), unescaped; false if a
// segment is not of that form.
func uniqueKey(segment string) (string, bool) {
	inner, ok := strings.CutPrefix(segment, "applications(uniqueName='")
	if !ok {
		return "", false
	}
	inner, ok = strings.CutSuffix(inner, "')")
	if !ok {
		return "", false
	}
	name, err := url.PathUnescape(inner)
	return strings.ReplaceAll(name, "''", "'"), err == nil && name != ""
}

// upsert makes an application under its unique name, or changes the one that has
// it. Without "Prefer: create-if-missing" it only changes.
//
// https://learn.microsoft.com/graph/api/application-upsert
func (t *Tenant) upsert(c *call, name string) (*response, *graphError) {
	if !c.caller.has(createApplications()) {
		return nil, denied()
	}
	if c.object["uniqueName"] != nil && text(c.object, "uniqueName") != name {
		return nil, badRequest("Property 'uniqueName' is read-only and cannot be set.")
	}
	delete(c.object, "uniqueName")
	// Written on the present state, as every write: two requests make one app.
	o := t.dir.unique(name, view{present: true})
	if o == nil {
		if !strings.EqualFold(strings.TrimSpace(c.Header.Get("Prefer")), "create-if-missing") {
			return nil, notFound(name)
		}
		c.object["uniqueName"] = name
		return t.createApplication(c)
	}
	if !c.caller.mayWrite(o) {
		return nil, denied()
	}
	next := o.with()
	if err := t.apply(next, c.object); err != nil {
		return nil, err
	}
	t.change(next)
	return noContent(), nil
}

// getUnique reads an application by its unique name.
func (t *Tenant) getUnique(c *call, name string) (*response, *graphError) {
	o := t.dir.unique(name, c.view)
	if o == nil {
		return nil, notFound(name)
	}
	return c.entity(http.StatusOK, "applications", c.query.project(t.render(o, c.query))), nil
}
