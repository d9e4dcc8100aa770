package rotator

// IsOneOf and IsUncertain judge an entry of a list.
func IsOneOf(app *App, f FoundCredential) bool     { return isOneOf(app, nil, f) }
func IsUncertain(app *App, f FoundCredential) bool { return isUncertain(app, nil, f) }

// CheckRemovalsOf lets a loop without a schedule check the app's removals.
func (r *Rotator) CheckRemovalsOf(app string) { r.ask(app) }
