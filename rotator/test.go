package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Results of a check.
const (
	CheckOK      = "ok"
	CheckWarning = "warning"
	CheckFailed  = "failed"
)

// TestCheck is one line of a connection test.
type TestCheck struct {
	Name string `json:"name"`
	// Result is ok, warning or failed.
	Result string `json:"result"`
	// Fact is what was seen, Next what to do.
	Fact string `json:"fact,omitempty"`
	Next string `json:"next,omitempty"`
}

// Tested is the last connection test of a tracked app.
type Tested struct {
	At     time.Time   `json:"at"`
	Checks []TestCheck `json:"checks"`
}

// Connection is an app registration with a pair, to be tested.
type Connection struct {
	// App's registration, Mode, Permissions and Probe are used. Without
	// Permissions nothing is said about them but what the token carries.
	App App
	// Pair, or File with Password if the pair lies in a file.
	Pair     KeyPair
	File     []byte
	Password string
	Policy   Policy
	// Untracked tells that the app is not in the store, so that no next step can
	// be a command about it.
	Untracked bool
	// Now is this host's clock; nil: [time.Now].
	Now func() time.Time
}

// Test checks one app's connection with the stored pair: everything that a
// consumer's own test button leaves unsaid. The result is kept with the app.
func (r *Rotator) Test(ctx context.Context, name string) ([]TestCheck, error) {
	app, err := r.appToAsk(ctx, name)
	if err != nil {
		return nil, err
	}
	c := Connection{App: app, Policy: policyOf(&app, r.settings().Defaults), Now: r.Now}
	if app.Current == nil {
		return []TestCheck{{"certificate", CheckWarning, "the app has no certificate of ours yet", "rotate now " + name}}, nil
	}
	if app.Mode == ModeMonitor {
		return []TestCheck{{"file", CheckWarning, "the app is only watched: nobody here holds its private key, so nobody here can sign in as it", "give its file: rotate app test --pfx FILE --password-file FILE …"}}, nil
	}
	use, err := r.inUse(ctx, &app)
	if err != nil {
		return nil, err
	}
	if c.Pair, err = r.Store.KeyPair(ctx, use.ThumbprintSHA256); err != nil {
		f := failureOf(err)
		return []TestCheck{{"file", CheckFailed, f.Message, f.Next}}, nil
	}
	c.Pair = c.Pair.Of(name)
	made := testConnection(ctx, r.settings().Entra, r.Encoder, c)
	tested := Tested{At: r.now().UTC(), Checks: made.checks}
	tested.Checks = append(tested.Checks, r.testTargets(ctx, &app, c.Pair)...)
	if app.Evidence {
		tested.Checks = append(tested.Checks, r.testSignInLog(ctx, &app))
	}
	err = r.change(ctx, name, func(rec *Records) error {
		if rec.App != nil { // it may have been removed meanwhile
			rec.App.Tested = &tested
			r.revive(rec, made.listing.shows, tested.At)
		}
		return nil
	})
	if err != nil {
		r.log().WarnContext(ctx, "the result of the connection test is not kept", "app", name, "err", err)
	}
	return tested.Checks, nil
}

// testTargets looks at the files that the consumer reads. A hook or a person cannot be
// looked at.
func (r *Rotator) testTargets(ctx context.Context, app *App, use KeyPair) []TestCheck {
	passwords, next := []string{use.Password}, Thumbprint("")
	if app.Rotation != "" {
		if rot, err := r.Store.Rotation(ctx, app.Rotation); err == nil {
			next = rot.New.ThumbprintSHA256
		}
		if pair, err := r.Store.KeyPair(ctx, next); err == nil {
			passwords = append(passwords, pair.Of(app.Name).Password)
		}
	}
	var checks []TestCheck
	add := func(result, fact, next string) {
		checks = append(checks, TestCheck{"delivery", result, fact, next})
	}
	for _, d := range app.Deliveries {
		target, err := r.settings().Deliverer.Holds(ctx, d, passwords)
		held := target.Thumbprint
		switch f := failureOf(err); {
		case errors.Is(err, ErrCannotTell):
		case err != nil:
			add(CheckFailed, f.Message, f.Next)
		case held == "":
			add(CheckWarning, d.Path+" is not there yet", "the next rotation writes it: rotate now "+app.Name)
		case held == use.Thumbprint():
			add(CheckOK, d.Path+" holds the certificate in use", "")
		case held == next:
			add(CheckOK, d.Path+" holds the new certificate of the rotation that is open", "")
		default:
			add(CheckFailed, d.Path+" holds another certificate than the one in use", "find out who wrote it; the next rotation writes the new one: rotate now "+app.Name)
		}
	}
	return checks
}

// testSignInLog looks whether the log that is asked before a removal can be read.
func (r *Rotator) testSignInLog(ctx context.Context, app *App) TestCheck {
	_, err := r.settings().Entra.SignIns(ctx, Access{Registration: app.registration()}, SignInQuery{Most: 1})
	if f := failureOf(err); err != nil {
		return TestCheck{"sign-in log", CheckWarning, "it cannot be read, so it will prove nothing before a removal: " + f.Message, f.Next}
	}
	return TestCheck{"sign-in log", CheckOK, "can be read", ""}
}

// tester makes the checks of one connection.
type tester struct {
	Connection
	entra  Entra
	checks []TestCheck
	// credential describes the pair.
	credential Credential
	// signIn is the cold sign-in, failed why there was none.
	signIn SignIn
	failed *Failure
	// listing is the app's list, where it could be read.
	listing Listing
}

// TestConnection tests a connection without a store. It changes nothing.
func TestConnection(ctx context.Context, entra Entra, encoder Encoder, c Connection) []TestCheck {
	return testConnection(ctx, entra, encoder, c).checks
}

func testConnection(ctx context.Context, entra Entra, encoder Encoder, c Connection) *tester {
	t := &tester{Connection: c, entra: entra}
	if !t.open(encoder) {
		return t
	}
	t.dates(clockOf(c.Now))
	t.token(ctx)
	t.registered(ctx)
	t.permissions(ctx)
	for _, p := range t.signIn.Probes {
		if f := failureOf(p.Err); p.Err != nil {
			t.add("probe "+p.Path, CheckFailed, f.Message, f.Next)
		} else {
			t.add("probe "+p.Path, CheckOK, "answered", "")
		}
	}
	t.policy(ctx)
	t.daysLeft(clockOf(c.Now))
	return t
}

func (t *tester) add(name, result, fact, next string) {
	t.checks = append(t.checks, TestCheck{name, result, fact, next})
}

// open looks at the file: does it open, do key and certificate belong together?
func (t *tester) open(encoder Encoder) bool {
	file, password := t.File, t.Password
	if t.File == nil {
		password = t.Pair.Password
		if file = t.Pair.Encoded[t.Policy.Encoding]; file == nil {
			for _, encoded := range t.Pair.Encoded {
				file = encoded
			}
		}
	}
	if file != nil {
		pair, err := encoder.Decode(file, password)
		switch {
		case err != nil && errors.Is(err, ErrMismatch):
			t.add("file", CheckOK, "opens with its password", "")
			t.add("key", CheckFailed, "the private key does not belong to the certificate in the file", "export the PFX again, with the key of this very certificate")
			return false
		case errors.Is(err, ErrWrongPassword):
			t.add("file", CheckFailed, "the PFX does not open: "+err.Error(), "give the password that was set when the file was made; if it is lost, make a new certificate")
			return false
		case err != nil:
			// What can be wrong with a file says itself what to do.
			fact, next, _ := strings.Cut(err.Error(), ": ")
			t.add("file", CheckFailed, "the file cannot be used: "+fact, next)
			return false
		}
		if !t.Pair.IsZero() && pair.Thumbprint() != t.Pair.Thumbprint() {
			t.add("file", CheckFailed, "the file holds another certificate than the store", "restore the store from a backup")
			return false
		}
		pair.Encoded, pair.Password = t.Pair.Encoded, password
		t.Pair = pair
	}
	credential, err := CredentialOf(t.Pair.Certificate)
	if err != nil {
		t.add("file", CheckFailed, err.Error(), "make a new certificate")
		return false
	}
	t.credential = credential
	t.add("file", CheckOK, "opens with its password; its certificate is "+credential.ThumbprintSHA1, "")
	t.add("key", CheckOK, fmt.Sprintf("RSA, %d bits, belongs to the certificate", t.Pair.Key.N.BitLen()), "")
	return true
}

func (t *tester) dates(now time.Time) {
	from, until := t.credential.NotBefore, t.credential.NotAfter
	switch {
	case now.After(until):
		t.add("dates", CheckFailed, "the certificate expired on "+until.Format(time.DateOnly), t.renew("make a new certificate and upload it to the app"))
	case now.Before(from):
		t.add("dates", CheckFailed, "the certificate is valid from "+from.Format(time.RFC3339)+" only", "look at this host's clock (timedatectl)")
	default:
		t.add("dates", CheckOK, fmt.Sprintf("valid from %s until %s", from.Format(time.DateOnly), until.Format(time.DateOnly)), "")
	}
}

// renew is the command that renews a tracked app, or what to do without one.
func (t *tester) renew(otherwise string) string {
	if t.Untracked {
		return otherwise
	}
	return "rotate now " + t.App.Name
}

// token signs in with a cold cache and says what a refusal means.
func (t *tester) token(ctx context.Context) {
	var got SignIn
	err := askAgain(ctx, t.App.isYoung(clockOf(t.Now)), func() (err error) {
		got, err = t.entra.SignIn(ctx, t.App.registration(), t.Pair, t.App.Probe)
		return err
	})
	t.signIn = got
	if err != nil {
		t.failed = failureOf(err)
		fact, next := t.refusal()
		switch t.failed.Reason { //nolint:exhaustive // the others are about the token
		case ReasonAppNotFound:
			t.add("tenant", CheckFailed, fact, next)
		default:
			t.add("token", CheckFailed, fact, next)
		}
	} else {
		t.add("token", CheckOK, fmt.Sprintf("a fresh sign-in works; the token carries %s", countOf(len(got.Roles), "permission")), "")
		t.add("tenant", CheckOK, "tenant and client ID are right", "")
	}
	at := got.At
	if t.failed != nil {
		at = t.failed.ServerTime
	}
	if at.IsZero() {
		return
	}
	if off := clockError(clockOf(t.Now), at); off.Abs() > maxClockError {
		t.add("clock", CheckFailed, "this host's clock is "+off.Abs().String()+" off Entra's", "set the clock (timedatectl)")
	} else {
		t.add("clock", CheckOK, "agrees with Entra's within "+off.Abs().String(), "")
	}
}

func countOf(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// refusal says in plain words why there was no token, one sentence a case.
func (t *tester) refusal() (fact, next string) {
	f := t.failed
	switch f.Reason { //nolint:exhaustive // the others say it themselves
	case ReasonAppNotFound:
		return fmt.Sprintf("the tenant %q knows no app with the client ID %s: the wrong tenant, the wrong client ID, or the app was deleted", t.App.Tenant, t.App.ClientID),
			"compare both with the app's Overview page in the Entra admin centre (" + `"Directory (tenant) ID", "Application (client) ID"` + ")"
	case ReasonNotRegistered:
		return "Entra does not know this certificate on the app: it was never uploaded, was removed, or this is the PFX of another app", t.upload()
	case ReasonBadSignature:
		return "the private key does not belong to the certificate that Entra holds for this thumbprint", "use the PFX that the uploaded certificate came from"
	case ReasonExpired:
		return "Entra calls the certificate expired", t.renew("make a new certificate and upload it to the app")
	case ReasonDisabled:
		return "the app is disabled in Entra, so it gets no token", "enable it: Entra admin centre, Enterprise applications, the app, Properties, \"Enabled for users to sign-in\""
	case ReasonBlocked:
		return "Conditional Access blocks the sign-in from this host; the certificate itself was accepted", "allow this host's address in the policy for workload identities, or test from the consumer's host"
	case ReasonNoTenant:
		return fmt.Sprintf("the tenant ID of %q does not exist in this cloud", t.App.Tenant), "compare tenants[].id and tenants[].cloud with the Overview page of the Entra admin centre"
	}
	return f.Message, f.Next
}

func (t *tester) upload() string {
	if t.Untracked {
		return "upload the .cer file: App registrations, the app, Certificates & secrets, Certificates"
	}
	return "find out who removed it; \"rotate now " + t.App.Name + " --force\" makes a new one if the app can still sign"
}

// access is who reads the app: the tenant's identity in managed mode, else the
// app itself.
func (t *tester) access() Access {
	as := Access{Registration: t.App.registration()}
	if t.App.Mode != ModeManaged {
		as.As = t.Pair
	}
	return as
}

// isYoung reports whether the identity's refusals may pass. That an app may not read
// itself is ordinary, whether it has just been accepted or not.
func (t *tester) isYoung() bool {
	return t.App.Mode == ModeManaged && (t.failed == nil || t.App.isYoung(clockOf(t.Now)))
}

// registered looks whether the certificate is on the app.
func (t *tester) registered(ctx context.Context) {
	const name = "registered"
	if t.failed != nil && t.App.Mode != ModeManaged {
		return // nobody can look; the refused token said all there is
	}
	var listing Listing
	err := askAgain(ctx, t.isYoung(), func() (err error) {
		listing, err = t.entra.Keys(ctx, t.access(), true)
		return err
	})
	t.listing = listing
	switch reason := reasonOf(err); {
	case err != nil && t.App.Mode != ModeManaged && (reason == ReasonForbidden || reason == ReasonAppNotFound):
		t.add(name, CheckOK, "the token service accepts it; the app may not read its own list", "")
		return
	case err != nil:
		f := failureOf(err)
		t.add(name, CheckFailed, f.Message, f.Next)
		return
	case slices.ContainsFunc(listing.Entries, func(e Entry) bool { return e.Thumbprint == t.credential.ThumbprintSHA256 }):
		t.add(name, CheckOK, fmt.Sprintf("listed on the app, among %s and %s", countOf(len(listing.Entries), "certificate"), countOf(listing.Secrets, "secret")), "")
		return
	case len(listing.Entries) == 0:
		t.add(name, CheckFailed, "the certificate was never uploaded: the app has none", t.upload())
		return
	}
	newest := slices.MaxFunc(listing.Entries, func(a, b Entry) int { return a.NotBefore.Compare(b.NotBefore) })
	t.add(name, CheckFailed, fmt.Sprintf("the PFX does not match: the app lists %s, and this one (%s) is not among them; the newest is %q, from %s",
		countOf(len(listing.Entries), "certificate"), t.credential.ThumbprintSHA1, newest.DisplayName, newest.NotBefore.Format(time.DateOnly)), t.upload())
}

// permissions says of each permission whether it is declared, consented and in
// the token, and names those that nobody asked for.
func (t *tester) permissions(ctx context.Context) {
	if t.failed != nil && t.App.Mode != ModeManaged {
		return
	}
	grants, err := t.entra.Grants(ctx, t.access())
	readable := err == nil
	for _, p := range t.App.Permissions {
		declared, consented, carried := slices.Contains(grants.Declared, p), slices.Contains(grants.Consented, p), slices.Contains(t.signIn.Roles, p)
		name := "permission " + p
		const grant = "API permissions, \"Grant admin consent\""
		switch {
		case carried && (!readable || declared && consented):
			t.add(name, CheckOK, t.seen(readable), "")
		case carried:
			t.add(name, CheckWarning, "in the token, but the registration does not declare it", "App registrations, the app, API permissions: add it there too, or the next \"Grant admin consent\" takes it away")
		case !readable:
			t.add(name, CheckFailed, "is not in the token: it is not declared, or admin consent is missing (which of them may not be read)", "App registrations, the app, API permissions: add it as an Application permission of Microsoft Graph, then "+grant)
		case consented && t.failed != nil:
			t.add(name, CheckOK, "declared and consented; without a token nothing more is known", "")
		case consented:
			t.add(name, CheckWarning, "consented, but not in the token yet", "wait some minutes: Entra has not spread the consent everywhere")
		case declared:
			t.add(name, CheckFailed, "is declared, but admin consent is missing", "App registrations, the app, "+grant)
		default:
			t.add(name, CheckFailed, "the permission is missing: the registration does not declare it", "App registrations, the app, API permissions: add it as an Application permission (not Delegated) of Microsoft Graph, then "+grant)
		}
	}
	if len(t.App.Permissions) == 0 {
		return
	}
	var beyond []string
	for _, p := range append(slices.Clone(grants.Consented), t.signIn.Roles...) {
		if !slices.Contains(t.App.Permissions, p) && !slices.Contains(beyond, p) {
			beyond = append(beyond, p)
		}
	}
	slices.Sort(beyond)
	if len(beyond) > 0 {
		t.add("least privilege", CheckWarning, "granted beyond what is asked for: "+strings.Join(beyond, ", "), "remove them if nothing else needs them")
	} else {
		t.add("least privilege", CheckOK, "nothing is granted beyond what is asked for", "")
	}
}

func (t *tester) seen(readable bool) string {
	if readable {
		return "declared, consented, in the token"
	}
	return "in the token; the app may not read what it declares"
}

// policy tells whether the tenant would refuse the next certificate.
func (t *tester) policy(ctx context.Context) {
	const name = "tenant policy"
	if t.failed != nil && t.App.Mode != ModeManaged {
		return
	}
	as := t.access()
	if as.ObjectID == "" {
		return
	}
	limit, policy, err := t.entra.LongestLifetime(ctx, as)
	switch {
	case err != nil:
		t.add(name, CheckWarning, "may not be read, so a refusal of the next certificate cannot be foreseen", "optional: grant Policy.Read.All to who reads the app")
	case limit > 0 && limit <= t.Policy.RenewBefore:
		t.add(name, CheckFailed, fmt.Sprintf("%s allows certificates for %s only; renewed %s before the end, each would be due at once", policy, days(limit), days(t.Policy.RenewBefore)),
			"lower renew_before of this app, or let the policy allow more")
	case limit > 0 && limit < t.Policy.Validity:
		t.add(name, CheckWarning, fmt.Sprintf("%s allows certificates for %s; the next one lives that long, not %s", policy, days(limit), days(t.Policy.Validity)),
			"set validity to "+days(limit))
	default:
		t.add(name, CheckOK, "accepts a certificate for "+days(t.Policy.Validity), "")
	}
}

// daysLeft tells how soon somebody must act.
func (t *tester) daysLeft(now time.Time) {
	const name = "days left"
	left := t.credential.NotAfter.Sub(now)
	fact := strconv.Itoa(wholeDays(t.credential.NotAfter, now))
	switch renewal := t.credential.NotAfter.Add(-t.Policy.RenewBefore); {
	case left <= 0:
		t.add(name, CheckFailed, "none", t.renew("make a new certificate and upload it to the app"))
	case now.After(renewal):
		t.add(name, CheckWarning, fact+"; renewal is due since "+renewal.Format(time.DateOnly), t.renew("make a new certificate in time"))
	default:
		t.add(name, CheckOK, fact+"; renewal on "+renewal.Format(time.DateOnly), "")
	}
}
