package rotator

import "time"

// Status is what is due, running, waiting and failing.
type Status struct {
	At   time.Time
	Apps []AppStatus
	// Counts of all apps, or of those that were named.
	Counts Counts
	// PausedUntil, Stopped and ReadOnly are those of [State].
	PausedUntil time.Time
	Stopped     string
	ReadOnly    bool
	// LastCheck is zero before the first check.
	LastCheck      time.Time
	LastCheckError string
	// LastGoodCheck is when the last check without a failure ended; zero: none.
	LastGoodCheck time.Time
	// Problems are why somebody should look, one line each; none: all is well.
	Problems []string
	// NextCheck is zero where no schedule runs.
	NextCheck time.Time
	// Warnings of the whole store, in plain words.
	Warnings []string
}

// Counts are the numbers of apps.
type Counts struct {
	// Apps are all, Attention those that a person should look at, Open those with a
	// rotation that has not ended, Due those whose rotation should have started.
	Apps, Attention, Open, Due int
}

// AppStatus is one app's.
type AppStatus struct {
	App App
	// Policy in force.
	Policy Policy
	// Cloud is "custom cloud HOST" for a tenant with hosts of its own; empty
	// otherwise.
	Cloud string
	// Phase of the newest rotation, open or ended; empty if there was none.
	Phase Phase
	// Rotation is the newest one, open or ended; nil if there was none.
	Rotation *Rotation
	// Open tells that the rotation has not ended.
	Open bool
	// DueAt is when the next rotation should start; zero without a certificate
	// means at once.
	DueAt time.Time
	// LastSafeStart is the latest start after which confirmation and overlap no
	// longer fit.
	LastSafeStart time.Time
	// NotAfter of the current certificate; zero if there is none.
	NotAfter time.Time
	// Trouble of the open rotation, or why none could start; nil: none.
	Trouble *Trouble
	// WaitingFor is one of the Waiting… words; empty: nothing.
	WaitingFor string
	// WaitingUntil is when it goes on by itself; zero: a person must act.
	WaitingUntil time.Time
	// Deadline is the last date on which the old certificate still leaves the
	// overlap, while a person's confirmation is awaited; else zero.
	Deadline time.Time
	// NoDelivery tells that it is not rotated, because nothing would bring the new
	// key to its consumer.
	NoDelivery bool
	// Late tells that the last safe start has passed and nothing has replaced
	// the certificate.
	Late bool
	// Attention tells that a person should look.
	Attention bool
	Warnings  []string
}

// PlanItem is what the next check would do about one app.
type PlanItem struct {
	App string
	// Action in plain words: "start a rotation", "remove the old certificate".
	Action string
	// At is when; not after the plan's time: at the next check.
	At            time.Time
	LastSafeStart time.Time
	Mode          Mode
	// Held is why it would not happen; empty: it would.
	Held string
}

// CheckReport is what one check found and did.
type CheckReport struct {
	At time.Time
	// Started and Continued are apps; Held maps apps that are due to the reason
	// why they were not started.
	Started   []string
	Continued []string
	Held      map[string]string
	// Attention lists apps that a person should look at, with the reason.
	Attention map[string]string
	// Apps counts all tracked ones.
	Apps int
}
