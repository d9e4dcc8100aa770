package config

// Policy is how certificates are rotated. What is nil or empty is inherited: an app's
// policy from the configuration's defaults, those from the built-in ones.
type Policy struct {
	Key          string       `yaml:"key,omitempty" about:"kind and length of new keys" enum:"rsa-2048|rsa-3072|rsa-4096"`
	Validity     *Duration    `yaml:"validity,omitempty" about:"lifetime of new certificates"`
	RenewBefore  *Duration    `yaml:"renew_before,omitempty" about:"how long before its end a certificate is replaced"`
	Prove        *Prove       `yaml:"prove,omitempty" about:"what a new key must show before it is delivered"`
	ReloadWithin *Duration    `yaml:"reload_within,omitempty" about:"how soon the consumer reads its files again; absent is 24h, or 1h when a program runs after the last file"`
	Overlap      *Duration    `yaml:"overlap,omitempty" about:"how long the old certificate is still accepted after the new one was confirmed"`
	KeepPrevious *Duration    `yaml:"keep_previous,omitempty" about:"how long a replaced key is kept, sealed"`
	Encoding     string       `yaml:"encoding,omitempty" about:"form of delivered files" enum:"modern|legacy-des|pem"`
	Window       *Window      `yaml:"window,omitempty" about:"when scheduled work may happen; absent is always"`
	Jitter       *Duration    `yaml:"jitter,omitempty" about:"spreads the apps' rotations over this time, the same way each year"`
	UploadLimit  *UploadLimit `yaml:"upload_limit,omitempty" about:"ceiling of certificate uploads per app"`
}

// Prove is what a new key must show before it is delivered. Nil is inherited.
type Prove struct {
	Successes *Count    `yaml:"successes,omitempty" about:"how many sign-ins must succeed"`
	Spacing   *Duration `yaml:"spacing,omitempty" about:"time between two of them"`
	Within    *Duration `yaml:"within,omitempty" about:"how long Entra may take to learn of a key"`
	// Scopes are asked besides Graph's own. Nil is inherited; an empty list is none.
	Scopes []string `yaml:"scopes,omitempty" about:"further audiences for which a sign-in must succeed, such as https://outlook.office365.com/.default"`
}

// UploadLimit is the largest number of uploads per app. Nil is inherited.
type UploadLimit struct {
	PerHour *Count `yaml:"per_hour,omitempty" about:"uploads in an hour"`
	PerDay  *Count `yaml:"per_day,omitempty" about:"uploads in a day"`
}

// Defaults is the policy of apps that say nothing else, and a limit for all together.
type Defaults struct {
	Policy `yaml:",inline"`

	// MaxStartsPerDay is 0 for the larger of 10 and 5 % of the apps.
	MaxStartsPerDay Count `yaml:"max_starts_per_day" about:"rotations of all apps that start unasked in a day; 0 is the larger of 10 and 5 % of the apps"`
}

// DefaultPolicy returns the built-in policy. ReloadWithin and Window are nil in it:
// the first depends on an app's deliveries, the second is "always".
func DefaultPolicy() Policy {
	days := func(n Duration) *Duration { return new(n * Duration(day)) }
	clock := func(s Duration) *Duration { return &s }
	const second = Duration(1e9)
	return Policy{
		Key:          "rsa-2048",
		Validity:     days(365),
		RenewBefore:  days(45),
		Prove:        &Prove{Successes: new(Count(3)), Spacing: clock(30 * second), Within: clock(6 * 3600 * second)},
		Overlap:      days(14),
		KeepPrevious: days(30),
		Encoding:     "modern",
		Jitter:       days(0),
		UploadLimit:  &UploadLimit{PerHour: new(Count(2)), PerDay: new(Count(4))},
	}
}

// Over returns the policy with what it leaves open taken from base, one key at a time:
// a policy that says only prove.successes keeps the other two of base.
func (p Policy) Over(base Policy) Policy {
	out := Policy{
		Key:          or(p.Key, base.Key),
		Validity:     or(p.Validity, base.Validity),
		RenewBefore:  or(p.RenewBefore, base.RenewBefore),
		Prove:        or(p.Prove, base.Prove),
		ReloadWithin: or(p.ReloadWithin, base.ReloadWithin),
		Overlap:      or(p.Overlap, base.Overlap),
		KeepPrevious: or(p.KeepPrevious, base.KeepPrevious),
		Encoding:     or(p.Encoding, base.Encoding),
		Window:       or(p.Window, base.Window),
		Jitter:       or(p.Jitter, base.Jitter),
		UploadLimit:  or(p.UploadLimit, base.UploadLimit),
	}
	if p.Prove != nil && base.Prove != nil {
		out.Prove = &Prove{
			Successes: or(p.Prove.Successes, base.Prove.Successes),
			Spacing:   or(p.Prove.Spacing, base.Prove.Spacing),
			Within:    or(p.Prove.Within, base.Prove.Within),
			Scopes:    p.Prove.Scopes,
		}
		if out.Prove.Scopes == nil {
			out.Prove.Scopes = base.Prove.Scopes
		}
	}
	if p.UploadLimit != nil && base.UploadLimit != nil {
		out.UploadLimit = &UploadLimit{
			PerHour: or(p.UploadLimit.PerHour, base.UploadLimit.PerHour),
			PerDay:  or(p.UploadLimit.PerDay, base.UploadLimit.PerDay),
		}
	}
	return out
}

// or returns the first value if it is not zero, else the second.
func or[T comparable](first, second T) T {
	var zero T
	if first != zero {
		return first
	}
	return second
}
