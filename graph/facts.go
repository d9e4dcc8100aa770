package graph

import (
	"encoding/base64"
	"regexp"
	"strings"
	"time"

	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"github.com/seed-f0abd057/rotate/rotator"
)

var _ rotator.Observed = (*Client)(nil)

// Observations implements [rotator.Observed].
func (c *Client) Observations(tenant string) *rotator.TenantFacts {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.noted[tenant]
	delete(c.noted, tenant)
	return f
}

// note adds to what a tenant was seen to do.
func (c *Client) note(tenant string, what func(*rotator.TenantFacts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.noted[tenant]
	if f == nil {
		f = &rotator.TenantFacts{}
		c.noted[tenant] = f
	}
	what(f)
}

// noteFailure notes an answer that refused. What a person's probe asks says nothing
// about the tenant.
func (c *Client) noteFailure(k call, f *rotator.Failure) {
	if f == nil || k.probe || c.tenants[k.Tenant] == nil {
		return
	}
	e, ok := f.Err.(*Error) //nolint:errorlint // failure sets it bare
	if !ok {
		return
	}
	c.note(k.Tenant, func(facts *rotator.TenantFacts) {
		facts.Refused(e.Code, e.Message, e.at)
		if e.RetryAfter > 0 {
			facts.Took(rotator.SpanRetryAfter, e.RetryAfter)
		}
	})
}

// noteWrite notes how far the clock of who answered a write is from ours. Reads are
// left out: there are many, and they would say the same.
func (c *Client) noteWrite(k call, x *exchange) {
	date := x.date()
	if !k.write || date.IsZero() || c.tenants[k.Tenant] == nil {
		return
	}
	c.note(k.Tenant, func(f *rotator.TenantFacts) {
		// The header has whole seconds.
		f.Took(rotator.SpanSkew, max(date.Sub(x.at.Truncate(time.Second)).Abs()-time.Second, 0))
	})
}

// noteAdded notes the shape of addKey's answer; nil: it had none that can be read.
func (c *Client) noteAdded(k call, e models.KeyCredentialable) {
	c.note(k.Tenant, func(f *rotator.TenantFacts) {
		if e == nil || e.GetKeyId() == nil {
			f.Counted(rotator.CountAnswerNoKeyID)
			return
		}
		f.Counted(rotator.CountAnswerKeyID)
		if len(e.GetKey()) > 0 {
			f.Counted(rotator.CountAnswerKey)
		} else {
			f.Counted(rotator.CountAnswerKeyNull)
		}
		f.Counted(customIDForm(e.GetCustomKeyIdentifier()))
	})
}

// noteProof notes the forms of a proof that were refused for one request, and the one
// that was accepted then.
func (c *Client) noteProof(k call, refused []rotator.ProofForm, accepted rotator.ProofForm) {
	c.note(k.Tenant, func(f *rotator.TenantFacts) {
		for _, form := range refused {
			f.Counted(rotator.CountProofRefused + "_" + string(form))
		}
		f.Counted(rotator.CountProofAccepted + "_" + string(accepted))
	})
}

// customIDForm tells how customKeyIdentifier was written. The SDK decodes it as
// base64, which 40 hex digits happen to be.
func customIDForm(decoded []byte) string {
	text := base64.StdEncoding.EncodeToString(decoded)
	switch {
	case regexp.MustCompile(`^(?:[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$`).MatchString(strings.TrimRight(text, "=")):
		return rotator.CountCustomIDHex
	case len(decoded) == 20 || len(decoded) == 32:
		return rotator.CountCustomIDBase64
	}
	return rotator.CountCustomIDOther
}
