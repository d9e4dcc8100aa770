package store

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// migration brings a file from one schema version to the next, within one
// transaction.
type migration func(*txn) error

// migrations returns the migration from version 1, from version 2, and so on.
// Each is tested with a file that the older version wrote.
func migrations() []migration { return nil }

// migrate copies the file to PATH.before-vN, once, and then runs one
// migration after the other, each in its own transaction with the schema
// version. N is the version that the file is brought to.
func (s *Store) migrate(ctx context.Context, steps []migration) error {
	if s.schema.Version < 1 || s.schema.Version > len(steps)+1 {
		return s.corrupt(fmt.Sprintf("schema version %d", s.schema.Version))
	}
	target := len(steps) + 1
	if s.schema.Version == target {
		return nil
	}
	if err := s.copyTo(ctx, fmt.Sprintf("%s.before-v%d", s.path, target)); err != nil {
		return fmt.Errorf("store %s: copy before the migration: %w", s.path, err)
	}
	for s.schema.Version < target {
		next := s.schema
		next.Version++
		err := s.update(ctx, func(t *txn) error {
			if err := steps[s.schema.Version-1](t); err != nil {
				return err
			}
			return putJSON(t, bucketMeta, []byte(metaSchema), next)
		})
		if err != nil {
			return fmt.Errorf("store %s: migrate to version %d: %w", s.path, next.Version, err)
		}
		s.schema = next
	}
	return nil
}

// copyTo writes a copy of the store to a new file. A copy that is there, from
// an attempt that was interrupted, is the older one and stays.
func (s *Store) copyTo(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := makeFile(part)
	if err != nil {
		return err
	}
	err = s.view(ctx, func(t *txn) error {
		_, err := t.tx.WriteTo(file)
		return err
	})
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return syncFolder(path)
}
