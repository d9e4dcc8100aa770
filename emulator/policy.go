package emulator

import (
	"fmt"
	"net/http"
	"time"
)

// A Policy is an app management policy that limits how long certificates live
// (restriction asymmetricKeyLifetime).
//
// https://learn.microsoft.com/graph/api/resources/appmanagementpolicy
type Policy struct {
	// ID is the policy's GUID. If empty, a fresh one is made.
	ID string
	// DisplayName is what portals show. If empty, "certificate lifetime".
	DisplayName string
	// MaxLifetime is the longest time between start and end of a certificate.
	MaxLifetime time.Duration
	// CreatedAfter exempts apps made before it. If zero, none is exempt.
	CreatedAfter time.Time
	// Disabled turns the restriction off without removing the policy.
	Disabled bool
}

// restrictions returns the policy as keyCredentialConfiguration.
//
// https://learn.microsoft.com/graph/api/resources/keycredentialconfiguration
func (p *Policy) restrictions() []any {
	if p == nil {
		return []any{}
	}
	m := map[string]any{
		"excludeActors":                       nil,
		"maxLifetime":                         formatDuration(p.MaxLifetime),
		"restrictForAppsCreatedAfterDateTime": nil,
		"restrictionType":                     "asymmetricKeyLifetime",
		"state":                               "enabled",
	}
	if !p.CreatedAfter.IsZero() {
		m["restrictForAppsCreatedAfterDateTime"] = formatTime(p.CreatedAfter)
	}
	if p.Disabled {
		m["state"] = "disabled"
	}
	return []any{m}
}

// json returns a custom policy as Graph sends it.
func (p *Policy) json() map[string]any {
	return map[string]any{
		"deletedDateTime": nil,
		"description":     nil,
		"displayName":     p.DisplayName,
		"id":              p.ID,
		"isEnabled":       true,
		"restrictions": map[string]any{
			"applicationRestrictions": nil,
			"keyCredentials":          p.restrictions(),
			"passwordCredentials":     []any{},
		},
	}
}

// defaultPolicyJSON returns the tenant's default policy as Graph sends it.
func (d *directory) defaultPolicyJSON() map[string]any {
	restrictions := func() map[string]any {
		return map[string]any{"keyCredentials": d.defaultPolicy.restrictions(), "passwordCredentials": []any{}}
	}
	application := restrictions()
	application["identifierUris"] = nil
	return map[string]any{
		"applicationRestrictions":      application,
		"deletedDateTime":              nil,
		"description":                  "Default tenant policy that enforces app management restrictions on applications and service principals.",
		"displayName":                  "Default app management tenant policy",
		"id":                           d.policyID,
		"isEnabled":                    d.defaultPolicy != nil,
		"servicePrincipalRestrictions": restrictions(),
	}
}

// checkPolicy refuses a new certificate that lives longer than allowed. A custom
// policy of the app takes the place of the tenant's default.
//
// https://github.com/OfficeDev/microsoft-365-agents-toolkit/issues/10998 (seen for
// secrets; the same form for certificates is an inference).
func (d *directory) checkPolicy(o *object, k *keyCredential) *graphError {
	p := d.defaultPolicy
	if custom, ok := d.policies[o.policy]; ok {
		p = &custom
	}
	if p == nil || p.Disabled || o.createdAt.Before(p.CreatedAfter) || k.End.Sub(k.Start) <= p.MaxLifetime {
		return nil
	}
	id := p.ID
	if p == d.defaultPolicy {
		id = d.policyID
	}
	message := fmt.Sprintf("Credential lifetime exceeds the max value allowed as per assigned policy '%s'.", id)
	return &graphError{
		status: http.StatusBadRequest, code: "CredentialInvalidLifetimeAsPerAppPolicy", message: message,
		details: []map[string]any{{"code": "InvalidKeyEndDate", "message": message, "target": "EndDate"}},
	}
}

// formatDuration writes a duration as Graph does: whole days where possible.
func formatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return fmt.Sprintf("P%dD", d/day)
	}
	return fmt.Sprintf("P%dDT%dH%dM%dS", d/day, d%day/time.Hour, d%time.Hour/time.Minute, d%time.Minute/time.Second)
}
