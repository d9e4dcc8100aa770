package graph

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// verdict is what an answer means for the caller.
type verdict struct {
	class  rotator.Class
	reason rotator.Reason
	next   string
	// transient tells that the same request was seen to work a little later.
	transient bool
}

// fix makes a failure that a person must repair.
func (k call) fix(err error, next, format string, args ...any) *rotator.Failure {
	return &rotator.Failure{
		Class: rotator.ClassFix, Reason: rotator.ReasonOther, Err: err, Next: next,
		Message: k.prefix() + fmt.Sprintf(format, args...),
	}
}

func (k call) prefix() string {
	if k.App == "" {
		return "tenant " + k.Tenant + ": " + k.what + ": "
	}
	return "app " + k.App + ": " + k.what + ": "
}

// failure turns the end of an operation into a failure; nil if it worked.
func (c *Client) failure(k call, token *credential, x *exchange, err error) *rotator.Failure {
	var r *refused
	switch {
	case errors.As(err, &r):
		return tokenFailure(k, r)
	case x.err != nil:
		f := networkFailure(k.prefix(), x, token.redact)
		f.Ambiguous = k.write && !neverSent(x.err)
		return f
	case x.status >= http.StatusMultipleChoices:
		e := newError(x, token.redact)
		v := graphVerdict(k, e)
		return &rotator.Failure{
			Class: v.class, Reason: v.reason, Next: v.next, Err: e,
			Message:    k.prefix() + e.Error(),
			RetryAfter: e.RetryAfter, ServerTime: e.Date, Transient: v.transient,
			// A gateway's 408, or its page, may come after it passed the request on.
			Ambiguous: k.write && (e.StatusCode >= http.StatusInternalServerError || e.StatusCode == http.StatusRequestTimeout || e.isPage()),
		}
	case err != nil && x.sent:
		return &rotator.Failure{
			Class: rotator.ClassWait, Reason: rotator.ReasonOther, Err: errors.New(clean(err.Error())),
			Message:    k.prefix() + fmt.Sprintf("%d: the answer cannot be read: %s", x.status, clean(err.Error())),
			ServerTime: x.date(), Ambiguous: k.write,
		}
	case err != nil:
		return k.fix(errors.New(clean(err.Error())), "", "%s", clean(err.Error()))
	}
	return nil
}

// networkFailure is one without an answer, or without all of it.
func networkFailure(prefix string, x *exchange, redact func(string) string) *rotator.Failure {
	text := clean(redact(withoutURL(x.err).Error()))
	host := orElse(x.host, "the tenant's host")
	f := &rotator.Failure{
		Class: rotator.ClassRetry, Reason: rotator.ReasonNetwork, ServerTime: x.date(),
		Message: prefix + "no answer from " + host + ": " + text,
	}
	hidden := &noAnswer{text: text}
	f.Err = hidden
	var mine *unsent
	var untrusted *tls.CertificateVerificationError
	var long tooLong
	switch {
	case errors.As(x.err, &mine):
		f.Class, f.Reason, f.Message = rotator.ClassFix, rotator.ReasonOther, prefix+text
	case errors.As(x.err, &untrusted):
		f.Class, f.Reason, f.Message = rotator.ClassFix, rotator.ReasonOther, prefix+text
		f.Next = "for a cloud of your own set cloud.ca_file; behind a proxy that opens TLS add its root certificate to the system's"
	case errors.As(x.err, &long):
		f.Class, f.Reason, f.Message = rotator.ClassWait, rotator.ReasonOther, prefix+text
	case errors.Is(x.err, context.Canceled):
		f.Message, hidden.because = prefix+"interrupted", context.Canceled
	case errors.Is(x.err, context.DeadlineExceeded):
		f.Message, hidden.because = prefix+"no answer in time from "+host, context.DeadlineExceeded
	}
	return f
}

// noAnswer stands for an error of the network. The error itself is not kept:
// its text may quote what was sent.
type noAnswer struct {
	text string
	// because is the context's error if the context ended; else nil.
	because error
}

func (e *noAnswer) Error() string { return e.text }
func (e *noAnswer) Unwrap() error { return e.because }

// withoutURL strips what net/http puts around an error: the URL.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// graphVerdict is the table of what Graph's refusals mean.
// https://learn.microsoft.com/graph/errors
// https://learn.microsoft.com/graph/resolve-auth-errors
func graphVerdict(k call, e *Error) verdict {
	is := func(code string) bool { return e.Code == code || slices.Contains(e.Details, code) }
	says := func(text string) bool { return strings.Contains(e.Message, text) }
	wait := func(r rotator.Reason) verdict { return verdict{class: rotator.ClassWait, reason: r} }
	fix := func(r rotator.Reason, next string) verdict {
		return verdict{class: rotator.ClassFix, reason: r, next: next}
	}
	const clock = "set this host's clock: it differs from Entra's by more than 5 minutes"

	switch {
	case says("No credentials found to be removed"):
		// Seen in https://github.com/blackadi/GraphAPI_addKey_API_SP; the status
		// is not documented.
		return fix(rotator.ReasonNoSuchKey, "")
	case e.Code == "CannotUpdateLockedServicePrincipalProperty", strings.HasPrefix(e.Code, "CannotUpdateLockedServicePrincipalProperty"):
		return fix(rotator.ReasonOther, "the app instance property lock forbids the change; unlock the credentials of the app in the Entra admin centre")
	case is("CredentialInvalidLifetimeAsPerAppPolicy"), is("InvalidKeyEndDate"):
		// https://learn.microsoft.com/graph/api/resources/applicationauthenticationmethodpolicy
		return fix(rotator.ReasonPolicy, "shorten defaults.validity, or the validity of this app, to what the app management policy allows")
	case is("CredentialTypeNotAllowedAsPerAppPolicy"):
		return fix(rotator.ReasonOther, "the tenant's app management policy does not allow this kind of credential; an administrator must allow certificates for this app, or exempt it")
	case is("SignInAudienceNotAllowedAsPerAppPolicy"):
		return fix(rotator.ReasonOther, "the tenant's app management policy does not allow the app's supported account types; change them in the Entra admin centre under Authentication")
	case is("InvalidUniqueTenantIdentifierAsPerAppPolicy"):
		return fix(rotator.ReasonOther, "the tenant's app management policy does not allow an identifier URI of the app; it must contain the ID of the tenant or of the app: Entra admin centre, Expose an API")
	case strings.HasSuffix(e.Code, "AsPerAppPolicy"):
		return fix(rotator.ReasonOther, "the tenant's app management policy refuses the change; an administrator must exempt the app, or change the policy")
	case says("Permission being assigned already exists"), says("EntitlementGrant entry already exists"),
		says("added object references already exist"), is("Request_MultipleObjectsWithSameKeyValue"):
		// Not documented as codes; other tools compare the texts.
		// https://github.com/microsoftgraph/msgraph-bicep-types/issues/161
		return fix(rotator.ReasonExists, "")
	case says("does not reference a valid application object"), says("Not a valid reference update"):
		// Not replicated yet. https://github.com/hashicorp/go-azure-sdk, odata/errors.go
		return wait(rotator.ReasonStaleRead)
	case k.what == registerApp && (e.StatusCode == http.StatusNotImplemented || e.StatusCode == http.StatusMethodNotAllowed || says("Resource not found for the segment")):
		return fix(rotator.ReasonUnsupported, "")
	case is("KeyCredentialsInvalidEndDate"), says("Key credential end date is invalid"):
		// Often transient. https://github.com/microsoft/Microsoft365DSC/issues/3426
		v := fix(rotator.ReasonEndDate, "shorten the validity of this app: Entra does not accept a certificate for so long")
		v.transient = true
		return v
	case says("Invalid credential value"):
		return fix(rotator.ReasonOther, "Entra cannot read the certificate that was sent: rotate rollback "+k.App+", then rotate now "+k.App)
	case says("does not match schema"):
		return fix(rotator.ReasonOther, "Entra does not understand the list of certificates that was sent; report this message to the authors of rotate")
	case says("Update to existing credential"):
		return fix(rotator.ReasonOther, "another program changed the app's certificates at the same moment or stored one in an unusual form; remove that certificate or add the first certificate by hand")
	case is("Directory_ResourceSizeExceeded"):
		// Seen above 600 certificates. https://github.com/microsoftgraph/microsoft-graph-docs/issues/21469
		return fix(rotator.ReasonOther, "the app has too many certificates and secrets; remove those that have expired or are not used")
	case is("Directory_QuotaExceeded"):
		// https://github.com/microsoft/azure-tools-for-java/issues/585
		return fix(rotator.ReasonOther, "the tenant, or who asks, has reached its quota of directory objects; delete apps and other objects that are not used, or have the quota raised")
	case is("Authentication_RequestFromNonPremiumTenantOrB2CTenant"):
		return fix(rotator.ReasonUnsupported, "the tenant has no Entra ID P1 licence, so its sign-in log cannot be read; get one, or do without: rotate app edit "+k.App+" --evidence=false")
	case e.isPage() && e.StatusCode != http.StatusUnauthorized && (k.what != readSignIns || e.StatusCode != http.StatusNotFound):
		return e.page()
	case e.StatusCode == http.StatusUnauthorized && k.proof && e.Code == "Authentication_MissingOrMalformed":
		// The text speaks of the access token and means the proof.
		// https://github.com/microsoftgraph/microsoft-graph-docs-contrib/issues/1076
		if e.skewed() {
			return verdict{class: rotator.ClassClock, reason: rotator.ReasonBadProof, next: clock}
		}
		return wait(rotator.ReasonBadProof)
	case e.StatusCode == http.StatusUnauthorized && e.skewed():
		return verdict{class: rotator.ClassClock, reason: rotator.ReasonOther, next: clock}
	case e.StatusCode == http.StatusUnauthorized:
		return wait(rotator.ReasonOther)
	case e.StatusCode == http.StatusForbidden:
		return fix(rotator.ReasonForbidden, k.permission())
	case e.StatusCode == http.StatusNotFound && k.isMail():
		return fix(rotator.ReasonOther, "check \"from\" of the channel: it must be the address of a mailbox of the tenant")
	case k.what == readSignIns && (e.StatusCode == http.StatusNotFound || e.StatusCode == http.StatusNotImplemented):
		return fix(rotator.ReasonUnsupported, "this cloud has no such log; nothing but rotate app edit APP --evidence=false helps")
	case e.StatusCode == http.StatusNotFound && !k.probe:
		return verdict{class: rotator.ClassGone, reason: rotator.ReasonAppNotFound, next: fmt.Sprintf(
			"if the app was deleted on purpose: \"rotate app remove %s\"; otherwise restore it within 30 days in the Entra admin centre", k.App)}
	case e.StatusCode == http.StatusConflict, e.StatusCode == http.StatusPreconditionFailed, e.StatusCode == http.StatusLocked:
		return wait(rotator.ReasonConflict)
	case e.StatusCode == http.StatusTooManyRequests:
		return wait(rotator.ReasonThrottled)
	case e.StatusCode >= http.StatusInternalServerError, e.StatusCode == http.StatusRequestTimeout, e.StatusCode == http.StatusFailedDependency:
		return wait(rotator.ReasonUnavailable)
	}
	return fix(rotator.ReasonOther, "")
}

// isPage reports an answer that neither Graph nor the login host wrote: it has no
// code of theirs, and was refused as a gateway or proxy does.
func (e *Error) isPage() bool {
	return e.Code == "" && e.StatusCode >= http.StatusBadRequest && e.StatusCode < http.StatusInternalServerError &&
		e.StatusCode != http.StatusTooManyRequests && e.StatusCode != http.StatusRequestTimeout
}

// page is the verdict about such an answer: it says nothing about the app.
func (e *Error) page() verdict {
	return verdict{
		class: rotator.ClassRetry, reason: rotator.ReasonNetwork,
		next: "the answer is not from Microsoft: ask who runs the proxy or gateway of this host to let the request through",
	}
}

// permission says what a person must grant after a 403.
func (k call) permission() string {
	switch {
	case k.Admin != "":
		return k.role()
	case k.isMail():
		return fmt.Sprintf("grant the identity of tenant %q the application permission Mail.Send, and let it use this mailbox (RBAC for Applications in Exchange Online)", k.Tenant)
	case k.what == listRegistered:
		return fmt.Sprintf("grant the identity of tenant %q the application permission Application.Read.All (Application.ReadWrite.OwnedBy reads them too)", k.Tenant)
	case k.what == readSignIns:
		return fmt.Sprintf("grant the identity of tenant %q the application permission AuditLog.Read.All", k.Tenant)
	case k.what == readPolicies:
		return "grant the application permission Policy.Read.All, or set the validity to what the tenant's app management policy allows"
	case k.probe:
		return "grant the app the application permission that the probe needs, or remove the probe"
	case !k.As.IsZero() && k.write:
		return "the app may not roll its own key; check that the certificate it signs in with is valid, or use \"rotate app edit " + k.App + " --mode managed\""
	case !k.As.IsZero():
		return "grant the app a permission to read its own registration, such as Application.Read.All, or go on without"
	}
	return fmt.Sprintf("make the identity of tenant %q an owner of this app and grant it Application.ReadWrite.OwnedBy, or use \"rotate app edit %s --mode self\"", k.Tenant, k.App)
}

// role names what an administrator lacks after a 403.
// https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
func (k call) role() string {
	switch k.what {
	case giveConsent:
		return "consent to permissions of Microsoft Graph takes the Entra role \"Privileged Role Administrator\" or \"Global Administrator\" (an app: AppRoleAssignment.ReadWrite.All and Application.Read.All); sign in with it, or let somebody else consent: --no-consent"
	case readRoles, findApp, readPrincipal, readConsent, readOwners, readKeys:
		return "who signed in may not read applications; that takes the Entra role \"Application Administrator\" (an app: Application.Read.All)"
	}
	return "the Entra role \"Application Administrator\", \"Cloud Application Administrator\" or \"Global Administrator\" is missing (an app: Application.ReadWrite.OwnedBy or Application.ReadWrite.All)"
}
