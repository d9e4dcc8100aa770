package control

import (
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Status is what is due, running, waiting and failing.
type Status struct {
	At time.Time `json:"at"`
	// Counts of all apps, or of those that were named.
	Counts Counts      `json:"counts"`
	Apps   []AppStatus `json:"apps"`
	// PausedUntil stops all apps; null: not paused.
	PausedUntil *time.Time `json:"paused_until"`
	// Stopped is why nothing starts before a person resumes; null: not stopped.
	Stopped *string `json:"stopped"`
	// ReadOnly tells that nothing at all is written to Entra.
	ReadOnly       bool       `json:"read_only"`
	LastCheck      *time.Time `json:"last_check"`
	LastCheckError *string    `json:"last_check_error"`
	// LastGoodCheck is when the last check without a failure ended.
	LastGoodCheck *time.Time `json:"last_good_check"`
	// Problems are why somebody should look, one line each; empty: all is well.
	Problems []string `json:"problems"`
	// NextCheck is null where no daemon runs.
	NextCheck *time.Time `json:"next_check"`
	// LastBackup is when the newest backup was made; null: there was none.
	LastBackup *time.Time `json:"last_backup"`
	// KeysNotInBackup counts keys that were sealed since; NewestKey is when the
	// last of them was.
	KeysNotInBackup int        `json:"keys_not_in_backup"`
	NewestKey       *time.Time `json:"newest_key"`
	Warnings        []string   `json:"warnings"`
}

// Counts are the numbers of apps.
type Counts struct {
	Apps int `json:"apps"`
	// Attention counts those that a person should look at, Open those with a rotation
	// that has not ended, Due those whose rotation should have started.
	Attention int `json:"attention"`
	Open      int `json:"open"`
	Due       int `json:"due"`
}

// AppStatus is one app's.
type AppStatus struct {
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	// Cloud is "custom cloud HOST"; null for Microsoft's own.
	Cloud *string `json:"cloud"`
	Mode  string  `json:"mode"`
	// Phase of the newest rotation, open or ended; null: there was none.
	Phase *string `json:"phase"`
	// Open tells that this rotation has not ended.
	Open       bool       `json:"open"`
	RotationID *string    `json:"rotation_id"`
	DueAt      *time.Time `json:"due_at"`
	// LastSafeStart is the latest start that leaves room for everything.
	LastSafeStart *time.Time `json:"last_safe_start"`
	// NotAfter, KeyID and thumbprints are those of the certificate in service;
	// null: there is none, or it is not known.
	NotAfter         *time.Time `json:"not_after"`
	KeyID            *string    `json:"key_id"`
	ThumbprintSHA1   *string    `json:"thumbprint_sha1"`
	ThumbprintSHA256 *string    `json:"thumbprint_sha256"`
	// Next is the certificate that is being introduced; null: none.
	Next *Credential `json:"next"`
	// Orphans are SHA-256 thumbprints of certificates that a person must remove.
	Orphans []string `json:"orphans"`
	// Removals are those that were sent and are not confirmed.
	Removals []Removal `json:"removals"`
	// LastError is Trouble's message.
	LastError *string    `json:"last_error"`
	RetryAt   *time.Time `json:"retry_at"`
	Trouble   *Trouble   `json:"trouble"`
	// WaitingFor is as in Rotation.
	WaitingFor   *string    `json:"waiting_for"`
	WaitingUntil *time.Time `json:"waiting_until"`
	RetiresAt    *time.Time `json:"retires_at"`
	// ConfirmCode is what a person types to confirm; empty: nothing to confirm.
	ConfirmCode string `json:"confirm_code,omitempty"`
	// NextStep is as in Rotation.
	NextStep string `json:"next_step,omitempty"`
	// Deadline is the last date for a person's confirmation.
	Deadline    *time.Time `json:"deadline"`
	PausedUntil *time.Time `json:"paused_until"`
	// NoDelivery tells that it is not rotated, because it has no delivery.
	NoDelivery bool `json:"no_delivery,omitempty"`
	// Late tells that the last safe start has passed.
	Late bool `json:"late"`
	// Attention tells that a person should look.
	Attention bool     `json:"attention"`
	Warnings  []string `json:"warnings"`
	Owner     string   `json:"owner,omitempty"`
	Tags      []string `json:"tags"`
}

func statusOf(s rotator.Status) Status {
	wire := Status{
		At: s.At.UTC(), Counts: Counts(s.Counts), Apps: make([]AppStatus, len(s.Apps)),
		PausedUntil: instant(s.PausedUntil), Stopped: present(s.Stopped), ReadOnly: s.ReadOnly,
		LastCheck: instant(s.LastCheck), LastCheckError: present(s.LastCheckError),
		LastGoodCheck: instant(s.LastGoodCheck), Problems: list(s.Problems),
		NextCheck: instant(s.NextCheck), Warnings: list(s.Warnings),
	}
	for i, a := range s.Apps {
		wire.Apps[i] = appStatusOf(a)
	}
	return wire
}

func appStatusOf(a rotator.AppStatus) AppStatus {
	wire := AppStatus{
		Name: a.App.Name, Tenant: a.App.Tenant, Cloud: present(a.Cloud), Mode: string(a.App.Mode),
		Phase: present(string(a.Phase)), Open: a.Open,
		DueAt: instant(a.DueAt), LastSafeStart: instant(a.LastSafeStart), NotAfter: instant(a.NotAfter),
		Orphans: []string{}, Removals: []Removal{}, Trouble: troubleOf(a.Trouble),
		WaitingFor: present(a.WaitingFor), WaitingUntil: instant(a.WaitingUntil),
		Deadline: instant(a.Deadline), PausedUntil: instant(a.App.PausedUntil),
		Late: a.Late, NoDelivery: a.NoDelivery, Attention: a.Attention, Warnings: list(a.Warnings),
		Owner: a.App.Owner, Tags: list(a.App.Tags),
	}
	if c := credentialOf(a.App.Current); c != nil {
		wire.KeyID, wire.ThumbprintSHA1, wire.ThumbprintSHA256 = c.KeyID, &c.ThumbprintSHA1, &c.ThumbprintSHA256
	}
	for _, o := range a.App.Orphans {
		wire.Orphans = append(wire.Orphans, string(o.ThumbprintSHA256))
	}
	for _, m := range removalsOf(&a.App) {
		if m.End == nil {
			wire.Removals = append(wire.Removals, m)
		}
	}
	if wire.Trouble != nil {
		wire.LastError, wire.RetryAt = &wire.Trouble.Message, wire.Trouble.RetryAt
	}
	if a.Rotation != nil {
		r := rotationOf(*a.Rotation)
		wire.RotationID = &r.ID
		if a.Open {
			wire.RetiresAt, wire.ConfirmCode, wire.NextStep = r.RetiresAt, r.ConfirmCode, r.NextStep
			// From confirmed on the new pair is the current one.
			if r.New != nil && (wire.ThumbprintSHA256 == nil || r.New.ThumbprintSHA256 != *wire.ThumbprintSHA256) {
				wire.Next = r.New
			}
		}
	}
	return wire
}

// Plan is what the next check would do.
type Plan struct {
	Items []PlanItem `json:"items"`
}

// PlanItem is what it would do about one app.
type PlanItem struct {
	App string `json:"app"`
	// Action in plain words.
	Action        string     `json:"action"`
	At            *time.Time `json:"at"`
	LastSafeStart *time.Time `json:"last_safe_start"`
	Mode          string     `json:"mode"`
	// Held is why it would not happen; null: it would.
	Held *string `json:"held"`
}

func planItemOf(p rotator.PlanItem) PlanItem {
	return PlanItem{p.App, p.Action, instant(p.At), instant(p.LastSafeStart), string(p.Mode), present(p.Held)}
}

// CheckReport is what one check found and did.
type CheckReport struct {
	At time.Time `json:"at"`
	// Apps counts all tracked ones.
	Apps int `json:"apps"`
	// Started and Continued are names of apps.
	Started   []string `json:"started"`
	Continued []string `json:"continued"`
	// Held maps apps that are due to why they were not started.
	Held map[string]string `json:"held"`
	// Attention maps apps that a person should look at to the reason.
	Attention map[string]string `json:"attention"`
}

func checkReportOf(r rotator.CheckReport) CheckReport {
	wire := CheckReport{
		At: r.At.UTC(), Apps: r.Apps, Started: list(r.Started), Continued: list(r.Continued),
		Held: r.Held, Attention: r.Attention,
	}
	if wire.Held == nil {
		wire.Held = map[string]string{}
	}
	if wire.Attention == nil {
		wire.Attention = map[string]string{}
	}
	return wire
}

// PauseRequest stops new starts, deliveries and retirements.
type PauseRequest struct {
	// App; empty: all.
	App   string    `json:"app,omitempty"`
	Until time.Time `json:"until"`
}

// ResumeRequest ends a pause or a stop.
type ResumeRequest struct {
	// App; empty: all.
	App string `json:"app,omitempty"`
	// HoldDiffering lets the apps of a restored store go on that agree with Entra,
	// and holds the others.
	HoldDiffering bool `json:"hold_differing,omitempty"`
}

// Resumed is the answer to it.
type Resumed struct {
	// Done tells what was checked and resumed, in plain words.
	Done []string `json:"done"`
}
