package deliver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/config/guard"
	"github.com/seed-f0abd057/rotate/rotator"
)

const (
	// maxFileBytes is the largest target that is read: no PFX of one app is larger.
	maxFileBytes = 1 << 20
	// tempPrefix begins the names of files that are not yet in place.
	tempPrefix = ".rotate-"
)

// folder is an open folder that only root and the service can write to, reached
// through folders of which the same is true.
type folder struct {
	// path is without symbolic links.
	path string
	info fs.FileInfo
	root *os.Root
	uid  int
}

// openFolder opens a folder for deliveries after looking at it and everything above
// it. It changes nothing.
func openFolder(path string, uid int) (*folder, error) {
	actual, info, err := resolve(path, uid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f := fixf(fmt.Sprintf("create it: install -d -o %s -g CONSUMER -m 2750 %s", userName(uid), path),
			"the folder %s does not exist", path)
		f.Err = err
		return nil, f
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fixf("choose a path in a folder", "%s is not a folder", path)
	}
	if problem := guard.Problem(actual, info, uid); problem != "" {
		return nil, fixf(folderRecipe(actual, uid), "%s", problem)
	}
	root, err := os.OpenRoot(actual)
	if err != nil {
		return nil, system("open folder "+actual, err)
	}
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(opened, info) {
		err = errors.New("it was exchanged while it was opened")
	}
	if err != nil {
		return nil, errors.Join(system("open folder "+actual, err), root.Close())
	}
	return &folder{path: actual, info: info, root: root, uid: uid}, nil
}

func folderRecipe(path string, uid int) string {
	return fmt.Sprintf("chown %s:CONSUMER %s; chmod 2750 %s", userName(uid), path, path)
}

func (f *folder) close() { _ = f.root.Close() }

// writable reports why the process could not make files here, without making one.
func (f *folder) writable() error {
	if err := unix.Faccessat(unix.AT_FDCWD, f.path, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		err := system("write to folder "+f.path, err)
		if failure, ok := errors.AsType[*rotator.Failure](err); ok && errors.Is(err, fs.ErrPermission) {
			failure.Next = folderRecipe(f.path, f.uid)
		}
		return err
	}
	return nil
}

// resolve is [guard.Resolve] with failures.
func resolve(path string, uid int) (string, fs.FileInfo, error) {
	actual, info, err := guard.Resolve(path, uid)
	refused, isRefused := errors.AsType[*guard.Error](err)
	at, isAt := errors.AsType[*fs.PathError](err)
	switch {
	case err == nil:
	case isRefused:
		err = fixf(refused.Fix, "%s", refused.Problem)
	case isAt && errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("look at %s: %w", at.Path, err)
	case isAt:
		err = system("look at "+at.Path, err)
	default:
		err = system("look at "+path, err)
	}
	return actual, info, err
}

// found is what lies under a name in a folder.
type found struct {
	// info is nil if there is nothing.
	info fs.FileInfo
	data []byte
	// unreadable is why data could not be read; nil if it was.
	unreadable error
}

// look reads a file. It follows no symbolic link and refuses, with a failure,
// whatever is not a regular file.
func (f *folder) look(name string) (found, error) {
	info, err := f.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return found{}, nil
	}
	path := filepath.Join(f.path, name)
	if err != nil {
		return found{}, system("look at "+path, err)
	}
	if info.IsDir() {
		return found{}, fixf("give a file in it, such as "+filepath.Join(path, "NAME.pfx"), "%s is a folder, not a file", path)
	}
	if kind := kindOf(info.Mode()); kind != "" {
		return found{}, fixf("remove it, or choose another path", "%s is %s, not a file", path, kind)
	}
	data, err := f.read(name, info)
	return found{info: info, data: data, unreadable: err}, nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return ""
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

func (f *folder) read(name string, looked fs.FileInfo) ([]byte, error) {
	path := filepath.Join(f.path, name)
	file, err := f.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, system("read "+path, err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	if err == nil && !os.SameFile(info, looked) {
		err = errors.New("it was exchanged while it was opened")
	}
	if err != nil {
		return nil, system("read "+path, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, system("read "+path, err)
	}
	if len(data) > maxFileBytes {
		return nil, fixf("check the path", "%s is larger than 1 MiB, which no PFX of one app is", path)
	}
	return data, nil
}

// stage writes a file under a random name, with its owner, group and mode, and makes
// it durable. On an error nothing is left behind.
func (f *folder) stage(content []byte, uid, gid int, mode fs.FileMode) (string, error) {
	name := randomName(tempPrefix)
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	if err == nil {
		err = settle(file, uid, gid, mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return "", errors.Join(err, f.root.Remove(name))
	}
	return name, nil
}

// settle gives an open file its owner, group and mode, in this order, so that no
// group gets a right that is meant for another. It asks for nothing that is true
// already: the service may not be permitted to. -1 leaves an owner or group alone.
func settle(file *os.File, uid, gid int, mode fs.FileMode) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	hasUID, hasGID := guard.Owner(info)
	if (uid >= 0 && uid != hasUID) || (gid >= 0 && gid != hasGID) {
		if err := file.Chown(uid, gid); err != nil {
			return err
		}
	}
	if info.Mode().Perm() != mode {
		return file.Chmod(mode)
	}
	return nil
}

// sync makes renames durable.
func (f *folder) sync() error {
	dir, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// tidy removes files that a killed run left behind and returns how many. The caller
// has claimed the folder.
func (f *folder) tidy() (int, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return 0, err
	}
	defer dir.Close()                  //nolint:errcheck // nothing was written
	names, err := dir.Readdirnames(-1) // the names alone: a folder may hold thousands of files
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, name := range names {
		if !strings.HasPrefix(name, tempPrefix) || len(name) != len(randomName(tempPrefix)) {
			continue
		}
		info, err := f.root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		if err == nil {
			err = f.root.Remove(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
