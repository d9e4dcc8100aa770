package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/seed-f0abd057/rotate/rotator"
)

// maxFindings is how many faults one check reports.
const maxFindings = 20

// Check reads the whole store and compares everything that must agree: the
// pages of the file, the checksum of every record and of every bucket, the
// indexes with the apps and rotations, and the audit trail. It opens no sealed
// pair. It reads a copy, so that writers wait for nothing. It returns [ErrCorrupt]
// with up to 20 faults.
func (s *Store) Check(ctx context.Context) (err error) {
	c, err := s.snapshot(ctx, &progress{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return c.checkAll(ctx, &progress{})
}

// checkAll is [Store.Check] of a file that nobody writes to.
func (s *Store) checkAll(ctx context.Context, p *progress) error {
	meta, err := readMeta(s.file)
	if err != nil {
		return s.corrupt(err.Error())
	}
	p.begin("read the pages of the file", 0)
	if err := s.checkPages(ctx, meta, true); err != nil {
		return err
	}
	return s.view(ctx, func(t *txn) error {
		c := &check{txn: t, ctx: ctx.Err, progress: p}
		for _, part := range []func() error{c.tenants, c.apps, c.clients, c.rotations, c.history, c.due, c.wakes, c.uses, c.outbox} {
			if err := part(); err != nil {
				return err
			}
		}
		if len(c.findings) > 0 {
			return s.corrupt(errors.Join(c.findings...).Error())
		}
		trail := &trail{}
		more, err := true, error(nil)
		for more && err == nil {
			more, err = t.follow(ctx, trail, p)
		}
		return err
	})
}

// check collects what does not agree.
type check struct {
	*txn
	ctx      func() error
	progress *progress
	findings []error
}

// found notes a fault and reports whether there is room for more.
func (c *check) found(format string, args ...any) bool {
	c.findings = append(c.findings, fmt.Errorf(format, args...))
	return len(c.findings) < maxFindings
}

// all calls judge for each record; it returns false to stop.
func (c *check) all(bucket string, judge func(key, payload []byte) (bool, error)) error {
	sum, err := c.readSum(bucket)
	if err != nil {
		return err
	}
	c.progress.begin("compare "+bucket, sum.records)
	return c.each(bucket, nil, nil, func(key, payload []byte) (bool, error) {
		if err := c.ctx(); err != nil {
			return false, err
		}
		c.progress.add()
		return judge(key, payload)
	})
}

// wants notes a fault unless the record is there.
func (c *check) wants(bucket string, key []byte, who string) (bool, error) {
	_, ok, err := c.get(bucket, key)
	if err != nil || ok {
		return true, err
	}
	return c.found("%s: bucket %q has no record %q", who, bucket, key), nil
}

func (c *check) tenants() error {
	return c.all(bucketTenants, func(key, payload []byte) (bool, error) {
		_, err := decodeJSON[rotator.TenantState](c.txn, bucketTenants, key, payload)
		return true, err
	})
}

func (c *check) apps() error {
	return c.all(bucketApps, func(key, payload []byte) (bool, error) {
		app, err := decodeJSON[rotator.App](c.txn, bucketApps, key, payload)
		if err != nil {
			return false, err
		}
		who := fmt.Sprintf("app %q", key)
		name, _, err := c.get(bucketClients, clientKey(app.Tenant, app.ClientID))
		if err != nil {
			return false, err
		}
		if app.Name != string(key) || string(name) != app.Name {
			return c.found("%s: the record is of app %q, its client ID of app %q", who, app.Name, name), nil
		}
		if app.Rotation != "" {
			if more, err := c.wants(bucketRotations, []byte(app.Rotation), who); err != nil || !more {
				return false, err
			}
		}
		return c.wantUses(usesOfApp(&app), useKey("app", app.Name), who)
	})
}

func (c *check) wantUses(uses []rotator.Thumbprint, user []byte, who string) (bool, error) {
	for _, thumbprint := range uses {
		if more, err := c.wants(bucketUses, append([]byte(thumbprint), user...), who); err != nil || !more {
			return more, err
		}
	}
	return true, nil
}

func (c *check) clients() error {
	return c.all(bucketClients, func(key, payload []byte) (bool, error) {
		app, ok, err := c.app(string(payload))
		if err == nil && (!ok || !bytes.Equal(key, clientKey(app.Tenant, app.ClientID))) {
			return c.found("client %q: app %q does not have it", key, payload), nil
		}
		return true, err
	})
}

func (c *check) rotations() error {
	return c.all(bucketRotations, func(key, _ []byte) (bool, error) {
		rotation, _, err := c.rotation(string(key))
		if err != nil {
			return false, err
		}
		who := fmt.Sprintf("rotation %q", key)
		if rotation.ID != string(key) {
			return c.found("%s: the record is of rotation %q", who, rotation.ID), nil
		}
		for _, entry := range historyKeys(rotation.App, rotation.StartedAt, rotation.ID) {
			if more, err := c.wants(bucketHistory, entry, who); err != nil || !more {
				return false, err
			}
		}
		return c.wantUses(usesOfRotation(&rotation), useKey("rotation", rotation.ID), who)
	})
}

func (c *check) history() error {
	return c.all(bucketHistory, func(key, _ []byte) (bool, error) {
		end := bytes.IndexByte(key, 0)
		if end < 0 || len(key) < end+1+timeKeyBytes {
			return c.found("history %q: not a key", key), nil
		}
		rotation, ok, err := c.rotation(string(key[end+1+timeKeyBytes:]))
		if err != nil {
			return false, err
		}
		same := func(entry []byte) bool { return bytes.Equal(key, entry) }
		if !ok || !slices.ContainsFunc(historyKeys(rotation.App, rotation.StartedAt, rotation.ID), same) {
			return c.found("history %q: no such rotation", key), nil
		}
		return true, nil
	})
}

func (c *check) due() error {
	return c.all(bucketDue, func(key, _ []byte) (bool, error) {
		end := bytes.IndexByte(key, 0)
		if end < 0 || len(key) < end+1+timeKeyBytes {
			return c.found("due entry %q: not a key", key), nil
		}
		app := string(key[end+1+timeKeyBytes:])
		wakes, err := c.txn.wakes(app)
		if err != nil {
			return false, err
		}
		for _, w := range wakes {
			if bytes.Equal(key, dueKey(w)) {
				return true, nil
			}
		}
		return c.found("due entry %q: app %q does not have it", key, app), nil
	})
}

func (c *check) wakes() error {
	return c.all(bucketWakes, func(key, payload []byte) (bool, error) {
		who := fmt.Sprintf("due entries of app %q", key)
		if more, err := c.wants(bucketApps, key, who); err != nil || !more {
			return false, err
		}
		wakes, err := decodeJSON[[]rotator.Wake](c.txn, bucketWakes, key, payload)
		if err != nil {
			return false, err
		}
		for _, w := range wakes {
			if more, err := c.wants(bucketDue, dueKey(w), who); err != nil || !more {
				return false, err
			}
		}
		return true, nil
	})
}

func (c *check) uses() error {
	return c.all(bucketUses, func(key, _ []byte) (bool, error) {
		parts := bytes.SplitN(key, []byte{0}, 3)
		if len(parts) != 3 {
			return c.found("use %q: not a key", key), nil
		}
		var uses []rotator.Thumbprint
		switch kind, name := string(parts[1]), string(parts[2]); kind {
		case "app":
			app, _, err := c.app(name)
			if err != nil {
				return false, err
			}
			uses = usesOfApp(&app)
		case "rotation":
			rotation, ok, err := c.rotation(name)
			if err != nil {
				return false, err
			}
			if ok {
				uses = usesOfRotation(&rotation)
			}
		}
		for _, thumbprint := range uses {
			if string(thumbprint) == string(parts[0]) {
				return true, nil
			}
		}
		return c.found("use %q: not so", key), nil
	})
}

func (c *check) outbox() error {
	waiting := 0
	err := c.all(bucketOutbox, func(key, payload []byte) (bool, error) {
		waiting++
		var event struct{ ID string }
		if err := json.Unmarshal(payload, &event); err != nil {
			return c.found("event %d: %v", binary.BigEndian.Uint64(key), err), nil
		}
		number, _, err := c.get(bucketQueued, []byte(event.ID))
		if err == nil && !bytes.Equal(number, key) {
			return c.found("event %q is not the one that is queued", event.ID), nil
		}
		return true, err
	})
	if err != nil {
		return err
	}
	sum, err := c.readSum(bucketQueued)
	if err == nil && sum.records != uint64(waiting) {
		c.found("%d events wait, %d are queued", waiting, sum.records)
	}
	return err
}

// Findings is [Store.Check] for people: it also opens every sealed pair. faults
// is empty if all is well. notes are no faults: keys that no app uses any more,
// and certificates that a person must remove from Entra. Both are cut off after 20,
// with how many more there are. report, unless it is nil, is told how far it is.
func (s *Store) Findings(ctx context.Context, report func(what string, done, total uint64)) (faults, notes []string, err error) {
	p := &progress{report: report}
	c, err := s.snapshot(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	err = c.checkAll(ctx, p)
	if errors.Is(err, ErrCorrupt) {
		faults, err = strings.Split(strings.TrimSuffix(err.Error(), ": "+ErrCorrupt.Error()), "\n"), nil
	}
	if err != nil || len(faults) > 0 {
		return faults, nil, err // what is not sound is not read any further
	}
	f := findings{}
	err = c.view(ctx, func(t *txn) error { return errors.Join(f.pairs(ctx, t, p), f.apps(ctx, t, p)) })
	return f.faults.list("faults"), f.notes.list("notes"), err
}

// findings collects lines for people.
type findings struct{ faults, notes lines }

// lines are the first ones, and how many there are.
type lines struct {
	first []string
	count int
}

func (l *lines) add(format string, args ...any) {
	if l.count++; l.count <= maxFindings {
		l.first = append(l.first, fmt.Sprintf(format, args...))
	}
}

func (l *lines) list(what string) []string {
	if l.count <= maxFindings {
		return l.first
	}
	return append(l.first, fmt.Sprintf("and %d more %s", l.count-maxFindings, what))
}

// pairs opens each sealed pair.
func (f *findings) pairs(ctx context.Context, t *txn, p *progress) error {
	sum, err := t.readSum(bucketSecrets)
	if err != nil {
		return err
	}
	p.begin("open key pairs", sum.records)
	return t.each(bucketSecrets, nil, nil, func(key, sealed []byte) (bool, error) {
		p.add()
		if _, err := t.sealer.openPair(sealed, rotator.Thumbprint(key)); err != nil {
			f.faults.add("key pair %s cannot be opened: %v", key, err)
		}
		used, err := t.isUsed(key)
		if err == nil && !used {
			f.notes.add("key pair %s belongs to no app that is tracked", key)
		}
		return true, errors.Join(err, ctx.Err())
	})
}

// apps looks at what the apps say about their certificates.
func (f *findings) apps(ctx context.Context, t *txn, p *progress) error {
	sum, err := t.readSum(bucketApps)
	if err != nil {
		return err
	}
	p.begin("compare apps and key pairs", sum.records)
	return t.each(bucketApps, nil, nil, func(key, payload []byte) (bool, error) {
		p.add()
		app, err := decodeJSON[rotator.App](t, bucketApps, key, payload)
		if err != nil {
			return false, err
		}
		if app.Current != nil && app.Mode != rotator.ModeMonitor {
			if _, ok, err := t.get(bucketSecrets, []byte(app.Current.ThumbprintSHA256)); err != nil || !ok {
				f.faults.add("app %s: the private key of its certificate %s is missing", key, app.Current.ThumbprintSHA1)
			}
		}
		for _, o := range app.Orphans {
			f.notes.add("app %s: the certificate %s is left on it in Entra (%s)", key, o.ThumbprintSHA1, o.Reason)
		}
		return true, ctx.Err()
	})
}
