package rotator

// lacksDelivery reports whether rotate has no way to bring a new pair to the
// app's consumer: no delivery, and no person said that there is no consumer. Such
// an app would be locked out by its own rotation: nothing would show that its
// consumer never got the new pair. So none starts, and one that is open stays
// before its delivery.
//
// The tenant's own identity is its own consumer: this program signs in with what
// the records say. An app of mode monitor is never rotated.
func (r *Rotator) lacksDelivery(app *App) bool {
	return len(app.Deliveries) == 0 && !app.NoConsumer && app.Mode != ModeMonitor && !r.isIdentity(app)
}

// deliveryNext says how an app without a delivery gets one.
func deliveryNext(app string) string {
	return "say where its consumer reads the key: rotate app edit " + app +
		" --deliver-file PATH (or --deliver-exec HOOK; or --deliver-handoff, if you carry it there by hand); if no program signs in with its certificate: rotate app edit " +
		app + " --no-consumer"
}

// checkConsumer refuses an app whose consumer could not get a new pair.
func (r *Rotator) checkConsumer(app *App) error {
	if app.NoConsumer && len(app.Deliveries) > 0 {
		return usagef("app %s: with deliveries it has a consumer: leave out --no-consumer (consumer: none), or the deliveries", app.Name)
	}
	if !r.lacksDelivery(app) {
		return nil
	}
	return usagef("app %s: it has no delivery, so its consumer would never get a new key and would be locked out by the first rotation; add --deliver-file PATH, --deliver-exec HOOK, or --deliver-handoff if you carry it there by hand; if no program signs in with its certificate: --no-consumer",
		app.Name)
}

// changesConsumer reports whether the edit is about who gets the app's pairs.
func (e Edit) changesConsumer() bool { return e.Deliveries != nil || e.NoConsumer != nil }

// noDelivery refuses to rotate an app whose consumer could not get a new pair.
func noDelivery(app *App) error {
	return refusedf("app %s: it is not rotated: it has no delivery, so its consumer would never get the new key; %s", app.Name, deliveryNext(app.Name))
}

// deliverable holds a rotation of an app without a delivery before anything
// depends on a consumer that cannot have the new pair.
func (t *turn) deliverable() *wait {
	if !t.r.lacksDelivery(&t.app) {
		return nil
	}
	return &wait{WaitingDelivery, t.now().UTC().Add(day)}
}

// undelivered makes the event of an app without a delivery; false if it has one,
// or the alert is open.
func (r *Rotator) undelivered(rec *Records) (Event, bool) {
	app := rec.App
	if !r.lacksDelivery(app) || app.isAlerted(EventNoDelivery) {
		return Event{}, false
	}
	return r.newEvent(app, nil, EventNoDelivery, SeverityWarning,
		"app "+app.Name+" is not rotated: it has no delivery, so its consumer would never get the new key", deliveryNext(app.Name)), true
}

// isAlerted reports whether an alert of the kind is open.
func (a *App) isAlerted(kind EventKind) bool {
	for i := range a.Alerts {
		if a.Alerts[i].Kind == kind {
			return true
		}
	}
	return false
}
