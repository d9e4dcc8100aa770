package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Status returns what is due, running, waiting and failing: of the named apps,
// or of all. [ErrNotFound] if a name is not tracked.
func (r *Rotator) Status(ctx context.Context, names ...string) (Status, error) {
	now := r.now().UTC()
	state, err := r.state(ctx)
	if err != nil {
		return Status{}, err
	}
	s, err := r.statusOf(ctx, &state, now)
	if err != nil {
		return Status{}, err
	}
	var apps []App
	if len(names) == 0 {
		apps, err = r.Store.Apps(ctx, "", 0)
	}
	for _, name := range names {
		app, appErr := r.Store.App(ctx, name)
		if appErr != nil {
			err = errors.Join(err, fmt.Errorf("app %s: %w", name, appErr))
			continue
		}
		apps = append(apps, app)
	}
	if err != nil {
		return Status{}, err
	}
	for i := range apps {
		one, err := r.appStatus(ctx, &apps[i], &state, now)
		if err != nil {
			return Status{}, err
		}
		s.Apps = append(s.Apps, one)
	}
	s.Counts = countsOf(s.Apps, now)
	s.Problems, err = r.problems(ctx, &s, &state, now)
	return s, err
}

// countsOf counts some apps.
func countsOf(apps []AppStatus, now time.Time) Counts {
	var c Counts
	for i := range apps {
		c.add(&apps[i], now)
	}
	return c
}

// add counts one app.
func (c *Counts) add(a *AppStatus, now time.Time) {
	c.Apps++
	if a.Attention {
		c.Attention++
	}
	waits := a.App.Trouble != nil && now.Before(a.App.Trouble.RetryAt)
	switch {
	case a.Open:
		c.Open++
	case isLate(a.DueAt, now) && !waits:
		c.Due++
	}
}

func (r *Rotator) appStatus(ctx context.Context, app *App, state *State, now time.Time) (AppStatus, error) {
	policy := policyOf(app, r.settings().Defaults)
	rule := app.ConfirmRule()
	s := AppStatus{App: *app, Policy: policy, Cloud: r.cloudOf(app.Tenant), DueAt: r.startAt(app)}
	if app.Current != nil {
		s.NotAfter = app.Current.NotAfter
		s.DueAt = app.Current.dueAt(policy, app.Name)
		s.LastSafeStart = lastSafeStart(s.NotAfter, policy, rule)
	}
	if app.Mode == ModeMonitor {
		s.DueAt, s.LastSafeStart = time.Time{}, time.Time{}
		s.Warnings = append(s.Warnings, "only watched: nobody here holds its private key, so rotate tells when its certificate ends and replaces nothing")
	}
	if r.lacksDelivery(app) {
		s.DueAt = time.Time{}
		s.NoDelivery = true
		s.Warnings = append(s.Warnings, "not rotated: it has no delivery, so its consumer would never get the new key; "+deliveryNext(app.Name))
	}
	s.Trouble = app.Trouble
	if app.LastRotation != "" {
		rot, err := r.Store.Rotation(ctx, app.LastRotation)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return AppStatus{}, fmt.Errorf("app %s: %w", app.Name, err)
		}
		if err == nil {
			s.Rotation, s.Phase, s.Open = &rot, rot.Phase, !rot.Phase.IsEnd()
		}
	}
	if s.Open {
		s.Trouble = s.Rotation.Trouble
		s.WaitingFor, s.WaitingUntil = s.Rotation.WaitingFor, s.Rotation.WakeAt
		if s.WaitingFor == WaitingPerson {
			s.WaitingUntil = time.Time{}
			if s.Rotation.Old != nil && s.Phase != PhaseRollingBack {
				s.Deadline = lastSafeDate(s.Rotation.Old.NotAfter, policy)
			}
		}
		s.Warnings = append(s.Warnings, s.Rotation.Warnings...)
		s.Late = s.Rotation.Old != nil && s.Rotation.Confirmation == "" && isLate(lastSafeDate(s.Rotation.Old.NotAfter, policy), now)
	} else {
		s.Late = app.Current != nil && isLate(s.LastSafeStart, now)
		if app.Hold != "" {
			s.Warnings = append(s.Warnings, "held: "+app.Hold)
		}
	}
	if app.Differs != "" {
		s.Warnings = append(s.Warnings, "held: "+app.Differs)
	}
	for _, c := range app.Consumers {
		if c.Delivery.Kind == "" {
			s.Warnings = append(s.Warnings, "nobody but a person knows what the reader of "+c.Name+" uses, whose delivery was taken away: \"rotate confirm\" says that it uses the new certificate; if it reads another delivery now, or is no more: rotate app edit "+app.Name+" --moved")
		}
	}
	if policy.Overlap == 0 && app.Mode != ModeMonitor {
		s.Warnings = append(s.Warnings, "overlap 0s: the old certificate is removed as soon as the new one is confirmed")
	}
	if app.Mode != ModeMonitor {
		for _, c := range withoutKeyID(app, s.Rotation) {
			s.Warnings = append(s.Warnings, "the key ID of the certificate "+c.ThumbprintSHA1+" is not known, so it has to be removed by hand when it is replaced; note it while it is easy to find: "+app.keyIDNext(c))
		}
	}
	ahead, _ := app.preflightWarnings()
	s.Warnings = append(s.Warnings, ahead...)
	if app.Listed != nil && !app.Listed.Missing.IsZero() {
		s.Warnings = append(s.Warnings, "its certificate is gone from Entra since "+app.Listed.Missing.Format(time.DateOnly))
	}
	for _, o := range app.Orphans {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the certificate %s is left on the app (%s); remove it in the Entra portal, then rotate app edit %s --forget-orphan %s",
			o.ThumbprintSHA1, o.Reason, app.Name, o.ThumbprintSHA1))
	}
	for i := range app.Removals {
		if m := &app.Removals[i]; m.IsPending() {
			s.Warnings = append(s.Warnings, m.about()+": "+m.State(app, now))
		}
	}
	s.Attention = state.ReadOnly || isLate(r.attentionAt(app, s.Rotation), now)
	return s, nil
}

// publicLogins are the hosts of the clouds that Microsoft runs.
func publicLogins() []string {
	return []string{"https://login.microsoftonline.com", "https://login.microsoftonline.us", "https://login.chinacloudapi.cn"}
}

func (r *Rotator) cloudOf(tenant string) string {
	hosts, err := r.settings().Entra.Hosts(tenant)
	if err != nil || slices.Contains(publicLogins(), strings.TrimSuffix(hosts.Login, "/")) {
		return ""
	}
	return "custom cloud " + strings.TrimPrefix(hosts.Login, "https://")
}

// Plan calls see with what the next check would do about each app and the latest safe
// start of each, soonest first: those for which nothing happens by itself, then by time.
// It goes along the due index with a few apps in memory, and ends when see returns false.
func (r *Rotator) Plan(ctx context.Context, see func(PlanItem) bool) error {
	now := r.now().UTC()
	all := now.Add(100 * 365 * day)
	idle := &wakeCursor{store: r.Store, next: Wake{Kind: WakeIdle}, until: all}
	starts := &wakeCursor{store: r.Store, next: Wake{Kind: WakeStart}, until: all}
	goOn := &wakeCursor{store: r.Store, next: Wake{Kind: WakeContinue}, until: all}
	for {
		w, err := firstOf(ctx, idle, starts, goOn)
		if err != nil || w == nil {
			return err
		}
		item, err := r.planItem(ctx, w, now)
		if errors.Is(err, ErrNotFound) || err == nil && item == nil {
			continue // it changed meanwhile
		}
		if err != nil || !see(*item) {
			return err
		}
	}
}

// A wakeCursor goes along the due index for one kind.
type wakeCursor struct {
	store Store
	// next is the entry that was read last.
	next  Wake
	until time.Time
	read  []Wake
	ended bool
}

// first is the next entry; nil: there is none.
func (c *wakeCursor) first(ctx context.Context) (*Wake, error) {
	if len(c.read) == 0 && !c.ended {
		var err error
		if c.read, err = c.store.DueAfter(ctx, c.next, c.until, batch); err != nil {
			return nil, err
		}
		if c.ended = len(c.read) < batch; len(c.read) > 0 {
			c.next = c.read[len(c.read)-1]
		}
	}
	if len(c.read) == 0 {
		return nil, nil //nolint:nilnil // the end is an ordinary answer
	}
	return &c.read[0], nil
}

// firstOf takes the earliest entry from several cursors; nil: there is none.
func firstOf(ctx context.Context, cursors ...*wakeCursor) (*Wake, error) {
	var from *wakeCursor
	var found *Wake
	for _, c := range cursors {
		w, err := c.first(ctx)
		if err != nil {
			return nil, err
		}
		if w != nil && (found == nil || w.At.Before(found.At)) {
			from, found = c, w
		}
	}
	if found == nil {
		return nil, nil //nolint:nilnil // the end is an ordinary answer
	}
	taken := *found
	from.read = from.read[1:]
	return &taken, nil
}

// planItem is what would be done about the app of a due entry; nil if it is not that
// entry by which it is found.
func (r *Rotator) planItem(ctx context.Context, w *Wake, now time.Time) (*PlanItem, error) {
	app, err := r.Store.App(ctx, w.App)
	if err != nil {
		return nil, err
	}
	item := &PlanItem{App: app.Name, Mode: app.Mode}
	kind := WakeIdle
	policy := policyOf(&app, r.settings().Defaults)
	if app.Current != nil && app.Mode != ModeMonitor {
		item.LastSafeStart = lastSafeStart(app.Current.NotAfter, policy, app.ConfirmRule())
	}
	switch {
	case app.Mode == ModeMonitor:
		item.Action = "nothing: it is only watched"
	case app.Rotation == "" && r.lacksDelivery(&app):
		item.Action, item.Held = "nothing", "it has no delivery: rotate app edit "+app.Name+" --deliver-file PATH"
	case app.Rotation != "":
		rot, err := r.Store.Rotation(ctx, app.Rotation)
		if err != nil {
			return nil, fmt.Errorf("app %s: %w", app.Name, err)
		}
		item.Action, item.At = nextAction(&rot), rot.WakeAt
		if rot.WaitingFor == WaitingPerson {
			item.Held, item.At = "waits for a person: rotate confirm "+app.Name+" CODE", time.Time{}
		}
		if !item.At.IsZero() {
			kind = WakeContinue
		}
	default:
		kind = WakeStart
		item.Action, item.At = "start a rotation", r.startAt(&app)
		if !item.At.After(now) {
			item.Held = r.held(ctx, app.Name, now)
		}
	}
	if kind != w.Kind {
		return nil, nil //nolint:nilnil // it is found by another entry
	}
	return item, nil
}

// nextAction says in plain words what the next step does.
func nextAction(rot *Rotation) string {
	switch rot.Phase {
	case PhasePlanned:
		return "upload the new certificate"
	case PhaseUploaded:
		return "prove the new certificate"
	case PhaseProven:
		return "deliver the new certificate"
	case PhaseDelivered:
		return "confirm that the consumer uses it"
	case PhaseConfirmed:
		return "remove the old certificate"
	case PhaseRollingBack:
		return "go back to the previous certificate"
	case PhaseRetired, PhaseRolledBack:
		return "nothing"
	}
	return ""
}
