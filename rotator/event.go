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
	// Channel is the one that a channel_failing event, or its end, is about.
	Channel string `json:"channel,omitempty"`
	// Repeat counts how often a lasting condition was told before: 0 for the
	// first time.
	Repeat int `json:"repeat,omitempty"`
}

// EventKind is stable: receivers filter by it.
type EventKind string

// Kinds of events. docs/alerts.md says when each is sent and what to do.
const (
	// EventExpiring tells that a credential ends soon and nothing replaces it.
	EventExpiring          EventKind = "expiring"
	EventRotationStarted   EventKind = "rotation_started"
	EventRotated           EventKind = "rotated"
	EventRotationFailed    EventKind = "rotation_failed"
	EventRolledBack        EventKind = "rolled_back"
	EventForeignCredential EventKind = "foreign_credential"
	// EventNoDelivery tells that an app is not rotated, because nothing would bring
	// the new pair to its consumer.
	EventNoDelivery EventKind = "no_delivery"
	// EventRenewalAtRisk tells of what would keep the next renewal from working.
	EventRenewalAtRisk      EventKind = "renewal_at_risk"
	EventCertificateMissing EventKind = "certificate_missing"
	// EventHandOffReady tells that a pair waits for a person.
	EventHandOffReady EventKind = "handoff_ready"
	// EventHandOffOverdue tells that nobody confirmed it before the last safe date.
	EventHandOffOverdue EventKind = "handoff_overdue"
	// EventOldCertificateInUse tells that the sign-in log shows the consumer with the
	// certificate that was replaced.
	EventOldCertificateInUse EventKind = "old_certificate_in_use"
	// EventRemovalUnconfirmed tells that a certificate may still be on the app although
	// its removal was sent, and that a person should check.
	EventRemovalUnconfirmed EventKind = "removal_unconfirmed"
	// EventRemoved tells that a removal was confirmed.
	EventRemoved EventKind = "certificate_removed"
	// EventKeyIDUnknown tells that the KeyID of a new certificate was lost with the
	// answer of its upload.
	EventKeyIDUnknown EventKind = "key_id_unknown"
	// EventTenantFactChanged tells that a tenant does not do what was verified.
	EventTenantFactChanged EventKind = "tenant_fact_changed"
	// EventInspectionOverdue tells that a tenant was not inspected for long, so that
	// credentials of others there are not noticed.
	EventInspectionOverdue EventKind = "inspection_overdue"
	// EventKeysTaken tells that private keys left the store in a form that somebody can
	// open: an export, a package of a hand-off, a backup to another recipient.
	EventKeysTaken EventKind = "keys_taken"
	// EventRecovered tells that what an earlier event told of is over.
	EventRecovered EventKind = "recovered"
	// EventStopped tells that nothing starts unasked before a person resumes.
	EventStopped EventKind = "stopped"
	// EventChannelFailing tells that a channel does not take messages.
	EventChannelFailing EventKind = "channel_failing"
	// EventStoreFailing tells that the store cannot be written. It is sent
	// directly, for it cannot wait in the outbox.
	EventStoreFailing EventKind = "store_failing"
	// EventTest was asked for by a person.
	EventTest EventKind = "test"
)

// EventKinds lists all kinds.
func EventKinds() []EventKind {
	return []EventKind{
		EventExpiring, EventRotationStarted, EventRotated, EventRotationFailed, EventRolledBack, EventHandOffReady,
		EventHandOffOverdue, EventForeignCredential, EventCertificateMissing, EventRenewalAtRisk, EventNoDelivery,
		EventOldCertificateInUse, EventRemovalUnconfirmed, EventRemoved, EventKeyIDUnknown, EventTenantFactChanged, EventKeysTaken, EventInspectionOverdue, EventRecovered, EventStopped,
		EventChannelFailing, EventStoreFailing, EventTest,
	}
}

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
	// OldThumbprint is that of the certificate that is replaced.
	OldThumbprint Thumbprint `json:"old_thumbprint,omitempty"`
	// Result is empty if it was done, else why not.
	Result string `json:"result,omitempty"`
	Note   string `json:"note,omitempty"`
}

// AuditLine is an entry with its place in the hash chain.
type AuditLine struct {
	// Number counts from 1.
	Number uint64
	// SHA256 of the line, lower-case hex; it covers all lines before.
	SHA256 string
	AuditEntry
}

// AuditProof is what following the hash chain to its end showed.
type AuditProof struct {
	// Lines is how many there are, SHA256 that of the newest; empty without one.
	Lines  uint64
	SHA256 string
	// Expected is the number of the line with the hash that was asked for; zero:
	// there is none.
	Expected uint64
}
