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
	// Tags and Owner are the app's, so that channels can filter and route.
	Tags  []string `json:"tags,omitempty"`
	Owner string   `json:"owner,omitempty"`
	// Stage is the stage that an expiring credential has reached: "45d", "7d",
	// …, "expired"; empty for other kinds.
	Stage string `json:"stage,omitempty"`
	// Days are whole days left until NotAfter when the event was made, rounded
	// down; nil where no end is meant, negative after it.
	Days *int `json:"days,omitempty"`
	// NotAfter is the end of the credential that the event is about, UTC; zero
	// where no end is meant.
	NotAfter time.Time `json:"not_after,omitzero"`
}

// EventKind is stable: receivers filter by it.
type EventKind string

// Kinds of events.
const (
	// EventExpiring tells that a credential ends soon and nobody replaces it.
	EventExpiring           EventKind = "expiring"
	EventRotationStarted    EventKind = "rotation_started"
	EventRotated            EventKind = "rotated"
	EventRotationFailed     EventKind = "rotation_failed"
	EventRolledBack         EventKind = "rolled_back"
	EventHandOffReady       EventKind = "handoff_ready"
	EventForeignCredential  EventKind = "foreign_credential"
	EventCertificateMissing EventKind = "certificate_missing"
	EventRecovered          EventKind = "recovered"
	EventStopped            EventKind = "stopped"
	// EventHandoffReady tells that a person must fetch a new pair.
	EventHandoffReady EventKind = "handoff_ready"
	// EventHandoffOverdue tells that nobody confirmed a hand-off in time.
	EventHandoffOverdue EventKind = "handoff_overdue"
	// EventTest was asked for by a person.
	EventTest EventKind = "test"
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
