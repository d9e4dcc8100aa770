package graph_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/graph"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestPatchKeepsEveryEntry(t *testing.T) {
	w := newWorld(t, nil)
	other := newPair(t, 2, time.Hour)
	for _, k := range []emulator.KeyCredential{
		{DisplayName: "hex", Certificate: other.Certificate, Start: time.Now().UTC().Add(-time.Second).Truncate(100 * time.Nanosecond)},
		{DisplayName: "base64", Certificate: other.Certificate, CustomKeyIdentifier: "DyNFZ4mrze8PI0VniavN7w8jRWc="},
		{Certificate: other.Certificate, CustomKeyIdentifier: base64Of([]byte("my certificate"))},
	} {
		if _, err := w.tenant.AddKeyCredential(w.app.ClientID, k); err != nil {
			t.Fatal(err)
		}
	}
	before := w.tenant.KeyCredentials(w.app.ClientID)
	add := newKey(t, newPair(t, 1, time.Hour))
	id, err := w.client.PatchKeys(t.Context(), w.managed(), []rotator.KeyID{w.keyID}, add)
	if err != nil || id != add.KeyID {
		t.Fatalf("PatchKeys = %q, %v, want %q", id, err, add.KeyID)
	}
	after := w.tenant.KeyCredentials(w.app.ClientID)
	if len(after) != 5 || after[4].KeyID != string(add.KeyID) || after[4].DisplayName != add.DisplayName {
		t.Fatalf("%d entries, want 4 old and the new one", len(after))
	}
	if d := cmp.Diff(before, after[:4]); d != "" {
		t.Errorf("old entries (-before +after):\n%s", d)
	}
	if n := len(w.tenant.Applications()[1].Secrets); n != 1 {
		t.Errorf("%d secrets, want the foreign one", n)
	}
	body := w.sent.body(t, http.MethodPatch, w.app.ObjectID)
	delete(body, "@odata.type")
	if len(body) != 1 {
		t.Errorf("the body has %d properties, want keyCredentials and @odata.type only", len(body))
	}
	sent, _ := body["keyCredentials"].([]any)
	for i, item := range sent {
		entry, _ := item.(map[string]any)
		if _, has := entry["key"]; has != (i == len(sent)-1) {
			t.Errorf("entry %d: key is there: %v, want it in the new one only", i, has)
		}
	}
}

func TestPatchAddsTheFirstCertificate(t *testing.T) {
	w := newWorld(t, nil)
	if err := w.tenant.RemoveKeyCredential(w.app.ClientID, string(w.keyID)); err != nil {
		t.Fatal(err)
	}
	add := newKey(t, newPair(t, 1, time.Hour))
	if id, err := w.client.PatchKeys(t.Context(), w.managed(), nil, add); err != nil || id != add.KeyID {
		t.Fatalf("PatchKeys = %q, %v, want %q", id, err, add.KeyID)
	}
	if _, err := w.client.PatchKeys(t.Context(), w.managed(), nil, add); err != nil {
		t.Fatalf("second PatchKeys = %v, want nothing to do", err)
	}
	if n := len(w.sent.of(http.MethodPatch, "")); n != 1 {
		t.Errorf("%d PATCH requests, want 1: the second time the entry was there", n)
	}
}

func TestPatchLooksUpTheKeyID(t *testing.T) {
	w := newWorld(t, func(t *emulator.Tenant, _ *graph.Config) { t.IgnoreKeyID = true })
	add := newKey(t, newPair(t, 1, time.Hour))
	id, err := w.client.PatchKeys(t.Context(), w.managed(), nil, add)
	listed := w.tenant.KeyCredentials(w.app.ClientID)
	if err != nil || len(listed) != 2 || string(id) != listed[1].KeyID || id == add.KeyID {
		t.Errorf("PatchKeys = %q, %v, want the KeyID that the tenant chose", id, err)
	}
}

func TestPatchCannotTellTheKeyID(t *testing.T) {
	w := newWorld(t, nil)
	reads := 0
	w.sent.fail(func(q emulator.Request) *emulator.Fault {
		if q.Method == http.MethodGet && strings.HasPrefix(q.Path, "/v1.0/") {
			if reads++; reads > 1 {
				return &emulator.Fault{Status: http.StatusForbidden}
			}
		}
		return nil
	})
	if id, err := w.client.PatchKeys(t.Context(), w.managed(), nil, newKey(t, newPair(t, 1, time.Hour))); id != "" || err != nil {
		t.Errorf("PatchKeys = %q, %v, want no KeyID and no error", id, err)
	}
}

func TestPatchGivesUpOnAStaleRead(t *testing.T) {
	w := newWorld(t, nil)
	seen := []rotator.KeyID{w.keyID, "00000000-0000-4000-8000-000000000001"}
	_, err := w.client.PatchKeys(t.Context(), w.managed(), seen, newKey(t, newPair(t, 1, time.Hour)))
	f := failure(t, err)
	if f.Class != rotator.ClassWait || f.Reason != rotator.ReasonStaleRead || !strings.Contains(f.Message, string(seen[1])) {
		t.Errorf("PatchKeys = %v %v %q, want wait, stale_read and the KeyID", f.Class, f.Reason, f.Message)
	}
	if n := len(w.sent.of(http.MethodPatch, "")); n != 0 {
		t.Errorf("%d PATCH requests, want none", n)
	}
}

// TestPatchNeedsKeyIDs: an entry without one cannot be sent back unchanged.
func TestPatchNeedsKeyIDs(t *testing.T) {
	for _, list := range []string{`[{"displayName":"a"}]`, `[null]`} {
		w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet {
				t.Errorf("%s was sent", r.Method)
			}
			return answer(r, 200, "application/json", `{"id":"o","keyCredentials":`+list+`}`), nil
		}))
		_, err := w.client.PatchKeys(t.Context(), w.managed(), nil, newKey(t, newPair(t, 1, time.Hour)))
		if f := failure(t, err); f.Reason != rotator.ReasonStaleRead {
			t.Errorf("list %s: %v %q, want %v", list, f.Reason, f.Message, rotator.ReasonStaleRead)
		}
	}
}

func TestPatchIsAmbiguousWhenItsAnswerIsLost(t *testing.T) {
	w := newWorld(t, nil)
	w.sent.fail(on(http.MethodPatch, w.app.ObjectID, emulator.Fault{LoseAnswer: true}))
	add := newKey(t, newPair(t, 1, time.Hour))
	_, err := w.client.PatchKeys(t.Context(), w.managed(), nil, add)
	if f := failure(t, err); f.Class != rotator.ClassRetry || !f.Ambiguous {
		t.Errorf("PatchKeys = %v, ambiguous %v, want retry and ambiguous", f.Class, f.Ambiguous)
	}
	if !slices.ContainsFunc(w.tenant.KeyCredentials(w.app.ClientID), func(k emulator.KeyCredential) bool { return k.KeyID == string(add.KeyID) }) {
		t.Error("the certificate was not added; the test is wrong")
	}
	if n := len(w.sent.of(http.MethodPatch, "")); n != 1 {
		t.Errorf("%d PATCH requests, want 1: a write is never repeated", n)
	}
}
