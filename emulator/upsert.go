package emulator

import "strings"

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

// mayCreate says whether a PATCH may make what it does not find.
func (c *call) mayCreate() bool {
	return strings.EqualFold(strings.TrimSpace(c.Header.Get("Prefer")), "create-if-missing")
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
		if !c.mayCreate() {
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
