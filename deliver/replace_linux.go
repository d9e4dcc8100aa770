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
