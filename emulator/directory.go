package emulator

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The kinds of objects; the names are those of the schema's entity types.
const (
	kindApplication      = "application"
	kindServicePrincipal = "servicePrincipal"
)

// An object is one state of an application or a service principal. It is never
// changed once it was put into the directory.
type object struct {
	kind      string
	id        string // Graph's id
	clientID  string // Entra's appId
	createdAt time.Time
	createdBy string         // client ID of the app that made it; may be empty
	props     map[string]any // everything else a client sent, as JSON
	keys      []keyCredential
	secrets   []Secret
	owners    []string // ids of service principals
	policy    string   // id of the custom app management policy; may be empty
	federated []Federated
	// blueprint tells that the application is an agent identity blueprint, which is a
	// type of its own among the applications.
	blueprint bool
}

// with returns a copy that may be changed.
func (o *object) with() *object {
	c := *o
	c.props = maps.Clone(o.props)
	c.keys = slices.Clone(o.keys)
	c.secrets = slices.Clone(o.secrets)
	c.owners = slices.Clone(o.owners)
	c.federated = slices.Clone(o.federated)
	return &c
}

func (o *object) name() string {
	name, _ := o.props["displayName"].(string)
	return name
}

// disabled says whether the object may not get tokens.
func (o *object) disabled() bool {
	if o.kind == kindServicePrincipal {
		enabled, ok := o.props["accountEnabled"].(bool)
		return ok && !enabled
	}
	disabled, _ := o.props["isDisabled"].(bool)
	return disabled
}

// An assignment grants one app role of a resource to a principal.
type assignment struct {
	id          string
	roleID      string
	principalID string
	resourceID  string
	createdAt   time.Time
}

// A directory holds everything the tenant knows.
type directory struct {
	schema      *schema
	routes      []route
	permissions map[string]string // app role id by name, of Microsoft Graph
	domain      string

	objects     map[string]*history[object] // by id
	order       map[string][]string         // ids by kind, oldest first; deleted ones stay
	byClient    map[string]string           // id by kind + client ID
	assignments []assignment
	consents    []consent // to delegated permissions
	deleted     []deletedItem
	graphID     string // of Microsoft Graph's service principal

	policies      map[string]Policy // custom ones by id
	policyOrder   []string
	defaultPolicy *Policy
	policyID      string          // of the tenant's default policy
	blocked       map[string]bool // client IDs that Conditional Access blocks
	users         []user
	mails         []SentMail
}

type user struct{ id, name, address string }

func newDirectory(domain string) *directory {
	d := &directory{
		schema:      newSchema(),
		routes:      routes(),
		permissions: permissionIDs(),
		domain:      domain,
		objects:     map[string]*history[object]{},
		order:       map[string][]string{},
		byClient:    map[string]string{},
		policies:    map[string]Policy{},
		policyID:    uuid.NewString(),
		blocked:     map[string]bool{},
	}
	for _, name := range []string{"Adele Vance", "Alex Wilber", "Diego Siciliani"} {
		address := strings.ReplaceAll(strings.ToLower(name), " ", ".") + "@" + domain
		d.users = append(d.users, user{uuid.NewString(), name, address})
	}
	graph := &object{
		kind: kindServicePrincipal, id: uuid.NewString(), clientID: graphAppID,
		props: map[string]any{"displayName": "Microsoft Graph", "appRoles": appRoles(d.permissions)},
	}
	d.graphID = graph.id
	d.put(graph, time.Time{}, time.Time{})
	return d
}

// put records a new state of an object, or a new object.
func (d *directory) put(o *object, at, horizon time.Time) {
	h := d.objects[o.id]
	if h == nil {
		h = &history[object]{}
		d.objects[o.id] = h
		d.order[o.kind] = append(d.order[o.kind], o.id)
	}
	d.byClient[o.kind+o.clientID] = o.id
	h.put(o, at, horizon)
}

// remove deletes an object. Replicas that lag still show it.
func (d *directory) remove(o *object, at, horizon time.Time) {
	d.objects[o.id].put(nil, at, horizon)
}

// object returns the object of a kind that a replica shows under an id.
func (d *directory) object(kind, id string, v view) *object {
	o := d.objects[strings.ToLower(id)].see(v)
	if o == nil || o.kind != kind {
		return nil
	}
	return o
}

// typ is the name of the object's type.
func (o *object) typ() string {
	if o.blueprint {
		return blueprint
	}
	return o.kind
}

// client returns the object of a kind with a client ID.
func (d *directory) client(kind, clientID string, v view) *object {
	return d.object(kind, d.byClient[kind+strings.ToLower(clientID)], v)
}

// list returns the objects of a kind, oldest first;
// next is the position behind each.
func (d *directory) list(kind string, v view) func(yield func(next int, o *object) bool) {
	return func(yield func(int, *object) bool) {
		for i, id := range d.order[kind] {
			if o := d.objects[id].see(v); o != nil && !yield(i+1, o) {
				return
			}
		}
	}
}

// roles returns the names of the application permissions of Microsoft Graph that a
// service principal holds now, sorted.
func (d *directory) roles(principalID string) []string {
	var names []string
	for _, a := range d.assignments {
		if a.principalID != principalID || a.resourceID != d.graphID {
			continue
		}
		for name, id := range d.permissions {
			if id == a.roleID {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// grant adds an assignment; it returns false if there is one already.
func (d *directory) grant(a assignment) bool {
	same := func(b assignment) bool {
		return a.principalID == b.principalID && a.resourceID == b.resourceID && a.roleID == b.roleID
	}
	if slices.ContainsFunc(d.assignments, same) {
		return false
	}
	d.assignments = append(d.assignments, a)
	return true
}

// withdraw removes the assignments that match and says whether there were any.
func (d *directory) withdraw(match func(assignment) bool) bool {
	before := len(d.assignments)
	d.assignments = slices.DeleteFunc(d.assignments, match)
	return len(d.assignments) < before
}
