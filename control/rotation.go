package control

import (
	"slices"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Rotation is one replacement of a certificate, as the journal has it.
type Rotation struct {
	ID  string `json:"id"`
	App string `json:"app"`
	// Mode is self or managed.
	Mode string `json:"mode"`
	// By is who asked.
	By string `json:"by"`
	// Phase is planned, uploaded, proven, delivered, confirmed, retired,
	// rolling_back or rolled_back.
	Phase string `json:"phase"`
	// Open tells that it has not ended.
	Open bool `json:"open"`
	// Old is null for a first certificate.
	Old       *Credential `json:"old"`
	New       *Credential `json:"new"`
	StartedAt time.Time   `json:"started_at"`
	// PhaseAt holds when each phase was recorded.
	PhaseAt map[string]time.Time `json:"phase_at"`
	EndedAt *time.Time           `json:"ended_at"`
	// Outcome says in one sentence how it ended.
	Outcome string `json:"outcome,omitempty"`
	// Way the certificate went up: addKey or patch.
	Way string `json:"way,omitempty"`
	// Proofs counts cold sign-ins with the new pair that worked, Proofs of
	// ProofAttempts.
	Proofs        int `json:"proofs"`
	ProofAttempts int `json:"proof_attempts"`
	// Unprovable tells that Conditional Access keeps this host from signing in.
	Unprovable bool             `json:"unprovable,omitempty"`
	Deliveries []DeliveryResult `json:"deliveries"`
	// Confirmation is automatic, command, person or never; null: not yet.
	Confirmation *string `json:"confirmation"`
	ConfirmedBy  string  `json:"confirmed_by,omitempty"`
	// ConfirmCode is what a person types to confirm the pair that was delivered.
	ConfirmCode string `json:"confirm_code,omitempty"`
	// NextStep is what a person does who is waited for; empty: nobody is.
	NextStep  string     `json:"next_step,omitempty"`
	RetiresAt *time.Time `json:"retires_at"`
	// LeftBehind are SHA-256 thumbprints of certificates of ours that stay on the
	// app until a person removes them.
	LeftBehind []string `json:"left_behind,omitempty"`
	// Unconfirmed are certificates whose removal was sent and is not confirmed.
	Unconfirmed []Credential `json:"unconfirmed_removals,omitempty"`
	// Told are keys of others that are removed once ours is confirmed.
	Told []ToldKey `json:"told,omitempty"`
	// Compromised is current or next; empty: the rotation answers no compromise.
	Compromised string `json:"compromised,omitempty"`
	// CompromisedRemovedAt is when the removal of the certificate given up was
	// confirmed, CompromisedSentAt when it was sent; null: not, or the rotation answers
	// no compromise.
	CompromisedSentAt    *time.Time `json:"compromised_removal_sent_at,omitempty"`
	CompromisedRemovedAt *time.Time `json:"compromised_removed_at,omitempty"`
	// Back is why it rolls back: person, vanished or compromised.
	Back string `json:"back,omitempty"`
	// Trouble is why the step that runs now failed last; null: it did not.
	Trouble *Trouble `json:"trouble"`
	// Evidence is what the sign-in log showed before the removal; null: it was not
	// asked.
	Evidence *Evidence `json:"evidence"`
	// WaitingFor is propagation, proof, reload, command, person, overlap, evidence,
	// window, pause, upload_limit, answer or retry; null: nothing.
	WaitingFor *string `json:"waiting_for"`
	// WaitingUntil is when it goes on by itself; null: a person must act.
	WaitingUntil *time.Time `json:"waiting_until"`
	// MissingSince is when the new certificate was found gone from Entra.
	MissingSince *time.Time `json:"missing_since"`
	Warnings     []string   `json:"warnings"`
}

// AwaitsRemovals reports whether a removal was sent that can still be confirmed.
func (r *Rotation) AwaitsRemovals() bool {
	return slices.ContainsFunc(r.Unconfirmed, func(c Credential) bool { return c.RemovalConfirmedFrom != nil })
}

// confirmCodeDigits is how much of the SHA-1 thumbprint a person types: the one that the portal
// and Windows show.
const confirmCodeDigits = 8

func rotationOf(r rotator.Rotation) Rotation {
	var left []string
	for _, t := range r.LeftBehind {
		left = append(left, string(t))
	}
	wire := Rotation{
		LeftBehind: left,
		ID:         r.ID, App: r.App, Mode: string(r.Mode), By: r.By,
		Phase: string(r.Phase), Open: !r.Phase.IsEnd(),
		Old: credentialOf(r.Old), New: credentialOf(&r.New),
		StartedAt: r.StartedAt.UTC(), PhaseAt: map[string]time.Time{}, EndedAt: instant(r.EndedAt),
		Outcome: r.Outcome, Way: r.Upload.Way,
		Proofs: r.Proof.Successes, ProofAttempts: r.Proof.Attempts, Unprovable: r.Proof.Unprovable,
		Deliveries:   []DeliveryResult{},
		Confirmation: present(r.Confirmation), ConfirmedBy: r.ConfirmedBy,
		RetiresAt: instant(r.RetiresAt), Trouble: troubleOf(r.Trouble),
		WaitingFor: present(r.WaitingFor), WaitingUntil: instant(r.WakeAt),
		MissingSince: instant(r.Missing), Warnings: list(r.Warnings), NextStep: r.NextStep(),
	}
	for phase, at := range r.PhaseAt {
		wire.PhaseAt[string(phase)] = at.UTC()
	}
	for _, d := range r.Deliveries {
		wire.Deliveries = append(wire.Deliveries, DeliveryResult{d.Name, present(string(d.Thumbprint)), instant(d.At), present(d.Error)})
	}
	if asked := wire.New; r.WaitingFor == rotator.WaitingPerson {
		if r.Phase == rotator.PhaseRollingBack {
			asked = wire.Old
		}
		if asked != nil {
			wire.ConfirmCode = asked.ThumbprintSHA1[:min(confirmCodeDigits, len(asked.ThumbprintSHA1))]
		}
	}
	for _, c := range r.Told {
		wire.Told = append(wire.Told, ToldKey{string(c.KeyID), c.By, instant(c.RemovalSentAt), instant(c.RemovalFrom), instant(c.RemovedAt)})
	}
	if r.Compromised != nil {
		wire.Compromised, wire.CompromisedRemovedAt = r.Compromised.Which, instant(r.CutAt())
		if !slices.Contains(r.LeftBehind, r.Compromised.Thumbprint) {
			wire.CompromisedSentAt = instant(r.Compromised.DoneAt)
		}
	}
	for _, c := range r.Unconfirmed(time.Now()) {
		if sent := credentialOf(&c); sent != nil {
			wire.Unconfirmed = append(wire.Unconfirmed, *sent)
		}
	}
	wire.Evidence = evidenceOf(r.Evidence)
	if r.Back != nil {
		wire.Back = r.Back.Reason
	}
	return wire
}

func rotationsOf(rotations []rotator.Rotation) []Rotation {
	wire := make([]Rotation, len(rotations))
	for i, r := range rotations {
		wire[i] = rotationOf(r)
	}
	return wire
}

// DeliveryResult is one delivery's record.
type DeliveryResult struct {
	// Name is "file PATH", "exec HOOK" or "handoff".
	Name string `json:"name"`
	// ThumbprintSHA256 that the target was seen to hold; null: not yet.
	ThumbprintSHA256 *string    `json:"thumbprint_sha256"`
	At               *time.Time `json:"at"`
	Error            *string    `json:"error"`
}

// Trouble is a failure and what to do about it.
type Trouble struct {
	// Class is wait, retry, fix, clock or gone.
	Class   string    `json:"class"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message"`
	Next    string    `json:"next,omitempty"`
	At      time.Time `json:"at"`
	// Attempts in a row that failed.
	Attempts int        `json:"attempts"`
	RetryAt  *time.Time `json:"retry_at"`
}

func troubleOf(t *rotator.Trouble) *Trouble {
	if t == nil {
		return nil
	}
	return &Trouble{
		Class: string(t.Class), Reason: string(t.Reason), Message: t.Message, Next: t.Next,
		At: t.At.UTC(), Attempts: t.Attempts, RetryAt: instant(t.RetryAt),
	}
}

// StartRequest asks for a rotation.
type StartRequest struct {
	Force bool `json:"force,omitempty"`
	// Compromised is current or next; empty: neither.
	Compromised string `json:"compromised,omitempty"`
	CutNow      bool   `json:"cut_now,omitempty"`
	// RetireKeys are key IDs on the app that rotate did not make and that are to be
	// removed once ours is confirmed.
	RetireKeys []string `json:"retire_keys,omitempty"`
}

func (s StartRequest) request() rotator.StartRequest {
	req := rotator.StartRequest{Force: s.Force, Compromised: s.Compromised, CutNow: s.CutNow}
	for _, id := range s.RetireKeys {
		req.RetireKeys = append(req.RetireKeys, rotator.KeyID(id))
	}
	return req
}

// ToldKey is a key of others that a person told rotate to remove.
type ToldKey struct {
	KeyID string `json:"key_id"`
	By    string `json:"by"`
	// RemovalSentAt is when its removal was sent, RemovalConfirmedFrom the earliest time
	// at which that can be confirmed; RemovedAt is null until it is.
	RemovalSentAt        *time.Time `json:"removal_sent_at"`
	RemovalConfirmedFrom *time.Time `json:"removal_confirmed_from"`
	RemovedAt            *time.Time `json:"removed_at"`
}

// Started is the answer to starting all that is due.
type Started struct {
	Rotations []Rotation `json:"rotations"`
	// Errors of apps that could not start; the others did.
	Errors []Error `json:"errors"`
}

// ConfirmRequest confirms the new pair.
type ConfirmRequest struct {
	// Code is the first 8 hex digits of the new SHA-256 thumbprint.
	Code string `json:"code"`
	Note string `json:"note,omitempty"`
}

// History is past and open rotations, newest first.
type History struct {
	Rotations []Rotation `json:"rotations"`
}
