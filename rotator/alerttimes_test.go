package rotator

import (
	"testing"
	"time"
)

func TestExpiryStage(t *testing.T) {
	end := at("2026-12-31 00:00")
	for text, want := range map[string]string{
		"2026-11-15 23:59": "", "2026-11-16 00:00": "45d", "2026-12-01 00:00": "30d", "2026-12-20 12:00": "14d",
		"2026-12-30 00:00": "1d", "2026-12-30 23:59": "1d", "2026-12-31 00:00": "expired", "2027-06-01 00:00": "expired",
	} {
		got, ok := ExpiryStage(DefaultExpiryStages(), end, at(text))
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("ExpiryStage at %s = %q, want %q", text, got, want)
		}
	}
}

// TestRepeatAt follows a condition to the end of its certificate and beyond: after a
// day, weekly, daily around the end.
func TestRepeatAt(t *testing.T) {
	end := at("2026-12-31 00:00")
	told, repeats := at("2026-12-01 00:00"), 0
	var days []int
	for told.Before(end.Add(20 * day)) {
		next := repeatAt(told, repeats, end)
		if !next.After(told) {
			t.Fatalf("told %s, again %s", told, next)
		}
		told, repeats = next, repeats+1
		days = append(days, int(told.Sub(at("2026-12-01 00:00"))/day))
	}
	want := []int{1, 8, 15, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 44, 51}
	if len(days) != len(want) {
		t.Fatalf("told on days %v, want %v", days, want)
	}
	for i := range want {
		if days[i] != want[i] {
			t.Fatalf("told on days %v, want %v", days, want)
		}
	}
	if got := repeatAt(told, 3, time.Time{}); !got.Equal(told.Add(7 * day)) {
		t.Errorf("without an end it is told again at %s, want after a week", got)
	}
}

func TestAckEnd(t *testing.T) {
	acked := at("2026-12-01 00:00")
	if got := ackEnd(acked, at("2026-12-10 00:00")); !got.Equal(at("2026-12-10 00:00")) {
		t.Errorf("acknowledged until %s, want the last safe date", got)
	}
	if got := ackEnd(acked, at("2026-11-10 00:00")); !got.Equal(at("2026-12-02 00:00")) {
		t.Errorf("acknowledged until %s, want a day", got)
	}
}
