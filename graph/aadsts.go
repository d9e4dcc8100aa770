package graph

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// tokenFailure is a token that was not given. The request it was for was never
// made, so nothing is ambiguous.
func tokenFailure(k call, r *refused) *rotator.Failure {
	prefix := k.prefix() + r.by.who + ": "
	if k.cold {
		prefix = "app " + k.App + ": " + r.by.who + ": "
	}
	switch {
	case r.x.err != nil:
		return networkFailure(prefix, r.x, r.by.redact)
	case r.x.status >= http.StatusMultipleChoices:
		e := newError(r.x, r.by.redact)
		v := tokenVerdict(k, e)
		if !k.cold && k.As.IsZero() {
			v = v.ofIdentity(k)
		}
		return &rotator.Failure{
			Class: v.class, Reason: v.reason, Next: v.next, Err: e, Message: prefix + e.Error(),
			RetryAfter: e.RetryAfter, ServerTime: e.Date,
		}
	case r.x.sent && r.x.method == http.MethodPost:
		// The library's text may quote the answer, and the answer a token.
		return &rotator.Failure{
			Class: rotator.ClassWait, Reason: rotator.ReasonOther, Err: errors.New("the answer cannot be read"),
			Message:    prefix + fmt.Sprintf("%d: the answer of %s cannot be read as a token", r.x.status, r.x.host),
			ServerTime: r.x.date(),
		}
	}
	// Nothing was asked but the metadata, if that: the credential itself is
	// wrong, such as a token file that is not there.
	text := clean(r.by.redact(r.err.Error()))
	return &rotator.Failure{
		Class: rotator.ClassFix, Reason: rotator.ReasonOther, Err: errors.New(text), Message: prefix + text,
		Next: "check tenants[].identity in the configuration",
	}
}

// ofIdentity adapts a verdict to a token of the tenant's identity: then the
// refusal says nothing about the app, and reasons that would are taken away.
func (v verdict) ofIdentity(k call) verdict {
	if v.reason == rotator.ReasonThrottled || v.reason == rotator.ReasonUnavailable || v.reason == rotator.ReasonNetwork {
		return v
	}
	if v.class == rotator.ClassGone {
		v.class = rotator.ClassFix
	}
	v.reason = rotator.ReasonOther
	v.next = fmt.Sprintf("check the identity of tenant %q: its client ID, its certificate or secret, and the tenant ID", k.Tenant)
	return v
}

// tokenVerdict is the table of what the login host's refusals mean. Microsoft
// asks not to build on the texts; only the reason in brackets of 700027 and
// its relatives is looked at, because the code alone says too little.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func tokenVerdict(k call, e *Error) verdict {
	const clock = "set this host's clock: it differs from Entra's by more than 5 minutes"
	wait := func(r rotator.Reason) verdict { return verdict{class: rotator.ClassWait, reason: r} }
	fix := func(r rotator.Reason, next string) verdict {
		return verdict{class: rotator.ClassFix, reason: r, next: next}
	}
	says := func(text string) bool { return strings.Contains(e.Message, text) }

	switch e.number {
	case 700027, 50012, 50013:
		switch {
		case says("The key used is expired"):
			if e.skewed() {
				return verdict{class: rotator.ClassClock, reason: rotator.ReasonExpired, next: clock}
			}
			return fix(rotator.ReasonExpired, "rotate the app in managed mode, or add a new certificate by hand and adopt it")
		case says("did not match the expected signature"), says("use of the key to verify the signature failed"):
			return fix(rotator.ReasonBadSignature, "the private key does not belong to the certificate that Entra holds; adopt the right key pair")
		}
		// "The key was not found": not yet everywhere, or removed. The rotator
		// tells them apart by the time since the upload.
		return wait(rotator.ReasonNotRegistered)
	case 700024:
		// The assertion lives from now for 10 minutes: only a clock makes it invalid.
		return verdict{class: rotator.ClassClock, reason: rotator.ReasonOther, next: clock}
	case 1000502:
		if e.skewed() {
			return verdict{class: rotator.ClassClock, reason: rotator.ReasonExpired, next: clock}
		}
		return fix(rotator.ReasonExpired, "the certificate is not within its dates; rotate the app in managed mode, or adopt a valid key pair")
	case 7000214, 7000277:
		return fix(rotator.ReasonOther, "the certificate is revoked; rotate with --compromised current")
	case 7000274:
		return fix(rotator.ReasonOther, "Entra refuses the certificate's signature or dates; adopt a valid key pair")
	case 700030:
		return fix(rotator.ReasonOther, "the app accepts certificates by subject name and issuer only; register this certificate, or change the app's trusted subject names")
	case 50032:
		return fix(rotator.ReasonOther, "the RSA key is too weak for Entra; set key to rsa-2048 or longer")
	case 7000215, 7000222:
		return fix(rotator.ReasonOther, "the client secret is wrong or has expired; make a new one in the Entra admin centre")
	case 7000218, 50027, 50048, 70011:
		return fix(rotator.ReasonOther, "the request for the token was not understood; check the cloud of the tenant")
	case 700016:
		return verdict{class: rotator.ClassGone, reason: rotator.ReasonAppNotFound, next: "check client ID and tenant of the app; a deleted app can be restored within 30 days in the Entra admin centre"}
	case 7000229:
		return fix(rotator.ReasonOther, "make the service principal: az ad sp create --id "+string(k.ClientID))
	case 7000112:
		return fix(rotator.ReasonDisabled, "the app is disabled; enable it in the Entra admin centre under Enterprise applications")
	case 90002:
		return fix(rotator.ReasonNoTenant, "the tenant does not exist in this cloud; check tenants[].id and tenants[].cloud in the configuration")
	case 90038, 900382, 500011:
		return fix(rotator.ReasonOther, "the tenant lives in another national cloud; set tenants[].cloud in the configuration")
	case 53003:
		return fix(rotator.ReasonBlocked, "Conditional Access forbids sign-ins from this host; allow its address, or let the consumer prove the certificate")
	case 50196, 90055:
		return wait(rotator.ReasonThrottled)
	case 90033, 50033, 90006, 90012, 90024, 90090:
		return wait(rotator.ReasonUnavailable)
	}
	switch {
	case e.StatusCode == http.StatusTooManyRequests:
		return wait(rotator.ReasonThrottled)
	case e.StatusCode >= http.StatusInternalServerError, e.StatusCode == http.StatusRequestTimeout:
		return wait(rotator.ReasonUnavailable)
	case e.isPage():
		return e.page()
	}
	return fix(rotator.ReasonOther, "")
}
