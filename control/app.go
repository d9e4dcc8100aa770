package control

import (
	"log/slog"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Credential is a certificate of ours on an app.
type Credential struct {
	// KeyID is null while nobody could tell it.
	KeyID *string `json:"key_id"`
	// ThumbprintSHA1 is upper-case hex, ThumbprintSHA256 lower-case hex.
	ThumbprintSHA1   string    `json:"thumbprint_sha1"`
	ThumbprintSHA256 string    `json:"thumbprint_sha256"`
	NotBefore        time.Time `json:"not_before"`
	NotAfter         time.Time `json:"not_after"`
	// RemovalSentAt is when its removal was first sent, RemovalConfirmedFrom the
	// earliest time at which that can be confirmed, RemovedAt when it was; null: not.
	RemovalSentAt        *time.Time `json:"removal_sent_at,omitempty"`
	RemovalConfirmedFrom *time.Time `json:"removal_confirmed_from,omitempty"`
	RemovedAt            *time.Time `json:"removed_at,omitempty"`
}

// IsUnconfirmed reports whether its removal was sent and not confirmed, and it has
// not expired.
func (c *Credential) IsUnconfirmed(now time.Time) bool {
	return c != nil && c.RemovalSentAt != nil && c.RemovedAt == nil && now.Before(c.NotAfter)
}

func credentialOf(c *rotator.Credential) *Credential {
	if c == nil || c.ThumbprintSHA256 == "" {
		return nil
	}
	return &Credential{
		KeyID:            present(string(c.KeyID)),
		ThumbprintSHA1:   c.ThumbprintSHA1,
		ThumbprintSHA256: string(c.ThumbprintSHA256),
		NotBefore:        c.NotBefore.UTC(),
		NotAfter:         c.NotAfter.UTC(),

		RemovalSentAt: instant(c.RemovalSentAt), RemovalConfirmedFrom: instant(c.RemovalFrom), RemovedAt: instant(c.RemovedAt),
	}
}

// Removal is a certificate whose removal was sent.
type Removal struct {
	Credential
	// KeyIDs are the entries that were read to carry it.
	KeyIDs []string `json:"key_ids"`
	// Foreign tells that rotate did not make it.
	Foreign    bool   `json:"foreign,omitempty"`
	RotationID string `json:"rotation_id,omitempty"`
	// Sends counts requests, LastSentAt is the newest.
	Sends      int        `json:"sends"`
	LastSentAt *time.Time `json:"last_sent_at"`
	// SeenAt is when an answer last showed it on the app; null: none since.
	SeenAt *time.Time `json:"seen_at"`
	// NextCheck is null once it is settled.
	NextCheck *time.Time `json:"next_check"`
	// End is removed, expired or orphan; null: it is pending.
	End *string `json:"end"`
	// State says in plain words where it stands.
	State string `json:"state"`
}

func removalsOf(a *rotator.App) []Removal {
	removals := []Removal{}
	now := time.Now()
	for i := range a.Removals {
		m := &a.Removals[i]
		wire := Removal{
			KeyIDs: []string{}, Foreign: m.Foreign, RotationID: m.Rotation, Sends: m.Sends, LastSentAt: instant(m.LastSentAt),
			SeenAt: instant(m.SeenAt), NextCheck: instant(m.LookAt), End: present(m.End), State: m.State(a, now),
		}
		if c := credentialOf(&m.Credential); c != nil {
			wire.Credential = *c
		}
		for _, id := range m.KeyIDs {
			wire.KeyIDs = append(wire.KeyIDs, string(id))
		}
		removals = append(removals, wire)
	}
	return removals
}

// Orphan is a certificate of ours that a person must remove.
type Orphan struct {
	Credential
	// Reason why it was left behind, in plain words.
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// Delivery brings a key pair to one place.
type Delivery struct {
	// Kind is file, exec or handoff.
	Kind string `json:"kind"`
	// Path is absolute, on the daemon's host.
	Path     string `json:"path,omitempty"`
	Encoding string `json:"encoding,omitempty"`
	// Mode holds permission bits in octal.
	Mode         string `json:"mode,omitempty"`
	Group        string `json:"group,omitempty"`
	PasswordPath string `json:"password_path,omitempty"`
	Previous     bool   `json:"previous,omitempty"`
	Replace      bool   `json:"replace,omitempty"`
	// Hook is the name of a program of the configuration.
	Hook string `json:"hook,omitempty"`
}

// Confirm is the app's rule for "the consumer uses the new key".
type Confirm struct {
	// Rule is automatic, command or person.
	Rule string `json:"rule"`
	Hook string `json:"hook,omitempty"`
}

// App is one tracked app registration.
type App struct {
	Name        string `json:"name"`
	Tenant      string `json:"tenant"`
	DisplayName string `json:"display_name,omitempty"`
	ClientID    string `json:"client_id"`
	ObjectID    string `json:"object_id,omitempty"`
	// Mode is self or managed.
	Mode        string   `json:"mode"`
	Permissions []string `json:"permissions"`
	Tags        []string `json:"tags"`
	Owner       string   `json:"owner,omitempty"`
	// Policy holds what is set for this app, PolicyInForce all of it.
	Policy        Policy       `json:"policy"`
	PolicyInForce Policy       `json:"policy_in_force"`
	Deliveries    []Delivery   `json:"deliveries"`
	Probe         []string     `json:"probe"`
	Confirm       Confirm      `json:"confirm"`
	HandOff       *HandOffText `json:"handoff,omitempty"`
	// Evidence tells that the sign-in log is asked before a certificate is removed.
	Evidence bool `json:"evidence,omitempty"`
	// NoConsumer tells that a person said: no program signs in with its certificates.
	NoConsumer bool `json:"no_consumer,omitempty"`
	// Verify tells that "rotate tenant verify --app" may try its keys.
	Verify   bool         `json:"verify,omitempty"`
	Current  *Credential  `json:"current"`
	Previous *Credential  `json:"previous"`
	Former   []Credential `json:"former"`
	Orphans  []Orphan     `json:"orphans"`
	// Removals are certificates whose removal was sent, and the last that were confirmed.
	Removals []Removal `json:"removals"`
	// Others are the credentials on the app that rotate did not make; null: no
	// inspection has read the app yet.
	Others *Others `json:"others"`
	// RotationID is the open rotation; null: none.
	RotationID  *string    `json:"rotation_id"`
	PausedUntil *time.Time `json:"paused_until"`
	AddedAt     time.Time  `json:"added_at"`
	AddedBy     string     `json:"added_by,omitempty"`
	NewPassword bool       `json:"new_password,omitempty"`
	// FriendlyName of the key in delivered files, if it was set.
	FriendlyName string `json:"friendly_name,omitempty"`
}

// Apps is the answer to listing apps.
type Apps struct {
	Apps []App `json:"apps"`
}

func appOf(a rotator.App, policy *rotator.Policy) App {
	app := App{
		Name: a.Name, Tenant: a.Tenant, DisplayName: a.DisplayName,
		ClientID: string(a.ClientID), ObjectID: string(a.ObjectID), Mode: string(a.Mode),
		Permissions: list(a.Permissions), Tags: list(a.Tags), Owner: a.Owner,
		Policy: PolicyOf(a.Policy), Deliveries: []Delivery{}, Probe: list(a.Probe),
		Confirm: Confirm{a.Confirm.Rule, a.Confirm.Hook},
		Current: credentialOf(a.Current), Previous: credentialOf(a.Previous),
		Former: []Credential{}, Orphans: []Orphan{}, Removals: removalsOf(&a), Others: othersOf(a.Listed),
		RotationID: present(a.Rotation), PausedUntil: instant(a.PausedUntil),
		AddedAt: a.AddedAt.UTC(), AddedBy: a.AddedBy, NewPassword: a.NewPassword, Evidence: a.Evidence,
		NoConsumer: a.NoConsumer, Verify: a.Verify, FriendlyName: a.FriendlyName,
	}
	app.Confirm.Rule = a.ConfirmRule()
	if a.HandOff.Consumer != "" || len(a.HandOff.Steps) > 0 {
		app.HandOff = &HandOffText{a.HandOff.Consumer, a.HandOff.Steps}
	}
	if policy != nil {
		app.PolicyInForce = inForce(*policy)
	}
	for _, d := range a.Deliveries {
		app.Deliveries = append(app.Deliveries, Delivery(d))
	}
	for _, c := range a.Former {
		app.Former = append(app.Former, *credentialOf(&c))
	}
	for _, o := range a.Orphans {
		app.Orphans = append(app.Orphans, Orphan{*credentialOf(&o.Credential), o.Reason, o.Since.UTC()})
	}
	return app
}

// AppSpec is an app as a person declares it. PFX and Password are secrets: it
// prints as its name.
type AppSpec struct {
	Name        string      `json:"name"`
	Tenant      string      `json:"tenant"`
	ClientID    string      `json:"client_id"`
	ObjectID    string      `json:"object_id,omitempty"`
	KeyID       string      `json:"key_id,omitempty"`
	Mode        string      `json:"mode,omitempty"`
	Permissions []string    `json:"permissions,omitempty"`
	Tags        []string    `json:"tags,omitempty"`
	Owner       string      `json:"owner,omitempty"`
	Policy      Policy      `json:"policy"`
	Deliveries  []Delivery  `json:"deliveries,omitempty"`
	Probe       []string    `json:"probe,omitempty"`
	Confirm     Confirm     `json:"confirm"`
	HandOff     HandOffText `json:"handoff,omitzero"`
	Evidence    bool        `json:"evidence,omitempty"`
	// NoConsumer says that no program signs in with its certificates; an app without a
	// delivery needs it.
	NoConsumer bool `json:"no_consumer,omitempty"`
	// FriendlyName of the key in delivered files; empty: that of the adopted file.
	FriendlyName string `json:"friendly_name,omitempty"`
	// NewPassword has the first rotation make a password of its own.
	NewPassword bool `json:"new_password,omitempty"`
	Verify      bool `json:"verify,omitempty"`
	// PFX is a PKCS#12 or PEM file with the current pair, base64 in JSON; empty
	// in managed mode: the first pair is made.
	PFX      []byte `json:"pfx,omitempty"`
	Password string `json:"password,omitempty"`
	// Certificate is DER or PEM without a key: the app is only watched.
	Certificate []byte `json:"certificate,omitempty"`
}

// String names the app and shows nothing else.
func (s AppSpec) String() string { return "app " + s.Name }

// GoString is [AppSpec.String].
func (s AppSpec) GoString() string { return s.String() }

// LogValue is [AppSpec.String].
func (s AppSpec) LogValue() slog.Value { return slog.StringValue(s.String()) }

func (s AppSpec) spec() (rotator.AppSpec, error) {
	policy, err := s.Policy.override()
	if err != nil {
		return rotator.AppSpec{}, err
	}
	return rotator.AppSpec{
		Name: s.Name, Tenant: s.Tenant, ClientID: rotator.ClientID(s.ClientID),
		ObjectID: rotator.ObjectID(s.ObjectID), KeyID: rotator.KeyID(s.KeyID), Mode: rotator.Mode(s.Mode),
		Permissions: s.Permissions, Tags: s.Tags, Owner: s.Owner, Policy: policy,
		Deliveries: deliveries(s.Deliveries), Probe: s.Probe,
		Confirm: rotator.Confirmation(s.Confirm), HandOff: rotator.HandOffText(s.HandOff), Evidence: s.Evidence, PFX: s.PFX, Password: s.Password,
		Certificate: s.Certificate, NoConsumer: s.NoConsumer, Verify: s.Verify, FriendlyName: s.FriendlyName, NewPassword: s.NewPassword,
	}, nil
}

func deliveries(wire []Delivery) []rotator.Delivery {
	if wire == nil {
		return nil
	}
	list := make([]rotator.Delivery, len(wire))
	for i, d := range wire {
		list[i] = rotator.Delivery(d)
	}
	return list
}

// Added is the answer to tracking an app.
type Added struct {
	App App `json:"app"`
	// SignedIn tells that a sign-in with its certificate was made and accepted.
	SignedIn bool `json:"signed_in"`
	// Roles that its token carries.
	Roles []string `json:"roles"`
	// Found tells how IDs were found, in plain words.
	Found    []string `json:"found"`
	Warnings []string `json:"warnings"`
}

// Edit changes a tracked app; what is null or left out stays.
type Edit struct {
	Mode        *string      `json:"mode,omitempty"`
	ObjectID    *string      `json:"object_id,omitempty"`
	KeyID       *string      `json:"key_id,omitempty"`
	Permissions *[]string    `json:"permissions,omitempty"`
	Tags        *[]string    `json:"tags,omitempty"`
	Owner       *string      `json:"owner,omitempty"`
	Policy      *Policy      `json:"policy,omitempty"`
	Deliveries  *[]Delivery  `json:"deliveries,omitempty"`
	Probe       *[]string    `json:"probe,omitempty"`
	Confirm     *Confirm     `json:"confirm,omitempty"`
	HandOff     *HandOffText `json:"handoff,omitempty"`
	Evidence    *bool        `json:"evidence,omitempty"`
	NoConsumer  *bool        `json:"no_consumer,omitempty"`
	Verify      *bool        `json:"verify,omitempty"`
	// ForgetOrphan is the thumbprint, SHA-1 or SHA-256, of an orphan that a person
	// has removed.
	ForgetOrphan string `json:"forget_orphan,omitempty"`
	NewPassword  *bool  `json:"new_password,omitempty"`
	// FriendlyName of the key in files from the next rotation on.
	FriendlyName *string `json:"friendly_name,omitempty"`
	// Moved says that who read a delivery that was taken away, by this edit or before,
	// reads one of the others now, or is no more.
	Moved bool `json:"moved,omitempty"`
}

func (e Edit) edit() (rotator.Edit, error) {
	edit := rotator.Edit{
		Mode: (*rotator.Mode)(e.Mode), ObjectID: (*rotator.ObjectID)(e.ObjectID), KeyID: (*rotator.KeyID)(e.KeyID),
		Permissions: e.Permissions, Tags: e.Tags, Owner: e.Owner, Probe: e.Probe,
		Confirm: (*rotator.Confirmation)(e.Confirm), HandOff: (*rotator.HandOffText)(e.HandOff), ForgetOrphan: e.ForgetOrphan, NewPassword: e.NewPassword, Evidence: e.Evidence,
		NoConsumer: e.NoConsumer, Verify: e.Verify, FriendlyName: e.FriendlyName, Moved: e.Moved,
	}
	if e.Policy != nil {
		policy, err := e.Policy.override()
		if err != nil {
			return edit, err
		}
		edit.Policy = &policy
	}
	if e.Deliveries != nil {
		list := deliveries(*e.Deliveries)
		edit.Deliveries = &list
	}
	return edit, nil
}

// Edited is the answer to an edit.
type Edited struct {
	App App `json:"app"`
	// Changes are "field: old → new".
	Changes []string `json:"changes"`
}

// Removed is the answer to removing an app.
type Removed struct {
	// Left are certificates of ours that stay on the app in Entra.
	Left []Credential `json:"left"`
	// KeysKept tells that the sealed keys are still in the store.
	KeysKept bool `json:"keys_kept"`
}

// Tested is the answer to a connection test.
type Tested struct {
	Checks []TestCheck `json:"checks"`
}

// TestCheck is one line of it.
type TestCheck struct {
	Name string `json:"name"`
	// Result is ok, warning or failed.
	Result string `json:"result"`
	// Fact is what was seen, Next what to do.
	Fact string `json:"fact,omitempty"`
	Next string `json:"next,omitempty"`
}

// ApplyRequest declares many apps.
type ApplyRequest struct {
	Apps   []AppSpec `json:"apps"`
	DryRun bool      `json:"dry_run,omitempty"`
}

// Applied is the answer to it.
type Applied struct {
	Differences []Difference `json:"differences"`
}

// Difference is what applying one spec changes.
type Difference struct {
	App string `json:"app"`
	// Action is add, change or none.
	Action   string   `json:"action"`
	Fields   []string `json:"fields"`
	Warnings []string `json:"warnings"`
	// Error of this one app; null: none.
	Error *Error `json:"error"`
}

// present returns nil for the zero value.
func present[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// instant returns nil for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// list never returns nil, so that JSON shows [].
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
