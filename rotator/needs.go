package rotator

import (
	"context"
	"crypto/rsa"
	"time"
)

// Store keeps apps, the journal, the due index, the outbox, the audit trail
// and the sealed key pairs. Every method is one transaction; what was changed
// is durable when the method returned nil. All are safe for concurrent use.
type Store interface {
	// ID of the store: 8 lower-case hex digits, for ever the same.
	ID() string
	// App returns [ErrNotFound] if no app has the name.
	App(ctx context.Context, name string) (App, error)
	// Apps returns up to limit apps by name, those after the given name. A limit
	// of 0 means all.
	Apps(ctx context.Context, after string, limit int) ([]App, error)
	// AppByClientID returns [ErrNotFound] if none is tracked.
	AppByClientID(ctx context.Context, tenant string, id ClientID) (App, error)
	// CountApps is cheap.
	CountApps(ctx context.Context) (int, error)
	// Rotation returns [ErrNotFound] if there is no such rotation.
	Rotation(ctx context.Context, id string) (Rotation, error)
	// Rotations returns the newest rotations first, of one app or, with an empty
	// name, of all. A limit of 0 means all.
	Rotations(ctx context.Context, app string, limit int) ([]Rotation, error)
	// Due returns up to limit entries of one kind with At not after the instant,
	// earliest first. Its cost follows the number it returns.
	Due(ctx context.Context, kind WakeKind, until time.Time, limit int) ([]Wake, error)
	// DueAfter is Due of the entries that come behind one, which need not be there: by
	// their time, and at the same time by app. It begins with an entry without a time.
	DueAfter(ctx context.Context, after Wake, until time.Time, limit int) ([]Wake, error)
	// CountDue counts what Due returns without a limit, without keeping it.
	CountDue(ctx context.Context, kind WakeKind, until time.Time) (int, error)
	// Count returns how many entries of one kind there are. It is cheap, however many
	// there are.
	Count(ctx context.Context, kind WakeKind) (int, error)
	// NextDue returns the earliest entry of one kind; false if there is none.
	NextDue(ctx context.Context, kind WakeKind) (Wake, bool, error)
	// KeyPair unseals one; [ErrNotFound] if it is not (or no longer) held.
	KeyPair(ctx context.Context, t Thumbprint) (KeyPair, error)
	// HasKeyPair reports whether it is held, without unsealing.
	HasKeyPair(ctx context.Context, t Thumbprint) (bool, error)
	// State returns what holds for the whole store.
	State(ctx context.Context) (State, error)
	// Tenant returns what holds for one tenant; the zero value if it was not used
	// yet.
	Tenant(ctx context.Context, name string) (TenantState, error)
	// Tenants returns every one that was used, by name.
	Tenants(ctx context.Context) (map[string]TenantState, error)
	// Moved reports that the database file is a copy or was restored: it is not
	// the file that this store was last settled in. The text says how it shows.
	Moved() (bool, string)
	// Settle makes the file as it lies now the store's home.
	Settle(ctx context.Context) error
	// Change reads the records of one app, lets change alter them, and writes
	// all of it in one transaction. With an empty app only the State is given.
	// An error from change leaves everything as it was and is returned as it is.
	Change(ctx context.Context, app string, change func(*Records) error) error
	// ChangeAll is Change for many apps in one transaction; an error leaves all
	// of them as they were.
	ChangeAll(ctx context.Context, apps []string, change func(app string, rec *Records) error) error
}

// Records are what one transaction sees and may alter.
type Records struct {
	// App is nil if it is not tracked; setting it nil removes it, setting it
	// adds or updates it.
	App *App
	// Rotation is the app's open rotation, nil if there is none; setting it
	// adds or updates it. It never disappears: ended ones are history.
	Rotation *Rotation
	// Closed is a second rotation to update in the same transaction: one that
	// the new one closed. Usually nil.
	Closed *Rotation
	State  *State
	// Tenant returns what holds for a tenant, to be altered, never nil without an
	// error. Only what was asked for is read and written: there may be thousands.
	Tenant func(name string) (*TenantState, error)
	// Seal are key pairs to keep.
	Seal []KeyPair
	// Forget are thumbprints whose sealed pair is to be deleted. The store
	// skips one that any app, open rotation or orphan still refers to.
	Forget []Thumbprint
	// Wakes replace the app's entries in the due index.
	Wakes []Wake
	// Audit and Events are added.
	Audit  []AuditEntry
	Events []Event
	// repeats are added to Events after the alerts were brought up to date.
	repeats []Event
}

// WakeKind tells what is to be done when the time has come.
type WakeKind string

const (
	// WakeStart means: the app's rotation is due to start.
	WakeStart WakeKind = "start"
	// WakeContinue means: its open rotation goes on.
	WakeContinue WakeKind = "continue"
	// WakeForget means: a sealed key may be deleted.
	WakeForget WakeKind = "forget"
	// WakeOpen lists every open rotation, at the time it was started.
	WakeOpen WakeKind = "open"
	// WakeRemoval means: a removal that was sent must be checked.
	WakeRemoval WakeKind = "removal"
	// WakeAlert means: the app's alerts must be looked at.
	WakeAlert WakeKind = "alert"
	// WakeAttention is from when on a person should look at the app.
	WakeAttention WakeKind = "attention"
	// WakeIdle lists the apps for which nothing happens by itself: those that have no
	// entry of the kinds start and continue, or whose rotation waits for a person.
	WakeIdle WakeKind = "idle"
)

// Wake is one entry of the due index.
type Wake struct {
	Kind WakeKind  `json:"kind"`
	At   time.Time `json:"at"`
	App  string    `json:"app"`
}

// State is what holds for the whole store. Every change of any app reads and
// writes it: what grows with the number of apps or tenants has no place here.
type State struct {
	// PausedUntil stops starts, deliveries and retirements of all apps.
	PausedUntil time.Time `json:"paused_until,omitzero"`
	// Stopped is why a person must say resume before anything starts or writes;
	// empty: nothing is stopped.
	Stopped   string    `json:"stopped,omitempty"`
	StoppedAt time.Time `json:"stopped_at,omitzero"`
	// ReadOnly tells that not even open rotations may write to Entra: the store
	// is a copy or was restored.
	ReadOnly bool `json:"read_only,omitempty"`
	// Starts count the unasked starts of the last 24 h, oldest first.
	Starts []HourlyStarts `json:"starts_by_hour,omitempty"`
	// FixStreak lists the apps in a row that failed as fix after their upload.
	FixStreak []string `json:"fix_streak,omitempty"`
	// Creations are apps whose creation has begun and not ended, by local name.
	Creations map[string]Creation `json:"creations,omitempty"`
	// Defaults is a digest of the policy defaults that the due index was built
	// with.
	Defaults string `json:"defaults,omitempty"`
	// Renewal is how far the due index is that is being renewed; zero: it is not.
	Renewal Renewal `json:"renewal,omitzero"`
	// LastCheck is when the last check ended, and its failure if it had one.
	LastCheck      time.Time `json:"last_check,omitzero"`
	LastCheckError string    `json:"last_check_error,omitempty"`
	// LastGoodCheck is when the last check without a failure ended.
	LastGoodCheck time.Time `json:"last_good_check,omitzero"`
	// Alerts are those of the whole store.
	Alerts []Alert `json:"alerts,omitempty"`
}

// Renewal of the due index, which goes on after a restart.
type Renewal struct {
	// Defaults is the digest of those that it is renewed for.
	Defaults string `json:"defaults"`
	// After is the last app whose entries were renewed; empty: none yet.
	After string `json:"after,omitempty"`
}

// HourlyStarts counts unasked starts: a count for each hour and no list of
// instants, which would be long.
type HourlyStarts struct {
	// Hour in which they happened, in UTC.
	Hour  time.Time `json:"hour"`
	Count int       `json:"count"`
}

// TenantState is what holds for one tenant.
type TenantState struct {
	// Hosts are its login and Graph hosts at its first use; zero: not used yet.
	Hosts Hosts `json:"hosts,omitzero"`
	// Inspection is the last look at it.
	Inspection Inspection `json:"inspection,omitzero"`
	// PatchChoosesKeyID tells that a PATCH was refused because of the KeyID of its
	// new entry: none is sent any more.
	PatchChoosesKeyID bool `json:"patch_chooses_key_id,omitempty"`
	// Facts are what it was seen to do; nil: nothing yet. It is replaced, never
	// altered: readers may hold it.
	Facts *TenantFacts `json:"facts,omitempty"`
	// Verification is one that has not cleaned up; nil: there is none.
	Verification *Verification `json:"verification,omitempty"`
}

// Hosts are the addresses of one tenant's cloud.
type Hosts struct {
	Login string `json:"login"`
	Graph string `json:"graph"`
}

// Entra asks Entra ID and Microsoft Graph. Failures are [*Failure]. Every
// method has a deadline of its own and is safe for concurrent use. No method
// repeats a request that changes something: the engine decides that.
type Entra interface {
	// Hosts of a tenant; [ErrNoTenant] if the configuration has no such tenant.
	Hosts(tenant string) (Hosts, error)
	// SignIn gets a cold token with the pair (a new credential object, no
	// shared cache) and asks each probe path with it. The error is that of the
	// token; results of probes are in the answer.
	SignIn(ctx context.Context, app Registration, pair KeyPair, probes []string) (SignIn, error)
	// SignInTo gets a cold token with the pair for another audience than Graph, given
	// by its scope, and throws it away. Of the answer only At and RequestID are set.
	SignInTo(ctx context.Context, app Registration, pair KeyPair, scope string) (SignIn, error)
	// Keys reads the app's certificates. withKeys asks for the certificates
	// themselves, at most 150 times a minute and tenant.
	Keys(ctx context.Context, as Access, withKeys bool) (Listing, error)
	// Federated reads the app's federated credentials, which Keys does not show. A
	// Failure is "not known", never "none".
	Federated(ctx context.Context, as Access) ([]FoundCredential, error)
	// AddKey adds one certificate with a proof signed by pair proof, see Access.Proofs.
	// Entra chooses the KeyID; it is empty if the answer did not contain it.
	AddKey(ctx context.Context, as Access, proof KeyPair, add NewKey) (KeyID, error)
	// PatchKeys adds one certificate by replacing the list: it reads the list,
	// gives up with [ReasonStaleRead] if one of seen is not in it, and sends the
	// list with the new entry. For apps without any valid key of ours only. A
	// Failure with [ReasonKeyIDRefused] if Entra refuses add.KeyID; nothing was
	// changed then.
	PatchKeys(ctx context.Context, as Access, seen []KeyID, add NewKey) (KeyID, error)
	// RemoveKey removes one entry with a proof signed by pair proof.
	RemoveKey(ctx context.Context, as Access, proof KeyPair, id KeyID) error
	// LongestLifetime returns what the app management policies allow for a
	// certificate of the app and the policy's name; zero: no limit. A Failure
	// with [ReasonForbidden] if policies cannot be read.
	LongestLifetime(ctx context.Context, as Access) (time.Duration, string, error)
	// Grants reads the application permissions of the app.
	Grants(ctx context.Context, as Access) (Grants, error)
	// SignIns reads the log of the app's sign-ins, newest first. A Failure of
	// [ClassFix] if it may not or cannot be read: no permission, no licence, a
	// cloud without it.
	SignIns(ctx context.Context, as Access, q SignInQuery) ([]LoggedSignIn, error)
}

// Registration names one app registration.
type Registration struct {
	// App is the local name, for messages.
	App    string
	Tenant string
	// ObjectID may be empty for reading: ClientID is used then.
	ObjectID ObjectID
	ClientID ClientID
	// CorrelationID goes with each token request of the app's own pair, so that the
	// sign-in log tells them from the consumer's; empty: a fresh one each time.
	CorrelationID string
}

// Access is a registration and who asks.
type Access struct {
	Registration
	// As is the app's own pair (self mode). Zero: the tenant's identity.
	As KeyPair
	// Admin is the token of an administrator, who then asks instead of both; empty:
	// there is none.
	Admin Token
	// Proofs are the forms of a proof of possession that are tried in turn, the next one
	// only if the one before was refused as a proof; nil: the usual one.
	Proofs []ProofForm
}

// ProofForm is how a proof of possession names its certificate and is signed. All are
// signed by the same key, for the same app and as long.
type ProofForm string

// Forms of proofs. The first three were seen accepted by live tenants.
const (
	// ProofUsual has kid and x5t, and RS256.
	ProofUsual ProofForm = "usual"
	// ProofX5T has x5t only, ProofKid kid only.
	ProofX5T ProofForm = "x5t"
	ProofKid ProofForm = "kid"
	// ProofS256 has x5t#S256 only, ProofPS256 is the usual one with PS256.
	ProofS256  ProofForm = "x5t_s256"
	ProofPS256 ProofForm = "ps256"
)

// SignIn is what a token told.
type SignIn struct {
	// At is Entra's time: the Date of the answer. Zero: it had none.
	At time.Time
	// RequestID is that of the answer, lower case; the sign-in log has it as ID.
	RequestID string
	// Roles of the token, sorted.
	Roles  []string
	Probes []ProbeResult
}

// Grants are an app's application permissions, by name.
type Grants struct {
	// Declared are those that the registration asks for, Consented those that an
	// administrator agreed to.
	Declared, Consented []string
}

// ProbeResult is one probe call's end. Err is nil if it was answered with 2xx.
type ProbeResult struct {
	Path string
	Err  error
}

// Listing is one reading of an app.
type Listing struct {
	// At is Entra's time: the Date of the answer.
	At          time.Time
	ObjectID    ObjectID
	ClientID    ClientID
	DisplayName string
	Entries     []Entry
	// Secrets counts client secrets: foreign always. SecretEntries are they, as far
	// as Entra lists them.
	Secrets       int
	SecretEntries []Entry
}

// Entry is one element of keyCredentials.
type Entry struct {
	KeyID       KeyID
	DisplayName string
	NotBefore   time.Time
	NotAfter    time.Time
	// Thumbprint is that of the certificate if the reading asked for it; empty
	// otherwise.
	Thumbprint Thumbprint
	// Hint is the SHA-1 thumbprint, upper-case hex, that the entry's customKeyIdentifier
	// names; empty: none. Anybody can write it, so it proves nothing.
	Hint string
	// Usage is Verify for sign-in certificates.
	Usage string
}

// NewKey is a certificate to add.
type NewKey struct {
	// KeyID that a PATCH asks for; empty: Entra chooses. AddKey never sends one.
	KeyID       KeyID
	DisplayName string
	// Without are entries that a PATCH does not send back: they have ended, and an
	// alert named them.
	Without []KeyID
	// Certificate is DER.
	Certificate []byte
	NotBefore   time.Time
	NotAfter    time.Time
}

// Deliverer brings key pairs to targets and runs hooks.
type Deliverer interface {
	// Check reports what would keep a delivery from working, without changing
	// anything: a missing folder, a symbolic link, a hook that is not there.
	Check(ctx context.Context, d Delivery) error
	// Deliver makes the target hold the package's pair; done twice it changes
	// nothing the second time. A target that holds a certificate which is not
	// among known, or something else, is not overwritten unless d.Replace.
	Deliver(ctx context.Context, d Delivery, p Package) error
	// Holds returns what the target contains; zero if there is no target yet;
	// [ErrCannotTell] if the kind has no way to look. passwords are tried in turn.
	Holds(ctx context.Context, d Delivery, passwords []string) (Target, error)
	// Confirm runs a hook that exits 0 when the consumer uses the pair.
	Confirm(ctx context.Context, hook string, p Package) error
}

// Target is what a place was seen to contain.
type Target struct {
	// Thumbprint of the certificate in it; empty: there is nothing.
	Thumbprint Thumbprint
	// File is which very file it is: another one in its place has another, and so
	// has one that was written since. Empty: that cannot be known.
	File string
}

// Package is what a delivery brings.
type Package struct {
	App      string
	Tenant   string
	ClientID ClientID
	Rotation string
	Pair     KeyPair
	// Credential describes Pair in clear.
	Credential Credential
	// Encoding to use where the delivery names none.
	Encoding string
	// Previous is the pair that is being replaced; may be zero.
	Previous KeyPair
	// Known are thumbprints of ours: a target holding one may be overwritten.
	Known []Thumbprint
	// Passwords that open a target of ours.
	Passwords []string
}

// Encoder makes and opens the files that consumers get.
type Encoder interface {
	// Encode returns the file for one encoding; an unknown one is an error. name is
	// the friendly name of the key in it; empty: none.
	Encode(encoding string, key *rsa.PrivateKey, certificate []byte, chain [][]byte, password, name string) ([]byte, error)
	// Decode opens a file (PKCS#12 or PEM), checks that key and certificate
	// belong together ([ErrMismatch]), and returns the pair without Encoded. A
	// password that does not open it is [ErrWrongPassword].
	Decode(data []byte, password string) (KeyPair, error)
	// NewPassword returns a fresh random password.
	NewPassword() (string, error)
}

// Schedule tells when to wake next; robfig/cron's schedules have this method.
type Schedule interface {
	Next(after time.Time) time.Time
}
