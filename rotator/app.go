package rotator

import (
	"slices"
	"strings"
	"time"
)

// ObjectID is Graph's id of an app registration: the one in URLs.
type ObjectID string

// ClientID is Entra's appId: the one people paste and programs sign in with.
type ClientID string

// KeyID is the GUID of one entry of keyCredentials, lower case. Empty means
// that nobody has told us.
type KeyID string

// Thumbprint is the SHA-256 of a certificate's DER in lower-case hex. It is
// the identity of a certificate everywhere in the program.
type Thumbprint string

// Mode tells who asks Entra to change an app's certificates.
type Mode string

const (
	// ModeSelf lets the app roll its own key with a proof signed by it. It
	// needs no permission.
	ModeSelf Mode = "self"
	// ModeManaged uses the tenant's identity, an owner of the app.
	ModeManaged Mode = "managed"
	// ModeMonitor only watches: nobody here holds the private key. Its end is told,
	// nothing is ever rotated. [Rotator.Add] with a file, or in managed mode, makes
	// it an app that is.
	ModeMonitor Mode = "monitor"
)

// Credential is a certificate of ours on one app: what the store may show in
// clear. The private key lies sealed under its thumbprint.
type Credential struct {
	// KeyID is empty while nobody could tell it.
	KeyID KeyID `json:"key_id,omitempty"`
	// RequestedKeyID is the KeyID that a PATCH asked for when KeyID is empty. Entra
	// may have kept it; removing it is safe, for it is a random GUID of ours.
	RequestedKeyID KeyID `json:"asked_key_id,omitempty"`
	// KeyIDByHand tells that a person gave KeyID: it may be corrected.
	KeyIDByHand bool `json:"key_id_by_hand,omitempty"`
	// ThumbprintSHA1 is upper-case hex, as portals show it.
	ThumbprintSHA1   string     `json:"thumbprint_sha1"`
	ThumbprintSHA256 Thumbprint `json:"thumbprint_sha256"`
	NotBefore        time.Time  `json:"not_before"`
	NotAfter         time.Time  `json:"not_after"`
	// Adopted tells that a person brought the pair; otherwise we made it.
	Adopted bool `json:"adopted,omitempty"`
	// GivenUp tells that a person called the private key compromised. Such a
	// pair is never delivered nor rolled back to.
	GivenUp bool `json:"given_up,omitempty"`
	// CutNow tells that the person accepted the outage: it goes as soon as another one
	// is proven.
	CutNow bool `json:"cut_now,omitempty"`
	// AddedAt is when it was last sent to be added; zero: long ago, or not by us.
	AddedAt time.Time `json:"added_at,omitzero"`
	// RemovalSentAt is when its removal was first sent; zero: it was not. From then
	// on nothing rests on it. RemovalFrom is the earliest time at which the removal
	// can be confirmed; zero: it cannot be checked from here.
	RemovalSentAt time.Time `json:"removal_sent_at,omitzero"`
	RemovalFrom   time.Time `json:"removal_from,omitzero"`
	// RemovedAt is when its removal was confirmed, see [isRemoved]; zero while its
	// entry may be there.
	RemovedAt time.Time `json:"removed_at,omitzero"`
	// LeftAt is when it was left on the app to a person: nobody could tell its KeyID.
	LeftAt time.Time `json:"left_at,omitzero"`
	// ForgetAt is when the sealed private key is deleted; zero: not yet known.
	ForgetAt time.Time `json:"forget_at,omitzero"`
}

// isLeaving reports whether nothing may rest on it any more: its removal was sent or
// confirmed, or it is left to a person.
func (c *Credential) isLeaving() bool {
	return !c.RemovalSentAt.IsZero() || !c.RemovedAt.IsZero() || !c.LeftAt.IsZero()
}

// IsUnconfirmed reports whether its removal was sent and may not have happened.
func (c *Credential) IsUnconfirmed(now time.Time) bool {
	return !c.RemovalSentAt.IsZero() && c.RemovedAt.IsZero() && c.LeftAt.IsZero() && now.Before(c.NotAfter)
}

// Orphan is a certificate of ours that is still on the app, or may be, and
// that a person must remove because nobody can tell us its KeyID.
type Orphan struct {
	Credential
	// Reason says in plain words why it was left behind.
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// App is one tracked app registration.
type App struct {
	// Name is local to the store and unique in it; see [CheckName].
	Name   string `json:"name"`
	Tenant string `json:"tenant"`
	// DisplayName is the registration's name in Entra; empty if unreadable.
	DisplayName string   `json:"display_name,omitempty"`
	ClientID    ClientID `json:"client_id"`
	// ObjectID is empty only in managed mode before the first reading.
	ObjectID ObjectID `json:"object_id,omitempty"`
	Mode     Mode     `json:"mode"`
	// Permissions are the application permissions its token must carry.
	Permissions []string       `json:"permissions,omitempty"`
	Tags        []string       `json:"tags,omitempty"`
	Owner       string         `json:"owner,omitempty"`
	Policy      PolicyOverride `json:"policy"`
	Deliveries  []Delivery     `json:"deliveries,omitempty"`
	// Consumers are who gets the app's pairs, and what each may hold; see
	// [keepConsumers].
	Consumers []Consumer `json:"consumers,omitempty"`
	// Probe are Graph paths below /v1.0 that are asked with GET to prove a pair.
	Probe   []string     `json:"probe,omitempty"`
	Confirm Confirmation `json:"confirm"`
	// HandOff tells a person how to bring a pair to the consumer.
	HandOff HandOffText `json:"handoff,omitzero"`

	// Current is the pair in service; nil before the first certificate of a
	// managed app.
	Current *Credential `json:"current,omitempty"`
	// Previous is the pair it replaced, until its sealed key was deleted.
	Previous *Credential `json:"previous,omitempty"`
	// Former are replaced pairs whose sealed key is still kept, without
	// Previous.
	Former  []Credential `json:"former,omitempty"`
	Orphans []Orphan     `json:"orphans,omitempty"`
	// Removals are certificates whose removal was sent: those that are not confirmed
	// yet, and the last that are.
	Removals []Removal `json:"removals,omitempty"`

	// Rotation is the ID of the open rotation; empty if none is open.
	Rotation string `json:"rotation,omitempty"`
	// LastRotation is the ID of the newest rotation, open or ended.
	LastRotation string `json:"last_rotation,omitempty"`
	// Uploads are the instants at which certificates were sent, not older than
	// a day. An entry is made before the request.
	Uploads []time.Time `json:"uploads,omitempty"`
	// Hold is why nothing starts unasked until a person forces it; empty: it
	// may.
	Hold string `json:"hold,omitempty"`
	// Differs is how it differed from Entra when the rest of a restored store went
	// on; empty: it did not. Nothing is written to Entra for it until a person
	// resumes it.
	Differs string `json:"differs,omitempty"`
	// LifetimeLimit is the longest certificate lifetime that the tenant's policy
	// was seen to allow; zero: unknown.
	LifetimeLimit time.Duration `json:"lifetime_limit,omitempty"`
	// Listed is what else was on the app at the last inspection; nil: it was never
	// inspected.
	Listed *Listed `json:"listed,omitempty"`
	// Preflight is the last look ahead at the next renewal; nil: none yet.
	Preflight *Preflight `json:"preflight,omitempty"`
	// Trouble is why no rotation could start; nil if nothing is wrong.
	Trouble     *Trouble  `json:"trouble,omitempty"`
	PausedUntil time.Time `json:"paused_until,omitzero"`
	// Tested is the last connection test; nil: there was none.
	Tested  *Tested   `json:"tested,omitempty"`
	AddedAt time.Time `json:"added_at"`
	AddedBy string    `json:"added_by,omitempty"`
	// Alerts are what lasts and was told, AlertsAt is when they were last looked
	// at; see [Rotator.Alerts].
	Alerts   []Alert   `json:"alerts,omitempty"`
	AlertsAt time.Time `json:"alerts_at,omitzero"`
	// SnoozedUntil holds warnings about the app back; zero: they are sent.
	SnoozedUntil time.Time `json:"snoozed_until,omitzero"`
	// Created is set if rotate made the registration.
	Created *Creation `json:"created,omitempty"`
	// Evidence asks the sign-in log, before a certificate is removed, whether the
	// consumer still uses it. Managed mode only.
	Evidence bool `json:"evidence,omitempty"`
	// Verify lets "rotate tenant verify --app" add and remove certificates of its own.
	Verify bool `json:"verify,omitempty"`
	// CorrelationID goes with each sign-in that this program makes as the app. It is
	// durable before the first of a rotation, so that no crash leaves one that the
	// log shows and nobody knows. Empty in records of older versions until the next
	// rotation.
	CorrelationID string `json:"correlation_id,omitempty"`
	// FriendlyName of the key in delivered files; empty: that of the pair in service.
	FriendlyName string `json:"friendly_name,omitempty"`
	// NewPassword asks the next rotation for a password of its own.
	NewPassword bool `json:"new_password,omitempty"`
	// NoConsumer tells that a person said: no program signs in with the app's pairs,
	// so that none has to get a new one. Without it, an app without a delivery is not
	// rotated; see [Rotator.lacksDelivery].
	NoConsumer bool `json:"no_consumer,omitempty"`
}

// Delivery kinds.
const (
	DeliverFile = "file"
	DeliverExec = "exec"
	// DeliverHandOff announces the pair to a person and waits: nothing is written
	// until somebody fetches it with [Rotator.HandOver].
	DeliverHandOff = "handoff"
)

// Delivery brings a key pair to one place.
type Delivery struct {
	// Kind is [DeliverFile], [DeliverExec] or [DeliverHandOff].
	Kind string `json:"kind"`
	// Path is the absolute path of the target file.
	Path string `json:"path,omitempty"`
	// Encoding of the file: modern, legacy-des or pem. Empty: the policy's.
	Encoding string `json:"encoding,omitempty"`
	// Mode holds the permission bits of the file in octal; empty: those of the
	// file that is there, else 0640 in a folder that was made for a group, else 0600.
	Mode string `json:"mode,omitempty"`
	// Group that owns the file; empty: the folder's rule.
	Group string `json:"group,omitempty"`
	// PasswordPath is a file that gets the PFX password; empty: none.
	PasswordPath string `json:"password_path,omitempty"`
	// Previous asks for a second file, Path plus ".previous", with the pair
	// that is being replaced.
	Previous bool `json:"previous,omitempty"`
	// Replace permits to overwrite a target that holds no certificate of ours.
	Replace bool `json:"replace,omitempty"`
	// Hook is the name of a program of the configuration.
	Hook string `json:"hook,omitempty"`
}

// Name tells people and the journal which delivery is meant: "file PATH",
// "exec HOOK" or "handoff".
func (d Delivery) Name() string {
	switch d.Kind {
	case DeliverExec:
		return d.Kind + " " + d.Hook
	case DeliverHandOff:
		return d.Kind
	}
	return d.Kind + " " + d.Path
}

// Confirmation rules.
const (
	ConfirmAutomatic = "automatic"
	ConfirmCommand   = "command"
	ConfirmPerson    = "person"
)

// Confirmation is an app's rule for "the consumer uses the new key".
type Confirmation struct {
	// Rule is [ConfirmAutomatic] (also when empty), [ConfirmCommand] or
	// [ConfirmPerson].
	Rule string `json:"rule,omitempty"`
	// Hook is the program that a command rule runs.
	Hook string `json:"hook,omitempty"`
}

// rule returns the rule as it is written; the zero value means automatic.
func (c Confirmation) rule() string {
	if c.Rule == "" {
		return ConfirmAutomatic
	}
	return c.Rule
}

// ConfirmRule is the app's rule in force. What is handed to a person is never confirmed
// by time: nobody but that person knows.
func (a *App) ConfirmRule() string {
	if rule := a.Confirm.rule(); rule != ConfirmAutomatic || !a.handsOff() {
		return rule
	}
	return ConfirmPerson
}

// givenUp returns a certificate that a person gave up, that is still accepted as far as
// is known, and that no removal is under way for; nil: there is none. While there is, the
// app is due.
func (a *App) givenUp(at time.Time) *Credential {
	for _, e := range ledgerOf(a, nil, &Policy{}, false).list {
		if e.GivenUp && !e.isLeaving() && at.Before(e.NotAfter) {
			return &e.Credential
		}
	}
	return nil
}

// handsOff reports whether a person brings the app's pairs to its consumer.
func (a *App) handsOff() bool {
	return slices.ContainsFunc(a.Deliveries, func(d Delivery) bool { return d.Kind == DeliverHandOff })
}

// knows reports whether the thumbprint is one of the app's own pairs, past or
// present. Rotations hold the next one.
func (a *App) knows(t Thumbprint) bool {
	if a.Current != nil && a.Current.ThumbprintSHA256 == t {
		return true
	}
	if a.Previous != nil && a.Previous.ThumbprintSHA256 == t {
		return true
	}
	if slices.ContainsFunc(a.Former, func(c Credential) bool { return c.ThumbprintSHA256 == t }) {
		return true
	}
	return slices.ContainsFunc(a.Orphans, func(o Orphan) bool { return o.ThumbprintSHA256 == t })
}

// maxNameBytes bounds an app's local name: it stands in file names and in the
// display name of keyCredentials entries, which hold 90 characters.
const maxNameBytes = 64

// CheckName reports what is wrong with an app's local name: 1 to 64 lower-case
// letters, digits, "-", "_" and ".", beginning and ending with a letter or
// digit.
func CheckName(name string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	switch {
	case name == "":
		return usagef("the app's name is empty; give it 1 to %d lower-case letters, digits, \"-\", \"_\" or \".\"", maxNameBytes)
	case len(name) > maxNameBytes:
		return usagef("the app's name %.20q… has %d characters; at most %d are allowed", name, len(name), maxNameBytes)
	case strings.Trim(name, letters+"-_.") != "",
		strings.IndexFunc(name, func(r rune) bool { return !strings.ContainsRune(letters+"-_.", r) }) >= 0:
		return usagef("the app's name %q may hold lower-case letters, digits, \"-\", \"_\" and \".\" only", name)
	case !strings.Contains(letters, name[:1]), !strings.Contains(letters, name[len(name)-1:]):
		return usagef("the app's name %q must begin and end with a letter or digit", name)
	}
	return nil
}
