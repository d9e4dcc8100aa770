package rotator

// CheckRemovalsOf lets a loop without a schedule check the app's removals.
func (r *Rotator) CheckRemovalsOf(app string) { r.ask(app) }
