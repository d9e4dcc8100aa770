package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// packageFiles are the three files that a person takes to a consumer. They are
// made empty, for the caller alone, before anything secret is fetched.
type packageFiles struct {
	dir            *os.Root
	pfx, cer, info *os.File
	// madeDir tells that the folder was not there before.
	madeDir string
}

// newPackageFiles makes NAME.pfx, NAME.cer and NAME-info.txt in dir, with mode
// 0600. It makes the folder if it is not there, and overwrites nothing.
func newPackageFiles(dir, name string) (*packageFiles, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &packageFiles{}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		p.madeDir = dir
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	if p.dir, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		to   **os.File
		name string
	}{{&p.pfx, name + ".pfx"}, {&p.cer, name + ".cer"}, {&p.info, name + "-info.txt"}} {
		made, err := p.dir.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			err = withHint(fmt.Errorf("%s is there already and is not overwritten", filepath.Join(dir, f.name)), "name an empty folder, or move that file away")
		}
		if err != nil {
			return nil, errors.Join(err, p.close(false))
		}
		*f.to = made
	}
	return p, nil
}

// all are the files that were made.
func (p *packageFiles) all() []*os.File {
	var made []*os.File
	for _, f := range []*os.File{p.pfx, p.cer, p.info} {
		if f != nil {
			made = append(made, f)
		}
	}
	return made
}

// write fills the files and makes them durable.
func (p *packageFiles) write(pfxData, cer, info []byte) error {
	for i, content := range [][]byte{pfxData, cer, info} {
		f := p.all()[i]
		if _, err := f.WriteAt(content, 0); err != nil {
			return err
		}
		if err := f.Truncate(int64(len(content))); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// close ends writing. Files that are not to be kept are removed.
func (p *packageFiles) close(keep bool) error {
	var all []error
	for _, f := range p.all() {
		if !keep {
			// First of all the content: the folder may no longer be ours to change.
			all = append(all, f.Truncate(0), p.dir.Remove(filepath.Base(f.Name())))
		}
		all = append(all, f.Close())
	}
	if p.dir != nil {
		all = append(all, p.dir.Close())
	}
	if !keep && p.madeDir != "" {
		all = append(all, os.Remove(p.madeDir))
	}
	return errors.Join(all...)
}
