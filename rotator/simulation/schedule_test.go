package simulation

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// act is one event of a schedule.
type act struct {
	at   time.Duration // since the beginning
	kind string
	app  int
	arg  uint64
}

// schedule is one life: the world is drawn from the seed, then these acts happen.
type schedule struct {
	seed uint64
	acts []act
}

func (s *schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\n", s.seed)
	for _, a := range s.acts {
		fmt.Fprintf(&b, "%s %s app-%d %d\n", a.at, a.kind, a.app+1, a.arg)
	}
	return b.String()
}

// parse reads a script. Lines that begin with # are for people.
func parse(text string) (*schedule, error) {
	s := &schedule{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if seed, ok := strings.CutPrefix(line, "seed "); ok {
			n, err := strconv.ParseUint(seed, 10, 64)
			if err != nil {
				return nil, err
			}
			s.seed = n
			continue
		}
		words := strings.Fields(line)
		if len(words) != 4 {
			return nil, fmt.Errorf("line %q: want when, what, app, argument", line)
		}
		at, err := time.ParseDuration(words[0])
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(words[3], 10, 64)
		if err != nil {
			return nil, err
		}
		s.acts = append(s.acts, act{at, words[1], int(words[2][len(words[2])-1] - '1'), n})
	}
	return s, nil
}

// draw makes a schedule from a seed: at least 30 events, two years in the middle.
func draw(seed uint64, list []kind) *schedule {
	chance := rand.New(rand.NewPCG(seed, 2))
	total := 0
	for _, k := range list {
		total += k.weight
	}
	s := &schedule{seed: seed}
	at, app := time.Duration(0), 0
	for range 30 + chance.IntN(16) {
		switch n := chance.IntN(100); {
		case n < 42:
			at += time.Duration(chance.Int64N(int64(2 * time.Minute)))
		case n < 64:
			at += time.Duration(chance.Int64N(int64(3 * time.Hour)))
		case n < 80:
			at += time.Duration(chance.Int64N(int64(3 * day)))
		default:
			at += time.Duration(chance.Int64N(int64(190 * day)))
			app = chance.IntN(2)
		}
		if chance.IntN(4) == 0 {
			app = 1 - app
		}
		n, i := chance.IntN(total), 0
		for n >= list[i].weight {
			n -= list[i].weight
			i++
		}
		s.acts = append(s.acts, act{at.Round(time.Second), list[i].name, app, chance.Uint64() >> 32})
	}
	return s
}

// life is what one schedule came to.
type life struct {
	broken  string
	story   string
	lasted  time.Duration
	acts    []string
	pairs   [][2]string
	uploads int
}

// play lives one schedule.
func play(s *schedule, list []kind, without map[rotator.Rule]bool, tell bool) (l life) {
	w := newWorld(s.seed, without, tell)
	begun := w.now
	defer func() {
		if p := recover(); p != nil {
			w.breaks("the program panics: %v", p)
			w.note("%s", debug.Stack())
		}
		if len(w.broken) > 0 {
			l.broken = w.broken[0]
		}
		l.story, l.lasted = w.describe(), w.now.Sub(begun)
	}()
	byName := map[string]*kind{}
	for i := range list {
		byName[list[i].name] = &list[i]
	}
	var inRotation [2]struct {
		id   string
		acts []string
	}
	for _, one := range s.acts {
		w.advance(begun.Add(one.at).Sub(w.now))
		if len(w.broken) > 0 {
			return l
		}
		k, a := byName[one.kind], w.apps[one.app]
		if k == nil {
			w.breaks("no act %q", one.kind)
			return l
		}
		if w.host.dead && k.inside && k.name != "down" {
			continue // there is nobody to talk to
		}
		w.note("* %s %s", k.name, a.name)
		w.still = 0
		l.acts = append(l.acts, k.name)
		if in := &inRotation[one.app]; k.inside {
			if id := w.host.store.apps[a.name].Rotation; id != in.id {
				in.id, in.acts = id, nil
			}
			if in.id != "" {
				for _, before := range in.acts {
					l.pairs = append(l.pairs, [2]string{before, k.name})
				}
				in.acts = append(in.acts, k.name)
			}
		}
		k.do(w, a, rand.New(rand.NewPCG(one.arg, 3)))
		w.afterwards()
		if !w.host.dead {
			w.round(false)
		}
	}
	if len(w.broken) == 0 {
		w.judgeEnd()
	}
	for _, a := range w.apps {
		l.uploads += len(a.uploads)
	}
	return l
}

var names = regexp.MustCompile(`\b[NF]\d+\b|app-\d(-\w+)?|[0-9]+[0-9hms.]*|[0-9A-Fa-f]{8,}`)

// sort of a broken promise, without names and numbers.
func sortOf(broken string) string {
	text := names.ReplaceAllString(broken, "x")
	if i := strings.Index(text, ";"); i > 0 {
		text = text[:i]
	}
	return text
}

// shrink cuts a failing schedule down to a short one that fails in the same way.
func shrink(s *schedule, list []kind, without map[rotator.Rule]bool, limit time.Duration) *schedule {
	begun := time.Now()
	want := sortOf(play(s, list, without, false).broken)
	fails := func(acts []act) bool {
		return time.Since(begun) < limit && sortOf(play(&schedule{s.seed, acts}, list, without, false).broken) == want
	}
	acts := s.acts
	for size := len(acts) / 2; size > 0; {
		smaller := false
		for from := 0; from+size <= len(acts); {
			less := slices.Delete(slices.Clone(acts), from, from+size)
			if fails(less) {
				acts, smaller = less, true
			} else {
				from += size
			}
		}
		if !smaller || size > len(acts) {
			size /= 2
		}
	}
	return &schedule{s.seed, acts}
}
