package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// Readers never stop writers. bbolt can only make its map of the file larger while
// nobody reads, and lets nobody begin to read while that waits: one long reading
// transaction then stops everything. So the map is made larger than any file
// ([mapSize]), and what reads the whole store reads a copy ([Store.snapshot]).

// maxMapBytes is how much of the address space the file may take: more than ten million
// apps need. It costs nothing: memory is only used for pages that are read.
const maxMapBytes = 1 << 38

// minMapBytes is what it takes at least, where the address space is small.
const minMapBytes = 1 << 28

// growBytes is how much longer the file is made when it is full.
const growBytes = 4 << 20

// mapSize is the largest map of the file that this process can have, up to
// [maxMapBytes]; 0: none that is worth it, and bbolt maps what there is.
func mapSize(file *os.File) int {
	size := int64(maxMapBytes)
	if strconv.IntSize == 32 {
		size = 1 << 29
	}
	for ; size >= minMapBytes; size /= 2 {
		// As much again must be left for others; only trying shows what the kernel allows.
		data, err := syscall.Mmap(int(file.Fd()), 0, int(2*size), syscall.PROT_READ, syscall.MAP_SHARED)
		if err == nil {
			_ = syscall.Munmap(data) // it was not used
			return int(size)
		}
	}
	return 0
}

// snapshot returns a copy of the store as it is now, for reading. It lies in a file
// without a name beside the store, which needs as much room again, or in the folder for
// temporary files if that disk is full, and is gone when it is closed. Writers wait for
// nothing meanwhile.
func (s *Store) snapshot(ctx context.Context, p *progress) (*Store, error) {
	c, err := s.snapshotIn(ctx, filepath.Dir(s.path), p)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		c, err = s.snapshotIn(ctx, os.TempDir(), p)
	}
	return c, err
}

func (s *Store) snapshotIn(ctx context.Context, dir string, p *progress) (_ *Store, err error) {
	file, err := os.CreateTemp(dir, ".copy-*")
	if err != nil {
		return nil, fmt.Errorf("store %s: copy it: %w", s.path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := os.Remove(file.Name()); err != nil {
		return nil, fmt.Errorf("store %s: copy it: %w", s.path, err)
	}
	to := &copying{ctx: ctx, file: file, p: p}
	err = s.view(ctx, func(t *txn) error {
		p.begin("copy the store, in MiB", uint64(t.tx.Size())>>20) //nolint:gosec // never negative
		_, err := t.tx.WriteTo(to)
		return cmp.Or(to.failed, err) // bbolt does not wrap it
	})
	if err != nil {
		return nil, fmt.Errorf("store %s: copy it: %w", s.path, err)
	}
	c := &Store{file: file, path: s.path, log: s.log, version: s.version, schema: s.schema, sealer: s.sealer}
	defer c.guard(nil, &err)()
	c.db, err = bolt.Open(s.path, 0o600, &bolt.Options{
		ReadOnly: true, NoStatistics: true,
		OpenFile: func(string, int, os.FileMode) (*os.File, error) { return file, nil },
	})
	if err != nil {
		return nil, fmt.Errorf("store %s: read a copy of it: %w", s.path, err)
	}
	return c, nil
}

// copying is the file that a snapshot is written to.
type copying struct {
	ctx   context.Context //nolint:containedctx // io.Writer has no room for it
	file  *os.File
	p     *progress
	bytes uint64
	// failed is the first failure to write.
	failed error
}

func (c *copying) Write(data []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.file.Write(data)
	c.failed = cmp.Or(c.failed, err)
	c.bytes += uint64(n) //nolint:gosec // never negative
	c.p.at(c.bytes >> 20)
	return n, err
}
