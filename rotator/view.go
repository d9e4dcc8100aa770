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
	now := time.Now().UTC()
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
	s.LastGoodCheck = state.LastGoodCheck
	s.Problems = r.problems(&s, &state, now)
	return s, nil
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
	if policy.Overlap == 0 && app.Mode != ModeMonitor {
		s.Warnings = append(s.Warnings, "overlap 0s: the old certificate is removed as soon as the new one is confirmed")
	}
	if app.Mode != ModeMonitor {
		for _, c := range withoutKeyID(app, s.Rotation) {
			s.Warnings = append(s.Warnings, "the key ID of the certificate "+c.ThumbprintSHA1+" is not known, so rotate cannot remove it when it is replaced: "+app.keyIDNext(c))
		}
	}
	ahead, atRisk := app.preflightWarnings()
	s.Warnings = append(s.Warnings, ahead...)
	missing := app.Listed != nil && !app.Listed.Missing.IsZero()
	if missing {
		s.Warnings = append(s.Warnings, "its certificate is gone from Entra since "+app.Listed.Missing.Format(time.DateOnly))
	}
	for _, o := range app.Orphans {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the certificate %s is left on the app (%s); remove it in the Entra portal, then rotate app edit %s --forget-orphan %s",
			o.ThumbprintSHA1, o.Reason, app.Name, o.ThumbprintSHA1))
	}
	unconfirmed := false
	for i := range app.Removals {
		m := &app.Removals[i]
		if m.IsPending() {
			s.Warnings = append(s.Warnings, m.about()+": "+m.State(app, now))
			unconfirmed = unconfirmed || m.GivenUp || !m.ReportedAt.IsZero()
		}
	}
	s.Attention = missing || unconfirmed || s.NoDelivery || r.isEnding(app, now) || atRisk || s.Trouble.needsPerson() || s.Late || s.WaitingFor == WaitingPerson ||
		app.Hold != "" || app.Differs != "" || len(app.Orphans) > 0 ||
		s.Open && !s.Rotation.Missing.IsZero() || state.ReadOnly
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

// Plan tells what the next check would do, and the latest safe start of each
// app, soonest first.
func (r *Rotator) Plan(ctx context.Context) ([]PlanItem, error) {
	now := time.Now().UTC()
	apps, err := r.Store.Apps(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	var items []PlanItem
	for i := range apps {
		app := &apps[i]
		item := PlanItem{App: app.Name, Mode: app.Mode}
		policy := policyOf(app, r.settings().Defaults)
		if app.Current != nil && app.Mode != ModeMonitor {
			item.LastSafeStart = lastSafeStart(app.Current.NotAfter, policy, app.ConfirmRule())
		}
		if app.Mode == ModeMonitor {
			item.Action = "nothing: it is only watched"
		} else if app.Rotation == "" && r.lacksDelivery(app) {
			item.Action, item.Held = "nothing", "it has no delivery: rotate app edit "+app.Name+" --deliver-file PATH"
		} else if app.Rotation != "" {
			rot, err := r.Store.Rotation(ctx, app.Rotation)
			if err != nil {
				return nil, fmt.Errorf("app %s: %w", app.Name, err)
			}
			item.Action, item.At = nextAction(&rot), rot.WakeAt
			if rot.WaitingFor == WaitingPerson {
				item.Held, item.At = "waits for a person: rotate confirm "+app.Name+" CODE", time.Time{}
			}
		} else {
			item.Action, item.At = "start a rotation", r.startAt(app)
			if !item.At.After(now) {
				item.Held = r.held(ctx, app.Name, now)
			}
		}
		items = append(items, item)
	}
	slices.SortStableFunc(items, func(a, b PlanItem) int { return a.At.Compare(b.At) })
	return items, nil
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
