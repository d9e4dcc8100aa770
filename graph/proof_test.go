package graph_test

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// TestProofHasTheKnownShape compares with the sample of
// https://learn.microsoft.com/graph/application-rollkey-prooftoken. That the
// signature holds is checked by the tenant in every other test.
func TestProofHasTheKnownShape(t *testing.T) {
	w := newWorld(t, nil)
	begun := time.Now()
	if _, err := w.client.AddKey(t.Context(), w.managed(), w.pair, newKey(t, newPair(t, 1, time.Hour))); err != nil {
		t.Fatal(err)
	}
	proof, _ := w.sent.body(t, "POST", "/addKey")["proof"].(string)
	parts := strings.Split(proof, ".")
	if len(parts) != 3 || strings.Contains(proof, "=") {
		t.Fatalf("the proof has %d parts, padding %v; want 3 and none", len(parts), strings.Contains(proof, "="))
	}
	digest := sha1.Sum(w.pair.Certificate)
	wantHeader := map[string]any{
		"alg": "RS256", "typ": "JWT",
		"kid": strings.ToUpper(hex.EncodeToString(digest[:])), "x5t": base64.RawURLEncoding.EncodeToString(digest[:]),
	}
	if d := cmp.Diff(wantHeader, decode(t, parts[0])); d != "" {
		t.Errorf("header (-want +got):\n%s", d)
	}
	claims := decode(t, parts[1])
	from, _ := claims["nbf"].(float64)
	until, _ := claims["exp"].(float64)
	checkNow(t, "nbf", begun, time.Unix(int64(from), 0))
	if until-from != 600 {
		t.Errorf("nbf %v, exp %v; want 10 minutes between them", from, until)
	}
	delete(claims, "nbf")
	delete(claims, "exp")
	want := map[string]any{"aud": "00000002-0000-0000-c000-000000000000", "iss": w.app.ObjectID}
	if d := cmp.Diff(want, claims); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
}

func decode(t *testing.T, part string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
