package rotator

// AppSpec is an app as a person declares it.
type AppSpec struct {
	Name        string
	Tenant      string
	ClientID    ClientID
	ObjectID    ObjectID
	KeyID       KeyID
	Mode        Mode
	Permissions []string
	Tags        []string
	Owner       string
	Policy      PolicyOverride
	Deliveries  []Delivery
	Probe       []string
	Confirm     Confirmation
	HandOff     HandOffText
	Evidence    bool
	// FriendlyName of the key in delivered files; empty: that of the adopted pair.
	FriendlyName string
	// NewPassword allows a password that cannot be delivered: the first rotation
	// makes one of its own.
	NewPassword bool
	// Verify lets verifications try its keys.
	Verify bool
	// PFX is the file with the current pair (PKCS#12 or PEM); nil in managed
	// mode means that rotate makes the first pair of its own. Ignored for an
	// app that is tracked already.
	PFX      []byte
	Password string
	// NoConsumer says that no program signs in with the app's pairs.
	NoConsumer bool
	// Certificate is the public part alone, DER or PEM, of an app that is only
	// watched ([ModeMonitor]).
	Certificate []byte
}

// Edit changes a tracked app; nil fields stay.
type Edit struct {
	Mode        *Mode
	ObjectID    *ObjectID
	KeyID       *KeyID
	Permissions *[]string
	Tags        *[]string
	Owner       *string
	Policy      *PolicyOverride
	Deliveries  *[]Delivery
	Probe       *[]string
	Confirm     *Confirmation
	HandOff     *HandOffText
	Evidence    *bool
	// FriendlyName of the key in files delivered from the next rotation on.
	FriendlyName *string
	Verify       *bool
	// ForgetOrphan is a thumbprint (SHA-1 or SHA-256) that a person has removed in
	// the portal; empty: none.
	ForgetOrphan string
	// NewPassword asks the next rotation for a fresh PFX password.
	NewPassword *bool
	// NoConsumer says that no program signs in with the app's pairs, or takes that
	// back.
	NoConsumer *bool
	// Moved says that who read a delivery that was taken away, by this edit or before,
	// reads one of the others now, or is no more: nobody confirms for it.
	Moved bool
}

// Added is the answer to tracking an app.
type Added struct {
	App App
	// SignedIn tells that a sign-in with its certificate was made and accepted. It is
	// false without a file, for a certificate that has expired, and where Conditional
	// Access refuses this host.
	SignedIn bool
	// Roles that its token carries.
	Roles []string
	// Found tells how ObjectID and KeyID were found, in plain words.
	Found    []string
	Warnings []string
}

// RemoveRequest asks to stop tracking an app.
type RemoveRequest struct {
	// Purge deletes the sealed keys too.
	Purge bool
	// Abandon leaves an open rotation as it is.
	Abandon bool
}

// Removed is the answer to [Rotator.Remove].
type Removed struct {
	// Left are certificates of ours that stay on the app in Entra.
	Left []Credential
	// KeysKept tells that the sealed keys are still in the store.
	KeysKept bool
}

// Difference is what applying one spec changes.
type Difference struct {
	App string
	// Action is add, change or none.
	Action string
	// Fields are "field: old → new", without secrets.
	Fields []string
	// Warnings and Err of this one app; others go on.
	Warnings []string
	Err      error
}
