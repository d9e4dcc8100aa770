package rotator_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/seed-f0abd057/rotate/deliver"
	"github.com/seed-f0abd057/rotate/rotator"
)

// sequence is what a rotation of app-1 did, in order: its records by their lines
// of the audit trail, or by what was waited for, and its effects.
type sequence struct {
	mu    sync.Mutex
	lines []string
}

func (s *sequence) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *sequence) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines
}

type seenStore struct {
	rotator.Store
	seen *sequence
}

func (s seenStore) Change(ctx context.Context, app string, change func(*rotator.Records) error) error {
	var line string
	err := s.Store.Change(ctx, app, func(rec *rotator.Records) error {
		if err := change(rec); err != nil {
			return err
		}
		if rec.Rotation == nil {
			return nil
		}
		var what []string
		for _, entry := range rec.Audit {
			what = append(what, entry.What)
		}
		waits := rec.Rotation.WaitingFor
		if len(what) == 0 && waits != "" {
			return nil // what was looked at meanwhile
		}
		if waits != "" {
			what = append(what, "waits for "+waits)
		}
		line = "record: " + strings.Join(what, ", ")
		return nil
	})
	if line != "" && err == nil {
		s.seen.add(line)
	}
	return err
}

type seenEntra struct {
	rotator.Entra
	seen *sequence
}

func (e seenEntra) AddKey(ctx context.Context, as rotator.Access, proof rotator.KeyPair, add rotator.NewKey) (rotator.KeyID, error) {
	e.seen.add("add key")
	return e.Entra.AddKey(ctx, as, proof, add)
}

func (e seenEntra) RemoveKey(ctx context.Context, as rotator.Access, proof rotator.KeyPair, id rotator.KeyID) error {
	e.seen.add("remove key")
	return e.Entra.RemoveKey(ctx, as, proof, id)
}

type seenDeliverer struct {
	rotator.Deliverer
	seen *sequence
	// meanwhile, if set, runs while a delivery does.
	meanwhile func()
}

func (d seenDeliverer) Deliver(ctx context.Context, to rotator.Delivery, p rotator.Package) error {
	d.seen.add("deliver " + to.Kind)
	if d.meanwhile != nil {
		go d.meanwhile()
		time.Sleep(time.Second)
	}
	return d.Deliverer.Deliver(ctx, to, p)
}

func (d seenDeliverer) Confirm(ctx context.Context, hook string, p rotator.Package) error {
	d.seen.add("confirm by " + hook)
	return d.Deliverer.Confirm(ctx, hook, p)
}

// withoutWaits is a policy whose waits are zero.
func withoutWaits() rotator.PolicyOverride {
	p := fast()
	p.Prove = &rotator.ProvePolicy{Successes: 1, Within: 10 * time.Minute}
	p.ReloadWithin, p.Overlap = new(time.Duration), new(time.Duration)
	return p
}

// TestRecords shows when a rotation writes to the journal, which waits for the
// disk: before each effect, and before it waits. What an effect answered is written
// at once where nobody could look again, else with the next record.
func TestRecords(t *testing.T) {
	atOnce := withoutWaits()
	withWaits := atOnce
	withWaits.ReloadWithin, withWaits.Overlap = new(time.Minute), new(time.Hour)
	hooked := func(s *rotator.AppSpec) {
		s.Deliveries = append(s.Deliveries, rotator.Delivery{Kind: rotator.DeliverExec, Hook: "push"})
		s.Confirm = rotator.Confirmation{Rule: rotator.ConfirmCommand, Hook: "works"}
	}
	commanded := func(s *rotator.AppSpec) {
		s.Confirm = rotator.Confirmation{Rule: rotator.ConfirmCommand, Hook: "works"}
	}
	edit := func(ctx context.Context, r *rotator.Rotator) error {
		_, _, err := r.Edit(ctx, "app-1", rotator.Edit{Owner: new("somebody")}, "p")
		return err
	}
	pause := func(ctx context.Context, r *rotator.Rotator) error {
		return r.Pause(ctx, "app-1", time.Now().Add(10*time.Minute), "p")
	}
	begin := []string{
		"record: rotation planned",
		"record: certificate upload begun",
		"add key",
		"record: rotation uploaded",
		"record: rotation proven, delivery begun",
		"deliver file",
	}
	for _, test := range []struct {
		name string
		o    options
		// meanwhile is what a person does while the file is delivered.
		meanwhile func(context.Context, *rotator.Rotator) error
		then      []string
	}{
		{"no waits", options{defaults: atOnce}, nil, []string{
			"record: rotation delivered, rotation confirmed, certificate removal begun",
			"remove key",
			"record: certificate removal sent, rotation retired",
		}},
		{"reload and overlap", options{defaults: withWaits}, nil, []string{
			"record: rotation delivered, waits for reload",
			"record: rotation confirmed, waits for overlap",
			"record: certificate removal begun, waits for overlap",
			"remove key",
			"record: certificate removal sent, rotation retired",
		}},
		{"a person edits the app", options{defaults: atOnce}, edit, []string{
			"record: rotation delivered",
			"record: app edited",
			"record: rotation confirmed, certificate removal begun",
			"remove key",
			"record: certificate removal sent, rotation retired",
		}},
		{"a person pauses the app", options{defaults: atOnce}, pause, []string{
			"record: paused",
			"record: rotation delivered, rotation confirmed, waits for pause",
			"record: certificate removal begun, waits for pause",
			"remove key",
			"record: certificate removal sent, rotation retired",
		}},
		{"a command confirms", options{defaults: atOnce, spec: commanded}, nil, []string{
			"record: rotation delivered",
			"confirm by works",
			"record: rotation confirmed",
			"confirm by works",
			"record: certificate removal begun",
			"remove key",
			"record: certificate removal sent, rotation retired",
		}},
		{"a program delivers", options{defaults: atOnce, spec: hooked}, nil, []string{
			"record: ", // the result of the first
			"deliver exec",
			"record: rotation delivered",
			"confirm by works",
			"record: rotation confirmed",
			"confirm by works",
			"record: certificate removal begun",
			"remove key",
			"record: certificate removal sent, rotation retired",
		}},
	} {
		test.o.hooks = map[string]deliver.Hook{"push": {Command: []string{"/usr/bin/true"}}, "works": {Command: []string{"/usr/bin/true"}}}
		bubble(t, test.name, test.o, func(w *world, r *rotator.Rotator) {
			seen, bare := &sequence{}, r.Store
			deliverer := seenDeliverer{r.Deliverer, seen, nil}
			if test.meanwhile != nil {
				deliverer.meanwhile = func() {
					if err := test.meanwhile(w.t.Context(), r); err != nil {
						w.t.Error(err)
					}
				}
			}
			r.Store, r.Entra, r.Deliverer = seenStore{r.Store, seen}, seenEntra{r.Entra, seen}, deliverer
			stop := run(w.t, r)
			await(w.t, r, "app-1", 3*time.Hour, "retired", phaseIs(rotator.PhaseRetired))
			stop()
			r.Store = bare
			if diff := cmp.Diff(slices.Concat(begin, test.then), seen.all()); diff != "" {
				w.t.Errorf("records and effects (-want +got):\n%s", diff)
			}
			w.checkTenantWith(r)
		})
	}
}
