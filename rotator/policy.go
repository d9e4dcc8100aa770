package rotator

import (
	"fmt"
	"strings"
	"time"
)

// Policy is how an app's certificate is rotated, with nothing left open.
type Policy struct {
	// KeyBits of the RSA key: 2048, 3072 or 4096.
	KeyBits  int
	Validity time.Duration
	// RenewBefore is how long before NotAfter a rotation is due.
	RenewBefore time.Duration
	Prove       ProvePolicy
	// ReloadWithin is how soon the consumer reads its files again.
	ReloadWithin time.Duration
	// Overlap is how long both certificates are accepted after confirmation.
	Overlap time.Duration
	// KeepPrevious is how long a replaced private key is kept, sealed.
	KeepPrevious time.Duration
	// Encoding of delivered files: modern, legacy-des, pem.
	Encoding string
	// Window gates scheduled work; nil: always.
	Window *Window
	// Jitter spreads due dates, deterministic per app.
	Jitter      time.Duration
	UploadLimit UploadLimit
}

// ProvePolicy is how a new pair is proven.
type ProvePolicy struct {
	// Successes in a row that are needed, at least 1.
	Successes int `json:"successes"`
	// Spacing between two of them.
	Spacing time.Duration `json:"spacing"`
	// Within is how long the token service may take to learn of a key.
	Within time.Duration `json:"within"`
}

// Window is a time span that opens by a cron expression in an IANA zone.
type Window struct {
	Cron     string        `json:"cron"`
	Duration time.Duration `json:"duration"`
	// Zone is an IANA name; empty: UTC.
	Zone string `json:"zone,omitempty"`
}

// UploadLimit is a ceiling per app that no bug can break.
type UploadLimit struct {
	PerHour int `json:"per_hour"`
	PerDay  int `json:"per_day"`
}

// PolicyOverride changes parts of a policy. Nil and empty fields inherit.
type PolicyOverride struct {
	KeyBits      int            `json:"key_bits,omitempty"`
	Validity     *time.Duration `json:"validity,omitempty"`
	RenewBefore  *time.Duration `json:"renew_before,omitempty"`
	Prove        *ProvePolicy   `json:"prove,omitempty"`
	ReloadWithin *time.Duration `json:"reload_within,omitempty"`
	Overlap      *time.Duration `json:"overlap,omitempty"`
	KeepPrevious *time.Duration `json:"keep_previous,omitempty"`
	Encoding     string         `json:"encoding,omitempty"`
	Window       *Window        `json:"window,omitempty"`
	Jitter       *time.Duration `json:"jitter,omitempty"`
	UploadLimit  *UploadLimit   `json:"upload_limit,omitempty"`
}

const day = 24 * time.Hour

// DefaultPolicy is the policy of an app for which nothing is said.
// ReloadWithin is left to the kind of its deliveries.
func DefaultPolicy() Policy {
	return Policy{
		KeyBits:      2048,
		Validity:     365 * day,
		RenewBefore:  45 * day,
		Prove:        ProvePolicy{Successes: 3, Spacing: 30 * time.Second, Within: 6 * time.Hour},
		ReloadWithin: day,
		Overlap:      14 * day,
		KeepPrevious: 30 * day,
		Encoding:     "modern",
		UploadLimit:  UploadLimit{PerHour: 2, PerDay: 4},
	}
}

// over returns the policy with the set fields of o in place of its own.
func (o PolicyOverride) over(p Policy) Policy {
	set := func(to *time.Duration, from *time.Duration) {
		if from != nil {
			*to = *from
		}
	}
	if o.KeyBits != 0 {
		p.KeyBits = o.KeyBits
	}
	set(&p.Validity, o.Validity)
	set(&p.RenewBefore, o.RenewBefore)
	set(&p.ReloadWithin, o.ReloadWithin)
	set(&p.Overlap, o.Overlap)
	set(&p.KeepPrevious, o.KeepPrevious)
	set(&p.Jitter, o.Jitter)
	if o.Prove != nil {
		p.Prove = *o.Prove
	}
	if o.Encoding != "" {
		p.Encoding = o.Encoding
	}
	if o.Window != nil {
		p.Window = o.Window
	}
	if o.UploadLimit != nil {
		p.UploadLimit = *o.UploadLimit
	}
	return p
}

// policyOf is the policy in force: what people wish, fitted to the longest lifetime
// that the tenant is known to allow.
func policyOf(app *App, defaults PolicyOverride) Policy {
	return wishOf(app, defaults).fitted(app.LifetimeLimit, app.ConfirmRule())
}

// policyWith is the policy in force for an open rotation: its certificate may live
// shorter than the tenant allows by now.
func policyWith(app *App, rot *Rotation, defaults PolicyOverride) Policy {
	p := policyOf(app, defaults)
	if rot.New.Adopted {
		return p // made by somebody else, for as long as they wanted
	}
	return p.fitted(rot.New.NotAfter.Sub(rot.New.NotBefore), app.ConfirmRule())
}

// fitted returns the policy for certificates that live no longer than limit; zero:
// nothing limits them. A certificate must not expire in its own overlap, and its
// successor needs its time: the overlap is at most a quarter of what the lifetime
// leaves after proof and confirmation, and the renewal begins in the second half.
// Whether a rotation fits at all is [Policy.checkLifetime].
func (p Policy) fitted(limit time.Duration, rule string) Policy {
	if limit <= 0 || limit >= p.Validity {
		return p
	}
	p.Validity = limit
	p.RenewBefore = min(p.RenewBefore, limit/2)
	p.Jitter = min(p.Jitter, limit/8)
	if p.Overlap > 0 {
		p.Overlap = max(min(p.Overlap, (limit-p.Prove.Within-p.lead(rule))/4), p.ReloadWithin)
	}
	return p
}

// checkLifetime refuses to make a certificate whose lifetime holds neither its own
// introduction nor that of its successor. p is fitted already.
func (p Policy) checkLifetime(app, rule string) error {
	need := 2*(p.Prove.Within+p.lead(rule)) + p.ReloadWithin
	if p.Validity >= need {
		return nil
	}
	return fix(ReasonTooShort,
		"let the tenant's app management policy allow certificates for longer, or lower prove.within and reload_within of this app",
		"app %s: the tenant allows certificates for %s only; proving (%s) and confirming (%s, rule %s) one and its successor take %s, so a new one would expire before its successor is in use; nothing was planned",
		app, days(p.Validity), days(p.Prove.Within), days(p.lead(rule)), rule, days(need))
}

// wishOf resolves an app's policy as people set it: built-in, then the
// configuration's defaults, then the app's own.
func wishOf(app *App, defaults PolicyOverride) Policy {
	p := DefaultPolicy()
	if execIsLast(app.Deliveries) {
		// A hook that runs after the last file makes the consumer reload.
		p.ReloadWithin = time.Hour
	}
	p = app.Policy.over(defaults.over(p))
	if p.Overlap > 0 {
		p.Overlap = max(p.Overlap, p.ReloadWithin)
	}
	return p
}

func execIsLast(deliveries []Delivery) bool {
	return len(deliveries) > 0 && deliveries[len(deliveries)-1].Kind == DeliverExec
}

// personLead is how long a person is given to hand a new pair over.
const personLead = 14 * day

// lead is how long confirmation may take by the app's rule.
func (p Policy) lead(rule string) time.Duration {
	if rule == ConfirmPerson {
		return min(personLead, p.RenewBefore/2)
	}
	return p.ReloadWithin
}

// retryMargin is the room kept for failures that pass.
func (p Policy) retryMargin() time.Duration { return min(2*day, p.RenewBefore/4) }

// Check reports a policy that cannot work, with the arithmetic. It judges the
// policy only, never the days that an adopted certificate has left.
func (p Policy) Check(rule string) error {
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	switch p.KeyBits {
	case 2048, 3072, 4096:
	default:
		add("key: RSA keys of %d bits are not offered; use rsa-2048, rsa-3072 or rsa-4096", p.KeyBits)
	}
	if p.Validity <= 0 {
		add("validity: %s is not a lifetime", days(p.Validity))
	}
	if p.RenewBefore+p.Jitter >= p.Validity {
		add("renew_before: %s (and jitter) is not shorter than validity %s: every new certificate would be due at once", days(p.RenewBefore), days(p.Validity))
	}
	if p.Prove.Successes < 1 {
		add("prove.successes: %d proves nothing; use 1 or more", p.Prove.Successes)
	}
	if need := time.Duration(p.Prove.Successes) * p.Prove.Spacing; need > p.Prove.Within {
		add("prove: %d sign-ins %s apart take %s, longer than within %s", p.Prove.Successes, days(p.Prove.Spacing), days(need), days(p.Prove.Within))
	}
	if p.UploadLimit.PerHour < 1 || p.UploadLimit.PerDay < 1 {
		add("upload_limit: per_hour %d and per_day %d must be at least 1", p.UploadLimit.PerHour, p.UploadLimit.PerDay)
	}
	if w := p.Window; w != nil && w.Duration <= 0 {
		add("window.duration: %s opens no window", days(w.Duration))
	}
	lead, margin := p.lead(rule), p.retryMargin()
	if need := p.Prove.Within + lead + margin + p.Overlap; need > p.RenewBefore {
		add("renew_before: %s cannot hold prove.within %s + confirmation (%s) %s + room for retries %s + overlap %s = %s; raise renew_before or lower the others",
			days(p.RenewBefore), days(p.Prove.Within), rule, days(lead), days(margin), days(p.Overlap), days(need))
	}
	if len(wrong) > 0 {
		return usagef("this policy cannot work: %s", strings.Join(wrong, "; "))
	}
	return nil
}

// days prints a duration as people write it: 45d, 36h, 1m30s.
func days(d time.Duration) string {
	switch {
	case d == 0:
		return "0s"
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d > 3*day:
		return fmt.Sprintf("%.1fd", d.Hours()/24)
	}
	s := d.Round(time.Millisecond).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
