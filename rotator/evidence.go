package rotator

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// What the sign-in log said about the certificate that was replaced.
const (
	// EvidenceUsed means: the consumer used it after it was to use the new one.
	EvidenceUsed = "used"
	// EvidenceUnused means: the consumer used the new one and not the old one.
	EvidenceUnused = "unused"
	// EvidenceUnknown means: the log told nothing. It proves nothing either way.
	EvidenceUnknown = "unknown"
)

// Evidence is what the sign-in log showed about a rotation's certificates.
type Evidence struct {
	// Result is used, unused or unknown; empty: not asked yet.
	Result string `json:"result,omitempty"`
	// Note says it in one sentence.
	Note    string    `json:"note,omitempty"`
	AskedAt time.Time `json:"asked_at,omitzero"`
	// OldUsedAt and NewUsedAt are the consumer's last sign-ins that were seen; zero:
	// none.
	OldUsedAt time.Time `json:"old_used_at,omitzero"`
	NewUsedAt time.Time `json:"new_used_at,omitzero"`
	// Since is from when on sign-ins count, if a person confirmed again; zero: from
	// the confirmation.
	Since time.Time `json:"since,omitzero"`
}

const (
	// evidenceQuiet is how long the old certificate must have been unused at least
	// once it was seen in use, where the overlap is shorter.
	evidenceQuiet = day
	// evidenceEvery is how often the log is asked while the removal is held.
	evidenceEvery = 6 * time.Hour
	// evidencePatience is how long a removal waits for a log that is throttled or
	// down; then it counts as unknown.
	evidencePatience = day
	// evidenceRead is how many sign-ins with one certificate are looked at. The
	// newest that is not ours decides.
	evidenceRead = 1000
)

func evidenceMode(app string) error {
	return usagef("app %s: evidence of use is read by the tenant's identity, so it needs --mode managed", app)
}

// evidence asks the sign-in log, where the app wants that, whether the consumer
// still uses the certificate that is about to be removed. It holds the removal while
// it does. Everything else lets the removal go on: an empty log, or one that may
// not be read, proves nothing, and the confirmation was the proof.
//
// at is Entra's time. What the log showed is durable before the removal. After a
// crash it is asked again: what was seen then is not what is so now.
func (t *turn) evidence(ctx context.Context, at time.Time) (*wait, error) {
	replaced := t.replaced(at)
	if !t.app.Evidence || t.app.Mode != ModeManaged || len(replaced) == 0 || t.rot.Confirmation == "never" {
		return nil, nil //nolint:nilnil // nothing to ask, or nothing left to protect
	}
	found, err := t.lookUp(ctx, replaced, at)
	if err != nil {
		return nil, err
	}
	known := t.rot.Evidence
	if known == nil || known.Result != found.Result || known.Note != found.Note || at.Sub(known.AskedAt) >= time.Hour {
		if err := t.noteEvidence(ctx, found, at); err != nil {
			return nil, err
		}
	}
	if found.Result != EvidenceUsed {
		return nil, nil //nolint:nilnil // nothing holds it
	}
	until := earlier(found.OldUsedAt.Add(t.quiet()), at.Add(evidenceEvery))
	if end := t.oldEnds(); end.After(at) {
		until = earlier(until, end.Add(time.Second))
	}
	if now := t.now().UTC(); until.Sub(now) < time.Minute {
		until = now.Add(time.Minute)
	}
	return &wait{WaitingEvidence, until}, nil
}

// replaced lists the certificates that are about to be removed and that the consumer may
// still need: ours, unless it was given up or has ended, and those of others that a
// person told to remove. A key ID is empty where nobody could tell it.
func (t *turn) replaced(at time.Time) []*Credential {
	var list []*Credential
	if old := t.rot.Old; old != nil && !old.isLeaving() && !old.GivenUp && !at.After(old.NotAfter) {
		list = append(list, old)
	}
	for i := range t.rot.Told {
		if k := &t.rot.Told[i]; !k.isLeaving() && !at.After(k.NotAfter) {
			list = append(list, &k.Credential)
		}
	}
	return list
}

// oldEnds is when ours ends; zero: there is none.
func (t *turn) oldEnds() time.Time {
	if t.rot.Old == nil {
		return time.Time{}
	}
	return t.rot.Old.NotAfter
}

// quiet is how long the old certificate must have been unused once it was seen in
// use: the overlap begins anew with each use.
func (t *turn) quiet() time.Duration { return max(t.policy.Overlap, evidenceQuiet) }

// lookUp reads the log. The error is that of a log which is down for a while.
func (t *turn) lookUp(ctx context.Context, replaced []*Credential, at time.Time) (Evidence, error) {
	found := Evidence{AskedAt: at.UTC()}
	if t.rot.Evidence != nil {
		found.Since = t.rot.Evidence.Since
	}
	unknown := func(format string, args ...any) (Evidence, error) {
		found.Result, found.Note = EvidenceUnknown, "unknown: "+fmt.Sprintf(format, args...)
		return found, nil
	}
	if slices.ContainsFunc(replaced, func(c *Credential) bool { return c.KeyID == "" }) {
		return unknown("the key ID of the old certificate is not known")
	}
	since := t.rot.PhaseAt[PhaseConfirmed]
	if found.Since.After(since) {
		since = found.Since
	}
	var err error
	for _, c := range replaced {
		var used time.Time
		if used, err = t.lastUse(ctx, c, since); err != nil {
			break
		}
		if used.After(found.OldUsedAt) {
			found.OldUsedAt = used
		}
	}
	if err == nil && t.rot.New.KeyID != "" {
		found.NewUsedAt, err = t.lastUse(ctx, &t.rot.New, t.rot.PhaseAt[PhaseProven])
	}
	if f := failureOf(err); err != nil {
		passes := f.Class == ClassWait || f.Class == ClassRetry || f.Class == ClassClock
		if passes && at.Before(t.rot.RetiresAt.Add(evidencePatience)) {
			return found, fmt.Errorf("nothing is removed before the sign-in log answers, or until %s: %w",
				t.rot.RetiresAt.Add(evidencePatience).Format(time.RFC3339), err)
		}
		return unknown("the sign-in log cannot be read: %s", f.Message)
	}
	switch {
	case !found.OldUsedAt.IsZero() && at.Sub(found.OldUsedAt) < t.quiet():
		found.Result = EvidenceUsed
		found.Note = "the consumer still uses the old certificate, last at " + found.OldUsedAt.Format(time.RFC3339)
	case found.NewUsedAt.IsZero():
		return unknown("the sign-in log shows neither certificate in use since %s", since.UTC().Format(time.RFC3339))
	default:
		found.Result = EvidenceUnused
		found.Note = "the consumer uses the new certificate, last at " + found.NewUsedAt.Format(time.RFC3339) + ", and not the old one"
	}
	return found, nil
}

// lastUse is the consumer's newest sign-in with a certificate; zero: there is none
// since the instant. The log rounds to seconds.
func (t *turn) lastUse(ctx context.Context, c *Credential, since time.Time) (time.Time, error) {
	list, err := t.logged(ctx, c, since)
	if err != nil {
		return time.Time{}, err
	}
	var last time.Time
	for _, s := range list {
		if s.ErrorCode != 0 && c.KeyID == t.rot.New.KeyID {
			continue // it tried, and got no token
		}
		if t.known.shows(s, c) && s.At.After(last) && s.At.After(since) && !isOwn(&t.app, &t.rot, s) && !slices.Contains(t.ownIDs, s.ID) {
			last = s.At
		}
	}
	return last.UTC(), nil
}

// logged reads the log filtered by the certificate's key ID or, where that is not
// possible or shows nothing at all, whole.
func (t *turn) logged(ctx context.Context, c *Credential, since time.Time) ([]LoggedSignIn, error) {
	as, q := Access{Registration: t.app.registration()}, SignInQuery{KeyID: c.KeyID, Since: since.Truncate(time.Second), Most: evidenceRead}
	if !t.known.readsWholeLog() {
		list, err := t.r.settings().Entra.SignIns(ctx, as, q)
		if err != nil && failureOf(err).Class == ClassFix && reasonOf(err) == ReasonOther {
			t.notes().Counted(CountLogNoFilter)
		} else if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			t.noteLogged(list[0])
			return list, nil
		}
	}
	q.KeyID = ""
	list, err := t.r.settings().Entra.SignIns(ctx, as, q)
	if i := slices.IndexFunc(list, func(s LoggedSignIn) bool { return s.ErrorCode == 0 }); i >= 0 {
		t.noteLogged(list[i])
	}
	return list, err
}

// noteEvidence journals what the log showed, and tells of a certificate that is
// still in use.
func (t *turn) noteEvidence(ctx context.Context, found Evidence, at time.Time) error {
	known := t.rot.Evidence
	what := ""
	if known == nil || known.Result != found.Result {
		what = "evidence of use"
	}
	return t.record(ctx, "", func(rec *Records) {
		rec.Rotation.Evidence = &found
		if what != "" {
			rec.Audit = append(rec.Audit, AuditEntry{
				At: t.now().UTC(), By: rec.Rotation.By, What: what, App: t.app.Name, Rotation: t.rot.ID,
				Thumbprint: rec.Rotation.New.ThumbprintSHA256, OldThumbprint: thumbprintOf(rec.Rotation.Old),
				Result: found.Result, Note: found.Note,
			})
		}
		if found.Result != EvidenceUsed {
			return
		}
		severity, end := SeverityWarning, ""
		if ends := t.oldEnds(); !ends.IsZero() {
			end = ", or until its end on " + ends.Format(time.DateOnly)
			if ends.Sub(at) <= 7*day {
				severity = SeverityCritical
			}
		}
		told := false
		for i := range rec.App.Alerts {
			if a := &rec.App.Alerts[i]; a.Kind == EventOldCertificateInUse && a.Severity == severity {
				a.Summary, told = found.Note, true // a repeat names the newest
			}
		}
		if !told {
			rec.Events = append(rec.Events, t.event(EventOldCertificateInUse, severity, found.Note,
				fmt.Sprintf("bring the new one to the consumer; the old one stays until it was unused for %s%s. If the consumer has changed meanwhile: rotate confirm %s CODE",
					days(t.quiet()), end, t.app.Name)))
		}
	})
}
