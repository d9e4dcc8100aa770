package graph

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestMetadataIsKept asks for the OpenID configuration again and again: answers
// that worked are kept for an hour, others and other requests are not.
func TestMetadataIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, status := 0, http.StatusOK
		m := &metadata{next: answers(func(r *http.Request) (*http.Response, error) {
			asked++
			if status == 0 {
				return nil, errors.New("no network")
			}
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(r.URL.Path)), Request: r}, nil
		})}
		get := func(method, url string) (string, error) {
			r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			a, err := m.RoundTrip(r)
			if err != nil {
				return "", err
			}
			body, err := io.ReadAll(a.Body)
			return string(body), errors.Join(err, a.Body.Close())
		}
		const one = "https://login.test/a/v2.0/.well-known/openid-configuration"
		for range 3 {
			if body, err := get(http.MethodGet, one); err != nil || !strings.HasPrefix(body, "/a/") {
				t.Fatalf("%q, %v", body, err)
			}
		}
		if asked != 1 {
			t.Errorf("the host was asked %d times for the same, want 1", asked)
		}
		if body, err := get(http.MethodGet, strings.Replace(one, "/a/", "/b/", 1)); err != nil || !strings.HasPrefix(body, "/b/") {
			t.Errorf("another tenant got %q, %v", body, err)
		}
		for range 2 {
			if _, err := get(http.MethodPost, "https://login.test/a/oauth2/v2.0/token"); err != nil {
				t.Error(err)
			}
		}
		if asked != 4 {
			t.Errorf("%d requests, want 4: tokens are never kept", asked)
		}
		time.Sleep(metadataLife)
		status = 0
		if _, err := get(http.MethodGet, one); err == nil {
			t.Error("an answer was kept for more than an hour")
		}
		for _, s := range []int{http.StatusBadRequest, http.StatusServiceUnavailable} {
			status = s
			before := asked
			for range 2 {
				if _, err := get(http.MethodGet, one); err != nil {
					t.Error(err)
				}
			}
			if asked != before+2 {
				t.Errorf("an answer %d was kept", s)
			}
		}
	})
}
