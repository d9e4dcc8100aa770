package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/seed-f0abd057/rotate/control"
	"github.com/seed-f0abd057/rotate/rotator"
	"github.com/seed-f0abd057/rotate/rotator/verify"
)

// verifier runs verifications of tenants: a [control.Verifier].
type verifier struct {
	rotator *rotator.Rotator
	entra   *client
	// mark is that of the store, version that of the program.
	mark, version string
	log           *slog.Logger
	// stopped is closed when the daemon stops; nil: there is no daemon, and a run ends
	// with the command.
	stopped chan struct{}

	mu      sync.Mutex
	running map[string]bool // by tenant, guarded by mu
}

// majorOf is the part of a version with which facts are shared.
func majorOf(version string) string {
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	return major
}

// begin admits one run a tenant.
func (v *verifier) begin(tenant string) (func(), error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.running[tenant] {
		return nil, fmt.Errorf("tenant %s: a verification is running: %w", tenant, rotator.ErrRefused)
	}
	if v.running == nil {
		v.running = map[string]bool{}
	}
	v.running[tenant] = true
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.running, tenant)
	}, nil
}

// journal keeps the entry of a run beside the tenant's record.
type journal struct {
	rotator    *rotator.Rotator
	tenant, by string
	admin      bool
}

// Note implements [verify.Journal].
func (j journal) Note(ctx context.Context, e verify.Entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return j.rotator.NoteVerification(ctx, j.tenant, rotator.Verification{Journal: string(text), Admin: j.admin, By: j.by, At: e.Begun})
}

// Clear implements [verify.Journal].
func (j journal) Clear(ctx context.Context) error {
	return j.rotator.EndVerification(ctx, j.tenant, j.by)
}

// run makes one that has not begun.
func (v *verifier) run(ctx context.Context, tenant string, admin rotator.Token, by string) (*verify.Run, error) {
	if err := v.rotator.CheckVerify(ctx, tenant); err != nil {
		return nil, err
	}
	raw, err := v.entra.Load().Raw(tenant, admin)
	if err != nil {
		return nil, err
	}
	return &verify.Run{
		Tenant: raw, Journal: journal{v.rotator, tenant, by, admin != ""}, Mark: v.mark, Version: v.version,
	}, nil
}

// ownOf is a tracked app that tries its own keys.
func ownOf(app *rotator.App, pair rotator.KeyPair) *verify.Own {
	return &verify.Own{App: app.Name, ObjectID: string(app.ObjectID), ClientID: string(app.ClientID), Key: pair.Key, Certificate: pair.Certificate}
}

// Verify implements [control.Verifier].
func (v *verifier) Verify(ctx context.Context, tenant string, q control.VerifyRequest, by string, tell func(string)) (verify.Report, error) {
	release, err := v.begin(tenant)
	if err != nil {
		return verify.Report{}, err
	}
	defer release()
	run, err := v.run(ctx, tenant, rotator.Token(q.Admin), by)
	if err != nil {
		return verify.Report{}, err
	}
	if q.App != "" {
		app, pair, err := v.rotator.VerifyPair(ctx, tenant, q.App)
		if err != nil {
			return verify.Report{}, err
		}
		run.Own = ownOf(&app, pair)
	}
	run.Scope, run.Wait, run.Progress = q.Scope, time.Duration(q.Wait), tell
	if left, err := v.rotator.Verification(ctx, tenant); err != nil || left != nil {
		if err == nil {
			err = fmt.Errorf("tenant %s: a verification of %s has not cleaned up; run: rotate tenant verify %s --cleanup: %w",
				tenant, left.At.Format("2006-01-02 15:04 UTC"), tenant, rotator.ErrRefused)
		}
		return verify.Report{}, err
	}
	// The run ends with its client, but for the wait for the sign-in log.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	attached := context.AfterFunc(ctx, cancel)
	defer attached()
	if v.stopped != nil {
		run.Waiting = func() {
			attached()
			tell("nothing is left in the tenant; the daemon waits for the sign-in log, also without this command")
			go func() {
				select {
				case <-v.stopped:
					cancel()
				case <-running.Done():
				}
			}()
		}
	}
	report, err := run.Do(running)
	return report, errors.Join(err, v.learn(running, tenant, report))
}

// learn keeps what a run found.
func (v *verifier) learn(ctx context.Context, tenant string, report verify.Report) error {
	found := map[string]rotator.VerifiedFact{}
	for _, f := range report.Facts {
		if f.Value != verify.Unknown {
			found[f.Name] = rotator.VerifiedFact{Value: f.Value, At: f.At}
			if f.Name == "ten_years" { // what it says is recognised when it is said again
				found[f.Name] = rotator.VerifiedFact{Value: f.Value, At: f.At, Answer: f.Answer}
			}
		}
	}
	lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return v.rotator.Learn(lasting, tenant, majorOf(v.version), found)
}

// CleanUp implements [control.Verifier].
func (v *verifier) CleanUp(ctx context.Context, tenant string, admin rotator.Token, by string) (string, error) {
	release, err := v.begin(tenant)
	if err != nil {
		return "", err
	}
	defer release()
	return v.cleanUp(ctx, tenant, admin, by)
}

func (v *verifier) cleanUp(ctx context.Context, tenant string, admin rotator.Token, by string) (string, error) {
	e, run, err := v.open(ctx, tenant, admin, by)
	if err != nil || run == nil {
		return "", err
	}
	var stays string
	if !e.Deleted {
		if stays, err = run.CleanUp(ctx, e); err != nil {
			return "", fmt.Errorf("tenant %s: %w", tenant, err)
		}
	}
	return stays, v.rotator.EndVerification(ctx, tenant, by)
}

// open reads the journal of a run that has not ended; nil: there is none.
func (v *verifier) open(ctx context.Context, tenant string, admin rotator.Token, by string) (verify.Entry, *verify.Run, error) {
	left, err := v.rotator.Verification(ctx, tenant)
	if err != nil || left == nil {
		return verify.Entry{}, nil, err
	}
	var e verify.Entry
	if err := json.Unmarshal([]byte(left.Journal), &e); err != nil {
		return e, nil, fmt.Errorf("tenant %s: the journal of the verification cannot be read: %w", tenant, err)
	}
	run, err := v.run(ctx, tenant, admin, by)
	if err != nil || e.App == "" {
		return e, run, err
	}
	app, pair, err := v.rotator.CleanUpPair(ctx, e.App)
	switch {
	case err == nil:
		run.Own = ownOf(&app, pair)
	case !errors.Is(err, rotator.ErrNotFound):
		return e, nil, err
	}
	return e, run, nil
}

// bySchedule is who does what nobody asked for, as in the audit trail.
const bySchedule = "schedule"

// tidyEvery is how often the daemon looks for runs that have not cleaned up.
const tidyEvery = 10 * time.Minute

// resume cleans up after runs that a stop of the daemon ended, or that could not do it
// themselves, until the daemon stops again. Rotations matter more: nothing here ends
// the daemon.
func (v *verifier) resume(ctx context.Context) {
	var waits sync.WaitGroup
	defer waits.Wait()
	defer close(v.stopped)
	said := map[string]string{}
	for ctx.Err() == nil {
		open, err := v.rotator.Verifications(ctx)
		if err != nil && ctx.Err() == nil {
			v.log.ErrorContext(ctx, "cannot see whether a verification was stopped", "err", err)
		}
		for tenant, left := range open {
			err := v.tidy(ctx, tenant, left.At, &waits)
			if err != nil && ctx.Err() == nil && said[tenant] != err.Error() {
				v.log.WarnContext(ctx, "a verification was stopped and could not be cleaned up", "tenant", tenant, "begun", left.At,
					"err", err, "next", "rotate tenant verify "+tenant+" --cleanup")
				said[tenant] = err.Error()
			}
		}
		pause := time.NewTimer(tidyEvery)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// tidy cleans up after one run, or goes on waiting for the sign-in log where the app is
// deleted already.
func (v *verifier) tidy(ctx context.Context, tenant string, begun time.Time, waits *sync.WaitGroup) error {
	release, err := v.begin(tenant)
	if err != nil {
		return nil // it runs, and cleans up itself
	}
	e, run, err := v.open(ctx, tenant, "", bySchedule)
	if err == nil && run != nil && e.Deleted && time.Now().Before(e.LogUntil) {
		waits.Go(func() {
			defer release()
			report, err := run.Resume(ctx, e)
			if err = errors.Join(err, v.learn(ctx, tenant, report)); err != nil && ctx.Err() == nil {
				v.log.WarnContext(ctx, "the sign-in log could not be waited for", "tenant", tenant, "err", err)
			}
		})
		return nil
	}
	defer release()
	if err != nil {
		return err
	}
	stays, err := v.cleanUp(ctx, tenant, "", bySchedule)
	if err == nil {
		v.log.InfoContext(ctx, "a verification was stopped and is cleaned up", "tenant", tenant, "begun", begun, "left", stays)
	}
	return err
}
