package rotator

import "time"

// Event tells people about a change. It is written in the transaction of the
// change it tells of and never holds a secret.
type Event struct {
	// ID is stable: receivers drop repeats by it.
	ID       string    `json:"id"`
	Kind     EventKind `json:"kind"`
	Severity Severity  `json:"severity"`
	App      string    `json:"app,omitempty"`
	Tenant   string    `json:"tenant,omitempty"`
	Rotation string    `json:"rotation,omitempty"`
	At       time.Time `json:"at"`
	// What happened, one sentence.
	Summary string `json:"summary"`
	// Next is what to do, one sentence; may be empty.
	Next string      `json:"next,omitempty"`
	Old  *Credential `json:"old,omitempty"`
	New  *Credential `json:"new,omitempty"`
}

// EventKind is stable: receivers filter by it.
type EventKind string

// Kinds of events.
const (
	EventRotationStarted    EventKind = "rotation_started"
	EventRotated            EventKind = "rotated"
	EventRotationFailed     EventKind = "rotation_failed"
	EventRolledBack         EventKind = "rolled_back"
	EventForeignCredential  EventKind = "foreign_credential"
	EventCertificateMissing EventKind = "certificate_missing"
	EventRecovered          EventKind = "recovered"
	EventStopped            EventKind = "stopped"
)

// Severity of an event.
type Severity string

// Severities, least first.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// AuditEntry is one line of the audit trail.
type AuditEntry struct {
	At time.Time `json:"at"`
	// By is who did it: "schedule", or a person as the control API knows them.
	By string `json:"by"`
	// What was done, such as "app added" or "rotation uploaded".
	What       string     `json:"what"`
	App        string     `json:"app,omitempty"`
	Rotation   string     `json:"rotation,omitempty"`
	Thumbprint Thumbprint `json:"thumbprint,omitempty"`
	Note       string     `json:"note,omitempty"`
}
