package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-f0abd057/rotate/rotator"
)

// keepRotations is how many rotations of one app stay as history; the oldest
// ended ones go first.
const keepRotations = 200

// Change implements [rotator.Store]. It returns the context's error before the
// transaction begins, never later. change runs once; it must not call the
// store. If the commit itself fails, nothing was written or, when only the
// last sync failed, everything may have been.
//
// Wakes are given as they are stored: left alone, they stay. Those of an app
// that is removed go with it.
//
// It returns [rotator.ErrExists] if another app has the same registration.
func (s *Store) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	return s.update(ctx, func(t *txn) error { return t.change(app, change) })
}

// ChangeAll is [Store.Change] for many apps in one transaction: all of it or
// nothing. It is for work that touches every app, such as building the due
// index anew; a thousand apps at a time keep other writers waiting for some
// tenths of a second.
func (s *Store) ChangeAll(ctx context.Context, apps []string, change func(app string, r *rotator.Records) error) error {
	return s.update(ctx, func(t *txn) error {
		for _, app := range apps {
			if err := t.change(app, func(r *rotator.Records) error { return change(app, r) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// change is [Store.Change] within a transaction.
func (t *txn) change(app string, change func(*rotator.Records) error) error {
	if app != "" {
		if err := rotator.CheckName(app); err != nil {
			return err
		}
	}
	r, err := t.records(app)
	if err != nil {
		return err
	}
	before := formerly(r)
	tenants := map[string]*rotator.TenantState{}
	r.Tenant = func(name string) (*rotator.TenantState, error) { return t.tenant(tenants, name) }
	t.calling = true
	err = change(r)
	t.calling = false
	if err != nil {
		return err
	}
	if err := t.checkRecords(app, r); err != nil {
		return fmt.Errorf("store: change of app %q: %w", app, err)
	}
	for name, tenant := range tenants {
		if err := putJSON(t, bucketTenants, []byte(name), tenant); err != nil {
			return err
		}
	}
	return t.write(app, &before, r)
}

// former is what of the records the indexes hold, taken before a change, which
// may alter everything it is given.
type former struct {
	// client is the key of the app's registration; nil: it was not tracked.
	client []byte
	app    []rotator.Thumbprint
	wakes  []rotator.Wake
	// rotation is the ID of the open one; empty: there was none.
	rotation  string
	startedAt time.Time
	uses      []rotator.Thumbprint
}

func formerly(r *rotator.Records) former {
	f := former{wakes: slices.Clone(r.Wakes)}
	if r.App != nil {
		f.client, f.app = clientKey(r.App.Tenant, r.App.ClientID), usesOfApp(r.App)
	}
	if r.Rotation != nil {
		f.rotation, f.startedAt, f.uses = r.Rotation.ID, r.Rotation.StartedAt, usesOfRotation(r.Rotation)
	}
	return f
}

// tenant reads what holds for a tenant, once; what was read is written back
// after the change.
func (t *txn) tenant(read map[string]*rotator.TenantState, name string) (*rotator.TenantState, error) {
	if tenant, ok := read[name]; ok {
		return tenant, nil
	}
	if name == "" || !isKeyPart(name) {
		return nil, fmt.Errorf("store: tenant %q cannot be stored", name)
	}
	tenant, _, err := getJSON[rotator.TenantState](t, bucketTenants, []byte(name))
	if err != nil {
		return nil, err
	}
	read[name] = &tenant
	return &tenant, nil
}

func (t *txn) records(app string) (*rotator.Records, error) {
	state, err := t.state()
	if err != nil {
		return nil, err
	}
	r := &rotator.Records{State: &state}
	if app == "" {
		return r, nil
	}
	if r.Wakes, err = t.wakes(app); err != nil {
		return nil, err
	}
	found, ok, err := t.app(app)
	if err != nil || !ok {
		return r, err
	}
	r.App = &found
	if found.Rotation == "" {
		return r, nil
	}
	rotation, ok, err := t.rotation(found.Rotation)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, t.corrupt(fmt.Sprintf("rotation %q, open for app %q, is missing", found.Rotation, app))
	}
	r.Rotation = &rotation
	return r, nil
}

// checkRecords refuses what could not be read again.
func (t *txn) checkRecords(app string, r *rotator.Records) error {
	if app == "" && (r.App != nil || r.Rotation != nil || r.Closed != nil || len(r.Wakes) > 0) {
		return errors.New("no app is named; only the state may change")
	}
	if r.App != nil {
		if r.App.Name != app {
			return fmt.Errorf("the record is that of app %q", r.App.Name)
		}
		if !isKeyPart(r.App.Tenant) || !isKeyPart(string(r.App.ClientID)) {
			return fmt.Errorf("client ID %q of tenant %q cannot be stored", r.App.ClientID, r.App.Tenant)
		}
		if err := checkUses(usesOfApp(r.App)); err != nil {
			return err
		}
	}
	known := false
	for _, rotation := range []*rotator.Rotation{r.Rotation, r.Closed} {
		if rotation == nil {
			continue
		}
		switch {
		case rotation.ID == "" || !isKeyPart(rotation.ID):
			return fmt.Errorf("rotation ID %q cannot be stored", rotation.ID)
		case rotation.App != app:
			return fmt.Errorf("rotation %s is one of app %q", rotation.ID, rotation.App)
		case !rotation.Phase.IsValid():
			return fmt.Errorf("rotation %s has the unknown phase %q", rotation.ID, rotation.Phase)
		}
		if err := checkUses(usesOfRotation(rotation)); err != nil {
			return fmt.Errorf("rotation %s: %w", rotation.ID, err)
		}
		known = known || r.App != nil && rotation.ID == r.App.Rotation
	}
	if r.App != nil && r.App.Rotation != "" && !known {
		if _, ok, err := t.get(bucketRotations, []byte(r.App.Rotation)); err != nil || !ok {
			return errors.Join(err, fmt.Errorf("there is no rotation %q to be open", r.App.Rotation))
		}
	}
	for _, w := range r.Wakes {
		if w.App != app || w.Kind == "" || !isKeyPart(string(w.Kind)) {
			return fmt.Errorf("due entry %q of app %q cannot be stored", w.Kind, w.App)
		}
	}
	return nil
}

// isKeyPart reports whether the text is the same when it comes back from a
// key: bytes that are no UTF-8 come back from JSON as others.
func isKeyPart(text string) bool {
	return utf8.ValidString(text) && !strings.Contains(text, "\x00")
}

func checkUses(uses []rotator.Thumbprint) error {
	for _, thumbprint := range uses {
		if !isKeyPart(string(thumbprint)) {
			return fmt.Errorf("thumbprint %q cannot be stored", thumbprint)
		}
	}
	return nil
}

// write stores what differs.
func (t *txn) write(app string, before *former, r *rotator.Records) error {
	if r.State != nil {
		if err := putJSON(t, bucketMeta, []byte(metaState), r.State); err != nil {
			return err
		}
	}
	if app != "" {
		if err := t.writeApp(app, before, r.App); err != nil {
			return err
		}
		for _, rotation := range []*rotator.Rotation{r.Closed, r.Rotation} {
			if err := t.writeRotation(before, rotation); err != nil {
				return err
			}
		}
		if r.App == nil {
			r.Wakes = nil
		}
		if err := t.writeWakes(app, before.wakes, r.Wakes); err != nil {
			return err
		}
	}
	for _, thumbprint := range r.Forget {
		if err := t.forget(thumbprint); err != nil {
			return err
		}
	}
	for _, pair := range r.Seal {
		if err := t.seal(app, pair); err != nil {
			return err
		}
	}
	for _, event := range r.Events {
		if err := t.writeEvent(event); err != nil {
			return err
		}
	}
	for _, entry := range r.Audit {
		if err := t.writeAudit(entry); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) writeApp(name string, before *former, app *rotator.App) error {
	user := useKey("app", name)
	if app == nil {
		if before.client == nil {
			return nil
		}
		return errors.Join(
			t.delete(bucketApps, []byte(name)),
			t.delete(bucketClients, before.client),
			t.writeUses(user, before.app, nil),
		)
	}
	client := clientKey(app.Tenant, app.ClientID)
	owner, ok, err := t.get(bucketClients, client)
	if err != nil {
		return err
	}
	if ok && string(owner) != name {
		return fmt.Errorf("client ID %s of tenant %s: app %q %w", app.ClientID, app.Tenant, owner, rotator.ErrExists)
	}
	if before.client != nil && !bytes.Equal(before.client, client) {
		if err := t.delete(bucketClients, before.client); err != nil {
			return err
		}
	}
	if err := t.put(bucketClients, client, []byte(name)); err != nil {
		return err
	}
	if err := putJSON(t, bucketApps, []byte(name), app); err != nil {
		return err
	}
	return t.writeUses(user, before.app, usesOfApp(app))
}

func (t *txn) writeRotation(before *former, rotation *rotator.Rotation) error {
	if rotation == nil {
		return nil
	}
	startedAt, old, ok := before.startedAt, before.uses, rotation.ID == before.rotation
	if !ok { // it was not the open one
		known, found, err := t.rotation(rotation.ID)
		if err != nil {
			return err
		}
		if found && known.App != rotation.App {
			return fmt.Errorf("store: rotation %s is one of app %q, not of %q", rotation.ID, known.App, rotation.App)
		}
		startedAt, old, ok = known.StartedAt, usesOfRotation(&known), found
	}
	if ok && !startedAt.Equal(rotation.StartedAt) {
		for _, key := range historyKeys(rotation.App, startedAt, rotation.ID) {
			if err := t.delete(bucketHistory, key); err != nil {
				return err
			}
		}
	}
	for _, key := range historyKeys(rotation.App, rotation.StartedAt, rotation.ID) {
		if err := t.put(bucketHistory, key, nil); err != nil {
			return err
		}
	}
	if err := putJSON(t, bucketRotations, []byte(rotation.ID), rotation); err != nil {
		return err
	}
	if err := t.writeUses(useKey("rotation", rotation.ID), old, usesOfRotation(rotation)); err != nil {
		return err
	}
	if ok {
		return nil
	}
	return t.prune(rotation.App)
}

// prune removes the oldest ended rotations of an app beyond [keepRotations].
func (t *txn) prune(app string) error {
	seen := 0
	var old []string
	err := t.eachBack(bucketHistory, join(app, ""), func(key, _ []byte) (bool, error) {
		if seen++; seen > keepRotations {
			old = append(old, string(key[len(app)+1+timeKeyBytes:]))
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, id := range old {
		rotation, ok, err := t.rotation(id)
		if err != nil {
			return err
		}
		if !ok || !rotation.Phase.IsEnd() {
			continue
		}
		for _, key := range historyKeys(rotation.App, rotation.StartedAt, id) {
			if err := t.delete(bucketHistory, key); err != nil {
				return err
			}
		}
		if err := t.delete(bucketRotations, []byte(id)); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) writeWakes(app string, before, wakes []rotator.Wake) error {
	keep := map[string]bool{}
	for i, w := range wakes {
		wakes[i].At = w.At.UTC()
		keep[string(dueKey(w))] = true
	}
	for _, w := range before {
		if key := dueKey(w); !keep[string(key)] {
			if err := t.delete(bucketDue, key); err != nil {
				return err
			}
			t.countKind(w.Kind, -1)
		}
	}
	had := map[string]bool{}
	for _, w := range before {
		had[string(dueKey(w))] = true
	}
	for _, w := range wakes {
		if err := t.put(bucketDue, dueKey(w), nil); err != nil {
			return err
		}
		if key := string(dueKey(w)); !had[key] {
			had[key] = true
			t.countKind(w.Kind, 1)
		}
	}
	if len(wakes) == 0 {
		return t.delete(bucketWakes, []byte(app))
	}
	return putJSON(t, bucketWakes, []byte(app), wakes)
}

// countKind notes that there are more due entries of a kind, or fewer.
func (t *txn) countKind(kind rotator.WakeKind, more int) {
	if t.kinds == nil {
		t.kinds = map[rotator.WakeKind]int{}
	}
	t.kinds[kind] += more
}

// writeUses keeps who refers to which thumbprint.
func (t *txn) writeUses(user []byte, before, now []rotator.Thumbprint) error {
	for _, thumbprint := range before {
		if !slices.Contains(now, thumbprint) {
			if err := t.delete(bucketUses, slices.Concat([]byte(thumbprint), user)); err != nil {
				return err
			}
		}
	}
	for _, thumbprint := range now {
		if err := t.put(bucketUses, slices.Concat([]byte(thumbprint), user), nil); err != nil {
			return err
		}
	}
	return nil
}

// useKey is the part of a key of bucket uses behind the thumbprint.
func useKey(kind, name string) []byte { return join("", kind, name) }

func usesOfApp(app *rotator.App) []rotator.Thumbprint {
	if app == nil {
		return nil
	}
	var uses []rotator.Thumbprint
	uses = addUse(uses, app.Current)
	uses = addUse(uses, app.Previous)
	for i := range app.Former {
		uses = addUse(uses, &app.Former[i])
	}
	for i := range app.Orphans {
		uses = addUse(uses, &app.Orphans[i].Credential)
	}
	for i := range app.Removals {
		if m := &app.Removals[i]; m.IsPending() && !m.Foreign {
			uses = addUse(uses, &m.Credential) // its key finds out whether it is accepted
		}
	}
	return uses
}

// usesOfRotation are the pairs that an open rotation may still need.
func usesOfRotation(rotation *rotator.Rotation) []rotator.Thumbprint {
	if rotation.Phase.IsEnd() {
		return nil
	}
	uses := addUse(nil, rotation.Old)
	uses = addUse(uses, &rotation.New)
	for i := range rotation.Extra {
		uses = addUse(uses, &rotation.Extra[i])
	}
	return uses
}

func addUse(uses []rotator.Thumbprint, c *rotator.Credential) []rotator.Thumbprint {
	if c == nil || c.ThumbprintSHA256 == "" || slices.Contains(uses, c.ThumbprintSHA256) {
		return uses
	}
	return append(uses, c.ThumbprintSHA256)
}

// forget deletes a sealed pair that nothing refers to.
func (t *txn) forget(thumbprint rotator.Thumbprint) error {
	if thumbprint == "" {
		return nil
	}
	used, err := t.isUsed([]byte(thumbprint))
	if err != nil || used {
		return err
	}
	return t.delete(bucketSecrets, []byte(thumbprint))
}

// isUsed reports whether anything refers to a pair.
func (t *txn) isUsed(thumbprint []byte) (used bool, err error) {
	err = t.each(bucketUses, join(string(thumbprint), ""), nil, func([]byte, []byte) (bool, error) {
		used = true
		return false, nil
	})
	return used, err
}

func (t *txn) seal(app string, pair rotator.KeyPair) error {
	if pair.IsZero() || len(pair.Certificate) == 0 {
		return errors.New("store: a key pair to seal is empty")
	}
	thumbprint := pair.Thumbprint()
	before, ok, err := t.get(bucketSecrets, []byte(thumbprint))
	if err != nil {
		return err
	}
	if ok {
		kept, err := t.sealer.openPair(before, thumbprint)
		if err != nil {
			return fmt.Errorf("store: open %s, which is sealed already: %w", pair, err)
		}
		pair = kept.With(app, pair)
	}
	sealed, err := t.sealer.sealPair(pair)
	if err != nil {
		return fmt.Errorf("store: seal %s: %w", pair, err)
	}
	count, _, err := getJSON[sealedCount](t, bucketMeta, []byte(metaSealed))
	if err != nil {
		return err
	}
	return errors.Join(
		t.put(bucketCertificates, []byte(thumbprint), pair.Certificate),
		t.put(bucketSecrets, []byte(thumbprint), sealed),
		putJSON(t, bucketMeta, []byte(metaSealed), sealedCount{count.Count + 1, time.Now().UTC()}),
	)
}

func (t *txn) state() (rotator.State, error) {
	key := []byte(metaState)
	state, ok, err := getJSON[rotator.State](t, bucketMeta, key)
	if err == nil && !ok {
		err = t.badRecord(bucketMeta, key, errors.New("the record is missing"))
	}
	return state, err
}

func (t *txn) app(name string) (rotator.App, bool, error) {
	return getJSON[rotator.App](t, bucketApps, []byte(name))
}

func (t *txn) rotation(id string) (rotator.Rotation, bool, error) {
	payload, ok, err := t.get(bucketRotations, []byte(id))
	if err != nil || !ok {
		return rotator.Rotation{}, false, err
	}
	rotation, err := decodeJSON[rotator.Rotation](t, bucketRotations, []byte(id), payload)
	head := struct{ Phase rotator.Phase }{rotation.Phase}
	if err != nil && json.Unmarshal(payload, &head) != nil { // the phase says more than the first unknown field
		return rotator.Rotation{}, false, err
	}
	if !head.Phase.IsValid() {
		return rotator.Rotation{}, false, t.newer(fmt.Sprintf("rotation %s has the unknown phase %q", id, head.Phase))
	}
	return rotation, err == nil, err
}

func (t *txn) wakes(app string) ([]rotator.Wake, error) {
	wakes, _, err := getJSON[[]rotator.Wake](t, bucketWakes, []byte(app))
	return wakes, err
}

// clientKey finds an app by its registration. GUIDs are the same in either
// case.
func clientKey(tenant string, id rotator.ClientID) []byte {
	return join(tenant, strings.ToLower(string(id)))
}

// historyKeys are the two entries of a rotation: among its app's and among all.
func historyKeys(app string, startedAt time.Time, id string) [][]byte {
	at := string(timeKey(startedAt)) + id
	return [][]byte{join(app, at), join("", at)}
}

func dueKey(w rotator.Wake) []byte {
	return join(string(w.Kind), string(timeKey(w.At))+w.App)
}
