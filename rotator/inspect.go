package rotator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Inspection is the last look at a whole tenant.
type Inspection struct {
	// WatchAll asks for alerts about credentials of apps that are not tracked too.
	WatchAll bool `json:"watch_all,omitempty"`
	// At is when the last one that worked ended; zero: none has.
	At time.Time `json:"at,omitzero"`
	// Tried is when the last one ended, and Error how it failed; empty: it worked.
	Tried time.Time `json:"tried,omitzero"`
	// OverdueAt is when an alert said that the last one that worked is too old; zero:
	// none did.
	OverdueAt time.Time `json:"overdue_at,omitzero"`
	Error     string    `json:"error,omitempty"`
}

// Listed is what was on an app besides ours, and whether ours was.
type Listed struct {
	Foreign []Foreign `json:"foreign,omitempty"`
	// Missing is since when the certificate in service is not on the app although
	// nobody here removed it; zero: it is there.
	Missing time.Time `json:"missing,omitzero"`
	// FederatedRead tells that the federated credentials among Foreign were read
	// once, so that a further one is news. FederatedUnknown is why the last reading
	// did not show them; empty: it did. With both empty nobody has looked.
	FederatedRead    bool   `json:"federated_read,omitempty"`
	FederatedUnknown string `json:"federated_unknown,omitempty"`
}

// Foreign is a credential on a tracked app that is not ours.
type Foreign struct {
	// Kind is [FoundCertificate], [FoundSecret] or [FoundFederated].
	Kind        string    `json:"kind"`
	KeyID       KeyID     `json:"key_id"`
	DisplayName string    `json:"display_name,omitempty"`
	NotAfter    time.Time `json:"not_after,omitzero"`
	// Issuer and Subject are those of a federated one.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
}

func (f Foreign) text() string {
	if f.IsFederated() {
		return fmt.Sprintf("federated credential %s (%s, for %s)", f.KeyID, shownName(f.DisplayName), f.Trusted())
	}
	return fmt.Sprintf("%s %s (%s)", f.Kind, f.KeyID, shownName(f.DisplayName))
}

// Watch says whether credentials of apps that are not tracked are alerted on.
func (r *Rotator) Watch(ctx context.Context, tenant string, all bool, by string) error {
	if _, err := r.settings().Entra.Hosts(tenant); err != nil {
		return usagef("the configuration has no tenant %q; add it under tenants", tenant)
	}
	return r.write(ctx, "", func(rec *Records) error {
		known, err := rec.Tenant(tenant)
		if err != nil {
			return err
		}
		known.Inspection.WatchAll = all
		what := "tenant watched"
		if !all {
			what = "tenant no longer watched"
		}
		rec.Audit = append(rec.Audit, AuditEntry{At: r.now().UTC(), By: by, What: what, Note: tenant})
		return nil
	})
}

// inspectionWarnings tells which tenants could not be inspected.
func (r *Rotator) inspectionWarnings(ctx context.Context) ([]string, error) {
	tenants, err := r.Store.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	warnings := r.blockWarnings()
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		known := tenants[tenant].Inspection
		if known.Error != "" {
			warnings = append(warnings, "the last inspection failed: "+known.Error)
		}
		if r.isOverdue(known, r.now()) {
			warnings = append(warnings, "tenant "+tenant+" was last inspected on "+known.At.Format("2006-01-02 15:04 MST")+": credentials that appeared since are not noticed")
		}
	}
	return warnings, nil
}

// isOverdue reports whether the last inspection that worked is older than two periods of
// the schedule. One that never worked says so itself.
func (r *Rotator) isOverdue(known Inspection, now time.Time) bool {
	if r.InspectSchedule == nil || known.At.IsZero() {
		return false
	}
	first := r.InspectSchedule.Next(known.At)
	return now.After(r.InspectSchedule.Next(r.InspectSchedule.Next(first)))
}

// RunInspections inspects the tenants on their schedule until ctx is done.
// Failures are in the log and the status.
func (r *Rotator) RunInspections(ctx context.Context) error {
	if r.InspectSchedule == nil {
		<-ctx.Done()
		return nil
	}
	last := r.now().Round(0)
	if tenants, err := r.Store.Tenants(ctx); err == nil {
		// What was due while nobody ran is done at once.
		for _, tenant := range r.settings().Tenants {
			if tried := tenants[tenant].Inspection.Tried; !tried.IsZero() && tried.Before(last) {
				last = tried
			}
		}
	}
	for ctx.Err() == nil {
		next := r.InspectSchedule.Next(last)
		if now := r.now().Round(0); now.Before(next) {
			nap := time.NewTimer(min(next.Sub(now), loopNap))
			select {
			case <-ctx.Done():
			case <-nap.C:
			}
			nap.Stop()
			continue
		}
		last = r.now().Round(0)
		if err := r.Inspect(ctx); err != nil && ctx.Err() == nil {
			r.log().WarnContext(ctx, "inspection failed", "err", err)
		}
	}
	return nil
}

// Inspect looks at every tenant once: it tells of credentials that appeared on
// tracked apps or are gone from them, and of those that end and that nobody
// replaces. Where a tenant may not be listed, it asks for each tracked app.
//
// Tenants do not wait for each other: each has a worker of its own and a time limit.
func (r *Rotator) Inspect(ctx context.Context) error {
	tenants := r.settings().Tenants
	failed := make([]error, len(tenants))
	free := make(chan struct{}, inspectedAtOnce)
	var work sync.WaitGroup
	for i, tenant := range tenants {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		work.Go(func() {
			defer func() { <-free }()
			failed[i] = r.inspectTenant(ctx, tenant)
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(failed...)
}

const (
	// inspectedAtOnce is how many tenants are inspected side by side: far more than will
	// be slow at the same time.
	inspectedAtOnce = 32
	// inspectionTime is how long the inspection of one tenant may take. Graph lets the
	// certificates of some 9,000 apps an hour be read one by one.
	inspectionTime = 4 * time.Hour
)

// inspection is one look at one tenant.
type inspection struct {
	r      *Rotator
	tenant string
	now    time.Time
	// since is when the last one was: what has passed a stage since is told.
	since time.Time
	// watch tells that apps which are not tracked count too.
	watch bool
	// met are tracked apps that the list held.
	met map[string]bool
	// doubtful are apps whose list lacks something.
	doubtful []string
	// byIdentity tells that the tenant's identity can read the apps.
	byIdentity bool
	// notEach tells that the federated credentials cannot be read app by app either.
	notEach bool
	ending  endings
}

func (r *Rotator) inspectTenant(whole context.Context, tenant string) error {
	ctx, cancelTime := context.WithTimeout(whole, inspectionTime)
	defer cancelTime()
	before, err := r.Store.Tenant(ctx, tenant)
	if err != nil {
		return err
	}
	known := before.Inspection
	in := &inspection{
		r: r, tenant: tenant, now: r.now().UTC(), since: known.At, watch: known.WatchAll,
		met: map[string]bool{}, byIdentity: true, ending: endings{stages: r.stages()},
	}
	err = r.registered(ctx, tenant, true, func(page InventoryPage) error { return in.page(ctx, page) })
	unlisted := ""
	if f := failureOf(err); f != nil && f.Class == ClassFix {
		in.byIdentity, in.doubtful, in.ending = false, nil, endings{stages: r.stages()}
		if known.WatchAll {
			unlisted = err.Error()
		}
		err = in.askEach(ctx)
	}
	if err == nil {
		err = in.unmet(ctx)
	}
	if err == nil {
		err = in.settle(ctx)
	}
	if err == nil {
		err = in.preflights(ctx)
	}
	if whole.Err() != nil {
		return whole.Err()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("tenant %s: it was not read to its end within %s", tenant, inspectionTime)
	}
	lasts, cancel := lasting(ctx)
	defer cancel()
	recorded := r.write(lasts, "", func(rec *Records) error {
		of, recErr := rec.Tenant(tenant)
		if recErr != nil {
			return recErr
		}
		of.Inspection.Tried = in.now
		if err != nil {
			of.Inspection.Error = err.Error()
			if r.isOverdue(of.Inspection, r.now()) && of.Inspection.OverdueAt.IsZero() {
				of.Inspection.OverdueAt = in.now
				rec.Events = append(rec.Events, r.newEvent(nil, nil, EventInspectionOverdue, SeverityWarning,
					fmt.Sprintf("tenant %s was last inspected on %s, so credentials that appeared since are not noticed: %s", tenant, of.Inspection.At.Format("2006-01-02 15:04 MST"), err),
					"find out why the tenant does not answer: rotate discover --tenant "+tenant))
			}
		} else {
			if !of.Inspection.OverdueAt.IsZero() {
				rec.Events = append(rec.Events, r.newEvent(nil, nil, EventRecovered, SeverityInfo, "tenant "+tenant+" is inspected again", ""))
				of.Inspection.OverdueAt = time.Time{}
			}
			of.Inspection.At, of.Inspection.Error = in.now, unlisted
			rec.Events = append(rec.Events, in.ending.events(r, tenant, in.now)...)
		}
		return nil
	})
	return errors.Join(err, recorded)
}

// page looks at one page of the tenant's list.
func (in *inspection) page(ctx context.Context, page InventoryPage) error {
	for _, found := range page.Found {
		app, rot, err := in.r.trackedAs(ctx, in.tenant, found.ClientID)
		if err != nil {
			return err
		}
		switch {
		case app != nil && found.Kind == RegisteredApp:
			in.met[app.Name] = true
			got, err := in.listed(ctx, app, found)
			if err == nil {
				got, err = in.certain(ctx, app, rot, got)
			}
			if err != nil {
				return err
			}
			if err := in.compare(ctx, app, rot, got); err != nil {
				return err
			}
		case app != nil || in.watch:
			for _, c := range found.Credentials {
				in.ending.note(in.since, in.now, found, c)
			}
		}
	}
	return nil
}

// askEach reads each tracked app by itself, for tenants that may not be listed.
// What an app may not read is no failure: most may not.
func (in *inspection) askEach(ctx context.Context) error {
	return in.eachApp(ctx, func(app *App) error {
		got, err := in.read(ctx, app)
		in.met[app.Name] = true
		if got.deleted || got.refused {
			in.doubtful = append(in.doubtful, app.Name)
			return nil
		}
		if err != nil {
			in.r.log().DebugContext(ctx, "app cannot be inspected", "app", app.Name, "err", err)
			return errors.Join(ctx.Err(), in.r.signInAgain(ctx, app))
		}
		var rot *Rotation
		if app, rot, err = in.r.trackedAs(ctx, in.tenant, app.ClientID); app == nil || err != nil {
			return err
		}
		return in.compare(ctx, app, rot, got)
	})
}

// unmet notes tracked apps that the list did not hold.
func (in *inspection) unmet(ctx context.Context) error {
	return in.eachApp(ctx, func(app *App) error {
		if !in.met[app.Name] && !slices.Contains(in.doubtful, app.Name) && (app.Listed == nil || app.Listed.Missing.IsZero()) {
			in.doubtful = append(in.doubtful, app.Name)
		}
		return nil
	})
}

func (in *inspection) eachApp(ctx context.Context, do func(*App) error) error {
	for after := ""; ; {
		apps, err := in.r.Store.Apps(ctx, after, batch)
		if err != nil {
			return err
		}
		for i := range apps {
			after = apps[i].Name
			if apps[i].Tenant != in.tenant {
				continue
			}
			if err := do(&apps[i]); err != nil {
				return err
			}
		}
		if len(apps) < batch {
			return nil
		}
	}
}

// reading is what one reading of an app showed.
type reading struct {
	found []FoundCredential
	// federatedUnknown is why found lacks the federated ones; empty: it has them.
	federatedUnknown string
	// deleted tells that there is no such app, refused that it could not be read
	// because Entra does not know the certificate that should sign in for it.
	deleted, refused bool
}

// read asks for the list of one app.
func (in *inspection) read(ctx context.Context, app *App) (reading, error) {
	as := Access{Registration: app.registration()}
	if !in.byIdentity && app.Mode == ModeMonitor {
		return reading{}, fix(ReasonForbidden, "", "app %s: nobody can read it", app.Name)
	}
	if !in.byIdentity && app.Mode == ModeSelf {
		if app.Current == nil {
			return reading{}, fix(ReasonForbidden, "", "app %s: nobody can read it", app.Name)
		}
		use, err := in.r.inUse(ctx, app)
		if err != nil {
			return reading{}, err
		}
		pair, err := in.r.Store.KeyPair(ctx, use.ThumbprintSHA256)
		if err != nil {
			return reading{}, fmt.Errorf("app %s: %w", app.Name, err)
		}
		as.As = pair
	}
	const withKeys = true
	listing, err := in.r.settings().Entra.Keys(ctx, as, withKeys)
	switch reason := reasonOf(err); {
	case reason == ReasonAppNotFound:
		return reading{deleted: true}, nil
	case reason == ReasonNotRegistered && !as.As.IsZero():
		return reading{refused: true}, nil
	case err != nil:
		return reading{}, err
	}
	var got reading
	for _, e := range listing.Entries {
		got.found = append(got.found, FoundCredential{
			Kind: FoundCertificate, KeyID: e.KeyID, DisplayName: e.DisplayName,
			NotBefore: e.NotBefore, NotAfter: e.NotAfter, Thumbprint: e.Thumbprint,
		})
	}
	for _, s := range listing.SecretEntries {
		got.found = append(got.found, FoundCredential{Kind: FoundSecret, KeyID: s.KeyID, DisplayName: s.DisplayName, NotBefore: s.NotBefore, NotAfter: s.NotAfter})
	}
	as.ObjectID = listing.ObjectID
	federated, err := in.r.settings().Entra.Federated(ctx, as)
	if ctx.Err() != nil {
		return reading{}, ctx.Err()
	}
	got.found, got.federatedUnknown = append(got.found, federated...), FederatedUnknown(err)
	return got, nil
}

// compare takes what one reading shows: it tells of what appeared, and notes an
// app that lacks something as doubtful.
func (in *inspection) compare(ctx context.Context, app *App, rot *Rotation, got reading) error {
	d := differ(app, rot, got, in.now)
	for _, f := range d.foreign {
		in.ending.noteForeign(in.since, in.now, app, f)
	}
	if len(d.gone) > 0 || d.missing {
		in.doubtful = append(in.doubtful, app.Name)
	}
	back := slices.ContainsFunc(got.found, func(c FoundCredential) bool {
		return slices.ContainsFunc(app.Removals, func(m Removal) bool {
			return m.End == RemovalRemoved && c.Kind == FoundCertificate && m.Carries(c.KeyID, c.Thumbprint)
		})
	})
	if !back && app.Listed != nil && len(d.appeared) == 0 && !app.Listed.learnsFederated(got.federatedUnknown) && (d.missing || rot != nil || app.Listed.Missing.IsZero()) {
		return nil
	}
	return in.record(ctx, app.Name, got, false)
}

// difference is what a reading shows against what was listed before.
type difference struct {
	foreign, appeared, gone []Foreign
	// missing tells that the certificate in service is not there.
	missing bool
}

func differ(app *App, rot *Rotation, got reading, now time.Time) difference {
	var d difference
	present := false
	for _, c := range got.found {
		if isOneOf(app, rot, c) {
			present = present || app.Current != nil &&
				(c.Thumbprint == app.Current.ThumbprintSHA256 || c.hintsAt(*app.Current) || c.KeyID != "" && (c.KeyID == app.Current.KeyID || c.KeyID == app.Current.RequestedKeyID))
			continue
		}
		f := foreignOf(c)
		d.foreign = append(d.foreign, f)
		// The first federated ones that are read at all are the app's business, as
		// everything is at the first look.
		known := app.Listed != nil && (!f.IsFederated() || app.Listed.FederatedRead)
		if known && !slices.ContainsFunc(app.Listed.Foreign, f.same) {
			d.appeared = append(d.appeared, f)
		}
	}
	if got.federatedUnknown != "" && app.Listed != nil {
		d.foreign = append(d.foreign, app.Listed.Federated()...) // not shown is not gone
	}
	if app.Listed != nil {
		for _, f := range app.Listed.Foreign {
			if !slices.ContainsFunc(d.foreign, f.same) && !app.isLeaving(f.KeyID, "") {
				d.gone = append(d.gone, f)
			}
		}
	}
	// While a rotation is open, it watches over ours itself.
	d.missing = !present && rot == nil && app.Current != nil && !app.Current.isLeaving() && now.Before(app.Current.NotAfter)
	return d
}

// same does not hold for a federated one whose issuer or subject was changed: it lets
// somebody else in.
func (f Foreign) same(o Foreign) bool {
	return f.Kind == o.Kind && f.KeyID == o.KeyID && f.Issuer == o.Issuer && f.Subject == o.Subject
}

// settle finds out whether what lists lacked is gone: absent is only what five
// readings over two minutes do not show.
func (in *inspection) settle(ctx context.Context) error {
	apps := in.doubtful
	var absence Absence
	for len(apps) > 0 {
		absence = absence.missed(in.r.now().UTC())
		var still []string
		for _, name := range apps {
			doubtful, err := in.again(ctx, name, absence.isAbsent())
			if err != nil {
				return err
			}
			if doubtful {
				still = append(still, name)
			}
		}
		if apps = still; len(apps) == 0 || absence.isAbsent() {
			return nil
		}
		nap := time.NewTimer(absentEvery)
		select {
		case <-ctx.Done():
			nap.Stop()
			return ctx.Err()
		case <-nap.C:
		}
	}
	return nil
}

// again reads a doubtful app once more. At the last reading what is lacking is
// gone, and is recorded.
func (in *inspection) again(ctx context.Context, name string, last bool) (doubtful bool, err error) {
	app, err := in.r.Store.App(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	got, err := in.read(ctx, &app)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil:
		// It cannot be told; the next inspection finds it again.
		in.r.log().WarnContext(ctx, "app cannot be inspected", "app", name, "err", err)
		return false, nil
	case (got.deleted || got.refused) && !last:
		return true, nil
	case got.deleted || got.refused:
		return false, in.record(ctx, name, got, true)
	}
	current, rot, err := in.r.trackedAs(ctx, in.tenant, app.ClientID)
	if current == nil || err != nil {
		return false, err
	}
	d := differ(current, rot, got, in.now)
	if len(d.gone) == 0 && !d.missing {
		return false, nil
	}
	if last {
		return false, in.record(ctx, name, got, true)
	}
	return true, nil
}

// heldMissing begins the hold of an app whose certificate is missing.
const heldMissing = "its certificate is gone from Entra; "

// record keeps what a reading showed and tells of it. What it lacks counts only
// if that is settled. The comparison is made again with the records as they are
// now.
func (in *inspection) record(ctx context.Context, name string, got reading, settled bool) error {
	release, err := in.r.claim(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := lasting(ctx)
	defer cancel()
	return in.r.change(ctx, name, func(rec *Records) error {
		app := rec.App
		if app == nil || app.Tenant != in.tenant {
			return nil
		}
		d := differ(app, rec.Rotation, got, in.now)
		next := &Listed{Foreign: d.foreign}
		if got.deleted || got.refused {
			next.keepFederated(app.Listed)
		} else {
			next.noteFederated(app.Listed, got.federatedUnknown)
		}
		if app.Listed != nil {
			next.Missing = app.Listed.Missing
		}
		if !settled || got.deleted || got.refused {
			next.Foreign = append(next.Foreign, d.gone...)
			d.gone = nil
		}
		tell := func(kind EventKind, severity Severity, summary, next string) {
			rec.Events = append(rec.Events, in.r.newEvent(app, nil, kind, severity, summary, next))
		}
		byKey := slices.DeleteFunc(slices.Clone(d.appeared), Foreign.IsFederated)
		federated := slices.DeleteFunc(slices.Clone(d.appeared), func(f Foreign) bool { return !f.IsFederated() })
		if len(federated) > 0 {
			tell(EventForeignCredential, SeverityWarning, federatedSummary(app, federated), federatedNext)
		}
		if len(byKey) > 0 {
			tell(EventForeignCredential, SeverityWarning, fmt.Sprintf("app %s: %s that rotate did not make appeared on it: %s", app.Name, credentials(byKey), texts(byKey)),
				"if nobody of yours added it, remove it in the Entra portal at once: whoever has it can sign in as the app")
		}
		gone := slices.DeleteFunc(slices.Clone(d.gone), func(f Foreign) bool { return !f.NotAfter.IsZero() && !in.now.Before(f.NotAfter) })
		if len(gone) > 0 {
			tell(EventForeignCredential, SeverityInfo, fmt.Sprintf("app %s: %s that rotate did not make are gone from it: %s", app.Name, credentials(gone), texts(gone)),
				"if nobody removed them on purpose, add them again")
		}
		switch {
		case d.missing && settled && next.Missing.IsZero():
			next.Missing = in.now
			todo := "find out who removed it; to add a new one: rotate now " + app.Name + " --force"
			summary := fmt.Sprintf("app %s: the certificate %s, which is in service, is gone from the app in Entra", app.Name, app.Current.ThumbprintSHA1)
			if got.deleted {
				summary = fmt.Sprintf("app %s: the app registration is gone from Entra, and its certificate %s with it", app.Name, app.Current.ThumbprintSHA1)
				todo = "if it was deleted on purpose: rotate app remove " + app.Name + "; otherwise restore it within 30 days in the Entra admin centre"
			}
			tell(EventCertificateMissing, SeverityCritical, summary, todo)
			if app.Hold == "" {
				app.Hold = heldMissing + todo
			}
		case !d.missing && rec.Rotation == nil && !next.Missing.IsZero():
			next.Missing = time.Time{}
			tell(EventRecovered, SeverityInfo, "app "+app.Name+": its certificate is on the app in Entra again", "")
			if strings.HasPrefix(app.Hold, heldMissing) {
				app.Hold = ""
			}
		}
		app.Listed = next
		in.r.revive(rec, func(m *Removal) bool {
			return slices.ContainsFunc(got.found, func(c FoundCredential) bool { return c.Kind == FoundCertificate && m.Carries(c.KeyID, c.Thumbprint) })
		}, in.now)
		return nil
	})
}

func credentials(list []Foreign) string {
	if len(list) == 1 {
		return "a credential"
	}
	return fmt.Sprintf("%d credentials", len(list))
}

// texts names some of many.
func texts(list []Foreign) string {
	var names []string
	for _, f := range list[:min(len(list), namedAtMost)] {
		names = append(names, f.text())
	}
	return joinSome(names, len(list))
}

// namedAtMost is how many things one message names.
const namedAtMost = 10

func joinSome(names []string, of int) string {
	text := strings.Join(names, ", ")
	if more := of - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// shownName makes a name that somebody else chose fit to stand in a message: one
// line, quoted, not too long.
func shownName(name string) string {
	if runes := []rune(name); len(runes) > 60 {
		name = string(runes[:59]) + "…"
	}
	return fmt.Sprintf("%q", name)
}
