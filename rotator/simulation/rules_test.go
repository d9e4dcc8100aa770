//go:build lives

package simulation

import (
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// mostLives bounds the search for one fault: an idle core plays as many in a minute. A
// number, for what a busy machine does in a time is not known.
const mostLives = 1500

// TestRulesTakenOut takes each rule out of the program in turn, and plays from fresh
// seeds: the simulation finds what the rule prevents.
func TestRulesTakenOut(t *testing.T) {
	for rule, want := range map[rotator.Rule]string{
		rotator.RuleMayHold:       `^x is locked out: it uses x, which was removed$`,
		rotator.RuleStays:         `^x is locked out: it uses x, which was removed$`,
		rotator.RuleBare:          `^x is locked out: it uses x, which was removed$`,
		rotator.RuleSignerGivenUp: `^the list of x is PATCHed although x can sign$`,
		rotator.RuleRemoved:       `^x is called removed, and is on x$`,
		rotator.RuleClock:         `^a rotation of x starts automatically while the clocks differ$`,
		rotator.RuleSigners:       `^the list of x is PATCHed although x can sign$`,
	} {
		t.Run(string(rule), func(t *testing.T) {
			p := playMany(rand.Uint64()>>20, mostLives, 0, map[rotator.Rule]bool{rule: true}, regexp.MustCompile(want))
			found := 0
			for sort, n := range p.bySort {
				if regexp.MustCompile(want).MatchString(sort) {
					found += n
				}
			}
			t.Logf("%d lives from seed %d in %s", p.n, p.seed, p.took.Round(time.Millisecond))
			if found == 0 {
				t.Errorf("not found; what was: %v", p.bySort)
			}
		})
	}
}
