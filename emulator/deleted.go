package emulator

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// keptDeleted is how long a deleted object can be restored.
//
// https://learn.microsoft.com/graph/api/directory-deleteditems-restore
const keptDeleted = 30 * 24 * time.Hour

// A deletedItem is an object that was deleted and can be restored.
type deletedItem struct {
	*object
	at time.Time // by the clock without skew
}

// bury deletes an object and keeps it among the deleted ones.
func (t *Tenant) bury(o *object, at, horizon time.Time) {
	t.dir.remove(o, at, horizon)
	t.dir.deleted = append(t.dir.deleted, deletedItem{o, at})
}

// deletedItems returns the objects that can still be restored, oldest first.
func (t *Tenant) deletedItems() []deletedItem {
	now := t.clock()
	t.dir.deleted = slices.DeleteFunc(t.dir.deleted, func(d deletedItem) bool { return now.Sub(d.at) >= keptDeleted })
	return t.dir.deleted
}

func (t *Tenant) renderDeleted(d deletedItem) map[string]any {
	m := t.render(d.object, query{})
	m["deletedDateTime"] = formatTime(d.at.Add(t.ClockSkew))
	return m
}

// listDeleted lists the deleted objects of one kind.
//
// https://learn.microsoft.com/graph/api/directory-deleteditems-list
func (t *Tenant) listDeleted(c *call) (*response, *graphError) {
	kind := c.route.pattern[strings.LastIndex(c.route.pattern, ".")+1:]
	var list []map[string]any
	for _, d := range t.deletedItems() {
		if d.kind == kind {
			list = append(list, t.renderDeleted(d))
		}
	}
	return c.page("directory/deletedItems/"+namespace+kind, list), nil
}

// deletedAt returns the position of the deleted object that a path names.
func (t *Tenant) deletedAt(c *call) (int, *graphError) {
	i := slices.IndexFunc(t.deletedItems(), func(d deletedItem) bool { return strings.EqualFold(d.id, c.params[0].id) })
	if i < 0 {
		return i, notFound(c.params[0].id)
	}
	return i, nil
}

// deletedToWrite is deletedAt for a caller who must be allowed to change the object.
func (t *Tenant) deletedToWrite(c *call) (int, *graphError) {
	i, err := t.deletedAt(c)
	if err == nil && !c.caller.mayWrite(t.dir.deleted[i].object) {
		err = denied()
	}
	return i, err
}

func (t *Tenant) getDeleted(c *call) (*response, *graphError) {
	i, err := t.deletedAt(c)
	if err != nil {
		return nil, err
	}
	m := t.renderDeleted(t.dir.deleted[i])
	m["@odata.type"] = "#" + namespace + t.dir.deleted[i].typ()
	return c.entity(http.StatusOK, "directoryObjects", c.query.project(m)), nil
}

// restore brings a deleted object back with its credentials, without what was granted
// to it. An application comes back without its service principal.
//
// https://learn.microsoft.com/graph/api/directory-deleteditems-restore
func (t *Tenant) restore(c *call) (*response, *graphError) {
	i, err := t.deletedToWrite(c)
	if err != nil {
		return nil, err
	}
	o := t.dir.deleted[i].object
	if t.dir.client(o.kind, o.clientID, view{present: true}) != nil {
		return nil, inUse(o.clientID)
	}
	t.dir.deleted = slices.Delete(t.dir.deleted, i, i+1)
	t.change(o)
	return c.entity(http.StatusOK, "directoryObjects", t.directoryObject(o)), nil
}

// deleteForever removes a deleted object for good.
//
// https://learn.microsoft.com/graph/api/directory-deleteditems-delete
func (t *Tenant) deleteForever(c *call) (*response, *graphError) {
	i, err := t.deletedToWrite(c)
	if err != nil {
		return nil, err
	}
	t.dir.deleted = slices.Delete(t.dir.deleted, i, i+1)
	return noContent(), nil
}

// inUse is the error of a second service principal of an app.
func inUse(clientID string) *graphError {
	return &graphError{status: http.StatusConflict, code: "Request_MultipleObjectsWithSameKeyValue", message: "The service principal cannot be created, updated, or restored because the service principal name " + clientID + " is already in use."}
}
