package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// outFile is a file that a command writes for its caller alone (0600). It has
// another name until it is whole; what is there is never overwritten.
type outFile struct {
	*os.File
	path string
}

// createOut makes the file, as the caller. It must be done before the command
// connects: that may make it the store's owner.
func createOut(path string) (*outFile, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := mustBeFree(path); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("write %s: %w", path, at.Err) // the name that was given, not that of the unfinished file
	}
	if err != nil {
		return nil, err
	}
	return &outFile{file, path}, nil
}

func mustBeFree(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("%s is there already and is not overwritten", path), "name another file, or move that one away")
	}
	return nil
}

// commit makes the file durable and gives it its name.
func (o *outFile) commit() error {
	if err := o.Sync(); err != nil {
		return err
	}
	// A link never replaces what is there.
	if err := os.Link(o.Name(), o.path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return mustBeFree(o.path)
		}
		return err
	}
	if err := os.Remove(o.Name()); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(o.path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close(), o.Close())
}

// discard removes what was written.
func (o *outFile) discard() error {
	// First of all the content: the name may no longer be ours to remove.
	return errors.Join(o.Truncate(0), os.Remove(o.Name()), o.Close())
}

// asCaller runs something as the user who started the command, even after it
// became the store's owner.
func (a *app) asCaller(act func() error) error { return a.saved.do(act) }
