package rotator

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// This file tests decisions about when, which are not exported.

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDueAt(t *testing.T) {
	end := at("2026-12-31 00:00")
	p := DefaultPolicy()
	if got, want := dueAt(end, p, "a"), at("2026-11-16 00:00"); !got.Equal(want) {
		t.Errorf("dueAt = %v, want %v", got, want)
	}
	p.Jitter = 10 * day
	early := dueAt(end, p, "a")
	if early.After(at("2026-11-16 00:00")) || early.Before(at("2026-11-06 00:00")) {
		t.Errorf("with jitter dueAt = %v, want up to 10 days earlier, never later", early)
	}
	if again := dueAt(end, p, "a"); !again.Equal(early) {
		t.Errorf("the jitter of one app changed: %v, %v", early, again)
	}
	different := false
	for i := range 20 {
		different = different || !dueAt(end, p, fmt.Sprint(i)).Equal(early)
	}
	if !different {
		t.Error("the jitter spreads nothing")
	}
}

func TestLastSafeStart(t *testing.T) {
	p := DefaultPolicy()
	for rule, want := range map[string]time.Time{
		ConfirmAutomatic: at("2026-12-15 18:00"), // 31 Dec − 14 d − 1 d − 6 h
		ConfirmPerson:    at("2026-12-02 18:00"), // 31 Dec − 14 d − 14 d − 6 h
	} {
		if got := lastSafeStart(at("2026-12-31 00:00"), p, rule); !got.Equal(want) {
			t.Errorf("lastSafeStart(%s) = %v, want %v", rule, got, want)
		}
	}
}

func TestRetryIn(t *testing.T) {
	for _, test := range []struct {
		name     string
		f        Failure
		attempts int
		left     time.Duration
		spread   float64
		want     time.Duration
	}{
		{"first", Failure{Class: ClassRetry}, 1, 100 * day, 0, time.Minute},
		{"fourth", Failure{Class: ClassRetry}, 4, 100 * day, 0, 10 * time.Minute},
		{"eighth", Failure{Class: ClassWait}, 8, 100 * day, 0, 6 * time.Hour},
		{"hundredth", Failure{Class: ClassWait}, 100, 100 * day, 0, 6 * time.Hour},
		{"spread up", Failure{Class: ClassRetry}, 4, 100 * day, 1, 11 * time.Minute},
		{"spread down", Failure{Class: ClassRetry}, 4, 100 * day, -1, 9 * time.Minute},
		{"fix is slow at once", Failure{Class: ClassFix}, 1, 100 * day, 0, 6 * time.Hour},
		{"a quarter of what is left", Failure{Class: ClassFix}, 1, 4 * time.Hour, 0, time.Hour},
		{"almost nothing left", Failure{Class: ClassRetry}, 1, time.Second, 0, time.Second},
		{"after the end, slowest", Failure{Class: ClassWait}, 9, -day, 0, 6 * time.Hour},
		{"the server asks", Failure{Class: ClassWait, RetryAfter: 7 * time.Second}, 5, 100 * day, 0, 7 * time.Second},
		{"the server asks too much", Failure{Class: ClassWait, RetryAfter: 9 * time.Hour}, 1, 100 * day, 0, time.Hour},
	} {
		if got := retryIn(&test.f, test.attempts, test.left, test.spread); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestUploadAllowedAt(t *testing.T) {
	now := at("2026-06-01 12:00")
	ago := func(minutes ...int) []time.Time {
		var list []time.Time
		for _, m := range minutes {
			list = append(list, now.Add(-time.Duration(m)*time.Minute))
		}
		return list
	}
	limit := UploadLimit{PerHour: 2, PerDay: 4}
	for _, test := range []struct {
		name    string
		uploads []time.Time
		want    time.Time
	}{
		{"none", nil, now},
		{"one", ago(5), now},
		{"two in the hour", ago(50, 5), now.Add(10 * time.Minute)},
		{"two, one of them long ago", ago(61, 5), now},
		{"four in the day", ago(1300, 1200, 1100, 1000), now.Add(140 * time.Minute)},
		{"four, two of them in the hour", ago(1300, 1200, 10, 5), now.Add(140 * time.Minute)},
		{"in the future, after the clock was set back", ago(-600, -500), now.Add(11 * time.Hour)},
	} {
		if got := uploadAllowedAt(test.uploads, limit, now); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// daily opens at an hour of each day.
type daily int

func (d daily) Next(after time.Time) time.Time {
	next := time.Date(after.Year(), after.Month(), after.Day(), int(d), 0, 0, 0, time.UTC)
	if !next.After(after) {
		next = next.Add(day)
	}
	return next
}

func TestWindowAt(t *testing.T) {
	for _, test := range []struct{ name, now, lastSafe, want string }{
		{"before it opens", "2026-06-01 01:00", "2026-12-01 00:00", "2026-06-01 02:00"},
		{"as it opens", "2026-06-01 02:00", "2026-12-01 00:00", "2026-06-01 02:00"},
		{"nothing is in danger", "2026-06-01 07:00", "", "2026-06-02 02:00"},
		{"open", "2026-06-01 05:59", "2026-12-01 00:00", "2026-06-01 05:59"},
		{"as it closes", "2026-06-01 06:00", "2026-12-01 00:00", "2026-06-02 02:00"},
		{"closed, but it cannot wait", "2026-06-01 07:00", "2026-06-01 09:00", "2026-06-01 09:00"},
		{"closed, and too late already", "2026-06-01 07:00", "2026-05-01 09:00", "2026-06-01 07:00"},
	} {
		if test.lastSafe == "" {
			if got := windowAt(daily(2), 4*time.Hour, at(test.now), time.Time{}); !got.Equal(at(test.want)) {
				t.Errorf("%s: %v, want %s", test.name, got, test.want)
			}
			continue
		}
		if got := windowAt(daily(2), 4*time.Hour, at(test.now), at(test.lastSafe)); !got.Equal(at(test.want)) {
			t.Errorf("%s: %v, want %s", test.name, got, test.want)
		}
	}
}

func TestAbsence(t *testing.T) {
	var a Absence
	now := at("2026-06-01 12:00")
	for i := range 4 {
		a = a.missed(now.Add(time.Duration(i) * absentEvery))
		a = a.missed(now.Add(time.Duration(i)*absentEvery + time.Second)) // too close to count
		if a.isAbsent() {
			t.Fatalf("absent after %d reads", i+1)
		}
	}
	if a = a.missed(now.Add(4 * absentEvery)); !a.isAbsent() {
		t.Errorf("not absent after 5 reads over 2 minutes: %+v", a)
	}
	if a = a.missed(now.Add(-time.Hour)); a.Reads != 1 {
		t.Errorf("a clock set back must begin anew: %+v", a)
	}
}

func TestStartsAllowed(t *testing.T) {
	for _, test := range []struct{ configured, apps, want int }{
		{0, 0, 10}, {0, 200, 10}, {0, 201, 11}, {0, 1000, 50}, {3, 1000, 3},
	} {
		if got := startsAllowed(test.configured, test.apps); got != test.want {
			t.Errorf("startsAllowed(%d, %d) = %d, want %d", test.configured, test.apps, got, test.want)
		}
	}
}

// TestStartsOfDay counts a start for a day at least and for an hour longer at most.
func TestStartsOfDay(t *testing.T) {
	now := at("2026-03-01 10:59")
	var starts []HourlyStarts
	for range 3 {
		starts = countStart(starts, now)
	}
	starts = countStart(starts, now.Add(time.Minute))
	if len(starts) != 2 {
		t.Errorf("%d counts for two hours: %+v", len(starts), starts)
	}
	for after, want := range map[time.Duration]int{
		0: 4, day - time.Second: 4, day + time.Minute: 1, day + time.Hour: 1, day + time.Hour + time.Minute: 0, -2 * time.Hour: 4,
	} {
		if got := startsOfDay(starts, now.Add(after)); got != want {
			t.Errorf("%v later: %d starts in the last day, want %d", after, got, want)
		}
	}
	for i := range 1000 {
		starts = countStart(starts, now.Add(time.Duration(i)*time.Hour))
	}
	if len(starts) > 25 {
		t.Errorf("%d counts are kept for a day", len(starts))
	}
}

func TestPolicyCheck(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Policy)
		rule   string
		says   []string // empty: it works
	}{
		"defaults":               {func(*Policy) {}, ConfirmAutomatic, nil},
		"defaults with a person": {func(*Policy) {}, ConfirmPerson, nil},
		"seconds": {func(p *Policy) {
			p.Validity, p.RenewBefore, p.Overlap, p.ReloadWithin = 2*time.Minute, time.Minute, 5*time.Second, time.Second
			p.Prove = ProvePolicy{2, time.Second, 20 * time.Second}
		}, ConfirmAutomatic, nil},
		"overlap too long":        {func(p *Policy) { p.Overlap = 44 * day }, ConfirmAutomatic, []string{"renew_before: 45d cannot hold", "overlap 44d", "= 47.2d"}},
		"renews at once":          {func(p *Policy) { p.RenewBefore = p.Validity }, ConfirmAutomatic, []string{"not shorter than validity 365d"}},
		"no proof":                {func(p *Policy) { p.Prove.Successes = 0 }, ConfirmAutomatic, []string{"prove.successes"}},
		"proof longer than given": {func(p *Policy) { p.Prove = ProvePolicy{10, time.Hour, time.Hour} }, ConfirmAutomatic, []string{"take 10h"}},
		"no uploads":              {func(p *Policy) { p.UploadLimit.PerDay = 0 }, ConfirmAutomatic, []string{"upload_limit"}},
		"odd key":                 {func(p *Policy) { p.KeyBits = 1024 }, ConfirmAutomatic, []string{"1024 bits"}},
	} {
		p := DefaultPolicy()
		test.change(&p)
		err := p.Check(test.rule)
		if len(test.says) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, word := range test.says {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v does not say %q", name, err, word)
			}
		}
	}
}

func TestDays(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 45 * day: "45d", 36 * time.Hour: "36h", 90 * time.Second: "1m30s", 10 * time.Second: "10s",
		20 * time.Minute: "20m", 100 * time.Hour: "4.2d",
	} {
		if got := days(d); got != want {
			t.Errorf("days(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "contoso-sync", "app-1", "a.b_c", strings.Repeat("a", 64)} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "-a", "a-", "A", "a b", "a/b", "..", "ä", "a\n", strings.Repeat("a", 65), "\u202ea"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestEntryName(t *testing.T) {
	got := entryName("contoso-sync", "0a1b2c3d", "abcdefghij")
	if want := "contoso-sync (rotate 0a1b2c3d/abcdefghij)"; got != want {
		t.Errorf("entryName = %q, want %q", got, want)
	}
	if long := entryName(strings.Repeat("a", 64), "0a1b2c3d", "abcdefghij"); len(long) > 90 || !ourForm.MatchString(long) {
		t.Errorf("%q has %d characters, at most 90 are kept, and must be of our form", long, len(long))
	}
}

func TestPauseEnd(t *testing.T) {
	until := at("2026-06-10 00:00")
	for _, test := range []struct {
		name     string
		lastSafe time.Time
		want     time.Time
	}{
		{"as asked", at("2026-07-01 00:00"), until},
		{"before the last safe start", at("2026-06-05 00:00"), at("2026-06-05 00:00")},
		{"nothing is in danger", time.Time{}, until},
	} {
		if got := pauseEnd(until, test.lastSafe); !got.Equal(test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
