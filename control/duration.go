package control

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a [time.Duration] that reads and writes Go syntax plus "d" for
// days of 24 hours: "45d", "1d12h", "30s".
type Duration time.Duration

const day = 24 * time.Hour

// ParseDuration reads a duration; it may not be negative.
func ParseDuration(text string) (Duration, error) {
	const form = "%q is not a duration; write it like 30s, 10m, 6h, 45d or 1d12h"
	rest := strings.TrimSpace(text)
	var total time.Duration
	if number, tail, ok := strings.Cut(rest, "d"); ok {
		days, err := strconv.ParseFloat(number, 64)
		if err != nil || !(days >= 0 && days <= math.MaxInt64/float64(2*day)) {
			return 0, fmt.Errorf(form, text)
		}
		total = time.Duration(days * float64(day))
		if rest = tail; rest == "" {
			return Duration(total), nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > math.MaxInt64/2 {
		return 0, fmt.Errorf(form, text)
	}
	return Duration(total + d), nil
}

// String prints it as people write it: 45d, 36h, 1m30s.
func (d Duration) String() string {
	t := time.Duration(d)
	switch {
	case t == 0:
		return "0s"
	case t%day == 0:
		return strconv.Itoa(int(t/day)) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText is [Duration.String].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is [ParseDuration].
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	*d = parsed
	return err
}
