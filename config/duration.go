package config

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

const day = 24 * time.Hour

// Duration is a span of time that reads and prints days: 45d, 1d12h, 200ms.
type Duration time.Duration

// ParseDuration reads what [time.ParseDuration] reads, with one leading number of
// days: "45d", "1.5d", "1d12h", "-2d". A day is 24 hours. A number without a unit is
// refused, except 0.
func ParseDuration(s string) (Duration, error) {
	days, tail, found := strings.Cut(strings.TrimLeft(s, "+-"), "d")
	if !found {
		return parseClock(s)
	}
	if strings.Trim(days, "0123456789.") != "" || len(s)-len(strings.TrimLeft(s, "+-")) > 1 {
		return 0, notDuration(s)
	}
	whole, err := time.ParseDuration(days + "h")
	if err != nil || whole > math.MaxInt64/24 {
		return 0, notDuration(s)
	}
	total := whole * 24
	if tail != "" {
		if strings.HasPrefix(tail, "-") || strings.HasPrefix(tail, "+") {
			return 0, notDuration(s)
		}
		part, err := time.ParseDuration(tail)
		if err != nil || part > math.MaxInt64-total {
			return 0, notDuration(s)
		}
		total += part
	}
	if s[0] == '-' {
		total = -total
	}
	return Duration(total), nil
}

func parseClock(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, notDuration(s)
	}
	return Duration(d), nil
}

func notDuration(s string) error {
	return fmt.Errorf("%q is not a duration: write a number with a unit, such as 45d, 6h, 30s or 200ms", s)
}

// String returns the shortest form that [ParseDuration] reads back exactly.
func (d Duration) String() string {
	if d < 0 {
		if d == math.MinInt64 {
			return time.Duration(d).String() // has no positive counterpart
		}
		return "-" + (-d).String()
	}
	if d == 0 {
		return "0s"
	}
	var out string
	if n := d / Duration(day); n > 0 {
		out = fmt.Sprintf("%dd", n)
	}
	if rest := time.Duration(d) % day; rest > 0 {
		s := rest.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		out += s
	}
	return out
}

// MarshalYAML writes the form of [Duration.String].
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalYAML reads what [ParseDuration] reads.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	s, err := scalar(node)
	if err != nil {
		return err
	}
	parsed, err := ParseDuration(s)
	if err != nil {
		return at(node, err)
	}
	*d = parsed
	return nil
}

// scalar returns the text of a plain value as it stands in the file.
func scalar(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return "", at(node, errors.New("a single value is needed here"))
}
