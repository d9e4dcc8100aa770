package deliver

import (
	"errors"
	"io/fs"

	"github.com/seed-f0abd057/rotate/config/guard"
)

// keep gives the file that is to be replaced a second, temporary name, so that the
// switch can be undone. Where there is no file yet it does nothing.
func (p *placement) keep() error {
	there, err := p.folder.look(p.name)
	if err != nil || there.info == nil {
		return err
	}
	name := randomName(tempPrefix)
	err = p.folder.root.Link(p.name, name)
	if err != nil && there.unreadable == nil { // a file system without links
		uid, gid := guard.Owner(there.info)
		name, err = p.folder.stage(there.data, uid, gid, there.info.Mode().Perm())
	}
	if err != nil {
		return system("keep "+p.path()+" for the case that the switch fails", err)
	}
	p.kept = name
	return nil
}

// undo puts back what was there before the switch.
func (p *placement) undo() error {
	var err error
	if p.kept == "" {
		err = p.folder.root.Remove(p.name)
	} else if err = p.folder.root.Rename(p.kept, p.name); err == nil {
		p.kept = ""
	}
	if err == nil {
		err = p.folder.sync()
	}
	if err != nil {
		return system("put the earlier "+p.path()+" back", err)
	}
	return nil
}

// forget removes temporary names.
func (p *placement) forget() error {
	var errs []error
	for _, name := range []*string{&p.temp, &p.kept} {
		if *name == "" {
			continue
		}
		if err := p.folder.root.Remove(*name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		*name = ""
	}
	return errors.Join(errs...)
}
