package emulator

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// defaultSecretLifetime is how long a client secret lives if the client does not
// say.
//
// https://learn.microsoft.com/graph/api/application-addpassword
const defaultSecretLifetime = 2 * 365 * 24 * time.Hour

// A Secret is one client secret of an app.
//
// It prints and logs without its text.
type Secret struct {
	// KeyID is the GUID of the entry. When adding, empty: a fresh one.
	KeyID string
	// DisplayName is what portals show; it may be empty.
	DisplayName string
	// Text is what the client sends. When adding, empty: a random one.
	Text string
	// Start and End are when it is valid, UTC. When adding, zero: from now on, for
	// two years.
	Start, End time.Time
}

// String returns the secret without its text.
func (s Secret) String() string { return "client secret " + s.KeyID }

// GoString returns the secret without its text.
func (s Secret) GoString() string { return s.String() }

// LogValue returns the secret without its text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

func newSecret(s Secret, now time.Time) Secret {
	if s.KeyID == "" {
		s.KeyID = uuid.NewString()
	}
	s.KeyID = strings.ToLower(s.KeyID)
	if s.Text == "" {
		s.Text = randomText()
	}
	if s.Start.IsZero() {
		s.Start = now
	}
	if s.End.IsZero() {
		s.End = s.Start.Add(defaultSecretLifetime)
	}
	s.Start, s.End = s.Start.UTC().Truncate(time.Second), s.End.UTC().Truncate(time.Second)
	return s
}

// randomText returns 192 random bits that need no quoting anywhere.
func randomText() string {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// json returns the entry as Graph sends it. The text is in the answer of
// addPassword only.
//
// https://learn.microsoft.com/graph/api/resources/passwordcredential
func (s Secret) json(withText bool) map[string]any {
	m := map[string]any{
		"customKeyIdentifier": nil,
		"displayName":         orNull(s.DisplayName),
		"endDateTime":         formatTime(s.End),
		"hint":                s.Text[:min(3, len(s.Text))],
		"keyId":               s.KeyID,
		"secretText":          nil,
		"startDateTime":       formatTime(s.Start),
	}
	if withText {
		m["secretText"] = s.Text
	}
	return m
}

func (s Secret) matches(text string) bool {
	return subtle.ConstantTimeCompare([]byte(s.Text), []byte(text)) == 1
}

// replaceSecrets is what PATCH does to passwordCredentials. New secrets are made by
// addPassword only.
//
// https://learn.microsoft.com/graph/api/application-addpassword
func replaceSecrets(have []Secret, sent []any) ([]Secret, *graphError) {
	var list []Secret
	for _, item := range sent {
		entry, _ := item.(map[string]any)
		id := strings.ToLower(text(entry, "keyId"))
		i := slices.IndexFunc(have, func(s Secret) bool { return s.KeyID == id })
		if i < 0 {
			return nil, badRequest("New password credentials must be generated with service actions.")
		}
		s := have[i]
		if text(entry, "displayName") != s.DisplayName ||
			!timeOf(entry, "startDateTime").Equal(s.Start) || !timeOf(entry, "endDateTime").Equal(s.End) {
			return nil, badRequest(fmt.Sprintf("Update to existing credential with KeyId '%s' is not allowed.", s.KeyID))
		}
		if slices.ContainsFunc(list, func(b Secret) bool { return b.KeyID == id }) {
			return nil, duplicateKeyID(id)
		}
		list = append(list, s)
	}
	return list, nil
}
