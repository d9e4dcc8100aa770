package graph_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestNothingSecretIsShown forces every kind of failure and looks for tokens,
// assertions, proofs, secrets and keys in errors and in the log. The servers
// are hostile: they quote what they were sent.
func TestNothingSecretIsShown(t *testing.T) {
	t.Setenv("AZURE_REGIONAL_AUTHORITY_NAME", "")
	key := keys()[0]
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	quote := func(r *http.Request, sent []byte) string {
		text, err := json.Marshal(r.Header.Get("Authorization") + " " + string(sent))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	const token = `{"token_type":"Bearer","expires_in":3599,"access_token":"eyJhbGciOiJSUzI1NiJ9.eyJyb2xlcyI6W119.c2ln"`
	servers := map[string]func(r *http.Request, sent []byte) (*http.Response, error){
		"graph quotes": func(r *http.Request, sent []byte) (*http.Response, error) {
			if !strings.HasPrefix(r.URL.Path, "/v1.0/") {
				return nil, nil
			}
			q := quote(r, sent)
			return answer(r, 400, "application/json", `{"error":{"code":`+q+`,"message":`+q+`,"details":[{"code":`+q+`}]}}`), nil
		},
		"graph breaks": func(r *http.Request, sent []byte) (*http.Response, error) {
			if !strings.HasPrefix(r.URL.Path, "/v1.0/") {
				return nil, nil
			}
			return answer(r, 200, "application/json", `{"error":`+quote(r, sent)), nil
		},
		"graph resets": func(r *http.Request, sent []byte) (*http.Response, error) {
			if !strings.HasPrefix(r.URL.Path, "/v1.0/") {
				return nil, nil
			}
			return nil, errors.New("connection lost after " + quote(r, sent))
		},
		"login quotes": func(r *http.Request, sent []byte) (*http.Response, error) {
			if r.Method != http.MethodPost {
				return nil, nil
			}
			q := quote(r, sent)
			return answer(r, 401, "application/json", `{"error":`+q+`,"error_description":`+q+`}`), nil
		},
		"login breaks off": func(r *http.Request, _ []byte) (*http.Response, error) {
			if r.Method != http.MethodPost {
				return nil, nil
			}
			return answer(r, 200, "application/json", token), nil
		},
		"login is no login": func(r *http.Request, _ []byte) (*http.Response, error) {
			if r.Method != http.MethodPost {
				return nil, nil
			}
			return answer(r, 200, "text/html", "<html>"+token), nil
		},
		"login resets": func(r *http.Request, sent []byte) (*http.Response, error) {
			if r.Method != http.MethodPost {
				return nil, nil
			}
			return nil, errors.New("connection lost after " + quote(r, sent))
		},
		"nothing wrong": func(*http.Request, []byte) (*http.Response, error) { return nil, nil },
	}
	for name, serve := range servers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(tenant *emulator.Tenant, c *graph.Config) {
					through := tenant.Transport()
					c.Tenants[0].Cloud.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
						var sent []byte
						if r.Body != nil {
							copied := r.Clone(r.Context())
							sent = readAll(t, r)
							copied.Body = http.NoBody
							r = withBody(copied, sent)
						}
						if a, err := serve(r, sent); a != nil || err != nil {
							return a, err
						}
						return through.RoundTrip(r)
					})
				})
				w.tenant.Unknown = nil
				var said strings.Builder
				note := func(errs ...error) {
					for _, err := range errs {
						fmt.Fprintf(&said, "%v\n%+v\n%#v\n", err, err, err)
						for e := err; e != nil; e = errors.Unwrap(e) {
							fmt.Fprintf(&said, "%v\n%+v\n%#v\n", e, e, e)
						}
						if f, ok := errors.AsType[*rotator.Failure](err); ok {
							fmt.Fprintf(&said, "%+v\n%#v\n%s\n", *f, *f, f.Next)
						}
					}
				}
				signIn, err := w.client.SignIn(t.Context(), w.registration(), w.pair, []string{"/users?$top=1", "/organization"})
				note(err)
				fmt.Fprintf(&said, "%+v", signIn)
				for _, p := range signIn.Probes {
					note(p.Err)
				}
				for _, as := range []rotator.Access{w.self(), w.managed()} {
					_, err1 := w.client.Keys(t.Context(), as, true)
					_, err2 := w.client.AddKey(t.Context(), as, w.pair, newKey(t, newPair(t, 1, time.Hour)))
					_, err3 := w.client.PatchKeys(t.Context(), as, nil, newKey(t, newPair(t, 2, time.Hour)))
					err4 := w.client.RemoveKey(t.Context(), as, w.pair, w.keyID)
					_, _, err5 := w.client.LongestLifetime(t.Context(), as)
					note(err1, err2, err3, err4, err5)
				}
				fmt.Fprintf(&said, "%v %+v %s", w.client, w.self(), w.log.String())
				shown := said.String()
				for what, secret := range map[string]string{
					"a token or an assertion": "eyJ", "the client secret": adminSecret,
					"the private key": base64Of(der)[40:80], "the private exponent": hex.EncodeToString(key.D.Bytes())[:16],
					"the private exponent in decimal": key.D.String()[:16],
				} {
					if i := strings.Index(shown, secret); i >= 0 {
						t.Errorf("%s is shown: …%.200s…", what, shown[max(0, i-100):])
					}
				}
			})
		})
	}
}
