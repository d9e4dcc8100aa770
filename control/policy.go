package control

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// Policy is how an app's certificate is rotated. What is left out inherits from
// the configuration's defaults.
type Policy struct {
	// Key is rsa-2048, rsa-3072 or rsa-4096.
	Key         string    `json:"key,omitempty"`
	Validity    *Duration `json:"validity,omitempty"`
	RenewBefore *Duration `json:"renew_before,omitempty"`
	Prove       *Prove    `json:"prove,omitempty"`
	// ProveScopes are further audiences for which a sign-in must succeed. Absent is
	// inherited; an empty list is none.
	ProveScopes  *[]string    `json:"prove_scopes,omitempty"`
	ReloadWithin *Duration    `json:"reload_within,omitempty"`
	Overlap      *Duration    `json:"overlap,omitempty"`
	KeepPrevious *Duration    `json:"keep_previous,omitempty"`
	Encoding     string       `json:"encoding,omitempty"`
	Window       *Window      `json:"window,omitempty"`
	Jitter       *Duration    `json:"jitter,omitempty"`
	UploadLimit  *UploadLimit `json:"upload_limit,omitempty"`
}

// Prove is how a new pair is proven.
type Prove struct {
	Successes int      `json:"successes"`
	Spacing   Duration `json:"spacing"`
	Within    Duration `json:"within"`
}

// Window is a time span that opens by a cron expression.
type Window struct {
	Cron     string   `json:"cron"`
	Duration Duration `json:"duration"`
	// Zone is an IANA name; empty: UTC.
	Zone string `json:"zone,omitempty"`
}

// UploadLimit is a ceiling per app.
type UploadLimit struct {
	PerHour int `json:"per_hour"`
	PerDay  int `json:"per_day"`
}

const keyPrefix = "rsa-"

// PolicyOf turns an app's own policy into its wire form.
func PolicyOf(o rotator.PolicyOverride) Policy {
	p := Policy{
		Validity: durationOf(o.Validity), RenewBefore: durationOf(o.RenewBefore),
		ReloadWithin: durationOf(o.ReloadWithin), Overlap: durationOf(o.Overlap),
		KeepPrevious: durationOf(o.KeepPrevious), Jitter: durationOf(o.Jitter),
		Encoding: o.Encoding,
	}
	if o.KeyBits != 0 {
		p.Key = keyPrefix + strconv.Itoa(o.KeyBits)
	}
	if o.Prove != nil {
		p.Prove = &Prove{o.Prove.Successes, Duration(o.Prove.Spacing), Duration(o.Prove.Within)}
	}
	if o.ProveScopes != nil {
		p.ProveScopes = &o.ProveScopes
	}
	if o.Window != nil {
		p.Window = &Window{o.Window.Cron, Duration(o.Window.Duration), o.Window.Zone}
	}
	if o.UploadLimit != nil {
		p.UploadLimit = &UploadLimit{o.UploadLimit.PerHour, o.UploadLimit.PerDay}
	}
	return p
}

// inForce turns a policy with nothing left open into its wire form.
func inForce(p rotator.Policy) Policy {
	return PolicyOf(rotator.PolicyOverride{
		KeyBits: p.KeyBits, Validity: &p.Validity, RenewBefore: &p.RenewBefore, Prove: &p.Prove, ProveScopes: p.ProveScopes,
		ReloadWithin: &p.ReloadWithin, Overlap: &p.Overlap, KeepPrevious: &p.KeepPrevious,
		Encoding: p.Encoding, Window: p.Window, Jitter: &p.Jitter, UploadLimit: &p.UploadLimit,
	})
}

// override turns the wire form back; it returns [rotator.ErrUsage] for a key
// that is not of the form rsa-BITS.
func (p Policy) override() (rotator.PolicyOverride, error) {
	o := rotator.PolicyOverride{
		Validity: p.Validity.pointer(), RenewBefore: p.RenewBefore.pointer(),
		ReloadWithin: p.ReloadWithin.pointer(), Overlap: p.Overlap.pointer(),
		KeepPrevious: p.KeepPrevious.pointer(), Jitter: p.Jitter.pointer(),
		Encoding: p.Encoding,
	}
	if p.Key != "" {
		bits, err := strconv.Atoi(strings.TrimPrefix(p.Key, keyPrefix))
		if err != nil || !strings.HasPrefix(p.Key, keyPrefix) {
			return o, fmt.Errorf("policy: key %q is not offered; use rsa-2048, rsa-3072 or rsa-4096: %w", p.Key, rotator.ErrUsage)
		}
		o.KeyBits = bits
	}
	if p.Prove != nil {
		o.Prove = &rotator.ProvePolicy{Successes: p.Prove.Successes, Spacing: time.Duration(p.Prove.Spacing), Within: time.Duration(p.Prove.Within)}
	}
	if p.ProveScopes != nil {
		o.ProveScopes = *p.ProveScopes
		if o.ProveScopes == nil {
			o.ProveScopes = []string{}
		}
	}
	if p.Window != nil {
		o.Window = &rotator.Window{Cron: p.Window.Cron, Duration: time.Duration(p.Window.Duration), Zone: p.Window.Zone}
	}
	if p.UploadLimit != nil {
		o.UploadLimit = &rotator.UploadLimit{PerHour: p.UploadLimit.PerHour, PerDay: p.UploadLimit.PerDay}
	}
	return o, nil
}

func durationOf(d *time.Duration) *Duration {
	if d == nil {
		return nil
	}
	wire := Duration(*d)
	return &wire
}

func (d *Duration) pointer() *time.Duration {
	if d == nil {
		return nil
	}
	t := time.Duration(*d)
	return &t
}
