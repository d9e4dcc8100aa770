package rotator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Edit changes a tracked app. It returns the app and what changed, as
// "field: old → new". Nothing is changed in Entra; an open rotation goes on
// with the new settings.
func (r *Rotator) Edit(ctx context.Context, name string, edit Edit, by string) (App, []string, error) {
	release, err := r.claim(ctx, name)
	if err != nil {
		return App{}, nil, err
	}
	defer release()
	app, err := r.Store.App(ctx, name)
	if err != nil {
		return App{}, nil, fmt.Errorf("app %s: %w", name, err)
	}
	wanted, err := edited(app, edit)
	if err != nil {
		return App{}, nil, err
	}
	if _, err := r.checkApp(ctx, &wanted); err != nil {
		return App{}, nil, err
	}
	if edit.changesConsumer() || !r.lacksDelivery(&app) {
		// One that lacks it already may be edited otherwise.
		if err := r.checkConsumer(&wanted); err != nil {
			return App{}, nil, err
		}
	}
	if wanted.Mode == ModeSelf && wanted.ObjectID == "" {
		return App{}, nil, usagef("app %s: self mode needs its object ID: --object-id", name)
	}
	if edit.ObjectID != nil && wanted.ObjectID != app.ObjectID {
		if err := r.checkObjectID(ctx, &wanted); err != nil {
			return App{}, nil, err
		}
	}
	var fields []string
	err = r.change(ctx, name, func(rec *Records) error {
		if rec.App == nil {
			return fmt.Errorf("app %s: %w", name, ErrNotFound)
		}
		next, err := edited(*rec.App, edit)
		if err != nil {
			return err
		}
		if edit.KeyID != nil {
			if err := tellKeyID(&next, rec.Rotation, KeyID(strings.ToLower(string(*edit.KeyID)))); err != nil {
				return err
			}
		}
		fields = differences(rec.App, &next)
		if edit.Moved {
			gone, err := moved(&next, rec.Rotation)
			if err != nil {
				return err
			}
			fields = append(fields, gone...)
		}
		if edit.KeyID != nil && len(fields) == 0 {
			fields = []string{"key_id: " + string(*edit.KeyID)} // of the new certificate, which is not in service yet
		}
		if len(fields) == 0 {
			app = *rec.App
			return nil
		}
		next.Trouble = nil
		rec.App, app = &next, next
		if rec.Rotation != nil {
			rec.Rotation.WakeAt = r.now().UTC() // the edit may be what it waited for
			rec.Rotation.Unreadable = false
			rec.Rotation.Seq++
		}
		rec.Audit = append(rec.Audit, AuditEntry{At: r.now().UTC(), By: by, What: "app edited", App: name, Note: strings.Join(fields, "; ")})
		return nil
	})
	r.wake()
	return app, fields, err
}

// moved drops the consumers whose delivery was taken away, on a person's word.
func moved(app *App, rot *Rotation) (fields []string, err error) {
	keepConsumers(app, rot)
	isGone := func(c Consumer) bool { return c.Delivery.Kind == "" }
	for _, c := range app.Consumers {
		if isGone(c) {
			fields = append(fields, "consumer of "+c.Name+": moved")
		}
	}
	if len(fields) == 0 {
		return nil, usagef("app %s: no delivery of it was taken away, so nobody can have moved", app.Name)
	}
	app.Consumers = slices.DeleteFunc(slices.Clone(app.Consumers), isGone)
	return fields, nil
}

// checkObjectID compares an object ID that a person typed with the registration
// that carries it, where that can be read. Each reading compares it again.
func (r *Rotator) checkObjectID(ctx context.Context, app *App) error {
	if err := r.checkHosts(ctx, app.Tenant); err != nil {
		return err
	}
	as := Access{Registration: app.registration()}
	if app.Mode == ModeSelf && app.Current != nil {
		pair, err := r.Store.KeyPair(ctx, app.Current.ThumbprintSHA256)
		if err != nil {
			return fmt.Errorf("app %s: %w", app.Name, err)
		}
		as.As = pair
	}
	_, err := r.settings().Entra.Keys(ctx, as, false)
	f, ok := errors.AsType[*Failure](err)
	switch {
	case err == nil, !ok:
		return err
	case f.Reason == ReasonAppNotFound:
		return usagef("app %s: the tenant has no app registration with the object ID %s (that may be the one of the enterprise application)", app.Name, app.ObjectID)
	case f.Reason == ReasonOther && f.Class == ClassFix:
		return usagef("%s", f.Message)
	}
	return nil // it cannot be read now
}

// edited returns the app with the edit's fields in place.
func edited(app App, e Edit) (App, error) {
	if e.KeyID != nil {
		if m := keyIDForm.FindStringSubmatch(string(*e.KeyID)); m == nil || !guidForm.MatchString(m[2]) {
			return App{}, usagef("app %s: %q is not a GUID such as 11111111-2222-3333-4444-555555555555", app.Name, *e.KeyID)
		}
	}
	if id := e.ObjectID; id != nil && !guidForm.MatchString(string(*id)) {
		return App{}, usagef("app %s: %q is not a GUID such as 11111111-2222-3333-4444-555555555555", app.Name, *id)
	}
	if e.Mode != nil && *e.Mode != app.Mode && app.Mode == ModeMonitor {
		return App{}, usagef("app %s: it is only watched; to have it rotated: rotate app add %s --tenant %s --client-id %s --pfx FILE, or --mode managed without a file, for rotate to make the first key of its own",
			app.Name, app.Name, app.Tenant, app.ClientID)
	}
	if e.Deliveries != nil && len(*e.Deliveries) > 0 && app.Mode == ModeMonitor {
		return App{}, usagef("app %s: it is only watched, so there is nothing to deliver", app.Name)
	}
	if e.Mode != nil && *e.Mode != app.Mode {
		if *e.Mode != ModeSelf && *e.Mode != ModeManaged {
			return App{}, usagef("app %s: mode %q is not known; use self or managed", app.Name, *e.Mode)
		}
		app.Mode = *e.Mode
	}
	if e.ObjectID != nil {
		app.ObjectID = ObjectID(strings.ToLower(string(*e.ObjectID)))
	}
	if e.KeyID != nil && app.Current == nil {
		return App{}, usagef("app %s: it has no certificate of ours yet, so there is no key ID to tell", app.Name)
	}
	set(&app.Permissions, e.Permissions)
	set(&app.Tags, e.Tags)
	set(&app.Owner, e.Owner)
	set(&app.Policy, e.Policy)
	set(&app.Deliveries, e.Deliveries)
	set(&app.Probe, e.Probe)
	set(&app.Confirm, e.Confirm)
	set(&app.HandOff, e.HandOff)
	set(&app.Evidence, e.Evidence)
	set(&app.Verify, e.Verify)
	if app.Evidence && app.Mode != ModeManaged {
		return App{}, evidenceMode(app.Name)
	}
	set(&app.NewPassword, e.NewPassword)
	set(&app.NoConsumer, e.NoConsumer)
	if e.NoConsumer == nil && e.Deliveries != nil && len(*e.Deliveries) > 0 {
		app.NoConsumer = false // who names a place for the keys names their consumer
	}
	set(&app.FriendlyName, e.FriendlyName)
	if err := checkFriendlyName(app.Name, app.FriendlyName); err != nil {
		return App{}, err
	}
	if e.Owner != nil || e.Tags != nil || e.HandOff != nil { // what an older version stored stays editable
		if err := checkTexts(app.Name, app.Owner, app.Tags, app.HandOff); err != nil {
			return App{}, err
		}
	}
	if e.ForgetOrphan != "" {
		isIt := func(o Orphan) bool {
			return strings.EqualFold(o.ThumbprintSHA1, e.ForgetOrphan) || strings.EqualFold(string(o.ThumbprintSHA256), e.ForgetOrphan)
		}
		if !slices.ContainsFunc(app.Orphans, isIt) {
			return App{}, usagef("app %s: no orphan has the thumbprint %s", app.Name, e.ForgetOrphan)
		}
		app.Orphans = slices.DeleteFunc(slices.Clone(app.Orphans), isIt)
	}
	return app, nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// differences lists what a person would see changed, field by field.
func differences(old, next *App) []string {
	var list []string
	add := func(name string, a, b any) {
		x, y := plain(a), plain(b)
		if x != y {
			list = append(list, name+": "+x+" → "+y)
		}
	}
	add("mode", old.Mode, next.Mode)
	add("object_id", old.ObjectID, next.ObjectID)
	if old.Current != nil && next.Current != nil {
		add("key_id", old.Current.KeyID, next.Current.KeyID)
	}
	if old.Previous != nil && next.Previous != nil {
		add("key_id of the previous certificate", old.Previous.KeyID, next.Previous.KeyID)
	}
	add("permissions", old.Permissions, next.Permissions)
	add("tags", old.Tags, next.Tags)
	add("owner", old.Owner, next.Owner)
	add("policy", old.Policy, next.Policy)
	add("deliveries", old.Deliveries, next.Deliveries)
	add("probe", old.Probe, next.Probe)
	add("confirm", old.Confirm, next.Confirm)
	add("handoff", old.HandOff, next.HandOff)
	add("evidence", old.Evidence, next.Evidence)
	add("no_consumer", old.NoConsumer, next.NoConsumer)
	add("friendly_name", old.FriendlyName, next.FriendlyName)
	add("verify", old.Verify, next.Verify)
	add("new_password", old.NewPassword, next.NewPassword)
	add("orphans", len(old.Orphans), len(next.Orphans))
	return list
}

// plain prints a value for people; an empty one is "-".
func plain(v any) string {
	text, _ := json.Marshal(v) // plain structs, strings and numbers always marshal
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return string(text)
	}
	return readable("", value)
}

// readable writes a value of JSON as people do: "file /srv/a/app.pfx, mode 0640".
func readable(name string, value any) string {
	var parts []string
	switch v := value.(type) {
	case string:
		if v != "" {
			return v
		}
	case bool:
		return strconv.FormatBool(v)
	case float64:
		if v >= float64(time.Millisecond) && name != "" { // every such number is a length of time
			return days(time.Duration(v))
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	case []any:
		for _, one := range v {
			parts = append(parts, readable("", one))
		}
	case map[string]any:
		first := []string{"kind", "rule", "path", "hook"}
		var lead []string
		for _, key := range first {
			if text, _ := v[key].(string); text != "" {
				lead = append(lead, text)
			}
		}
		if len(lead) > 0 {
			parts = append(parts, strings.Join(lead, " "))
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !slices.Contains(first, key) {
				parts = append(parts, strings.ReplaceAll(key, "_", " ")+" "+readable(key, v[key]))
			}
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// Apply makes the store agree with the specs: an app that is not tracked is
// added, one that is gets the declared fields. Apps that no spec names are left
// alone. Applied twice it changes nothing the second time. With dryRun nothing
// is written. One app's error is in its Difference; the others go on.
func (r *Rotator) Apply(ctx context.Context, specs []AppSpec, dryRun bool, by string) ([]Difference, error) {
	seen := map[string]bool{}
	for _, spec := range specs {
		if seen[spec.Name] {
			return nil, usagef("app %s is declared twice", spec.Name)
		}
		seen[spec.Name] = true
	}
	var list []Difference
	for _, spec := range specs {
		if ctx.Err() != nil {
			return list, ctx.Err()
		}
		list = append(list, r.applyOne(ctx, spec, dryRun, by))
	}
	return list, nil
}

func (r *Rotator) applyOne(ctx context.Context, spec AppSpec, dryRun bool, by string) Difference {
	d := Difference{App: spec.Name, Action: "none"}
	tracked, err := r.Store.App(ctx, spec.Name)
	if err != nil || tracked.Mode == ModeMonitor && (spec.PFX != nil || spec.Mode == ModeManaged) {
		d.Action = "add"
		var added Added
		if dryRun {
			_, _, added, d.Err = r.examine(ctx, spec)
		} else {
			added, d.Err = r.Add(ctx, spec, by)
		}
		d.Fields, d.Warnings = added.Found, added.Warnings
		return d
	}
	wanted, err := r.appOf(spec)
	if err != nil {
		d.Err = err
		return d
	}
	if tracked.Tenant != wanted.Tenant || tracked.ClientID != wanted.ClientID {
		d.Err = usagef("app %s is tracked as client ID %s of tenant %s; another registration needs another name", spec.Name, tracked.ClientID, tracked.Tenant)
		return d
	}
	edit := Edit{
		Mode: &wanted.Mode, Permissions: &wanted.Permissions, Tags: &wanted.Tags, Owner: &wanted.Owner,
		Policy: &wanted.Policy, Deliveries: &wanted.Deliveries, Probe: &wanted.Probe, Confirm: &wanted.Confirm, HandOff: &wanted.HandOff,
		Evidence: &wanted.Evidence, NoConsumer: &wanted.NoConsumer, Verify: &wanted.Verify, FriendlyName: &wanted.FriendlyName,
	}
	if wanted.ObjectID != "" {
		edit.ObjectID = &wanted.ObjectID
	}
	next, err := edited(tracked, edit)
	if err != nil {
		d.Err = err
		return d
	}
	if d.Warnings, d.Err = r.checkApp(ctx, &next); d.Err != nil {
		return d
	}
	if d.Err = r.checkConsumer(&next); d.Err != nil {
		return d
	}
	if d.Fields = differences(&tracked, &next); len(d.Fields) == 0 {
		return d
	}
	d.Action = "change"
	if !dryRun {
		if _, _, d.Err = r.Edit(ctx, spec.Name, edit, by); d.Err == nil {
			d.Warnings = append(d.Warnings, r.aheadOf(ctx, spec.Name)...)
		}
	}
	return d
}
