package graph_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

// TestL1PatchRefusedForItsKeyID tells a refusal of the new entry's KeyID from one
// that names the KeyID of an entry that was sent back.
func TestL1PatchRefusedForItsKeyID(t *testing.T) {
	for _, c := range []struct {
		message string
		keyID   bool
		want    rotator.Reason
	}{
		{"KeyId value must be null.", true, rotator.ReasonKeyIDRefused},
		{"The property keyId is not supported.", true, rotator.ReasonKeyIDRefused},
		{"KeyId value must be null.", false, rotator.ReasonOther},
		{"Update to existing credential with KeyId '3f2504e0-4f89-11d3-9a0c-0305e82c3301' is not allowed.", true, rotator.ReasonOther},
		{"Something else.", true, rotator.ReasonOther},
	} {
		w := newWorld(t, nil)
		w.sent.fail(func(q emulator.Request) *emulator.Fault {
			if q.Method == http.MethodPatch && strings.HasPrefix(q.Path, "/v1.0/") {
				return &emulator.Fault{Status: 400, Code: "Request_BadRequest", Message: c.message}
			}
			return nil
		})
		add := newKey(t, newPair(t, 1, time.Hour))
		if !c.keyID {
			add.KeyID = ""
		}
		_, err := w.client.PatchKeys(t.Context(), w.managed(), nil, add)
		if f := failure(t, err); f.Reason != c.want || f.Ambiguous {
			t.Errorf("%q, with a KeyID %v: %v, ambiguous %v; want %v and definite", c.message, c.keyID, f.Reason, f.Ambiguous, c.want)
		}
		if n := len(w.sent.of(http.MethodPatch, "")); n != 1 {
			t.Errorf("%q: %d PATCH requests; whether to send again is the caller's matter", c.message, n)
		}
	}
}
