package config

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/goccy/go-yaml/ast"
)

// redacted is what every way of printing a [Secret] gives.
const redacted = "REDACTED"

// Secret is a value that only [Secret.Reveal] shows. It is a struct around a pointer
// because fmt ignores the methods of unexported fields and would print a string there.
// The zero value is no secret.
type Secret struct{ value *string }

// NewSecret returns the text as a secret.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the text, empty for the zero value.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero says whether there is no secret, or an empty one.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns REDACTED.
func (Secret) String() string { return redacted }

// GoString returns REDACTED.
func (Secret) GoString() string { return redacted }

// Format writes REDACTED for every verb.
func (Secret) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, redacted) // a fmt.State keeps its own error
}

// LogValue returns REDACTED.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalYAML reads a plain value.
func (s *Secret) UnmarshalYAML(node ast.Node) error {
	text, err := scalar(node)
	if err != nil {
		return err
	}
	*s = NewSecret(text)
	return nil
}
