package graph_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// A refusal is a refused addKey and what a person is to read of it.
type refusal struct {
	code, message string
	status        int
	reason        rotator.Reason
	next          string
}

// checkRefusals: what a person reads follows from the code, never from the status
// alone.
func checkRefusals(t *testing.T, refusals []refusal) {
	t.Helper()
	for _, c := range refusals {
		t.Run(c.code, func(t *testing.T) {
			w := newWorld(t, nil)
			w.sent.fail(on(http.MethodPost, "/addKey", emulator.Fault{Status: c.status, Code: c.code, Message: c.message}))
			_, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, newPair(t, 1, time.Hour)))
			f := failure(t, err)
			if f.Class != rotator.ClassFix || f.Reason != c.reason || !strings.Contains(f.Next, c.next) {
				t.Errorf("%v %v, next %q; want fix, %v and %q", f.Class, f.Reason, f.Next, c.reason, c.next)
			}
			if shorter := strings.Contains(f.Next, "shorten"); shorter != (c.reason == rotator.ReasonPolicy || c.reason == rotator.ReasonEndDate) {
				t.Errorf("next %q: a shorter validity is advice for the lifetime only", f.Next)
			}
			if f.Transient != (c.reason == rotator.ReasonEndDate) {
				t.Errorf("transient %v", f.Transient)
			}
		})
	}
}

// TestL4EndDate: the code or the text of a refused end date, which may pass.
func TestL4EndDate(t *testing.T) {
	checkRefusals(t, []refusal{
		{"KeyCredentialsInvalidEndDate", "Key credential end date is invalid.", 400, rotator.ReasonEndDate, "shorten the validity"},
		{"Request_BadRequest", "Key credential end date is invalid.", 400, rotator.ReasonEndDate, "shorten the validity"},
	})
}

// TestL5TwoLimits: too many credentials on the app, and a quota of objects, are two
// things; neither is a missing permission, which has the same status.
func TestL5TwoLimits(t *testing.T) {
	checkRefusals(t, []refusal{
		{"Directory_ResourceSizeExceeded", "The size of the object has exceeded its limit.", 403, rotator.ReasonOther, "too many certificates and secrets"},
		{"Directory_QuotaExceeded", "The directory object quota limit has been exceeded.", 403, rotator.ReasonOther, "quota of directory objects"},
		{"Authorization_RequestDenied", "Insufficient privileges to complete the operation.", 403, rotator.ReasonForbidden, "make the identity"},
	})
}

// TestL12BadCertificate: a certificate that cannot be read, and a list of the wrong
// shape.
func TestL12BadCertificate(t *testing.T) {
	checkRefusals(t, []refusal{
		{"Request_BadRequest", "Invalid credential value. Error: Cannot find the requested object.", 400, rotator.ReasonOther, "cannot read the certificate"},
		{"BadRequest", "Property keyCredentials in payload has a value that does not match schema.", 400, rotator.ReasonOther, "list of certificates"},
	})
}

// TestL14PolicyCodes: each policy has advice of its own; a shorter validity helps
// against the first only.
func TestL14PolicyCodes(t *testing.T) {
	checkRefusals(t, []refusal{
		{"CredentialInvalidLifetimeAsPerAppPolicy", "Refused.", 400, rotator.ReasonPolicy, "shorten defaults.validity"},
		{"CredentialTypeNotAllowedAsPerAppPolicy", "Refused.", 400, rotator.ReasonOther, "kind of credential"},
		{"SignInAudienceNotAllowedAsPerAppPolicy", "Refused.", 400, rotator.ReasonOther, "account types"},
		{"InvalidUniqueTenantIdentifierAsPerAppPolicy", "Refused.", 400, rotator.ReasonOther, "identifier URI"},
		{"SomethingElseAsPerAppPolicy", "Refused.", 403, rotator.ReasonOther, "app management policy refuses"},
	})
}

// TestL15NoLicence: a tenant without a licence for the log of sign-ins is named as
// such; granting a permission would not help.
func TestL15NoLicence(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.tenant.Grant(w.admin.ClientID, "AuditLog.Read.All"); err != nil {
		t.Fatal(err)
	}
	w.tenant.Configure(func(e *emulator.Tenant) { e.NoPremium = true })
	_, err := w.client.SignIns(t.Context(), w.managed(), rotator.SignInQuery{Most: 1})
	f := failure(t, err)
	if f.Class != rotator.ClassFix || !strings.Contains(f.Message, "Authentication_RequestFromNonPremiumTenantOrB2CTenant") ||
		!strings.Contains(f.Next, "licence") || strings.Contains(f.Next, "AuditLog") {
		t.Errorf("%v, next %q", f, f.Next)
	}
}

// TestB9GatewayPage: a page of a gateway says nothing about the app, whatever its
// status, for Graph and for the login host; after a write it is not known what
// became of it.
func TestB9GatewayPage(t *testing.T) {
	for _, status := range []int{400, 403, 404, 405, 407, 451} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
				return answer(r, status, "text/html", "<html>blocked by Contoso Web Gateway</html>"), nil
			}))
			_, addErr := w.client.AddKey(t.Context(), w.self(), w.pair, newKey(t, newPair(t, 1, time.Hour)))
			_, readErr := w.client.Keys(t.Context(), w.self(), false)
			for name, err := range map[string]error{"AddKey": addErr, "Keys": readErr} {
				f := failure(t, err)
				if f.Class != rotator.ClassRetry || f.Reason != rotator.ReasonNetwork || f.Ambiguous != (name == "AddKey") {
					t.Errorf("%d for %s: %v %v, ambiguous %v; want retry, network", status, name, f.Class, f.Reason, f.Ambiguous)
				}
				if strings.Contains(f.Next, "managed") || strings.Contains(f.Next, "permission") || !strings.Contains(f.Next, "proxy or gateway") {
					t.Errorf("%d for %s: next %q", status, name, f.Next)
				}
			}
		})
	}
}

// TestOldODataError keeps the text of the older form.
func TestOldODataError(t *testing.T) {
	w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
		return answer(r, 400, "application/json", `{"odata.error":{"code":"Request_BadRequest","message":{"lang":"en","value":"The text is here."}}}`), nil
	}))
	_, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, newPair(t, 1, time.Hour)))
	if f := failure(t, err); !strings.Contains(f.Message, "400 Request_BadRequest: The text is here.") {
		t.Errorf("message %q", f.Message)
	}
}

// TestB14NoServicePrincipal names the command that makes it.
func TestB14NoServicePrincipal(t *testing.T) {
	w := newWorld(t, nil)
	w.sent.fail(onToken(emulator.Fault{AADSTS: 7000229, Status: 400, Message: "The client application is missing service principal in the tenant."}))
	_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
	if f := failure(t, err); f.Class != rotator.ClassFix || !strings.Contains(f.Next, "az ad sp create --id "+w.app.ClientID) {
		t.Errorf("%v, next %q", f.Class, f.Next)
	}
}

// TestL11LongCertificate: there is no default limit of a lifetime.
func TestL11LongCertificate(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.client.AddKey(t.Context(), w.self(), w.pair, newKey(t, newPair(t, 1, 3650*24*time.Hour))); err != nil {
		t.Errorf("a certificate of 3650 days: %v", err)
	}
	limit, name, err := w.client.LongestLifetime(t.Context(), w.managed())
	if err == nil && limit != 0 {
		t.Errorf("limit %v by %q without a policy", limit, name)
	}
}
