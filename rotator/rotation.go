package rotator

import (
	"slices"
	"time"
)

// Rotation is the journal record of one replacement, from plan to the old
// certificate gone.
type Rotation struct {
	ID  string `json:"id"`
	App string `json:"app"`
	// ClientID of the registration that it changed.
	ClientID ClientID `json:"client_id,omitempty"`
	// Mode at the start.
	Mode Mode `json:"mode"`
	// By is who asked: "schedule", or a person as the control API knows them.
	By string `json:"by"`
	// Asked tells that a person asked: window and jitter do not hold.
	Asked bool `json:"asked,omitempty"`
	// Force tells that the person went beyond the ceilings.
	Force bool  `json:"force,omitempty"`
	Phase Phase `json:"phase"`
	// Old is the pair that is being replaced; nil for a first certificate.
	Old *Credential `json:"old,omitempty"`
	New Credential  `json:"new"`
	// Extra are further certificates of ours to remove, left by a rotation that
	// this one closed.
	Extra []Credential `json:"extra,omitempty"`
	// Told are certificates of others that a person told rotate to remove.
	Told []Told `json:"told,omitempty"`
	// DisplayName of the entry in Entra: NAME (rotate STORE/ROTATION).
	DisplayName string    `json:"display_name"`
	StartedAt   time.Time `json:"started_at"`
	// PhaseAt holds when each phase was recorded.
	PhaseAt map[Phase]time.Time `json:"phase_at"`
	EndedAt time.Time           `json:"ended_at,omitzero"`
	// Outcome says in one sentence how it ended.
	Outcome string `json:"outcome,omitempty"`

	Upload Upload `json:"upload"`
	// Absence counts reads without the new certificate, SignerAbsence reads
	// without the one that signs, SeenAbsence reads that lack an entry of
	// Upload.Seen.
	Absence       Absence `json:"absence,omitzero"`
	SignerAbsence Absence `json:"signer_absence,omitzero"`
	SeenAbsence   Absence `json:"seen_absence,omitzero"`
	Proof         Proof   `json:"proof,omitzero"`
	// Deliveries has one entry per delivery of the app, in order; it is made
	// when the first delivery begins.
	Deliveries []DeliveryResult `json:"deliveries,omitempty"`
	// HandOvers are the pairs that a person fetched, one entry per pair.
	HandOvers []HandOver `json:"hand_overs,omitempty"`
	// Reach is when the first delivery began: from then on a consumer may hold
	// the new pair. Zero: nobody has it.
	Reach time.Time `json:"reach,omitzero"`
	// StrayedAt is when a target was last seen to hold anything but the pair that was
	// delivered, or was written again; zero: never. A consumer may have read the other
	// one, so its times begin anew; see [turn.strayed].
	StrayedAt time.Time `json:"strayed_at,omitzero"`
	// Redeliver asks for the deliveries once more.
	Redeliver bool `json:"redeliver,omitempty"`
	// Confirmation is how the new pair was confirmed: automatic, command,
	// person, never; empty: not yet.
	Confirmation string `json:"confirmation,omitempty"`
	ConfirmedBy  string `json:"confirmed_by,omitempty"`
	// Note is what the person said who confirmed.
	Note      string    `json:"note,omitempty"`
	RetiresAt time.Time `json:"retires_at,omitzero"`
	// RemovalSentAt is when a removal was first sent that is not settled: it may
	// have been carried out. Zero: none is open.
	RemovalSentAt time.Time `json:"removal_sent_at,omitzero"`
	// Removing is the certificate of that removal; empty: the old one.
	Removing Thumbprint `json:"removing,omitempty"`
	// OwnSignIns are request IDs of the last sign-ins that this program made in the
	// rotation; only for apps with Evidence.
	OwnSignIns []string `json:"own_sign_ins,omitempty"`
	// Evidence is what the sign-in log showed last; nil: it was not asked.
	Evidence *Evidence `json:"evidence,omitempty"`
	// LeftBehind are certificates of ours that it left to a person.
	LeftBehind []Thumbprint `json:"left_behind,omitempty"`
	// Compromised is set when the rotation answers a compromise.
	Compromised *Compromise `json:"compromised,omitempty"`
	Back        *Back       `json:"back,omitempty"`

	// Trouble is the last failure of the step that runs now; nil if the last
	// attempt worked.
	Trouble *Trouble `json:"trouble,omitempty"`
	// WaitingFor is what a rotation without trouble waits for; see Waiting….
	WaitingFor string `json:"waiting_for,omitempty"`
	// WakeAt is when the rotation goes on; zero: a person must act.
	WakeAt time.Time `json:"wake_at,omitzero"`
	// LookedAt is when its facts were last compared with Entra.
	LookedAt time.Time `json:"looked_at,omitzero"`
	// LateSince is when it was first found past the last safe date.
	LateSince time.Time `json:"late_since,omitzero"`
	// Missing tells since when its certificate is known to be gone from Entra.
	Missing time.Time `json:"missing,omitzero"`
	// Unreadable tells that the app's list could not be read by who asks.
	Unreadable bool `json:"unreadable,omitempty"`
	// Noted is which facts of its tenant it has given.
	Noted Noted `json:"noted,omitzero"`
	// Seq grows with every record of the rotation.
	Seq int `json:"seq"`
	// Warnings that do not stop it, in plain words.
	Warnings []string `json:"warnings,omitempty"`
}

// What a rotation can wait for.
const (
	WaitingPropagation = "propagation"
	WaitingProof       = "proof"
	WaitingDelivery    = "delivery"
	WaitingReload      = "reload"
	WaitingCommand     = "command"
	WaitingPerson      = "person"
	WaitingOverlap     = "overlap"
	WaitingEvidence    = "evidence"
	WaitingWindow      = "window"
	WaitingPause       = "pause"
	WaitingLimit       = "upload_limit"
	WaitingAnswer      = "answer"
	WaitingRetry       = "retry"
)

// Upload is what is known about sending the certificate.
type Upload struct {
	// RequestedKeyID is the KeyID that the last PATCH asked for; empty with addKey
	// and where the tenant refuses one.
	RequestedKeyID KeyID `json:"chosen,omitempty"`
	// Way is addKey or patch, set before the request.
	Way string `json:"way,omitempty"`
	// SentAt is when it was last sent without an answer that settles it; zero:
	// nothing is open. It is durable before the request.
	SentAt time.Time `json:"sent_at,omitzero"`
	// Sends counts requests.
	Sends int `json:"sends,omitempty"`
	// Without are entries that have ended and that the next PATCH leaves out, for one
	// that sent them back was refused.
	Without []KeyID `json:"without,omitempty"`
	// Seen are the KeyIDs that any read of ours showed; a PATCH must resend
	// every one.
	Seen []KeyID `json:"seen,omitempty"`
}

// Ways to add a certificate.
const (
	WayAddKey = "addKey"
	WayPatch  = "patch"
)

// Absence counts reads that did not show an entry: presence is proof, absence
// is not.
type Absence struct {
	Reads int       `json:"reads,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

// Proof counts cold sign-ins with the new pair.
type Proof struct {
	Successes int       `json:"successes,omitempty"`
	Attempts  int       `json:"attempts,omitempty"`
	LastAt    time.Time `json:"last_at,omitzero"`
	// Unprovable tells that Conditional Access keeps both pairs from signing in
	// from this host.
	Unprovable bool `json:"unprovable,omitempty"`
}

// DeliveryResult is one delivery's record.
type DeliveryResult struct {
	Name string `json:"name"`
	// Thumbprint that the target was seen to hold, or that a hook was run for.
	Thumbprint Thumbprint `json:"thumbprint,omitempty"`
	At         time.Time  `json:"at,omitzero"`
	Error      string     `json:"error,omitempty"`
}

// Compromise names the pair that a person gave up.
type Compromise struct {
	// Which is current or next.
	Which      string     `json:"which"`
	Thumbprint Thumbprint `json:"thumbprint"`
	// CutNow removes it as soon as the fresh pair is proven.
	CutNow bool `json:"cut_now,omitempty"`
	// DoneAt is when the rotation had done its part: the removal was sent, left to a
	// person, or not needed. RemovedAt is when it was confirmed.
	DoneAt    time.Time `json:"done_at,omitzero"`
	RemovedAt time.Time `json:"removed_at,omitzero"`
}

// isDone reports whether the rotation has nothing more to do about it.
func (c *Compromise) isDone() bool { return !c.DoneAt.IsZero() || !c.RemovedAt.IsZero() }

// mayBeUploaded reports whether Entra may have the new certificate. A refusal settles
// the one request that it answers, not an earlier one.
func (r *Rotation) mayBeUploaded() bool {
	return !r.PhaseAt[PhaseUploaded].IsZero() || !r.Upload.SentAt.IsZero() || r.Upload.Sends > 1
}

// CutAt is when the removal of the certificate that a person gave up was confirmed;
// zero: it was not, or none was given up.
func (r *Rotation) CutAt() time.Time {
	if r.Compromised == nil || slices.Contains(r.LeftBehind, r.Compromised.Thumbprint) {
		return time.Time{}
	}
	return r.Compromised.RemovedAt
}

// Unconfirmed lists the certificates whose removal the rotation sent, or another one
// meanwhile, and that is not confirmed.
func (r *Rotation) Unconfirmed(now time.Time) []Credential {
	all := slices.Clone(r.Extra)
	if r.Old != nil {
		all = append(all, *r.Old)
	}
	all = append(all, r.New)
	for _, c := range r.Told {
		all = append(all, c.Credential)
	}
	return slices.DeleteFunc(all, func(c Credential) bool { return !c.IsUnconfirmed(now) })
}

// Back is the progress of a rotation that rolls back.
type Back struct {
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	From Phase     `json:"from"`
	// Proven tells that the previous pair got a token after the decision.
	Proven    bool             `json:"proven,omitempty"`
	Results   []DeliveryResult `json:"results,omitempty"`
	Delivered time.Time        `json:"delivered,omitzero"`
	Confirmed time.Time        `json:"confirmed,omitzero"`
	// Reason is why it was rolled back: person, vanished or compromised.
	Reason string `json:"reason"`
}
