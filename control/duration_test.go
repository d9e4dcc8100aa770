package control_test

import (
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/control"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "30s": 30 * time.Second, "45d": 45 * 24 * time.Hour, "1d12h": 36 * time.Hour,
		"1.5d": 36 * time.Hour, "200ms": 200 * time.Millisecond, " 6h ": 6 * time.Hour,
	} {
		if got, err := control.ParseDuration(text); err != nil || time.Duration(got) != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "5", "-1d", "-5s", "1d-5h", "12h1d", "1e300d", "NaNd", "5 days"} {
		if got, err := control.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"0s", "45d", "1d12h", "1m30s", "1h0m0.5s", "2562047h", "1.25d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := control.ParseDuration(text)
		if err != nil {
			return
		}
		if again, err := control.ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is %q, which reads as %v, %v", text, d, again, err)
		}
	})
}
