package deliver

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-f0abd057/rotate/config/guard"
	"github.com/seed-f0abd057/rotate/rotator"
)

// runFolder is a private folder with the files for one run of a hook. A lock on it
// tells others that it is in use; it ends with the process.
type runFolder struct {
	path string
	name string
	base *os.Root // the runtime folder; not closed by wipe
	root *os.Root
	lock *os.File
}

// WipeRuntime removes what a run that was killed left in the runtime folder. Call
// it at start, before anything is delivered. Folders that another process uses are
// left alone; without a runtime folder there is nothing to do.
func (d *Deliverer) WipeRuntime() error {
	base, err := d.openRuntime(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer base.close()
	entries, err := fs.ReadDir(base.root.FS(), ".")
	if err != nil {
		return system("look into "+base.path, err)
	}
	var problems []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), runPrefix) {
			continue
		}
		left, err := lockRun(base.root, base.path, e.Name())
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue
		}
		if err == nil {
			err = left.wipe()
		}
		if err != nil {
			problems = append(problems, system("wipe "+filepath.Join(base.path, e.Name()), err))
		}
	}
	return errors.Join(problems...)
}

// openRuntime opens the runtime folder, and makes it if asked to.
func (d *Deliverer) openRuntime(create bool) (*folder, error) {
	path := d.RuntimeDir
	private := path == ""
	if private {
		path = filepath.Join(os.TempDir(), "rotate-"+strconv.Itoa(os.Geteuid()))
	}
	if create {
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, system("make folder "+path, err)
		}
	}
	f, err := openFolder(path, d.uid())
	if err != nil {
		return nil, err
	}
	if uid, _ := guard.Owner(f.info); private && uid != os.Geteuid() {
		f.close()
		return nil, fixf("remove it", "%s belongs to %s", path, userName(uid))
	}
	return f, nil
}

// newRun makes a private folder in the runtime folder.
func newRun(base *folder) (*runFolder, error) {
	name := randomName(runPrefix)
	if err := base.root.Mkdir(name, 0o700); err != nil {
		return nil, system("make a folder in "+base.path, err)
	}
	r, err := lockRun(base.root, base.path, name)
	if err != nil {
		return nil, errors.Join(system("lock "+filepath.Join(base.path, name), err), base.root.Remove(name))
	}
	return r, nil
}

func lockRun(base *os.Root, path, name string) (*runFolder, error) {
	root, err := base.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	lock, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, lock.Close(), root.Close())
	}
	return &runFolder{path: filepath.Join(path, name), name: name, base: base, root: root, lock: lock}, nil
}

// fill writes the files and returns the variables that tell of them.
func (r *runFolder) fill(pairName string, content []byte, p rotator.Package) ([]string, error) {
	files := []struct {
		variable, name string
		content        []byte
	}{
		{"ROTATE_PFX_FILE", pairName, content},
		{"ROTATE_PASSWORD_FILE", "password", []byte(p.Pair.Password)},
		{"ROTATE_CER_FILE", "certificate.cer", p.Pair.Certificate},
	}
	certificate, err := x509.ParseCertificate(p.Pair.Certificate)
	if err != nil {
		return nil, err
	}
	variables := []string{
		"ROTATE_HOOK_VERSION=" + hookVersion,
		"ROTATE_APP=" + p.App,
		"ROTATE_TENANT=" + p.Tenant,
		"ROTATE_CLIENT_ID=" + string(p.ClientID),
		"ROTATE_ROTATION=" + p.Rotation,
		"ROTATE_THUMBPRINT_SHA1=" + rotator.ThumbprintSHA1(p.Pair.Certificate),
		"ROTATE_THUMBPRINT_SHA256=" + string(p.Pair.Thumbprint()),
		"ROTATE_NOT_AFTER=" + certificate.NotAfter.UTC().Format(time.RFC3339),
	}
	for _, f := range files {
		if err := r.root.WriteFile(f.name, f.content, 0o600); err != nil {
			return nil, err
		}
		variables = append(variables, f.variable+"="+filepath.Join(r.path, f.name))
	}
	return variables, nil
}

// wipe overwrites and removes the folder's files, then the folder. A file that the
// hook gave a second name is only removed: the other name may be the consumer's.
func (r *runFolder) wipe() error {
	var problems []error
	entries, err := fs.ReadDir(r.root.FS(), ".")
	problems = append(problems, err)
	for _, e := range entries {
		if e.Type().IsRegular() {
			problems = append(problems, r.overwrite(e.Name()))
		}
	}
	problems = append(problems, r.base.RemoveAll(r.name), r.lock.Close(), r.root.Close())
	return errors.Join(problems...)
}

func (r *runFolder) overwrite(name string) error {
	file, err := r.root.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if s, ok := infoStat(info); err == nil && ok && info.Mode().IsRegular() && s.Nlink == 1 {
		_, err = file.Write(make([]byte, min(info.Size(), maxFileBytes)))
	}
	return errors.Join(err, file.Close())
}

func infoStat(info fs.FileInfo) (*syscall.Stat_t, bool) {
	if info == nil {
		return nil, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return s, ok
}
