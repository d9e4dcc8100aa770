package rotator

import (
	"fmt"
	"slices"
	"time"
)

// Removal is a certificate whose removal was sent, until [isRemoved] has decided,
// and for a while after that: something else may bring it back. RemovalSentAt of the
// Credential is when the removal was first sent, RemovedAt when it was confirmed.
type Removal struct {
	Credential
	// Rotation that sent it, By who asked for that.
	Rotation string `json:"rotation,omitempty"`
	By       string `json:"by,omitempty"`
	// Foreign tells that rotate did not make it: it goes by its KeyID alone.
	Foreign bool `json:"foreign,omitempty"`
	// KeyIDs are the entries that were read to carry it, or that an answer named.
	KeyIDs []KeyID `json:"key_ids,omitempty"`
	// Begun is since when it is checked.
	Begun time.Time `json:"begun"`
	// Sends counts requests, LastSentAt is the newest, Sent those of a day.
	Sends      int         `json:"sends,omitempty"`
	LastSentAt time.Time   `json:"last_sent_at,omitzero"`
	Sent       []time.Time `json:"sent,omitempty"`
	// Readable, Held, Listed, Accepted, Absent and Refused are as in [isRemoved]. At
	// is the newest answer's time, SeenAt that of the newest that showed it.
	Readable bool      `json:"readable,omitempty"`
	Held     bool      `json:"held,omitempty"`
	Listed   bool      `json:"listed,omitempty"`
	Accepted bool      `json:"accepted,omitempty"`
	Absent   Absence   `json:"absent,omitzero"`
	Refused  Absence   `json:"refused,omitzero"`
	At       time.Time `json:"at,omitzero"`
	SeenAt   time.Time `json:"seen_at,omitzero"`
	// LookAt is when it is checked next, LookedAt when it was last.
	LookAt   time.Time `json:"look_at,omitzero"`
	LookedAt time.Time `json:"looked_at,omitzero"`
	// Trouble is why the last check or request failed, Fails how often in a row.
	Trouble string `json:"trouble,omitempty"`
	Fails   int    `json:"fails,omitempty"`
	// ReportedAt is when it was reported to people; zero: there was no need.
	ReportedAt time.Time `json:"reported_at,omitzero"`
	// Back is when it was on the app again after it had been removed. It is not sent
	// again then: somebody may want it.
	Back time.Time `json:"back,omitzero"`
	// EndedAt is when it was settled; zero: it is pending. End is how: removed,
	// expired or orphan.
	EndedAt time.Time `json:"ended_at,omitzero"`
	End     string    `json:"end,omitempty"`
}

// How a removal ends.
const (
	RemovalRemoved = "removed"
	RemovalExpired = "expired"
	RemovalOrphan  = "orphan"
)

// IsPending reports whether it is not settled yet.
func (m *Removal) IsPending() bool { return m.End == "" }

// Pending lists the removals that are not settled.
func (a *App) Pending() []Removal {
	var list []Removal
	for _, m := range a.Removals {
		if m.IsPending() {
			list = append(list, m)
		}
	}
	return list
}

// pendingOf returns the pending removal of a certificate of ours; nil: there is none.
func (a *App) pendingOf(t Thumbprint) *Removal {
	for i := range a.Removals {
		if m := &a.Removals[i]; m.IsPending() && !m.Foreign && m.ThumbprintSHA256 == t {
			return m
		}
	}
	return nil
}

// isLeaving reports whether an entry is one whose removal was sent: nobody misses it.
func (a *App) isLeaving(id KeyID, t Thumbprint) bool {
	return slices.ContainsFunc(a.Removals, func(m Removal) bool { return m.Carries(id, t) })
}

// Carries reports whether an entry with this KeyID, or this certificate where it is
// known, is the one that was to be removed.
func (m *Removal) Carries(id KeyID, t Thumbprint) bool {
	switch {
	case m.Foreign:
		return slices.Contains(m.KeyIDs, id)
	case t != "":
		return t == m.ThumbprintSHA256
	}
	return id != "" && slices.Contains(m.KeyIDs, id)
}

// seen is what [isRemoved] judges.
func (m *Removal) seen() *removalSeen {
	return &removalSeen{
		Readable: m.Readable, Held: m.Held, Listed: m.Listed, Accepted: m.Accepted, Absent: m.Absent, Refused: m.Refused,
		AddedAt: m.AddedAt, SentAt: m.Begun, NotAfter: m.NotAfter, At: m.At,
	}
}

// endedRemovals is how many settled removals of an app are kept.
const endedRemovals = 16

// keepRemoval adds a removal, or replaces the one of the same entry.
func keepRemoval(app *App, m *Removal) {
	list := slices.DeleteFunc(slices.Clone(app.Removals), func(o Removal) bool {
		return o.Foreign == m.Foreign && o.ThumbprintSHA256 == m.ThumbprintSHA256 && (!m.Foreign || o.KeyID == m.KeyID)
	})
	list = append(list, *m)
	for ended := endedOf(list); ended > endedRemovals; ended-- {
		i := slices.IndexFunc(list, func(o Removal) bool { return !o.IsPending() })
		list = slices.Delete(list, i, i+1)
	}
	app.Removals = list
}

func endedOf(list []Removal) int {
	n := 0
	for i := range list {
		if !list[i].IsPending() {
			n++
		}
	}
	return n
}

// removalTimes are those of the app's cloud.
func (r *Rotator) removalTimes(app *App, policy *Policy) RemovalTimes {
	times, ok := r.settings().RemovalTimes[app.Tenant]
	if !ok {
		times = DefaultRemovalTimes()
	}
	if times.Young == 0 {
		times.Young = policy.Prove.Within
	}
	return times
}

// firstLook is how long after its request a removal is first checked: directly
// after it, reads often still list the entry.
const firstLook = absentEvery

// newRemoval is the record of a removal that was just sent as the entries ids, or
// with none of a certificate that may be on the app and is looked for.
func (t *turn) newRemoval(c *Credential, ids []KeyID, foreign bool) *Removal {
	now := t.now().UTC()
	m := &Removal{
		Credential: *c, Rotation: t.rot.ID, By: t.rot.By, Foreign: foreign, KeyIDs: slices.Clone(ids), Begun: now,
		Readable: !t.rot.Unreadable, Held: !foreign,
	}
	if m.AddedAt.IsZero() && c.ThumbprintSHA256 == t.rot.New.ThumbprintSHA256 {
		// A record of an older version.
		m.AddedAt = t.rot.PhaseAt[PhaseUploaded]
		if at := t.rot.Upload.SentAt; at.After(m.AddedAt) {
			m.AddedAt = at
		}
	}
	if len(ids) > 0 {
		m.Sends, m.LastSentAt, m.Sent = 1, now, []time.Time{now}
	}
	if known := t.app.pendingOf(c.ThumbprintSHA256); known != nil && !foreign {
		m.Begun, m.Sends, m.RemovalSentAt = known.Begun, m.Sends+known.Sends, known.RemovalSentAt
		m.Sent = append(within(known.Sent, now, day), m.Sent...)
		for _, id := range known.KeyIDs {
			if !slices.Contains(m.KeyIDs, id) {
				m.KeyIDs = append(m.KeyIDs, id)
			}
		}
	}
	if m.RemovalSentAt.IsZero() {
		m.RemovalSentAt = now
	}
	times := t.r.removalTimes(&t.app, &t.policy)
	m.LookAt = now.Add(min(firstLook, m.seen().readEvery(times)))
	m.RemovalFrom = m.seen().earliest(times, m.LookAt)
	return m
}

// begin puts a removal on the app's list of those that are checked, and notes
// wherever the certificate is described that nothing may rest on it any more.
func (t *turn) begin(m *Removal) {
	what := "certificate removal sent"
	switch {
	case m.Foreign:
		what = "removal of a foreign certificate sent"
	case m.Sends == 0 && m.Trouble != "":
		what = "removal of an expired certificate failed"
	case m.Sends == 0:
		what = "certificate not seen on the app"
	}
	now := t.now().UTC()
	event := Event{}
	if m.GivenUp {
		event = t.event(EventRemovalUnconfirmed, SeverityCritical,
			fmt.Sprintf("the removal of the compromised certificate %s was sent and is not confirmed yet: whoever has its key may still sign in", m.ThumbprintSHA1),
			"it is checked until it is confirmed; to check it yourself: "+portalPath(&t.app, m))
	}
	t.learn(func(rec *Records) {
		rec.Rotation.RemovalSentAt, rec.Rotation.Removing = time.Time{}, ""
		keepRemoval(rec.App, m)
		noteRemoval(rec, m)
		line := t.audit(rec, what, now)
		line.OldThumbprint = m.ThumbprintSHA256
		rec.Audit = append(rec.Audit, line)
		if event.ID != "" {
			rec.Events = append(rec.Events, event)
		}
	})
}

// noteRemoval copies what is known of a removal to wherever its certificate is
// described, in the app, its open rotation and the one that sent it.
func noteRemoval(rec *Records, m *Removal) {
	note := func(c *Credential) {
		c.RemovalSentAt, c.RemovalFrom, c.RemovedAt = m.RemovalSentAt, m.RemovalFrom, m.RemovedAt
	}
	for _, rot := range []*Rotation{rec.Rotation, rec.Closed} {
		if rot == nil {
			continue
		}
		rot.Told = slices.Clone(rot.Told)
		for i := range rot.Told {
			if m.Foreign && rot.Told[i].KeyID == m.KeyID {
				note(&rot.Told[i].Credential)
			}
		}
		rot.Upload.Seen = slices.DeleteFunc(slices.Clone(rot.Upload.Seen), func(id KeyID) bool { return slices.Contains(m.KeyIDs, id) })
		if c := rot.Compromised; c != nil && !m.Foreign && c.Thumbprint == m.ThumbprintSHA256 {
			c.DoneAt, c.RemovedAt = m.RemovalSentAt, m.RemovedAt
		}
	}
	if !m.Foreign {
		eachCopy(rec, m.ThumbprintSHA256, note)
	}
}

// portalPath says where a person sees whether a certificate is on the app.
func portalPath(app *App, m *Removal) string {
	what := "thumbprint " + m.ThumbprintSHA1
	if m.Foreign {
		what = "key ID " + string(m.KeyID)
	}
	return fmt.Sprintf("Entra admin centre > App registrations > All applications > %s > Certificates & secrets > Certificates: %s", app.ClientID, what)
}

// about names the certificate for people.
func (m *Removal) about() string {
	switch {
	case m.Foreign:
		return "the certificate with the key ID " + string(m.KeyID) + ", which rotate did not make,"
	case m.GivenUp:
		return "the compromised certificate " + m.ThumbprintSHA1
	}
	return "the certificate " + m.ThumbprintSHA1
}

// State says in plain words where a removal stands at the given time.
func (m *Removal) State(app *App, now time.Time) string {
	const clock = "2006-01-02 15:04 MST"
	switch {
	case m.End == RemovalRemoved:
		return "removed, confirmed " + m.RemovedAt.UTC().Format(clock)
	case m.End == RemovalExpired, !now.Before(m.NotAfter):
		return "expired " + m.NotAfter.UTC().Format(clock)
	case m.End == RemovalOrphan:
		return "on the app; remove it in the " + portalPath(app, m)
	case !m.Back.IsZero():
		return "on the app again since " + m.Back.UTC().Format(clock) + "; check " + portalPath(app, m)
	case m.Sends == 0 && m.Trouble == "":
		return "not seen on the app; certain from " + m.RemovalFrom.UTC().Format(clock) + " on"
	case !m.Readable && !m.Held:
		return "removal sent; it cannot be confirmed from here, check " + portalPath(app, m)
	case m.Listed || m.Accepted:
		return fmt.Sprintf("removal sent %s, still on the app %s; check %s", howOften(m.Sends), m.SeenAt.UTC().Format(clock), portalPath(app, m))
	case m.Trouble != "":
		return "removal sent; the last check failed: " + m.Trouble
	}
	return "removal sent; confirmed from " + m.RemovalFrom.UTC().Format(clock) + " on"
}

func howOften(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
