package notify_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// noSecret looks for secrets in everything that an answer and an error can show.
func noSecret(t *testing.T, answer string, err error, secrets ...string) {
	t.Helper()
	shown := answer
	for e := err; e != nil; e = errors.Unwrap(e) {
		shown += fmt.Sprintf("\n%v\n%+v\n%#v", e, e, e)
	}
	for _, s := range secrets {
		for _, form := range []string{
			s, url.QueryEscape(s), url.PathEscape(s), strings.ToLower(s),
			base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)),
		} {
			if form != "" && strings.Contains(shown, form) {
				t.Errorf("the secret %q is shown: %s", form, shown)
				return
			}
		}
	}
}
