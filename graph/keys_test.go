package graph_test

import (
	"crypto/sha1" // what Entra writes there
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/emulator"
	"github.com/seed-f0abd057/rotate/rotator"
)

func TestKeysReadsTheList(t *testing.T) {
	w := newWorld(t, nil)
	want := rotator.Listing{
		ObjectID: rotator.ObjectID(w.app.ObjectID), ClientID: rotator.ClientID(w.app.ClientID), DisplayName: "Contoso Sync",
		Entries: []rotator.Entry{{
			KeyID: w.keyID, DisplayName: "first", Usage: "Verify", Hint: sha1Of(w.pair.Certificate),
			NotBefore: w.app.KeyCredentials[0].Start, NotAfter: w.app.KeyCredentials[0].End,
		}},
		Secrets: 1,
		SecretEntries: []rotator.Entry{{
			KeyID: rotator.KeyID(w.app.Secrets[0].KeyID), DisplayName: "foreign",
			NotBefore: w.app.Secrets[0].Start, NotAfter: w.app.Secrets[0].End,
		}},
	}
	byClientID := w.managed()
	byClientID.ObjectID = ""
	for _, c := range []struct {
		name     string
		as       rotator.Access
		withKeys bool
	}{{"without keys", w.managed(), false}, {"with keys", w.managed(), true}, {"by client ID", byClientID, false}} {
		t.Run(c.name, func(t *testing.T) {
			w.sent.fail(nil)
			begun := time.Now()
			got, err := w.client.Keys(t.Context(), c.as, c.withKeys)
			if err != nil {
				t.Fatal(err)
			}
			checkNow(t, "At", begun, got.At)
			got.At = time.Time{}
			want.Entries[0].Thumbprint = ""
			if c.withKeys {
				want.Entries[0].Thumbprint = w.pair.Thumbprint()
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("listing (-want +got):\n%s", d)
			}
			for _, q := range w.sent.all {
				if selected := q.Query.Has("$select"); !q.IsToken() && strings.HasPrefix(q.Path, "/v1.0/") && selected != c.withKeys {
					t.Errorf("%s %s?%v: $select is there: %v, want %v (it counts against 150 a minute)", q.Method, q.Path, q.Query, selected, c.withKeys)
				}
			}
		})
	}
}

func TestSelfWithoutPermissionIsForbidden(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.client.Keys(t.Context(), w.self(), false)
	if f := failure(t, err); f.Class != rotator.ClassFix || f.Reason != rotator.ReasonForbidden {
		t.Errorf("Keys = %v %v %q, want fix, forbidden", f.Class, f.Reason, f.Message)
	}
}

// sha1Of is what customKeyIdentifier says of a certificate where nothing else was sent.
func sha1Of(der []byte) string {
	sum := sha1.Sum(der)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// TestKeysOfManyKinds reads entries as they are found in the wild.
func TestKeysOfManyKinds(t *testing.T) {
	pair := newPair(t, 1, time.Hour)
	entry := func(more string) string {
		return `{"keyId":"3F2504E0-4F89-11D3-9A0C-0305E82C3301","type":"AsymmetricX509Cert","usage":"Verify",` +
			`"startDateTime":"2026-01-02T03:04:05.1234567Z","endDateTime":"2027-01-02T03:04:05Z"` + more + `}`
	}
	text := base64Of(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate}))
	for _, c := range []struct {
		name, entry string
		thumbprint  rotator.Thumbprint
	}{
		{"identifier in hex", entry(`,"customKeyIdentifier":"0F2B3C4D5E6F708192A3B4C5D6E7F8091A2B3C4D","key":null`), ""},
		{"identifier in base64", entry(`,"customKeyIdentifier":"DyNFZ4mrze8PI0VniavN7w8jRWc="`), ""},
		{"identifier that is a name", entry(`,"customKeyIdentifier":"bXkgY2VydGlmaWNhdGU="`), ""},
		{"key in DER", entry(`,"key":"` + base64Of(pair.Certificate) + `"`), pair.Thumbprint()},
		{"key that is PEM text", entry(`,"key":"` + text + `"`), pair.Thumbprint()},
		{"unknown property", entry(`,"fromTheFuture":{"a":[1,2]}`), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w *world
			w = newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
				return answer(r, 200, "application/json", `{"id":"o","appId":"`+string(w.managed().ClientID)+`","keyCredentials":[null,`+c.entry+`]}`), nil
			}))
			got, err := w.client.Keys(t.Context(), w.managed(), true)
			if err != nil || len(got.Entries) != 1 {
				t.Fatalf("Keys = %v, %v, want one entry", got, err)
			}
			e := got.Entries[0]
			if e.KeyID != "3f2504e0-4f89-11d3-9a0c-0305e82c3301" {
				t.Errorf("KeyID = %q, want lower case", e.KeyID)
			}
			if want := time.Date(2026, 1, 2, 3, 4, 5, 123456700, time.UTC); !e.NotBefore.Equal(want) {
				t.Errorf("NotBefore = %v, want %v", e.NotBefore, want)
			}
			if e.Thumbprint != c.thumbprint {
				t.Errorf("Thumbprint = %q, want %q", e.Thumbprint, c.thumbprint)
			}
		})
	}
}

// TestReadsWithKeysKeepPace: Graph refuses more than 150 a minute and tenant.
func TestReadsWithKeysKeepPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		begun := time.Now()
		for i := range 200 {
			if _, err := w.client.Keys(t.Context(), w.managed(), true); err != nil {
				t.Fatalf("read %d: %v", i, err)
			}
		}
		if took := time.Since(begun); took < time.Minute || took > 2*time.Minute {
			t.Errorf("200 reads took %v, want between 1 and 2 minutes", took)
		}
	})
}

func TestAddKeySendsWhatGraphWants(t *testing.T) {
	w := newWorld(t, nil)
	add := newKey(t, newPair(t, 1, time.Hour))
	add.NotBefore = add.NotBefore.Add(250 * time.Millisecond)
	if _, err := w.client.AddKey(t.Context(), w.self(), w.pair, add); err != nil {
		t.Fatal(err)
	}
	body := w.sent.body(t, "POST", "/addKey")
	if value, ok := body["passwordCredential"]; !ok || value != nil {
		t.Errorf("passwordCredential = %v, %v, want null", value, ok)
	}
	delete(body, "passwordCredential")
	delete(body, "proof")
	want := map[string]any{"keyCredential": map[string]any{
		"displayName": add.DisplayName, "type": "AsymmetricX509Cert", "usage": "Verify",
		"key": base64Of(add.Certificate), "startDateTime": add.NotBefore.UTC().Format(time.RFC3339), "endDateTime": add.NotAfter.UTC().Format(time.RFC3339),
	}}
	if d := cmp.Diff(want, body); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
	checkHeader(t, w.sent.of("POST", "/addKey")[0])
}

func TestRemoveKeySendsWhatGraphWants(t *testing.T) {
	w := newWorld(t, nil)
	other, err := w.tenant.AddKeyCredential(w.app.ClientID, emulator.KeyCredential{Certificate: newPair(t, 1, time.Hour).Certificate})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.client.RemoveKey(t.Context(), w.self(), w.pair, rotator.KeyID(strings.ToUpper(other))); err != nil {
		t.Fatal(err)
	}
	body := w.sent.body(t, "POST", "/removeKey")
	if proof, _ := body["proof"].(string); strings.Count(proof, ".") != 2 {
		t.Errorf("proof is %v, want a JWT", body["proof"])
	}
	delete(body, "proof")
	if d := cmp.Diff(map[string]any{"keyId": other}, body); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
	checkHeader(t, w.sent.of("POST", "/removeKey")[0])
}

// checkHeader looks at the header of a request that changes something.
func checkHeader(t *testing.T, q emulator.Request) {
	t.Helper()
	for name, want := range map[string]string{"Content-Type": "application/json", "Accept": "application/json", "Content-Encoding": ""} {
		if got := strings.Join(q.Header.Values(name), "|"); got != want {
			t.Errorf("%s %s: %s is %q, want %q", q.Method, q.Path, name, got, want)
		}
	}
}

func TestAddKeyReturnsTheKeyIDThatEntraChose(t *testing.T) {
	w := newWorld(t, nil)
	add := newKey(t, newPair(t, 1, time.Hour))
	id, err := w.client.AddKey(t.Context(), w.self(), w.pair, add)
	if err != nil {
		t.Fatal(err)
	}
	listed := w.tenant.KeyCredentials(w.app.ClientID)
	if id == add.KeyID || string(id) != listed[1].KeyID {
		t.Errorf("KeyID = %q, want %q", id, listed[1].KeyID)
	}
}

// TestAddKeyWithoutAReadableAnswer: the certificate was added, only its KeyID
// is not known.
func TestAddKeyWithoutAReadableAnswer(t *testing.T) {
	w := newWorld(t, instead(func(r *http.Request) (*http.Response, error) {
		return answer(r, 204, "", ""), nil
	}))
	if id, err := w.client.AddKey(t.Context(), w.self(), w.pair, newKey(t, w.pair)); id != "" || err != nil {
		t.Errorf("AddKey = %q, %v, want no KeyID and no error", id, err)
	}
}

func TestChangesNeedTheObjectID(t *testing.T) {
	w := newWorld(t, nil)
	as := w.managed()
	as.ObjectID = ""
	add := newKey(t, newPair(t, 1, time.Hour))
	_, addErr := w.client.AddKey(t.Context(), as, w.pair, add)
	_, patchErr := w.client.PatchKeys(t.Context(), as, nil, add)
	removeErr := w.client.RemoveKey(t.Context(), as, w.pair, w.keyID)
	_, _, limitErr := w.client.LongestLifetime(t.Context(), as)
	for name, err := range map[string]error{"AddKey": addErr, "PatchKeys": patchErr, "RemoveKey": removeErr, "LongestLifetime": limitErr} {
		if f := failure(t, err); f.Class != rotator.ClassFix || !strings.Contains(f.Message, "object ID") {
			t.Errorf("%s = %v %q, want fix that names the object ID", name, f.Class, f.Message)
		}
	}
	if err := w.client.RemoveKey(t.Context(), w.managed(), w.pair, "no-guid"); failure(t, err).Class != rotator.ClassFix {
		t.Errorf("RemoveKey of no GUID = %v", err)
	}
	if err := w.client.RemoveKey(t.Context(), w.managed(), rotator.KeyPair{}, w.keyID); failure(t, err).Class != rotator.ClassFix {
		t.Errorf("RemoveKey without a pair = %v", err)
	}
	if n := len(w.sent.all); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}
