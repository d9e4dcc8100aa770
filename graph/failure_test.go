package graph_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestGraphRefusals has one row for each row of the table of refusals.
func TestGraphRefusals(t *testing.T) {
	const get, add, remove, patch = "get", "add", "remove", "patch"
	for _, c := range []struct {
		name      string
		on        string
		fault     emulator.Fault
		class     rotator.Class
		reason    rotator.Reason
		ambiguous bool
	}{
		{"no such key", remove, emulator.Fault{Status: 404, Code: "Request_ResourceNotFound", Message: "No credentials found to be removed"}, rotator.ClassFix, rotator.ReasonNoSuchKey, false},
		{"instance lock", patch, emulator.Fault{Status: 400, Code: "CannotUpdateLockedServicePrincipalProperty", Message: "Property keyCredentials is invalid."}, rotator.ClassFix, rotator.ReasonOther, false},
		{"policy", add, emulator.Fault{Status: 400, Code: "CredentialInvalidLifetimeAsPerAppPolicy", Message: "Credential lifetime exceeds the max value allowed as per assigned policy 'p'."}, rotator.ClassFix, rotator.ReasonPolicy, false},
		{"end date", add, emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: "Key credential end date is invalid."}, rotator.ClassFix, rotator.ReasonEndDate, false},
		{"changed entry", patch, emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: "Update to existing credential with KeyId 'x' is not allowed."}, rotator.ClassFix, rotator.ReasonOther, false},
		{"full", patch, emulator.Fault{Status: 403, Code: "Directory_QuotaExceeded", Message: "Full."}, rotator.ClassFix, rotator.ReasonOther, false},
		{"bad request", add, emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: "Other."}, rotator.ClassFix, rotator.ReasonOther, false},
		{"bad proof for addKey", add, emulator.Fault{Status: 401, Code: "Authentication_MissingOrMalformed", Message: "Access Token missing or malformed."}, rotator.ClassWait, rotator.ReasonBadProof, false},
		{"bad proof for removeKey", remove, emulator.Fault{Status: 401, Code: "Authentication_MissingOrMalformed", Message: "Access Token missing or malformed."}, rotator.ClassWait, rotator.ReasonBadProof, false},
		{"bad token", get, emulator.Fault{Status: 401, Code: "InvalidAuthenticationToken", Message: "Lifetime validation failed, the token is expired."}, rotator.ClassWait, rotator.ReasonOther, false},
		{"forbidden", patch, emulator.Fault{Status: 403, Code: "Authorization_RequestDenied", Message: "Insufficient privileges to complete the operation."}, rotator.ClassFix, rotator.ReasonForbidden, false},
		{"gone", get, emulator.Fault{Status: 404, Code: "Request_ResourceNotFound", Message: "Resource 'x' does not exist."}, rotator.ClassGone, rotator.ReasonAppNotFound, false},
		{"conflict", patch, emulator.Fault{Status: 409, Code: "Directory_ConcurrencyViolation", Message: "Concurrent."}, rotator.ClassWait, rotator.ReasonConflict, false},
		{"failed dependency", patch, emulator.Fault{Status: 424, Message: "Dependency."}, rotator.ClassWait, rotator.ReasonUnavailable, false},
		{"gateway gave up", patch, emulator.Fault{Status: 408, Message: "Timeout."}, rotator.ClassWait, rotator.ReasonUnavailable, true},
		{"throttled write", add, emulator.Fault{Status: 429, RetryAfter: 17 * time.Second}, rotator.ClassWait, rotator.ReasonThrottled, false},
		{"500 for a write", add, emulator.Fault{Status: 500}, rotator.ClassWait, rotator.ReasonUnavailable, true},
		{"502 for a write", remove, emulator.Fault{Status: 502}, rotator.ClassWait, rotator.ReasonUnavailable, true},
		{"504 for a write", patch, emulator.Fault{Status: 504, Done: true}, rotator.ClassWait, rotator.ReasonUnavailable, true},
		{"503 for a read", get, emulator.Fault{Status: 503}, rotator.ClassWait, rotator.ReasonUnavailable, false},
		{"lost answer of a write", add, emulator.Fault{LoseAnswer: true}, rotator.ClassRetry, rotator.ReasonNetwork, true},
		{"lost answer of a read", get, emulator.Fault{LoseAnswer: true}, rotator.ClassRetry, rotator.ReasonNetwork, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				method, suffix := http.MethodGet, w.app.ObjectID
				switch c.on {
				case add:
					method, suffix = http.MethodPost, "/addKey"
				case remove:
					method, suffix = http.MethodPost, "/removeKey"
				case patch:
					method = http.MethodPatch
				}
				w.sent.fail(on(method, suffix, c.fault))
				err := map[string]func() error{
					get: func() error { _, err := w.client.Keys(t.Context(), w.managed(), false); return err },
					add: func() error {
						_, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, w.pair))
						return err
					},
					remove: func() error { return w.client.RemoveKey(t.Context(), w.managed(), w.pair, w.keyID) },
					patch: func() error {
						_, err := w.client.PatchKeys(t.Context(), w.managed(), nil, newKey(t, newPair(t, 1, time.Hour)))
						return err
					},
				}[c.on]()
				f := failure(t, err)
				if f.Class != c.class || f.Reason != c.reason || f.Ambiguous != c.ambiguous {
					t.Errorf("%v, %v, ambiguous %v; want %v, %v, %v\n%s", f.Class, f.Reason, f.Ambiguous, c.class, c.reason, c.ambiguous, f.Message)
				}
				if !strings.HasPrefix(f.Message, "app contoso-sync: ") {
					t.Errorf("message %q does not begin with the app", f.Message)
				}
				if f.Class != rotator.ClassRetry {
					e, ok := errors.AsType[*graph.Error](err)
					if !ok || e.StatusCode != c.fault.Status || e.RequestID == "" || !strings.Contains(f.Message, e.RequestID) {
						t.Errorf("cause %#v: want status %d and a request ID that the message %q shows", e, c.fault.Status, f.Message)
					}
					if !strings.Contains(f.Message, c.fault.Message) {
						t.Errorf("message %q does not say %q", f.Message, c.fault.Message)
					}
					if f.ServerTime.IsZero() {
						t.Error("ServerTime is zero")
					}
				}
				if f.RetryAfter != c.fault.RetryAfter {
					t.Errorf("RetryAfter = %v, want %v", f.RetryAfter, c.fault.RetryAfter)
				}
				if n := len(w.sent.of(method, suffix)); c.on != get && n != 1 {
					t.Errorf("the write was sent %d times, want once", n)
				}
			})
		})
	}
}

// TestTokenRefusals has one row for each number of the table.
func TestTokenRefusals(t *testing.T) {
	const notFound = "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: 'AB']"
	for _, c := range []struct {
		number int
		text   string
		class  rotator.Class
		reason rotator.Reason
	}{
		{700027, notFound, rotator.ClassWait, rotator.ReasonNotRegistered},
		{50012, "Client assertion contains an invalid signature. [Reason - The key was not found.]", rotator.ClassWait, rotator.ReasonNotRegistered},
		{700027, "[Reason - The key used is expired., Found key 'Start=…, End=…']", rotator.ClassFix, rotator.ReasonExpired},
		{700027, "[Reason - The provided signature value did not match the expected signature value.]", rotator.ClassFix, rotator.ReasonBadSignature},
		{50013, "[Reason - Key was found, but use of the key to verify the signature failed.]", rotator.ClassFix, rotator.ReasonBadSignature},
		{700024, "Client assertion is not within its valid time range.", rotator.ClassClock, rotator.ReasonOther},
		{1000502, "The provided certificate is not within its specified valid time range.", rotator.ClassFix, rotator.ReasonExpired},
		{7000214, "Revoked.", rotator.ClassFix, rotator.ReasonOther},
		{7000277, "Revoked.", rotator.ClassFix, rotator.ReasonOther},
		{7000274, "Invalid.", rotator.ClassFix, rotator.ReasonOther},
		{700030, "Subject name.", rotator.ClassFix, rotator.ReasonOther},
		{50032, "Weak RSA key.", rotator.ClassFix, rotator.ReasonOther},
		{7000215, "Invalid client secret provided.", rotator.ClassFix, rotator.ReasonOther},
		{7000222, "The provided client secret keys are expired.", rotator.ClassFix, rotator.ReasonOther},
		{7000218, "The request body must contain client_assertion.", rotator.ClassFix, rotator.ReasonOther},
		{50027, "Bad JWT.", rotator.ClassFix, rotator.ReasonOther},
		{50048, "Subject must match issuer.", rotator.ClassFix, rotator.ReasonOther},
		{70011, "Invalid scope.", rotator.ClassFix, rotator.ReasonOther},
		{700016, "Application with identifier 'x' was not found in the directory 'y'.", rotator.ClassGone, rotator.ReasonAppNotFound},
		{7000229, "The client application x is missing service principal in the tenant y.", rotator.ClassFix, rotator.ReasonOther},
		{7000112, "Application 'x' is disabled.", rotator.ClassFix, rotator.ReasonDisabled},
		{90002, "Tenant 'x' not found.", rotator.ClassFix, rotator.ReasonNoTenant},
		{90038, "Other cloud.", rotator.ClassFix, rotator.ReasonOther},
		{900382, "Other cloud.", rotator.ClassFix, rotator.ReasonOther},
		{500011, "Resource not found.", rotator.ClassFix, rotator.ReasonOther},
		{53003, "Access has been blocked by Conditional Access policies.", rotator.ClassFix, rotator.ReasonBlocked},
		{50196, "Loop detected.", rotator.ClassWait, rotator.ReasonThrottled},
		{90055, "Tenant throttling error.", rotator.ClassWait, rotator.ReasonThrottled},
		{90033, "Transient.", rotator.ClassWait, rotator.ReasonUnavailable},
		{50033, "Transient.", rotator.ClassWait, rotator.ReasonUnavailable},
		{90006, "Transient.", rotator.ClassWait, rotator.ReasonUnavailable},
		{90012, "Transient.", rotator.ClassWait, rotator.ReasonUnavailable},
		{90024, "Transient.", rotator.ClassWait, rotator.ReasonUnavailable},
		{90090, "Transient.", rotator.ClassWait, rotator.ReasonUnavailable},
		{123456, "Nobody knows.", rotator.ClassFix, rotator.ReasonOther},
	} {
		t.Run(fmt.Sprint(c.number), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.sent.fail(onToken(emulator.Fault{AADSTS: c.number, Status: 400, Message: c.text}))
				_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
				f := failure(t, err)
				if f.Class != c.class || f.Reason != c.reason || f.Ambiguous {
					t.Errorf("%v %v, ambiguous %v; want %v %v\n%s", f.Class, f.Reason, f.Ambiguous, c.class, c.reason, f.Message)
				}
				if !strings.Contains(f.Message, fmt.Sprintf("AADSTS%d: %s", c.number, c.text)) ||
					strings.Contains(f.Message, "Trace ID") || !strings.Contains(f.Message, "contoso-sync") {
					t.Errorf("message %q: want app, number and text without trace IDs", f.Message)
				}
				if f.Class == rotator.ClassFix && f.Next == "" && c.number != 123456 {
					t.Error("a person must act and is not told what to do")
				}

				// The same for the tenant's identity says nothing about the app.
				_, err = w.client.Keys(t.Context(), w.managed(), false)
				f = failure(t, err)
				passes := c.reason == rotator.ReasonThrottled || c.reason == rotator.ReasonUnavailable
				if f.Class == rotator.ClassGone || !passes && f.Reason != rotator.ReasonOther {
					t.Errorf("for the identity: %v %v %q, want nothing about the app", f.Class, f.Reason, f.Message)
				}
				if !strings.Contains(f.Message, `identity of tenant "contoso"`) {
					t.Errorf("message %q does not name the identity", f.Message)
				}
			})
		})
	}
}

// TestDiscoveryRefusal: an unknown tenant is refused by the metadata already.
func TestDiscoveryRefusal(t *testing.T) {
	w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) { c.Tenants[0].ID = "99999999-0000-0000-0000-000000000000" })
	_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
	f := failure(t, err)
	if f.Class != rotator.ClassFix || !strings.Contains(f.Message, "AADSTS90002") || !strings.Contains(f.Next, "tenants[].id") {
		t.Errorf("%v %q next %q, want fix, AADSTS90002 and the setting", f.Class, f.Message, f.Next)
	}
}

// TestClockFailures: what depends on dates is a matter of the clock when the
// server's differs by more than 5 minutes.
func TestClockFailures(t *testing.T) {
	refuse := func(r *http.Request, status int, body string) *http.Response {
		a := answer(r, status, "application/json", body)
		a.Header.Set("Date", time.Now().Add(11*time.Minute).UTC().Format(http.TimeFormat))
		return a
	}
	w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
		return refuse(r, 401, `{"error":{"code":"Authentication_MissingOrMalformed","message":"Access Token missing or malformed."}}`), nil
	}))
	_, addErr := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, w.pair))
	_, readErr := w.client.Keys(t.Context(), w.managed(), false)
	late := func(body string) error {
		w := newWorld(t, func(_ *emulator.Tenant, c *graph.Config) {
			through := c.Tenants[0].Cloud.Transport
			c.Tenants[0].Cloud.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPost {
					return refuse(r, 401, body), nil
				}
				return through.RoundTrip(r)
			})
		})
		_, err := w.client.SignIn(t.Context(), w.registration(), w.pair, nil)
		return err
	}
	for name, err := range map[string]error{
		"addKey": addErr, "read": readErr,
		"1000502": late(`{"error":"invalid_client","error_description":"AADSTS1000502: Not within.","error_codes":[1000502]}`),
		"700027":  late(`{"error":"invalid_client","error_description":"AADSTS700027: [Reason - The key used is expired.]","error_codes":[700027]}`),
	} {
		f := failure(t, err)
		if f.Class != rotator.ClassClock || !strings.Contains(f.Next, "clock") {
			t.Errorf("%s: %v, next %q, want clock", name, f.Class, f.Next)
		}
		if ahead := time.Until(f.ServerTime); ahead < 10*time.Minute {
			t.Errorf("%s: ServerTime is %v ahead, want 11 minutes", name, ahead)
		}
	}
}

// TestAnswersOfProxies: the status of an answer that is no JSON is not lost.
func TestAnswersOfProxies(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		reason rotator.Reason
	}{
		{502, "<html>eyJhbGciOiJSUzI1NiJ9.secret.secret</html>", rotator.ReasonUnavailable},
		{403, "", rotator.ReasonNetwork},
		{302, "", rotator.ReasonOther},
	} {
		w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
			a := answer(r, c.status, "text/html", c.body)
			a.Header.Set("Location", "https://evil.test/")
			return a, nil
		}))
		_, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, w.pair))
		f := failure(t, err)
		if f.Reason != c.reason || !strings.Contains(f.Message, fmt.Sprint(c.status)) || strings.Contains(f.Message, "html") {
			t.Errorf("status %d: %v %q", c.status, f.Reason, f.Message)
		}
	}
}

// TestNetworkFailures: only what may have reached Graph is ambiguous.
func TestNetworkFailures(t *testing.T) {
	for _, c := range []struct {
		name      string
		err       error
		class     rotator.Class
		ambiguous bool
	}{
		{"refused", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, rotator.ClassRetry, false},
		{"proxy refused", &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("connection refused")}, rotator.ClassRetry, false},
		{"no such host", &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "entra.test"}}, rotator.ClassRetry, false},
		{"unknown certificate", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, rotator.ClassFix, false},
		{"reset", &net.OpError{Op: "read", Net: "tcp", Err: errors.New("connection reset by peer")}, rotator.ClassRetry, true},
		{"late", context.DeadlineExceeded, rotator.ClassRetry, true},
		{"with a URL", &url.Error{Op: "Post", URL: "https://user:password@entra.test/", Err: errors.New("broken")}, rotator.ClassRetry, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, instead(func(*http.Request) (*http.Response, error) { return nil, c.err }))
			_, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, w.pair))
			f := failure(t, err)
			if f.Class != c.class || f.Ambiguous != c.ambiguous {
				t.Errorf("%v, ambiguous %v; want %v, %v\n%s", f.Class, f.Ambiguous, c.class, c.ambiguous, f.Message)
			}
			if strings.Contains(f.Message, "password") || strings.Contains(fmt.Sprintf("%v", f.Err), "password") {
				t.Errorf("message %q, cause %v: a URL is shown", f.Message, f.Err)
			}
		})
	}
}

func TestInterruptedCalls(t *testing.T) {
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	w.sent.fail(func(q emulator.Request) *emulator.Fault {
		if strings.HasSuffix(q.Path, "/addKey") {
			cancel()
		}
		return nil
	})
	w.tenant.Configure(func(t *emulator.Tenant) { t.Latency = time.Millisecond })
	_, err := w.client.AddKey(ctx, w.managed(), w.pair, newKey(t, newPair(t, 1, time.Hour)))
	f := failure(t, err)
	if !errors.Is(err, context.Canceled) || f.Class != rotator.ClassRetry || !f.Ambiguous {
		t.Errorf("%v, ambiguous %v, %v; want retry, ambiguous, context.Canceled", f.Class, f.Ambiguous, err)
	}
	_, err = w.client.Keys(ctx, w.managed(), true)
	if f := failure(t, err); !errors.Is(err, context.Canceled) || f.Class != rotator.ClassRetry || f.Ambiguous {
		t.Errorf("read: %v, ambiguous %v, %v; want retry, context.Canceled", f.Class, f.Ambiguous, err)
	}
}
