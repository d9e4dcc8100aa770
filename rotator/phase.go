package rotator

// Phase is a fact the journal already holds about a rotation.
type Phase string

const (
	// PhasePlanned means: the new pair is durable, sealed; Entra may have heard of it.
	PhasePlanned Phase = "planned"
	// PhaseUploaded means: the app accepts the new certificate.
	PhaseUploaded Phase = "uploaded"
	// PhaseProven means: the new pair can do what the current one can.
	PhaseProven Phase = "proven"
	// PhaseDelivered means: every target holds the new pair.
	PhaseDelivered Phase = "delivered"
	// PhaseConfirmed means: the consumer uses the new pair, which is now current.
	PhaseConfirmed Phase = "confirmed"
	// PhaseRetired means: the replaced certificate is gone. The end.
	PhaseRetired Phase = "retired"
	// PhaseRollingBack means: a person wants the previous pair back. Never forward again.
	PhaseRollingBack Phase = "rolling_back"
	// PhaseRolledBack means: the new certificate is gone. The other end.
	PhaseRolledBack Phase = "rolled_back"
)

// IsEnd reports whether nothing follows.
func (p Phase) IsEnd() bool { return p == PhaseRetired || p == PhaseRolledBack }

// IsValid reports whether the phase is one that this version knows.
func (p Phase) IsValid() bool {
	switch p {
	case PhasePlanned, PhaseUploaded, PhaseProven, PhaseDelivered, PhaseConfirmed,
		PhaseRetired, PhaseRollingBack, PhaseRolledBack:
		return true
	}
	return false
}
