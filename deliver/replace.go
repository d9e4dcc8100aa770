package deliver

import (
	"errors"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// replaceable reports why no rename could put another file in the place of one: it is a
// mount point of its own (a container's "-v FILE:FILE"), or it or its folder was made
// immutable (chattr +i, +a). The kernel says so only when the rename comes, which is
// after the upload.
func replaceable(path string) error {
	what, err := attributesOf(path)
	if errors.Is(err, fs.ErrNotExist) {
		what = 0
	} else if err != nil {
		return system("look at "+path, err)
	}
	folder := filepath.Dir(path)
	above, err := attributesOf(folder)
	if err != nil {
		return system("look at "+folder, err)
	}
	const fixed = unix.STATX_ATTR_IMMUTABLE | unix.STATX_ATTR_APPEND
	switch {
	case what&unix.STATX_ATTR_MOUNT_ROOT != 0:
		return fixf("mount its folder "+folder+" instead of the file, into the consumer too",
			"%s is a mount point of its own, which no new file can replace", path)
	case what&fixed != 0:
		return fixf("chattr -ia "+path, "%s is immutable, so no new file can replace it", path)
	case above&fixed != 0:
		return fixf("chattr -ia "+folder, "the folder %s is immutable, so no file in it can be replaced", folder)
	}
	return nil
}

// attributesOf returns those attributes that the file system knows (statx(2)).
func attributesOf(path string) (uint64, error) {
	var s unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &s); err != nil {
		if errors.Is(err, unix.ENOSYS) {
			return 0, nil // an old kernel: the rename will tell
		}
		return 0, err
	}
	return s.Attributes & s.Attributes_mask, nil
}

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
		uid, gid := owner(there.info)
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
