package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-f0abd057/rotate/rotator"
)

// App implements [rotator.Store].
func (s *Store) App(ctx context.Context, name string) (rotator.App, error) {
	var app rotator.App
	err := s.view(ctx, func(t *txn) error {
		found, ok, err := t.app(name)
		if err == nil && !ok {
			err = fmt.Errorf("app %q: %w", name, rotator.ErrNotFound)
		}
		app = found
		return err
	})
	return app, err
}

// Apps implements [rotator.Store].
func (s *Store) Apps(ctx context.Context, after string, limit int) ([]rotator.App, error) {
	var apps []rotator.App
	err := s.view(ctx, func(t *txn) error {
		return t.each(bucketApps, nil, afterKey(after), func(key, payload []byte) (bool, error) {
			app, err := decodeJSON[rotator.App](t, bucketApps, key, payload)
			apps = append(apps, app)
			return len(apps) != limit, err
		})
	})
	if err != nil {
		return nil, err
	}
	return apps, nil
}

func afterKey(name string) []byte {
	if name == "" {
		return nil
	}
	return after([]byte(name))
}

// AppByClientID implements [rotator.Store].
func (s *Store) AppByClientID(ctx context.Context, tenant string, id rotator.ClientID) (rotator.App, error) {
	var app rotator.App
	err := s.view(ctx, func(t *txn) error {
		name, ok, err := t.get(bucketClients, clientKey(tenant, id))
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("client ID %s of tenant %s: %w", id, tenant, rotator.ErrNotFound)
		}
		app, ok, err = t.app(string(name))
		if err == nil && !ok {
			err = t.corrupt(fmt.Sprintf("app %q, named by client ID %s, is missing", name, id))
		}
		return err
	})
	return app, err
}

// CountApps implements [rotator.Store].
func (s *Store) CountApps(ctx context.Context) (int, error) {
	var n int
	err := s.view(ctx, func(t *txn) error {
		sum, err := t.readSum(bucketApps)
		n = int(sum.records) //nolint:gosec // a number of records in a file
		return err
	})
	return n, err
}

// Rotation implements [rotator.Store].
func (s *Store) Rotation(ctx context.Context, id string) (rotator.Rotation, error) {
	var rotation rotator.Rotation
	err := s.view(ctx, func(t *txn) error {
		found, ok, err := t.rotation(id)
		if err == nil && !ok {
			err = fmt.Errorf("rotation %q: %w", id, rotator.ErrNotFound)
		}
		rotation = found
		return err
	})
	return rotation, err
}

// Rotations implements [rotator.Store].
func (s *Store) Rotations(ctx context.Context, app string, limit int) ([]rotator.Rotation, error) {
	var rotations []rotator.Rotation
	err := s.view(ctx, func(t *txn) error {
		return t.eachBack(bucketHistory, join(app, ""), func(key, _ []byte) (bool, error) {
			id := string(key[len(app)+1+timeKeyBytes:])
			rotation, ok, err := t.rotation(id)
			if err == nil && !ok {
				err = t.corrupt(fmt.Sprintf("rotation %q, named by the history, is missing", id))
			}
			rotations = append(rotations, rotation)
			return len(rotations) != limit, err
		})
	})
	if err != nil {
		return nil, err
	}
	return rotations, nil
}

// Due implements [rotator.Store]. A limit of 0 means all.
func (s *Store) Due(ctx context.Context, kind rotator.WakeKind, until time.Time, limit int) ([]rotator.Wake, error) {
	var wakes []rotator.Wake
	end := join(string(kind), string(timeKey(until)))
	err := s.view(ctx, func(t *txn) error {
		return t.each(bucketDue, join(string(kind), ""), nil, func(key, _ []byte) (bool, error) {
			if bytes.Compare(key[:len(end)], end) > 0 {
				return false, nil
			}
			wakes = append(wakes, wakeOf(kind, key))
			return len(wakes) != limit, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return wakes, nil
}

// DueAfter implements [rotator.Store].
func (s *Store) DueAfter(ctx context.Context, behind rotator.Wake, until time.Time, limit int) ([]rotator.Wake, error) {
	var wakes []rotator.Wake
	end := join(string(behind.Kind), string(timeKey(until)))
	err := s.view(ctx, func(t *txn) error {
		return t.each(bucketDue, join(string(behind.Kind), ""), after(dueKey(behind)), func(key, _ []byte) (bool, error) {
			if bytes.Compare(key[:len(end)], end) > 0 {
				return false, nil
			}
			wakes = append(wakes, wakeOf(behind.Kind, key))
			return len(wakes) != limit, nil
		})
	})
	if err != nil {
		return nil, err
	}
	return wakes, nil
}

// CountDue implements [rotator.Store].
func (s *Store) CountDue(ctx context.Context, kind rotator.WakeKind, until time.Time) (int, error) {
	n := 0
	end := join(string(kind), string(timeKey(until)))
	err := s.view(ctx, func(t *txn) error {
		return t.each(bucketDue, join(string(kind), ""), nil, func(key, _ []byte) (bool, error) {
			if bytes.Compare(key[:len(end)], end) > 0 {
				return false, nil
			}
			n++
			return true, ctx.Err()
		})
	})
	return n, err
}

// Count implements [rotator.Store]. The first call for a kind counts, with writers
// waiting for some tenths of a second where there are a million; after that each
// transaction keeps the number.
func (s *Store) Count(ctx context.Context, kind rotator.WakeKind) (int, error) {
	if n, ok := s.kinds.count(kind); ok {
		return n, nil
	}
	n := 0
	err := s.update(ctx, func(t *txn) error {
		n = 0
		err := t.each(bucketDue, join(string(kind), ""), nil, func([]byte, []byte) (bool, error) { n++; return true, nil })
		if err == nil {
			s.kinds.begin(kind, n, uint64(t.tx.ID())) //nolint:gosec // never negative
		}
		return err
	})
	return n, err
}

// NextDue implements [rotator.Store].
func (s *Store) NextDue(ctx context.Context, kind rotator.WakeKind) (wake rotator.Wake, ok bool, err error) {
	err = s.view(ctx, func(t *txn) error {
		return t.each(bucketDue, join(string(kind), ""), nil, func(key, _ []byte) (bool, error) {
			wake, ok = wakeOf(kind, key), true
			return false, nil
		})
	})
	return wake, ok, err
}

func wakeOf(kind rotator.WakeKind, key []byte) rotator.Wake {
	key = key[len(kind)+1:]
	return rotator.Wake{Kind: kind, At: timeOf(key), App: string(key[timeKeyBytes:])}
}

// KeyPair implements [rotator.Store]. It returns [ErrWrongIdentity] if the
// pair was sealed for another identity than the store.
func (s *Store) KeyPair(ctx context.Context, thumbprint rotator.Thumbprint) (rotator.KeyPair, error) {
	var pair rotator.KeyPair
	err := s.view(ctx, func(t *txn) error {
		key := []byte(thumbprint)
		sealed, ok, err := t.get(bucketSecrets, key)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("key pair %s: %w", thumbprint, rotator.ErrNotFound)
		}
		pair, err = s.sealer.openPair(sealed, thumbprint)
		if errors.Is(err, ErrWrongIdentity) {
			return fmt.Errorf("store %s: key pair %s: %w", s.path, thumbprint, err)
		}
		if err != nil {
			return t.badRecord(bucketSecrets, key, err)
		}
		return nil
	})
	return pair, err
}

// HasKeyPair implements [rotator.Store].
func (s *Store) HasKeyPair(ctx context.Context, thumbprint rotator.Thumbprint) (bool, error) {
	var held bool
	err := s.view(ctx, func(t *txn) error {
		var err error
		_, held, err = t.get(bucketSecrets, []byte(thumbprint))
		return err
	})
	return held, err
}

// Certificate returns the DER of a certificate that was ever sealed here, even
// when its private key was forgotten; [rotator.ErrNotFound] if there is none.
func (s *Store) Certificate(ctx context.Context, thumbprint rotator.Thumbprint) ([]byte, error) {
	var der []byte
	err := s.view(ctx, func(t *txn) error {
		found, ok, err := t.get(bucketCertificates, []byte(thumbprint))
		if err == nil && !ok {
			err = fmt.Errorf("certificate %s: %w", thumbprint, rotator.ErrNotFound)
		}
		der = bytes.Clone(found)
		return err
	})
	return der, err
}

// State implements [rotator.Store].
func (s *Store) State(ctx context.Context) (rotator.State, error) {
	var state rotator.State
	err := s.view(ctx, func(t *txn) error {
		var err error
		state, err = t.state()
		return err
	})
	return state, err
}

// Tenant implements [rotator.Store].
func (s *Store) Tenant(ctx context.Context, name string) (rotator.TenantState, error) {
	var tenant rotator.TenantState
	err := s.view(ctx, func(t *txn) error {
		var err error
		tenant, _, err = getJSON[rotator.TenantState](t, bucketTenants, []byte(name))
		return err
	})
	return tenant, err
}

// Tenants implements [rotator.Store].
func (s *Store) Tenants(ctx context.Context) (map[string]rotator.TenantState, error) {
	tenants := map[string]rotator.TenantState{}
	err := s.view(ctx, func(t *txn) error {
		return t.each(bucketTenants, nil, nil, func(key, payload []byte) (bool, error) {
			tenant, err := decodeJSON[rotator.TenantState](t, bucketTenants, key, payload)
			tenants[string(key)] = tenant
			return true, err
		})
	})
	if err != nil {
		return nil, err
	}
	return tenants, nil
}
