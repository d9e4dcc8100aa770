package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
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
	if len(body) != 1 {
		t.Errorf("the body has %d properties, want keyCredentials only", len(body))
	}
	checkHeader(t, w.sent.of(http.MethodPatch, w.app.ObjectID)[0])
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
	w := newWorld(t, nil)
	add := newKey(t, newPair(t, 1, time.Hour))
	add.KeyID = ""
	id, err := w.client.PatchKeys(t.Context(), w.managed(), nil, add)
	listed := w.tenant.KeyCredentials(w.app.ClientID)
	if err != nil || len(listed) != 2 || string(id) != listed[1].KeyID {
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

// TestPatchSendsBackWhatItRead: Graph takes an entry for changed, and refuses
// the whole list, if one property of it looks different.
func TestPatchSendsBackWhatItRead(t *testing.T) {
	id := func(n int) string { return fmt.Sprintf(`"keyId":"3F2504E0-4F89-11D3-9A0C-0305E82C330%d"`, n) }
	for _, c := range []struct{ name, entry string }{
		{"fractions of seconds", id(1) + `,"startDateTime":"2026-01-02T03:04:05.1234567Z","endDateTime":"2027-01-02T03:04:05.1200000Z"`},
		{"offset in dates", id(1) + `,"startDateTime":"2026-01-02T03:04:05+02:00","endDateTime":null`},
		{"identifier in hex", id(1) + `,"customKeyIdentifier":"0F2B3C4D5E6F708192A3B4C5D6E7F8091A2B3C4D"`},
		{"identifier in base64", id(1) + `,"customKeyIdentifier":"DyNFZ4mrze8PI0VniavN7w8jRWc="`},
		{"identifier that is neither", id(1) + `,"customKeyIdentifier":"not base64!"`},
		{"nulls", id(1) + `,"customKeyIdentifier":null,"displayName":null,"usage":null`},
		{"unknown properties", id(1) + `,"fromTheFuture":{"a":[1,2.50,12345678901234567890],"key":"inner"},"@odata.type":"#microsoft.graph.keyCredential"`},
		{"another type", id(1) + `,"type":"X509CertAndPassword","usage":"Sign"`},
		{"odd name", id(1) + `,"displayName":"ünï <&> \"quoted\" \ud83d\ude00"`},
		{"several", id(1) + `},{` + id(2) + `},{` + id(3) + `,"displayName":"last"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sent []byte
			w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
				if r.Method == http.MethodPatch {
					sent = readAll(t, r)
					return answer(r, 204, "", ""), nil
				}
				// The key comes last, so that what is before it is the want.
				list := strings.ReplaceAll(`{`+c.entry, `},{`, `,"key":null},{`) + `,"key":"AAAA"}`
				return answer(r, 200, "application/json", `{"id":"o","keyCredentials":[`+list+`],"passwordCredentials":[{}]}`), nil
			}))
			add := newKey(t, newPair(t, 1, time.Hour))
			if _, err := w.client.PatchKeys(t.Context(), w.managed(), nil, add); err != nil {
				t.Fatal(err)
			}
			certificate := base64Of(add.Certificate)
			want := `{"keyCredentials":[{` + c.entry + `},{"keyId":"` + string(add.KeyID) + `","displayName":"` + add.DisplayName +
				`","type":"AsymmetricX509Cert","usage":"Verify","key":"` + certificate +
				`","startDateTime":"` + add.NotBefore.UTC().Format(time.RFC3339) + `","endDateTime":"` + add.NotAfter.UTC().Format(time.RFC3339) + `"}]}`
			if d := cmp.Diff(decoded(t, []byte(want)), decoded(t, sent)); d != "" {
				t.Errorf("body (-want +got):\n%s", d)
			}
		})
	}
}

// decoded reads JSON without changing numbers.
func decoded(tb testing.TB, body []byte) any {
	tb.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		tb.Fatalf("%v in %s", err, body)
	}
	return v
}

// TestPatchNeedsAWholeList: an entry without KeyID cannot be sent back
// unchanged, and an answer without the list would mean to delete all of it.
func TestPatchNeedsAWholeList(t *testing.T) {
	for _, c := range []struct {
		body   string
		reason rotator.Reason
	}{
		{`{"id":"o","keyCredentials":[{"displayName":"a"}]}`, rotator.ReasonStaleRead},
		{`{"id":"o","keyCredentials":[null]}`, rotator.ReasonStaleRead},
		{`{"id":"o","keyCredentials":[{"keyId":null}]}`, rotator.ReasonStaleRead},
		{`{"id":"o","keyCredentials":[{"keyId":"x"}]}`, rotator.ReasonStaleRead},
		{`{"id":"o","keyCredentials":[{"keyId":5}]}`, rotator.ReasonStaleRead},
		{`{"id":"o","keyCredentials":null}`, rotator.ReasonStaleRead},
		{`{"id":"o"}`, rotator.ReasonStaleRead},
		{`null`, rotator.ReasonStaleRead},
		{`{"id":"o","keyCredentials":{}}`, rotator.ReasonOther},
		{`{"id":"o","keyCredentials":[1]}`, rotator.ReasonOther},
		{`{"id":"o","keyCredentials":[`, rotator.ReasonOther},
		{``, rotator.ReasonOther},
	} {
		w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet {
				t.Errorf("%s was sent after %s", r.Method, c.body)
			}
			return answer(r, 200, "application/json", c.body), nil
		}))
		_, err := w.client.PatchKeys(t.Context(), w.managed(), nil, newKey(t, newPair(t, 1, time.Hour)))
		if f := failure(t, err); f.Class != rotator.ClassWait || f.Reason != c.reason || f.Ambiguous {
			t.Errorf("answer %s: %v %v %q, ambiguous %v, want wait, %v", c.body, f.Class, f.Reason, f.Message, f.Ambiguous, c.reason)
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
