package rotator //nolint:testpackage // isRemoved is the judge of everything, and private

import (
	"testing"
	"time"
)

// TestIsRemoved goes through the rule line by line.
func TestIsRemoved(t *testing.T) {
	t.Parallel()
	const within = 6 * time.Hour
	times := DefaultRemovalTimes()
	times.Young = within
	sent := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return sent.Add(d) }
	counted := func(n int, from, to time.Duration) Absence { return Absence{Reads: n, Since: at(from), Last: at(to)} }
	end := at(300 * day)
	absent, refused := counted(5, 0, 2*time.Minute), counted(3, 0, 10*time.Minute)
	for name, c := range map[string]struct {
		seen removalSeen
		want verdict
	}{
		"no answer yet":                          {removalSeen{Readable: true, Held: true}, verdictNotYet},
		"absent and refused":                     {removalSeen{Readable: true, Held: true, Absent: absent, Refused: refused}, verdictRemoved},
		"absent, no key":                         {removalSeen{Readable: true, Absent: absent}, verdictRemoved},
		"refused, no list":                       {removalSeen{Held: true, Refused: refused}, verdictRemoved},
		"no list, no key":                        {removalSeen{Absent: absent, Refused: refused}, verdictUnknowable},
		"absent only, key held":                  {removalSeen{Readable: true, Held: true, Absent: absent}, verdictNotYet},
		"refused only, list readable":            {removalSeen{Readable: true, Held: true, Refused: refused}, verdictNotYet},
		"four reads":                             {removalSeen{Readable: true, Absent: counted(4, 0, 2*time.Minute)}, verdictNotYet},
		"five reads in less than two minutes":    {removalSeen{Readable: true, Absent: counted(5, 0, 119*time.Second)}, verdictNotYet},
		"one refused sign-in":                    {removalSeen{Held: true, Refused: counted(1, 0, 0)}, verdictNotYet},
		"two refused sign-ins over ten minutes":  {removalSeen{Held: true, Refused: counted(2, 0, 10*time.Minute)}, verdictNotYet},
		"three refused in less than ten minutes": {removalSeen{Held: true, Refused: counted(3, 0, 599*time.Second)}, verdictNotYet},
		"listed":                                 {removalSeen{Readable: true, Held: true, Listed: true, Refused: refused}, verdictPresent},
		"listed at last, though absent before":   {removalSeen{Readable: true, Listed: true, Absent: absent}, verdictPresent},
		"a token":                                {removalSeen{Readable: true, Held: true, Accepted: true, Absent: absent}, verdictPresent},
		"a token, no list":                       {removalSeen{Held: true, Accepted: true}, verdictPresent},
		"expired":                                {removalSeen{Readable: true, Held: true, Listed: true, At: end}, verdictExpired},
		"expired, never seen":                    {removalSeen{At: end}, verdictExpired},
		"expired rather than removed":            {removalSeen{Readable: true, Held: true, Absent: absent, Refused: refused, At: end}, verdictExpired},
		"a second before its end":                {removalSeen{Readable: true, Held: true, Listed: true, At: end.Add(-time.Second)}, verdictPresent},
		"young, refused over ten minutes":        {removalSeen{Held: true, Refused: refused, AddedAt: at(-time.Hour)}, verdictNotYet},
		"young, refused from too early on": {
			removalSeen{Held: true, Refused: counted(3, 4*time.Hour, 11*time.Hour), AddedAt: at(-time.Hour)}, verdictNotYet,
		},
		"young, refused not long enough": {
			removalSeen{Held: true, Refused: counted(3, 5*time.Hour, 10*time.Hour), AddedAt: at(-time.Hour)}, verdictNotYet,
		},
		"young, refused late and long": {
			removalSeen{Held: true, Refused: counted(3, 5*time.Hour, 11*time.Hour), AddedAt: at(-time.Hour)}, verdictRemoved,
		},
		"young, absent only": {
			removalSeen{Readable: true, Held: true, Absent: absent, Refused: refused, AddedAt: at(-time.Hour)}, verdictNotYet,
		},
		"young, no key":          {removalSeen{Readable: true, Absent: absent, AddedAt: at(-time.Hour)}, verdictRemoved},
		"no longer young":        {removalSeen{Held: true, Refused: refused, AddedAt: at(-within)}, verdictRemoved},
		"a second before it was": {removalSeen{Held: true, Refused: refused, AddedAt: at(time.Second - within)}, verdictNotYet},
	} {
		c.seen.SentAt, c.seen.NotAfter = sent, end
		if got := isRemoved(&c.seen, times); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestRefusalsAgain counts answers by Entra's time alone.
func TestRefusalsAgain(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	var a Absence
	for i, c := range []struct {
		at   time.Duration
		want Absence
	}{
		{0, Absence{1, begin, begin}},
		{10 * time.Second, Absence{1, begin, begin}}, // too soon after the last
		{time.Minute, Absence{2, begin, begin.Add(time.Minute)}},
		{-time.Hour, Absence{1, begin.Add(-time.Hour), begin.Add(-time.Hour)}}, // the clock went back
	} {
		if a = a.again(begin.Add(c.at), 30*time.Second); a != c.want {
			t.Errorf("answer %d: %+v, want %+v", i, a, c.want)
		}
	}
	if got := a.again(time.Time{}, 0); got != a {
		t.Errorf("an answer without a date counted: %+v", got)
	}
}

// TestEarliest is what people are shown: no removal is confirmed before it.
func TestEarliest(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	times := DefaultRemovalTimes()
	times.Young = 6 * time.Hour
	for name, c := range map[string]struct {
		seen removalSeen
		want time.Duration
	}{
		"list and key": {removalSeen{Readable: true, Held: true}, 10*time.Minute + 4*time.Second},
		"list":         {removalSeen{Readable: true}, 2*time.Minute + 4*time.Second},
		"key":          {removalSeen{Held: true}, 10*time.Minute + 2*time.Second},
		"young":        {removalSeen{Readable: true, Held: true, AddedAt: sent.Add(-time.Hour)}, 11*time.Hour + 2*time.Second},
	} {
		c.seen.SentAt = sent
		if got := c.seen.earliest(times, sent).Sub(sent); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if got := (&removalSeen{SentAt: sent}).earliest(times, sent); !got.IsZero() {
		t.Errorf("neither list nor key: %s, want never", got)
	}
}
